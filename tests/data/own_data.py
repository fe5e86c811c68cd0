"""Small images and tables, like those of users."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from project.core.arrays import Array

KINDS = ("red", "green", "blue")
NUM_ROWS = 200


def gradient(height: int = 20, width: int = 30) -> Array:
    """An image whose corners differ, (height, width, 3)."""
    rows = np.linspace(0, 255, height)[:, np.newaxis] * np.ones(width)
    columns = np.linspace(0, 255, width) * np.ones((height, 1))
    return np.stack([rows, columns, 255 - rows], axis=-1).astype(np.uint8)


def write_classes(folder: Path, per_class: int = 12, suffix: str = ".png", seed: int = 0) -> Path:
    """A folder of images in three colours, easy to distinguish."""
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


def make_frame(seed: int = 0) -> pd.DataFrame:
    """Numbers with gaps, texts with gaps, a category that is rare, a group and a time."""
    random = np.random.default_rng(seed)
    area = random.normal(100, 30, NUM_ROWS)
    city = random.choice(["Bonn", "Köln", "Ulm, Süd"], NUM_ROWS)
    frame = pd.DataFrame(
        {
            "area": area,
            "rooms": random.integers(1, 6, NUM_ROWS),
            "city": city,
            "heated": random.random(NUM_ROWS) < 0.5,
            "owner": random.integers(0, 30, NUM_ROWS),
            "sold": pd.date_range("2020-01-01", periods=NUM_ROWS)[random.permutation(NUM_ROWS)],
            "price": 3 * area + 20 * (city == "Bonn") + random.normal(0, 5, NUM_ROWS),
        }
    )
    frame.loc[random.random(NUM_ROWS) < 0.1, "area"] = np.nan
    frame.loc[random.random(NUM_ROWS) < 0.1, "city"] = None
    return frame
