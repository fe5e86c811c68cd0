"""Learning rates against their limit, and tuned optimisers on bowls and in a curved valley."""

from collections.abc import Iterator, Sequence
from math import log

import numpy as np

from lessons.descent import LeastSquares, solve
from lessons.gradient_descent.figures import (
    TWO_MINIMA,
    draw_decay,
    draw_learning_rates,
    draw_minima,
    draw_paths,
    draw_speed,
    draw_zigzag,
)
from lessons.gradient_descent.surfaces import (
    BOWLS,
    SURFACES,
    TARGET,
    VALLEY,
    Surface,
    count_steps,
    shrink,
    theory,
    tune,
    walk,
    zigzag,
)
from project.compare.analysis import Analysis, Drawn, Runs, Trained
from project.core.arrays import Array, Curve
from project.models.linear import Linear

RULES = ("plain descent", "heavy ball", "rmsprop", "adam")  # variants that are tuned
STARTS = (-2.2, -0.1, 0.3, 2.2)  # of the descents on TWO_MINIMA


def _trajectory(trained: Trained) -> tuple[LeastSquares, Array]:
    """The closed form, and weight and bias (steps + 1, 2) from the start on."""
    model = trained.model
    assert isinstance(model, Linear)
    start = [trained.config.model["start"]] * 2
    columns = [trained.run.history(name)[1] for name in ("weight/0", "bias")]
    return solve(model, trained.data), np.vstack([start, np.column_stack(columns)])


def measure(trained: Trained) -> dict[str, float]:
    """The run on the line; and for a tuned rule, its steps from starting points of the seed."""
    squares, path = _trajectory(trained)
    excess = squares.excess_loss(path)
    measured = {
        # A logarithm, because the ratio varies over orders of magnitude.
        "descent/log10_excess_ratio": float(np.log10(max(excess[-1], 1e-16) / excess[0])),
        "descent/lr_over_limit": trained.config.optimizer["lr"] / squares.largest_lr,
    }
    return measured | measure_rule(trained.variant, trained.seed)


def measure_rule(rule: str, seed: int) -> dict[str, float]:
    """Steps to TARGET of the first loss on each surface, and the zig-zag on the longest bowl."""
    if rule not in RULES:
        return {}
    steps = {f"steps/{each.name}": float(_descent(rule, each, seed)[1]) for each in SURFACES}
    path, num_steps = _descent(rule, BOWLS[1000], seed)
    return steps | {"zigzag/k1000": zigzag(path[: num_steps + 1])}


def _descent(rule: str, surface: Surface, seed: int) -> tuple[Array, int]:
    """Path of a tuned rule from a seed's starting point, and its steps to the target.

    The path has three times as many steps, but 150 at least.
    """
    start, setting = surface.start(np.random.default_rng(seed)), tune(rule, surface)
    num_steps = int(count_steps(surface, start, setting))
    return walk(surface, start, setting, max(150, 3 * num_steps)), num_steps


def figures(runs: Runs) -> Iterator[Drawn]:
    """Trajectories on the line, limit of the rates, speed of the tuned rules, and two minima."""
    paths, ratios = {}, {}
    for variant, (trained, *_) in runs.items():
        squares, path = _trajectory(trained)
        paths[variant] = path
        optimizer = trained.config.optimizer
        if optimizer["_target_"].endswith("SGD") and not optimizer.get("momentum"):
            ratio = 10 ** trained.metrics["descent/log10_excess_ratio"]
            ratios[variant] = optimizer["lr"], ratio
    # The surface is the same for all variants: they share data and seed.
    yield "paths", draw_paths(squares, paths)
    yield "learning_rates", draw_learning_rates(ratios, squares.largest_lr)
    seeds = [each.seed for each in next(iter(runs.values()))]
    rules = [rule for rule in RULES if rule in runs]
    if rules:
        yield from _speed(rules, seeds)
    walks = [descend(start) for start in STARTS]
    ends = ", ".join(f"{x[0]:g} ends at {x[-1]:.2f}" for x, _ in walks)
    caption = f"f(x) = x^4 / 4 - x^2 + x / 4 has two minima: the descent from {ends}."
    yield "two_minima", draw_minima(walks), caption


def _speed(rules: Sequence[str], seeds: Sequence[int]) -> Iterator[Drawn]:
    """Speed of the tuned rules on the bowls, measured and in theory, and some of their paths."""
    steps: dict[str, dict[float, list[float]]] = {}
    factors: dict[str, dict[float, float]] = {}
    for rule in rules:
        for condition, surface in BOWLS.items():
            descents = [_descent(rule, surface, seed) for seed in seeds]
            steps.setdefault(rule, {})[condition] = [float(number) for _, number in descents]
            every = [shrink(surface, path[: 3 * number + 1]) for path, number in descents]
            factors.setdefault(rule, {})[condition] = float(np.median(every))
    fine = np.geomspace(1.01, 1000, 60)
    ideal = {
        rule: {k: factor for k in fine if (factor := theory(rule, k)) is not None}
        for rule in rules
        if theory(rule, 1) is not None
    }
    figure = draw_speed(steps, factors, ideal, lambda factor: log(TARGET) / (2 * log(factor)))
    yield "speed", figure, _settings(rules)
    # One seed whose starting point is neither on the steep nor on the flat axis of the bowl.
    seed = seeds[int(np.argsort(steps[rules[0]][100])[len(seeds) // 2])]
    losses = {rule: BOWLS[100].loss(_descent(rule, BOWLS[100], seed)[0]) for rule in rules}
    squares = {rule: factor**2 for rule in rules if (factor := theory(rule, 100)) is not None}
    yield "decay", draw_decay(losses, squares, 150, "k = 100")
    rows = []
    for title, surface in (
        ("bowl, k = 10", BOWLS[10]),
        ("bowl, k = 100", BOWLS[100]),
        ("MLP", VALLEY),
    ):
        paths = {}
        for rule in rules:
            path, number = _descent(rule, surface, seed)
            paths[rule] = path[: max(number, 30) + 1], number
        rows.append((title, surface, paths))
    yield "zigzag", draw_zigzag(rows)


def _settings(rules: Sequence[str]) -> str:
    """The tuned settings, as a sentence for each rule."""
    sentences = []
    for rule in rules:
        settings = [tune(rule, surface) for surface in SURFACES]
        rates = ", ".join(f"{each.lr:.2g}" for each in settings)
        momenta = ", ".join(f"{each.momentum:g}" for each in settings)
        sentences.append(f"{rule} {rates}" + f" (momentum {momenta})" * (rule == "heavy ball"))
    return f"Tuned learning rates on the four bowls and in the valley: {'; '.join(sentences)}."


def descend(start: float, lr: float = 0.05, num_steps: int = 100) -> Curve:
    """Gradient descent on ``TWO_MINIMA``: x and its value at the start and after each step."""
    path = [start]
    for _ in range(num_steps):
        path.append(path[-1] - lr * TWO_MINIMA.deriv()(path[-1]))
    return np.array(path), TWO_MINIMA(np.array(path))


ANALYSIS = Analysis(
    (
        *("descent/log10_excess_ratio", "descent/lr_over_limit", "zigzag/k1000"),
        *(f"steps/{surface.name}" for surface in SURFACES),
    ),
    measure,
    figures,
    supports=lambda model: isinstance(model, Linear) and model.spec.num_features == 1,
    needs="model=linear and data with one input column",
)
