"""50 to 65: tables and arrays."""

from __future__ import annotations

import csv
import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from oga_core.data import open_dataset
from oga_core.models import make_untrained, save_weights
from tests.corpus.archives import GOOD, images
from tests.corpus.case import Answer, Case, Given, Oga

TEXTS, FEATURES = "tests.corpus.tiny:texts", "tests.corpus.tiny:features"


def file(
    name: str, data: str | bytes | Callable[[], str | bytes], *arguments: str, model: str = TEXTS
) -> Callable[[Path], Given]:
    """A file of this content."""

    def make(folder: Path) -> Given:
        content = data() if callable(data) else data
        (folder / name).write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
        return Given(folder / name, model, arguments=arguments)

    return make


def table(*labels: str) -> str:
    """A CSV with these labels, twice each."""
    return "text,label\n" + "".join(f"a text {i},{label}\n" for i, label in enumerate(labels * 2))


def classes(*expected: str) -> Callable[[Answer], None]:
    """Checks the names of the classes."""

    def check(answer: Answer) -> None:
        assert answer.dataset.class_names == list(expected)
        assert set(answer.run.table["label"]) == set(expected)

    return check


def texts(*expected: str) -> Callable[[Answer], None]:
    """Checks the texts of the first samples."""

    def check(answer: Answer) -> None:
        assert [answer.dataset.text(i) for i in range(len(expected))] == list(expected)

    return check


