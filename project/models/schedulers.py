"""Learning-rate schedules over the steps of a run, each with a linear warm-up."""

import math
from typing import Annotated

from annotated_types import Ge, Lt
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from project.core.types import Share

WarmUp = Annotated[float, Ge(0), Lt(1)]


def constant(optimizer: Optimizer, num_steps: int, warmup: WarmUp = 0.0) -> LRScheduler:
    """Keeps the learning rate constant.

    Args:
        warmup: Share of the steps in which the learning rate rises from 0, in [0, 1).
    """
    return LambdaLR(optimizer, lambda step: _rise(step, warmup * num_steps))


def cosine(optimizer: Optimizer, num_steps: int, warmup: WarmUp = 0.1) -> LRScheduler:
    """Lowers the learning rate to 0 along a half cosine (https://arxiv.org/abs/1608.03983).

    Args:
        warmup: Share of the steps in which the learning rate rises from 0, in [0, 1).
    """
    num_warmup = warmup * num_steps

    def factor(step: int) -> float:
        progress = max(0.0, step - num_warmup) / max(1.0, num_steps - num_warmup)
        return _rise(step, num_warmup) * (1 + math.cos(math.pi * min(1.0, progress))) / 2

    return LambdaLR(optimizer, factor)


def onecycle(optimizer: Optimizer, num_steps: int, warmup: Share = 0.3) -> LRScheduler:
    """Raises the learning rate to ``lr``, then lowers it to nearly 0 (arXiv:1708.07120).

    Args:
        warmup: Share of the steps before the peak, in (0, 1).
    """
    peaks = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(optimizer, peaks, num_steps, pct_start=warmup, cycle_momentum=False)


def _rise(step: int, num_warmup: float) -> float:
    return min(1.0, (step + 1) / (num_warmup + 1))
