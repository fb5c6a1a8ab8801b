"""Images in class folders and zips: how each kind is decoded, what is refused, and that nothing is decoded before its time."""

from __future__ import annotations

import io
import os
import struct
import threading
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image
from torchvision.datasets import ImageFolder as TorchvisionImageFolder

from oga_core.data import Dataset, SampleError, folders, images, open_dataset
from oga_core.data.images import decode_image
from oga_core.errors import InputError


def encoded(image: Image.Image, fmt: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


def noise(width: int = 12, height: int = 9, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


RED, BLUE = (encoded(Image.new("RGB", (6, 5), colour)) for colour in ("red", "blue"))


def folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def zipped(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_dataset(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def reason(data: bytes) -> str:
    with pytest.raises(SampleError) as caught:
        decode_image(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pixels(data: bytes) -> np.ndarray:
    image = decode_image(data)
    assert image.mode == "RGB"
    return np.asarray(image)


def ids(dataset: Dataset) -> dict[str, str]:
    return {dataset.sources[i]: dataset.sample_id(i) for i in range(len(dataset))}


# Decoding


@pytest.mark.parametrize(("fmt", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})])
def test_a_lossless_file_gives_its_pixels(fmt: str, options: dict[str, object]) -> None:
    np.testing.assert_array_equal(pixels(encoded(noise(), fmt, **options)), np.asarray(noise()))


def test_a_jpeg_gives_the_pixels_that_pillow_gives() -> None:
    data = encoded(noise(), "JPEG")
    np.testing.assert_array_equal(pixels(data), np.asarray(Image.open(io.BytesIO(data))))


UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda s: s,
    2: lambda s: s[:, ::-1],
    3: lambda s: s[::-1, ::-1],
    4: lambda s: s[::-1],
    5: lambda s: s.swapaxes(0, 1),
    6: lambda s: np.rot90(s, -1),
    7: lambda s: np.rot90(s, 2).swapaxes(0, 1),
    8: lambda s: np.rot90(s, 1),
}
"""From the stored pixels to the upright image, by EXIF orientation."""


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = UPRIGHT[orientation](np.asarray(noise()))
    np.testing.assert_array_equal(pixels(encoded(noise(), exif=exif)), expected)
    assert pixels(encoded(noise(), "JPEG", exif=exif)).shape == expected.shape


def test_16_bit_grey_is_scaled_and_not_cut_off() -> None:
    grey = np.random.default_rng(0).integers(0, 65536, (9, 12), dtype=np.uint16)
    grey[0, :4] = 0, 257, 40000, 65535
    decoded = pixels(encoded(Image.fromarray(grey)))
    assert decoded[0, :4, 0].tolist() == [0, 1, 156, 255]
    np.testing.assert_array_equal(decoded, (grey / 257).round().astype(np.uint8)[..., None].repeat(3, -1))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(width: int, height: int, rows: bytes, bits: int = 8, colour: int = 2, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def test_a_transparent_16_bit_grey_is_white() -> None:
    rows = b"\0" + struct.pack(">4H", 0, 257 * 9, 5, 65535)
    data = raw_png(4, 1, rows, bits=16, colour=0, extra=chunk(b"tRNS", struct.pack(">H", 257 * 9)))
    assert pixels(data)[0, :, 0].tolist() == [0, 255, 0, 255]


def test_transparency_lies_on_white() -> None:
    rgba = np.array([[[255, 0, 0, 255], [0, 0, 0, 0], [0, 0, 255, 128]]], np.uint8)
    assert pixels(encoded(Image.fromarray(rgba))).tolist() == [[[255, 0, 0], [255, 255, 255], [127, 127, 255]]]
    grey = np.array([[[0, 255], [0, 0], [200, 0]]], np.uint8)
    assert pixels(encoded(Image.fromarray(grey)))[0, :, 0].tolist() == [0, 255, 255]


@pytest.mark.parametrize("fmt", ["PNG", "GIF"])
def test_the_transparent_colour_of_a_palette_is_white(fmt: str) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    assert pixels(encoded(image, fmt)).tolist() == [[[10, 20, 30], [200, 100, 50]]]
    assert pixels(encoded(image, fmt, transparency=0)).tolist() == [[[255, 255, 255], [200, 100, 50]]]


def test_grey_and_black_and_white_become_rgb() -> None:
    assert pixels(encoded(Image.new("L", (1, 1), 77))).tolist() == [[[77, 77, 77]]]
    assert pixels(encoded(Image.new("1", (1, 1), 1))).tolist() == [[[255, 255, 255]]]


def test_cmyk_is_converted() -> None:
    data = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95)
    assert Image.open(io.BytesIO(data)).mode == "CMYK"
    np.testing.assert_allclose(pixels(data).reshape(-1, 3), [[255, 0, 0]] * 64, atol=3)


@pytest.mark.parametrize("fmt", ["GIF", "PNG", "WEBP"])
def test_the_first_frame_stands_for_an_animation(fmt: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    data = encoded(frames[0], fmt, save_all=True, append_images=frames[1:], **({"lossless": True} if fmt == "WEBP" else {}))
    assert getattr(Image.open(io.BytesIO(data)), "n_frames", 1) == 3
    assert pixels(data)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_half_an_image_is_no_image(fmt: str, share: float) -> None:
    data = encoded(noise(60, 50), fmt)
    assert "cannot be decoded" in reason(data[: int(len(data) * share)])


def test_what_is_no_image_says_so() -> None:
    assert reason(b"") == "the file is empty"
    assert "not an image in a supported format (JPEG, PNG, WEBP, BMP, GIF)" in reason(b"<html>Not found</html>")
    assert "not an image in a supported format" in reason(encoded(noise(), "TIFF"))
    assert "not an image in a supported format" in reason(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")


@pytest.mark.parametrize("size", [(10000, 8800), (14000, 14000)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_more_pixels_than_the_limit_are_refused_before_they_are_decoded(size: tuple[int, int]) -> None:
    message = reason(raw_png(*size, b""))
    assert "the limit image_pixels is 50,000,000 pixels" in message
    assert "50" in message


def test_the_pixel_limit_is_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OGA_LIMIT_IMAGE_PIXELS", "30")
    assert pixels(RED).shape == (5, 6, 3)
    monkeypatch.setenv("OGA_LIMIT_IMAGE_PIXELS", "29")
    assert "the image has 6 × 5" in reason(RED)


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_an_image_without_pixels_is_no_image(size: tuple[int, int]) -> None:
    assert reason(raw_png(*size, b"\0" * size[1]))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "GIF"]), st.data())
def test_damaged_bytes_are_decoded_or_refused_and_nothing_else(fmt: str, data: st.DataObject) -> None:
    whole = bytearray(encoded(noise(20, 20), fmt))
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=4)):
        whole[at] = data.draw(st.integers(0, 255))
    message = ""
    try:
        assert decode_image(bytes(whole)).mode == "RGB"
    except SampleError as error:
        message = str(error)
    assert "\n" not in message


# Folders


def test_a_folder_is_one_class_a_folder(tmp_path: Path) -> None:
    dataset = open_dataset(folder(tmp_path, {"dog/1.png": RED, "cat/2.png": BLUE, "cat/deep/3.png": RED}))
    assert dataset.kind == "image"
    assert dataset.class_names == ["cat", "dog"]
    assert list(dataset.sources) == ["cat/2.png", "cat/deep/3.png", "dog/1.png"]
    assert dataset.labels.tolist() == [0, 0, 1]
    assert (dataset.labels.dtype, dataset.notes) == (np.int64, [])
    assert dataset.content(2) == RED
    assert dataset.load(0).getpixel((0, 0)) == (0, 0, 255)
    assert dataset.original(2) == {"source": "dog/1.png", "label": "dog"}
    assert dataset.text(2) == "dog/1.png"


def test_classes_have_the_order_of_torchvision(tmp_path: Path) -> None:
    for name in ("10", "2", "1", "B", "a", "é", "Z z", "_x", "日本"):
        folder(tmp_path / name, {"one.png": RED, "sub/two.png": BLUE})
    theirs, ours = TorchvisionImageFolder(str(tmp_path)), open_dataset(tmp_path)
    assert ours.class_names == theirs.classes
    labels = {Path(path).relative_to(tmp_path).as_posix(): label for path, label in theirs.samples}
    assert dict(zip(ours.sources, ours.labels.tolist(), strict=True)) == labels


def test_numbers_as_classes_in_text_order_are_said(tmp_path: Path) -> None:
    dataset = open_dataset(folder(tmp_path, {f"{i}/a.png": RED for i in (1, 2, 10)}))
    assert dataset.class_names == ["1", "10", "2"]
    assert any("text order" in note and "1, 10, 2" in note for note in dataset.notes)


def test_folders_above_the_classes_are_passed_over(tmp_path: Path) -> None:
    dataset = open_dataset(folder(tmp_path, {"data/train/cat/1.png": RED, "data/train/dog/2.png": BLUE}))
    assert dataset.class_names == ["cat", "dog"]
    assert list(dataset.sources) == ["data/train/cat/1.png", "data/train/dog/2.png"]


def test_side_files_and_files_of_other_kinds_are_skipped_and_counted(tmp_path: Path) -> None:
    kept = {"cat/1.png": RED, "dog/2.JPG": encoded(noise(), "JPEG")}
    hidden = [".DS_Store", "cat/.hidden.png", "cat/Thumbs.db", "__MACOSX/cat/1.png", ".git/x/a.png"]
    other = ["cat/v.svg", "dog/h.heic", "dog/t.tiff", "dog/z.zip", "readme.txt"]
    dataset = open_dataset(folder(tmp_path, kept | dict.fromkeys(hidden + other, b"x")))
    assert dataset.class_names == ["cat", "dog"]
    assert list(dataset.sources) == list(kept)
    first, second = dataset.notes
    assert first.startswith("5 hidden or side files")
    assert second.startswith("5 files that are not images")
    assert all(f"1 {kind}" in second for kind in (".svg", ".heic", ".tiff", ".zip", "beside the class folders"))


def test_a_file_is_known_by_its_content_and_not_by_its_name(tmp_path: Path) -> None:
    files = {"cat/a.jpg": RED, "cat/noending": BLUE, "dog/b.png": encoded(noise(), "TIFF")}
    dataset = open_dataset(folder(tmp_path, files))
    assert list(dataset.sources) == list(files)
    assert [dataset.load(i).getpixel((0, 0)) for i in (0, 1)] == [(255, 0, 0), (0, 0, 255)]
    with pytest.raises(SampleError, match="not an image in a supported format"):
        dataset.load(2)


def test_an_empty_class_keeps_its_place_and_is_said(tmp_path: Path) -> None:
    (folder(tmp_path, {"cat/1.png": RED, "dog/1.png": BLUE}) / "cow\nbird").mkdir()
    dataset = open_dataset(tmp_path)
    assert dataset.class_names == ["cat", "cow\nbird", "dog"]
    assert dataset.labels.tolist() == [0, 2]
    assert dataset.notes == ["classes without an image: cow bird"]


def test_images_whose_class_would_be_a_guess_are_refused(tmp_path: Path) -> None:
    root = folder(tmp_path / "a", {"cat/1.png": RED, "dog/1.png": BLUE, "loose.png": RED})
    assert "1 images lie beside the class folders (the first: 'loose.png')" in refusal(root)
    root = folder(tmp_path / "b", {"train/cat/1.png": RED, "Val/dog/1.png": BLUE})
    assert "splits (Val, train), not classes" in refusal(root)
    assert "only one class ('cat')" in refusal(folder(tmp_path / "c", {"cat/1.png": RED, "cat/2.png": BLUE}))
    assert "no images found" in refusal(folder(tmp_path / "d", {"cat/1.txt": RED}))
    (tmp_path / "e").mkdir()
    assert "no images found" in refusal(tmp_path / "e")


def test_thousands_of_images_open_without_being_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(1500):
            (tmp_path / name / f"{i}.png").write_bytes(RED if i == 700 else b"broken")
    counted: list[str] = []
    read = folders.Directory.read

    def read_counted(files: folders.Directory, name: str) -> bytes:
        counted.append(f"read {name}")
        return read(files, name)

    def decode_counted(data: bytes) -> Image.Image:
        counted.append("decode")
        return decode_image(data)

    monkeypatch.setattr(folders.Directory, "read", read_counted)
    monkeypatch.setattr(images, "decode_image", decode_counted)
    dataset = open_dataset(tmp_path)
    assert (len(dataset), counted) == (3000, [])
    assert dataset.load(dataset.sources.index("dog/700.png")).size == (6, 5)
    assert counted == ["read dog/700.png", "decode"]
    with pytest.raises(SampleError, match="not an image"):
        dataset.load(0)


def test_an_id_follows_content_and_label_and_not_name_or_place(tmp_path: Path) -> None:
    before = ids(open_dataset(folder(tmp_path / "a", {"cat/1.png": RED, "cat/2.png": BLUE, "dog/3.png": RED})))
    after = ids(open_dataset(folder(tmp_path / "b", {"cat/9.png": RED, "cat/0.png": BLUE, "dog/x/3.png": RED, "ant/1.png": RED})))
    assert after["cat/9.png"] == before["cat/1.png"]
    assert after["cat/0.png"] == before["cat/2.png"]
    assert after["dog/x/3.png"] == before["dog/3.png"]
    assert len({*before.values(), after["ant/1.png"]}) == 4


def test_a_file_that_changes_is_another_sample_and_one_that_goes_is_listed(tmp_path: Path) -> None:
    dataset = open_dataset(folder(tmp_path, {"cat/1.png": RED, "dog/2.png": BLUE}))
    before = dataset.sample_id(0)
    (tmp_path / "cat" / "1.png").write_bytes(BLUE)
    assert dataset.sample_id(0) != before
    (tmp_path / "cat" / "1.png").unlink()
    with pytest.raises(SampleError, match="cannot be read: No such file"):
        dataset.load(0)


def test_a_file_over_the_limit_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OGA_LIMIT_FILE_BYTES", "1000")
    dataset = open_dataset(folder(tmp_path, {"cat/1.png": RED + b"\0" * 1000, "dog/2.png": BLUE}))
    with pytest.raises(SampleError, match="the limit file_bytes is 1,000 bytes"):
        dataset.content(0)
    assert dataset.load(1).size == (6, 5)


def test_more_files_than_the_limit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OGA_LIMIT_FILES", "2")
    root = folder(tmp_path / "a", {"cat/1.png": RED, "dog/2.png": BLUE})
    assert len(open_dataset(root)) == 2
    folder(root, {"dog/3.png": RED})
    assert "the limit files is 2 files" in refusal(root)
    path = zipped(tmp_path / "a.zip", {f"cat/{i}.png": RED for i in range(3)})
    assert "has 3 entries; the limit files is 2" in refusal(path)


def test_linked_folders_are_not_followed_and_this_is_said(tmp_path: Path) -> None:
    folder(tmp_path / "elsewhere", {"secret.png": RED})
    root = folder(tmp_path / "data", {"cat/1.png": RED, "dog/2.png": BLUE})
    (root / "cat" / "more").symlink_to(tmp_path / "elsewhere")
    dataset = open_dataset(root)
    assert len(dataset) == 2
    assert dataset.notes == ["1 folders are symbolic links and were not followed"]


def test_a_folder_that_cannot_be_read_stops_and_is_not_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, scan = folder(tmp_path, {"cat/1.png": RED, "dog/2.png": BLUE}), os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert "dog cannot be read: Permission denied" in refusal(root)


def test_a_pipe_is_listed_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(folder(tmp_path, {"cat/1.png": RED, "dog/2.png": BLUE}) / "cat" / "0.png")
    dataset, reasons = open_dataset(tmp_path), []

    def load() -> None:
        with pytest.raises(SampleError) as caught:
            dataset.load(0)
        reasons.append(str(caught.value))

    reader = threading.Thread(target=load, daemon=True)
    reader.start()
    reader.join(10)
    assert reasons == ["is not an ordinary file"]


def test_a_file_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    root = folder(tmp_path, {"cat/1.png": RED, "dog/2.png": BLUE})
    Path(os.fsdecode(os.fsencode(root) + b"/cat/caf\xe9.png")).write_bytes(RED)
    assert r"'cat/caf\udce9.png' is not UTF-8" in refusal(root)


# Thumbnails


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((500, 400), (160, 128)),
        ((160, 160), (160, 160)),
        ((100, 90), (100, 90)),
        ((28, 28), (140, 140)),
        ((1, 1), (160, 160)),
        ((20000, 1), (160, 1)),
        ((1, 20000), (1, 160)),
        ((79, 3), (158, 6)),
    ],
)
def test_a_thumbnail_fits_its_box(tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]) -> None:
    root = folder(tmp_path, {"cat/1.png": encoded(Image.new("RGB", size, "red")), "dog/2.png": BLUE})
    thumbnail = open_dataset(root).thumbnail(0)
    assert thumbnail.size == expected
    assert thumbnail.getpixel((0, 0)) == (255, 0, 0)


