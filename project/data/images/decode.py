"""Image files of any supported format: finds them, decodes them into what a model takes."""

import io
import os
import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from project.core.arrays import Array
from project.core.errors import UserError, one_line

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
MAX_PIXELS = 89_478_485  # 256 MiB in RGB; a larger image may be a decompression bomb
TOO_LARGE = f"expected at most {MAX_PIXELS / 1e6:.0f} million"
VERSION = 1  # part of the cache's key; raise it when the same file gives other pixels

# Larger images are rejected anyway, and Pillow's notes on metadata don't concern the pixels.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", module="PIL")


class Unreadable(Exception):
    """A file that is not an image, damaged or too large; the message gives the reason."""


def find_images(
    place: Path, root: Path, is_deep: bool = True, key: str = "data.root"
) -> list[Path]:
    """Finds the images of a folder, sorted; rejects links out of the root and to other folders."""
    paths = list(place.rglob("*") if is_deep else place.iterdir())
    for path in filter(Path.is_symlink, [place, *paths]):
        end = Path(os.path.realpath(path))
        link = f"{key}: {path}: a link"
        if not end.is_relative_to(root.resolve()):
            raise UserError(f"{link} out of the folder, to {end}: expected files inside it")
        if path != place and path.is_dir():
            raise UserError(f"{link} to a folder, {end}: expected a copy of that folder")
    return sorted(
        path
        for path in paths
        if path.name[0] != "." and path.name.lower().endswith(SUFFIXES) and not path.is_dir()
    )


def relative_name(file: Path, folder: Path) -> str:
    """A file's path in a folder; bytes that are not UTF-8 are escaped."""
    return os.fsencode(file.relative_to(folder).as_posix()).decode(errors="backslashreplace")


def decode_file(path: Path, shape: tuple[int, ...]) -> tuple[Array, tuple[int, int]]:
    """Reads and decodes an image file; see ``decode``."""
    return decode(read_file(path), shape)


def read_file(path: Path) -> bytes:
    """Reads the content of a file; raises Unreadable if it is missing or not a regular file."""
    try:
        if path.exists() and not path.is_file():
            raise Unreadable("a pipe or a device: expected a file")
        return path.read_bytes()
    except OSError as error:
        raise Unreadable(error.strerror or "can't be read") from None


def decode(content: bytes, shape: tuple[int, ...]) -> tuple[Array, tuple[int, int]]:
    """Decodes an image, applies its EXIF orientation and resizes it to ``shape`` (H, W, C).

    C is 1 for greyscale and 3 for RGB; the aspect ratio is not kept. Transparency is blended with
    white, 16 bits become 8, and only the first image of a file is read. Returns (H, W, C) uint8,
    and height and width in the file; raises Unreadable with the reason.
    """
    if not content:
        raise Unreadable("the file is empty")
    rows, columns, channels = shape
    mode = "L" if channels == 1 else "RGB"
    formats = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
    try:
        with Image.open(io.BytesIO(content), formats=formats) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise Unreadable(f"{width} x {height} pixels: {TOO_LARGE}")
            # A JPEG is decoded at 1/2, 1/4 or 1/8 of its size if that is large enough.
            image.draft(mode, (columns, rows))
            pixels = np.asarray(_convert(ImageOps.exif_transpose(image), mode))
    except Unreadable:
        raise
    except UnidentifiedImageError:
        raise Unreadable("not a PNG, JPEG, WebP, BMP or TIFF image") from None
    except Image.DecompressionBombError:
        raise Unreadable(f"too many pixels: {TOO_LARGE}") from None
    except Exception as error:  # Pillow's decoders raise many types on a damaged file
        raise Unreadable(f"damaged ({one_line(error)})") from None
    if pixels.shape[:2] != (rows, columns):
        shrinks = pixels.shape[0] >= rows and pixels.shape[1] >= columns
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        pixels = cv2.resize(pixels, (columns, rows), interpolation=interpolation)
    return pixels.reshape(rows, columns, channels), (height, width)


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits; Pillow's own conversion clips them at 255
        levels = np.asarray(image, dtype=np.float64)
        if levels.size and (levels.min() < 0 or levels.max() > 65535):
            raise Unreadable("more than 16 bits per pixel: expected 8 or 16")
        image = Image.fromarray(np.round(levels / 257).astype(np.uint8))
    elif image.mode == "F":
        raise Unreadable("pixels are floating-point numbers: expected 8 or 16 bits")
    elif image.has_transparency_data:
        layers = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers)
    return image if image.mode == mode else image.convert(mode)
