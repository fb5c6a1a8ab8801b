"""1 to 25: models."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from oga_core.containment import machine_bytes
from oga_core.models.starters import FeatureMLP
from tests.corpus.case import Answer, Case, Given
from tests.corpus.seeds import zipped

LABELS = "abc"
WITNESS = Path("code-was-run")


class Attack:
    """Would leave a witness if it were unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, (f"__import__('pathlib').Path({str(WITNESS)!r}).touch()",)


class Own(nn.Module):
    """A module of the user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)


def features(folder: Path) -> Path:
    """12 rows of four features in three classes."""
    rows = "".join(f"{i},{i * i % 7},{-i},0.5,{LABELS[i % 3]}\n" for i in range(12))
    (folder / "features.csv").write_text(f"w,x,y,z,label\n{rows}")
    return folder / "features.csv"


def state(classes: int = 3) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return dict(FeatureMLP(classes, 4).state_dict())


def torch_file(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def weights(name: str, data: Callable[[], bytes]) -> Callable[[Path], Given]:
    """A weights file of some bytes for our MLP."""

    def make(folder: Path) -> Given:
        (folder / name).write_bytes(data())
        return Given(features(folder), "feature_mlp", folder / name)

    return make


def made(model: str) -> Callable[[Path], Given]:
    """A model that a factory makes."""
    return lambda folder: Given(features(folder), f"tests.corpus.tiny:{model}")


def named(model: str) -> Callable[[Path], Given]:
    """Good weights for an architecture of this name."""

    def make(folder: Path) -> Given:
        (folder / "w.safetensors").write_bytes(save(state()))
        return Given(features(folder), model, folder / "w.safetensors")

    return make


def program(**entries: bytes) -> bytes:
    """A ``.pt2``: a zip of a program."""
    return zipped({"m/archive_format": b"pt2", "m/models/model.json": b"{}", **{f"m/{k}": v for k, v in entries.items()}})


def changed(**tensors: Tensor) -> dict[str, Tensor]:
    return state() | {name.replace("__", "."): value for name, value in tensors.items()}


def with_entry(name: str, value: float) -> dict[str, Tensor]:
    tensors = state()
    tensors[name].view(-1)[1] = value
    return tensors


def renamed() -> dict[str, Tensor]:
    tensors = state()
    tensors["extra.weight"] = tensors.pop("hidden.weight")
    return tensors


def repacked(old: bytes = b"", new: bytes = b"", compression: int = zipfile.ZIP_STORED) -> bytes:
    """Good weights in a zip of our own, with some bytes of the pickle replaced."""
    source = zipfile.ZipFile(io.BytesIO(torch_file(state())))
    return zipped({name: source.read(name).replace(old, new) for name in source.namelist()}, compression)


def safetensors(header: str, data: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header.encode() + data


ONE = '{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'


def too_large(folder: Path) -> Given:
    """A sparse file: its header is right, and it is larger than the memory of this machine."""
    size = machine_bytes() // 8 * 8
    header = json.dumps({"w": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
    path = folder / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with open(path, "r+b") as handle:
        handle.truncate(8 + len(header) + size)
    return Given(features(folder), "feature_mlp", path)


def hugging_face(config: dict[str, Any], **files: bytes) -> Callable[[Path], Given]:
    """A folder with settings and files."""

    def make(folder: Path) -> Given:
        model = folder / "hf"
        model.mkdir()
        (model / "config.json").write_text(json.dumps(config))
        for name, data in files.items():
            (model / name.replace("__", ".")).write_bytes(data)
        (folder / "texts.csv").write_text("text,label\n" + "one,x\ntwo,y\n" * 4)
        return Given(folder / "texts.csv", weights=model)

    return make


def hugging_face_zip(**files: bytes) -> Callable[[Path], Given]:
    """The same as a zip, with files by path."""

    def make(folder: Path) -> Given:
        given = hugging_face(BERT)(folder)
        with zipfile.ZipFile(folder / "hf.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("hf/config.json", json.dumps(BERT))
            for name, data in files.items():
                archive.writestr(name, data)
        return Given(given.data, weights=folder / "hf.zip")

    return make


def nothing_ran(answer: Answer | None = None) -> None:
    assert not WITNESS.exists()


def one_is_left_out(answer: Answer) -> None:
    assert len(answer.run.table) == 11


BERT = {"model_type": "bert"}
NO_CODE = "tests/models/test_weights.py::test_code_in_a_pickle_is_named_and_never_run"

CASES = [
    Case(
        1,
        "pt2 with pickled inputs",
        weights("m.pt2", lambda: program(data=pickle.dumps(Attack()))),
        ["m.pt2: .pt2 files hold a program and are not opened", "torch.save(model.state_dict()"],
    ),
    Case(
        2,
        "pt2 with code in an expression",
        weights("m.pt", lambda: program(extra=b'{"expr": "exec(1)"}')),
        ["m.pt is an exported program (.pt2), which can run code and is not opened"],
    ),
    Case(
        3,
        "TorchScript",
        weights("m.pt", lambda: zipped({"m/code/m.py": b"", "m/constants.pkl": b"", "m/data.pkl": b""})),
        ["m.pt is TorchScript, which can run code and is not opened", "torch.save(model.state_dict()"],
    ),
    Case(
        4,
        "whole pickled module",
        weights("m.pt", lambda: torch_file(Own())),
        ["m.pt is a pickled object that needs 'tests.corpus.models.Own'", "torch.save(model.state_dict()"],
    ),
    Case(
        4,
        "state dict with code beside it",
        weights("m.pt", lambda: torch_file({**state(), "x": Attack()})),
        ["eval' and could run code: refused"],
    ),
    Case(
        5, "made to fail weights_only", weights("m.pt", lambda: pickle.dumps(Attack(), 2)), ["eval' and could run code: refused"]
    ),
    Case(
        5,
        "made to fail weights_only after the check",
        weights("m.pt", lambda: repacked(b"_rebuild_tensor_v2", b"_rebuild_tensor_v3")),
        ["m.pt is a pickled object that needs 'torch._utils._rebuild_tensor_v3'", "refused"],
    ),
    Case(5, "code is never run", elsewhere=NO_CODE),
    Case(
        6,
        "stride-0 tensor of 160 GB",
        weights("w.pt", lambda: torch_file(changed(w=torch.zeros(1).expand(40, 10**9)))),
        ["w.pt: a tensor of shape (40, 1000000000) declares far more than it stores: 40,000,000,000 values over 1"],
    ),
    Case(
        7,
        "deflated checkpoint",
        weights("w.pt", lambda: repacked(compression=zipfile.ZIP_DEFLATED)),
        ["w.pt: entry 'archive/", "is compressed (deflated), not stored"],
    ),
    Case(8, "truncated", weights("w.pt", lambda: torch_file(state())[:1500]), ["w.pt is truncated or damaged (1,500 bytes)"]),
    Case(
        8,
        "truncated safetensors",
        weights("w.safetensors", lambda: save(state())[:-100]),
        ["w.safetensors is damaged: the tensors declare", "the file stores"],
    ),
    Case(8, "empty", weights("w.pt", lambda: b""), ["w.pt is empty (0 bytes); copy the weights file again"]),
    Case(
        9, "HTML page", weights("w.pt", lambda: b"<!DOCTYPE html><p>Sign in</p>"), ["w.pt is a web page (29 bytes), not weights"]
    ),
    Case(
        9,
        "Git LFS pointer",
        weights("w.pt", lambda: b"version https://git-lfs.github.com/spec/v1\nsize 44\n"),
        ["w.pt is a Git LFS pointer of 51 bytes, not the weights; run git lfs pull"],
    ),
    Case(
        10,
        "NaN weights",
        weights("w.pt", lambda: torch_file(with_entry("head.bias", torch.nan))),
        ["w.pt: head.bias holds NaN", "give another checkpoint"],
    ),
    Case(
        10,
        "infinite weights",
        weights("w.safetensors", lambda: save(with_entry("hidden.weight", torch.inf))),
        ["w.safetensors: hidden.weight holds infinite values"],
    ),
    Case(
        11,
        "missing and unexpected keys",
        weights("w.pt", lambda: torch_file(renamed())),
        ["1 missing (hidden.weight) and 1 unexpected (extra.weight)"],
    ),
    Case(
        11,
        "module prefix",
        weights("w.pt", lambda: torch_file({f"module.{k}": v for k, v in state().items()})),
        samples=12,
        noted=["the prefix 'module.' was taken off every key of w.pt"],
    ),
    Case(
        12,
        "head of another size",
        weights("w.pt", lambda: torch_file(state(5))),
        ["the weights of feature_mlp have 5 outputs, the classes are 3; they must be the same"],
    ),
    Case(
        13,
        "integer weights",
        weights("w.pt", lambda: torch_file(changed(head__weight=torch.ones(3, 128, dtype=torch.int8)))),
        ["w.pt: head.weight is torch.int8: quantized or integer weights have no gradients"],
    ),
    Case(
        13,
        "half precision",
        weights("w.pt", lambda: torch_file({k: v.half() for k, v in state().items()})),
        samples=12,
        noted=["6 tensors of w.pt are in half precision; they are used as float32"],
    ),
    Case(
        14,
        "duplicate keys",
        weights("w.safetensors", lambda: safetensors(f'{{"a":{ONE},"a":{ONE}}}', b"\0" * 8)),
        ["w.safetensors: key 'a' appears twice in the safetensors header"],
    ),
    Case(
        14,
        "overlapping tensors",
        weights("w.safetensors", lambda: safetensors(f'{{"a":{ONE},"b":{ONE}}}', b"\0" * 8)),
        ["w.safetensors cannot be read as safetensors"],
    ),
    Case(
        15,
        "config with auto_map",
        hugging_face(BERT | {"auto_map": {"AutoModel": "m.M"}}, model__safetensors=b""),
        ["hf/config.json names code of its own (auto_map): it is refused"],
    ),
    Case(
        15,
        "config with a nested trust_remote_code",
        hugging_face(BERT | {"a": [{"trust_remote_code": True}]}, model__safetensors=b""),
        ["hf/config.json names code of its own (a.0.trust_remote_code): it is refused"],
    ),
    Case(
        16,
        "folder with only .bin",
        hugging_face(BERT, pytorch_model__bin=b""),
        ["hf holds only pytorch_model.bin, which is not opened"],
    ),
    Case(
        16, "folder with .py", hugging_face(BERT, modeling__py=b"", model__safetensors=b""), ["hf holds a script (modeling.py)"]
    ),
    Case(
        16,
        "zip of a folder with .py",
        hugging_face_zip(**{"hf/code/modeling.py": b"", "hf/model.safetensors": b""}),
        ["hf.zip holds a script (code/modeling.py)"],
    ),
    Case(
        40,
        "entry of a model's zip that leads elsewhere",
        hugging_face_zip(**{"../model.safetensors": b""}),
        ["hf.zip: entry '../model.safetensors' leads out of the archive"],
    ),
    Case(
        44,
        "entry of a model's zip that unpacks to more than is read",
        hugging_face_zip(**{"hf/model.safetensors": bytes(1 << 20), "hf/tokenizer.json": bytes(1 << 20)}),
        ["hf.zip/tokenizer.json: the file is too large: the limit model_bytes is 1,000 bytes"],
        limits={"model_bytes": 1000},
    ),
    Case(
        17,
        "missing shard or one that leads elsewhere",
        elsewhere="tests/models/test_hugging_face_refused.py::test_a_shard_index_that_leads_elsewhere_is_refused",
    ),
    Case(
        18,
        "architecture on a hub",
        named("hf-hub:x/y"),
        ["architecture 'hf-hub:x/y' is not on the list: models are never downloaded"],
    ),
    Case(19, "resnet51", named("resnet51"), ["unknown architecture 'resnet51'; did you mean resnet50"]),
    Case(20, "train mode", made("InTraining"), samples=12, noted=["the model was put in eval mode (dropout off, batch norm"]),
    Case(20, "alone as in a batch", elsewhere="tests/scoring/test_scoring.py::test_a_sample_scores_the_same_in_any_batch"),
    Case(21, "no trainable parameter", made("Frozen"), ["tiny:Frozen has no trainable parameters, so there are no gradients"]),
    Case(22, "tuple", made("InTuple"), samples=12),
    Case(22, "dict", made("InDict"), samples=12),
    Case(22, "3-D output", made("ThreeD"), ["tiny:ThreeD returns shape (1, 1, 3)", "logits (n, classes) are needed"]),
    Case(
        23,
        "NaN loss for one sample",
        made("NotANumber"),
        samples=12,
        listed={"row 5": "the model's output is not finite"},
        check=one_is_left_out,
    ),
    Case(24, "too large for the machine", too_large, ["w.safetensors holds", "GB of memory; this machine has"]),
    Case(
        25,
        "not deterministic",
        made("ByChance"),
        samples=12,
        noted=["the model is not deterministic: of 12 samples that were run twice"],
    ),
]
