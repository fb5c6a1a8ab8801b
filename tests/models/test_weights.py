"""Weights files of every kind that is refused, each with its own message, and those that are read."""

from __future__ import annotations

import json
import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from oga_core.errors import InputError
from oga_core.models.weights import load_strict, read_state_dict


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 3)
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 2)


class Attack:
    """Would run code if it were unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("__import__('sys').exit(99)",)


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_state_dict(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("suffix", ["pt", "pth", "th", "bin"])
def test_a_state_dict_is_read_in_both_torch_formats(tmp_path: Path, suffix: str, zipped: bool) -> None:
    net, path = Net(), tmp_path / f"net.{suffix}"
    torch.save(net.state_dict(), path, _use_new_zipfile_serialization=zipped)
    state, metadata = read_state_dict(path)
    assert metadata == {"notes": []}
    assert state.keys() == net.state_dict().keys()
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())


def test_a_checkpoint_with_optimizer_and_module_prefix_is_taken_apart_and_said(tmp_path: Path) -> None:
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters())
    net.head(net.norm(net.body(torch.ones(2, 4)))).sum().backward()
    optimizer.step()
    inner = {f"module.{k}": v for k, v in net.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": inner, "optimizer": optimizer.state_dict()}, tmp_path / "c.pt")
    state, metadata = read_state_dict(tmp_path / "c.pt")
    load_strict(Net(), state)
    assert ["'state_dict'" in metadata["notes"][0], "'module.'" in metadata["notes"][1]] == [True, True]


def test_parameters_shared_storages_and_half_precision_are_read(tmp_path: Path) -> None:
    base = torch.arange(12.0)
    tensors = {"a": base[:6].view(2, 3), "b": nn.Parameter(base[6:]), "c": base.half(), "d": base.bfloat16()}
    torch.save(tensors, tmp_path / "w.pt")
    state, metadata = read_state_dict(tmp_path / "w.pt")
    assert torch.equal(state["a"], base[:6].view(2, 3))
    assert torch.equal(state["b"], base[6:])
    assert {v.dtype for v in state.values()} == {torch.float32}
    assert metadata["notes"] == ["2 tensors of w.pt are in half precision; they are used as float32"]


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickled_module_is_refused_and_names_what_it_needs(tmp_path: Path, zipped: bool) -> None:
    torch.save(Net(), tmp_path / "m.pt", _use_new_zipfile_serialization=zipped)
    assert "test_weights.Net'" in refusal(tmp_path / "m.pt")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_named_and_never_run(tmp_path: Path, protocol: int, zipped: bool) -> None:
    state = {"w": torch.zeros(2), "x": Attack()}
    torch.save(state, tmp_path / "a.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    assert "builtin" in (message := refusal(tmp_path / "a.pt"))
    assert "eval" in message
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Attack(), protocol))
    assert "eval" in refusal(tmp_path / "plain.pt")


def test_torchscript_and_exported_programs_are_refused_by_type(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "script.pt")
        torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),)), tmp_path / "program.pt2")
    assert "TorchScript" in refusal(tmp_path / "script.pt")
    assert ".pt2" in refusal(tmp_path / "program.pt2")
    (tmp_path / "program.pt2").rename(tmp_path / "program.pt")
    assert "exported program" in refusal(tmp_path / "program.pt")


def rewritten(source: Path, target: Path, compression: int = zipfile.ZIP_STORED, **changes: bytes) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for entry in old.namelist():
            new.writestr(entry, changes.get(entry.partition("/")[2].replace("/", "_"), old.read(entry)))
    return target


def test_a_storage_larger_than_its_entry_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(8)}, tmp_path / "w.pt")
    path = rewritten(tmp_path / "w.pt", tmp_path / "short.pt", data_0=b"\0" * 4)
    assert "declares 32 bytes but stores 4" in refusal(path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_truncated_file_says_so(tmp_path: Path, share: float, zipped: bool) -> None:
    torch.save(Net().state_dict(), tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    whole = (tmp_path / "w.pt").read_bytes()
    (tmp_path / "w.pt").write_bytes(whole[: int(len(whole) * share)])
    assert "truncated" in refusal(tmp_path / "w.pt")


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_files_that_are_something_else_are_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w.{suffix}"
    assert "weights file not found: " in refusal(path)
    path.write_bytes(b"")
    assert "empty (0 bytes)" in refusal(path)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 44\n")
    assert "Git LFS pointer" in refusal(path)
    path.write_bytes(b"\n <!DOCTYPE html><html><body>Sign in</body></html>")
    assert "web page" in refusal(path)
    path.write_bytes(bytes(range(256)) * 8)
    assert "truncated or no" in refusal(path)


def test_an_unknown_suffix_and_a_zip_of_something_else_are_refused(tmp_path: Path) -> None:
    torch.save(Net().state_dict(), tmp_path / "w.ckpt")
    assert ".ckpt" in refusal(tmp_path / "w.ckpt")
    with zipfile.ZipFile(tmp_path / "images.pt", "w") as archive:
        archive.writestr("cat/1.png", b"png")
    assert "no data.pkl" in refusal(tmp_path / "images.pt")


@pytest.mark.parametrize(("value", "word"), [(float("nan"), "NaN"), (float("inf"), "infinite")])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path, value: float, word: str, suffix: str) -> None:
    state = OrderedDict(Net().state_dict())
    state["norm.running_var"][1] = value
    (torch.save if suffix == "pt" else save_file)(state, tmp_path / f"w.{suffix}")
    message = refusal(tmp_path / f"w.{suffix}")
    assert "norm.running_var" in message
    assert word in message


def test_integer_and_quantized_weights_are_refused_and_counters_are_not(tmp_path: Path) -> None:
    torch.save({"body.weight": torch.zeros(3, 4, dtype=torch.int8)}, tmp_path / "w.pt")
    assert "body.weight is torch.int8" in refusal(tmp_path / "w.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save({"body.weight": torch.quantize_per_tensor(torch.ones(3, 4), 0.1, 0, torch.qint8)}, tmp_path / "q.pt")
    assert "quantized" in refusal(tmp_path / "q.pt")
    torch.save({"n.num_batches_tracked": torch.tensor(7), "w": torch.zeros(2)}, tmp_path / "n.pt")
    assert read_state_dict(tmp_path / "n.pt")[0]["n.num_batches_tracked"] == 7


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, {}, torch.zeros(3), {1: torch.zeros(2)}])
def test_a_file_without_named_tensors_is_refused(tmp_path: Path, value: object) -> None:
    torch.save(value, tmp_path / "w.pt")
    assert "no tensors by name" in refusal(tmp_path / "w.pt")


def test_entries_beside_the_weights_are_not_ignored(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(2), "classes": ["a"]}, tmp_path / "w.pt")
    assert "classes" in refusal(tmp_path / "w.pt")


def safetensors_file(path: Path, header: str, data: bytes) -> Path:
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode() + data)
    return path


def test_damaged_safetensors_are_refused(tmp_path: Path) -> None:
    one = '{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
    path = tmp_path / "w.safetensors"
    assert "'a' appears twice" in refusal(safetensors_file(path, f'{{"a":{one},"a":{one}}}', b"\0" * 8))
    assert "cannot be read" in refusal(safetensors_file(path, f'{{"a":{one},"b":{one}}}', b"\0" * 8))
    assert "declare 8 bytes, the file stores 4" in refusal(safetensors_file(path, f'{{"a":{one}}}', b"\0" * 4))
    assert "header is not readable" in refusal(safetensors_file(path, "{not json", b""))
    assert "header is not readable" in refusal(safetensors_file(path, "[1]", b""))
    save_file({"w": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:20])
    assert "truncated" in refusal(path)


def test_safetensors_metadata_come_along(tmp_path: Path) -> None:
    save_file({"w": torch.ones(2)}, tmp_path / "w.safetensors", metadata={"oga": json.dumps({"name": "x"})})
    state, metadata = read_state_dict(tmp_path / "w.safetensors")
    assert torch.equal(state["w"], torch.ones(2))
    assert metadata == {"oga": '{"name": "x"}', "notes": []}


def test_loading_lists_what_does_not_fit() -> None:
    state = OrderedDict(Net().state_dict())
    state["extra.weight"] = state.pop("body.weight")
    with pytest.raises(InputError, match=r"1 missing \(body.weight\) and 1 unexpected \(extra.weight\)"):
        load_strict(Net(), state)
    state = OrderedDict(Net().state_dict())
    state["head.weight"] = torch.zeros(5, 3)
    with pytest.raises(InputError, match=r"head.weight is \(5, 3\), the model has \(2, 3\)"):
        load_strict(Net(), state)
    state = OrderedDict(Net().state_dict())
    state["norm.running_mean"] = torch.zeros(3, dtype=torch.int64)
    with pytest.raises(InputError, match=r"integers for floats: norm\.running_mean"):
        load_strict(Net(), state)
    many = {f"k{i}": torch.zeros(1) for i in range(9)}
    with pytest.raises(InputError, match=r"9 unexpected \(k0, k1, k2, k3, k4, …\)"):
        load_strict(Net(), many | Net().state_dict())
