"""Images in one folder a class, as a directory or a zip; every image is decoded only when it is asked for."""

from __future__ import annotations

import io
import os
import re
import warnings
from collections import Counter

import numpy as np
from PIL import Image, ImageOps

from oga_core.data.dataset import Dataset, SampleError, check_number_of_classes
from oga_core.data.folders import Files, Folder, is_side_file
from oga_core.errors import InputError, one_line
from oga_core.limits import IMAGE_PIXELS
from oga_core.model_files import ADAPTER, CONFIG

warnings.filterwarnings("ignore", module=r"PIL\.")  # what it warns of is decoded, or refused with a reason
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif")
SPLITS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}
SPLIT_WORDS = SPLITS | {"fold", "split"}
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
    """Changes that `decode_image` makes to an image, by its header, as words that follow a number of images."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        found = []
        if getattr(image, "is_animated", False) and image.format != "MPO":  # a photograph with a preview behind it
            found.append("are animations: only their first frame is read")
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
        visible = [n for n in files.names if not is_side_file(n)]
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
        self.class_names = sorted(f for f in folders | {c for _, c in pairs} if f and not is_side_file(f))
        if not pairs and (model := next((n for n in visible if n.rpartition("/")[2] in (CONFIG, ADAPTER)), None)):
            raise InputError(f"{name} is the folder of a model ({model}) and no data; give it as the weights")
        if not pairs:
            kinds = [f"{n:,} files are {kind}, which is not read" for kind, n in (+unsupported).items() if kind.startswith(".")]
            others = f": {', '.join(kinds)}" if kinds else ""
            raise InputError(
                f"{name}: no images found{others}; expected one folder a class, with {', '.join(SUFFIXES)} files inside"
            )
        if len(splits := _find_splits(self.class_names, [full[len(root) :] for full, _ in pairs])) > 1:
            raise InputError(
                f"{name}: the folders are splits ({', '.join(splits)}), not classes; give one of them, "
                f"such as {next((s for s in splits if 'train' in s.lower()), splits[0])}"
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


def open_images(folder: Folder) -> ImageFolder:
    """Class folders in a directory or a zip; InputError as `ImageFolder`."""
    for mark in ("dataset_infos.json", "dataset_info.json", "dataset_dict.json", f"{folder.name}.py"):
        if folder.has(mark):
            raise InputError(
                f"{folder.name} is a Hugging Face datasets folder ({mark}), which may come with a script, and is not opened; "
                "give its table (.parquet, .csv, .jsonl), what save_to_disk writes, or one folder of images a class"
            )
    return ImageFolder(folder.files, folder.name)


def _find_splits(folders: list[str], names: list[str]) -> list[str]:
    """Return the folders that are splits of one data set: by their names, and by the folders in them, which are the same."""
    if {folder.lower() for folder in folders} <= SPLITS:
        return folders
    below: dict[str, set[tuple[str, ...]]] = {folder: set() for folder in folders}
    for name in names:
        folder, *others = name.split("/")[:-1]
        below[folder].add(tuple(others))
    inside = {folder: _top_folders(paths) for folder, paths in below.items()}
    named_so = [folder for folder in folders if SPLIT_WORDS & set(re.split("[^a-z]+", folder.lower()))]
    return [one for one in named_so if any(len(inside[one] & inside[other]) > 1 for other in named_so if other != one)]


def _top_folders(paths: set[tuple[str, ...]]) -> set[str]:
    """Return the names of the folders at the first depth at which there is more than one."""
    while paths and all(paths):
        found = {path[0] for path in paths}
        if len(found) > 1:
            return found
        paths = {path[1:] for path in paths}
    return set()


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
