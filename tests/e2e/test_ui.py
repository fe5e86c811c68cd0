"""The MLflow UI as a user sees it, in headless Chromium: the run, its charts, its artifacts."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from conftest import wait_until_healthy

import project
from project.training.results import FitResult

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def ui(digits_run: FitResult, free_port: int) -> Iterator[str]:
    """Address that the command prints, with the server behind it."""
    port = free_port
    with subprocess.Popen(
        [sys.executable, "-m", "project", "ui", f"port={port}"],
        cwd=project.ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as server:
        assert server.stderr is not None
        address = next(line.strip() for line in server.stderr if "http://" in line)
        Thread(
            target=server.stderr.read, daemon=True
        ).start()  # A full pipe would block the server.
        wait_until_healthy(port, server)
        yield address
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0
    with socket.socket() as probe:  # nothing is left behind
        assert probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture
def page(ui: str, tmp_path: Path) -> Iterator[object]:
    if not CHROMIUM.exists():
        pytest.skip("Chromium is missing: Debian's package chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.set_default_timeout(60_000)
        yield page
        page.screenshot(path=os.environ.get("UI_SCREENSHOT", str(tmp_path / "page.png")))
        browser.close()


def test_the_printed_address_opens_on_the_training_runs(
    ui: str, page, digits_run: FitResult
) -> None:  # type: ignore[no-untyped-def]
    page.goto(ui)
    page.get_by_text("cnn-digits").first.wait_for()
    assert page.get_by_text("training").count() > 0
    page.get_by_text("best/accuracy").first.wait_for()  # a column of the prepared view
    page.get_by_text(f"{digits_run.score:.4f}"[:5]).first.wait_for()


def test_a_run_shows_its_params_charts_and_artifacts(ui: str, page, digits_run: FitResult) -> None:  # type: ignore[no-untyped-def]
    base = re.sub(r"/runs\?.*", f"/runs/{digits_run.run_id}", ui)
    page.goto(base)
    page.get_by_text("optimizer.lr").first.wait_for()
    page.get_by_text("best/accuracy").first.wait_for()
    page.get_by_text("make reproduce RUN=").first.wait_for()  # in the description
    page.goto(f"{base}/model-metrics")
    page.locator("svg.main-svg").first.wait_for()  # a plotly chart
    page.get_by_text("(best/accuracy)").first.wait_for()
    page.goto(f"{base}/artifacts")
    page.get_by_text("config.yaml").first.wait_for()
    page.get_by_text("figures").first.click()
    page.get_by_text("confusion_matrix.png").first.click()
    image = page.locator(
        "img[src*='confusion_matrix'], img[src^='blob:'], img[alt*='confusion']"
    ).first
    image.wait_for()
    assert image.evaluate("element => element.naturalWidth") > 300


def test_the_server_refuses_other_hosts(ui: str) -> None:
    request = urllib.request.Request(ui.partition("/#")[0], headers={"Host": "192.168.0.7:5000"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    assert caught.value.code == 403


def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "project", "ui", f"port={port}"],
            cwd=project.ROOT,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 2
    assert done.stderr == f"error: port: {port}: Address already in use: expected a free port\n"
