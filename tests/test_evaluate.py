"""Opening the test set: metrics, counted openings, and refusal if the data have changed."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, configure
from sklearn import metrics as reference

from project.cli.commands import COMMANDS
from project.cli.main import call, main
from project.config.build import build_data
from project.core.errors import UserError
from project.data.digits import digits
from project.data.source import Source
from project.evaluate import evaluate
from project.reports.run import load_best
from project.tracking.find import find_run
from project.train import train
from project.training.results import FitResult


@pytest.fixture(scope="module")
def evaluated(train_run: Callable[..., FitResult]) -> FitResult:
    """A run of a split that no other test opens."""
    return train_run(*TINY, "data.splits.seed=77")


def test_metrics_and_interval_match_references_and_are_logged_to_the_run(
    evaluated: FitResult,
) -> None:
    result = evaluate(evaluated.run_id)
    run = find_run(evaluated.run_id)
    config = run.config()
    data = build_data(config)
    samples = data.open_test()
    with torch.no_grad():
        logits = load_best(run, config, data.spec)(torch.from_numpy(samples.inputs)).numpy()
    predicted = logits.argmax(1)
    accuracy = reference.accuracy_score(samples.targets, predicted)
    assert result.num_samples == len(samples) == 539
    assert result.metrics["accuracy"] == pytest.approx(accuracy)
    f1 = reference.f1_score(samples.targets, predicted, average="macro")
    assert result.metrics["f1"] == pytest.approx(f1)
    # Wilson (1927), https://doi.org/10.1080/01621459.1927.10502953
    z, n = 1.959963985, len(samples)
    centre = (accuracy + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(accuracy * (1 - accuracy) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    assert result.interval == pytest.approx((centre - half, centre + half))
    logged = run.mlflow_run.data
    assert logged.metrics["test/accuracy"] == pytest.approx(accuracy)
    assert logged.metrics["test/accuracy_low"] == pytest.approx(centre - half)
    assert "Wilson" in logged.tags["test.interval"]
    assert run.mlflow_run.info.status == "FINISHED"
    figures = {file.path for file in run.client.list_artifacts(run.id, "figures")}
    assert "figures/test_confusion_matrix.png" in figures


def test_openings_are_counted_over_all_runs_of_the_same_test_split() -> None:
    overrides = (*TINY, "trainer.max_epochs=1", "data.splits.seed=78")
    first = train(configure(*overrides))
    second = train(configure(*overrides, "seed=2", "data.limit_train=200"))
    other = train(configure(*overrides, "data.splits.seed=79"))
    assert evaluate(first.run_id).num_openings == 1
    assert evaluate(first.run_id).num_openings == 2
    assert evaluate(second.run_id).num_openings == 3
    assert evaluate(other.run_id).num_openings == 1
    run = find_run(first.run_id)
    run.client.delete_run(run.id)  # deleted runs count too: they opened the test set
    assert evaluate(second.run_id).num_openings == 4
    with pytest.raises(UserError, match="it was deleted"):
        evaluate(first.run_id)
    tags = find_run(second.run_id).mlflow_run.data.tags
    assert (tags["test.openings"], tags["test.openings_by_all_runs"]) == ("2", "4")


def test_an_opening_counts_even_if_the_evaluation_fails(
    evaluated: FitResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = int(find_run(evaluated.run_id).mlflow_run.data.tags.get("test.openings", 0))

    def fail(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr("project.evaluate.measure", fail)
    with pytest.raises(MemoryError):
        evaluate(evaluated.run_id)
    assert int(find_run(evaluated.run_id).mlflow_run.data.tags["test.openings"]) == before + 1


def test_regression_has_metrics_and_no_interval(diabetes_run: FitResult) -> None:
    result = evaluate(diabetes_run.run_id)
    assert set(result.metrics) == {"loss", "rmse", "mae", "r2"}
    assert result.interval is None


def test_training_does_not_open_the_test_set(digits_run: FitResult) -> None:
    data = find_run(digits_run.run_id).mlflow_run.data
    assert not [key for key in data.metrics if key.startswith("test/")]
    assert "test.openings" not in data.tags


def test_changed_data_are_refused_and_not_opened(
    evaluated: FitResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(image_size: int = 8) -> Source:
        source = digits(image_size)
        source.targets[3] = (source.targets[3] + 1) % 10
        return source

    changed.__module__ = "project.data.digits"
    before = find_run(evaluated.run_id).mlflow_run.data.tags.get("test.openings")
    monkeypatch.setattr("project.data.digits.digits", changed)
    with pytest.raises(UserError, match=r"^run: \w+: its data have changed"):
        evaluate(evaluated.run_id)
    assert find_run(evaluated.run_id).mlflow_run.data.tags.get("test.openings") == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "run: missing: expected a value"),
        (["run="], "run: missing: expected a value"),
        (["rnu=last"], "rnu: unknown key: did you mean 'run'?"),
        (["run=last", "robustness=maybe"], "robustness: 'maybe': expected a valid boolean"),
        (["run=0123"], "run: 0123: there is no such run"),
    ],
)
def test_mistakes(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        call(COMMANDS["evaluate"], arguments)
    assert str(caught.value).startswith(message)


def test_last_of_an_empty_store_and_an_unfinished_run_are_mistakes(own_store: Path) -> None:
    with pytest.raises(UserError, match="run: last: no runs yet"):
        evaluate("last")
    run = find_run(train(configure(*TINY)).run_id)
    run.client.set_terminated(run.id, "KILLED")
    with pytest.raises(UserError, match=r"it is KILLED: expected a run that is FINISHED"):
        evaluate("last")
    run.client.set_terminated(run.id, "FINISHED")
    run.best_checkpoint.unlink()
    with pytest.raises(UserError, match=r"best\.ckpt is missing"):
        evaluate("last")


def test_the_command_prints_the_result(
    evaluated: FitResult, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", f"run={evaluated.run_id}"]) == 0
    printed = capsys.readouterr().out
    assert "test/accuracy 0." in printed
    assert "95 % Wilson interval" in printed
    assert "has now been opened" in printed
    assert np.isfinite(float(printed.partition("test/accuracy ")[2].split()[0]))
