"""76 to 100: found by ``python -m tests.corpus.fuzz``, each with its mutation; and by hand, where a mutation does not get to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import save

from tests.corpus.archives import BLUE, GOOD, RED, archive, entry, images
from tests.corpus.case import Answer, Case, Given, Oga
from tests.corpus.models import features, made, state, torch_file, weights
from tests.corpus.mutations import Mutation, mutated
from tests.corpus.seeds import SEEDS, encoded, noise, zipped
from tests.corpus.tables import FEATURES, TEXTS, file, npy, npz, parquet, texts


def damaged(reader: str, seed: int, *mutations: Mutation) -> bytes:
    """A seed of a reader after some mutations."""
    return mutated(SEEDS[reader][seed % len(SEEDS[reader])](), list(mutations))


BOMB = damaged("png", 4, ("flip", 21, 7), ("crc",))
BAD_EXIF = encoded(noise(), exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x09\x01\x12")
BAD_APNG = damaged("png", 4, ("cut", 150), ("token", 128, b":"))
BAD_TAG = encoded(noise(), "WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\xff\xff\xff\0\0\0\x08")
OLD_FORMAT = torch_file(state(), _use_new_zipfile_serialization=False)
ODD_IMAGES = {**GOOD, "b/1.png": BOMB, "b/2.png": BAD_EXIF, "b/4.png": BAD_APNG, "b/5.webp": BAD_TAG}


def nothing_is_warned_of(folder: Path, oga: Oga) -> None:
    """In a process of its own: pytest takes warnings away."""
    given = images(ODD_IMAGES)(folder)
    code = "import sys; from oga_core.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *given.command]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env=os.environ, check=False)
    stages = {"opening the data", "scoring", "isolation forest", "looking at every sample", "writing"}
    assert (done.returncode, set(done.stderr.splitlines()) - stages) == (0, set())


def a_key_a_line() -> bytes:
    """A new column a line: n lines stand for n squared cells."""
    return b"".join(b'{"text": "a", "label": "x", "k%d": 1}\n' % i for i in range(2000))


def a_run_of_one_value() -> bytes:
    return parquet(pa.table({"text": ["a"] * 100_000, "label": ["x"] * 100_000}))


def many_columns() -> str:
    names = [f"c{i}" for i in range(100_000)]
    return ",".join(["text", "label", *names, "c0"]) + "\n"


def with_odd_entry() -> bytes:
    before, name, after = torch_file(state()).rpartition(b"archive/")
    return before + name.replace(b"c", b"\xf9") + after


def with_nul_in_a_name() -> bytes:
    before, _, after = torch_file(state()).rpartition(b"archive/data.pkl")
    return before + b"arch\0ve/data.pkl" + after


def forged_arguments(folder: Path) -> Given:
    about = {"name": "feature_mlp", "class_names": ["a", "b", "c"], "spec": {"features": 1_000_000, "width": 4096}}
    (folder / "w.safetensors").write_bytes(save(state(), metadata={"oga": json.dumps(about)}))
    return Given(features(folder), weights=folder / "w.safetensors")


def pipe(folder: Path) -> Given:
    os.mkfifo(folder / "t.csv")
    return Given(folder / "t.csv", TEXTS)


def sources(*expected: str) -> Callable[[Answer], None]:
    """Checks what the samples are called."""

    def check(answer: Answer) -> None:
        assert list(answer.dataset.sources) == list(expected)

    return check


def no_number(answer: Answer) -> None:
    assert answer.dataset.kind == "text"
    assert answer.dataset.text(0) == "1_000"


def views() -> bytes:
    base = torch.zeros(1000).half()
    return torch_file({f"k{i}": base for i in range(20)})


def inside(names: Sequence[str]) -> Callable[[Path], Given]:
    """A zip of three images of these names."""
    return archive(lambda: zipped(dict(zip(names, GOOD.values(), strict=True))))


NFD = unicodedata.normalize("NFD", "a/é.png")
READ_AS = sources("a/1.png", "a/2.png", "b/3.png")
REFUSED_PT = "is truncated or damaged"

CASES = [
    Case(76, "pt with an entry name that is not UTF-8", weights("w.pt", with_odd_entry), [f"w.pt {REFUSED_PT}"]),
    Case(
        77,
        "pt with another name before the entry",
        weights("w.pt", lambda: damaged("pt", 0, ("byte", 42, 133))),
        [f"w.pt {REFUSED_PT}"],
    ),
    Case(
        77,
        "pt with two entries that differ in case",
        weights("w.pt", lambda: zipped({"m/data.pkl": b"", "m/DATA.pkl": b""})),
        ["w.pt has two entries of one name; this is not a file torch.save has written"],
    ),
    Case(77, "pt with NUL in the name of an entry", weights("w.pt", with_nul_in_a_name), [f"w.pt {REFUSED_PT}", "differ"]),
    Case(
        78,
        "pt with a length of nine exabytes",
        weights("w.pt", lambda: damaged("pt", 4, ("flip", 2, 2))),
        ["w.pt is truncated or no PyTorch file"],
    ),
    Case(
        79,
        "pt with NUL in a key",
        weights("w.pt", lambda: OLD_FORMAT.replace(b"hidden.bias", b"hidden.\0ias")),
        ["1 missing (hidden.bias) and 1 unexpected (hidden.\\x00ias)"],
    ),
    Case(80, "pt of another pickle protocol", weights("w.pt", lambda: mutated(OLD_FORMAT, [("flip", 1, 0)])), samples=12),
    Case(
        81,
        "PNG a little over the limit of Pillow",
        images({**GOOD, "b/1.png": BOMB}),
        samples=4,
        listed={"b/1.png": "the limit image_pixels is 50,000,000 pixels"},
    ),
    Case(81, "nothing is warned of", act=nothing_is_warned_of),
    Case(82, "PNG with broken EXIF", images({**GOOD, "b/2.png": BAD_EXIF}), samples=4),
    Case(83, "APNG cut short", images({**GOOD, "b/4.png": BAD_APNG}), samples=4, listed={"b/4.png": "cannot be decoded"}),
    Case(84, "WebP with an EXIF tag larger than the file", images({**GOOD, "b/5.webp": BAD_TAG}), samples=4),
    Case(85, "zip of ./ names", inside(["./a/1.png", "./a/2.png", "./b/3.png"]), samples=3, check=READ_AS),
    Case(
        86,
        "zip that lists fewer entries than it says",
        archive(lambda: zipped(GOOD).replace(b"PK\5\6\0\0\0\0\3\0\3\0", b"PK\5\6\0\0\0\0\5\0\5\0")),
        ["data.zip says that it has 5 entries and lists 3; it is damaged: make it again"],
    ),
    Case(85, "zip of // names", inside(["a//1.png", "a/./2.png", "b/3.png"]), samples=3, check=READ_AS),
    Case(
        87,
        "zip with one name written in two ways",
        entry("./a/1.png", BLUE),
        ["data.zip: entries 'a/1.png' and './a/1.png' have the same name"],
    ),
    Case(
        88,
        "zip with one name in two Unicode forms",
        archive(lambda: zipped({**GOOD, "a/é.png": RED, NFD: BLUE})),
        ["data.zip: entries 'a/é.png' and", "have the same name"],
    ),
    Case(
        89,
        "README beside the only data folder",
        archive(lambda: zipped({"README.md": b"x", "LICENSE": b"x", **{f"data/{k}": v for k, v in GOOD.items()}})),
        samples=3,
        check=sources("data/a/1.png", "data/a/2.png", "data/b/3.png"),
        noted=["2 beside the class folders"],
    ),
    Case(
        90,
        "transform that fails for one sample",
        made("Fails"),
        samples=12,
        listed={"row 5": "cannot be made the input of the model: KeyError: 'no such sample in my index'"},
    ),
    Case(
        91,
        "parquet whose error holds bytes of the file",
        file("t.parquet", lambda: damaged("parquet", 4, ("byte", 4, 79))),
        ["t.parquet is not a readable parquet file: Couldn't deserialize thrift: don't know what type: \\x0f"],
    ),
    Case(
        92,
        "JSONL with a new key in every line",
        file("t.jsonl", a_key_a_line),
        ["t.jsonl, line 1000: 1,000 rows of 1,002 columns; the limit cells is 1,000,000 cells"],
        limits={"cells": 1_000_000},
    ),
    Case(
        93,
        "parquet that is one value over and over",
        file("t.parquet", a_run_of_one_value),
        ["t.parquet: 100,000 rows of 2 columns; the limit cells is 100,000 cells"],
        limits={"cells": 100_000},
    ),
    Case(94, "CSV of 100,000 columns", file("t.csv", many_columns), ["t.csv, line 1: duplicate column 'c0'"]),
    Case(
        95,
        "label of 2 to the 64",
        file("t.npz", lambda: npz(x=npy(np.eye(2)), y=npy(np.array([0, 2**64 - 1], np.uint64))), model=FEATURES),
        ["label 18446744073709551615 is too large"],
    ),
    Case(
        96,
        "many tensors over one storage",
        weights("w.pt", views),
        ["w.pt declares far more than it stores: 20 tensors of 40,000 bytes over 2,000"],
    ),
    Case(
        97,
        "arguments of a model of 16 GB",
        forged_arguments,
        ["feature_mlp has 4,096,016,387 values with these arguments, the weights only"],
    ),
    Case(98, "pipe", pipe, ["t.csv is neither a file nor a folder"]),
    Case(99, "numbers only for Python", file("t.csv", "amount,label\n1_000,x\n2_000,y\n"), samples=2, check=no_number),
    Case(
        100,
        "parquet with a column of bytes",
        file("t.parquet", lambda: parquet(pa.table({"text": ["a", "b"], "label": ["x", "y"], "image": [b"\xff", b"\xfe"]}))),
        samples=2,
        check=texts("a", "b"),
        noted=["columns of lists, records or bytes were left out: image"],
    ),
]
