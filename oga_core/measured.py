"""Measurements of a model and its samples, as the process that runs the model returns them to the one that asks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

CHARACTERS = 100_000
"""Of a new sample's prompt, and of its answer, at most."""


@dataclass(frozen=True)
class Estimate:
    """The estimated cost of a run.

    Attributes
    ----------
    parameters
        Number of values in the scope.
    seconds
        Wall-clock time on this machine.
    bytes
        Memory beside the program and the data.
    """

    parameters: int
    seconds: float
    bytes: int


@dataclass(frozen=True)
class Token:
    """A token of a text.

    Attributes
    ----------
    text
        The characters it adds; those of several tokens are the text. For a token without any, its own name.
    loss
        −log p of it given all tokens before it, in nats; None where there is none before it.
    own
        Whether ``text`` are characters of the text.
    """

    text: str
    loss: float | None
    own: bool


@dataclass(frozen=True)
class TokenLosses:
    """A language model's loss of each token of a prompt and its answer.

    Attributes
    ----------
    prompt, answer
        Their tokens as the model reads them; the last of the answer may be the end of the text.
    before, after
        The beginning of the prompt and the end of the answer that the model does not read, empty where it reads all.
    """

    prompt: list[Token]
    answer: list[Token]
    before: str
    after: str

    @property
    def loss(self) -> float:
        """The sample's loss: the mean over the tokens of its answer."""
        losses = [token.loss for token in self.answer if token.loss is not None]
        return sum(losses) / len(losses)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> TokenLosses:
        """Return the losses from the result of `to_dict`; ValueError, TypeError or KeyError for anything else."""
        prompt, answer = (
            [Token(str(t["text"]), None if t["loss"] is None else float(t["loss"]), bool(t["own"])) for t in found[side]]
            for side in ("prompt", "answer")
        )
        return cls(prompt, answer, str(found["before"]), str(found["after"]))


@dataclass(frozen=True)
class SampleGradient:
    """The gradient of a sample that is not in a run, as the run keeps gradients: see `Factors`.

    Attributes
    ----------
    residual, feature
        Unit vectors, float16.
    norm
        Length of the whole gradient.
    loss
        Of the sample, in nats.
    """

    residual: np.ndarray
    feature: np.ndarray
    norm: float
    loss: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"residual": self.residual.tolist(), "feature": self.feature.tolist(), "norm": self.norm, "loss": self.loss}

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> SampleGradient:
        """Return the gradient from the result of `to_dict`; ValueError, TypeError or KeyError for anything else."""
        residual, feature = (np.array(found[name], np.float16) for name in ("residual", "feature"))
        if residual.ndim != 1 or feature.ndim != 1 or not (np.isfinite(residual).all() and np.isfinite(feature).all()):
            raise ValueError("no unit vectors")
        return cls(residual, feature, float(found["norm"]), float(found["loss"]))
