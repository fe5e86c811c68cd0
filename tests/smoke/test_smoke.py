"""Every module imports, and a tiny run trains end to end."""

import importlib
from typing import Any

import project


def test_every_module_imports() -> None:
    for package in ("project", "lessons"):
        for file in sorted((project.ROOT / package).rglob("*.py")):
            name = ".".join(file.relative_to(project.ROOT).with_suffix("").parts)
            if not name.endswith("__main__"):
                importlib.import_module(name.removesuffix(".__init__"))


def test_a_tiny_run_trains(digits_run: Any, diabetes_run: Any) -> None:
    assert 0 < digits_run.score <= 1
    assert diabetes_run.score > 0
