"""What is read of a file, and why it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from oga_core.data import Dataset, open_dataset
from oga_core.errors import InputError


def refusal(path: Path, **options: str) -> str:
    with pytest.raises(InputError) as caught:
        open_dataset(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def ids(dataset: Dataset) -> list[str]:
    return [dataset.sample_id(i) for i in range(len(dataset))]
