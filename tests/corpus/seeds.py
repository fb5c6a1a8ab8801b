"""Small valid files of every kind that is read, as code."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors.torch import save

from oga_core.models.starters import FeatureMLP


def encoded(image: Image.Image, fmt: str = "PNG", **options: object) -> bytes:
    """An image file."""
    buffer = io.BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


def noise(width: int = 12, height: int = 9, seed: int = 0) -> Image.Image:
    """An RGB image of chance."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def zipped(entries: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip with entries in this order."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return buffer.getvalue()


def _palette() -> Image.Image:
    image = noise().quantize(16)
    image.info["transparency"] = 0
    return image


def _with_extras(fmt: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(noise(), fmt, exif=exif, icc_profile=b"\0" * 200, dpi=(72, 72))


def _frames(fmt: str) -> bytes:
    return encoded(noise(), fmt, save_all=True, append_images=[noise(seed=1), noise(seed=2)])


def _images_zip(compression: int) -> bytes:
    names = ["a/1.png", "a/2.png", "b/3.png", "b/é.png", "b/notes.txt"]
    return zipped({name: encoded(noise(6, 5, i)) for i, name in enumerate(names)}, compression)


def _parquet(compression: str) -> bytes:
    buffer = io.BytesIO()
    table = pa.table(
        {
            "text": [f"text {i}" for i in range(40)],
            "label": pa.array(["x", "y"] * 20).dictionary_encode(),
            "n": pa.array(range(40), pa.int32()),
            "when": pa.array(range(40), pa.timestamp("ms")),
            "f": pa.array(np.linspace(0, 1, 40)),
        }
    )
    pq.write_table(table, buffer, compression=compression, row_group_size=20)
    return buffer.getvalue()


def _npz(saved: Callable[..., None]) -> bytes:
    buffer = io.BytesIO()
    saved(buffer, x=np.random.default_rng(0).random((12, 5)), y=np.arange(12) % 2, class_names=np.array(["a", "b"]))
    return buffer.getvalue()


def _state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return FeatureMLP(3, 4).state_dict()


def _safetensors() -> bytes:
    about = {"name": "feature_mlp", "class_names": ["a", "b", "c"], "spec": {"features": 4}}
    return save(_state(), metadata={"oga": json.dumps(about)})


def _torch(zipped: bool, protocol: int = 2) -> bytes:
    buffer = io.BytesIO()
    torch.save(
        {"state_dict": dict(_state()), "epoch": 3}, buffer, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped
    )
    return buffer.getvalue()


CSV = 'text,label,note\n"one, two",x,\n"a ""quoted"" word",y,7\nplain,x,"two\nlines"\ncafé,y,=1\n'.encode()
JSONL = (
    b'{"text": "one", "label": "x", "n": 1}\n{"text": "tw\\u00f6", "label": "y", "n": null}\n{"label": "x", "text": "three"}\n'
)

SEEDS: dict[str, list[Callable[[], bytes]]] = {
    "zip": [lambda: _images_zip(zipfile.ZIP_STORED), lambda: _images_zip(zipfile.ZIP_DEFLATED)],
    "png": [
        lambda: encoded(noise()),
        lambda: _with_extras("PNG"),
        lambda: encoded(_palette()),
        lambda: encoded(Image.fromarray(np.arange(60, dtype=np.uint16).reshape(6, 10) * 1000)),
        lambda: _frames("PNG"),
        lambda: encoded(noise().convert("LA")),
    ],
    "jpeg": [
        lambda: encoded(noise(), "JPEG"),
        lambda: _with_extras("JPEG"),
        lambda: encoded(noise(), "JPEG", progressive=True),
        lambda: encoded(noise().convert("CMYK"), "JPEG"),
    ],
    "webp": [lambda: encoded(noise(), "WEBP"), lambda: _with_extras("WEBP"), lambda: _frames("WEBP")],
    "gif": [lambda: encoded(_palette(), "GIF"), lambda: _frames("GIF")],
    "bmp": [lambda: encoded(noise(), "BMP"), lambda: encoded(noise().quantize(8), "BMP")],
    "csv": [
        lambda: CSV,
        lambda: CSV.replace(b",", b";"),
        lambda: CSV.decode().encode("utf-16"),
        lambda: b"a,b,label\n1,2,x\n3,4.5,y\n-1e3,0,x\n",
    ],
    "csv.gz": [lambda: gzip.compress(CSV * 3, mtime=0)],
    "jsonl": [lambda: JSONL, lambda: b'{"a": 1, "b": 2.5, "label": 0}\n{"a": -3, "b": 1e5, "label": 1}\n'],
    "parquet": [lambda: _parquet("snappy"), lambda: _parquet("none"), lambda: _parquet("zstd")],
    "npz": [lambda: _npz(np.savez), lambda: _npz(np.savez_compressed)],
    "safetensors": [_safetensors],
    "pt": [lambda: _torch(True), lambda: _torch(False), lambda: _torch(True, 3)],
}
"""Valid files by reader."""
