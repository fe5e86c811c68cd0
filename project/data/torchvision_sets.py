"""MNIST, Fashion-MNIST and CIFAR-10, downloaded by torchvision or read from a folder."""

import contextlib
import gzip
import sys
import zlib
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
    return _read_idx(_find(MNIST, root) / "MNIST" / "raw", tuple("0123456789"))


def fashion_mnist(root: str | None = None) -> Source:
    """Reads 70,000 images of clothes of 28 x 28 pixels; the last 10,000 are the official test set.

    Debian's package dataset-fashion-mnist is used if it is installed and no root is set.

    Args:
        root: Folder that holds ``FashionMNIST/raw/*-ubyte`` (or ``.gz``); null downloads into
            ``data/``.
    """
    folder = DEBIAN_FASHION_MNIST
    if root is not None or not folder.is_dir():
        folder = _find(FashionMNIST, root) / "FashionMNIST" / "raw"
    return _read_idx(folder, tuple(name.lower() for name in FashionMNIST.classes))


def cifar10(root: str | None = None) -> Source:
    """Reads 60,000 colour images of 32 x 32 pixels; the last 10,000 are the official test set.

    Args:
        root: Folder that holds ``cifar-10-batches-py``; null downloads into ``data/``.
    """
    folder = _find(CIFAR10, root)
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


def _find(dataset: Any, root: str | None) -> Path:
    """The folder of a data set; downloads missing files, one process at a time, without a root."""
    if root is not None:
        return Path(root)
    DOWNLOADS.mkdir(parents=True, exist_ok=True)
    with FileLock(DOWNLOADS / ".lock"):
        try:
            # torchvision prints each address to stdout, which is reserved for results.
            with contextlib.redirect_stdout(sys.stderr):
                dataset(DOWNLOADS, train=True, download=True)
        except (RuntimeError, URLError, OSError) as error:
            for path in sorted(DOWNLOADS.rglob("*"), reverse=True):
                if path.is_dir() and not any(path.iterdir()):
                    path.rmdir()
            reason = f"{dataset.__name__} is not there and can't be downloaded ({one_line(error)})"
            expected = "expected network access, or data.root=<folder that holds it>"
            raise UserError(f"data.root: {DOWNLOADS}: {reason}: {expected}") from None
    return DOWNLOADS


def _read_idx(folder: Path, classes: tuple[str, ...]) -> Source:
    images, labels = [], []
    for part in ("train", "t10k"):
        images.append(_read_part(folder, f"{part}-images-idx3-ubyte", num_dimensions=3))
        labels.append(_read_part(folder, f"{part}-labels-idx1-ubyte", num_dimensions=1))
        if (num_images := len(images[-1])) != (num_labels := len(labels[-1])):
            reason = f"{num_images} {part} images: expected as many as labels ({num_labels})"
            raise UserError(f"data.root: {folder}: {reason}")
    (num_train, *size), (num_test, *test_size) = (part.shape for part in images)
    if not num_train or not num_test or size != test_size:
        reason = f"train images are {images[0].shape}, t10k images {images[1].shape}"
        raise UserError(f"data.root: {folder}: {reason}: expected images of one size in both")
    targets = np.concatenate(labels).astype(np.int64)
    if (label := targets.max()) >= len(classes):
        raise UserError(f"data.root: {folder}: label {label}: expected 0 to {len(classes) - 1}")
    return Source(np.concatenate(images)[..., np.newaxis], targets, classes, num_test)


def _read_part(folder: Path, name: str, num_dimensions: int) -> Array:
    """Reads an IDX file of unsigned bytes, plain or gzipped (https://yann.lecun.org/exdb/mnist)."""
    path = next(filter(Path.is_file, (folder / name, folder / f"{name}.gz")), None)
    if path is None:
        raise UserError(f"data.root: {folder}: expected a file {name} or {name}.gz in it")
    key = f"data.root: {path}"
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{key}: can't be read ({error}): expected an IDX file") from None
    # Two zero bytes, 8 for uint8, the number of dimensions; then each size, big-endian.
    start = 4 + 4 * num_dimensions
    if content[:4] != bytes([0, 0, 8, num_dimensions]) or len(content) < start:
        raise UserError(f"{key}: expected an IDX file of bytes in {num_dimensions} dimensions")
    shape = np.frombuffer(content[4:start], dtype=">u4").astype(np.int64)
    if len(content) != start + shape.prod():
        raise UserError(f"{key}: {len(content)} bytes: expected {start + shape.prod()}")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)
