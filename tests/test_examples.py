"""The examples in the docstrings of the public names run and print what they say."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import oga_core as oga
from oga_core.data import Dataset
from oga_core.scoring import do_run, prepare

PUBLIC: list[str] = vars(oga)["__all__"]
WITHOUT = {"launch": "it starts a server"}
"""Public functions without an example, and why."""
EXAMPLES = [name for name in PUBLIC if ">>>" in (getattr(oga, name).__doc__ or "")]


def features() -> Dataset:
    """Sixty samples of three classes."""
    labels = np.arange(60) % 3
    values = np.random.default_rng(0).normal(size=(60, 4)) + 3 * np.eye(4)[labels]
    return oga.from_arrays(values.astype(np.float32), labels, ["ant", "bee", "cat"])


def run_of_texts(folder: Path) -> oga.Run:
    """A run with a starter on twenty texts."""
    path = folder / "texts.csv"
    path.write_text("text,label\n" + "good film,pos\nfine film,pos\nbad film,neg\npoor film,neg\n" * 5)
    run = prepare(oga.Workspace(folder / "texts"), path, epochs=1, folds=0)
    do_run(run)
    return run


def test_every_public_function_has_an_example() -> None:
    functions = {name for name in PUBLIC if callable(getattr(oga, name)) and not isinstance(getattr(oga, name), type)}
    assert functions - set(EXAMPLES) == set(WITHOUT)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_prints_what_it_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OGA_WORKSPACE", str(tmp_path / "workspace"))
    torch.manual_seed(0)
    text = getattr(oga, name).__doc__
    given: dict[str, Any] = {"oga": oga, "np": np, "torch": torch}
    if "dataset" in text:
        given["dataset"] = features()
    if "(run," in text or "(run)" in text:
        given["run"] = oga.score(torch.nn.Linear(4, 3), features(), workspace=tmp_path / "given")
    if "run_of_texts" in text:
        given["run_of_texts"] = run_of_texts(tmp_path)
    example = doctest.DocTestParser().get_doctest(text, given, name, None, 0)
    assert example.examples
    said: list[str] = []
    assert doctest.DocTestRunner(verbose=False).run(example, out=said.append).failed == 0, "".join(said)
