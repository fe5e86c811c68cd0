"""One image file of any kind, as the pixels that a model takes."""

import io
import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from project.core.arrays import Array

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
MAX_PIXELS = 89_478_485  # a quarter of a gigabyte in RGB; more is taken for a decompression bomb
VERSION = 1  # to be raised when the same file gives other pixels

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # refused here anyway
warnings.filterwarnings("ignore", module="PIL")  # of odd metadata in files


class Unreadable(Exception):
    """A file that is no image, or damaged, or too large; the message says which."""


def decode_file(path: Path, shape: tuple[int, ...]) -> tuple[Array, tuple[int, int]]:
    """Reads an image file; see ``decode``."""
    return decode(read_file(path), shape)


def read_file(path: Path) -> bytes:
    """The content of a file.

    Raises:
        Unreadable: it isn't there, is no regular file, or must not be read.
    """
    try:
        if path.exists() and not path.is_file():
            raise Unreadable("a pipe, a device or the like: expected a file")
        return path.read_bytes()
    except OSError as error:
        raise Unreadable(error.strerror or "can't be read") from None


def decode(content: bytes, shape: tuple[int, ...]) -> tuple[Array, tuple[int, int]]:
    """Decodes an image, turns it upright by its EXIF orientation and resizes it.

    Transparency is shown on white, 16 bits become 8, and of several pictures in one file the first
    is taken.

    Args:
        content: of the file.
        shape: (H, W, C) of the result, C being 1 for grey or 3 for RGB; the aspect ratio is not
            kept.

    Returns:
        (H, W, C) uint8; height and width of the image in the file.

    Raises:
        Unreadable: it isn't an image, is damaged, or is too large.
    """
    if not content:
        raise Unreadable("the file is empty")
    rows, columns, channels = shape
    mode = "L" if channels == 1 else "RGB"
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise Unreadable(
                    f"{width} x {height} pixels: expected at most {MAX_PIXELS / 1e6:.0f} million"
                )
            # A JPEG is decoded at half, a quarter or an eighth of its size where that is enough.
            image.draft(mode, (columns, rows))
            upright = ImageOps.exif_transpose(image)
            pixels = np.asarray(_convert(upright, mode))
    except Unreadable:
        raise
    except UnidentifiedImageError:
        raise Unreadable("no PNG, JPEG, WebP, BMP or TIFF image") from None
    except Image.DecompressionBombError:
        raise Unreadable(f"expected at most {MAX_PIXELS / 1e6:.0f} million pixels") from None
    except Exception as error:  # whatever Pillow's decoders raise on a damaged file
        raise Unreadable(f"damaged ({' '.join(str(error).split())})") from None
    if pixels.shape[:2] != (rows, columns):
        shrinks = pixels.shape[0] >= rows and pixels.shape[1] >= columns
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        pixels = cv2.resize(pixels, (columns, rows), interpolation=interpolation)
    return pixels.reshape(rows, columns, channels), (height, width)


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits, which Pillow's own conversion would cut off at 255
        levels = np.asarray(image, dtype=np.float64)
        if levels.size and (levels.min() < 0 or levels.max() > 65535):
            raise Unreadable("more than 16 bits a pixel: expected 8 or 16")
        image = Image.fromarray(np.round(levels / 257).astype(np.uint8))
    elif image.mode == "F":
        raise Unreadable("pixels are floating-point numbers: expected 8 or 16 bits")
    elif image.has_transparency_data:
        layers = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers)
    return image if image.mode == mode else image.convert(mode)
