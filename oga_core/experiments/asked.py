"""What an experiment is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from oga_core.progress import Progress


@dataclass(frozen=True)
class Asked:
    """The settings of one call of ``oga reproduce``.

    Attributes
    ----------
    data
        Folder of the user's data; None for what every installation has.
    out
        Folder of the results; it is there.
    seeds
        Number of seeds: 0 … seeds − 1.
    quick
        Whether smaller, with fewer arms.
    arch
        Model to train; None for the experiment's own.
    samples
        Training samples at most; None for all.
    """

    data: Path | None
    out: Path
    seeds: int
    quick: bool
    arch: str | None
    samples: int | None
    progress: Progress
