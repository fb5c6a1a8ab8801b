"""OGA: find the training samples that hurt a deep model (Outlier Gradient Analysis, arXiv 2405.03869)."""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oga_core.data import Dataset, from_arrays, from_prompts, from_texts, open_dataset
    from oga_core.detectors import Recommendation
    from oga_core.errors import InputError
    from oga_core.export import export
    from oga_core.influence import influence_of
    from oga_core.maps import embedding
    from oga_core.models import Classifier, load_model, save_weights, train
    from oga_core.review.decisions import decide, decisions, undo
    from oga_core.runs import Run, Workspace, recommend
    from oga_core.scoring import score
    from oga_core.serving import launch

__all__ = [
    "Classifier",
    "Dataset",
    "InputError",
    "Recommendation",
    "Run",
    "Workspace",
    "decide",
    "decisions",
    "embedding",
    "export",
    "from_arrays",
    "from_prompts",
    "from_texts",
    "influence_of",
    "launch",
    "load_model",
    "open_dataset",
    "recommend",
    "save_weights",
    "score",
    "train",
    "undo",
]

_HOMES = {
    "data": ("Dataset", "from_arrays", "from_prompts", "from_texts", "open_dataset"),
    "detectors": ("Recommendation",),
    "errors": ("InputError",),
    "export": ("export",),
    "influence": ("influence_of",),
    "maps": ("embedding",),
    "models": ("Classifier", "load_model", "save_weights", "train"),
    "review": ("decide", "decisions", "undo"),
    "runs": ("Run", "Workspace", "recommend"),
    "scoring": ("score",),
    "serving": ("launch",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """A name is imported when it is first used: who only reads data does not wait seconds for torch."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """`export` stays the function, also where the module of that name has just been imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
