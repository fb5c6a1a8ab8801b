"""The process that reads untrusted files: forged counts, a zip bomb, and answers of a process that was taken over."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, strategies as st

from oga_core.data import SampleError
from oga_core.errors import InputError
from oga_core.sandbox import open_sandboxed
from tests.sandbox.sandboxed_data import SHELL, _one_process, images, outcome

__all__ = ["_one_process", "images"]


def parquet(folder: Path, rows: int = 100_000) -> tuple[Path, bytes]:
    """A table, and how its number of rows is written in its metadata (a zigzag varint)."""
    path = folder / "texts.parquet"
    pq.write_table(pa.table({"text": ["a", "b"] * (rows // 2), "label": ["x", "y"] * (rows // 2)}), path, compression="none")
    return path, bytes([2 * rows & 127 | 128, 2 * rows >> 7 & 127 | 128, 2 * rows >> 14])


@SHELL
@given(st.integers(1, 8), st.sampled_from([b"\xfe\xff\x7f", b"\x80\x80\x01", b"\xff\xff\x7f", b"\x80\x80\x00"]))
def test_forged_counts_are_refused_or_read_and_harm_nobody(
    tmp_path_factory: pytest.TempPathFactory, which: int, forged: bytes
) -> None:
    path, count = parquet(tmp_path_factory.mktemp("forged"))
    parts = path.read_bytes().split(count)
    assert len(parts) > which
    path.write_bytes(count.join(parts[:which]) + forged + count.join(parts[which:]))
    try:
        data = open_sandboxed(path)
    except InputError as error:
        assert "texts.parquet" in str(error)  # noqa: PT017  either answer is right
    else:
        assert len(data) == len(data.labels) == len(data.search("a"))


def test_a_zip_bomb_is_one_bad_sample(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(images.rglob("*.png")):
            archive.write(path, path.relative_to(images))
        archive.writestr("a/bomb.png", bytes(300 << 20))
    monkeypatch.setenv("OGA_LIMIT_READER_BYTES", "250M")
    monkeypatch.setenv("OGA_LIMIT_FILE_BYTES", "1G")
    data = open_sandboxed(tmp_path / "images.zip")
    told = [outcome(lambda: data.thumbnail(i)) for i in range(len(data))]  # noqa: B023
    (bad,) = [t[1] for t in told if isinstance(t, tuple) and t[0] is SampleError]
    assert "a/bomb.png" in bad
    assert "reader_bytes" in bad


def test_a_folder_where_the_user_stands_is_not_taken_for_ours(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "oga_core").mkdir()
    (tmp_path / "oga_core" / "__init__.py").write_text("raise SystemExit(5)")
    monkeypatch.chdir(tmp_path)
    assert len(open_sandboxed(images)) == 12


# ---- a process that was taken over -----------------------------------------------------------------------------------------
LIE = """
import pickle, socket, struct, sys, json
class Owned:
    def __reduce__(self): return (open, ({marker!r}, "w"))
connection = socket.socket(fileno=0)
facts = {{"kind": "text", "class_names": ["a", "b"], "notes": [], "label_column": "label"}}
def message(head, body=b""): return struct.pack("<QQ", len(head), len(body)) + head + body
def value(v): return message(json.dumps({{"is": "value", "value": v}}).encode())
def labels(*v):
    return message(json.dumps({{"is": "array", "dtype": "<i8", "shape": [len(v)]}}).encode(), struct.pack(f"<{{len(v)}}q", *v))
for answer in {answers}:
    connection.recv(1 << 16)
    connection.sendall(answer)
connection.recv(1)
"""


@pytest.mark.parametrize(
    "answers",
    [
        "[value(None), pickle.dumps(Owned())]",
        "[value(None), message(pickle.dumps(Owned()))]",
        "[value(None), value(pickle.dumps(Owned(), 0).decode('latin-1'))]",
        "[value(None), struct.pack('<QQ', 1 << 60, 0)]",
        "[value(None), message(b'[' * 100_000)]",
        "[value(None), value({**facts, 'kind': 'nothing'}), labels(0)]",
        "[value(None), value({**facts, 'class_names': 7}), labels(0)]",
        "[value(None), value([]), labels(0)]",
        "[value(None), value(facts), labels(0, 2)]",
        "[value(None), value(facts), labels(0, -2)]",
        "[value(None), value(facts), value([0, 1])]",
        "[value(None), value(facts), message(json.dumps({'is': 'array', 'dtype': '|O', 'shape': [1]}).encode(), b'8' * 8)]",
        "[value(None), value(facts), message(json.dumps({'is': 'image', 'size': [1e9, 1e9]}).encode())]",
        "[value(None), value(facts), message(json.dumps({'is': 'rows', 'count': 10**30}).encode())]",
    ],
)
def test_nothing_that_it_answers_is_run_or_believed(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: str
) -> None:
    (tmp_path / "lie.py").write_text(LIE.format(marker=str(tmp_path / "owned"), answers=answers))
    (tmp_path / "python").write_text(f"#!/bin/sh\nexec {sys.executable} {tmp_path / 'lie.py'}\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(InputError, match=r"images: the sandbox process (answered what makes no sense|ended)"):
        open_sandboxed(images)
    assert not (tmp_path / "owned").exists()
