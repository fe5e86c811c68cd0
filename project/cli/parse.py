"""Splits a command line into typed arguments and config overrides."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ConfigDict, create_model

from project.cli.commands import Command
from project.config.compose import CONF
from project.config.schema import validate
from project.config.signatures import REQUIRED, Parameter, load
from project.core.errors import UserError, nearest
from project.core.types import ModelId, RunId

FROM_TEXT = ConfigDict(extra="forbid")  # not strict: every value of a command line is text


def read_arguments(command: Command, words: Sequence[str]) -> dict[str, Any]:
    """The arguments of a command's function.

    Args:
        command: The command.
        words: Words of the command line, each ``key=value``.

    Raises:
        UserError: Names the word or key that is wrong and what was expected.
    """
    parameters = command.parameters
    values: dict[str, str] = {}
    overrides = []
    for word in words:
        key, equals, value = word.partition("=")
        name = key.lstrip("-").replace("-", "_")
        if name in parameters and equals:
            values[name] = value
        elif command.reader:
            _check_top_level(key.lstrip("+~"), parameters, equals)
            overrides.append(word)
        elif not equals:
            raise UserError(f"{word}: expected key=value")
        else:
            raise UserError(f"{key}: unknown key: {nearest(name, parameters)}")
    arguments = _convert(parameters, values)
    for name, parameter in parameters.items():
        if parameter.annotation in (RunId, ModelId) and name in arguments:
            arguments[name] = _find(arguments[name], parameter.annotation, name)
    if not command.reader:
        return arguments
    read: dict[str, Any] = load(command.reader)(overrides, **arguments)
    return read


def _check_top_level(key: str, parameters: Mapping[str, Parameter], equals: str) -> None:
    """Rejects a key without dots that is no argument, no group and no node of a config."""
    groups = {folder.name for folder in CONF.iterdir() if folder.is_dir()}
    known = {*parameters, *groups, "seed", "loss", "sweep", "compare"}
    if equals and key and "." not in key and "@" not in key and key not in known:
        raise UserError(f"{key}: unknown key: {nearest(key, known)}")


def _convert(parameters: Mapping[str, Parameter], values: Mapping[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = {
        name: (each.annotation, ... if each.default is REQUIRED else each.default)
        for name, each in parameters.items()
    }
    # An empty value means the default where there is one that isn't a value of the type itself.
    texts = {name: text for name, text in values.items() if text or _needs_value(fields[name])}
    model = validate("", create_model("Arguments", __config__=FROM_TEXT, **fields), texts)
    return {name: getattr(model, name) for name in fields}


def _needs_value(field: tuple[Any, Any]) -> bool:
    return field[1] not in (..., None)


def _find(value: str, kind: Any, key: str) -> str:
    """The full id of a run; a model of the registry keeps its name."""
    # MLflow takes over a second to import, so only commands that name a run do it this early.
    from project.tracking.find import find_model_run, find_run

    if kind == ModelId and value.startswith("models:/"):
        find_model_run(value)
        return value
    return find_run(value, key).id
