"""26 to 39: images."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from tests.corpus.archives import BLUE, GOOD, RED, images
from tests.corpus.case import Answer, Case
from tests.corpus.seeds import encoded, noise

DECODING = "tests/data/test_images.py"


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, rows: bytes = b"", extra: bytes = b"") -> bytes:
    """A PNG of 8-bit RGB that says it is so large."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(noise(12, 9), exif=exif)


def frames(fmt: str) -> bytes:
    first, *more = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime"))
    return encoded(first, fmt, save_all=True, append_images=more)


def palette() -> bytes:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    return encoded(image, transparency=0)


def pixel(name: str, at: tuple[int, int], expected: tuple[int, int, int]) -> Callable[[Answer], None]:
    """Checks a pixel of a decoded image."""

    def check(answer: Answer) -> None:
        assert answer.dataset.load(list(answer.dataset.sources).index(name)).getpixel(at) == expected

    return check


def size(name: str, expected: tuple[int, int]) -> Callable[[Answer], None]:
    """Checks the size of a decoded image, and that its thumbnail has the same shape."""

    def check(answer: Answer) -> None:
        index = list(answer.dataset.sources).index(name)
        shown = answer.dataset.thumbnail(index).size
        assert answer.dataset.load(index).size == expected
        assert (shown[0] > shown[1]) == (expected[0] > expected[1])

    return check


def both_are_kept(answer: Answer) -> None:
    assert answer.run.table["source"].tolist() == ["a/1.png", "a/2.png", "b/3.png", "b/twin.png"]
    assert answer.run.table["sample_id"].nunique() == 4


def bad(data: bytes, reason: str, name: str = "b/bad.png") -> dict[str, object]:
    """A folder with one bad image, which is listed."""
    return {"make": images({**GOOD, name: data}), "samples": 4, "listed": {name: reason}}


def good(data: bytes, note: str = "", name: str = "b/odd.png") -> dict[str, object]:
    """A folder with an odd image, which is scored."""
    return {"make": images({**GOOD, name: data}), "samples": 4, "noted": [note] if note else []}


def _case(number: int, title: str, answer: dict[str, object], check: Callable[[Answer], None] | None = None) -> Case:
    return Case(number, title, check=check, **answer)  # type: ignore[arg-type]


GREY_16 = encoded(Image.fromarray(np.full((3, 4), 40_000, np.uint16)))
TEXT = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * 80_000_000))
PROFILE = chunk(b"iCCP", b"icc\0\0" + zlib.compress(b"a" * 80_000_000))
SKIPPED = {".DS_Store": b"x", "__MACOSX/a/._1.png": b"x", "a/Thumbs.db": b"x"}

CASES = [
    _case(26, "half a JPEG", bad(encoded(noise(60, 50), "JPEG")[:1500], "cannot be decoded", "b/half.jpg")),
    _case(27, "88 megapixels", bad(png(11_000, 8_000), "11000 × 8000 = 88,000,000 pixels; the limit image_pixels is 50,000,000")),
    _case(28, "196 megapixel bomb", bad(png(14_000, 14_000), "the limit image_pixels is 50,000,000 pixels")),
    _case(
        29,
        "16-bit grey",
        good(GREY_16, "1 images have 16 bits a pixel and were scaled to 8"),
        pixel("b/odd.png", (0, 0), (156, 156, 156)),
    ),
    _case(
        30,
        "CMYK",
        good(
            encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"),
            "1 images are CMYK and were converted to RGB",
            "b/odd.jpg",
        ),
    ),
    _case(
        31,
        "palette with transparency",
        good(palette(), "1 images have transparent parts, which lie on white"),
        pixel("b/odd.png", (0, 0), (255, 255, 255)),
    ),
    _case(
        31,
        "alpha",
        good(encoded(Image.new("RGBA", (3, 3), (0, 0, 255, 128))), "1 images have transparent parts, which lie on white"),
        pixel("b/odd.png", (0, 0), (127, 127, 255)),
    ),
    _case(32, "EXIF orientation", good(turned(), "1 images were turned upright, as their EXIF says"), size("b/odd.png", (9, 12))),
    _case(
        33,
        "GIF",
        good(frames("GIF"), "1 images are animations: only their first frame is read", "b/odd.gif"),
        pixel("b/odd.gif", (0, 0), (255, 0, 0)),
    ),
    _case(
        33,
        "APNG",
        good(frames("PNG"), "1 images are animations: only their first frame is read"),
        pixel("b/odd.png", (0, 0), (255, 0, 0)),
    ),
    _case(34, "TIFF named png", bad(encoded(noise(), "TIFF"), "not an image in a supported format (JPEG, PNG, WEBP, BMP, GIF)")),
    _case(34, "EPS named png", bad(b"%!PS-Adobe-3.0 EPSF-3.0\n", "not an image in a supported format")),
    Case(
        35,
        "SVG and HEIC",
        images({**GOOD, "b/v.svg": b"<svg/>", "b/h.heic": b"x"}),
        samples=3,
        noted=["2 files that are not images of a supported format were skipped", "1 .svg", "1 .heic"],
    ),
    _case(36, "0 by 5", bad(png(0, 5), "not an image in a supported format")),
    _case(36, "1 by 1", good(encoded(Image.new("RGB", (1, 1)))), size("b/odd.png", (1, 1))),
    _case(
        36,
        "20000 by 1",
        good(encoded(Image.new("RGB", (20_000, 1))), "1 images are over 10 times as long as wide"),
        size("b/odd.png", (20_000, 1)),
    ),
    Case(
        37,
        "side files",
        images(GOOD | SKIPPED),
        samples=3,
        noted=["3 hidden or side files (.DS_Store, __MACOSX, …) were skipped"],
    ),
    Case(
        38,
        "same bytes under two labels",
        images({**GOOD, "b/twin.png": RED}),
        samples=4,
        check=both_are_kept,
        noted=["1 samples are there under several labels", "a/1.png as 'a' and b/twin.png as 'b'"],
    ),
    _case(39, "giant text chunk", bad(png(1, 1, b"\0\1\2\3", TEXT), "cannot be decoded: Decompressed data too large")),
    _case(39, "giant ICC chunk", bad(png(1, 1, b"\0\1\2\3", PROFILE), "cannot be decoded: Decompressed data too large")),
    Case(
        39,
        "a file over the limit",
        images({**GOOD, "b/4.png": BLUE + b"\0" * 1000}),
        samples=4,
        limits={"file_bytes": 1000},
        listed={"b/4.png": "the file is too large: the limit file_bytes is 1,000 bytes"},
    ),
]