def test_a_small_image_is_enlarged_smoothly_and_stays_the_same_picture(tmp_path: Path) -> None:
    ramp = np.add.outer(np.arange(9) * 12, np.arange(12) * 10).astype(np.uint8)
    dataset = open_dataset(folder(tmp_path, {"cat/1.png": encoded(Image.fromarray(ramp)), "dog/2.png": BLUE}))
    shown = np.asarray(dataset.thumbnail(0, 50))[..., 0].astype(float)
    assert shown.shape == (36, 48)
    assert np.abs(np.diff(shown, axis=1)).max() < 10
    np.testing.assert_allclose(shown.reshape(9, 4, 12, 4).mean((1, 3)), ramp, atol=4)
    assert dataset.load(0).size == (12, 9)


def test_a_thumbnail_of_a_broken_image_is_a_sample_error(tmp_path: Path) -> None:
    with pytest.raises(SampleError):
        open_dataset(folder(tmp_path, {"cat/1.png": b"x", "dog/2.png": BLUE})).thumbnail(0)


# Zips


def test_a_zip_holds_the_same_samples_as_its_folder(tmp_path: Path) -> None:
    root = folder(
        tmp_path / "d", {"cat/1.png": RED, "cat/sub/2.png": BLUE, "dog/3.png": RED, "dog/x.txt": b"x", "/MACOSX/a.png": b"x"}
    )
    (root / "empty").mkdir()
    entries = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    path = zipped(tmp_path / "d.zip", {"empty/": b"", **dict(reversed(entries.items()))}, zipfile.ZIP_DEFLATED)
    ours, theirs = open_dataset(path), open_dataset(root)
    assert ids(ours) == ids(theirs)
    assert (ours.class_names, ours.labels.tolist(), ours.notes) == (theirs.class_names, theirs.labels.tolist(), theirs.notes)
    assert ours.class_names == ["cat", "dog", "empty"]
    assert ours.load(1).tobytes() == theirs.load(1).tobytes()


