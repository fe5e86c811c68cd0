"""The config of a run, checked key by key before anything is imported or built."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from project.config.compose import Node
from project.config.schema import check_arguments, validate
from project.core.errors import UserError, nearest
from project.core.types import Count, Positive, Probability, Seed, Share

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
