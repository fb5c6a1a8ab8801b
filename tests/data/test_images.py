"""Images: how each kind is decoded and shown, what is refused, and that nothing is decoded before its time."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from oga_core.data import SampleError, open_dataset
from oga_core.data.images import decode_image
from tests.data.image_files import BLUE, RED, encoded, folder, noise


def reason(data: bytes) -> str:
    with pytest.raises(SampleError) as caught:
        decode_image(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pixels(data: bytes) -> np.ndarray:
    image = decode_image(data)
    assert image.mode == "RGB"
    return np.asarray(image)


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
