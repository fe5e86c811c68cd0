"""Imports go one way: models, data, figures <- train; MLflow is behind project.tracking."""

import ast
from pathlib import Path

import pytest

import project

PACKAGE = project.ROOT / "project"
FORBIDDEN = {
    "models": (
        "project.data",
        "project.tracking",
        "project.config",
        "project.figures",
        "mlflow",
    ),
    "data": (
        "project.models",
        "project.tracking",
        "project.config",
        "project.figures",
        "mlflow",
    ),
    "figures": (
        "project.models",
        "project.data",
        "project.tracking",
        "project.config",
        "mlflow",
    ),
    "tracking": (
        "project.models",
        "project.train",
        "project.training.loop",
        "project.reports.run",
        "optuna",
    ),
    "sweep": ("mlflow",),
    "compare": ("mlflow", "optuna", "project.sweep", "lessons"),
    ".": ("mlflow", "optuna"),
}


def imports_of(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_go_one_way(package: str) -> None:
    files = list((PACKAGE / package).glob("*.py"))
    assert files
    for file in files:
        for name in imports_of(file):
            for forbidden in FORBIDDEN[package]:
                assert name != forbidden, file
                assert not name.startswith(f"{forbidden}."), file
