"""Worker processes: one job after another, and recovery when a worker dies."""

import os
import signal
from collections.abc import Callable

import pytest
import torch
from conftest import TINY, configure

from project.config.check import TrainerSettings
from project.core.errors import UserError
from project.tracking.find import find_run
from project.training.devices import Devices
from project.workers.pool import Pool, choose_workers
from project.workers.worker import Job, Outcome

CPU = Devices("cpu", 1)


def run(pool: Pool, *jobs: Job, **callbacks: Callable[..., object]) -> list[tuple[Job, Outcome]]:
    waiting, ended = list(jobs), []
    pool.run(
        lambda: waiting.pop(0) if waiting else None,
        lambda job, outcome: ended.append((job, outcome)),
        **callbacks,  # type: ignore[arg-type]
    )
    return ended


def job(name: object, *overrides: str, **options: bool) -> Job:
    config = configure(*TINY, *overrides).model_dump()
    return Job(name, config, {"mlflow.runName": f"job {name}"}, log_model=False, **options)  # type: ignore[arg-type]


def test_jobs_of_all_kinds_end_as_expected_and_the_pool_continues(own_store: object) -> None:
    broken = job("broken")
    broken.config["model"]["width"] = 0
    jobs = [
        job("good"),
        broken,
        job("nan", "optimizer=sgd", "optimizer.lr=1e30"),
        job("pruned", is_pruned=True),
        job("watched", "seed=2", is_pruned=True),
    ]
    epochs: list[tuple[object, int]] = []

    def prune(job: Job, epoch: int, score: float) -> bool:
        epochs.append((job.name, epoch))
        assert 0 <= score <= 1
        return job.name == "pruned"

    with Pool(1, CPU) as pool:
        outcomes = {each.name: outcome for each, outcome in run(pool, *jobs, should_prune=prune)}
    assert {name: outcome.status for name, outcome in outcomes.items()} == {
        "good": "complete",
        "broken": "failed",
        "nan": "failed",
        "pruned": "pruned",
        "watched": "complete",
    }
    assert epochs == [("pruned", 1), ("watched", 1), ("watched", 2)]
    assert outcomes["broken"].reason.startswith("UserError: model.width: 0: expected")
    assert "TrainingError: train/loss is " in outcomes["nan"].reason
    assert outcomes["pruned"].reason == "epoch 1"
    result = outcomes["good"].result
    assert result is not None
    stored = find_run(result.run_id).mlflow_run
    assert stored.info.status == "FINISHED"
    assert stored.data.tags["mlflow.runName"] == "job good"


def test_a_run_of_the_pool_is_the_run_of_the_command(train_run: Callable[..., object]) -> None:
    alone = train_run(*TINY)
    with Pool(1, CPU) as pool:
        # The second one shares the data that the first one read.
        ended = run(pool, job(1, "data.batch_size=32"), job(2))
    shared = ended[1][1].result
    assert shared is not None
    assert shared.metrics == alone.metrics  # type: ignore[attr-defined]


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSEGV])
def test_a_job_whose_worker_dies_ends_as_died_and_another_worker_takes_its_place(
    signum: signal.Signals,
) -> None:
    def kill(running: list[Job]) -> None:
        worker = next(worker for worker in pool._workers if worker)
        if running[0].name == "long" and worker.process.pid:
            os.kill(worker.process.pid, signum)

    with Pool(1, CPU) as pool:
        ended = run(pool, job("long", "trainer.max_epochs=500"), job("next"), on_tick=kill)
    assert [(each.name, outcome.status) for each, outcome in ended] == [
        ("long", "died"),
        ("next", "complete"),
    ]
    assert ended[0][1].exit_code == -signum
    assert signum.name in ended[0][1].reason


def test_stopping_closes_the_runs_and_leaves_no_process(own_store: object) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(job: Job, epoch: int, score: float) -> bool:
        raise Interrupted

    ended: list[Outcome] = []
    with Pool(2, CPU) as pool:
        jobs = [job(n, "trainer.max_epochs=500", is_pruned=True) for n in range(2)]
        with pytest.raises(Interrupted):
            run(pool, *jobs, should_prune=interrupt)
        processes = [worker.process for worker in pool._workers if worker]
        pool.stop(lambda job, outcome: ended.append(outcome))
    assert {outcome.status for outcome in ended} == {"stopped"}
    assert len(ended) == 2
    assert find_run("last").mlflow_run.info.status == "KILLED"
    assert not any(process.is_alive() for process in processes)


def test_jobs_on_two_devices_are_watched_and_pruned_too(own_store: object) -> None:
    devices = Devices("cpu", 2)
    two = ("trainer.devices=2", "trainer.accelerator=cpu")
    with Pool(1, devices) as pool:
        ended = run(
            pool, job("pruned", *two, is_pruned=True), should_prune=lambda job, epoch, score: True
        )
    assert ended[0][1].status == "pruned"
    run_ = find_run("last").mlflow_run
    assert run_.data.tags["pruned"] == "epoch 1"
    assert run_.info.status == "KILLED"


@pytest.mark.slow
def test_memory_does_not_grow_from_job_to_job(own_store: object) -> None:
    small = ("data.limit_train=200", "trainer.max_epochs=1")
    with Pool(1, CPU) as pool:
        ended = run(pool, *(job(n, *small, f"optimizer.lr={0.001 * (n + 1)}") for n in range(36)))
    memory = [outcome.memory for _, outcome in ended]
    print([round(each / 1e6) for each in memory])
    # The first few fill caches; 30 more must not need another 3 %.
    assert max(memory[-5:]) < 1.03 * max(memory[:6])


def test_workers_are_chosen_by_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joblib.cpu_count", lambda: 6)
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    settings = TrainerSettings(accelerator="cpu")
    assert choose_workers("auto", settings, 1) == (6, CPU)
    assert choose_workers("auto", settings, 2) == (3, Devices("cpu", 2))
    assert choose_workers(9, settings, 1) == (9, CPU)
    with pytest.raises(UserError, match=r"sweep\.devices_per_trial: 7: expected at most 6"):
        choose_workers("auto", settings, 7)
    with pytest.raises(UserError, match=r"trainer\.devices: 2: expected auto"):
        choose_workers("auto", TrainerSettings(devices=2), 1)


def test_each_worker_sees_gpus_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    settings = TrainerSettings()
    assert choose_workers("auto", settings, 2) == (2, Devices("gpu", 2))
    with pytest.raises(UserError, match=r"sweep\.workers: 3: expected at most 2: there are 4 GPUs"):
        choose_workers(3, settings, 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    pool = Pool(2, Devices("gpu", 2))
    assert pool._environment(0)["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert pool._environment(1)["CUDA_VISIBLE_DEVICES"] == "2,3"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6,7,8")
    assert pool._environment(1)["CUDA_VISIBLE_DEVICES"] == "7,8"
