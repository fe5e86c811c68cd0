"""The logger of metrics: nothing is lost, and training doesn't wait."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow.entities import Metric

from project.tracking.logger import RunLogger, metric_logger
from project.tracking.run import Run
from project.tracking.store import open_store


class Store:
    """Stands for a client whose server comes and goes."""

    def __init__(self) -> None:
        self.points: list[tuple[str, float, int]] = []
        self.batches: list[int] = []
        self.is_away = False
        self.threads: set[str] = set()

    def log_batch(self, run_id: str, metrics: Sequence[Metric]) -> None:
        self.threads.add(threading.current_thread().name)
        if self.is_away:
            raise ConnectionError("refused")
        self.batches.append(len(metrics))
        self.points += [(m.key, m.value, m.step) for m in metrics]


def make(store: Any, tmp_path: Path, interval: float = 0.05) -> RunLogger:
    return RunLogger(store, "run", tmp_path / "metrics.jsonl", interval)


def wait_for(condition: Any) -> None:
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it didn't happen")


def test_everything_arrives_in_order_in_batches_from_another_thread(tmp_path: Path) -> None:
    store = Store()
    logger = make(store, tmp_path)
    for step in range(5000):
        logger.log_metrics({"loss": torch.tensor(float(step)), "lr": 0.1}, step)
    assert logger.close()
    assert [step for key, _, step in store.points if key == "loss"] == list(range(5000))
    assert [value for key, value, _ in store.points if key == "loss"] == list(range(5000))
    assert max(store.batches) <= 1000
    assert len(store.batches) < 100


def test_metrics_are_visible_while_the_run_goes_on(tmp_path: Path) -> None:
    store = Store()
    logger = make(store, tmp_path)
    logger.log_metrics({"loss": 1.0}, 1)
    wait_for(lambda: store.points)
    assert store.threads == {"metrics"}
    logger.close()


def test_what_a_store_that_is_away_did_not_take_is_kept_and_sent_later(tmp_path: Path) -> None:
    store = Store()
    store.is_away = True
    logger = make(store, tmp_path)
    for step in range(10):
        logger.log_metrics({"loss": float(step)}, step)
        time.sleep(0.02)
    wait_for((tmp_path / "metrics.jsonl").exists)
    assert not store.points
    store.is_away = False
    logger.log_metrics({"loss": 10.0}, 10)
    assert logger.close()
    assert sorted(set(step for _, _, step in store.points)) == list(range(11))
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_store_that_stays_away_does_not_lose_metrics_and_the_next_writer_sends_them(
    tmp_path: Path,
) -> None:
    store = Store()
    store.is_away = True
    logger = make(store, tmp_path)
    logger.log_metrics({"loss": float("nan"), "accuracy": 0.5}, 1)
    assert not logger.close(patience=0.1)
    store.is_away = False
    assert make(store, tmp_path).close()
    assert [key for key, _, _ in store.points] == ["loss", "accuracy"]


def test_a_writer_survives_a_file_that_was_cut_off(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('["loss", 1.0, 5, 1]\n["loss", 2.0, 6')
    store = Store()
    assert make(store, tmp_path).close()
    assert store.points == [("loss", 1.0, 1)]


def test_what_was_saved_survives_a_killed_process(tmp_path: Path) -> None:
    store = Store()
    logger = make(store, tmp_path, interval=1000)
    for step in range(5):
        logger.log_metrics({"loss": float(step)}, step)
    logger.save()
    logger.log_metrics({"loss": 5.0}, 5)  # killed here, before it was saved
    assert not store.points
    assert make(store, tmp_path).close()
    assert [step for _, _, step in store.points] == list(range(5))


@pytest.mark.parametrize("error", [None, ValueError("broken")])
def test_a_run_s_metrics_are_sent_however_its_training_ends(error: Exception | None) -> None:
    client, experiment_id = open_store()
    run = Run(client.create_run(experiment_id).info.run_id)
    run.folder.mkdir(parents=True)

    def work() -> None:
        with run.open(), metric_logger(run) as logger:
            for step in range(1, 51):
                logger.log_metrics({"train/loss": step}, step)
            if error:
                raise error

    if error:
        with pytest.raises(ValueError, match="broken"):
            work()
    else:
        work()
    assert run.history("train/loss")[0].tolist() == list(range(1, 51))
    assert run.mlflow_run.info.status == ("FAILED" if error else "FINISHED")
    assert run.mlflow_run.data.tags.get("failure") == ("ValueError: broken" if error else None)
