"""What a config node may name, and the pydantic model of its arguments."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from project.config.compose import Node
from project.config.signatures import REQUIRED, RUN_TIME, read_signature
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
# Library classes: by class and argument, whether the argument is required.
LIBRARY: dict[str, dict[str, bool]] = json.loads(LIBRARY_FILE.read_text(encoding="utf-8"))
STRICT = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)
Checked = TypeVar("Checked", bound=BaseModel)


# By config node: what its targets in the project derive from or return, libraries with further
# targets, and a class that takes the arguments that a target leaves.
KINDS = {
    "data": "project.data.source.Source",
    "model": "project.models.base.Model",
    "augment": "albumentations.BasicTransform",
    "optimizer": "torch.optim.Optimizer",
    "scheduler": "torch.optim.lr_scheduler.LRScheduler",
    "penalty": "project.models.penalty.Penalty",
}
LIBRARIES = {"augment": "albumentations.", "optimizer": "torch.optim."}
REST = {"data": "project.data.module.DataModule"}


def check_arguments(path: str, node: Node) -> Node:
    """Checks a node's target and arguments; fills in the defaults of the project's own targets.

    ``path`` is the key of the node, such as ``optimizer`` or ``augment.flip``.
    """
    target = node.get("_target_")
    if reason := _reject_target(path, target):
        raise UserError(f"{path}._target_: {target}: {reason}")
    is_ours = str(target).startswith("project.")
    return {"_target_": target} | parse_arguments(path, node).model_dump(exclude_unset=not is_ours)


def parse_arguments(path: str, node: Node) -> BaseModel:
    """The arguments of a node whose target is known, with nested nodes as pydantic models."""
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    return validate(path, arguments_of(node["_target_"], REST.get(path, "")), arguments)


def _reject_target(path: str, target: Any) -> str:
    """Why a node may not name a target, which is not imported for that; empty if it may."""
    if not isinstance(target, str) or not target.startswith(ALLOWED_TARGETS):
        return f"expected a name that starts with one of {', '.join(ALLOWED_TARGETS)}"
    kind = path.partition(".")[0]
    reason = f"is not a valid target for {path}"
    if target.startswith("project."):
        signature = read_signature(target)
        if signature is None:
            return "there is no such class or function"
        return "" if KINDS[kind] in signature.kinds else reason
    library = LIBRARIES.get(kind)
    known = [name for name in LIBRARY if library and name.startswith(library)]
    if target in known:
        return ""
    return f"{reason}: {nearest(target, known)}" if known else reason


@cache
def arguments_of(target: str, also: str = "") -> type[BaseModel]:
    """A pydantic model of the arguments of a checked target, and of those of ``also``."""
    fields: dict[str, Any] = {}
    for signature in filter(None, map(read_signature, (target, also))):
        for name, each in signature.parameters.items():
            if name not in RUN_TIME and not (name == "seed" and signature.is_class):
                fields.setdefault(name, (each.annotation, each.default))
    for name, is_required in LIBRARY.get(target, {}).items():
        fields[name] = (BY_NAME.get(name, Any), REQUIRED if is_required else None)
    return create_model("Arguments", __config__=STRICT, **fields)


def validate(path: str, schema: type[Checked], values: Node) -> Checked:
    """Checks values against a pydantic model; ``path`` is their key, empty at the top.

    Raises:
        UserError: Names the first wrong key, its value and what was expected.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        first, *others = error.errors()
    # pydantic's location also names the branch of a union, which is not part of the key.
    parts = [str(part) for part in first["loc"] if part not in ("int", "float", "str")]
    keys = [part for part in parts if part.isdigit() or part.isidentifier()]
    key = ".".join([path, *keys] if path else keys)
    if first["type"] == "extra_forbidden":
        fields: Mapping[str, Any] = schema.model_fields
        for part in keys[:-1]:
            fields = getattr(fields[part].annotation, "model_fields", {})
        raise UserError(f"{key}: unknown key: {nearest(keys[-1], fields)}")
    if first["type"] == "missing":
        raise UserError(f"{key}: missing: expected a value")
    same_key = [each["msg"] for each in (first, *others) if each["loc"][:1] == first["loc"][:1]]
    messages = dict.fromkeys(message.removeprefix("Value error, ") for message in same_key)
    expected = "; ".join(messages).replace("Input should be", "expected")
    raise UserError(f"{key}: {first['input']!r}: {expected}")
