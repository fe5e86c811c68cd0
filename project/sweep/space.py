"""The search space: a tree that mirrors the config, checked before the first trial."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from project.config.check import Config, check
from project.core.errors import UserError

FIXED = {"seed", "trainer.devices", "trainer.accelerator"}
LEAF = {"low", "high", "log", "step", "choices"}


@dataclass(frozen=True)
class Space:
    """A distribution for each searched key of the config.

    Attributes:
        distributions: Optuna distributions by dotted key, such as ``optimizer.lr``.
    """

    distributions: dict[str, BaseDistribution]

    def apply(self, config: Config, params: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the config with a trial's values, not checked yet."""
        node = config.model_dump()
        for key, value in self.values(params).items():
            _put(node, key, value)
        return node

    def values(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Converts Optuna's values of a trial to values of the config."""
        return {key: _decode(self.distributions[key], value) for key, value in params.items()}

    def grid(self, num_trials: int) -> dict[str, list[Any]]:
        """Values of each key for a grid search.

        Ranges without a step get as many values as fit the number of trials, at least two.
        """
        fixed = {key: _list(each) for key, each in self.distributions.items()}
        num_fixed = int(np.prod([len(values) for values in fixed.values() if values]))
        num_ranges = sum(not values for values in fixed.values())
        num_points = max(2, int((num_trials / num_fixed) ** (1 / max(1, num_ranges)) + 1e-9))
        return {
            key: values or _points(self.distributions[key], num_points)
            for key, values in fixed.items()
        }

    def variants(self, config: Config) -> Iterator[tuple[str, Any, Config]]:
        """Yields key, value and checked config for each end of a range and each choice alone.

        Raises:
            UserError: Names the key that doesn't exist or the value that is not allowed.
        """
        for key, distribution in self.distributions.items():
            for value in _extremes(distribution):
                node = config.model_dump()
                _put(node, key, value)
                try:
                    changed = check(node)
                except UserError as error:
                    raise UserError(f"search.{error}") from None
                yield key, value, changed

    def describe(self) -> dict[str, str]:
        """Returns each key's distribution as text, sorted by key."""
        return {key: str(self.distributions[key]) for key in sorted(self.distributions)}


def parse(tree: Mapping[str, Any], config: Config) -> Space:
    """Parses a tree of leaves ``{low, high, log, step}`` and ``{choices}``.

    Args:
        tree: Tree as in ``conf/search/``.
        config: Config of the trials; integer keys are searched in whole numbers.

    Raises:
        UserError: Names the leaf that is wrong.
    """
    known = config.flatten()
    distributions = {key: _distribution(key, leaf, known.get(key)) for key, leaf in _leaves(tree)}
    for key in FIXED & distributions.keys():
        raise UserError(
            f"search.{key}: can't be searched: it selects for noise, not for a better setting"
        )
    if not distributions:
        raise UserError("search: is empty: expected a key such as search.optimizer.lr.high=0.1")
    return Space(distributions)


def _put(node: dict[str, Any], key: str, value: Any) -> None:
    """Sets a dotted key; creates unknown keys, which ``check`` then rejects."""
    *path, last = key.split(".")
    for part in path:
        inner = node.setdefault(part, {})
        if not isinstance(inner, dict):
            raise UserError(f"search.{key}: {part} is a value: expected one of its own keys")
        node = inner
    node[last] = value


def _leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, node in tree.items():
        key = f"{path}.{name}" if path else name
        if not isinstance(node, dict):
            raise UserError(
                f"search.{key}: {node!r}: expected {{low, high, log, step}} or {{choices}}"
            )
        if LEAF & set(node):
            yield key, node
        else:
            yield from _leaves(node, key)


def _distribution(key: str, leaf: dict[str, Any], present: Any) -> BaseDistribution:
    path = f"search.{key}"
    if "choices" in leaf:
        if len(leaf) > 1:
            raise UserError(f"{path}: {leaf}: expected choices alone")
        choices = leaf["choices"]
        if not isinstance(choices, list) or len({repr(each) for each in choices}) < 2:
            raise UserError(f"{path}.choices: {choices}: expected a list of two or more values")
        return CategoricalDistribution([_encode(choice) for choice in choices])
    unknown = set(leaf) - LEAF
    if unknown:
        raise UserError(f"{path}.{min(unknown)}: unknown key: expected low, high, log or step")
    if not {"low", "high"} <= set(leaf):
        raise UserError(f"{path}: {leaf}: expected low and high, or choices")
    low, high, step = leaf["low"], leaf["high"], leaf.get("step")
    log = leaf.get("log", False)
    numbers: dict[str, Any] = {"low": low, "high": high, "step": step}
    for name, number in numbers.items():
        is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
        if not (is_number and abs(number) < float("inf")) and (name, number) != ("step", None):
            raise UserError(f"{path}.{name}: {number!r}: expected a number")
    if not isinstance(log, bool):
        raise UserError(f"{path}.log: {log!r}: expected true or false")
    if low >= high:
        raise UserError(f"{path}: low {low}, high {high}: expected low < high")
    if log and low <= 0:
        raise UserError(f"{path}.low: {low}: expected more than 0, as log is true")
    if step is not None and (log or step <= 0 or step > high - low):
        expected = "none, as log is true" if log else f"more than 0, at most {high - low:g}"
        raise UserError(f"{path}.step: {step}: expected {expected}")
    is_float = isinstance(present, float) or any(
        isinstance(each, float) for each in (low, high, step)
    )
    if is_float:
        return FloatDistribution(float(low), float(high), log, step and float(step))
    return IntDistribution(low, high, log, step or 1)


def _encode(choice: Any) -> Any:
    """Encodes lists as JSON, because Optuna only stores numbers, text, booleans and None."""
    return json.dumps(choice) if isinstance(choice, (list, dict)) else choice


def _decode(distribution: BaseDistribution, value: Any) -> Any:
    is_coded = isinstance(distribution, CategoricalDistribution) and isinstance(value, str)
    return json.loads(value) if is_coded and value[:1] in ("[", "{") else value


def _list(distribution: BaseDistribution) -> list[Any]:
    """All values of choices or of a range with a step; an empty list for other ranges."""
    if isinstance(distribution, CategoricalDistribution):
        return [_decode(distribution, choice) for choice in distribution.choices]
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    low, high, step = distribution.low, distribution.high, distribution.step
    if step is None or (isinstance(distribution, IntDistribution) and step == 1):
        return []
    count = int((high - low) / step + 1e-9) + 1
    return [low + index * step for index in range(count)]


def _extremes(distribution: BaseDistribution) -> list[Any]:
    """The ends of a range, or all choices."""
    if isinstance(distribution, CategoricalDistribution):
        return _list(distribution)
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    return [distribution.low, distribution.high]


def _points(distribution: BaseDistribution, count: int) -> list[Any]:
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    spaced = np.geomspace if distribution.log else np.linspace
    points = spaced(distribution.low, distribution.high, count).tolist()
    if isinstance(distribution, IntDistribution):
        return sorted({round(point) for point in points})
    # Rounding must not carry the ends over the bounds.
    return [distribution.low, *points[1:-1], distribution.high]
