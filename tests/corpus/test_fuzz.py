"""The fuzzing itself: its seeds are good files, and what goes wrong is found and can be done again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.corpus import fuzz
from tests.corpus.seeds import SEEDS


@pytest.mark.parametrize("reader", SEEDS)
def test_every_seed_is_read(reader: str, tmp_path: Path) -> None:
    for which in range(len(SEEDS[reader])):
        said = fuzz.attempt(reader, fuzz.data_of(reader, (which, [])), tmp_path)
        assert said == ("RGB" if reader in fuzz.IMAGES else "read")


def raises(reader: str, data: bytes, folder: Path) -> str:
    raise KeyError(len(data))


def ends(reader: str, data: bytes, folder: Path) -> str:
    os._exit(9)


@pytest.mark.parametrize(("attempt", "fault"), [(raises, "KeyError at ?"), (ends, "the process ended with 9")])
def test_what_goes_wrong_is_found_with_its_recipe(attempt: object, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "attempt", attempt)
    _, faults = fuzz.fuzz("csv", 0.05)
    assert list(faults) == [fault]
    recipe, times = faults[fault]
    assert times > 0
    assert recipe[1]
