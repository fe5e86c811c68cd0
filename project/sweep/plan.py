"""What a sweep searches and how, read and checked before anything that trains is imported."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import BaseModel

from project.config.check import STRICT, Config, check, validate
from project.config.compose import CONF, compose
from project.core.errors import UserError
from project.core.types import Count, NonNegativeInt, Positive

FIXED = {"seed", "trainer.devices", "trainer.accelerator"}
LEAF = {"low", "high", "log", "step", "choices"}
Distribution = CategoricalDistribution | FloatDistribution | IntDistribution
SamplerName = Literal["tpe", "random", "grid", "cmaes", "qmc"]
PrunerName = Literal["hyperband", "median", "none"]


class SweepSettings(BaseModel):
    """How a search is run.

    Attributes:
        trials: Number of finished trials, over all workers, machines and starts.
        timeout: Minutes after which no further trial starts; null for no limit.
        workers: Number of worker processes on this machine; ``auto`` uses one per GPU or core.
        devices_per_trial: Number of devices that train one trial together.
        sampler: Optuna sampler, which proposes values.
        pruner: Optuna pruner, which ends unpromising trials early.
        study: Name of the study; null is ``<data>-<model>``.
        storage: Address of Optuna's storage; null is SQLite beside the runs.
        top_k: Number of best settings that are retrained; 0 for none.
        seeds: Number of fresh seeds per retrained setting.
    """

    model_config = STRICT

    trials: Count = 20
    timeout: Positive | None = None
    workers: Literal["auto"] | Count = "auto"
    devices_per_trial: Count = 1
    sampler: SamplerName = "tpe"
    pruner: PrunerName = "hyperband"
    study: str | None = None
    storage: str | None = None
    top_k: NonNegativeInt = 3
    seeds: Count = 3


@dataclass(frozen=True)
class Space:
    """Optuna's distribution of each searched key of the config, such as ``optimizer.lr``."""

    distributions: dict[str, Distribution]

    def apply(self, config: Config, params: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the config with a trial's values, not checked yet."""
        node = config.model_dump()
        for key, value in decode(params).items():
            inner, (*path, last) = node, key.split(".")
            for part in path:  # unknown keys are created, and then rejected by ``check``
                inner = inner.setdefault(part, {})
                if not isinstance(inner, dict):
                    raise UserError(f"{key}: {part} is a value: expected one of its own keys")
            inner[last] = value
        return node

    def grid(self, num_trials: int) -> dict[str, list[Any]]:
        """Values of each key; ranges without a step get as many as fit the trials, at least two."""
        fixed = {key: _values(each) for key, each in self.distributions.items()}
        num_fixed = math.prod(len(values) for values in fixed.values() if values)
        num_ranges = sum(not values for values in fixed.values())
        num_points = max(2, int((num_trials / num_fixed) ** (1 / max(1, num_ranges)) + 1e-9))
        return {k: each or _values(self.distributions[k], num_points) for k, each in fixed.items()}

    def variants(self, config: Config) -> Iterator[tuple[str, Any, Config]]:
        """Yields key, value and checked config for each end of a range and each choice alone."""
        for key, distribution in self.distributions.items():
            for value in _values(distribution, 2):
                try:
                    changed = check(self.apply(config, {key: value}))
                except UserError as error:
                    raise UserError(f"search.{error}") from None
                yield key, value, changed

    def describe(self) -> dict[str, str]:
        """Returns each key's distribution as text, sorted by key."""
        return {key: str(self.distributions[key]) for key in sorted(self.distributions)}


@dataclass(frozen=True)
class SweepPlan:
    """A sweep, checked as far as that needs neither data nor model; it keeps its overrides."""

    config: Config
    settings: SweepSettings
    space: Space
    overrides: tuple[str, ...]


def read_plan(overrides: Sequence[str]) -> dict[str, SweepPlan]:
    """Composes and checks the config, the settings and the search space of a sweep.

    Raises:
        UserError: Names the key that is wrong.
    """
    node = compose("sweep", overrides)
    model = str(node["model"].get("_target_", "")).rpartition(".")[2].lower()
    has_own = (CONF / "search" / f"{model}.yaml").exists()
    if has_own and not any(line.startswith("search=") for line in overrides):
        node = compose("sweep", [f"search={model}", *overrides])
    settings = validate("sweep", SweepSettings, node.pop("sweep"))
    tree = node.pop("search")
    config = check(node)
    # The default space must also serve models without dropout.
    if "dropout" not in config.model and not any("search.model" in line for line in overrides):
        tree.get("model", {}).pop("dropout", None)
    study = settings.study
    if study is not None and not re.fullmatch(r"[\w.-]{1,100}", study):
        raise UserError(f"sweep.study: {study}: expected letters, digits, '-', '_' and '.'")
    space = parse(tree, config)
    list(space.variants(config))  # reports unknown keys before anything is built
    return {"plan": SweepPlan(config, settings, space, tuple(overrides))}


def decode(params: Mapping[str, Any]) -> dict[str, Any]:
    """Converts Optuna's values of a trial to values of the config: lists are stored as JSON."""
    return {k: json.loads(v) if str(v).startswith(("[", "{")) else v for k, v in params.items()}


def parse(tree: Mapping[str, Any], config: Config) -> Space:
    """Parses a tree of leaves ``{low, high, log, step}`` and ``{choices}`` of ``conf/search/``."""
    known = config.flatten()
    distributions = {k: _read(f"search.{k}", leaf, known.get(k)) for k, leaf in _leaves(tree)}
    for key in FIXED & distributions.keys():
        reason = "it selects for noise, not for a better setting"
        raise UserError(f"search.{key}: can't be searched: {reason}")
    if not distributions:
        raise UserError("search: is empty: expected a key such as search.optimizer.lr.high=0.1")
    return Space(distributions)


def _leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, node in tree.items():
        key = f"{path}.{name}" if path else name
        if not isinstance(node, dict):
            expected = "expected {low, high, log, step} or {choices}"
            raise UserError(f"search.{key}: {node!r}: {expected}")
        if LEAF & set(node):
            yield key, node
        else:
            yield from _leaves(node, key)


def _read(path: str, leaf: dict[str, Any], present: Any) -> Distribution:
    """Distribution of a leaf; a key whose present value is a float is searched in fractions."""
    if "choices" in leaf:
        choices = leaf["choices"]
        if len(leaf) > 1:
            raise UserError(f"{path}: {leaf}: expected choices alone")
        if not isinstance(choices, list) or len(set(map(repr, choices))) < 2:
            raise UserError(f"{path}.choices: {choices}: expected a list of two or more values")
        # Optuna only stores numbers, text, booleans and None.
        coded = [json.dumps(each) if isinstance(each, (list, dict)) else each for each in choices]
        return CategoricalDistribution(coded)
    if unknown := set(leaf) - LEAF:
        raise UserError(f"{path}.{min(unknown)}: unknown key: expected low, high, log or step")
    if not {"low", "high"} <= set(leaf):
        raise UserError(f"{path}: {leaf}: expected low and high, or choices")
    low, high, step, log = leaf["low"], leaf["high"], leaf.get("step"), leaf.get("log", False)
    numbers = {"low": low, "high": high} | ({} if step is None else {"step": step})
    for name, number in numbers.items():
        is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
        if not is_number or not abs(number) < math.inf:
            raise UserError(f"{path}.{name}: {number!r}: expected a number")
    if not isinstance(log, bool):
        raise UserError(f"{path}.log: {log!r}: expected true or false")
    if low >= high:
        raise UserError(f"{path}: low {low}, high {high}: expected low < high")
    if log and low <= 0:
        raise UserError(f"{path}.low: {low}: expected more than 0, as log is true")
    if step is not None and (log or not 0 < step <= high - low):
        expected = "none, as log is true" if log else f"more than 0, at most {high - low:g}"
        raise UserError(f"{path}.step: {step}: expected {expected}")
    if any(isinstance(number, float) for number in (present, *numbers.values())):
        return FloatDistribution(float(low), float(high), log, step and float(step))
    return IntDistribution(low, high, log, step or 1)


def _values(distribution: Distribution, count: int = 0) -> list[Any]:
    """All choices, or so many values of a range with its ends; 0 for those of its step, if any."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    low, high, step = distribution.low, distribution.high, distribution.step
    is_whole = isinstance(distribution, IntDistribution)
    if count == 0:
        if step is None or (is_whole and step == 1):
            return []
        return [low + index * step for index in range(int((high - low) / step + 1e-9) + 1)]
    points = (np.geomspace if distribution.log else np.linspace)(low, high, count).tolist()
    if is_whole:
        return sorted({round(point) for point in points})
    return [low, *points[1:-1], high]  # rounding must not carry the ends over the bounds
