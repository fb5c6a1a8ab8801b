"""``python -m tests.benchmarks.gradients``: what ``oga bench gradients`` measures, with its options. Not a test."""

from __future__ import annotations

import sys

from oga_core.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", "gradients", *sys.argv[1:]]))
