"""Argument types with their ranges, checked by pydantic before anything is built."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

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


@dataclass(frozen=True)
class Spec:
    """What a model must know of the data: it flows from the data to the model at run time.

    Attributes:
        task: what the targets are.
        shape: of one raw sample: (H, W, C) for uint8 images, (F,) for float32 table rows.
        classes: a name for each class; empty for regression.
        mean: of each channel or column, in raw units, over the training split.
        std: likewise; 1 where a channel or column is constant.
        target_mean: of the training targets, in their unit; 0 for classification.
        target_std: likewise; 1 for classification.
    """

    task: TaskName
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    target_mean: float = 0.0
    target_std: float = 1.0

    @property
    def is_image(self) -> bool:
        """Whether a sample is an image."""
        return len(self.shape) == 3

    @property
    def num_outputs(self) -> int:
        """Values a model gives per sample: one per class, or the one that is regressed."""
        return len(self.classes) or 1
