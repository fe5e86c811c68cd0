"""Near-duplicates: images with different pixels that are copies, resized or saved once more."""

import cv2
import numpy as np

from project.core.arrays import Array, Indices
from project.data.source import Rows

# Chosen on icons and photographs saved again as JPEG at four fifths of their size: 9 of 10 copies
# are detected, and 1 in 500 images of Fashion-MNIST is mistaken for one of 3,000 others.
SIDE = 12  # rows and columns of the hash
MARGIN = 4  # minimum rise of brightness, of 255, that sets a bit; lower ones are noise
NUM_BITS = 2 * SIDE * SIDE
MAX_DISTANCE = 6  # maximum number of different bits between copies
MIN_BITS = 24  # minimum number of bits set; an image with fewer is too plain to compare
MAX_HASHED_PER_RUN = 10_000  # number of images; hashing them takes a few tenths of a second
MIN_SIZE = 16  # minimum height and width in pixels; smaller images all have similar hashes


def hash_small(inputs: Array | Rows) -> Array | None:
    """Hashes the images of a data set that has few of them; None for others and for tables."""
    is_image = inputs.ndim == 4 and min(inputs.shape[1:3]) >= MIN_SIZE
    return hash_images(inputs) if is_image and len(inputs) <= MAX_HASHED_PER_RUN else None


def hash_images(images: Array | Rows) -> Array:
    """Hashes where brightness rises to the right and downwards (dHash): (N, 288) bool.

    Copies in another size or quality have nearly the same hash; see
    https://www.hackerfactor.com/blog/index.php?/archives/529-Kind-of-Like-That.html.
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
    """Finds near-duplicates among (N, 288) and (M, 288) hashes, as (P, 2) positions in both."""
    near = [np.empty((0, 2), dtype=np.int64)]
    # A product of matrices of -1 and 1 gives the number of different bits of all pairs at once.
    signs = second.astype(np.float32) * 2 - 1
    is_rich = second.sum(axis=1) >= MIN_BITS
    for start in range(0, len(first), 1024):
        part = first[start : start + 1024]
        distances = (NUM_BITS - (part.astype(np.float32) * 2 - 1) @ signs.T) / 2
        both_rich = (part.sum(axis=1) >= MIN_BITS)[:, np.newaxis] & is_rich
        near.append(np.argwhere((distances <= MAX_DISTANCE) & both_rich) + np.array([start, 0]))
    return np.concatenate(near)
