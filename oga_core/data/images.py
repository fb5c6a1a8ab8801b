"""Images in one folder a class, as a directory or a zip; every image is decoded only when it is asked for."""

from __future__ import annotations

import io
import os
import re
import struct
import threading
import unicodedata
import warnings
import zipfile
from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageOps

from oga_core.data.dataset import Dataset, SampleError, check_number_of_classes
from oga_core.errors import InputError, one_line
from oga_core.limits import FILE_BYTES, FILES, IMAGE_PIXELS, NAME_CHARACTERS

warnings.filterwarnings("ignore", module=r"PIL\.")  # what it warns of is decoded, or refused with a reason
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif")
SPLITS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}
END_BYTES = (1 << 16) + 22
"""The end of a zip: its last record, with the longest comment."""
LONG = 10
"""An image so many times as long as it is wide loses most of what is in it on the way into a model."""


def decode_image(data: bytes) -> Image.Image:
    """Decode an image file to RGB: upright (EXIF), first frame, transparency on white, 16-bit grey scaled to 8 bits.

    Raises
    ------
    SampleError
        If the bytes are no whole image of a supported format, or it has more pixels than the limit.
    """
    if not data:
        raise SampleError("the file is empty")
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > IMAGE_PIXELS.value:
            raise SampleError(
                f"the image has {image.width} × {image.height} = {image.width * image.height:,} pixels; {IMAGE_PIXELS}"
            )
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I") or image.mode == "F":
            values = np.array(image, dtype=np.float64)
            if "transparency" in image.info:
                values[values == image.info["transparency"]] = 65535
            return Image.fromarray(np.clip(values / 257, 0, 255).round().astype(np.uint8)).convert("RGB")
        if "transparency" in image.info:
            image = image.convert("RGBA")
        return on_white(image)
    except SampleError:
        raise
    except Image.DecompressionBombError as error:
        raise SampleError(f"the image declares too many pixels; {IMAGE_PIXELS}") from error
    except Image.UnidentifiedImageError as error:
        raise SampleError(f"not an image in a supported format ({', '.join(FORMATS)})") from error
    except Exception as error:  # Pillow's decoders raise many kinds for a broken file
        raise SampleError(f"cannot be decoded: {one_line(error)}") from error


def conversions(data: bytes) -> list[str]:
    """What `decode_image` changes in an image, by its header, as words that follow a number of images."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        found = []
        if getattr(image, "is_animated", False) and image.format != "MPO":  # a photograph with a preview behind it
            found.append("are animations: their first frame stands for them")
        if image.mode == "CMYK":
            found.append("are CMYK and were converted to RGB without their colour profile")
        if "A" in image.mode or "transparency" in image.info:
            found.append("have transparent parts, which lie on white")
        if image.mode.startswith("I") or image.mode == "F":
            found.append("have 16 bits a pixel and were scaled to 8")
        if image.getexif().get(0x0112, 1) != 1:
            found.append("were turned upright, as their EXIF says")
        if max(image.size) > LONG * min(image.size):
            found.append(f"are over {LONG} times as long as wide: a model sees them squeezed or only their middle")
        return found
    except Exception:  # it cannot be decoded, and is listed with the reason
        return []


def on_white(image: Image.Image) -> Image.Image:
    """The image as RGB; where it is transparent, white shows through."""
    if "A" in image.mode:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


class Files(ABC):
    """Named files to read from, wherever they lie.

    Attributes
    ----------
    notes
        What the user should know about them.
    """

    names: list[str]
    folders: set[str]
    notes: list[str]

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The bytes of a file, at most as many as the limit; SampleError if it is larger or cannot be read."""


class Directory(Files):
    def __init__(self, path: Path) -> None:
        self.path = path
        self.names, self.folders = [], set()
        linked = 0
        for at, folders, names in os.walk(path, onerror=_refuse_folder):
            folders.sort()
            linked += sum(os.path.islink(os.path.join(at, folder)) for folder in folders)
            relative = PurePosixPath(Path(at).relative_to(path).as_posix())
            self.folders.update(str(relative / folder) for folder in folders)
            self.names += [str(relative / name) for name in sorted(names)]
            if len(self.names) > FILES.value:
                raise InputError(f"{path} holds more files than are read: {FILES}")
        if (wrong := next((n for n in self.names if re.search("[\ud800-\udfff]", n)), None)) is not None:
            raise InputError(f"{path.name}: the file name {wrong!r} is not UTF-8; rename it")
        self.notes = [f"{linked:,} folders are symbolic links and were not followed"] if linked else []

    def read(self, name: str) -> bytes:
        path = self.path / name
        try:
            if path.exists() and not path.is_file():
                raise SampleError("is not an ordinary file")  # to open a pipe would wait for ever
            with open(path, "rb") as handle:
                return _bounded(handle.read(FILE_BYTES.value + 1))
        except OSError as error:
            raise SampleError(f"cannot be read: {error.strerror}") from error


