"""Small image files of all kinds for tests."""

from pathlib import Path

import numpy as np
from PIL import Image

from project.types import Array

KINDS = ("red", "green", "blue")


def gradient(height: int = 20, width: int = 30) -> Array:
    """A picture whose corners differ, (height, width, 3)."""
    rows = np.linspace(0, 255, height)[:, np.newaxis] * np.ones(width)
    columns = np.linspace(0, 255, width) * np.ones((height, 1))
    return np.stack([rows, columns, 255 - rows], axis=-1).astype(np.uint8)


def write_classes(folder: Path, per_class: int = 12, suffix: str = ".png", seed: int = 0) -> Path:
    """A folder of pictures of three colours, easy to tell apart."""
    random = np.random.default_rng(seed)
    for channel, name in enumerate(KINDS):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(per_class):
            size = tuple(random.integers(12, 40, 2).tolist())
            pixels = random.integers(0, 90, (*size, 3))
            pixels[..., channel] += 150
            image = Image.fromarray(pixels.astype(np.uint8))
            image.save(folder / name / f"{name} {index:02d}{suffix}")
    return folder
