"""Readers: from a file, folder or array to a `Dataset`."""

from oga_core.data.arrays import Arrays
from oga_core.data.dataset import Dataset, Kind, SampleError, Unreadable
from oga_core.data.opening import SOURCES, from_arrays, from_prompts, from_texts, locate, open_dataset
from oga_core.data.subset import Subset

__all__ = [
    "SOURCES",
    "Arrays",
    "Dataset",
    "Kind",
    "SampleError",
    "Subset",
    "Unreadable",
    "from_arrays",
    "from_prompts",
    "from_texts",
    "locate",
    "open_dataset",
]
