"""Augmentation: same pixels for any number of workers, different pixels in each epoch."""

import albumentations
import numpy as np
import pytest
from conftest import configure
from torch.utils.data import DataLoader, Dataset

from project.config.build import build_augment, build_data
from project.core.arrays import Array


def augmented_epochs(num_workers: int, num_epochs: int = 2) -> Array:
    """All training samples of some epochs in the order of the split, (epochs, N, H, W, C)."""
    data = build_data(
        configure("augment=full", f"data.num_workers={num_workers}", "data.limit_train=192")
    )
    loader = data.train_dataloader()
    assert loader.num_workers == num_workers
    epochs = []
    for epoch in range(num_epochs):
        loader.sampler.set_epoch(epoch)
        images = np.concatenate([inputs.numpy() for inputs, _ in loader])
        order = np.concatenate([positions for _, positions in loader.sampler])
        epochs.append(images[np.argsort(order)])
    return np.stack(epochs)


def test_pixels_do_not_depend_on_the_number_of_workers_and_change_with_the_epoch() -> None:
    alone, two, eight = (augmented_epochs(num_workers) for num_workers in (0, 2, 8))
    np.testing.assert_array_equal(alone, two)
    np.testing.assert_array_equal(alone, eight)
    same = (alone[0] == alone[1]).all(axis=(1, 2, 3))
    assert same.mean() < 0.2


class Naive(Dataset[Array]):
    """How albumentations is commonly used."""

    def __init__(self) -> None:
        self.transform = albumentations.Compose(
            [albumentations.Affine(rotate=(-90, 90), p=1)], seed=0
        )
        self.image = np.random.default_rng(0).integers(0, 256, (8, 8, 1)).astype(np.uint8)

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> Array:
        return self.transform(image=self.image)["image"]


def test_the_naive_way_repeats_its_draws_in_every_worker() -> None:
    """The reason for project.data.samples.Augment; if this fails, that may have become needless."""

    def draws(num_workers: int) -> Array:
        return np.concatenate(
            [batch.numpy() for batch in DataLoader(Naive(), num_workers=num_workers)]
        )

    assert len(np.unique(draws(4), axis=0)) <= 4
    assert len(np.unique(draws(0), axis=0)) == 16


def test_a_batch_is_augmented_sample_by_sample() -> None:
    augment = build_augment(configure("augment=affine"))
    assert augment is not None
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1)).astype(np.uint8)
    indices = np.arange(100, 116)
    before = images.copy()
    whole = augment(images, 3, indices)
    halves = [augment(images[part], 3, indices[part]) for part in (slice(8, 16), slice(0, 8))]
    np.testing.assert_array_equal(whole, np.concatenate(halves[::-1]))
    np.testing.assert_array_equal(images, before)
    same_image = augment(np.repeat(images[:1], 16, axis=0), 3, indices)
    assert len(np.unique(same_image, axis=0)) > 8


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 28, 33])
@pytest.mark.parametrize("option", ["light", "affine", "full"])
def test_every_option_works_on_every_kind_of_image(option: str, size: int, channels: int) -> None:
    augment = build_augment(configure(f"augment={option}"))
    assert augment is not None
    images = np.random.default_rng(0).integers(0, 256, (32, size, size, channels)).astype(np.uint8)
    augmented = augment(images, 0, np.arange(32))
    assert augmented.shape == images.shape
    assert augmented.dtype == np.uint8
    assert (augmented != images).any(axis=(1, 2, 3)).mean() > 0.5


EFFECTS = {
    "reflection": {"_target_": "albumentations.HorizontalFlip", "p": 1.0},
    "translation": {
        "_target_": "albumentations.Affine",
        "translate_px": {"x": 2, "y": 0},
        "p": 1.0,
    },
    "rotation": {"_target_": "albumentations.Affine", "rotate": [90, 90], "p": 1.0},
}


@pytest.mark.parametrize("name", EFFECTS)
def test_a_transform_does_what_its_name_says(name: str) -> None:
    config = configure("augment=none")
    config.augment = {name: EFFECTS[name]}
    augment = build_augment(config)
    assert augment is not None
    image = np.zeros((1, 9, 9, 1), np.uint8)
    image[0, 1, 2] = 255
    changed = augment(image, 0, np.arange(1))[0, ..., 0]
    expected = {"reflection": (1, 6), "translation": (1, 4), "rotation": (6, 1)}[name]
    assert np.unravel_index(changed.argmax(), changed.shape) == expected


def test_only_training_samples_are_augmented() -> None:
    data = build_data(configure("augment=full"))
    assert data.train.augment is not None
    for samples in (data.val, data.train_subset, data.open_test()):
        assert samples.augment is None
