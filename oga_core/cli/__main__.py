"""``python -m oga_core.cli``: the command line without the entry point's care for signals."""

import sys

from oga_core.cli import main
from oga_core.terminal import complete_streams, flush

if __name__ == "__main__":
    complete_streams()
    sys.exit(flush(main()))
