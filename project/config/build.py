"""Builds data, augmentation and models from a checked config."""

import json
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

from pydantic import BaseModel

from project.config.check import REST, Config, arguments_of
from project.config.compose import Node
from project.config.signatures import load, signature_of
from project.core.errors import UserError, one_line
from project.core.types import Spec
from project.data.module import DataModule
from project.data.samples import Augment
from project.models.base import Model, Recipe
from project.models.penalty import Penalty

LOADER_KEYS = ("batch_size", "num_workers", "balanced_sampling")  # affect loading only


def build_data(config: Config) -> DataModule:
    """Reads and splits the data, unless the last config had the same; downloads them if needed."""
    samples = {key: value for key, value in config.data.items() if key not in LOADER_KEYS}
    loading = {key: config.data[key] for key in LOADER_KEYS}
    data = read_samples(json.dumps(samples))
    return data.with_settings(**loading, augment=build_augment(config), seed=config.seed)


@lru_cache(maxsize=1)
def read_samples(samples: str) -> DataModule:
    """Reads and splits the samples of a data node, given as JSON."""
    node: Node = json.loads(samples)
    arguments = _arguments("data", node)
    names = arguments.keys() & signature_of(node["_target_"]).parameters
    read = {name: arguments.pop(name) for name in names}
    return DataModule(partial(load(node["_target_"]), **read), **arguments)


def build_augment(config: Config) -> Augment | None:
    """The transforms of a config, in order; None if it has none."""
    transforms = [_call(f"augment.{name}", node) for name, node in config.augment.items()]
    return Augment(transforms, config.seed) if transforms else None


def build_model(config: Config, spec: Spec) -> Model:
    """The untrained model with its recipe; its weights are drawn from torch's global seed."""
    model: Model = _call("model", config.model, spec)
    recipe = Recipe(
        seed=config.seed,
        optimizer=_bind("optimizer", config.optimizer),
        scheduler=_bind("scheduler", config.scheduler),
        penalty=Penalty(**_arguments("penalty", config.penalty)),
        label_smoothing=config.loss.label_smoothing,
        has_class_weights=config.loss.class_weights == "balanced",
        gradient_clip=config.trainer.gradient_clip,
    )
    try:
        model.prepare(recipe)
    except ValueError as error:
        raise UserError(f"loss.{error}") from None
    try:  # Let torch reject bad values now, before a run is opened.
        recipe.scheduler(recipe.optimizer(model.parameter_groups()), 100)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"optimizer: {config.optimizer}: {one_line(error)}") from None
    return model


def _call(path: str, node: Node, *first: Any) -> Any:
    try:
        return _bind(path, node)(*first)
    except (ValueError, TypeError, NotImplementedError, RuntimeError, MemoryError) as error:
        raise UserError(f"{path}: {node['_target_']}: {one_line(error)}") from None


def _bind(path: str, node: Node) -> "partial[Any]":
    """What a node names, with its arguments."""
    return partial(load(node["_target_"]), **_arguments(path, node))


def _arguments(path: str, node: Node) -> dict[str, Any]:
    """The arguments of a checked node, with nested nodes as the objects that the target takes."""
    fields: Mapping[str, Any] = arguments_of(node["_target_"], REST.get(path, "")).model_fields
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    for key, value in arguments.items():
        annotation = fields[key].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            arguments[key] = annotation(**value)
    return arguments