class Zip(Files):
    """A zip that is read entry by entry and never unpacked."""

    def __init__(self, path: Path) -> None:
        try:
            self.archive, self.notes = _open_zip(path)
        except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
            raise InputError(f"{path.name} is not a readable zip file ({one_line(error)}); make it again") from error
        self.lock = threading.Lock()
        entries = self.archive.infolist()
        if len(entries) > FILES.value:
            raise InputError(f"{path.name} has {len(entries):,} entries; {FILES}")
        _refuse_other_count(path, len(entries))
        self._refuse_dangerous(path.name, entries)
        self.entries = {_plain(e.filename): e for e in entries if not e.is_dir()}
        self.names = sorted(self.entries)
        self.folders = {_plain(e.filename) for e in entries if e.is_dir()}
        self.folders |= {str(parent) for name in self.names for parent in PurePosixPath(name).parents if str(parent) != "."}

    @staticmethod
    def _refuse_dangerous(archive: str, entries: list[zipfile.ZipInfo]) -> None:
        seen: dict[str, str] = {}
        end, before = 0, ""
        for entry in sorted(entries, key=lambda e: e.header_offset):
            # orig_filename: zipfile itself cuts names at NUL and turns backslashes round.
            name = entry.orig_filename
            parts = name.rstrip("/").split("/")
            if name.startswith("/") or "\\" in name or "\0" in name or re.match(r"[A-Za-z]:", name) or ".." in parts:
                raise InputError(f"{archive}: entry {name!r} leads out of the archive; make the zip again with relative names")
            if len(name) > 4 * NAME_CHARACTERS.value or any(len(part) > NAME_CHARACTERS.value for part in parts):
                raise InputError(
                    f"{archive}: an entry's name has {len(name):,} characters; {NAME_CHARACTERS}, four times as many in all"
                )
            if entry.flag_bits & 1:
                raise InputError(f"{archive} is password-protected (entry {name!r}); make the zip again without a password")
            if (entry.external_attr >> 16) & 0o170000 == 0o120000:
                raise InputError(f"{archive}: entry {name!r} is a symbolic link; zip the files themselves")
            folded = unicodedata.normalize("NFC", _plain(name)).casefold()
            if folded in seen:
                raise InputError(f"{archive}: entries {seen[folded]!r} and {name!r} have the same name")
            seen[folded] = name
            if entry.header_offset < end:
                raise InputError(f"{archive}: entries {before!r} and {name!r} overlap; this is not an ordinary zip")
            end, before = entry.header_offset + 30 + len(entry.filename) + entry.compress_size, name

    def read(self, name: str) -> bytes:
        try:
            with self.lock, self.archive.open(self.entries[name]) as handle:
                return _bounded(handle.read(FILE_BYTES.value + 1))
        except SampleError:
            raise
        except Exception as error:  # zlib, CRC and header faults of a single entry
            raise SampleError(f"cannot be unpacked: {one_line(error)}") from error


def _refuse_other_count(path: Path, found: int) -> None:
    """zipfile reads the entries that it finds, and does not say so where the archive should have more."""
    with open(path, "rb") as handle:
        handle.seek(max(0, path.stat().st_size - END_BYTES))
        end = handle.read()
    (stated,) = struct.unpack_from("<H", end, end.rindex(b"PK\5\6") + 10)
    if stated not in (found & 0xFFFF, 0xFFFF):
        raise InputError(f"{path.name} says that it has {stated:,} entries and lists {found:,}; it is damaged: make it again")


