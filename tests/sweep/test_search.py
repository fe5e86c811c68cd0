"""A finished sweep: its records in Optuna and MLflow, its output, and its reproducibility."""

import csv
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from conftest import use_store
from optuna.trial import TrialState
from sweep.accounts import Swept, check_accounts, make_command, opened, sweep

from project.config.check import check
from project.config.compose import compose
from project.tracking.find import children
from project.tracking.models import Registration, register
from project.tracking.run import Run


def artifacts(run: Run, folder: str = "") -> set[str]:
    return {Path(file.path).name for file in run.client.list_artifacts(run.id, folder)}


def text(run: Run, name: str) -> str:
    return Path(run.client.download_artifacts(run.id, name)).read_text()


def test_it_runs_all_trials_and_optuna_agrees_with_mlflow(swept: Swept) -> None:
    assert len(swept.trials) == 8
    check_accounts(swept)
    assert swept.parent.mlflow_run.info.status == "FINISHED"
    assert {TrialState.COMPLETE, TrialState.PRUNED} == {trial.state for trial in swept.trials}


def test_each_trial_prints_one_line_with_the_progress_of_the_study(swept: Swept) -> None:
    lines = [line for line in swept.output.splitlines() if line.startswith("trial  ")]
    assert len(lines) == 8
    assert re.search(r"accuracy 0\.\d{4} .*, best so far  \[1/8, \d+:\d\d left\]$", lines[0])
    assert lines[-1].endswith("[8/8]")
    until_verdict, _, _ = swept.output.partition(" and trial ")
    until_verdict, _, _ = until_verdict.partition(" is better than ")
    assert max(map(len, until_verdict.splitlines())) <= 80


def test_a_trial_is_a_full_run_without_figures_and_model(swept: Swept) -> None:
    trial = next(trial for trial in swept.trials if trial.state == TrialState.COMPLETE)
    run = Run(swept.runs[trial.number].id)
    assert {"config.yaml", "command.txt", "requirements.txt", "split.json"} <= artifacts(run)
    assert "figures" not in artifacts(run)
    config = yaml.safe_load(text(run, "config.yaml"))
    assert config["optimizer"]["lr"] == trial.params["optimizer.lr"]
    assert len(run.history("val/accuracy")[0]) == 4
    assert run.mlflow_run.data.tags["mlflow.runName"] == f"trial {trial.number}"


def test_the_objective_is_the_best_epoch_and_each_epoch_is_reported(swept: Swept) -> None:
    for trial in swept.trials:
        epochs = Run(swept.runs[trial.number].id).history("val/accuracy")[1]
        reported = [trial.intermediate_values[epoch + 1] for epoch in range(len(epochs))]
        assert reported == pytest.approx(epochs.tolist())
        if trial.state == TrialState.COMPLETE:
            assert trial.value == pytest.approx(max(epochs))
            assert len(epochs) == 4
        else:
            assert len(epochs) in (1, 3)  # rungs of hyperband


def test_the_parent_run_has_the_space_trials_figures_and_best_score_so_far(swept: Swept) -> None:
    space = json.loads(text(swept.parent, "space.json"))
    assert set(space) == {"optimizer.lr", "optimizer.weight_decay", "model.dropout"}
    rows = list(csv.DictReader(text(swept.parent, "trials.csv").splitlines()))
    assert [int(row["trial"]) for row in rows] == list(range(8))
    for row, trial in zip(rows, swept.trials, strict=True):
        assert row["state"] == {"COMPLETE": "complete", "PRUNED": "pruned"}[trial.state.name]
        assert float(row["optimizer.lr"]) == trial.params["optimizer.lr"]
        assert row["run_id"] == swept.runs[trial.number].id
    figures = {"history", "slices", "intermediate_values", "timeline", "contour", "importance"}
    assert artifacts(swept.parent, "figures") == {
        "interactive.html",
        *(f"{name}.png" for name in figures),
    }
    steps, values = swept.parent.history("best/accuracy")
    assert steps.tolist() == list(range(1, 9))
    assert values.tolist() == sorted(values.tolist())
    assert values[-1] == swept.study.best_value


def test_the_best_settings_are_retrained_and_the_winner_is_tested_once(swept: Swept) -> None:
    again = [run for run in children(swept.parent) if "sweep.retrain" in run.tags]
    assert len(again) == 4
    assert {run.tags["sweep.seed"] for run in again} == {"2", "3"}  # the search's own was 1
    complete = [trial for trial in swept.trials if trial.state == TrialState.COMPLETE]
    best = sorted(complete, key=lambda trial: (-trial.value, trial.number))[:2]
    assert {int(run.tags["sweep.retrain"]) for run in again} == {trial.number for trial in best}
    rows = json.loads(text(swept.parent, "winner.json"))
    for row in rows:
        mine = [run for run in again if run.tags["sweep.retrain"] == str(row["trial"])]
        assert sorted(row["scores"]) == sorted(run.metrics["best/accuracy"] for run in mine)
        assert row["mean"] == pytest.approx(sum(row["scores"]) / 2)
    assert rows[0]["mean"] >= rows[1]["mean"]
    tested = [run for run in children(swept.parent) if "test.openings" in run.tags]
    assert [run.tags["test.openings"] for run in tested] == ["1"]
    assert tested[0].tags["sweep.retrain"] == str(rows[0]["trial"])
    assert tested[0].metrics["best/accuracy"] == max(rows[0]["scores"])
    assert "figures" in artifacts(Run(tested[0].id))
    assert re.search(r"not separable|is better than", swept.output)


