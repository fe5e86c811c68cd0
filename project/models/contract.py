"""Inputs and outputs of a saved model, for use without the training code."""

from pydantic import BaseModel
from torch import Tensor, nn

from project.core.types import Column
from project.models.base import Model


class Predictor(nn.Module):
    """A trained model with raw inputs and final predictions: preprocessing is part of the graph."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        """Predictions for raw inputs, (B, H, W, C) uint8 or (B, F) float32."""
        return self.model.task.predict(self.model(inputs))


class Contract(BaseModel, frozen=True):
    """Inputs and outputs of a saved model; stored beside it, and all that is needed to use it."""

    task: str  # `classification`, `regression` or `reconstruction`
    shape: tuple[int, ...]  # of one raw input: (H, W, C) for images, (F,) for table rows
    classes: tuple[str, ...] = ()  # empty for other tasks
    columns: tuple[Column, ...] = ()  # in order; empty for images and for nameless columns

    @classmethod
    def of(cls, model: Model) -> "Contract":
        """The contract of a model."""
        spec, task = model.spec, model.task.kind
        classes = spec.classes if task == "classification" else ()
        return cls(task=task, shape=spec.shape, classes=classes, columns=spec.columns)

    @property
    def is_image(self) -> bool:
        """Whether an input is an image."""
        return len(self.shape) == 3
