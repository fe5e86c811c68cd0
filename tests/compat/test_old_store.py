"""A store made before the redesign (commit c7f6242) still opens: runs, checkpoints, a study."""

import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
import torch
from conftest import use_store
from mlflow.entities import Run as MlflowRun
from sweep.accounts import check_accounts, opened, states

import project
from project.cli.commands import COMMANDS
from project.cli.main import call
from project.config.build import build_data
from project.data.digits import digits
from project.reports.run import load_best, measure
from project.tracking.find import find_run
from project.tracking.store import open_store
from project.train import train

COMMIT = "c7f6242649dfb0868dd01a82e1ad5c91150b99c2"
# The command that has made the study, without its number of trials.
SWEEP = (
    "model.width=8 data.limit_train=320 trainer.max_epochs=2 search=default sweep.study=old "
    "sweep.top_k=1 sweep.seeds=2 sweep.workers=1"
)


def unpack(folder: Path) -> Path:
    with zipfile.ZipFile(Path(__file__).parent / "store.zip") as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def old_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = unpack(tmp_path_factory.mktemp("old") / "store")
    with use_store(folder):
        yield folder


def stored_runs(filter_string: str = "") -> list[MlflowRun]:
    client, experiment_id = open_store()
    return list(client.search_runs([experiment_id], filter_string))


@pytest.fixture
def digits_id(old_store: Path) -> str:
    """Id of the finished run on digits that is not part of the study."""
    runs = stored_runs("tags.model = 'cnn' and params.`trainer.max_epochs` = '2'")
    (run,) = (each for each in runs if not {"sweep.study", "reproduces"} & each.data.tags.keys())
    return str(run.info.run_id)


def test_a_finished_run_is_evaluated(digits_id: str) -> None:
    result = call(COMMANDS["evaluate"], [f"run={digits_id}"])
    run = find_run(digits_id)
    config = run.config()
    data = build_data(config)
    model = load_best(run, config, data.spec)
    metrics, _ = measure(model, data.val_dataloader()[0], torch.device("cpu"))
    logged = run.mlflow_run.data.metrics
    assert metrics["accuracy"] == pytest.approx(logged["best/accuracy"])
    assert metrics["loss"] == pytest.approx(logged["best/loss"], rel=1e-4)
    assert logged["test/accuracy"] == result.metrics["accuracy"]
    assert result.num_openings == 2  # the study's winner was the first


def test_its_model_predicts(digits_id: str, tmp_path: Path) -> None:
    run = find_run(digits_id)
    image = digits().inputs[0]
    cv2.imwrite(str(tmp_path / "digit.png"), image)
    model = load_best(run, run.config(), build_data(run.config()).spec)
    expected = model(torch.from_numpy(image[None])).argmax(1).item()
    words = [f"run={digits_id}", f"input={tmp_path}", f"output={tmp_path / 'out.csv'}"]
    table = call(COMMANDS["predict"], words).table
    assert table["prediction"].astype(str).tolist() == [str(expected)]


def test_an_interrupted_run_resumes_as_if_undisturbed(old_store: Path) -> None:
    (interrupted,) = stored_runs("attributes.status = 'KILLED'")
    run = find_run(interrupted.info.run_id)
    before = run.history("val/loss")[1].tolist()
    resumed = call(COMMANDS["train"], [f"resume={run.id}"])
    assert run.mlflow_run.info.status == "FINISHED"
    assert (resumed.run_id, resumed.num_epochs, len(before)) == (run.id, 4, 2)
    undisturbed = train(run.config(), log_model=False)
    assert undisturbed.history["val/loss"][:2] == pytest.approx(before, rel=1e-4)
    if undisturbed.history["val/loss"][:2] != before:
        pytest.skip("this machine rounds otherwise than the one that made the store")
    assert resumed.metrics == undisturbed.metrics
    for name in undisturbed.history.keys() - {"train/samples_per_second"}:
        assert resumed.history[name] == undisturbed.history[name], name


def test_a_finished_study_is_not_trained_again(old_store: Path) -> None:
    is_nested = "tags.`sweep.study` = 'old'"
    before = {run.info.run_id: run.info.end_time for run in stored_runs(is_nested)}
    (parent,) = (run for run in stored_runs(is_nested) if "winner.run" in run.data.tags)
    assert len(before) == 5
    call(COMMANDS["sweep"], [*SWEEP.split(), "sweep.trials=2"])
    after = {run.info.run_id: run.info.end_time for run in stored_runs(is_nested)}
    assert after.keys() == before.keys()
    assert {k: v for k, v in after.items() if k != parent.info.run_id}.items() <= before.items()
    (again,) = (run for run in stored_runs(is_nested) if "winner.run" in run.data.tags)
    for tag in ("winner.trial", "winner.run", "winner.verdict"):
        assert again.data.tags[tag] == parent.data.tags[tag]


@pytest.mark.slow
def test_a_study_is_extended_by_one_trial(tmp_path: Path) -> None:
    folder = unpack(tmp_path)  # its own, as the other tests count the runs of theirs
    with opened(folder, name="old") as swept:
        trials = {trial.number: trial for trial in swept.trials}
        runs = swept.runs
    assert trials.keys() == runs.keys() == {0, 1}
    with use_store(folder):
        call(COMMANDS["sweep"], [*SWEEP.split(), "sweep.trials=3", "sweep.pruner=none"])
    with opened(folder, name="old") as swept:
        check_accounts(swept)
        assert states(swept) == {"COMPLETE": 3}
        assert swept.runs.keys() == {0, 1, 2}
        for number, trial in trials.items():
            again, run = swept.trials[number], swept.runs[number]
            assert (again.params, again.value) == (trial.params, trial.value)
            assert again.datetime_complete == trial.datetime_complete
            assert again.intermediate_values == trial.intermediate_values
            assert (run.id, run.started) == (runs[number].id, runs[number].started)
            assert run.metrics["best/accuracy"] == runs[number].metrics["best/accuracy"]
        assert list(swept.trials[2].intermediate_values) == [1, 2]
        assert swept.parent.mlflow_run.info.status == "FINISHED"


@pytest.mark.slow
def test_a_run_is_reproduced_with_its_own_code(digits_id: str) -> None:
    git = ["git", "-C", str(project.ROOT), "cat-file", "-e", f"{COMMIT}^{{commit}}"]
    if subprocess.run(git, capture_output=True).returncode:
        pytest.skip("the commit is not in this clone")
    result = call(COMMANDS["reproduce"], [f"run={digits_id}"])
    assert find_run(result.run_id).mlflow_run.data.tags["reproduces"] == digits_id
    for first, second in result.metrics.values():
        assert second == pytest.approx(first, rel=1e-3)