def _plain(name: str) -> str:
    """An entry's name as one folder after another: ``./cat//1.png`` is ``cat/1.png``."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _open_zip(path: Path) -> tuple[zipfile.ZipFile, list[str]]:
    """The archive, and notes. Names without the UTF-8 flag may be UTF-8 all the same (macOS writes them so)."""
    try:
        return zipfile.ZipFile(path, metadata_encoding="utf-8"), []
    except UnicodeDecodeError:
        return zipfile.ZipFile(path), ["the file names are not UTF-8; they were read in the old code page 437"]


def _refuse_folder(error: OSError) -> None:
    raise InputError(f"the folder {error.filename} cannot be read: {error.strerror}") from error


def _bounded(data: bytes) -> bytes:
    if len(data) > FILE_BYTES.value:
        raise SampleError(f"the file is too large: {FILE_BYTES}")
    return data


class ImageFolder(Dataset):
    """Images under ``class/…/name.png``. Classes are in the order of torchvision's ``ImageFolder`` (sorted as text).

    Raises
    ------
    InputError
        If no class folders are found, fewer than two, several splits lie together, or images lie beside the class
        folders: whose class they are would be a guess.
    """

    kind = "image"

    def __init__(self, files: Files, name: str) -> None:
        self.files = files
        visible = [n for n in files.names if not _is_side_file(n)]
        skipped = len(files.names) - len(visible)
        root = _root([n for n in visible if n.lower().endswith(SUFFIXES)] or visible)
        inside = [(n, n[len(root) :]) for n in visible if n.startswith(root)]
        loose = [short for _, short in inside if "/" not in short]
        images_loose = [n for n in loose if n.lower().endswith(SUFFIXES)]
        if images_loose:
            raise InputError(
                f"{name}: {len(images_loose):,} images lie beside the class folders (the first: {images_loose[0]!r}); "
                "put every image into a folder named after its class"
            )
        pairs, unsupported = [], Counter[str]({"beside the class folders": len(visible) - len(inside)})
        for full, short in inside:
            if "/" not in short:
                unsupported["beside the class folders"] += 1
            elif short.lower().endswith(SUFFIXES) or "." not in short.rsplit("/", 1)[-1]:
                pairs.append((full, short.split("/", 1)[0]))
            else:
                unsupported[os.path.splitext(short)[1].lower()] += 1
        folders = {f[len(root) :].split("/", 1)[0] for f in files.folders if f.startswith(root) and len(f) > len(root)}
        self.class_names = sorted(f for f in folders | {c for _, c in pairs} if f and not _is_side_file(f))
        if not pairs:
            raise InputError(f"{name}: no images found; expected one folder a class, with {', '.join(SUFFIXES)} files inside")
        lowered = {c.lower() for c in self.class_names}
        if lowered <= SPLITS and len(lowered) > 1:
            raise InputError(
                f"{name}: the folders are splits ({', '.join(self.class_names)}), not classes; give one of them, "
                "such as the train folder"
            )
        check_number_of_classes(name, len(self.class_names))
        if len(self.class_names) < 2:
            raise InputError(f"{name}: only one class ({self.class_names[0]!r}); a classifier's data have at least two")
        index = {c: i for i, c in enumerate(self.class_names)}
        self.sources = [full for full, _ in pairs]
        self.labels = np.array([index[c] for _, c in pairs], np.int64)
        self.notes = files.notes + [one_line(n) for n in _notes(skipped, +unsupported, self.class_names, self.labels)]

    def content(self, index: int) -> bytes:
        return self.files.read(self.sources[index])

    def load(self, index: int) -> Image.Image:
        return decode_image(self.content(index))

    def conversions(self, content: bytes) -> list[str]:
        return conversions(content)


def open_image_directory(path: Path) -> ImageFolder:
    """Class folders in a directory."""
    _refuse_hugging_face(path)
    return ImageFolder(Directory(path), path.name)


def open_image_zip(path: Path) -> ImageFolder:
    """Class folders in a zip."""
    return ImageFolder(Zip(path), path.name)


def _refuse_hugging_face(path: Path) -> None:
    marks = ("dataset_infos.json", "dataset_info.json", "dataset_dict.json", f"{path.name}.py")
    if (mark := next((m for m in marks if (path / m).is_file()), None)) is not None:
        raise InputError(
            f"{path.name} is a Hugging Face datasets folder ({mark}), which may come with a script, and is not opened; give its "
            "table (.parquet, .csv, .jsonl), or one folder of images a class"
        )


def _is_side_file(name: str) -> bool:
    return any(p.startswith(".") or p in ("__MACOSX", "Thumbs.db", "desktop.ini") for p in name.split("/"))


def _root(names: list[str]) -> str:
    """The leading folders that every file shares, above the class folders: a zip of ``data/train/cat/…``."""
    if not names:
        return ""
    shared = os.path.commonpath(["/" + n.rpartition("/")[0] for n in names]).strip("/")
    if not shared:
        return ""
    if all(n.rpartition("/")[0] == shared for n in names):  # one class only: leave its folder in place
        shared = shared.rpartition("/")[0]
    return shared + "/" if shared else ""


def _notes(skipped: int, unsupported: Counter[str], classes: list[str], labels: np.ndarray) -> list[str]:
    notes = []
    if skipped:
        notes.append(f"{skipped:,} hidden or side files (.DS_Store, __MACOSX, …) were skipped")
    if unsupported:
        kinds = ", ".join(f"{n} {k}" for k, n in unsupported.most_common())
        notes.append(f"{sum(unsupported.values()):,} files that are not images of a supported format were skipped: {kinds}")
    empty = [c for i, c in enumerate(classes) if not (labels == i).any()]
    if empty:
        notes.append(f"classes without an image: {', '.join(empty[:10])}")
    if all(c.isdecimal() for c in classes) and classes != sorted(classes, key=int):
        notes.append(f"classes are in text order as torchvision's ImageFolder has them: {', '.join(classes[:4])}, …")
    return notes