def parquet(frame: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(frame, buffer)
    return buffer.getvalue()


def forged_counts() -> bytes:
    """A parquet whose footer declares far more rows than there are."""
    whole = parquet(pa.table({"text": ["a", "b"] * 50, "label": ["x", "y"] * 50}))
    (length,) = struct.unpack("<I", whole[-8:-4])
    footer = whole[-8 - length : -8]
    forged = footer.replace(b"\x16\xc8\x01", b"\x16\xfe\x7f")  # 100 rows as a zigzag varint
    assert forged != footer
    return whole[: -8 - length] + forged + whole[-8:]


def npz(**entries: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def declared(shape: tuple[int, ...]) -> bytes:
    """An array that declares a shape and stores 16 bytes."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + b"\0" * 16


def named_classes(folder: Path) -> Given:
    np.savez(folder / "t.npz", x=np.eye(3), y=np.array([0, 1, 255]), class_names=np.array(["a", "b"]))
    return Given(folder / "t.npz", FEATURES)


def altered_cifar(folder: Path) -> Given:
    (folder / "data" / "cifar-10-batches-py").mkdir(parents=True)
    (folder / "data" / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"\x80\x02.")
    return Given(folder / "data")


def long_text(folder: Path) -> Given:
    """For a starter with weights of chance."""
    (folder / "t.csv").write_text(f"text,label\n{LONG},x\n" + "a,x\nb,y\n" * 3 + "c,y\n,x\n")
    dataset = open_dataset(folder / "t.csv")
    save_weights(make_untrained(dataset), folder / "w.safetensors")
    return Given(folder / "t.csv", weights=folder / "w.safetensors")


def with_script(folder: Path) -> Given:
    given = images(GOOD)(folder)
    (given.data / "data.py").write_text("raise SystemExit")
    return given


def saved_with_script(folder: Path) -> Given:
    """What ``save_to_disk`` of datasets writes, and a script."""
    (folder / "data").mkdir()
    for name, text in (("state.json", "{}"), ("dataset_info.json", "{}"), ("load.py", "raise SystemExit")):
        (folder / "data" / name).write_text(text)
    return Given(folder / "data")


FORMULA = '=HYPERLINK("http://x")'


def formulas_come_back(folder: Path, oga: Oga) -> None:
    """Exported as CSV neutral, as JSONL exact; both scored again hold the same samples."""
    rows = [(FORMULA, "x"), ("plain", "y"), ("'=was quoted", "x"), ("-1+1", "y")]
    with open(folder / "t.csv", "w", newline="") as handle:
        csv.writer(handle).writerows([("text", "label"), *rows])
    told = oga("score", folder / "t.csv", "--model", TEXTS, "--detectors", "l1", "--folds", "0", "--json")[1]
    run, ids = json.loads(told)["run"], pd.read_parquet(json.loads(told)["table"])["sample_id"].tolist()
    for fmt in ("csv", "jsonl"):
        assert oga("export", run, "--what", "cleaned", "--format", fmt, "--out", folder / f"again.{fmt}")[0] == 0
        code, told, _ = oga("score", folder / f"again.{fmt}", "--model", TEXTS, "--detectors", "l1", "--folds", "0", "--json")
        assert code == 0
        assert pd.read_parquet(json.loads(told)["table"])["sample_id"].tolist() == ids
        lost = "an export of OGA: 3 cells that it had encoded (formulas, control characters) were decoded"
        assert (lost in json.loads(told)["notes"]) == (fmt == "csv")
    with open(folder / "again.csv", newline="") as handle:
        assert [row[0] for row in csv.reader(handle)][1] == f"'{FORMULA}"
    assert json.loads((folder / "again.jsonl").read_text().splitlines()[0])["text"] == FORMULA


def without_a_map(answer: Answer) -> None:
    from oga_core import InputError
    from oga_core.maps import embedding

    try:
        embedding(answer.run)
    except InputError as error:
        assert "a map needs at least" in str(error) or "alike" in str(error)  # noqa: PT017
    else:
        raise AssertionError("there is a map of nothing")


LINES = '{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n'
LONG = "word " * 40_000
TWO = {"text": ["a", "b"] * 50, "label": ["x", "y"] * 50}

CASES = [
    Case(50, "labels NA, null, None", file("t.csv", table("NA", "null", "None")), samples=6, check=classes("NA", "None", "null")),
    Case(51, "labels 007, 1e5, True", file("t.csv", table("007", "1e5", "True")), samples=6, check=classes("007", "1e5", "True")),
    Case(
        52,
        "one field too many in every row",
        file("t.csv", "text,label\na,x,1\nb,y,2\n"),
        ["t.csv, line 2: 3 cells where the header has 2"],
    ),
    Case(53, "BOM", file("t.csv", "\ufefftext,label\né,x\nb,y\n"), samples=2, check=texts("é", "b")),
    Case(
        53,
        "UTF-16",
        file("t.csv", "text,label\né,x\nb,y\n".encode("utf-16")),
        samples=2,
        check=texts("é"),
        noted=["read as UTF-16"],
    ),
    Case(
        53,
        "Windows-1252",
        file("t.csv", "text,label\né,x\nb,y\n".encode("latin-1")),
        samples=2,
        check=texts("é"),
        noted=["not UTF-8 (line 2): read as Windows-1252 (cp1252)"],
    ),
    Case(54, "NUL", file("t.csv", "text,label\na,x\nb\0,y\n"), ["t.csv, line 3: a NUL byte"]),
    Case(
        54,
        "lone surrogate in a text",
        file("t.jsonl", LINES + '{"text": "\\ud800", "label": "x"}'),
        samples=3,
        check=texts("a", "b", "\ud800"),
    ),
    Case(
        54,
        "lone surrogate in a label",
        file("t.jsonl", LINES + '{"text": "c", "label": "\\ud800"}'),
        ["t.jsonl, row 2: the label", "is no valid text (half of a surrogate pair)"],
    ),
    Case(54, "CR only", file("t.csv", "text,label\ra,x\rb,y\r"), samples=2, check=texts("a", "b")),
    Case(
        55,
        "open quote",
        file("t.csv", 'text,label\na,x\n"b,y\nc,z\n'),
        ["t.csv, line 3: unexpected end of data (an open quote?)"],
    ),
    Case(55, "ragged row", file("t.csv", "text,label\na,x\nb\n"), ["t.csv, line 3: 1 cells where the header has 2"]),
    Case(55, "duplicate header", file("t.csv", "text,label,text\na,x,b\n"), ["t.csv, line 1: duplicate column 'text'"]),
    Case(
        56,
        "field of more words than the model reads",
        long_text,
        samples=9,
        listed={"row 8": "the text is empty"},
        noted=["1 texts are longer than 512 words; the model does not read their ends"],
    ),
    Case(56, "field of 200 kB", file("t.csv", f"text,label\n{LONG},x\nb,y\n"), samples=2, check=texts(LONG)),
    Case(
        56,
        "field over the limit",
        file("t.csv", f"text,label\na,x\n{LONG},y\n"),
        ["t.csv, line 3: field larger than field limit"],
        limits={"cell_bytes": 100_000},
    ),
    Case(57, "bad JSONL line", file("t.jsonl", LINES + '{"text": '), ["t.jsonl, line 3: not a JSON object"]),
    Case(57, "NaN in JSONL", file("t.jsonl", LINES + '{"text": NaN, "label": "x"}'), ["t.jsonl, line 3", "NaN is not JSON"]),
    Case(
        57,
        "nested label",
        file("t.jsonl", LINES + '{"text": "c", "label": ["x"]}'),
        ["t.jsonl, line 3: 'label' holds a nested value; plain texts and numbers are needed"],
    ),
    Case(58, "formula", act=formulas_come_back),
    Case(
        59,
        "remote image in a text and a class",
        file("t.csv", table("![x](http://x.invalid/x.png)", "<b>y</b>")),
        samples=4,
        check=classes("![x](http://x.invalid/x.png)", "<b>y</b>"),
    ),
    Case(
        59,
        "shown literally",
        elsewhere="tests/app/components/test_literal.py::test_class_names_are_never_markdown_or_html_on_any_page",
    ),
    Case(
        59,
        "shown literally in the browser",
        elsewhere="tests/browser/test_review_faults.py::test_strings_from_the_data_are_shown_as_they_are",
    ),
    Case(
        60,
        "parquet with forged counts",
        file("t.parquet", forged_counts),
        ["t.parquet declares 8,191 rows but holds 100; write it again"],
    ),
    Case(
        61,
        "npz bomb",
        file("t.npz", lambda: npz(x=npy(np.zeros((1000, 1000))), y=npy(np.arange(1000) % 2)), model=FEATURES),
        ["t.npz: the arrays declare 8,000,000 bytes; the limit arrays_bytes is 1,000,000 bytes"],
        limits={"arrays_bytes": 1_000_000},
    ),
    Case(
        61,
        "object array",
        file("t.npz", lambda: npz(x=npy(np.zeros((2, 2))), y=npy(np.array(["a", None], object)))),
        ["t.npz: array 'y' holds Python objects (pickle); save it with a plain type"],
    ),
    Case(
        61,
        "shape 1e12",
        file("t.npz", lambda: npz(x=declared((10**12,)), y=npy(np.arange(2)))),
        ["t.npz: array 'x' declares 4,000,000,000,000 bytes but stores 16"],
    ),
    Case(62, "altered CIFAR batch", altered_cifar, ["torchvision finds no CIFAR10 (train) under", "corrupted"]),
    Case(62, "batch by its hash", elsewhere="tests/data/test_torchvision_sets.py::test_an_altered_cifar_batch_is_refused"),
    Case(
        63,
        "datasets folder with a script",
        with_script,
        ["data is a Hugging Face datasets folder (data.py), which may come with a script, and is not opened"],
    ),
    Case(
        63,
        "saved datasets folder with a script",
        saved_with_script,
        ["data is a datasets folder with a script (load.py), which is not run"],
    ),
    Case(
        64,
        "more classes than the limit",
        file("t.csv", table(*map(str, range(11)))),
        ["t.csv has 11 classes; the limit classes is 10 classes"],
        limits={"classes": 10},
    ),
    Case(64, "one class", file("t.csv", table("x")), ["t.csv: column 'label' has 1 class ('x'); at least two are needed"]),
    Case(
        64,
        "label -1",
        file("t.npz", lambda: npz(x=npy(np.eye(4)), y=npy(np.array([0, 1, -1, 1]))), model=FEATURES),
        samples=4,
        listed={"row 2": "has no label"},
    ),
    Case(64, "label 255", named_classes, ["label 255 is outside the 2 class names"]),
    Case(65, "no row", file("t.csv", "text,label\n"), ["t.csv has a header but no rows"]),
    Case(65, "one row", file("t.csv", "text,label\na,x\n"), ["t.csv: column 'label' has 1 class ('x')"]),
    Case(
        65,
        "all rows identical",
        file("t.csv", "text,label\n" + "a,x\n" * 9 + ",y\n", "--label", "label"),
        samples=10,
        listed={"row 9": "the text is empty"},
        check=without_a_map,
    ),
]
