"""The config of a run, checked key by key before anything is imported or built."""

import json
import math
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from project.config.compose import Node
from project.config.signatures import REQUIRED, RUN_TIME, read_signature
from project.core.errors import UserError, nearest
from project.core.types import BY_NAME, Count, Positive, Probability, Seed, Share

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
# Targets in the configs of runs that were trained before these functions moved.
RENAMED = {
    "project.data.images.images": "project.data.images.source.images",
    "project.data.table.table": "project.data.tables.source.table",
}


class TrainerSettings(BaseModel, extra="forbid", strict=True):
    """How long and on which devices a model is trained.

    Attributes:
        max_epochs: Number of passes over the training samples.
        accelerator: ``auto`` uses a GPU if there is one.
        devices: Number of processes, one per device; ``auto`` uses all GPUs, or one CPU process.
        precision: ``auto`` uses bf16 autocast for convolutions where the hardware supports it.
        gradient_clip: Maximum norm of all gradients together; null disables clipping.
        patience: Epochs without a better score before training stops; null never stops early.
        ema_decay: Decay of an exponential moving average of the weights, which is then validated
            and saved; null keeps no average.
    """

    max_epochs: Count = 20
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Literal["auto"] | Count = "auto"
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    gradient_clip: Positive | None = None
    patience: Count | None = None
    ema_decay: Share | None = None


class LossSettings(BaseModel, extra="forbid", strict=True):
    """Changes to the data loss.

    Attributes:
        label_smoothing: Probability mass given to the wrong classes in training, in [0, 1).
        class_weights: ``balanced`` weights each class inversely to its number of training samples.
    """

    label_smoothing: Probability = 0.0
    class_weights: Literal["none", "balanced"] = "none"


class Config(BaseModel, extra="forbid", strict=True):
    """A checked config: complete, and every value is in its range.

    Attributes:
        seed: Seed of weights, sampling, augmentation and dropout.
        augment: Transforms by name, applied in this order.
    """

    seed: Seed = 1
    data: Node
    model: Node
    augment: dict[str, Node]
    optimizer: Node
    scheduler: Node
    penalty: Node
    loss: LossSettings = LossSettings()
    trainer: TrainerSettings = TrainerSettings()

    @property
    def model_name(self) -> str:
        """Short name of the model, such as ``cnn``."""
        return name_of(self.model)

    @property
    def data_name(self) -> str:
        """Short name of the data set: its source, or the user's own folder or file."""
        source = name_of(self.data)
        key = {"images": "root", "table": "file"}.get(source)
        name = Path(self.data[key]).resolve().stem if key else source
        return re.sub(r"[^\w.-]+", "-", name).strip("-") or source

    def flatten(self) -> dict[str, Any]:
        """Every value by its dotted key."""
        return flatten(self.model_dump())


def name_of(node: Mapping[str, Any]) -> str:
    """Short name of what a config node builds: ``project.models.cnn.CNN`` is ``cnn``."""
    return str(node["_target_"]).rpartition(".")[2].lower()


def flatten(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every value of a config, checked or not, by its dotted key."""
    leaves: dict[str, Any] = {}
    for key, value in node.items():
        is_node = isinstance(value, dict) and value
        leaves |= flatten(value, f"{prefix}{key}.") if is_node else {f"{prefix}{key}": value}
    return leaves


def check(node: Node) -> Config:
    """Checks every key, type and range of a composed or logged config, and fills in defaults."""
    config = validate("", Config, node)
    for key, value in config.flatten().items():
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, float) and not math.isfinite(number):
                raise UserError(f"{key}: {value}: expected a finite number")
    if (target := config.data.get("_target_")) in RENAMED:
        config.data["_target_"] = RENAMED[target]
    config.penalty = {"_target_": "project.models.penalty.Penalty"} | config.penalty
    for group in ("data", "model", "optimizer", "scheduler", "penalty"):
        setattr(config, group, check_arguments(group, getattr(config, group)))
    for name, transform in config.augment.items():
        if "_target_" not in transform:  # a key of a transform that the chosen option doesn't have
            names = [other for other, node in config.augment.items() if "_target_" in node]
            raise UserError(f"augment.{name}: unknown transform: {nearest(name, names)}")
        config.augment[name] = check_arguments(f"augment.{name}", transform)
    return config


def check_arguments(path: str, node: Node) -> Node:
    """Checks the node at a key such as ``augment.flip``; fills in the project's own defaults."""
    target = node.get("_target_")
    if reason := _reject_target(path, target):
        raise UserError(f"{path}._target_: {target}: {reason}")
    is_ours = str(target).startswith("project.")
    values = {key: value for key, value in node.items() if key != "_target_"}
    arguments = validate(path, arguments_of(str(target), REST.get(path, "")), values)
    return {"_target_": target} | arguments.model_dump(exclude_unset=not is_ours)


def _reject_target(path: str, target: Any) -> str:
    """Why a node may not name a target, which is not imported for that; empty if it may."""
    if not isinstance(target, str) or not target.startswith(ALLOWED_TARGETS):
        return f"expected a name that starts with one of {', '.join(ALLOWED_TARGETS)}"
    kind, reason = path.partition(".")[0], f"is not a valid target for {path}"
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
    """Checks values against a pydantic model; ``path`` is their key, empty at the top."""
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
