"""Model folders that make libraries give up, count for ever or fill the memory: one line that names the file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from oga_core import InputError, Workspace, from_texts
from oga_core.models import load_model
from oga_core.models.tokenizer_file import check_growth
from oga_core.scoring import do_run, prepare
from tests.models.small_classifiers import LABELS, TEXTS, Save, save

__all__ = ["save"]
SLOW = r"(a+)+$"
"""A regular expression that gives up on ``aaaa…b``."""
Step = dict[str, Any]


def rewritten(folder: Path, name: str, **changed: Any) -> Path:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changed), "utf-8")
    return folder


def replaced(pattern: str, content: str, kind: str = "String") -> Step:
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def split(pattern: str) -> Step:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def refusal(folder: Path, texts: list[str] = TEXTS) -> str:
    with pytest.raises(InputError) as caught:
        load_model(None, folder, from_texts(texts, LABELS[: len(texts)]))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- a library in Rust that gives up -------------------------------------------------------------------------------------------
def test_a_sample_that_the_tokenizer_gives_up_on_is_listed_and_the_others_are_scored(save: Save, tmp_path: Path) -> None:
    folder = rewritten(save(), "tokenizer.json", pre_tokenizer=split(SLOW))
    path = tmp_path / "t.csv"
    bad = "a" * 60 + "b"
    pd.DataFrame({"text": [*TEXTS * 2, bad], "label": [*LABELS * 2, "pos"]}).to_csv(path, index=False)
    run = prepare(Workspace(tmp_path / "workspace"), path, weights=folder)
    do_run(run)
    assert run.summary.scored == 12
    (reason,) = run.not_scored["reason"]
    assert reason.startswith("cannot be tokenised: PanicException: ")
    assert "retry-limit" in reason


def test_a_tokenizer_that_gives_up_on_every_sample_is_a_refusal(save: Save) -> None:
    folder = rewritten(save(), "tokenizer.json", pre_tokenizer=split(SLOW))
    said = refusal(folder, ["a" * 60 + "b", "aa" * 60 + "c"])
    assert said.startswith("no sample can be read by model model")
    assert "PanicException" in said


@pytest.mark.parametrize("pattern", ["(", "[", "(?<x", "*", r"\p{Nothing}"])
def test_a_tokenizer_with_a_broken_expression_is_refused(save: Save, pattern: str) -> None:
    said = refusal(rewritten(save(), "tokenizer.json", pre_tokenizer=split(pattern)))
    assert "the tokenizer in model cannot be read" in said


# ---- settings ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"hidden_size": -8}, "config.json"),
        ({"intermediate_size": -1}, "config.json"),
        ({"vocab_size": -5}, "config.json"),
        ({"hidden_size": 0}, "config.json"),
        ({"num_attention_heads": 0}, "config.json"),
        ({"hidden_size": "16"}, "config.json"),
        ({"num_hidden_layers": -1}, "num_hidden_layers to -1; at least 1"),
        ({"num_hidden_layers": 0}, "at least 1"),
        ({"num_hidden_layers": 1}, "declares fewer layers than the weights have: bert.encoder.layer.1."),
        ({"num_hidden_layers": 1.5}, "config.json"),
        ({"num_hidden_layers": 1_000_000}, "num_hidden_layers to 1000000; at most 100,000"),
        ({"num_hidden_layers": 90_000}, "layers and parts of layers"),
        ({"num_hidden_layers": 10**15}, "num_hidden_layers"),
        ({"hidden_size": 10**15}, "hidden_size"),
        ({"hidden_size": 10**9}, "config.json declares"),
        ({"max_position_embeddings": 10**9}, "config.json declares"),
        ({"num_labels": 10**9}, "num_labels to 1000000000; at most 100,000"),
        ({"vocab_size": 10**10}, "config.json declares"),
        ({"num_attention_heads": 10**7}, "num_attention_heads"),
        ({"max_position_embeddings": float("inf")}, "max_position"),
        ({"hidden_size": float("nan")}, "hidden_size"),
        ({"layer_norm_eps": "x"}, "config.json"),
    ],
)
def test_sizes_that_cannot_be_are_refused_in_seconds(save: Save, settings: dict[str, Any], named: str) -> None:
    folder = rewritten(save(), "config.json", **settings)
    began = time.process_time()
    said = refusal(folder)
    assert named in said
    assert "model" in said
    assert time.process_time() - began < 60


@pytest.mark.parametrize("kind", ["distilbert", "llama", "qwen2", "roberta"])
def test_a_million_layers_are_refused_whatever_they_are_called(save: Save, kind: str) -> None:
    name = "n_layers" if kind == "distilbert" else "num_hidden_layers"
    assert name in refusal(rewritten(save(kind), "config.json", **{name: 1_000_000}))


def test_lists_and_settings_within_settings_are_looked_at_too(save: Save) -> None:
    assert "text_config.num_hidden_layers" in refusal(rewritten(save(), "config.json", text_config={"num_hidden_layers": 10**7}))
    assert "depths" in refusal(rewritten(save(), "config.json", depths=[2, 10**7]))


@pytest.mark.parametrize(
    ("file", "settings"),
    [
        ("config.json", {"architectures": -1}),
        ("config.json", {"id2label": {"x": "y"}}),
        ("config.json", {"id2label": 3}),
        ("config.json", {"max_position_embeddings": "x"}),
        ("config.json", {"model_type": ["bert"]}),
        ("tokenizer_config.json", {"model_max_length": "x"}),
        ("tokenizer_config.json", {"unk_token": ""}),
        ("tokenizer_config.json", {"pad_token": {"a": 1}}),
        ("tokenizer_config.json", {"model_input_names": 3}),
    ],
)
def test_settings_of_another_type_are_a_refusal_or_heeded_as_nothing(save: Save, file: str, settings: dict[str, Any]) -> None:
    folder = rewritten(save(), file, **settings)
    try:
        load_model(None, folder, from_texts(TEXTS, LABELS))
    except InputError as error:
        assert "model" in str(error)  # noqa: PT017  any other exception fails the test


# ---- a normaliser that explodes ------------------------------------------------------------------------------------------------
def sequence(*steps: Step, key: str = "normalizers") -> Step:
    return {"type": "Sequence", key: list(steps)}


@pytest.mark.parametrize(
    "normalizer",
    [
        sequence(*[replaced("a", "aa")] * 40),
        sequence(*[sequence(*[replaced("a", "aaaa")] * 5)] * 5),
        replaced("a", "a" * 5000),
        replaced("", "a" * 5000, "Regex"),
        sequence(*[replaced("x*", "xx", "Regex")] * 30),
        sequence(*[{"type": "NFKD"}] * 3),
        sequence(*[{"type": "Prepend", "prepend": "aaaaaaaaa"}] * 4),
    ],
    ids=["doubled", "nested", "long", "regex between letters", "regex doubled", "unicode forms", "prefixes"],
)
def test_a_normaliser_that_would_fill_the_memory_is_refused_before_it_runs(save: Save, normalizer: Step) -> None:
    said = refusal(rewritten(save(), "tokenizer.json", normalizer=normalizer))
    assert "(tokenizer.json, normalizer) makes texts up to" in said


def test_a_normaliser_that_is_nested_too_deep_is_refused() -> None:
    step: Step = {"type": "NFC"}
    for _ in range(100):
        step = sequence(step)
    with pytest.raises(InputError, match="nested too deep"):
        check_growth("model", json.dumps({"normalizer": step}).encode())


@pytest.mark.parametrize("data", [b"", b"[", b"[]", b"3", b"\xff", b'{"normalizer": {"type": "Replace", "pattern": 3}}'])
def test_a_file_that_is_no_tokenizer_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match="the tokenizer in model cannot be read"):
        check_growth("model", data)


@pytest.mark.parametrize(
    "normalizer",
    [
        None,
        {"type": "BertNormalizer", "clean_text": True},
        sequence({"type": "NFD"}, {"type": "Lowercase"}, {"type": "StripAccents"}),
        sequence({"type": "Prepend", "prepend": "▁"}, replaced(" ", "▁")),  # Llama's
        sequence(replaced("``", '"'), replaced("''", '"'), {"type": "NFKD"}, {"type": "StripAccents"}),  # ALBERT's
        sequence({"type": "NFC"}, replaced(r"\s+", " ", "Regex"), {"type": "Lowercase"}),  # CLIP's
        sequence({"type": "Precompiled", "precompiled_charsmap": ""}, replaced(" {2,}", "▁", "Regex")),  # T5's, XLM-R's
    ],
)
def test_the_normalisers_of_real_models_are_taken(normalizer: Step | None) -> None:
    check_growth("model", json.dumps({"normalizer": normalizer, "pre_tokenizer": {"type": "Metaspace"}}).encode())


def test_an_adapter_of_a_rank_that_it_does_not_store_is_refused(tmp_path: Path) -> None:
    from tests import language

    folder = language.save(tmp_path)
    path = tmp_path / "t.jsonl"
    pd.DataFrame(language.ROWS, columns=["prompt", "answer", "kind"]).to_json(path, orient="records", lines=True)
    from oga_core import open_dataset

    for rank in (10**9, -1, 0):
        rewritten(folder / "lora", "adapter_config.json", r=rank)
        with pytest.raises(InputError, match=f"sets the rank {rank}"):
            load_model(None, folder, open_dataset(path))


# ---- the owner's own code ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("code", ["raise SystemExit(3)", "class P(BaseException): pass\n    raise P('gave up')", "exit()"])
def test_code_that_ends_the_process_is_told_as_what_it_is(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leaves.py").write_text(f"def build():\n    {code}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "leaves", raising=False)
    with pytest.raises(InputError, match=r"the factory leaves:build failed: (SystemExit|P)"):
        load_model("leaves:build", None, from_texts(TEXTS, LABELS))


def test_a_job_that_is_left_by_what_is_no_exception_has_failed_with_the_reason(tmp_path: Path) -> None:
    class PanicException(BaseException):
        pass

    job = Workspace(tmp_path).new_run("x").job("score")
    raises: list[Callable[[], BaseException]] = [lambda: PanicException("gave up"), lambda: SystemExit(3)]
    for make in raises:
        with pytest.raises(BaseException, match=r"gave up|3"), job.track(lambda *_: None):
            raise make()
        assert job.status().state == "failed"
        assert job.status().message == f"unexpected {type(make()).__name__}: {make()}"
