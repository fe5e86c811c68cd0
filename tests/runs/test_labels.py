"""Names, notes and tags of runs: given on a command line, stored, listed and searched for."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from compare.files import write
from conftest import TINY, configure

from project import ROOT
from project.cli.arguments import read_arguments
from project.cli.commands import COMMANDS
from project.cli.main import main
from project.compare.analysis import load_analysis
from project.compare.command import compare, make_keys
from project.compare.plan import read_plan
from project.core.errors import UserError
from project.runs.list import list_runs, show
from project.sweep.command import sweep
from project.tracking.find import children, find_run
from project.tracking.labels import read_labels
from project.tracking.run import Run
from project.tracking.store import open_store
from project.train import train

WORDS = ("name=first, best", "note=it's a = b", "tags=owner=ann, paper=fig 3")


@pytest.fixture
def labelled(own_store: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The id of a run that the command line has labelled."""
    assert main(["train", *TINY, *WORDS]) == 0
    capsys.readouterr()
    return find_run("last").id


def test_labels_are_stored_and_listed(labelled: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = find_run(labelled)
    stored = run.mlflow_run
    assert stored.info.run_name == "first, best"
    tags = {"note": "it's a = b", "owner": "ann", "paper": "fig 3"}
    assert tags.items() <= stored.data.tags.items()
    assert run.config() == configure(*TINY)  # A label is not a hyper-parameter.
    show(list_runs())
    assert "owner=ann paper=fig 3 it's a = b" in capsys.readouterr().out


def test_runs_are_filtered(labelled: str) -> None:
    other = train(configure("data=diabetes", "trainer.max_epochs=1"), tags={"owner": "it's me"})

    def found(*words: str) -> list[str]:
        return [run.id for run in list_runs(**read_arguments(COMMANDS["runs"], words))]

    assert found() == [other.run_id, labelled]
    assert found("data=digits") == found("tag.owner=ann", "since=1h", "model=cnn") == [labelled]
    assert found("tag.owner=it's me") == found("data=diabetes", "limit=1") == [other.run_id]
    assert found("data=digits", "tag.owner=bob") == found("since=2999-01-01") == []
    assert found("since=2020-01-01", "limit=1") == [other.run_id]


@pytest.mark.usefixtures("own_store")
def test_the_best_score_comes_first() -> None:
    scores = {
        "a": ("accuracy", 0.5),
        "b": ("accuracy", 0.9),
        "c": ("rmse", 3.0),
        "d": ("rmse", 2.0),
    }
    for name, (score, value) in scores.items():
        run = Run.create({"mlflow.runName": name, "score": f"val/{score}"})
        run.log_metrics({f"best/{score}": value}, step=1)
    Run.create({"mlflow.runName": "e"})
    study = Run.create({"mlflow.runName": "study", "sweep.study": "digits-cnn"})
    study.log_metrics({"best/accuracy": 0.7}, step=1)
    names = [run.name for run in list_runs(sort="score")]
    assert names == ["b", "study", "a", "d", "c", "e"]
    assert [run.name for run in list_runs(sort="score", limit=2)] == ["b", "study"]
    assert [run.name for run in list_runs(sort="name")][-1] == "study"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "tags=owner"), "tags: 'owner': expected name=value"),
        (("sweep", "tags=a=1,,b=2"), "tags: '': expected name=value"),
        (("compare", "lesson=mlp_vs_cnn", "tags=data=x"), "tags: data: is set by the project"),
        (("train", "tags=mlflow.user=x"), "tags: mlflow.user: is set by the project"),
        (("train", "tags=a b=1"), "tags: a b: expected letters"),
        (("train", "tags=a=1,a=2"), "tags: a: is there twice"),
        (("train", "name= "), "name: ' ': expected"),
        (("train", f"name={'x' * 300}"), "name: xxxx"),
        (("train", f"note={'x' * 5000}"), "note: xxxx"),
        (("runs", "since=yesterday"), "since: yesterday: expected an age such as"),
        (("runs", "since=99999999999w"), "since: 99999999999w: expected an age such as"),
        (("runs", "since=999999w"), "since: 999999w: expected an age such as"),
        (("runs", "sort=size"), "sort: 'size': expected 'started', 'score'"),
        (("runs", "tag=a=b"), "tag=a=b: expected tag.<name>=<value>"),
        (("runs", "tag.a="), "tag.a=: expected tag.<name>=<value>"),
        (("runs", "tga.a=b"), "tga.a: unknown key"),
        (("runs", "tag.a`=b"), "tag.a`: expected a name without"),
    ],
)
def test_a_mistake_is_one_line(
    own_store: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message}")
    assert words[0] == "runs" or not list(own_store.iterdir())


