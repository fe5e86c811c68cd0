"""Loss surfaces of two weights, and optimisers that are tuned on each of them in the same way."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import count, islice, product

import numpy as np

from project.core.arrays import Array

RATES = 10 ** (np.arange(-20, 7) / 10)  # 0.01 to 4, ten per decade
MOMENTA = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
MAX_STEPS, HOLD = 2000, 50
TARGET = 0.01  # share of the initial loss
NUM_TUNING = 20  # starting points of the tuning, none of which is measured
TURN = math.radians(30)  # an axis of the bowls against a weight: no rule scales them one by one


@dataclass(frozen=True, eq=False)
class Surface:
    """A loss of two weights whose minimum is 0."""

    name: str
    loss: Callable[[Array], Array]  # of weights (..., 2)
    gradient: Callable[[Array], Array]  # of weights (..., 2)
    start: Callable[[np.random.Generator], Array]  # a random starting point (2,)
    minimum: Array  # (2,)


def bowl(condition: float) -> Surface:
    """A quadratic loss with curvatures 1 and 1 / condition; all starting points have loss 1."""
    cos, sin = math.cos(TURN), math.sin(TURN)
    axes = np.array([[cos, sin], [-sin, cos]])  # rows: the steep and the flat direction
    curvatures = np.array([1, 1 / condition])
    hessian = axes.T @ np.diag(curvatures) @ axes

    def start(rng: np.random.Generator) -> Array:
        angle = rng.uniform(0, 2 * math.pi)
        point = np.array([math.cos(angle), math.sin(angle)]) * np.sqrt(2 / curvatures)
        return np.asarray(point @ axes)

    return Surface(
        name=f"k{condition:g}",
        loss=lambda at: np.asarray(((at @ hessian) * at).sum(-1) / 2),
        gradient=lambda at: at @ hessian,
        start=start,
        minimum=np.zeros(2),
    )


def valley(slope: float = 4.0) -> Surface:
    """Mean squared error of ``v tanh(w x)``, an MLP with one hidden unit, for a steep step in x.

    A small w with a large v and a large w with v = 1 fit almost equally well: a curved valley.
    """
    x = np.linspace(-1, 1, 21)
    y = np.tanh(slope * x)

    def gradient(at: Array) -> Array:
        w, v = at[..., :1], at[..., 1:]
        hidden = np.tanh(w * x)
        residual = 2 * (v * hidden - y) / len(x)
        by_w, by_v = residual * v * x * (1 - hidden**2), residual * hidden
        return np.stack([by_w.sum(-1), by_v.sum(-1)], axis=-1)

    return Surface(
        name="mlp",
        loss=lambda at: np.asarray(((at[..., 1:] * np.tanh(at[..., :1] * x) - y) ** 2).mean(-1)),
        gradient=gradient,
        start=lambda rng: rng.uniform([0.05, 2], [0.3, 4]),
        minimum=np.array([slope, 1]),
    )


BOWLS = {condition: bowl(condition) for condition in (1, 10, 100, 1000)}
VALLEY = valley()
SURFACES = (*BOWLS.values(), VALLEY)


@dataclass(frozen=True)
class Setting:
    """An optimiser with its rates, each one number or an array of numbers to try at once."""

    rule: str  # ``plain descent``, ``heavy ball``, ``rmsprop`` or ``adam``
    lr: Array | float
    momentum: Array | float = 0.0


def descend(surface: Surface, start: Array, setting: Setting) -> Iterator[Array]:
    """Weights (..., 2) at the start and after each step, by the rules of ``torch.optim``."""
    at, mean, square = start, np.zeros_like(start), np.zeros_like(start)
    for step in count(1):
        yield at
        gradient = surface.gradient(at)
        if setting.rule == "rmsprop":
            square = 0.99 * square + 0.01 * gradient**2
            at = at - setting.lr * gradient / (np.sqrt(square) + 1e-8)
        elif setting.rule == "adam":
            mean = 0.9 * mean + 0.1 * gradient
            square = 0.999 * square + 0.001 * gradient**2
            scale = np.sqrt(square / (1 - 0.999**step)) + 1e-8
            at = at - setting.lr * mean / (1 - 0.9**step) / scale
        else:  # plain descent is a heavy ball without momentum
            mean = setting.momentum * mean + gradient
            at = at - setting.lr * mean


def walk(surface: Surface, start: Array, setting: Setting, num_steps: int) -> Array:
    """Weights (steps + 1, 2) from the start on."""
    return np.array(list(islice(descend(surface, start, setting), num_steps + 1)))


def count_steps(surface: Surface, start: Array, setting: Setting) -> Array:
    """Steps (...) until the loss is at or below TARGET of the first loss for HOLD steps.

    A trajectory that jumps across the minimum is below for a moment only. MAX_STEPS if none is.
    """
    target = TARGET * surface.loss(start)
    steps, below = np.full(target.shape, MAX_STEPS), np.zeros(target.shape, int)
    with np.errstate(over="ignore", invalid="ignore"):  # learning rates that are too large
        for step, at in enumerate(islice(descend(surface, start, setting), MAX_STEPS + HOLD)):
            below = np.where(surface.loss(at) <= target, below + 1, 0)
            steps[below == HOLD] = np.minimum(steps, step - HOLD + 1)[below == HOLD]
    return steps


@cache
def tune(rule: str, surface: Surface) -> Setting:
    """The setting of a grid with the smallest median of steps over random starting points."""
    momenta = MOMENTA if rule == "heavy ball" else (0.0,)
    grid = list(product(momenta, RATES))
    momentum, lr = np.array(grid).T[..., None, None]
    rng = np.random.default_rng(0)
    starts = np.array([surface.start(rng) for _ in range(NUM_TUNING)])
    at = np.broadcast_to(starts, (len(grid), *starts.shape))
    steps = count_steps(surface, at, Setting(rule, lr, momentum))
    best = np.median(steps, axis=-1).argmin()
    return Setting(rule, float(grid[best][1]), float(grid[best][0]))


def theory(rule: str, condition: float) -> float | None:
    """Factor by which a step of the tuned rule shrinks the distance to a bowl's minimum.

    The loss shrinks by its square (Polyak 1964, https://doi.org/10.1016/0041-5553(64)90137-5).
    """
    if rule == "plain descent":
        return 1 - 2 / (condition + 1)
    return 1 - 2 / (math.sqrt(condition) + 1) if rule == "heavy ball" else None


def shrink(surface: Surface, path: Array) -> float:
    """Mean factor (geometric) by which a step of a path (steps + 1, 2) shrinks the distance."""
    distances = np.linalg.norm(path - surface.minimum, axis=1)
    return float((distances[-1] / distances[0]) ** (1 / (len(path) - 1)))


def zigzag(path: Array) -> float:
    """Share of the steps of a path (steps + 1, 2) that turn back: by more than 90 degrees."""
    steps = np.diff(path, axis=0)
    return float(((steps[1:] * steps[:-1]).sum(1) < 0).mean()) if len(steps) > 1 else 0.0
