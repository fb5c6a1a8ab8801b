"""OGA: find the training samples that hurt a deep model (Outlier Gradient Analysis, arXiv 2405.03869)."""

from oga_core.data import Dataset, from_arrays, from_texts, open_dataset
from oga_core.detectors import Recommendation
from oga_core.errors import InputError
from oga_core.export import export
from oga_core.maps import embedding
from oga_core.models import Classifier, load_model, save_weights, train
from oga_core.review import decide, decisions, undo
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
    "from_texts",
    "launch",
    "load_model",
    "open_dataset",
    "recommend",
    "save_weights",
    "score",
    "train",
    "undo",
]
