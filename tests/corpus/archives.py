"""40 to 49: zips and folders of images."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from PIL import Image

from tests.corpus.case import Answer, Case, Given
from tests.corpus.seeds import encoded, zipped

RED, BLUE, GREEN = (encoded(Image.new("RGB", (6, 5), colour)) for colour in ("red", "blue", "green"))
GOOD = {"a/1.png": RED, "a/2.png": GREEN, "b/3.png": BLUE}
MODEL = "tests.corpus.tiny:images"


def archive(data: Callable[[], bytes]) -> Callable[[Path], Given]:
    """A zip of some bytes."""

    def make(folder: Path) -> Given:
        (folder / "data.zip").write_bytes(data())
        return Given(folder / "data.zip", MODEL)

    return make


def entry(name: str, data: bytes = RED) -> Callable[[Path], Given]:
    """A zip with one entry more."""
    return archive(lambda: zipped({**GOOD, name: data}))


def images(files: Mapping[str, bytes]) -> Callable[[Path], Given]:
    """A folder of files."""

    def make(folder: Path) -> Given:
        for name, data in files.items():
            path = folder / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return Given(folder / "data", MODEL)

    return make


def record(name: str, at: int, fmt: str, value: int, data: bytes | None = None) -> bytes:
    """A zip with a field of an entry's central record overwritten."""
    changed = bytearray(zipped(GOOD) if data is None else data)
    struct.pack_into(fmt, changed, changed.rindex(name.encode()) - 46 + at, value)
    return bytes(changed)


def with_link() -> bytes:
    buffer = io.BytesIO(zipped(GOOD))
    link = zipfile.ZipInfo("b/link.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(buffer, "a") as file:
        file.writestr(link, "/etc/passwd")
    return buffer.getvalue()


def twice(name: str) -> bytes:
    """An entry of this name where there is another of the same length."""
    return zipped({**GOOD, "a/9.png": BLUE}).replace(b"a/9.png", name.encode())


def not_utf8() -> bytes:
    """Names in code page 437, which the zip does not state."""
    data = zipped({"café/1.png": RED, "thé/2.png": BLUE}).replace("é".encode(), b"\x82_")
    for signature, at in ((b"PK\3\4", 7), (b"PK\1\2", 9)):
        parts = data.split(signature)
        data = signature.join([parts[0], *(p[: at - 4] + b"\0" + p[at - 3 :] for p in parts[1:])])
    return data


def empty_class(folder: Path) -> Given:
    made = images(GOOD)(folder)
    (made.data / "c").mkdir()
    return made


def classes_as_shown(answer: Answer) -> None:
    assert answer.run.summary.mapping == (("1", 0, "1"), ("10", 1, "10"), ("2", 2, "2"))


def the_third_is_blue(answer: Answer) -> None:
    assert answer.dataset.load(2).getpixel((0, 0)) == (0, 0, 255)


LEADS_OUT = "leads out of the archive; make the zip again with relative names"
NUMBERS = {"1/a.png": RED, "10/b.png": BLUE, "2/c.png": GREEN}

CASES = [
    *(
        Case(40, f"name {name}", entry(name), [f"data.zip: entry {name!r}".replace("\\\\", "\\\\\\\\"), LEADS_OUT])
        for name in ("../x.png", "a/../../x.png", "/etc/x.png", "C:/x.png", "..")
    ),
    *(
        Case(40, f"name with backslash {number}", entry(name), ["data.zip: entry", LEADS_OUT])
        for number, name in enumerate(("\\x.png", "..\\x.png", "a\\..\\..\\x.png", "C:\\x.png"))
    ),
    Case(40, "name with NUL", archive(lambda: zipped({**GOOD, "b/2QQ.png": RED}).replace(b"2QQ.png", b"2.p\0png")), [LEADS_OUT]),
    Case(
        41, "duplicate name", archive(lambda: twice("a/1.png")), ["data.zip: entries 'a/1.png' and 'a/1.png' have the same name"]
    ),
    Case(
        41, "names that differ in case", archive(lambda: twice("A/1.PNG")), ["entries 'a/1.png' and 'A/1.PNG' have the same name"]
    ),
    Case(42, "symlink entry", archive(with_link), ["data.zip: entry 'b/link.png' is a symbolic link; zip the files themselves"]),
    Case(
        43,
        "overlapping entries",
        archive(lambda: record("b/3.png", 42, "<I", 0)),
        ["data.zip: entries 'a/1.png' and 'b/3.png' overlap; this is not an ordinary zip"],
    ),
    Case(
        44,
        "size smaller than stored",
        archive(lambda: record("a/1.png", 24, "<I", 10)),
        samples=3,
        listed={"a/1.png": "cannot be unpacked: Bad CRC-32"},
    ),
    Case(
        44,
        "bomb",
        archive(lambda: zipped({**GOOD, "b/4.png": b"\0" * 3_000_000}, zipfile.ZIP_DEFLATED)),
        samples=4,
        listed={"b/4.png": "the limit file_bytes is 1,000,000 bytes"},
        limits={"file_bytes": 1_000_000},
    ),
    Case(
        45,
        "nested zip",
        entry("b/more.zip", zipped(GOOD)),
        samples=3,
        noted=["1 files that are not images of a supported format were skipped: 1 .zip"],
    ),
    Case(
        46,
        "password",
        archive(lambda: record("b/3.png", 8, "<H", 1)),
        ["data.zip is password-protected (entry 'b/3.png'); make the zip again without a password"],
    ),
    Case(47, "too many entries", entry("b/4.png"), ["data.zip has 4 entries; the limit files is 3 files"], limits={"files": 3}),
    Case(
        47, "name of 300 characters", entry("b/" + "x" * 296 + ".png"), ["has 302 characters; the limit name_characters is 255"]
    ),
    Case(
        47,
        "names that are not UTF-8",
        archive(not_utf8),
        samples=2,
        noted=["the file names are not UTF-8; they were read in the old code page 437"],
    ),
    Case(
        48,
        "class folders 1, 10, 2",
        images(NUMBERS),
        samples=3,
        check=classes_as_shown,
        noted=["classes are in text order as torchvision's ImageFolder has them: 1, 10, 2"],
    ),
    Case(49, "empty class", empty_class, samples=3, noted=["classes without an image: c"]),
    Case(
        49,
        "images at the root",
        images({**GOOD, "loose.png": RED}),
        ["data: 1 images lie beside the class folders (the first: 'loose.png'); put every image into a folder"],
    ),
    Case(
        49,
        "train and val together",
        images({"train/a/1.png": RED, "val/a/2.png": BLUE}),
        ["data: the folders are splits (train, val), not classes; give one of them, such as train"],
    ),
]
