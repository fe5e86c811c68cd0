"""A comparison from its YAML to its report; again; killed; with a variant that can't be trained."""

import csv
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from compare.test_lesson import write
from conftest import use_store
from scipy import stats

import project
from project.compare.command import main
from project.tracking.find import RunInfo, children, find_by_tags, opened
from project.tracking.run import Run
from project.tracking.store import open_store

CHROMIUM = Path("/usr/bin/chromium")
VARIANTS = {"slow": ["optimizer.lr=0.001"], "fast": ["optimizer.lr=0.1"]}


def start(folder: Path, path: str, *overrides: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "project.compare.command", f"lesson={path}", *overrides],
        cwd=project.ROOT,
        env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def compare(folder: Path, path: str, *overrides: str) -> str:
    with start(folder, path, *overrides) as process:
        output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output


def find_mine() -> Run | None:
    """The parent of ``mine.yaml``; the hash of its path is in the name."""
    client, experiment_id = open_store()
    found = client.search_runs([experiment_id], "tags.`compare.name` LIKE 'mine-%'")
    return Run(found[0].info.run_id) if found else None


def parent_of(name: str = "") -> Run:
    parent = find_by_tags({"compare.name": name}) if name else find_mine()
    assert parent is not None
    return parent


def by_variant(runs: list[RunInfo]) -> dict[tuple[str, str], RunInfo]:
    return {(run.tags["compare.variant"], run.tags["compare.seed"]): run for run in runs}


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The folder of a finished comparison, and what it printed."""
    folder = tmp_path_factory.mktemp("compare")
    output = compare(folder, write(folder))
    with use_store(folder):
        yield folder, output


def test_table_and_verdict_are_those_of_the_runs(compared: tuple[Path, str]) -> None:
    folder, output = compared
    parent = parent_of()
    found = parent.mlflow_run
    assert found.info.status == "FINISHED"
    runs = by_variant(children(parent))
    assert set(runs) == {(v, s) for v in VARIANTS for s in "123"}
    assert {run.status for run in runs.values()} == {"FINISHED"}
    losses = {v: [runs[v, s].metrics["val/loss"] for s in "123"] for v in VARIANTS}
    interval = stats.ttest_rel(losses["fast"], losses["slow"]).confidence_interval(0.95)
    assert interval.high < 0
    verdict = found.data.tags["verdict.1"]
    assert verdict.startswith("holds: val/loss: fast < slow")
    assert f"{interval.low:+.4g} to {interval.high:+.4g}" in verdict
    assert verdict in output
    names = {file.path for file in parent.client.list_artifacts(parent.id)}
    assert {"runs.csv", "table.md", "report.html", "verdicts.txt", "figures"} <= names
    local = parent.client.download_artifacts(parent.id, "runs.csv", str(folder))
    rows = list(csv.DictReader(Path(local).read_text().splitlines()))
    assert {(r["variant"], r["seed"]): float(r["val/loss"]) for r in rows} == {
        key: run.metrics["val/loss"] for key, run in runs.items()
    }
    assert all(run.metrics.keys() & {"test/loss"} == set() for run in runs.values())


@pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is missing: Debian's package chromium")
def test_the_report_needs_nothing_else_and_shows_its_pictures(compared: tuple[Path, str]) -> None:
    from playwright.sync_api import sync_playwright

    (path,) = (compared[0] / "reports").glob("mine-*.html")
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


def test_what_is_unchanged_is_not_trained_again(compared: tuple[Path, str]) -> None:
    folder, _ = compared
    before = {run.id for run in children(parent_of())}
    compare(folder, write(folder))
    assert {run.id for run in children(parent_of())} == before
    changed = {**VARIANTS, "slow": ["optimizer.lr=0.002"]}
    compare(folder, write(folder, variants=changed))
    added = [run for run in children(parent_of()) if run.id not in before]
    assert {run.tags["compare.variant"] for run in added} == {"slow"}
    assert len(added) == 3


@pytest.mark.slow
def test_a_variant_that_cannot_be_trained_is_reported_and_decides_nothing(tmp_path: Path) -> None:
    variants = {**VARIANTS, "fast": ["optimizer.lr=1e30"]}
    output = compare(tmp_path, write(tmp_path, variants=variants))
    assert "undecided: val/loss: fast < slow (no run was measured)" in output
    assert "failed: fast, seed 2: " in output
    with use_store(tmp_path):
        assert {run.status for run in children(parent_of())} == {"FINISHED", "FAILED"}


@pytest.mark.slow
def test_a_killed_comparison_goes_on_where_it_was(tmp_path: Path) -> None:
    path = write(tmp_path, base=["data=digits", "model=mlp", "trainer.max_epochs=12"])
    with start(tmp_path, path) as process, use_store(tmp_path):
        deadline = monotonic() + 120
        while True:  # until one run is finished and another has begun
            assert monotonic() < deadline
            assert process.poll() is None
            sleep(0.1)
            if not (tmp_path / "mlflow.db").exists() or not any(tmp_path.glob("checkpoints/*")):
                continue
            parent = find_mine()
            states = [run.status for run in children(parent)] if parent else []
            if "FINISHED" in states and "RUNNING" in states:
                break
        os.killpg(process.pid, signal.SIGKILL)
    with use_store(tmp_path):
        finished = {run.id for run in children(parent_of()) if run.status == "FINISHED"}
        assert 0 < len(finished) < 6
    compare(tmp_path, path)
    with use_store(tmp_path):
        runs = children(parent_of())
        assert sum(run.status == "FINISHED" for run in runs) == 6
        assert finished <= {run.id for run in runs}
        assert not any(run.status == "RUNNING" for run in runs)
        assert len(by_variant([run for run in runs if run.status == "FINISHED"])) == 6


def test_a_parent_that_is_opened_again_forgets_its_failure(compared: tuple[Path, str]) -> None:
    parent = parent_of()
    with pytest.raises(RuntimeError), opened(parent):
        raise RuntimeError("gone")
    assert parent.mlflow_run.info.status == "FAILED"
    assert "gone" in parent.mlflow_run.data.tags["failure"]
    with opened(parent):
        assert parent.mlflow_run.info.status == "RUNNING"
    assert parent.mlflow_run.info.status == "FINISHED"
    assert "failure" not in parent.mlflow_run.data.tags


def test_measures_are_taken_again_when_their_code_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from project.compare import comparison

    overrides = ("trainer.max_epochs=2", "compare.seeds=[1]")
    with use_store(tmp_path):
        main(["lesson=linear_regression", *overrides])
        name = "linear_regression-trainer.max_epochs=2"
        runs = children(parent_of(name))
        values = [run.metrics["closed_form/difference"] for run in runs]
        for run in runs:
            Run(run.id).log_metrics({"closed_form/difference": -1.0}, step=0)
        main(["lesson=linear_regression", *overrides])
        found = [run.metrics["closed_form/difference"] for run in children(parent_of(name))]
        assert found == [-1.0, -1.0]
        monkeypatch.setattr(comparison, "source_hash", lambda *_: "of changed code")
        main(["lesson=linear_regression", *overrides])
        found = [run.metrics["closed_form/difference"] for run in children(parent_of(name))]
        assert found == pytest.approx(values)
