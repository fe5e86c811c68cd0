"""Runs in the terminal: listed and compared."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest
import yaml
from conftest import TINY, configure

from project import ROOT
from project.cli.main import main
from project.core.errors import TrainingError, UserError
from project.runs.diff import READERS, changed_files, diff
from project.runs.diff import show as show_difference
from project.runs.list import ID_LENGTH, format_seconds, list_runs, show
from project.tracking.find import find_run
from project.tracking.run import Run
from project.train import train
from project.training.results import FitResult


def test_an_empty_store_names_the_command_to_run(
    own_store: object, capsys: pytest.CaptureFixture[str]
) -> None:
    show(list_runs())
    assert (
        capsys.readouterr().out
        == "no such runs yet: run `make train` first, or choose other filters\n"
    )


def test_the_latest_runs_come_first_with_their_outcome(
    own_store: object, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = Run.create({"mlflow.runName": "a study"})
    with parent.running():
        first = train(configure(*TINY), tags={"mlflow.parentRunId": parent.id}, log_model=False)
    second = train(configure("data=diabetes", "trainer.max_epochs=2"))
    with pytest.raises(TrainingError):
        train(configure("data=diabetes", "optimizer.lr=1e9", "trainer.max_epochs=9"))
    failed, *others = list_runs(10)
    assert [run.id for run in others] == [second.run_id, first.run_id, parent.id]
    assert failed.status == "FAILED"
    assert failed.score is None
    assert others[0].score == pytest.approx(second.score)
    assert (others[0].score_name, others[0].model, others[0].data) == ("rmse", "linear", "diabetes")
    assert (others[1].parent_name, others[1].score_name) == ("a study", "accuracy")
    assert others[1].seconds > 0
    show(list_runs(3))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[2].startswith(f"{second.run_id[:ID_LENGTH]}  FINISHED  linear-diabetes")
    assert f"rmse {second.score:.4f}" in lines[2]
    assert "cnn-digits of a study" in lines[3]


def test_the_beginning_of_an_id_is_enough(digits_run: FitResult, diabetes_run: FitResult) -> None:
    assert find_run(digits_run.run_id[:ID_LENGTH]).id == digits_run.run_id
    with pytest.raises(UserError, match="there is no such run"):
        find_run("0123456789abcdef")
    with pytest.raises(UserError, match="there is no such run"):
        find_run(digits_run.run_id[:4])


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.4, "3 s"), (65, "1:05 min"), (3599, "59:59 min"), (7260, "2:01 h")]
)
def test_durations_are_in_readable_units(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_only_differences_are_shown(
    train_run: Callable[..., FitResult], capsys: pytest.CaptureFixture[str]
) -> None:
    first = train_run(*TINY)
    second = train_run(*TINY, "optimizer.lr=0.01", "data.splits.seed=3")
    difference = diff(first.run_id, second.run_id[:ID_LENGTH])
    assert difference.config == {
        "optimizer.lr": (str(configure().optimizer["lr"]), "0.01"),
        "data.splits.seed": ("0", "3"),
    }
    assert set(difference.data) == {"train", "val", "test"}
    assert not difference.packages
    assert set(difference.metrics) == {"best/loss", "best/accuracy", "best/f1"} - {
        name for name in ("best/accuracy", "best/f1")
        if first.metrics[name[5:]] == second.metrics[name[5:]]
    }  # fmt: skip
    show_difference(difference)
    printed = capsys.readouterr().out
    assert "packages: the same" in printed
    assert "optimizer.lr" in printed
    assert "model.width" not in printed


def test_equal_runs_have_no_difference(
    digits_run: FitResult, capsys: pytest.CaptureFixture[str]
) -> None:
    again = train(configure(*TINY), log_model=False)
    difference = diff(digits_run.run_id, again.run_id)
    assert not any(getattr(difference, part) for part in READERS)
    show_difference(difference)
    assert "the same config, code, packages, data and metrics" in capsys.readouterr().out


def test_a_run_of_older_code_is_compared_by_what_it_logged(digits_run: FitResult) -> None:
    again = train(configure(*TINY), log_model=False)
    run = find_run(again.run_id)
    stored = run.stored_config()
    stored["trainer"]["forgotten"] = 3
    del stored["trainer"]["ema_decay"]
    run.log_text(yaml.safe_dump(stored), "config.yaml")
    assert diff(digits_run.run_id, again.run_id).config == {
        "trainer.ema_decay": ("None", "-"),
        "trainer.forgotten": ("-", "3"),
    }


def test_a_diff_is_split_by_file() -> None:
    text = (
        "diff --git a/project/a.py b/project/a.py\n--- a/project/a.py\n+++ b/project/a.py\n"
        "@@ -1 +1 @@\n-x\n+y\n"
        "diff --git a/conf/x y.yaml b/conf/x y.yaml\nnew file mode 100644\n"
    )
    assert list(changed_files(text)) == ["project/a.py", "conf/x y.yaml"]
    assert "".join(changed_files(text).values()) == text
    assert changed_files("") == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["diff"], "first: missing: expected a value"),
        (["diff", "first=last"], "second: missing: expected a value"),
        (["diff", "first=last", "second=none"], "second: none: there is no such run in sqlite:///"),
        (["runs", "limit=0"], "limit: '0': expected greater than or equal to 1"),
        (["runs", "limit=10001"], "limit: '10001': expected less than or equal to 10000"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], message: str, digits_run: FitResult, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {message}")
    assert printed.err.count("\n") == 1
    assert not printed.out


def test_results_as_json(digits_run: FitResult, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "limit=1000", "--json"]) == 0
    runs = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (run,) = (run for run in runs if run["id"] == digits_run.run_id)
    assert (run["status"], run["model"], run["data"]) == ("FINISHED", "cnn", "digits")
    assert run["score"] == run["metrics"]["best/accuracy"] == pytest.approx(digits_run.score)
    assert main(["diff", "first=last", "second=last", "--json"]) == 0
    difference = json.loads(capsys.readouterr().out)
    assert difference.pop("runs")[0] == runs[0]["id"]
    assert difference == {key: {} for key in ("config", "code", "packages", "data", "metrics")}


def test_listing_and_comparing_runs_imports_nothing_that_trains() -> None:
    modules = [
        *(
            f"project.tracking.{path.stem}"
            for path in (ROOT / "project/tracking").glob("[a-z]*.py")
        ),
        *(f"project.runs.{path.stem}" for path in (ROOT / "project/runs").glob("[a-z]*.py")),
    ]
    light = set(modules) - {"project.tracking.models", "project.tracking.logger"}
    code = f"import sys, {', '.join(sorted(light))}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    heavy = {"torch", "torchvision", "lightning", "albumentations", "matplotlib", "sklearn"}
    assert not heavy & set(done.stdout.split())
