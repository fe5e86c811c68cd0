"""A copy of the project in which the documented commands run."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from data.own_data import make_frame, write_classes

import project

FOLDERS = ("project", "conf", "lessons", "tools")
FILES = ("Makefile", "README.md", "pyproject.toml", "constraints.txt", ".gitignore")


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as a repository in a new folder, with this environment as its .venv."""
    folder = tmp_path_factory.mktemp("docs") / "a new folder"
    for name in FOLDERS:
        shutil.copytree(
            project.ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in FILES:
        shutil.copy(project.ROOT / name, folder)
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "All of it"]):
        subprocess.run([*git, *words], cwd=folder, check=True)
    (folder / ".venv" / "bin").mkdir(parents=True)
    for name in ("python", "ruff", "mypy", "lint-imports"):
        wrapper = folder / ".venv" / "bin" / name
        target = Path(sys.executable).parent / name
        wrapper.write_text(f'#!/bin/sh\nexec "{target}" "$@"\n')
        wrapper.chmod(0o755)
    for stamp in (".installed", ".installed-dev", ".installed-onnx", ".installed-dashboard"):
        (folder / ".venv" / stamp).touch()
    write_classes(folder / "my-images", 20)
    make_frame().drop(columns="sold").to_csv(folder / "houses.csv", index=False)
    return folder


@pytest.fixture(scope="session")
def run(clone: Path) -> "Callable[[str], subprocess.CompletedProcess[str]]":
    """Runs a line in the copy as a user would, with the copy's own store."""
    # Drop the tests' own store and the variables of the `make test` that may run them.
    dropped = ("MLFLOW", "MAKE", "MFLAGS", "ARGS")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    environment["PATH"] = f"{clone / '.venv' / 'bin'}:{environment['PATH']}"

    def run(line: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            line,
            shell=True,
            cwd=clone,
            env=environment,
            capture_output=True,
            text=True,
            timeout=1500,
        )

    return run
