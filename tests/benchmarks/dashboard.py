"""``python -m tests.benchmarks.dashboard``: what ``oga bench dashboard`` measures, with its options. Not a test."""

from __future__ import annotations

import sys

from oga_core.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", "dashboard", *sys.argv[1:]]))
