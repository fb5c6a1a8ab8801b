"""Running one of the paper's experiments: ``oga reproduce``."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from oga_core.errors import InputError
from oga_core.experiments.asked import Asked
from oga_core.progress import Progress, silent


@dataclass(frozen=True)
class Experiment:
    """One of the paper's experiments.

    Attributes
    ----------
    about
        What it is, in a line.
    seeds, quick_seeds
        How many, by default and when it is to be quick.
    """

    about: str
    seeds: int
    quick_seeds: int


ON_A_GPU = ("text", "llm")
"""Experiments with transformers: they can compute on a GPU, and one shard at a time."""
EXPERIMENTS = {
    "synthetic": Experiment("two blobs and half moons with flipped labels", 20, 5),
    "text": Experiment("SST-2, MRPC, QNLI with flipped labels, news titles with real noise", 5, 2),
    "vision": Experiment("images with human or class-dependent label noise", 5, 2),
    "shift": Experiment("a table from one time and place, tested on another", 5, 2),
    "llm": Experiment("which training samples of a fine-tuned language model belong to a prompt's task", 3, 2),
}
"""By name, which is that of the module with its ``run(asked) -> Study``."""


def reproduce(
    name: str,
    *,
    data: Path | None = None,
    out: Path,
    seeds: int | None = None,
    quick: bool = False,
    arch: str | None = None,
    samples: int | None = None,
    device: str = "cpu",
    shard: str | None = None,
    progress: Progress = silent,
) -> Path:
    """Run one of the paper's experiments; returns the path of its report, or of the folder where only one shard was done.

    An interrupted experiment resumes when it is called again with the same folder and settings.

    Parameters
    ----------
    name
        One of `EXPERIMENTS`.
    data
        Folder of the data; without it the experiment takes what every installation has.
    out
        Folder of ``results.csv`` (raw), ``table.csv``, ``table.md``, the figures and ``report.md``; it is made.
    seeds
        How many; by default the experiment's own number.
    quick
        Smaller, with fewer seeds and arms, to see that it works.
    arch
        Model to train, where the experiment leaves a choice.
    samples
        Training samples at most, in the vision experiment, whose models take minutes to train.
    device
        ``cpu`` or ``cuda``, for the transformers of the text and llm experiments.
    shard
        ``SETTING:SEED``, in these experiments: only this is done, by a process or a machine of its own, and no report is
        written. The same call without a shard takes over what all shards have left in the folder, and does what is missing.

    Raises
    ------
    InputError
        For an unknown name, a wrong number of seeds, data that are missing or do not fit, a missing device, or a
        folder that cannot be used.
    """
    where, seed = _check(name, data, seeds, samples, device, shard)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {out}: {error.strerror}") from error
    _check_device(device)
    experiment = EXPERIMENTS[name]
    count = seeds or (experiment.quick_seeds if quick else experiment.seeds)
    asked = Asked(data, out, count, quick, arch, samples, progress, device, None if shard is None else (where, seed))
    study = import_module(f"oga_core.experiments.{name}").run(asked)
    if shard is not None:
        return out
    from oga_core.experiments.report import write

    return write(study, out)


def _check(
    name: str, data: Path | None, seeds: int | None, samples: int | None, device: str, shard: str | None
) -> tuple[str, int]:
    """Return setting and seed of a shard; InputError where the settings of a call do not fit together."""
    if name not in EXPERIMENTS:
        raise InputError(f"unknown experiment {name!r}; there are: {', '.join(EXPERIMENTS)}")
    if seeds is not None and seeds < 1:
        raise InputError(f"{seeds} seeds: at least one is needed")
    if samples is not None and (name != "vision" or samples < 1):
        raise InputError(f"{samples} samples: a number of training samples can be given for the vision experiment only")
    if name not in ON_A_GPU and (device != "cpu" or shard is not None):
        raise InputError(f"a device and a shard can be named for {' and '.join(ON_A_GPU)} only, not for {name}")
    where, _, seed = (shard or ":0").rpartition(":")
    if shard is not None and not (where and seed.isdecimal()):
        raise InputError(f"{shard!r} is not SETTING:SEED, as sst2:0")
    if data is not None and not data.is_dir():
        raise InputError(f"data {data} is not a folder")
    return where, int(seed)


def _check_device(device: str) -> None:
    """InputError for an unknown device, or one that this machine does not have."""
    import torch

    if device not in ("cpu", "cuda"):
        raise InputError(f"unknown device {device!r}; there are: cpu, cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda not found: torch sees no GPU")
