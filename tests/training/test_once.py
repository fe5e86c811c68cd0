"""Tracing a run: data, model and config are each read, built and checked once."""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from conftest import TINY

import project.config.build
import project.data.digits
import project.train
from project.cli.commands import COMMANDS
from project.cli.main import call
from project.config import check
from project.models.base import Model
from project.train import show
from project.training.results import FitResult

NODES = ["augment.affine", "config", "data", "model", "optimizer", "penalty", "scheduler"]


def test_everything_is_done_once_and_the_result_is_that_of_fit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: Counter[str] = Counter()
    fitted: list[FitResult] = []

    def count(target: Any, name: str, label: Callable[..., str]) -> None:
        original = getattr(target, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            calls[label(*arguments)] += 1
            return original(*arguments, **options)

        counted.__module__ = original.__module__
        monkeypatch.setattr(target, name, counted)

    def fit(*arguments: Any) -> FitResult:
        fitted.append(original_fit(*arguments))
        return fitted[-1]

    original_fit = project.train.fit
    monkeypatch.setattr(project.train, "fit", fit)
    count(project.data.digits, "digits", lambda *_: "read")
    count(Model, "__init__", lambda *_: "model")
    names = {check.Config: "check config"}  # the command's own arguments have no path either
    count(
        check, "validate", lambda path, kind, *_: f"check {path}" if path else names.get(kind, "")
    )
    result = call(COMMANDS["train"], TINY)
    assert calls["read"] == 1
    assert calls["model"] == 1
    checked = [label.removeprefix("check ") for label in calls.elements() if "check" in label]
    assert sorted(checked) == NODES
    assert fitted == [result]
    first, *epochs = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        r"cnn with [\d,]+ parameters, digits \(train 320, val 180, test 539\), 1 x CPU, "
        rf"\S+, run {result.run_id}",
        first,
    )
    assert [line.split("  ")[0] for line in epochs] == ["epoch", "epoch"]
    show(result)
    printed = capsys.readouterr().out
    assert f"val/accuracy {result.score:.4f} at epoch {result.best_epoch} of 2" in printed
