"""The settings of an experiment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from oga_core.errors import InputError
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
    device
        Where torch computes: ``cpu`` or ``cuda``.
    shard
        The one setting and seed that are to be done; None for all.
    """

    data: Path | None
    out: Path
    seeds: int
    quick: bool
    arch: str | None
    samples: int | None
    progress: Progress
    device: str = "cpu"
    shard: tuple[str, int] | None = None

    def list_shards(self, settings: Iterable[str]) -> list[tuple[int, str]]:
        """Seeds and settings that are to be done; InputError if a setting is asked for that is not among them."""
        settings = list(settings)
        if self.shard is None:
            return [(seed, setting) for seed in range(self.seeds) for setting in settings]
        setting, seed = self.shard
        if setting not in settings:
            raise InputError(f"there is no shard {setting!r} here; there are: {', '.join(settings)}")
        return [(seed, setting)]