def test_a_zip_opens_without_being_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(tmp_path / "a.zip", {f"{c}/{i}.png": b"broken" for c in "ab" for i in range(1500)})
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("an entry was opened"))
    assert len(open_dataset(path)) == 3000
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "name", ["../x.png", "a/../../x.png", "/etc/x.png", "a\\x.png", "..\\x.png", "C:/x.png", "c:x.png", "a/..", ".."]
)
def test_names_that_lead_out_of_a_zip_are_refused(tmp_path: Path, name: str) -> None:
    message = refusal(zipped(tmp_path / "a.zip", {"a/1.png": RED, "b/2.png": BLUE, name: RED}))
    assert f"entry {name!r} leads out of the archive" in message


def test_a_name_with_a_nul_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a/1.png": RED, "b/2QQ.png": BLUE})
    path.write_bytes(path.read_bytes().replace(b"2QQ.png", b"2.p\0png"))
    assert r"'b/2.p\x00png' leads out" in refusal(path)


@pytest.mark.parametrize("twin", ["a/1.png", "A/1.PNG", "a/1.PNG"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_are_the_same_but_for_case_are_refused(tmp_path: Path, twin: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("a/1.png", "b/2.png", twin):
            archive.writestr(name, RED)
    assert f"entries 'a/1.png' and {twin!r} have the same name" in refusal(tmp_path / "a.zip")


def central(data: bytes, name: str) -> int:
    """Where the central directory's record of an entry begins."""
    return data.rindex(name.encode()) - 46


def changed(path: Path, name: str, at: int, fmt: str, value: int) -> Path:
    """The zip with a field of an entry's central record overwritten."""
    data = bytearray(path.read_bytes())
    struct.pack_into(fmt, data, central(bytes(data), name) + at, value)
    path.write_bytes(data)
    return path


@pytest.fixture
def two(tmp_path: Path) -> Path:
    return zipped(tmp_path / "two.zip", {"a/1.png": RED, "b/2.png": BLUE})


def test_overlapping_entries_are_refused(two: Path) -> None:
    whole = two.read_bytes()
    assert "'a/1.png' and 'b/2.png' overlap" in refusal(changed(two, "b/2.png", 42, "<I", 0))
    two.write_bytes(whole)
    assert "'a/1.png' and 'b/2.png' overlap" in refusal(changed(two, "a/1.png", 20, "<I", len(RED) + 40))


def test_a_size_that_lies_gives_an_error_or_the_stored_bytes(two: Path) -> None:
    dataset = open_dataset(changed(two, "a/1.png", 24, "<I", 10))
    with pytest.raises(SampleError, match="cannot be unpacked: Bad CRC-32"):
        dataset.load(0)
    assert dataset.content(1) == BLUE
    assert open_dataset(changed(two, "a/1.png", 24, "<I", 2**31)).content(0) == RED


def test_of_an_entry_over_the_limit_no_more_than_the_limit_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OGA_LIMIT_FILE_BYTES", "1000000")
    path = zipped(tmp_path / "a.zip", {"a/1.png": b"\0" * 30_000_000, "b/2.png": BLUE}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 50_000
    dataset = open_dataset(path)
    tracemalloc.start()
    try:
        with pytest.raises(SampleError, match="the limit file_bytes is 1,000,000 bytes"):
            dataset.load(0)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert dataset.load(1).size == (6, 5)


def test_an_entry_whose_bytes_were_changed_is_listed(two: Path) -> None:
    data = bytearray(two.read_bytes())
    data[60] ^= 1
    two.write_bytes(data)
    dataset = open_dataset(two)
    with pytest.raises(SampleError, match="cannot be unpacked: Bad CRC-32"):
        dataset.load(0)
    assert dataset.load(1).size == (6, 5)


def test_long_names_are_refused(tmp_path: Path) -> None:
    assert "has 305 characters; the limit name_characters is 255" in refusal(
        zipped(tmp_path / "a.zip", {"b/" + "x" * 299 + ".png": RED})
    )
    deep = "/".join(["x" * 250] * 5) + "/1.png"
    assert "has 1,260 characters; the limit name_characters is 255" in refusal(zipped(tmp_path / "b.zip", {deep: RED}))


def test_what_is_no_zip_or_half_a_zip_is_refused(tmp_path: Path, two: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"\x1f\x8b\x08 a tar in disguise")
    assert "a.zip is not a readable zip file" in refusal(tmp_path / "a.zip")
    (tmp_path / "a.zip").write_bytes(two.read_bytes()[:-30])
    assert "a.zip is not a readable zip file" in refusal(tmp_path / "a.zip")
    (tmp_path / "a.zip").write_bytes(b"")
    assert "a.zip is not a readable zip file" in refusal(tmp_path / "a.zip")
    assert "no images found" in refusal(zipped(tmp_path / "b.zip", {}))


def without_utf8_flag(path: Path, encoding: str) -> Path:
    """The zip as old programs write it: names in an encoding that it doesn't state."""
    data = path.read_bytes().replace("é".encode(), "é".encode(encoding).ljust(2, b"_"))
    for signature, at in ((b"PK\3\4", 7), (b"PK\1\2", 9)):
        parts = data.split(signature)
        data = signature.join([parts[0], *(p[: at - 4] + b"\0" + p[at - 3 :] for p in parts[1:])])
    path.write_bytes(data)
    return path


def test_names_in_utf8_are_read_whether_the_zip_says_so_or_not(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"café/1.png": RED, "thé/2.png": BLUE})
    stated = ids(open_dataset(path))
    dataset = open_dataset(without_utf8_flag(path, "utf-8"))
    assert dataset.class_names == ["café", "thé"]
    assert ids(dataset) == stated
    assert dataset.notes == []


def test_names_in_an_old_code_page_are_read_and_said(tmp_path: Path) -> None:
    dataset = open_dataset(without_utf8_flag(zipped(tmp_path / "a.zip", {"café/1.png": RED, "thé/2.png": BLUE}), "cp437"))
    assert dataset.class_names == ["café_", "thé_"]
    assert dataset.load(1).getpixel((0, 0)) == (0, 0, 255)
    assert dataset.notes == ["the file names are not UTF-8; they were read in the old code page 437"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_zip_is_refused_or_its_samples_are_listed(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[int, int]]
) -> None:
    path = zipped(tmp_path_factory.mktemp("zip") / "a.zip", {"a/1.png": RED, "b/2.png": BLUE}, zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    for at, value in damage:
        data[-1 - at % len(data)] = value
    path.write_bytes(data)
    messages = []
    try:
        dataset = open_dataset(path)
        for i in range(len(dataset)):
            try:
                dataset.load(i)
                assert dataset.content(i) in (RED, BLUE)
            except SampleError as error:
                messages.append(str(error))
    except InputError as error:
        messages.append(str(error))
    assert "\n" not in "".join(messages)


# Real data


def test_real_jpegs_are_decoded_as_pillow_does(tmp_path: Path, test_data: Path) -> None:
    stored = np.load(test_data / "cifar10_jpeg" / "test.npz")
    jpeg, offsets, label = stored["jpeg"], stored["offsets"], stored["label"]
    for i in range(200):
        file = tmp_path / str(label[i]) / f"{i:03d}.jpg"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(jpeg[offsets[i] : offsets[i + 1]].tobytes())
    dataset = open_dataset(tmp_path)
    assert dataset.class_names == [str(i) for i in range(10)]
    assert np.bincount(dataset.labels).tolist() == np.bincount(label[:200]).tolist()
    for i, source in enumerate(dataset.sources):
        with Image.open(tmp_path / source) as image:
            assert dataset.load(i).tobytes() == image.convert("RGB").tobytes()
