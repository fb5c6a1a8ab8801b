"""The summary of a run that a test makes by hand."""

from __future__ import annotations

from typing import Any

from oga_core.runs import RunSummary


def make_summary(**fields: Any) -> RunSummary:
    """A summary of nothing in which only some fields matter."""
    nothing: dict[str, Any] = {
        "class_names": (),
        "kind": "features",
        "model": "",
        "model_source": "",
        "held_out_accuracy": None,
        "agreement": None,
        "scope": "head",
        "head": None,
        "mapping": (),
        "samples": 0,
        "scored": 0,
        "not_scored": 0,
        "seconds": 0.0,
        "seed": 0,
        "detectors": (),
        "notes": (),
    }
    return RunSummary(**{**nothing, **fields})
