"""Image files of every format are decoded into the right pixels."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from data.own_data import gradient
from PIL import Image

from project.core.arrays import Array
from project.data.images.decode import MAX_PIXELS, Unreadable, decode, decode_file

SHAPE = (20, 30, 3)
RGB = gradient()


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)  # type: ignore[arg-type]
    return file.getvalue()


def read(content: bytes, shape: tuple[int, int, int] = SHAPE) -> Array:
    return decode(content, shape)[0]


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "JPEG"])
def test_formats(kind: str) -> None:
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}
    content = encode(Image.fromarray(RGB), kind, **options.get(kind, {}))
    difference = np.abs(read(content).astype(int) - RGB)
    assert difference.max() <= (4 if kind == "JPEG" else 0)


def test_grey_becomes_rgb_and_rgb_grey() -> None:
    grey = RGB[..., 0]
    content = encode(Image.fromarray(grey), "PNG")
    np.testing.assert_array_equal(read(content), np.repeat(grey[..., np.newaxis], 3, axis=2))
    actual = read(encode(Image.fromarray(RGB), "PNG"), (20, 30, 1))
    expected = RGB @ np.array([0.299, 0.587, 0.114])  # ITU-R 601
    assert np.abs(actual[..., 0] - expected).max() <= 1


def test_sixteen_bits_become_eight() -> None:
    levels = np.linspace(0, 65535, 600).reshape(20, 30)
    content = encode(Image.fromarray(levels.astype(np.uint16)), "PNG")
    assert np.abs(read(content)[..., 0] - levels / 257).max() <= 0.51
    tiff = encode(Image.fromarray(levels.astype(np.uint16)), "TIFF")
    np.testing.assert_array_equal(read(tiff), read(content))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_shown_on_white(mode: str) -> None:
    layers = np.dstack([RGB, np.full((20, 30), 255, np.uint8)])
    layers[:, :15, 3] = 0
    layers[:, 15:, :3] = 60
    image = Image.fromarray(layers)
    if mode == "P":
        flat = Image.fromarray((np.arange(30) >= 15).astype(np.uint8) * np.ones((20, 1), np.uint8))
        flat = flat.convert("P")
        flat.putpalette([9, 9, 9, 60, 60, 60])
        content = encode(flat, "PNG", transparency=0)
    else:
        content = encode(image.convert(mode), "PNG")
    actual = read(content)
    assert (actual[:, :15] == 255).all()
    assert (actual[:, 15:] == 60).all()


def test_half_transparent_pixels_are_mixed_with_white() -> None:
    layers = np.full((20, 30, 4), 100, np.uint8)
    layers[..., 3] = 128
    actual = read(encode(Image.fromarray(layers), "PNG"))
    assert np.abs(actual.astype(int) - (100 * 128 + 255 * 127) / 255).max() <= 1


def test_bits_and_palettes_and_print_colours() -> None:
    black_white = Image.fromarray(RGB[..., 0] > 127)
    assert set(np.unique(read(encode(black_white, "PNG")))) == {0, 255}
    palette = Image.fromarray(RGB).quantize(256)
    assert np.abs(read(encode(palette, "PNG")).astype(int) - RGB).mean() < 8
    ink = Image.fromarray(RGB).convert("CMYK")
    assert np.abs(read(encode(ink, "JPEG", quality=100)).astype(int) - RGB).mean() < 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(Image.fromarray(RGB), "PNG", exif=exif)
    # The stored rows and columns, by the EXIF standard.
    turned = RGB.transpose(1, 0, 2) if orientation > 4 else RGB
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    np.testing.assert_array_equal(read(content, turned.shape), turned)


def test_resizing_is_opencv_s() -> None:
    content = encode(Image.fromarray(RGB), "PNG")
    small = cv2.resize(RGB, (8, 8), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(read(content, (8, 8, 3)), small)
    large = cv2.resize(RGB, (64, 64), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(read(content, (64, 64, 3)), large)
    assert decode(content, (8, 8, 3))[1] == (20, 30)


def test_a_large_jpeg_is_decoded_smaller_and_looks_the_same() -> None:
    large = gradient(500, 375)
    content = encode(Image.fromarray(large), "JPEG", quality=95)
    expected = cv2.resize(large, (64, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(read(content, (64, 64, 3)).astype(int) - expected).mean() < 1.5


def bomb() -> bytes:
    """A PNG of a few bytes whose header declares 30,000 x 30,000 pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(10_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


PNG = encode(Image.fromarray(gradient(200, 200)), "PNG")
JPEG = encode(Image.fromarray(gradient(200, 200)), "JPEG")
BAD = {
    "empty": (b"", "the file is empty"),
    "text": (b"hello, this is not an image", "not a PNG, JPEG, WebP, BMP or TIFF image"),
    "cut png": (PNG[: len(PNG) // 2], "damaged"),
    "cut jpeg": (JPEG[: len(JPEG) // 2], "damaged"),
    "png header alone": (PNG[:20], "damaged"),
    "broken png": (PNG[:60] + bytes(40) + PNG[100:], "damaged"),
    "bomb": (bomb(), f"expected at most {MAX_PIXELS / 1e6:.0f} million"),
    "a bit too large": (
        encode(Image.new("1", (10_000, 9_000)), "PNG"),
        "10000 x 9000 pixels: expected at most 89 million",
    ),
    "floats": (encode(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "floating-point"),
    "32 bits": (encode(Image.fromarray(np.full((4, 4), 2**30, np.int32)), "TIFF"), "16 bits"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a PNG"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a PNG"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_unreadable_image_is_rejected_with_the_reason(name: str) -> None:
    content, message = BAD[name]
    with pytest.raises(Unreadable) as caught:
        decode(content, (64, 64, 3))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_gone_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="No such file"):
        decode_file(tmp_path / "none.png", SHAPE)
