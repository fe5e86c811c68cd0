"""Argument types with their ranges, and what a model needs to know about the data.

Imported by the command line before anything else, so nothing heavy is imported here.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen

Probability = Annotated[float, Ge(0), Lt(1)]
Share = Annotated[float, Gt(0), Lt(1)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Count = Annotated[int, Ge(1)]
NonNegativeInt = Annotated[int, Ge(0)]
Seed = Annotated[int, Ge(0), Lt(2**32)]

Port = Annotated[int, Ge(1), Le(65535)]


@dataclass(frozen=True)
class Stored:
    """Marks text that names a stored object; any other text has a type that is not equal."""

    kind: str


# A stored run: its id, the first letters of its id, or ``last``.
RunId = Annotated[str, MinLen(1), Stored("run")]
# A saved model: a run as above, ``models:/<name>@<alias>`` or ``models:/<name>/<version>``.
ModelId = Annotated[str, MinLen(4), Stored("model")]
Tags = Mapping[str, str]  # on a command line one word per entry: tag.<name>=<value>

# Ranges for arguments that third-party constructors leave untyped, by argument name.
BY_NAME: dict[str, Any] = {
    "lr": Positive,
    "weight_decay": NonNegative,
    "momentum": Probability,
    "alpha": Probability,
    "eps": Positive,
    "p": Annotated[float, Ge(0), Le(1)],
    "betas": Annotated[list[Probability], MinLen(2), MaxLen(2)],
    "dampening": NonNegative,
    **dict.fromkeys(("nesterov", "amsgrad", "centered", "maximize", "foreach", "fused"), bool),
}

TaskName = Literal["classification", "regression"]


@dataclass(frozen=True)
class Column:
    """A table column as fitted on the training split.

    A raw value is a number (NaN if missing) or a category index (negative if not seen in training).
    """

    name: str
    categories: tuple[str, ...] | None = None  # with "" if any may be missing; None for numbers
    fill: float = 0.0  # median of the training values, used to impute missing numbers
    is_flagged: bool = False  # whether an extra feature marks rows where the number is missing


@dataclass(frozen=True)
class Spec:
    """What a model needs to know about the data, derived at run time from the training split."""

    task: TaskName
    shape: tuple[int, ...]  # of a raw sample: (H, W, C) for uint8 images, (F,) for float32 rows
    classes: tuple[str, ...]  # empty for regression
    mean: tuple[float, ...]  # of each channel or feature, in raw units
    std: tuple[float, ...]  # of each channel or feature; 1 where it is constant
    target_mean: float = 0.0  # in the targets' own unit; 0 for classification
    target_std: float = 1.0  # 1 for classification
    class_counts: tuple[int, ...] = ()  # training samples per class; empty for regression
    columns: tuple[Column, ...] = ()  # of a table whose rows are not features yet, else empty

    @property
    def is_image(self) -> bool:
        """Whether a sample is an image."""
        return len(self.shape) == 3

    @property
    def num_features(self) -> int:
        """Number of network inputs per sample: pixels, or features of a row."""
        return len(self.mean) if self.columns else math.prod(self.shape)

    @property
    def num_outputs(self) -> int:
        """Number of network outputs per sample: one per class, or 1 for regression."""
        return len(self.classes) or 1
