"""A numbered bad input, and the answer to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oga_core.data import Dataset
from oga_core.runs import Run

Oga = Callable[..., tuple[int, str, str]]
"""Runs a command line in this process: exit code, stdout, stderr."""


@dataclass(frozen=True)
class Given:
    """What a user gives: data, a model, and further arguments of ``oga score``."""

    data: Path
    model: str | None = None
    weights: Path | None = None
    arguments: Sequence[str] = ()

    @property
    def command(self) -> list[str]:
        """The command line, without the workspace."""
        named = [*(["--model", self.model] if self.model else []), *(["--weights", str(self.weights)] if self.weights else [])]
        return ["score", str(self.data), *named, "--detectors", "l1", "--folds", "0", *self.arguments]


@dataclass(frozen=True)
class Answer:
    """What was made of it."""

    run: Run
    dataset: Dataset
    told: dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A bad input.

    Attributes
    ----------
    number
        In ``ROBUSTNESS.md``; above 75 it was found by fuzzing. Several cases may share one.
    title
        What is wrong with it.
    make
        Makes it in an empty folder.
    refused
        Words of the one line with which it is refused; without any, it is scored.
    samples
        How many are given, where it is scored.
    listed
        Of those the ones that are not scored, by source, with words of the reason.
    noted
        Words of the notes that say what was done with it.
    check
        What else must hold once it is scored.
    act
        A case that is an action and not a file: does it and checks the answer.
    elsewhere
        ``file::test`` of a test that holds this promise where it can be held, in a browser for example.
    limits
        Limits that are lowered for it.
    """

    number: int
    title: str
    make: Callable[[Path], Given] | None = None
    refused: Sequence[str] = ()
    samples: int = 0
    listed: Mapping[str, str] = field(default_factory=dict)
    noted: Sequence[str] = ()
    check: Callable[[Answer], None] | None = None
    act: Callable[[Path, Oga], None] | None = None
    elsewhere: str = ""
    limits: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.number}-{'-'.join(self.title.split())}"
