"""MNIST, Fashion-MNIST and CIFAR-10, downloaded by torchvision or read from a folder.

A file that is missing, damaged or can't be downloaded is a UserError.
"""

import contextlib
import gzip
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
from filelock import FileLock
from torchvision.datasets import CIFAR10, MNIST, FashionMNIST

from project import ROOT
from project.core.arrays import Array
from project.core.errors import UserError, one_line
from project.data.source import Source

DOWNLOADS = ROOT / "data"
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # package dataset-fashion-mnist


def mnist(root: str | None = None) -> Source:
    """Reads 70,000 handwritten digits of 28 x 28 pixels; the last 10,000 are the official test set.

    Args:
        root: Folder that holds ``MNIST/raw/*-ubyte`` (or ``.gz``); null downloads into ``data/``.
    """
    return _read_idx(MNIST, root, tuple("0123456789"))


def fashion_mnist(root: str | None = None) -> Source:
    """Reads 70,000 images of clothes of 28 x 28 pixels; the last 10,000 are the official test set.

    Debian's package dataset-fashion-mnist is used if it is installed and no root is set.

    Args:
        root: Folder that holds ``FashionMNIST/raw/*-ubyte`` (or ``.gz``); null downloads into
            ``data/``.
    """
    classes = tuple(name.lower() for name in FashionMNIST.classes)
    return _read_idx(FashionMNIST, root, classes, installed=DEBIAN_FASHION_MNIST)


def cifar10(root: str | None = None) -> Source:
    """Reads 60,000 colour images of 32 x 32 pixels; the last 10,000 are the official test set.

    Args:
        root: Folder that holds ``cifar-10-batches-py``; null downloads into ``data/``.
    """
    folder = Path(root) if root else DOWNLOADS
    if root is None:
        _download(CIFAR10, folder)
    try:
        parts = [CIFAR10(folder, train=train) for train in (True, False)]
    except (RuntimeError, OSError) as error:
        message = str(error).splitlines()[0]
        raise UserError(f"data.root: {folder}: {message}: expected {CIFAR10.base_folder}") from None
    return Source(
        inputs=np.concatenate([part.data for part in parts]),
        targets=np.concatenate([np.asarray(part.targets, dtype=np.int64) for part in parts]),
        classes=tuple(parts[0].classes),
        num_test=len(parts[1]),
    )


def _read_idx(
    dataset: Any, root: str | None, classes: tuple[str, ...], installed: Path | None = None
) -> Source:
    folder = (Path(root) if root else DOWNLOADS) / dataset.__name__ / "raw"
    if root is None and installed is not None and installed.is_dir():
        folder = installed
    elif root is None:
        _download(dataset, DOWNLOADS)
    key = f"data.root: {folder}"
    images, labels = [], []
    for part in ("train", "t10k"):
        images.append(_read_part(folder, f"{part}-images-idx3-ubyte", num_dimensions=3))
        labels.append(_read_part(folder, f"{part}-labels-idx1-ubyte", num_dimensions=1))
        if len(images[-1]) != len(labels[-1]):
            raise UserError(
                f"{key}: {len(images[-1])} {part} images: expected as many as labels "
                f"({len(labels[-1])})"
            )
    if not len(images[0]) or not len(images[1]) or images[0].shape[1:] != images[1].shape[1:]:
        raise UserError(
            f"{key}: train images are {images[0].shape}, t10k images {images[1].shape}: expected "
            "images of one size in both"
        )
    targets = np.concatenate(labels).astype(np.int64)
    if targets.max() >= len(classes):
        raise UserError(f"{key}: label {targets.max()}: expected 0 to {len(classes) - 1}")
    return Source(np.concatenate(images)[..., np.newaxis], targets, classes, len(images[1]))


def _read_part(folder: Path, name: str, num_dimensions: int) -> Array:
    """Reads an IDX file of unsigned bytes, plain or gzipped (https://yann.lecun.org/exdb/mnist)."""
    path = folder / name
    if not path.is_file():
        path = folder / f"{name}.gz"
    if not path.is_file():
        raise UserError(f"data.root: {folder}: expected a file {name} or {name}.gz in it")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(
            f"data.root: {path}: can't be read ({error}): expected an IDX file"
        ) from None
    # Two zero bytes, 8 for uint8, the number of dimensions; then each size, big-endian.
    start = 4 + 4 * num_dimensions
    if content[:4] != bytes([0, 0, 8, num_dimensions]) or len(content) < start:
        raise UserError(
            f"data.root: {path}: expected an IDX file of bytes in {num_dimensions} dimensions"
        )
    shape = np.frombuffer(content[4:start], dtype=">u4").astype(np.int64)
    if len(content) != start + shape.prod():
        num_bytes = start + shape.prod()
        raise UserError(f"data.root: {path}: {len(content)} bytes: expected {num_bytes}")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _download(dataset: Callable[..., Any], folder: Path) -> None:
    """Downloads missing files with progress bar and checksums, one process at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        try:
            # torchvision prints each address to stdout, which is reserved for results.
            with contextlib.redirect_stdout(sys.stderr):
                dataset(folder, train=True, download=True)
        except (RuntimeError, URLError, OSError) as error:
            _remove_empty_folders(folder)
            name = getattr(dataset, "__name__", "the data set")
            raise UserError(
                f"data.root: {folder}: {name} is not there and can't be downloaded "
                f"({one_line(error)}): expected network access, or data.root=<folder that holds it>"
            ) from None


def _remove_empty_folders(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
