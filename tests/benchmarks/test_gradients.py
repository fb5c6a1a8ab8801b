"""The benchmark of per-sample gradients: what it prints, and that what it measures is right. Never how long it takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from oga_core import benchmarks
from oga_core.benchmarks import gpu, gradients as measured
from oga_core.benchmarks.layered import make_layered
from oga_core.benchmarks.machine import count_flops
from oga_core.benchmarks.methods import OURS
from oga_core.benchmarks.models import Case
from oga_core.benchmarks.others import OTHERS, by_vmap
from oga_core.cli import main

FIELDS = {
    "model",
    "scope",
    "method",
    "ratio",
    "ratio_cpu",
    "peak_memory_ratio",
    "peak_memory",
    "spread",
    "error",
    "note",
    "samples_per_second",
    "tflops",
    "share_of_peak",
}
TINY = ["bench", "gradients", "--model", "tiny", "--batch", "4", "--repeats", "1"]
EXACT = [method.name for method in OURS if method.name != "sketch of width 512"]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    before = torch.get_num_threads()
    found = benchmarks.compare(["tiny"], against="none", batch=4, repeats=1, threads=1)
    assert torch.get_num_threads() == before
    return found


def test_every_row_has_the_fields(rows: list[dict[str, Any]]) -> None:
    assert [set(row) for row in rows] == [FIELDS] * len(rows)
    assert [row["method"] for row in rows][:3] == ["plain", "forward only", "activations only"]
    assert {row["method"] for row in rows} >= {*EXACT, "sketch of width 512", "one at a time"}
    assert {row["scope"] for row in rows if row["method"] == "head, closed form"} == {"head"}


def test_ratios_are_positive_and_lie_in_their_spread(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        low, high = row["spread"]
        assert 0 < low <= row["ratio"] <= high
        assert row["peak_memory_ratio"] is None or row["peak_memory_ratio"] >= 0


def test_norms_are_those_of_each_sample_alone(rows: list[dict[str, Any]]) -> None:
    errors = {row["method"]: row["error"] for row in rows}
    assert [name for name in (*EXACT, "one at a time") if not errors[name] < 1e-4] == []
    assert errors["plain"] is None
    assert errors["sketch of width 512"] is None


def test_the_plain_row_says_where_it_was_measured(rows: list[dict[str, Any]]) -> None:
    note = rows[0]["note"]
    assert all(word in note for word in ("GFLOP/s", "batch 4", "threads 1", f"torch {torch.__version__}", "allocator"))


def test_the_table_has_a_line_for_each_row(rows: list[dict[str, Any]]) -> None:
    lines = benchmarks.format_table([*rows, {**rows[1], "ratio": None, "spread": None, "note": "raises a|b"}]).splitlines()
    assert lines[0].startswith("**tiny**, scope `all`")
    assert {line.replace("\\|", "").count("|") for line in lines[2:]} == {8}
    assert len(lines) == 2 + 2 + len(rows) + 1
    assert "raises a\\|b" in lines[-1]


def test_a_table_of_a_gpu_tells_how_much_of_it_is_used(rows: list[dict[str, Any]]) -> None:
    used = {"tflops": 123.4, "share_of_peak": 0.1247, "peak_memory": 2_340_000_000}
    lines = benchmarks.format_table([row | used for row in rows]).splitlines()
    assert "| samples/s | TFLOP/s | of the peak | memory, GB |" in lines[2]
    assert {line.count("|") for line in lines[2:]} == {10}
    assert "| 123 | 12% | 2.3 |" in lines[4]


def test_adapters_are_measured_too_and_norms_are_those_of_each_sample_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("peft", reason="peft is not installed (pip install 'oga-core[hf]')")
    monkeypatch.setattr(measured, "peak_memory", lambda *_: None)  # in processes of their own, which would all import it
    assert gpu.main(["--device", "cpu", "--repeats", "1", "--against", "vmap", "--json", str(tmp_path / "rows.json")]) == 0
    assert capsys.readouterr().out.count("scope `lora`") == 2
    found = json.loads((tmp_path / "rows.json").read_text())
    assert {(row["model"], row["dtype"]) for row in found} == {("tiny-bert", "bfloat16"), ("tiny-llama", "float32")}
    for model, allowed in (("tiny-bert", 0.05), ("tiny-llama", 1e-4)):
        rows = {row["method"]: row for row in found if row["model"] == model}
        assert all(row["samples_per_second"] > 0 for row in rows.values())
        assert [name for name, row in rows.items() if row["error"] is not None and not row["error"] < allowed] == []
        assert {name for name, row in rows.items() if row["error"] is not None} >= {
            "L2, exact",
            "L1 and L2, exact",
            "one at a time, gradients kept (DataInf)",
            "torch.func vmap(grad), L2",
        }
        assert ("head, closed form" in rows) == (model == "tiny-bert")


def test_attention_with_fewer_keys_than_queries_is_counted() -> None:
    query, key = torch.empty(2, 8, 16, 4, device="meta"), torch.empty(2, 2, 16, 4, device="meta")
    attend = torch.ops.aten._scaled_dot_product_flash_attention
    assert count_flops(lambda: attend(query, key, key) and {}) == 2 * (2 * 2 * 8 * 16 * 16 * 4)


def test_batched_products_whose_type_is_told_are_counted() -> None:
    x, y = (torch.empty(3, 4, 4, device="meta", dtype=torch.bfloat16) for _ in range(2))

    def multiply() -> dict[str, Any]:
        torch.ops.aten.bmm.dtype(x, y, torch.float32)
        return {}

    assert count_flops(multiply) == 2 * 3 * 4**3


def test_the_command_prints_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def compare(models: list[str], *arguments: str, **settings: Any) -> list[dict[str, Any]]:
        seen.update(models=models, arguments=arguments, **settings)
        return [{"model": "tiny"}]

    monkeypatch.setattr(benchmarks, "compare", compare)
    assert main([*TINY, "--scope", "fc.*", "--against", "vmap,trak", "--threads", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"model": "tiny"}]
    assert (seen["models"], seen["arguments"]) == (["tiny"], ("fc.*", "vmap,trak"))
    assert (seen["batch"], seen["repeats"], seen["threads"]) == (4, 1, 1)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--model", "resnet9"], "resnet9"),
        (["--against", "vmap,opakus"], "opakus"),
        (["--scope", "no.such"], "no.such"),
        (["--batch", "1"], "--batch 1"),
        (["--repeats", "0"], "--repeats 0"),
        (["--threads", "0"], "--threads 0"),
        (["--batch", "many"], "many"),
        (["--scope", "lora"], "LoRA"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(options: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TINY, *options]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert named in error


def exact(case: Case) -> np.ndarray:
    """L2 norms over the scope in double precision."""
    double = case.double()
    norms = []
    for i in range(len(double.targets)):
        loss = torch.nn.functional.cross_entropy(double.module(double.inputs[i : i + 1]), double.targets[i : i + 1])
        grads: tuple[Tensor, ...] = torch.autograd.grad(loss, list(double.parameters.values()))
        norms.append(sum(float(g.square().sum()) for g in grads) ** 0.5)
    return np.array(norms)


@pytest.mark.parametrize("scope", ["all", "head", "layers.*"])
@pytest.mark.parametrize("chunk", [2, 4])
def test_vmap_gives_the_norms_of_the_scope(scope: str, chunk: int) -> None:
    case = Case.of("tiny", 4, scope)
    np.testing.assert_allclose(by_vmap(case, chunk)()["l2"], exact(case), rtol=1e-5)


@pytest.mark.parametrize("model", ["resnet18", "tiny"])
def test_the_copy_for_other_libraries_computes_the_same(model: str) -> None:
    case = Case.of(model, 2, "all")
    for norms in (False, True):
        changed = make_layered(case, norms=norms)
        assert torch.allclose(changed(case.inputs), case.module(case.inputs), rtol=1e-3, atol=1e-4)
        assert sum(p.numel() for p in changed.parameters()) == sum(p.numel() for p in case.module.parameters())
    assert all(p.requires_grad for p in changed.parameters())


@pytest.mark.parametrize("name", [name for name, method in OTHERS.items() if method.package])
def test_an_installed_library_does_the_tiny_model(name: str) -> None:
    pytest.importorskip(str(OTHERS[name].package))
    row = benchmarks.compare(["tiny"], against=name, batch=4, repeats=1)[-1]
    assert row["ratio"] or row["note"]