def test_the_winner_is_registered_as_champion(swept: Swept) -> None:
    client = swept.parent.client
    version = client.get_model_version_by_alias("digits-cnn", "champion")
    assert version.run_id == swept.parent.mlflow_run.data.tags["winner.run"]
    assert int(version.version) == 1


def test_only_a_better_val_score_replaces_the_champion(swept: Swept, tmp_path: Path) -> None:
    for file in swept.folder.glob("mlflow.db*"):  # SQLite keeps the latest changes in a second file
        shutil.copy(file, tmp_path)
    with use_store(tmp_path):
        parent = Run(swept.parent.id)
        client = parent.client
        winner = parent.mlflow_run.data.tags["winner.run"]
        other = next(
            run for run in children(parent) if "sweep.retrain" in run.tags and run.id != winner
        )

        def register_with(score: float) -> Registration:
            client.log_metric(other.id, "best/accuracy", score, step=10**6 + int(100 * score))
            return register(Run(other.id), "accuracy")

        client.log_metric(winner, "best/accuracy", 0.5, step=10**6)
        first = register_with(0.0)
        assert (first.alias, first.version) == ("challenger", "2")
        assert "is not better than" in first.reason
        assert register_with(0.0) == first  # a run is registered once
        client.set_tag(other.id, "split.fingerprint", "another")
        elsewhere = register_with(0.8)
        assert elsewhere.alias == "challenger"
        assert "on another split" in elsewhere.reason
        client.set_tag(other.id, "split.fingerprint", other.tags["split.fingerprint"])
        assert register_with(0.9).alias == "champion"
        assert client.get_model_version_by_alias("digits-cnn", "champion").run_id == other.id
        assert "challenger" not in client.get_registered_model("digits-cnn").aliases


def test_the_printed_command_and_best_yaml_give_the_winners_config(swept: Swept) -> None:
    winner = Run(swept.parent.mlflow_run.data.tags["winner.run"]).config().model_dump()
    winner["trainer"]["devices"] = "auto"
    words = shlex.split(make_command(swept.output))
    variables = dict(word.split("=", 1) for word in words[2:])
    overrides = shlex.split(variables.pop("ARGS"))
    overrides += [f"{name.lower()}={value}" for name, value in variables.items()]
    assert check(compose("train", overrides)).model_dump() == winner
    path = swept.parent.client.download_artifacts(swept.parent.id, "best.yaml")
    assert check(compose("train", [f"experiment={path}"])).model_dump() == winner


@pytest.mark.slow
def test_with_one_worker_a_sweep_depends_on_its_seed_and_not_on_its_name(
    swept: Swept, tmp_path: Path
) -> None:
    arguments = ("sweep.trials=8", "sweep.workers=1", "sweep.study=another", "sweep.top_k=0")
    code, output = sweep(tmp_path, *arguments)
    assert code == 0, output
    with opened(tmp_path, output, name="another") as again:
        for mine, theirs in zip(again.trials, swept.trials, strict=True):
            assert mine.params == theirs.params
            assert mine.state == theirs.state
            assert mine.intermediate_values == theirs.intermediate_values
        check_accounts(again)
        # Without fresh seeds the winner is the best trial; its figures and model are added now.
        winner = Run(again.parent.mlflow_run.data.tags["winner.run"])
        assert int(winner.mlflow_run.data.tags["sweep.trial"]) == again.study.best_trial.number
        assert "figures" in artifacts(winner)
        assert winner.mlflow_run.outputs.model_outputs
        num_runs = len(children(again.parent))
    # The same command repeats nothing, and a larger budget continues the study.
    code, repeated = sweep(tmp_path, *arguments)
    assert code == 0, repeated
    assert make_command(repeated) == make_command(output)
    with opened(tmp_path, name="another") as again:
        assert len(children(again.parent)) == num_runs
    code, output = sweep(tmp_path, *arguments, "sweep.trials=10")
    assert code == 0, output
    with opened(tmp_path, name="another") as again:
        assert len(again.trials) == 10
        check_accounts(again)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("search.optimizer.lr.high=0.2", "search.optimizer.lr: "),
        ("trainer.max_epochs=3", "trainer.max_epochs: 3: expected 4"),
        ("data.splits.seed=5", "data.splits.seed: 5: expected 0"),
    ],
)
def test_another_search_under_the_same_name_is_refused(
    swept: Swept, changed: str, message: str
) -> None:
    with use_store(swept.folder):
        before = len(children(swept.parent))
    code, output = sweep(swept.folder, "sweep.trials=8", changed)
    assert code == 2
    assert f"error: sweep.study: digits-cnn: {message}" in output
    assert "STUDY=" in output
    assert len(children(swept.parent)) == before


@pytest.mark.slow
def test_a_trial_may_take_two_devices(tmp_path: Path) -> None:
    arguments = ("sweep.trials=4", "sweep.devices_per_trial=2", "trainer.accelerator=cpu")
    code, output = sweep(tmp_path, *arguments, "sweep.workers=1", "sweep.seeds=1")
    assert code == 0, output
    with opened(tmp_path, output) as swept:
        assert len(swept.trials) == 4
        check_accounts(swept)
        for number, child in swept.runs.items():
            params = Run(child.id).mlflow_run.data.params
            assert params["trainer.devices"] == "2"
            for key, value in swept.trials[number].params.items():
                assert params[key] == str(value)
