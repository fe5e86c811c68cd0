"""Descriptions and views that MLflow shows."""

import json
from pathlib import Path

import pytest
from conftest import TINY, configure

from project.tracking.find import find_run
from project.tracking.labels import DESCRIPTION, PARENT
from project.tracking.models import register
from project.tracking.run import Run
from project.tracking.store import open_store
from project.tracking.views import prepare_views
from project.train import train


def test_a_run_and_its_registered_version_are_described(own_store: Path) -> None:
    result = train(configure(*TINY), tags={"note": "half the width"})
    run = find_run(result.run_id)
    text = run.mlflow_run.data.tags[DESCRIPTION]
    assert text.startswith(f"half the width\n\n**val/accuracy {result.score:.4f}** (95 % Wilson")
    assert f"at epoch {result.best_epoch}\n" in text
    assert "cnn on digits, train 320, val 180 (split " in text
    assert f"`make reproduce RUN={run.id}`" in text
    (model,) = run.mlflow_run.outputs.model_outputs
    assert f"(#/experiments/{run.experiment_id}/models/{model.model_id}?" in text
    version = register(run, "accuracy")
    described = run.client.get_model_version(version.name, version.version).description
    assert f"(#/experiments/{run.experiment_id}/runs/{run.id}?" in described
    assert described.endswith(text)


def test_a_nested_run_links_to_its_parent(own_store: Path) -> None:
    parent = Run.create({"mlflow.runName": "study"})
    tags = {PARENT: parent.id}
    result = train(configure("data=diabetes", "trainer.max_epochs=1"), tags=tags, log_model=False)
    text = find_run(result.run_id).mlflow_run.data.tags[DESCRIPTION]
    assert text.startswith("**val/rmse ")
    assert f"parent [{parent.id[:10]}](#/experiments/{parent.experiment_id}/runs/" in text


@pytest.mark.usefixtures("own_store")
def test_the_view_sorts_by_the_most_frequent_score() -> None:
    client, experiment_id = open_store()
    assert [key for key, _ in prepare_views()] == ["runs"]  # an empty store has a page, too

    def state(key: str) -> dict[str, object]:
        tags = client.get_experiment(experiment_id).tags
        read: dict[str, object] = json.loads(tags[f"mlflow.sharedViewState.{key}"])
        return read

    for score, value in (("rmse", 2.0), ("accuracy", 0.5), ("rmse", 1.0)):
        run = Run.create({"split.fingerprint": "a", "score": f"val/{score}"})
        run.log_metrics({f"best/{score}": value, "best/loss": 3.0}, step=1)
    Run.create({"split.fingerprint": "a", PARENT: run.id, "score": "val/r2"})
    study = Run.create({"sweep.study": "study"})
    study.log_metrics({"best/accuracy": 0.9}, step=1)
    assert [key for key, _ in prepare_views()] == ["runs", "sweeps"]
    runs, sweeps = state("runs"), state("sweeps")
    assert runs["orderByKey"] == "metrics.`best/rmse`"
    assert runs["orderByAsc"] is True
    assert runs["selectedColumns"][:3] == [  # type: ignore[index]
        "metrics.`best/rmse`",
        "metrics.`best/accuracy`",
        "metrics.`best/loss`",
    ]
    listed = client.search_runs([experiment_id], str(runs["searchFilter"]))
    assert len(listed) == 3
    assert (sweeps["orderByKey"], sweeps["orderByAsc"]) == ("metrics.`best/accuracy`", False)
    (found,) = client.search_runs([experiment_id], str(sweeps["searchFilter"]))
    assert found.info.run_id == study.id
