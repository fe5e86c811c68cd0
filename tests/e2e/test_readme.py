"""README: its commands and its examples do what it says."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import configure, use_store
from data.own_data import make_frame, write_classes

import project
from project.cli.command import _describe_groups
from project.config.compose import CONF

README = (project.ROOT / "README.md").read_text()
LONG_RUNNING = ("make ui", "make test", "make serve RUN=last")  # tests of their own


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


COMMANDS = [line for block in blocks("bash") for line in block.splitlines()]
LONG = (
    "make sweep",
    "make lessons",
    "LESSON",
    "make reproduce",
    "make find-lr",
    "make export",
    "make runs",
    "make evaluate",
    "INPUT=houses",
    "make train DATA=images",
    "make data DATA=table",
    "MODEL=linear",
    "MODEL=mlp",
    "MODEL=autoencoder",
    "DATA=diabetes",
    "DEVICES=2",
    "python -m project.train model",
)
MINUTES = [line for line in COMMANDS if any(word in line for word in LONG)]


def test_readme_runs_the_command_of_ci() -> None:
    assert "make test" in COMMANDS
    assert (project.ROOT / ".ci" / "run").read_text().endswith("make lint\nmake test\n")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project in a new folder, with this environment as its .venv."""
    folder = tmp_path_factory.mktemp("readme") / "a new folder"
    for name in ("project", "conf"):
        shutil.copytree(
            project.ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(project.ROOT / name, folder)
    (folder / ".venv" / "bin").mkdir(parents=True)
    for name in ("python", "ruff", "mypy"):
        wrapper = folder / ".venv" / "bin" / name
        target = Path(sys.executable).parent / name
        wrapper.write_text(f'#!/bin/sh\nexec "{target}" "$@"\n')
        wrapper.chmod(0o755)
    for stamp in (".installed", ".installed-dev", ".installed-onnx"):
        (folder / ".venv" / stamp).touch()
    write_classes(folder / "my-pictures", 20)
    make_frame().drop(columns="sold").to_csv(folder / "houses.csv", index=False)
    return folder


def run(clone: Path, line: str) -> "subprocess.CompletedProcess[str]":
    """Runs a line as a user would; the clone's own store."""
    # Nothing of the tests' own store, nor of the `make test` that runs them.
    ours = ("MLFLOW", "MAKE", "MFLAGS", "ARGS")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    environment["PATH"] = f"{clone / '.venv' / 'bin'}:{environment['PATH']}"
    return subprocess.run(
        line, shell=True, cwd=clone, env=environment, capture_output=True, text=True, timeout=900
    )


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(line, marks=pytest.mark.slow) if line in MINUTES else line
        for line in COMMANDS
        if line not in LONG_RUNNING
    ],
)
def test_every_command_works_in_a_fresh_copy(line: str, clone: Path) -> None:
    done = run(clone, line)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert not (clone / "lightning_logs").exists()
    if line == "make train":
        score = float(re.findall(r"val/accuracy (\d\.\d+) at epoch", done.stdout)[0])
        assert score >= 0.97
        run_id = re.findall(r"^run (\w{32})$", done.stdout, re.M)[0]
        assert f"make evaluate RUN={run_id}" in done.stdout
        assert "make ui" in done.stdout


def test_a_mistake_is_answered_as_shown(clone: Path) -> None:
    (shown,) = [block for block in blocks("text") if block.startswith("$ ")]
    line, expected = shown.removeprefix("$ ").split("\n", 1)
    done = run(clone, line)
    assert done.returncode == 2
    assert done.stderr.startswith(expected)
    assert done.stdout == ""


def test_make_alone_lists_every_target(clone: Path) -> None:
    done = run(clone, "make")
    assert done.returncode == 0
    phony = re.findall(r"^\.PHONY: (.*)$", (clone / "Makefile").read_text(), re.M)[0].split()
    for target in phony:
        assert re.search(rf"^  {target} +\w", done.stdout, re.M), target


def test_an_install_is_skipped_when_nothing_changed(clone: Path) -> None:
    assert "pip" not in run(clone, "make --dry-run train").stdout
    os.utime(clone / "constraints.txt", (2**31, 2**31))
    assert "pip install" in run(clone, "make --dry-run train").stdout
    os.utime(clone / "constraints.txt", (0, 0))


def test_the_example_model_trains(clone: Path) -> None:
    (code,) = blocks("python")
    (clone / "project" / "models" / "tiny.py").write_text(f'"""An example."""\n\n{code}')
    text = next(block for block in blocks("yaml") if "tiny" in block)
    (clone / "conf" / "model" / "tiny.yaml").write_text(text)
    arguments = "model.width=8 trainer.max_epochs=1 data.limit_train=200"
    done = run(clone, f'make train MODEL=tiny ARGS="{arguments}"')
    assert done.returncode == 0, done.stderr


def test_the_example_augmentation_builds(clone: Path) -> None:
    text = next(block for block in blocks("yaml") if "blur" in block)
    (clone / "conf" / "augment" / "blur.yaml").write_text(text)
    done = run(clone, 'make train ARGS="augment=blur trainer.max_epochs=1 data.limit_train=200"')
    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(text)) == {"blur"}


def test_the_example_question_is_answered(clone: Path) -> None:
    text = next(block for block in blocks("yaml") if "question:" in block)
    (clone / "mine.yaml").write_text(text)
    arguments = "compare.seeds=3 trainer.max_epochs=1 data.limit_train=200"
    done = run(clone, f'make compare LESSON=mine.yaml ARGS="{arguments}"')
    assert done.returncode == 0, done.stderr
    assert ": best/accuracy: wide > narrow (" in done.stdout
    assert list((clone / "mlruns" / "reports").glob("mine-*.html"))


def test_pictures_exist_and_are_small() -> None:
    names = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert len(names) == 2
    for name in names:
        assert (project.ROOT / name).stat().st_size < 100_000


def test_the_tree_names_what_is_there() -> None:
    tree = next(block for block in blocks("text") if block.startswith("Makefile"))
    for line in tree.splitlines():
        name = shlex.split(line.split("  ")[0])[0].split("<")[0].rstrip("/")
        if name != "mlruns":
            assert (project.ROOT / name).exists(), name


def test_the_table_of_groups_is_complete() -> None:
    text = README[README.index("| group | options |") :]
    table = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.M))
    assert set(table) == {folder.name for folder in CONF.iterdir() if folder.is_dir()}
    for group, options in table.items():
        if group == "experiment":
            continue
        for file in (CONF / group).glob("*.yaml"):
            assert f"`{file.stem}`" in options, (group, file.stem)
    assert "experiment" in _describe_groups()


def test_keys_that_scripts_rely_on_exist(tmp_path: Path) -> None:
    with use_store(tmp_path):
        flat = configure("data=fashion_mnist").flatten()
    names = (
        "seed data.root data.batch_size data.num_workers data.limit_train data.splits.train "
        "data.splits.val data.splits.test trainer.max_epochs trainer.devices trainer.precision "
        "optimizer.lr optimizer.weight_decay model.dropout"
    )
    assert set(names.split()) <= set(flat)
