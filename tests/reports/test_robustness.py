"""Corruptions are deterministic and grow with severity; robustness and calibration are correct."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from conftest import TINY

from project.config.build import build_data
from project.core.errors import UserError
from project.evaluate import evaluate
from project.reports.robustness import CORRUPTIONS, area_under, corrupt, measure_robustness
from project.reports.run import load_best
from project.tracking.find import find_run
from project.training.results import FitResult

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(60, 180, (12, 16, 16, 1)).astype(np.uint8)
INDICES = np.arange(100, 112)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_is_decided_by_amount_and_sample_alone(name: str) -> None:
    amounts = CORRUPTIONS[name].amounts
    assert amounts[0] == 0
    assert list(amounts) == sorted(amounts)
    assert (corrupt(IMAGES, INDICES, name, 0) == IMAGES).all()
    whole = corrupt(IMAGES, INDICES, name, amounts[-1])
    assert whole.shape == IMAGES.shape
    assert whole.dtype == np.uint8
    assert (corrupt(IMAGES, INDICES, name, amounts[-1]) == whole).all()
    assert (corrupt(IMAGES[5:7], INDICES[5:7], name, amounts[-1]) == whole[5:7]).all()
    changes = [
        np.abs(corrupt(IMAGES, INDICES, name, amount).astype(float) - IMAGES).mean()
        for amount in amounts
    ]
    assert changes[1] > 0
    assert changes[-1] > changes[1]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_quarter_turn_is_a_quarter_turn(channels: int) -> None:
    images = RNG.integers(0, 256, (6, 9, 9, channels)).astype(np.uint8)
    turned = corrupt(images, np.arange(6), "rotation", 90)
    for before, after in zip(images, turned, strict=True):
        left, right = np.rot90(before), np.rot90(before, -1)
        errors = [np.abs(after.astype(int) - each).max() for each in (left, right)]
        assert min(errors) <= 1
    mirrored = corrupt(images, np.arange(6), "reflection", 1)
    assert (mirrored == images[:, :, ::-1]).all()


def test_the_area_is_the_mean_accuracy_over_the_range() -> None:
    assert area_under((0.0, 1.0, 2.0), (0.8, 0.8, 0.8)) == pytest.approx(0.8)
    assert area_under((0.0, 0.5, 2.0), (1.0, 0.5, 0.0)) == pytest.approx(
        np.trapezoid([1.0, 0.5, 0.0], [0.0, 0.5, 2.0]) / 2
    )


def test_a_classifier_is_measured_on_val_and_the_test_set_stays_sealed(
    train_run: Callable[..., FitResult],
) -> None:
    result = train_run(*TINY, "data.splits.seed=79")
    measured = evaluate(result.run_id, robustness=True)
    run = find_run(result.run_id)
    data = build_data(run.config())
    model = load_best(run, run.config(), data.spec)
    with torch.inference_mode():
        probabilities = model(torch.from_numpy(data.val.inputs)).softmax(1).numpy()
    accuracy = (probabilities.argmax(1) == data.val.targets).mean()
    curves = measure_robustness(model, data.val.inputs, data.val.targets, data.val.indices)
    for name, curve in curves.items():
        assert curve.accuracies[0] == pytest.approx(accuracy)
        assert measured.curves[name] == curve
    logged = run.mlflow_run.data
    assert logged.metrics["val_robustness/rotation_area"] == pytest.approx(curves["rotation"].area)
    assert not any(name.startswith("test") for name in logged.metrics)
    # Under those names lessons keep what they have measured themselves.
    assert not any(name.startswith("robustness") for name in logged.metrics)
    # Expected calibration error over 15 bins (arXiv:1706.04599).
    confidence = probabilities.max(1)
    is_right = probabilities.argmax(1) == data.val.targets
    bins = np.clip(np.ceil(confidence * 15) - 1, 0, 14)
    expected = sum(
        (bins == b).mean() * abs(is_right[bins == b].mean() - confidence[bins == b].mean())
        for b in np.unique(bins)
    )
    assert logged.metrics["calibration/error"] == pytest.approx(expected, abs=1e-4)
    figures = {file.path for file in run.client.list_artifacts(run.id, "figures")}
    assert {"figures/robustness.png", "figures/reliability.png"} <= figures


def test_only_classifiers_of_images_can_be_measured(diabetes_run: FitResult) -> None:
    with pytest.raises(UserError, match=r"^robustness: true: .*is not an image classifier"):
        evaluate(diabetes_run.run_id, robustness=True)
