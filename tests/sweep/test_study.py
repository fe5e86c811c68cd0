"""The study without training: claiming trials, sampling and pruning."""

from pathlib import Path

import pytest
from optuna.trial import TrialState

from project.core.errors import UserError
from project.sweep.plan import PrunerName, SamplerName, read_plan
from project.sweep.storage import open_storage
from project.sweep.study import Study, make_pruner, pruning_epochs
from project.workers.jobs import MAX_RESTARTS


def make(
    folder: Path,
    name: str = "study",
    sampler: SamplerName = "tpe",
    pruner: PrunerName = "none",
    num_trials: int = 10,
    seed: int = 1,
) -> Study:
    settings = (f"sweep.trials={num_trials}", f"sweep.sampler={sampler}", f"sweep.pruner={pruner}")
    plan = read_plan(["search=default", "trainer.max_epochs=9", f"seed={seed}", *settings])["plan"]
    url = f"sqlite:///{folder / 'optuna.db'}"
    return Study(open_storage(url), name, plan, "max")


def score(params: dict[str, float]) -> float:
    return 1 - abs(params["optimizer.lr"] - 0.01) - params["model.dropout"] / 10


def finish(study: Study) -> list[dict[str, object]]:
    """Runs all trials of a study, one after another."""
    while (claimed := study.claim()) is not None:
        trial, _ = claimed
        study.tell(trial.number, TrialState.COMPLETE, score(trial.params))
    return [trial.params for trial in study.trials()]


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid", "cmaes", "qmc"])
def test_every_sampler_depends_on_the_seed_only_and_never_repeats_a_draw(
    sampler: SamplerName, tmp_path: Path
) -> None:
    first = finish(make(tmp_path, sampler=sampler, name="a"))
    assert finish(make(tmp_path, sampler=sampler, name="b")) == first
    other = finish(make(tmp_path, sampler=sampler, name="c", seed=2))
    assert other != first  # a grid is visited in another order
    assert len({repr(params) for params in first}) == len(first)
    assert len(first) == (8 if sampler == "grid" else 10)  # two values of each of three keys


def test_an_interrupted_study_draws_the_same_values(tmp_path: Path) -> None:
    undisturbed = finish(make(tmp_path, name="a"))
    for num_trials in (3, 4, 7):
        finish(make(tmp_path, name="b", num_trials=num_trials))
    assert finish(make(tmp_path, name="b")) == undisturbed


def test_workers_that_claim_at_the_same_time_draw_different_values(tmp_path: Path) -> None:
    one, other = make(tmp_path), make(tmp_path)
    params = []
    for study in (one, other) * 5:
        claimed = study.claim()
        assert claimed is not None
        params.append(claimed[0].params["optimizer.lr"])
    assert len(set(params)) == 10
    assert one.claim() is None  # the budget belongs to the study
    assert other.claim() is None


def test_a_released_trial_is_claimed_again_with_its_number_and_values(tmp_path: Path) -> None:
    study = make(tmp_path, num_trials=2)
    first, second = study.claim(), study.claim()
    assert first is not None
    assert second is not None
    study.report(0, 1, 0.5)
    study.release(0)
    assert [trial.state.name for trial in study.trials()] == ["WAITING", "RUNNING"]
    again = make(tmp_path, num_trials=2).claim()
    assert again is not None
    trial, was_started = again
    assert was_started
    assert trial.number == 0
    assert trial.params == first[0].params
    assert study.trials()[0].intermediate_values == {1: 0.5}


def test_only_trials_of_dead_processes_are_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make(tmp_path)
    for owner in (
        {"host": "elsewhere", "pid": 1, "started": 1.0},  # not seen before, so possibly alive
        {"host": __import__("socket").gethostname(), "pid": 2**22 + 1, "started": 1.0},
        None,
    ):
        monkeypatch.setattr("project.sweep.study.this_process", lambda owner=owner: owner)
        make(tmp_path).claim()
        monkeypatch.undo()
    study.claim()
    assert study.release_orphans() == [1, 2]
    assert [t.state.name for t in study.trials()] == ["RUNNING", "WAITING", "WAITING", "RUNNING"]


def test_a_trial_that_kills_its_process_three_times_in_the_same_place_is_abandoned(
    tmp_path: Path,
) -> None:
    study = make(tmp_path)
    study.claim()
    assert study.count_deaths(0) <= MAX_RESTARTS
    assert study.count_deaths(0) <= MAX_RESTARTS
    study.report(0, 1, 0.5)  # it got further
    study.store_reports()
    assert study.count_deaths(0) <= MAX_RESTARTS
    assert study.count_deaths(0) <= MAX_RESTARTS
    assert study.count_deaths(0) > MAX_RESTARTS


@pytest.mark.parametrize("name", ["hyperband", "median"])
def test_pruners_stop_unpromising_trials_only_at_pruning_epochs(
    name: PrunerName, tmp_path: Path
) -> None:
    study = make(tmp_path, pruner=name, num_trials=30)
    epochs = pruning_epochs(name, 9)
    pruned_at = []
    for number in range(30):
        study.claim()
        for epoch in range(1, 10):
            if study.report(number, epoch, epoch / 10 - (number if number > 10 else 0)):
                pruned_at.append(epoch)
                study.tell(number, TrialState.PRUNED)
                break
        else:
            study.tell(number, TrialState.COMPLETE, 0.9)
    assert pruned_at
    assert set(pruned_at) <= set(epochs)
    # Consulting the pruner at other epochs would not have pruned either.
    pruner = make_pruner(name, 9)
    for trial in study.trials(TrialState.COMPLETE):
        trial.intermediate_values = {e: v for e, v in trial.intermediate_values.items() if e <= 2}
        if 2 not in epochs:
            assert not pruner.prune(study.optuna, trial)


@pytest.mark.parametrize(
    "url", ["sqlite:///", "nonsense", "mysql://me:secret@host/db", "sqlite:////proc/none/o.db"]
)
def test_a_storage_that_cannot_be_opened_is_one_line(url: str) -> None:
    with pytest.raises(UserError, match=r"^sweep\.storage: .*expected sqlite") as caught:
        open_storage(url)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
