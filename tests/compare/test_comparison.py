"""A comparison from YAML to report: repeated, killed, and with a variant that can't be trained."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from compare.files import VARIANTS, write
from compare.test_analysis import write as write_analysis
from matplotlib.figure import Figure
from scipy import stats

import project
from project.cli.main import to_json
from project.compare.analysis import Analysis
from project.compare.command import compare, show
from project.compare.comparison import Comparison, report
from project.compare.plan import read_plan
from project.tracking.find import RunInfo, children
from project.tracking.run import Run
from project.tracking.store import open_store, store_folder

CHROMIUM = Path("/usr/bin/chromium")


def run(lesson: str, *overrides: str) -> Comparison:
    return compare(**read_plan(overrides, lesson))


def by_variant(runs: list[RunInfo]) -> dict[tuple[str, str], RunInfo]:
    return {(run.tags["compare.variant"], run.tags["compare.seed"]): run for run in runs}


@pytest.fixture(scope="module")
def compared(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """A finished comparison."""
    return run(write(tmp_path_factory.mktemp("compare")))


def test_table_and_verdict_are_those_of_the_runs(
    compared: Comparison, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = compared.parent
    stored = parent.mlflow_run
    assert stored.info.status == "FINISHED"
    runs = by_variant(children(parent))
    assert set(runs) == {(v, s) for v in VARIANTS for s in "123"}
    assert {run.status for run in runs.values()} == {"FINISHED"}
    losses = {v: [runs[v, s].metrics["val/loss"] for s in "123"] for v in VARIANTS}
    interval = stats.ttest_rel(losses["fast"], losses["slow"]).confidence_interval(0.95)
    assert interval.high < 0
    verdict = stored.data.tags["verdict.1"]
    assert verdict.startswith("holds: val/loss: fast < slow")
    assert f"{interval.low:+.4g} to {interval.high:+.4g}" in verdict
    show(compared)
    output = capsys.readouterr().out
    assert verdict in output
    assert str(compared.report) in output
    names = {file.path for file in parent.client.list_artifacts(parent.id)}
    assert {"runs.csv", "table.md", "report.html", "verdicts.txt", "figures"} <= names
    local = parent.client.download_artifacts(parent.id, "runs.csv", str(tmp_path))
    rows = list(csv.DictReader(Path(local).read_text().splitlines()))
    assert {(r["variant"], r["seed"]): float(r["val/loss"]) for r in rows} == {
        key: run.metrics["val/loss"] for key, run in runs.items()
    }
    assert all(run.metrics.keys() & {"test/loss"} == set() for run in runs.values())


def test_a_comparison_is_one_object_of_json(compared: Comparison) -> None:
    plain = json.loads(to_json(compared))
    runs = by_variant(children(compared.parent))
    assert plain["name"] == compared.plan.name
    assert (plain["variants"], plain["seeds"]) == (list(VARIANTS), [1, 2, 3])
    assert plain["failures"] == []
    assert plain["run_id"] == compared.parent.id
    assert Path(plain["report"]).exists()
    for variant in VARIANTS:
        for seed in "123":
            assert plain["run_ids"][variant][seed] == runs[variant, seed].id
            assert plain["values"]["val/loss"][variant][seed] == pytest.approx(
                runs[variant, seed].metrics["val/loss"]
            )
    (verdict,) = plain["verdicts"]
    assert (verdict["claim"], verdict["status"]) == ("val/loss: fast < slow", "holds")
    assert verdict["low"] < verdict["difference"] < verdict["high"] < 0
    assert (verdict["num_seeds"], verdict["reason"]) == (3, "")


@pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is missing: Debian's package chromium")
def test_the_report_needs_nothing_else_and_shows_its_images(compared: Comparison) -> None:
    from playwright.sync_api import sync_playwright

    path = compared.report
    assert path.parent == store_folder() / "reports"
    assert not re.search(r"(src|href)=.(?!data:)", path.read_text())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        problems: list[Any] = []
        page.on("console", lambda message: problems.append(message))
        page.on("requestfailed", lambda request: problems.append(request))
        page.goto(path.as_uri())
        widths = page.eval_on_selector_all("img", "images => images.map(i => i.naturalWidth)")
        assert len(widths) == 2
        assert min(widths) > 300
        assert page.inner_text(".status") == "holds"
        assert "Which is better?" in page.inner_text("body")
        assert not problems
        browser.close()


def test_a_parent_that_is_opened_again_forgets_its_failure(compared: Comparison) -> None:
    parent = compared.parent
    with pytest.raises(RuntimeError), parent.running():
        raise RuntimeError("gone")
    assert parent.mlflow_run.info.status == "FAILED"
    assert "gone" in parent.mlflow_run.data.tags["failure"]
    with parent.running():
        assert parent.mlflow_run.info.status == "RUNNING"
    assert parent.mlflow_run.info.status == "FINISHED"
    assert "failure" not in parent.mlflow_run.data.tags


def test_a_caption_comes_from_the_file_and_from_the_analysis(compared: Comparison) -> None:
    file = compared.plan.file.model_copy(update={"captions": {"mine": "One of the file."}})
    drawn = [("mine", Figure(), "One measured."), ("own", Figure(), "Own."), ("mine", Figure())]
    comparison = replace(compared, plan=replace(compared.plan, file=file))
    report(comparison, Analysis(figures=lambda runs: iter(drawn)))
    captions = re.findall("<figcaption>(.*)</figcaption>", compared.report.read_text())
    assert captions[-3:] == ["One of the file. One measured.", "Own.", "One of the file."]


def test_what_is_unchanged_is_not_trained_again(tmp_path: Path) -> None:
    first = run(write(tmp_path))
    before = {run.id for run in children(first.parent)}
    run(write(tmp_path))
    assert {run.id for run in children(first.parent)} == before
    changed = {**VARIANTS, "slow": ["optimizer.lr=0.002"]}
    run(write(tmp_path, variants=changed))
    added = [run for run in children(first.parent) if run.id not in before]
    assert {run.tags["compare.variant"] for run in added} == {"slow"}
    assert len(added) == 3


def test_measures_are_taken_again_when_their_code_has_changed(tmp_path: Path) -> None:
    """And only then: neither are runs trained again, nor is another analysis concerned."""
    write_analysis(tmp_path)
    path = write(tmp_path, analysis="analysis.py", measure=["mine/value"], claims=[], seeds=[1])

    def values() -> dict[str, float]:
        result = run(path)
        assert {run.id for run in children(result.parent)} == before
        return {variant: each[1] for variant, each in result.values["mine/value"].items()}

    result = run(path)
    before = {run.id for run in children(result.parent)}
    assert result.values["mine/value"] == {"slow": {1: 1.0}, "fast": {1: 1.0}}
    for run_id in before:
        Run(run_id).log_metrics({"mine/value": -1.0}, step=0)
    assert values() == {"slow": -1.0, "fast": -1.0}
    write_analysis(tmp_path, 20.5)
    assert values() == {"slow": 20.5, "fast": 20.5}


@pytest.mark.slow
def test_a_variant_that_cannot_be_trained_is_reported_and_decides_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    variants = {**VARIANTS, "fast": ["optimizer.lr=1e30"]}
    result = run(write(tmp_path, variants=variants))
    show(result)
    output = capsys.readouterr().out
    assert "undecided: val/loss: fast < slow (no run was measured)" in output
    assert "failed: fast, seed 2: " in output
    assert {run.status for run in children(result.parent)} == {"FINISHED", "FAILED"}


def start(folder: Path, path: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "project", "compare", f"lesson={path}"],
        cwd=project.ROOT,
        env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def find_parent() -> Run | None:
    """The parent of ``mine.yaml``; the hash of its path is in the name."""
    client, experiment_id = open_store("comparisons")
    matches = client.search_runs([experiment_id], "tags.`compare.name` LIKE 'mine-%'")
    return Run(matches[0].info.run_id) if matches else None


@pytest.mark.slow
def test_a_killed_comparison_is_resumed(own_store: Path) -> None:
    path = write(own_store, base=["data=digits", "model=mlp", "trainer.max_epochs=12"])
    with start(own_store, path) as process:
        deadline = monotonic() + 120
        while True:  # until one run is finished and another has begun
            assert monotonic() < deadline
            assert process.poll() is None
            sleep(0.1)
            if not (own_store / "mlflow.db").exists() or not any(own_store.glob("checkpoints/*")):
                continue
            parent = find_parent()
            states = [run.status for run in children(parent)] if parent else []
            if "FINISHED" in states and "RUNNING" in states:
                break
        os.killpg(process.pid, signal.SIGKILL)
    parent = find_parent()
    assert parent is not None
    finished = {run.id for run in children(parent) if run.status == "FINISHED"}
    assert 0 < len(finished) < 6
    with start(own_store, path) as process:
        output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    runs = children(parent)
    assert sum(run.status == "FINISHED" for run in runs) == 6
    assert finished <= {run.id for run in runs}
    assert not any(run.status == "RUNNING" for run in runs)
    assert len(by_variant([run for run in runs if run.status == "FINISHED"])) == 6
