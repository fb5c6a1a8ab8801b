"""A model that is opened in the sandbox, with its data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oga_core.errors import InputError
from oga_core.gradients import SCOPES
from oga_core.measured import Estimate, SampleGradient, TokenLosses
from oga_core.sandbox.dataset import SandboxedDataset


@dataclass(frozen=True)
class Outlook:
    """A run on some data, before it starts.

    Attributes
    ----------
    model
        Its name.
    notes
        What was noticed on loading it.
    mapping
        For each class of the data: its name, the position in the model's output, and the model's name for it. Empty for a
        starter model, which is made for these classes.
    costs
        What each scope would take.
    """

    model: str
    notes: list[str]
    mapping: list[tuple[str, int, str]]
    costs: dict[str, Estimate]


class SandboxedModel:
    """As `oga_core.scoring.one_sample.OpenedModel`, opened in the process that opens the data.

    Parameters
    ----------
    dataset
        The data.
    model, weights
        As `oga_core.load_model` takes them.
    """

    def __init__(self, dataset: SandboxedDataset, model: str | None, weights: Path | None) -> None:
        self.dataset = dataset
        self._arguments = model, str(weights) if weights else None

    def estimate_run(self, scopes: Sequence[str] = SCOPES, folds: int | None = None) -> Outlook:
        """Return what a run would be: the weights are opened, and a few samples timed.

        Without weights, it is a run with the starter model that suits the data.

        Parameters
        ----------
        scopes, folds
            As `oga_core.scoring.estimate` takes them.

        Raises
        ------
        InputError
            If data, model and scopes do not fit one another.
        """
        found = self._ask("estimate_run", tuple(scopes), folds)
        costs = {str(scope): Estimate(*cost) for scope, cost in found["costs"].items()}
        return Outlook(str(found["model"]), list(found["notes"]), [tuple(row) for row in found["mapping"]], costs)

    def squared_norms(self, index: int, scope: str) -> dict[str, float]:
        """As `OpenedModel.squared_norms`."""
        return {str(name): float(square) for name, square in self._ask("squared_norms", int(index), scope).items()}

    def token_losses(self, index: int) -> TokenLosses:
        """As `OpenedModel.token_losses`."""
        return TokenLosses.from_dict(self._ask("token_losses", int(index)))

    def gradient(self, given: str, target: str, scope: str, seed: int, head: str | None) -> SampleGradient:
        """As `OpenedModel.gradient`."""
        found = self._ask("gradient", given, target, scope, seed, head)
        try:
            return SampleGradient.from_dict(found)
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{self.dataset.name}: the sandbox process answered what makes no sense") from error

    def _ask(self, name: str, *given: Any) -> Any:
        return self.dataset.ask(name, *self._arguments, *given)
