"""Reads the config of a command that takes one; imports nothing that trains."""

from collections.abc import Sequence
from typing import Any

from project.config.check import Config, check, name_of
from project.config.compose import compose
from project.core.errors import UserError
from project.core.types import RunId


def read_config(overrides: Sequence[str]) -> dict[str, Any]:
    """Composes and checks the config of one run."""
    return {"config": check(compose("train", overrides))}


def read_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Composes and checks the config of one run; keeps the overrides to print them."""
    return read_config(overrides) | {"overrides": overrides}


def read_training(overrides: Sequence[str], resume: RunId | None = None) -> dict[str, Any]:
    """Composes and checks the config of a new run, or takes that of an interrupted one.

    Args:
        overrides: Config overrides; with ``resume`` they may repeat the run's values.
        resume: Interrupted run to resume, with its own config.

    Raises:
        UserError: The run is finished, or an override differs from its config.
    """
    if resume is None:
        return read_config(overrides)
    # MLflow takes over a second to import: only a resumed run needs it to know its config.
    from project.tracking.find import find_run

    run = find_run(resume, "resume")
    if run.mlflow_run.info.status == "FINISHED":
        raise UserError(f"resume: {resume}: it is FINISHED: expected an interrupted run")
    config = run.config()
    _check_same_values(config, overrides)
    return {"config": config, "resume": run.id}


def _check_same_values(config: Config, overrides: Sequence[str]) -> None:
    if not overrides:
        return
    stored = config.flatten()
    # With the run's own groups, because an override of one of their keys needn't name them.
    groups = [f"{name}={name_of(getattr(config, name))}" for name in ("data", "model")]
    values = check(compose("train", [*groups, *overrides])).flatten()
    for key in (line.partition("=")[0].lstrip("+~") for line in overrides):
        for name, value in values.items():
            if (name == key or name.startswith(f"{key}.")) and value != stored.get(name):
                raise UserError(
                    f"{name}: {value}: expected {stored.get(name)}, the value of the resumed run"
                )