def test_a_sweep_s_parent_is_labelled_and_shows_its_best_score(own_store: Path) -> None:
    words = ("sweep", *TINY, "sweep.trials=1", "sweep.top_k=0", "sweep.workers=1")
    arguments = read_arguments(COMMANDS["sweep"], [*words[1:], "name=mine", "tags=owner=ann"])
    parent = Run(sweep(**arguments).parent_id)
    (row,) = list_runs(tag={"owner": "ann"})
    (trial,) = children(parent)
    assert (row.id, row.name, row.score_name) == (parent.id, "mine", "accuracy")
    assert row.score == trial.score is not None
    again = read_arguments(COMMANDS["sweep"], [*words[1:], "name=yours"])
    assert sweep(**again).parent_id == parent.id  # A label doesn't change what is searched.
    assert [run.name for run in list_runs(tag={"owner": "ann"})] == ["yours"]


@pytest.mark.usefixtures("own_store")
def test_comparisons_have_experiments_of_their_own(tmp_path: Path) -> None:
    path = write(tmp_path)
    plan = read_plan([], path)["plan"]
    arguments: Any = read_arguments(COMMANDS["compare"], [f"lesson={path}", "name=mine"])
    keys = make_keys(plan, load_analysis(plan.analysis))
    result = compare(**arguments)
    client, training = open_store()
    experiment = client.get_experiment_by_name("comparisons")
    runs = children(result.parent)
    assert client.search_runs([training]) == []
    assert result.parent.experiment_id == experiment.experiment_id
    assert {Run(run.id).experiment_id for run in runs} == {experiment.experiment_id}
    assert {run.tags["compare.key"] for run in runs} == set(keys.values())
    assert result.parent.mlflow_run.info.run_name == "mine"
    assert find_run("last").experiment_id == experiment.experiment_id
    assert {run.id for run in list_runs()} == {result.parent.id, *(run.id for run in runs)}
    assert read_plan([], "mlp_vs_cnn")["plan"].kind == "lessons"


@pytest.mark.usefixtures("own_store")
def test_a_comparison_in_the_old_experiment_is_resumed_there(tmp_path: Path) -> None:
    plan = read_plan(["compare.seeds=1"], write(tmp_path))["plan"]
    old = Run.create({"mlflow.runName": plan.name, "compare.name": plan.name})
    result = compare(plan)
    assert result.parent.id == old.id
    assert {Run(run.id).experiment_id for run in children(old)} == {open_store()[1]}


def test_labels_need_no_hydra_quoting() -> None:
    assert read_labels("a, b", "{c: [d]}", "") == {"mlflow.runName": "a, b", "note": "{c: [d]}"}
    with pytest.raises(UserError, match="owner"):
        read_labels(tags="owner=")


def test_make_takes_labels_from_its_command_line_only() -> None:
    def print_command(*arguments: str) -> str:
        command = ["make", "--dry-run", "train", *arguments]
        environment = {**os.environ, "NAME": "this-machine", "NOTE": "", "TAGS": "a=b"}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    assert not re.search(r"\b(name|note|tags)=", print_command())
    assert "name='first try'" in print_command("NAME=first try")
