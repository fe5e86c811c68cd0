"""IDX files of the MNIST family (https://yann.lecun.org/exdb/mnist), plain or gzipped."""

import gzip
import zlib
from pathlib import Path

import numpy as np

from project.core.arrays import Array
from project.core.errors import UserError


def find(folder: Path, name: str) -> Path | None:
    """The path of an IDX file in a folder, plain or with the suffix ``.gz``; None if missing."""
    return next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)


def read(path: Path) -> Array:
    """Reads one IDX file of unsigned bytes.

    Returns:
        (N,) labels or (N, H, W) images, uint8.

    Raises:
        UserError: The file is not IDX, is damaged, or has another length than its header states.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"data.root: {path}: can't be read ({error})") from None
    # Two zero bytes, 8 for uint8, the number of dimensions; then each size, big-endian.
    num_dimensions = content[3] if content[:3] == b"\0\0\x08" and len(content) > 3 else 0
    start = 4 + 4 * num_dimensions
    if len(content) < start:
        num_dimensions = 0
    shape = tuple(np.frombuffer(content[4:start], dtype=">u4").tolist()) if num_dimensions else ()
    expected = start + int(np.prod(shape, dtype=np.int64))
    if len(shape) != num_dimensions or not shape or len(content) != expected:
        raise UserError(
            f"data.root: {path}: {len(content)} bytes: expected a complete IDX file of unsigned "
            f"bytes{f', {expected} by its header' if shape else ''}"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)
