"""What a config node may name, and the pydantic model of its arguments."""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from project.config.compose import Node
from project.config.signatures import REQUIRED, RUN_TIME, Opaque, read_signature
from project.core.errors import UserError, nearest
from project.core.types import BY_NAME

ALLOWED_TARGETS = (
    "project.",
    "torch.optim.",
    "torch.nn.",
    "torchvision.models.",
    "albumentations.",
    "lightning.pytorch.",
)
LIBRARY_FILE = Path(__file__).with_name("library.json")
STRICT = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)
Checked = TypeVar("Checked", bound=BaseModel)


class Kind(NamedTuple):
    """What a config node builds.

    Attributes:
        is_a: Dotted path that must be among a project target's base classes or return type; empty
            if the target must be defined in ``module``.
        module: Module with the targets of a library, or of the project if ``is_a`` is empty.
        also: Class whose constructor takes further arguments of the same node; empty if none.
    """

    is_a: str
    module: str = ""
    also: str = ""


KINDS = {
    "data": Kind("project.data.source.Source", also="project.data.module.DataModule"),
    "model": Kind("project.models.base.Model"),
    "augment": Kind("albumentations.BasicTransform", "albumentations."),
    "optimizer": Kind("torch.optim.Optimizer", "torch.optim."),
    "scheduler": Kind("", "project.models.schedulers."),
    "penalty": Kind("project.models.penalty.Penalty"),
}


@cache
def read_library() -> Mapping[str, Mapping[str, bool]]:
    """Library classes: by class and argument, whether the argument is required."""
    described: dict[str, dict[str, bool]] = json.loads(LIBRARY_FILE.read_text(encoding="utf-8"))
    return described


def check_target(path: str, node: Node) -> str:
    """Checks the ``_target_`` of a node without importing it.

    Args:
        path: Key of the node, such as ``optimizer`` or ``augment.flip``.
        node: The node.

    Returns:
        The target.

    Raises:
        UserError: The target is not allowed, doesn't exist, or is of the wrong kind.
    """
    target = node.get("_target_")
    if not isinstance(target, str) or not target.startswith(ALLOWED_TARGETS):
        raise UserError(
            f"{path}._target_: {target}: expected a name that starts with one of "
            f"{', '.join(ALLOWED_TARGETS)}"
        )
    kind = KINDS[path.partition(".")[0]]
    if not target.startswith("project."):
        known = [each for each in read_library() if kind.module and each.startswith(kind.module)]
        if target in known:
            return target
        hint = f": {nearest(target, known)}" if known else ""
        raise UserError(f"{path}._target_: {target}: is not a valid target for {path}{hint}")
    signature = read_signature(target)
    if signature is None:
        raise UserError(f"{path}._target_: {target}: there is no such class or function")
    if not (kind.is_a in signature.kinds if kind.is_a else target.startswith(kind.module)):
        raise UserError(f"{path}._target_: {target}: is not a valid target for {path}")
    return target


@cache
def arguments_of(target: str, also: str = "") -> type[BaseModel]:
    """A pydantic model of a target's arguments.

    Args:
        target: Checked target.
        also: Class whose constructor takes further arguments of the same node.
    """
    fields: dict[str, Any] = {}
    for signature in filter(None, map(read_signature, (target, also))):
        is_class = signature.target in signature.kinds
        for name, parameter in signature.parameters.items():
            if name in fields or name in RUN_TIME or (name == "seed" and is_class):
                continue
            annotation = parameter.annotation
            default = ... if parameter.default is REQUIRED else parameter.default
            fields[name] = (Any if isinstance(annotation, Opaque) else annotation, default)
    if target in read_library():
        for name, is_required in read_library()[target].items():
            fields[name] = (BY_NAME.get(name, Any), ... if is_required else None)
    return create_model("Arguments", __config__=STRICT, **fields)


def check_arguments(path: str, node: Node) -> Node:
    """Checks a node's target and arguments; fills in the defaults of the project's own targets.

    Raises:
        UserError: Names the key, the value and what was expected.
    """
    target = check_target(path, node)
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    checked = validate(path, arguments_of(target, KINDS[path.partition(".")[0]].also), arguments)
    is_ours = target.startswith("project.")
    return {"_target_": target} | checked.model_dump(exclude_unset=not is_ours)


def validate(path: str, schema: type[Checked], values: Node) -> Checked:
    """Checks values against a pydantic model.

    Args:
        path: Key of the values for the error message; empty at the top.
        schema: The model.
        values: Values by key.

    Raises:
        UserError: Names the first wrong key, its value and what was expected.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise UserError(_explain(path, schema, error)) from None


def _explain(path: str, schema: type[BaseModel], error: ValidationError) -> str:
    first = error.errors()[0]
    # pydantic's location also names the branch of a union, which is not part of the key.
    keys = [str(part) for part in first["loc"] if _is_key(part)]
    key = ".".join([path, *keys] if path else keys)
    if first["type"] == "extra_forbidden":
        fields: Iterable[str] = schema.model_fields
        for part in keys[:-1]:
            fields = _fields_of(schema, part)
        return f"{key}: unknown key: {nearest(keys[-1], fields)}"
    if first["type"] == "missing":
        return f"{key}: missing: expected a value"
    same_key = (each for each in error.errors() if each["loc"][:1] == first["loc"][:1])
    expected = "; ".join(dict.fromkeys(_expectation(each["msg"]) for each in same_key))
    return f"{key}: {first['input']!r}: {expected}"


def _is_key(part: int | str) -> bool:
    return isinstance(part, int) or (part.isidentifier() and part not in ("int", "float", "str"))


def _fields_of(schema: type[BaseModel], name: str) -> Iterable[str]:
    annotation = schema.model_fields[name].annotation
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation.model_fields if is_model else ()  # type: ignore[union-attr]


def _expectation(message: str) -> str:
    return message.removeprefix("Value error, ").replace("Input should be", "expected")
