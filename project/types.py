"""Argument types with their ranges, checked by pydantic before anything is built."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field

Probability = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]

# What third-party constructors leave untyped; arguments of one name mean the same everywhere.
BY_NAME: dict[str, Any] = {
    "lr": Positive,
    "weight_decay": NonNegative,
    "momentum": Probability,
    "alpha": Probability,
    "eps": Positive,
    "p": Annotated[float, Field(ge=0, le=1)],
    "betas": Annotated[list[Probability], Field(min_length=2, max_length=2)],
    "dampening": NonNegative,
    **dict.fromkeys(("nesterov", "amsgrad", "centered", "maximize", "foreach", "fused"), bool),
}

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]
TaskName = Literal["classification", "regression"]


class Indexed(Protocol):
    """Samples that are read when they are asked for: an array, or rows of a file."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: Any, /) -> Any: ...


@dataclass(frozen=True)
class Column:
    """One column of a table, as the training split has shown it.

    A raw row holds a number, or the index of its category; NaN is a missing number, and an index
    below 0 a category that training has not seen.

    Attributes:
        name: in the file.
        categories: texts that may stand in it, the empty one where it may be missing; None if it
            holds numbers.
        fill: the median, which stands in for a missing number.
        is_flagged: whether a further feature tells that the number is missing.
    """

    name: str
    categories: tuple[str, ...] | None = None
    fill: float = 0.0
    is_flagged: bool = False


@dataclass(frozen=True)
class Spec:
    """What a model must know of the data: it flows from the data to the model at run time.

    Attributes:
        task: what the targets are.
        shape: of one raw sample: (H, W, C) for uint8 images, (F,) for float32 table rows.
        classes: a name for each class; empty for regression.
        mean: of each channel or feature, in raw units, over the training split.
        std: likewise; 1 where a channel or feature is constant.
        target_mean: of the training targets, in their unit; 0 for classification.
        target_std: likewise; 1 for classification.
        class_counts: training samples of each class; empty for regression.
        columns: how a raw row becomes features; empty where it is them already, and for images.
    """

    task: TaskName
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    target_mean: float = 0.0
    target_std: float = 1.0
    class_counts: tuple[int, ...] = ()
    columns: tuple[Column, ...] = ()

    @property
    def is_image(self) -> bool:
        """Whether a sample is an image."""
        return len(self.shape) == 3

    @property
    def num_features(self) -> int:
        """Values that a network is given of a sample: its pixels, or the features of a row."""
        return len(self.mean) if self.columns else math.prod(self.shape)

    @property
    def num_outputs(self) -> int:
        """Values a model gives per sample: one per class, or the one that is regressed."""
        return len(self.classes) or 1
