"""The search space: a tree that mirrors the config, checked before the first trial."""

import hashlib
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

from project.config.build import build_data
from project.config.check import Config, check
from project.core.errors import UserError
from project.data.module import DataModule
from project.training.devices import make_model

LEAF = {"low", "high", "log", "step", "choices"}


@dataclass(frozen=True)
class Space:
    """What is searched: a distribution for each key of the config.

    Attributes:
        distributions: by dotted key, such as ``optimizer.lr``.
    """

    distributions: dict[str, BaseDistribution]

    def apply(self, config: Config, params: Mapping[str, Any]) -> dict[str, Any]:
        """The config with a trial's values in it, yet to be checked."""
        node = config.model_dump()
        for key, value in self.values(params).items():
            put(node, key, value)
        return node

    def values(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """A trial's values as the config has them."""
        return {key: _decode(self.distributions[key], value) for key, value in params.items()}

    def grid(self, num_trials: int) -> dict[str, list[Any]]:
        """Values of each key, for a grid.

        A range without a step gets as many values as let the whole grid fit the trials, two at
        least.
        """
        fixed = {key: _list(each) for key, each in self.distributions.items()}
        num_fixed = int(np.prod([len(values) for values in fixed.values() if values]))
        num_ranges = sum(not values for values in fixed.values())
        num_points = max(2, int((num_trials / num_fixed) ** (1 / max(1, num_ranges)) + 1e-9))
        return {
            key: values or _points(self.distributions[key], num_points)
            for key, values in fixed.items()
        }

    def describe(self) -> dict[str, str]:
        """Each key's distribution as text, the same for the same space."""
        return {key: str(self.distributions[key]) for key in sorted(self.distributions)}


def parse(tree: Mapping[str, Any], config: Config) -> Space:
    """Reads a tree of leaves ``{low, high, log, step}`` and ``{choices}``.

    Args:
        tree: as in ``conf/search/``.
        config: that is searched; a key that is an int there is searched in whole numbers.

    Raises:
        UserError: a leaf makes no sense.
    """
    known = config.flatten()
    distributions = {key: _distribution(key, leaf, known.get(key)) for key, leaf in _leaves(tree)}
    if not distributions:
        raise UserError("search: it is empty: expected a key such as search.optimizer.lr.high=0.1")
    return Space(distributions)


def check_space(space: Space, config: Config, data: DataModule) -> None:
    """Makes sure of every key that it exists and that what is built depends on it.

    Args:
        space: to be searched.
        config: the rest of it.
        data: of that config.

    Raises:
        UserError: names the key.
    """
    for key, distribution in space.distributions.items():
        if key == "seed" or key in ("trainer.devices", "trainer.accelerator"):
            raise UserError(f"search.{key}: it can't be searched: a better one is only better luck")
        behaviours = set()
        for value in _extremes(distribution):
            node = config.model_dump()
            put(node, key, value)
            try:
                changed = check(node)
                its_data = build_data(changed)
                if its_data.fingerprints["val"] != data.fingerprints["val"]:
                    raise UserError(
                        f"{key}: {value}: it changes the val split, which trials are compared on"
                    )
                behaviours.add(_behave(changed, its_data))
            except UserError as error:
                raise UserError(f"search.{error}") from None
        if len(behaviours) == 1:
            raise UserError(
                f"search.{key}: {distribution}: it changes nothing that is built: "
                "expected a key that does, and values that differ"
            )


def _behave(config: Config, data: DataModule) -> str:
    """A hash of what a training does in its first steps, and of what decides about the others."""
    model = make_model(config, data)
    optimizer = model.recipe.optimizer(model.parameter_groups())
    loader = data.train_dataloader()
    num_steps = 100
    scheduler = model.recipe.scheduler(optimizer, num_steps)
    digest = hashlib.sha256(repr((config.trainer, len(loader), loader.num_workers)).encode())
    # Without the loader's processes: what they give doesn't depend on their number.
    batch = data.train[next(iter(loader.sampler))]
    digest.update(batch[0].numpy().tobytes())
    model.train()
    model.on_train_epoch_start()
    for step in range(num_steps):
        if step < 2:  # the second shows what momentum and decay do
            optimizer.zero_grad()
            model.training_step(batch, step).backward()
            optimizer.step()
        scheduler.step()
        digest.update(repr([group["lr"] for group in optimizer.param_groups]).encode())
    for tensor in model.state_dict().values():
        digest.update(tensor.contiguous().view(-1).numpy().tobytes())
    return digest.hexdigest()


def put(node: dict[str, Any], key: str, value: Any) -> None:
    """Sets a dotted key; what doesn't exist is made, and left to ``check`` to complain about."""
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
    """Optuna stores numbers, text, booleans and None; lists go as JSON."""
    return json.dumps(choice) if isinstance(choice, (list, dict)) else choice


def _decode(distribution: BaseDistribution, value: Any) -> Any:
    is_coded = isinstance(distribution, CategoricalDistribution) and isinstance(value, str)
    return json.loads(value) if is_coded and value[:1] in ("[", "{") else value


def _list(distribution: BaseDistribution) -> list[Any]:
    """All values, if the user has named them by choices or a step; else none."""
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
