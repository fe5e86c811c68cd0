"""Contents of a run in MLflow."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
import yaml
from conftest import TINY, configure, use_store
from mlflow import MlflowClient

import project
from project.config.build import build_data
from project.core.errors import UserError
from project.reports.run import load_best, measure
from project.tracking import lineage
from project.tracking import store as store_module
from project.tracking.find import find_run
from project.tracking.run import Run
from project.tracking.store import open_store, tracking_uri, use_tracking_uri
from project.train import train
from project.training.devices import Devices
from project.training.results import FitResult

EXACT = ("trainer.precision=32-true", "trainer.max_epochs=1")


def artifacts(run: Run, folder: str = "") -> set[str]:
    paths: set[str] = set()
    for file in run.client.list_artifacts(run.id, folder or None):
        paths |= artifacts(run, file.path) if file.is_dir else {file.path}
    return paths


def test_params_are_the_whole_config_and_config_yaml_gives_it_back(digits_run: FitResult) -> None:
    run = find_run(digits_run.run_id)
    data = run.mlflow_run.data
    assert data.params["optimizer.lr"] == "0.002"
    assert data.params["model.norm"] == "batch"
    assert data.params["data.splits.test"] == "0.3"
    assert {k: str(v) for k, v in run.config().flatten().items()} == data.params
    assert run.config() == configure(*TINY)
    path = mlflow.artifacts.download_artifacts(
        f"runs:/{run.id}/config.yaml", tracking_uri=tracking_uri()
    )
    assert yaml.safe_load(Path(path).read_text())["model"]["width"] == 8


def test_tags_name_model_data_split_code_and_device(digits_run: FitResult) -> None:
    tags = find_run(digits_run.run_id).mlflow_run.data.tags
    data = build_data(configure(*TINY))
    assert tags["model"] == "cnn"
    assert tags["data"] == "digits"
    assert tags["split.fingerprint"] == data.fingerprint
    assert tags["mlflow.source.git.commit"] == lineage.commit()
    assert tags["split.duplicates.train_test"] == "0"
    assert tags["device"].startswith("1 x ")
    assert tags["score"] == "val/accuracy"


def test_metrics_by_step_and_by_epoch(digits_run: FitResult) -> None:
    run = find_run(digits_run.run_id)
    for key in ("train/loss", "train/lr", "train/grad_norm"):  # 320 samples: 5 steps an epoch
        steps, values = run.history(key)
        assert steps.tolist() == list(range(1, 11)), key
        assert np.isfinite(values).all()
    by_epoch = {
        *(f"val/{name}" for name in ("loss", "accuracy", "f1")),
        *("train/accuracy", "train/f1", "train/loss_epoch", "train/samples_per_second"),
        *("gap/loss", "gap/accuracy", "epoch"),
    }
    for key in by_epoch:
        assert len(run.history(key)[0]) == 2, key
    assert run.history("epoch")[1].tolist() == [0, 1]
    gap = run.history("train/accuracy")[1] - run.history("val/accuracy")[1]
    np.testing.assert_allclose(run.history("gap/accuracy")[1], gap, atol=1e-6)
    _, losses = run.history("train/loss")
    np.testing.assert_allclose(
        run.history("train/loss_epoch")[1], losses.reshape(2, 5).mean(1), rtol=1e-5
    )
    assert "train/penalty" not in run.mlflow_run.data.metrics


def test_a_penalty_is_logged_apart_from_the_data_loss() -> None:
    options = (["penalty=none"], ["penalty=elastic"])
    plain, penalised = (
        find_run(train(configure(*TINY, *each, *EXACT), log_model=False).run_id) for each in options
    )
    assert penalised.history("train/penalty")[1].min() > 0
    # The first step's data loss is that of the same weights on the same batch.
    assert penalised.history("train/loss")[1][0] == pytest.approx(plain.history("train/loss")[1][0])


def test_the_gap_is_measured_without_augmentation_on_as_many_samples_as_val(
    digits_run: FitResult,
) -> None:
    run = find_run(digits_run.run_id)
    config = run.config()
    data = build_data(config)
    assert len(data.train_subset) == len(data.val)
    model = load_best(run, config, data.spec)
    _, subset = data.val_dataloader()
    metrics, _ = measure(model, subset, torch.device("cpu"))
    assert metrics["accuracy"] == pytest.approx(
        run.history("train/accuracy")[1][digits_run.best_epoch - 1]
    )


def test_the_best_checkpoint_has_the_score_that_was_logged(digits_run: FitResult) -> None:
    run = find_run(digits_run.run_id)
    config = run.config()
    data = build_data(config)
    metrics, _ = measure(
        load_best(run, config, data.spec), data.val_dataloader()[0], torch.device("cpu")
    )
    assert metrics["accuracy"] == pytest.approx(digits_run.score)
    assert run.mlflow_run.data.metrics["best/accuracy"] == digits_run.score
    assert metrics["loss"] == pytest.approx(run.mlflow_run.data.metrics["best/loss"], rel=1e-4)


def test_artifacts(digits_run: FitResult, diabetes_run: FitResult) -> None:
    files = artifacts(find_run(digits_run.run_id))
    assert {"config.yaml", "command.txt", "requirements.txt", "split.json"} <= files
    names = ("learning_curves", "augmentation", "confusion_matrix", "worst_mistakes")
    assert {f"figures/{name}.png" for name in names} <= files
    names = ("learning_curves", "predicted_against_true", "residuals")
    assert {f"figures/{n}.png" for n in names} <= artifacts(find_run(diabetes_run.run_id))


def test_the_split_is_saved_with_its_fingerprint(digits_run: FitResult) -> None:
    run = find_run(digits_run.run_id)
    uri = f"runs:/{run.id}/split.json"
    path = Path(mlflow.artifacts.download_artifacts(uri, tracking_uri=tracking_uri()))
    split = json.loads(path.read_text())
    data = build_data(run.config())
    assert split["fingerprint"] == data.fingerprint
    assert split["train"] == data.split.train.tolist()
    assert split["test"] == data.split.test.tolist()


def test_inputs_have_digests_and_sizes(digits_run: FitResult) -> None:
    inputs = find_run(digits_run.run_id).mlflow_run.inputs.dataset_inputs
    data = build_data(configure(*TINY))
    by_context = {i.tags[0].value: i.dataset for i in inputs}
    assert set(by_context) == {"train", "val"}
    for name, dataset in by_context.items():
        assert dataset.digest == data.fingerprints[name][:36]
        profile = json.loads(dataset.profile)
        assert profile["features_shape"] == list(getattr(data, name).inputs.shape)


@pytest.mark.parametrize("kind", ["digits_run", "diabetes_run"])
def test_the_logged_model_takes_raw_inputs_in_any_batch_size(
    kind: str, request: pytest.FixtureRequest
) -> None:
    result: FitResult = request.getfixturevalue(kind)
    run = find_run(result.run_id)
    config = run.config()
    data = build_data(config)
    expected = measure(
        load_best(run, config, data.spec), data.val_dataloader()[0], torch.device("cpu")
    )[1]
    (logged,) = run.client.search_logged_models([run.experiment_id], f"source_run_id = '{run.id}'")
    uri = f"models:/{logged.model_id}"
    with use_tracking_uri():
        model = mlflow.pyfunc.load_model(uri)
        info = mlflow.models.get_model_info(uri)
        folder = Path(mlflow.artifacts.download_artifacts(uri))
    for size in (1, 2, 7, 40):
        predictions = model.predict(data.val.inputs[:size])
        np.testing.assert_allclose(predictions, expected[:size], atol=1e-5, rtol=1e-5)
    assert info.signature.inputs.inputs[0].shape == (-1, *data.spec.shape)
    assert info.signature.inputs.inputs[0].type == data.val.inputs.dtype
    assert list(folder.rglob("*.pt2"))
    assert not list(folder.rglob("*.pkl"))
    assert "torch==" in (folder / "requirements.txt").read_text()
    assert list(folder.glob("input_example*"))


def test_the_logged_model_needs_nothing_of_this_project(
    digits_run: FitResult, tmp_path: Path
) -> None:
    run = find_run(digits_run.run_id)
    (logged,) = run.client.search_logged_models([run.experiment_id], f"source_run_id = '{run.id}'")
    (path,) = Path(logged.artifact_location.removeprefix("file://")).rglob("*.pt2")
    code = (
        "import sys, torch\n"
        f"model = torch.export.load({str(path)!r}).module()\n"
        "out = model(torch.zeros(3, 8, 8, 1, dtype=torch.uint8))\n"
        "assert out.shape == (3, 10) and abs(out.sum().item() - 3) < 1e-4\n"
        "assert 'project' not in sys.modules and 'torchvision' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_nothing_is_written_into_the_working_folder(tmp_path: Path) -> None:
    """A clone's files before and after a run: only mlruns/ differs."""
    clone = tmp_path / "clone"
    for name in ("project", "conf"):
        shutil.copytree(
            project.ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    before = {p for p in clone.rglob("*") if "__pycache__" not in p.parts}
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(
        [sys.executable, "-m", "project", "train", *TINY],
        cwd=clone,
        env=environment,
        check=True,
        capture_output=True,
    )
    after = {p for p in clone.rglob("*") if "__pycache__" not in p.parts}
    assert {p.relative_to(clone).parts[0] for p in after - before} == {"mlruns"}
    assert {p.name for p in (clone / "mlruns").iterdir()} <= {
        "mlflow.db",
        "mlflow.db-shm",
        "mlflow.db-wal",
        "artifacts",
        "checkpoints",
        ".lock",
    }


def test_a_moved_store_still_opens(tmp_path: Path) -> None:
    old, new = tmp_path / "old place", tmp_path / "new 'place"
    old.mkdir()
    with use_store(old):
        client, experiment_id = open_store()
        run_id = client.create_run(experiment_id).info.run_id
        client.log_text(run_id, "kept", "note.txt")
    old.rename(new)
    with use_store(new):
        client, _ = open_store()
        path = mlflow.artifacts.download_artifacts(
            f"runs:/{run_id}/note.txt", tracking_uri=tracking_uri()
        )
        assert Path(path).read_text() == "kept"
        assert str(new) in client.get_run(run_id).info.artifact_uri.replace("%20", " ").replace(
            "%27", "'"
        )


def test_locations_that_are_not_this_project_s_are_left_alone(store: Path) -> None:
    client = MlflowClient(tracking_uri())
    location = "s3://bucket/team/artifacts"
    foreign = client.create_experiment("foreign", artifact_location=location)
    store_module._open.cache_clear()
    open_store()
    assert client.get_experiment(foreign).artifact_location == location


@pytest.mark.parametrize("name", ["artifacts", "checkpoints"])
def test_a_folder_that_can_not_be_written_is_one_line(own_store: Path, name: str) -> None:
    (own_store / name).write_text("in the way")
    with pytest.raises(UserError, match=r"^MLFLOW_TRACKING_URI: [^\n]*$"):
        train(configure(*TINY))
    assert not (own_store / "mlflow.db").exists()


def test_system_metrics_are_there_even_for_a_short_run(digits_run: FitResult) -> None:
    metrics = find_run(digits_run.run_id).mlflow_run.data.metrics
    assert "system/cpu_utilization_percentage" in metrics


def test_a_deleted_experiment_is_restored(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "deleted")
    client, experiment_id = open_store()
    client.delete_experiment(experiment_id)
    store_module._open.cache_clear()
    assert open_store()[1] == experiment_id
    assert MlflowClient(tracking_uri()).get_experiment(experiment_id).lifecycle_stage == "active"


def test_the_database_lets_readers_and_writers_work_together(store: Path) -> None:
    open_store()
    with sqlite3.connect(store / "mlflow.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_two_processes_can_make_the_store_at_once(own_store: Path) -> None:
    code = "from project.tracking.store import open_store; print(open_store()[1])"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=project.ROOT, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    outputs = {process.communicate(timeout=120)[0] for process in processes}
    assert len(outputs) == 1
    assert all(process.returncode == 0 for process in processes)


def test_uncommitted_changes_are_found_without_touching_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    git("init", "-q")
    git("config", "diff.noprefix", "true")
    git("config", "color.ui", "always")
    (tmp_path / "old.py").write_text("a = 1\n")
    git("add", "."), git("commit", "-qm", "first")
    monkeypatch.setattr(lineage, "ROOT", tmp_path)
    lineage.uncommitted.cache_clear()
    assert lineage.uncommitted() == ""
    lineage.uncommitted.cache_clear()
    (tmp_path / "old.py").write_text("a = 2\n")
    (tmp_path / "new.py").write_text("b = 3\n")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("c")
    status = git("status", "--porcelain")
    diff = lineage.uncommitted()
    assert "+a = 2" in diff
    assert "+b = 3" in diff
    assert git("status", "--porcelain") == status
    git("stash", "-qu")
    subprocess.run(["git", "apply"], cwd=tmp_path, input=diff, text=True, check=True)
    assert (tmp_path / "new.py").read_text() == "b = 3\n"
    lineage.uncommitted.cache_clear()


def test_devices_are_described() -> None:
    assert str(Devices("cpu", 2)) == "2 x CPU"


def test_of_two_packages_of_one_name_the_one_that_is_imported_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, version in (("first", "2.0"), ("second", "1.0")):
        info = tmp_path / folder / f"twice-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Name: twice\nVersion: {version}\n")
        monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / folder)])
    lineage.packages.cache_clear()
    try:
        lines = lineage.packages().splitlines()
    finally:
        lineage.packages.cache_clear()
    assert [line for line in lines if line.startswith("twice")] == ["twice==2.0"]
