"""Images that look the same, though their pixels differ: a copy resized, or saved once more."""

from collections.abc import Iterator

import cv2
import numpy as np

from project.core.arrays import Array, Indices
from project.data.source import Rows

# Chosen on icons and photographs saved once more as JPEG of four fifths of the size: 9 of 10 are
# found, while 1 in 500 of Fashion-MNIST's clothes is taken for one of 3,000 others.
SIDE = 12  # of the hash: 12 x 12 places
MARGIN = 4  # levels of 255 by which brightness must rise, else noise would decide
NUM_BITS = 2 * SIDE * SIDE
MAX_DISTANCE = 6  # bits in which copies may differ
MIN_BITS = 24  # fewer are a plain area, of which nothing can be said
MIN_SIZE = 16  # pixels of height and width below which different pictures look alike


def hash_images(images: Array | Rows) -> Array:
    """Hashes where brightness rises to the right and downwards (dHash, 288 bits).

    The same for a copy in another size or quality; see
    https://www.hackerfactor.com/blog/index.php?/archives/529-Kind-of-Like-That.html.

    Args:
        images: (N, H, W, C) uint8.

    Returns:
        (N, 288) bool.
    """
    hashes = np.empty((len(images), 2, SIDE, SIDE), dtype=bool)
    for start in range(0, len(images), 1024):
        for position, image in enumerate(images[start : start + 1024], start):
            grey = image.mean(axis=2, dtype=np.float32)
            small = cv2.resize(grey, (SIDE + 1, SIDE + 1), interpolation=cv2.INTER_AREA)
            corner = small[:-1, :-1] + MARGIN
            hashes[position] = small[:-1, 1:] > corner, small[1:, :-1] > corner
    return hashes.reshape(len(images), NUM_BITS)


def find_near(first: Array, second: Array) -> Indices:
    """Pairs of images that look the same.

    Args:
        first: (N, 288) hashes.
        second: (M, 288) hashes.

    Returns:
        (P, 2) positions in both.
    """
    return np.concatenate([np.empty((0, 2), dtype=np.int64), *_near(first, second)])


def _near(first: Array, second: Array) -> Iterator[Indices]:
    # The number of differing bits of all pairs at once, as a product of matrices of -1 and 1.
    signs = second.astype(np.float32) * 2 - 1
    usable = second.sum(axis=1) >= MIN_BITS
    for start in range(0, len(first), 1024):
        part = first[start : start + 1024]
        distances = (NUM_BITS - (part.astype(np.float32) * 2 - 1) @ signs.T) / 2
        is_near = (distances <= MAX_DISTANCE) & usable
        is_near &= (part.sum(axis=1) >= MIN_BITS)[:, np.newaxis]
        pairs = np.argwhere(is_near)
        pairs[:, 0] += start
        yield pairs
