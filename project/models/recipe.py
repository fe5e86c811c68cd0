"""How a model is trained: optimiser, schedule, penalty and loss options."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from project.models.penalty import Penalty


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        optimizer: Function from parameter groups to an optimiser.
        scheduler: Function from an optimiser and the total number of steps to a schedule.
        penalty: Penalty on the weights, added to the loss.
        label_smoothing: Probability mass moved to the wrong classes during training, in [0, 1).
        has_class_weights: Whether the training loss weighs all classes equally.
        gradient_clip: Maximum norm of all gradients together; None disables clipping.
    """

    optimizer: Callable[[list[dict[str, Any]]], Optimizer]
    scheduler: Callable[[Optimizer, int], LRScheduler]
    penalty: Penalty
    label_smoothing: float = 0.0
    has_class_weights: bool = False
    gradient_clip: float | None = None


def split_by_decay(parameters: Iterable[nn.Parameter]) -> list[dict[str, Any]]:
    """Two groups for an optimiser: weights; biases and norms, which are not decayed."""
    weights, others = list[nn.Parameter](), list[nn.Parameter]()
    for parameter in parameters:
        (weights if parameter.ndim > 1 else others).append(parameter)
    return [{"params": weights}, {"params": others, "weight_decay": 0.0}]
