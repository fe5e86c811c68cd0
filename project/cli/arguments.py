"""Reads a command line: typed arguments, and the checked config; imports nothing that trains."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import create_model

from project.cli.commands import LABELS, Command
from project.config.check import check, name_of, validate
from project.config.compose import GROUPS, compose
from project.config.signatures import REQUIRED, Parameter, load, signature_of
from project.core.errors import UserError, nearest
from project.core.types import ModelId, RunId, Tags


def read_arguments(command: Command, words: Sequence[str]) -> dict[str, Any]:
    """The arguments of a command's function, from words such as ``key=value``."""
    parameters = command.parameters
    known = {*parameters, *GROUPS, "seed", "loss", "sweep", "compare"}
    groups = {name for name, each in parameters.items() if each.annotation == Tags | None}
    texts: dict[str, Any] = {}
    overrides = []
    for word in words:
        key, equals, value = word.partition("=")
        name = key.lstrip("-").replace("-", "_")
        top = key.lstrip("+~")  # such as the group of ``+augment=full``
        group, _, rest = key.partition(".")
        if group in groups:
            if not (rest and value):
                raise UserError(f"{word}: expected {group}.<name>=<value>")
            texts.setdefault(group, {})[rest] = value
        elif name in parameters and equals:
            texts[name] = value
        elif not equals and not command.reader:
            raise UserError(f"{word}: expected key=value")
        elif not command.reader:
            raise UserError(f"{key}: unknown key: {nearest(name, parameters)}")
        elif equals and top and "." not in top and "@" not in top and top not in known:
            raise UserError(f"{top}: unknown key: {nearest(top, known)}")
        else:
            overrides.append(word)
    arguments = _convert(parameters, texts)
    if not command.reader:
        return arguments
    labels = signature_of(LABELS).parameters if command.is_labelled else {}
    given = {name: arguments.pop(name) for name in labels}
    read: dict[str, Any] = load(command.reader)(overrides, **arguments)
    return read | ({"tags": load(LABELS)(**given)} if labels else {})


def _convert(parameters: Mapping[str, Parameter], texts: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as the types of their parameters, and runs by their full ids."""
    # Not strict, because every value of a command line is text.
    fields: Any = {name: (each.annotation, each.default) for name, each in parameters.items()}
    # An empty value means the default where there is one that isn't a value of the type itself.
    no_text = (REQUIRED, None)
    values = {k: text for k, text in texts.items() if text or parameters[k].default not in no_text}
    model = validate("", create_model("Arguments", **fields), values)
    arguments = {name: getattr(model, name) for name in fields}
    for name, each in parameters.items():
        if each.annotation in (RunId, ModelId):
            # MLflow takes over a second to import: only commands that name a run do it this early.
            from project.tracking.find import find_model_run, find_run

            value = arguments[name]
            run = find_model_run(value) if each.annotation == ModelId else find_run(value, name)
            arguments[name] = value if value.startswith("models:/") else run.id
    return arguments


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
    """
    if resume is None:
        return read_config(overrides)
    # MLflow takes over a second to import: only a resumed run needs it to know its config.
    from project.tracking.find import find_run

    run = find_run(resume, "resume")
    if run.mlflow_run.info.status == "FINISHED":
        raise UserError(f"resume: {resume}: it is FINISHED: expected an interrupted run")
    config = run.config()
    stored = config.flatten()
    # With the run's own groups, because an override of one of their keys needn't name them.
    groups = [f"data={name_of(config.data)}", f"model={config.model_name}"]
    values = check(compose("train", [*groups, *overrides])).flatten() if overrides else {}
    for key in (line.partition("=")[0].lstrip("+~") for line in overrides):
        for name, value in values.items():
            if f"{name}.".startswith(f"{key}.") and value != stored.get(name):
                expected = f"expected {stored.get(name)}, the value of the resumed run"
                raise UserError(f"{name}: {value}: {expected}")
    return {"config": config, "resume": run.id}
