"""Losses, metrics, penalties, optimisers and schedules against independent references."""

import math

import numpy as np
import pytest
import torch
from conftest import configure
from sklearn import metrics as reference
from torch import nn

from project.config.build import build_model
from project.config.compose import CONF
from project.core.types import Spec
from project.models import schedulers
from project.models.penalty import Penalty
from project.models.tasks import Classifier, Reconstructor, Regressor, SplitMetrics

IMAGES = Spec("classification", (8, 8, 1), tuple("abcde"), (80.0,), (90.0,))
TABLE = Spec("regression", (3,), (), (0.0,) * 3, (1.0,) * 3, 10.0, 4.0)
RANDOM = np.random.default_rng(0)


def evaluate_in_batches(task: Classifier | Regressor, outputs, targets, sizes) -> dict[str, float]:
    evaluation = SplitMetrics(task.eval())
    start = 0
    for size in sizes:
        part = slice(start, start + size)
        out, true = torch.from_numpy(outputs[part]), torch.from_numpy(targets[part])
        evaluation.add(task.loss(out, true, true), task.predict(out), true)
        start += size
    return {name: value.item() for name, value in evaluation.compute().items()}


def test_classification_metrics_equal_scikit_learn_s_whatever_the_batches() -> None:
    logits = RANDOM.normal(size=(100, 5)).astype(np.float32)
    targets = RANDOM.integers(0, 5, 100)
    task = Classifier(IMAGES)
    task.label_smoothing, task.has_class_weights = 0.1, True
    values = evaluate_in_batches(task, logits, targets, (64, 33, 3))
    predicted = logits.argmax(1)
    probabilities = torch.from_numpy(logits).softmax(1).numpy()
    assert values["accuracy"] == pytest.approx(reference.accuracy_score(targets, predicted))
    assert values["f1"] == pytest.approx(reference.f1_score(targets, predicted, average="macro"))
    # Label smoothing and class weights are for training: measured is the plain cross entropy.
    assert values["loss"] == pytest.approx(reference.log_loss(targets, probabilities), rel=1e-5)


def test_regression_metrics_equal_scikit_learn_s_in_the_unit_of_the_targets() -> None:
    outputs = RANDOM.normal(size=(50, 1)).astype(np.float32)
    targets = RANDOM.normal(10, 4, 50).astype(np.float32)
    values = evaluate_in_batches(Regressor(TABLE), outputs, targets, (32, 18))
    predicted = outputs[:, 0] * 4 + 10
    assert values["rmse"] == pytest.approx(reference.root_mean_squared_error(targets, predicted))
    assert values["mae"] == pytest.approx(reference.mean_absolute_error(targets, predicted))
    assert values["r2"] == pytest.approx(reference.r2_score(targets, predicted), rel=1e-4)
    assert values["loss"] == pytest.approx(values["rmse"] ** 2 / 16, rel=1e-5)


def test_reconstruction_is_measured_in_units_of_full_scale() -> None:
    task = Reconstructor(IMAGES)
    inputs = torch.from_numpy(RANDOM.integers(0, 256, (6, 8, 8, 1)).astype(np.uint8))
    outputs = torch.full((6, 8, 8, 1), 0.5)
    expected = np.mean((inputs.numpy() / 255 - 0.5) ** 2)
    assert task.loss(outputs, inputs, inputs).item() == pytest.approx(expected, rel=1e-5)
    evaluation = SplitMetrics(task)
    evaluation.add(task.loss(outputs, inputs, inputs), outputs, task.reference(inputs, inputs))
    assert evaluation.compute()["psnr"].item() == pytest.approx(
        -10 * math.log10(expected), rel=1e-4
    )


def test_label_smoothing_is_torch_s_and_for_training_only() -> None:
    logits, targets = torch.randn(16, 5), torch.randint(0, 5, (16,))
    task = Classifier(IMAGES)
    task.label_smoothing = 0.2
    smoothed = nn.functional.cross_entropy(logits, targets, label_smoothing=0.2)
    assert task.train().loss(logits, targets, targets).item() == pytest.approx(smoothed.item())
    plain = nn.functional.cross_entropy(logits, targets)
    assert task.eval().loss(logits, targets, targets).item() == pytest.approx(plain.item())


def test_penalties_are_sums_over_weights_and_leave_biases_and_norms_out() -> None:
    model = build_model(configure("model=cnn"), IMAGES)
    weights = [p.detach().numpy() for n, p in model.named_parameters() if p.ndim > 1]
    l1 = sum(np.abs(w).sum() for w in weights)
    l2 = sum((w**2).sum() for w in weights)
    assert Penalty(l1=0.1)(model).item() == pytest.approx(0.1 * l1, rel=1e-5)
    assert Penalty(l2=0.1)(model).item() == pytest.approx(0.1 * l2, rel=1e-5)
    assert Penalty(l1=0.1, l2=0.2)(model).item() == pytest.approx(0.1 * l1 + 0.2 * l2, rel=1e-5)


@pytest.mark.parametrize("name", sorted(p.stem for p in (CONF / "optimizer").glob("*.yaml")))
def test_weight_decay_shrinks_weights_and_not_biases_or_norms(name: str) -> None:
    def step(weight_decay: float) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        config = configure(
            "model=cnn", f"optimizer={name}", f"optimizer.weight_decay={weight_decay}"
        )
        model = build_model(config, IMAGES)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(1.0)
        optimizer = model.recipe.optimizer(model.parameter_groups())
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 0.1)
        optimizer.step()
        return {n: p.detach().clone() for n, p in model.named_parameters()}

    plain, decayed = step(0.0), step(0.5)
    for parameter_name, value in plain.items():
        if value.ndim > 1 and name in ("sgd", "momentum", "adamw"):
            assert (decayed[parameter_name] < value).all(), parameter_name
        elif value.ndim <= 1:
            assert torch.equal(decayed[parameter_name], value), parameter_name


def rates(name: str, num_steps: int = 100, **arguments: float) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.4)
    scheduler = getattr(schedulers, name)(optimizer, num_steps, **arguments)
    values = []
    for _ in range(num_steps):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values


def test_schedules_warm_up_and_come_down() -> None:
    assert rates("constant") == [0.4] * 100
    constant = rates("constant", warmup=0.1)
    assert constant[0] < 0.05
    assert constant[10:] == [0.4] * 90
    cosine = rates("cosine", warmup=0.1)
    assert np.argmax(cosine) == 10
    assert max(cosine) == pytest.approx(0.4)
    assert cosine[55] == pytest.approx(0.2, abs=1e-6)  # half way down
    assert 0 < cosine[-1] < 1e-3
    onecycle = rates("onecycle", warmup=0.3)
    assert np.argmax(onecycle) == 29
    assert max(onecycle) == pytest.approx(0.4, rel=1e-3)
    assert onecycle[-1] < 1e-3


@pytest.mark.parametrize("name", sorted(p.stem for p in (CONF / "scheduler").glob("*.yaml")))
@pytest.mark.parametrize("optimizer", sorted(p.stem for p in (CONF / "optimizer").glob("*.yaml")))
def test_every_schedule_drives_every_optimiser(name: str, optimizer: str) -> None:
    model = build_model(configure(f"scheduler={name}", f"optimizer={optimizer}"), IMAGES)
    made = model.recipe.optimizer(model.parameter_groups())
    scheduler = model.recipe.scheduler(made, 10)
    for _ in range(10):
        made.step()
        scheduler.step()
    assert made.param_groups[0]["lr"] >= 0
