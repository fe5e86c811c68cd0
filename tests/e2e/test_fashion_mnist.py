"""A short run on 60,000 real images; automatic precision costs no accuracy."""

from collections.abc import Callable

import pytest

from project.data.torchvision_sets import DEBIAN_FASHION_MNIST
from project.tracking.find import find_run
from project.training.results import FitResult

pytestmark = pytest.mark.skipif(
    not DEBIAN_FASHION_MNIST.is_dir(), reason="Debian's package dataset-fashion-mnist is missing"
)


@pytest.mark.slow
def test_a_short_run_on_all_images(train_run: Callable[..., FitResult]) -> None:
    result = train_run(
        "data=fashion_mnist", "trainer.max_epochs=1", "model.width=8", "augment=none"
    )
    assert result.score > 0.7
    run = find_run(result.run_id)
    assert len(run.history("train/loss")[0]) == 51_429 // 256
    assert run.mlflow_run.data.tags["data"] == "fashion_mnist"


@pytest.mark.slow
def test_loader_workers_change_nothing(train_run: Callable[..., FitResult]) -> None:
    small = ("data=fashion_mnist", "trainer.max_epochs=2", "model.width=8", "data.limit_train=1000")
    runs = [
        find_run(train_run(*small, f"data.num_workers={n}", "trainer.precision=32-true").run_id)
        for n in (0, 2)
    ]
    losses = [run.history("train/loss")[1].tolist() for run in runs]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_the_default_precision_is_as_accurate_as_fp32(train_run: Callable[..., FitResult]) -> None:
    differences = []
    for seed in range(1, 4):
        overrides = ("data=fashion_mnist", "trainer.max_epochs=3", f"seed={seed}")
        scores = [
            train_run(*overrides, f"trainer.precision={precision}").score
            for precision in ("auto", "32-true")
        ]
        differences.append(scores[0] - scores[1])
    assert abs(sum(differences) / 3) < 0.003
