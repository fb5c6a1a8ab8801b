"""``python -m tests.faults --rounds N [--what review|scoring]``: kill -9 so many times, and say what was lost.

``--what reviewers --reviewers N --decisions N --kills N``: several decide at once in one server, which is killed meanwhile.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults import killed_reviews, killed_scorings, many_reviewers

WHAT = {"review": killed_reviews.rounds, "scoring": killed_scorings.rounds}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Kill -9 again and again.")
    parser.add_argument("--rounds", metavar="N", type=int, default=100, help="how often (default: %(default)s)")
    parser.add_argument("--what", choices=[*WHAT, "reviewers"], default="review", help="what is killed (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the actions (default: %(default)s)")
    parser.add_argument("--reviewers", metavar="N", type=int, default=12, help="who decide at once (default: %(default)s)")
    parser.add_argument("--decisions", metavar="N", type=int, default=200, help="of each of them (default: %(default)s)")
    parser.add_argument("--kills", metavar="N", type=int, default=2, help="of their server meanwhile (default: %(default)s)")
    options = parser.parse_args()
    told: Any
    with tempfile.TemporaryDirectory(prefix="oga-faults-") as folder:
        if options.what == "reviewers":
            told = many_reviewers.review(
                options.reviewers, options.decisions, options.kills, Path(folder), options.seed, told_on(options.kills)
            )
        else:
            told = WHAT[options.what](options.rounds, Path(folder), options.seed, told_on(options.rounds))
    print(told)
    failed = told.failed if options.what == "reviewers" else told.lost
    for line in failed[:10]:
        print(line, file=sys.stderr)
    return 1 if failed else 0


def told_on(rounds: int) -> Callable[[int], None]:
    """Progress on stderr, ten times."""

    def after_each(number: int) -> None:
        if number % max(1, rounds // 10) == 0:
            print(f"{number:,} of {rounds:,}", file=sys.stderr, flush=True)

    return after_each


if __name__ == "__main__":
    sys.exit(main())
