"""Builds data, augmentation and models from a checked config."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import albumentations
from torch.optim import Optimizer

from project.config.check import (
    Config,
    arguments_of,
    find_target,
    is_a,
    is_scheduler,
    is_source,
)
from project.config.compose import Node
from project.core.errors import UserError, one_line
from project.core.types import Spec
from project.data.augment import Augment
from project.data.module import DataModule
from project.models.base import Model, Recipe
from project.models.penalty import Penalty

LOADER_KEYS = ("batch_size", "num_workers", "balanced_sampling")  # affect loading only


def build_data(config: Config, like: tuple[Config, DataModule] | None = None) -> DataModule:
    """Reads and cuts the data; downloads them first if need be.

    Args:
        config: of the run.
        like: another config and its data, which are not read again if they are the same samples.
    """
    if like is not None and _samples(like[0]) == _samples(config):
        settings = {name: config.data[name] for name in LOADER_KEYS}
        return like[1].serve(**settings, augment=build_augment(config), seed=config.seed)
    source = find_target(config.data, "data", is_source)
    arguments = arguments_of("data", config.data, source, DataModule)
    source_names = inspect.signature(source).parameters
    read = partial(source, **{k: v for k, v in arguments.items() if k in source_names})
    settings = {k: v for k, v in arguments.items() if k not in source_names}
    return DataModule(read, **settings, augment=build_augment(config), seed=config.seed)


def _samples(config: Config) -> Node:
    """What decides which samples there are, and in which split."""
    return {key: value for key, value in config.data.items() if key not in LOADER_KEYS}


def build_augment(config: Config) -> Augment | None:
    """The transforms of the config, in its order; None where it has none."""
    transforms = [
        _call(f"augment.{name}", node, is_a(albumentations.BasicTransform))
        for name, node in config.augment.items()
    ]
    return Augment(transforms, config.seed) if transforms else None


def build_model(config: Config, spec: Spec) -> Model:
    """The untrained model, ready to be trained; its weights are drawn from torch's global seed."""
    model: Model = _call("model", config.model, is_a(Model), spec)
    optimizer = find_target(config.optimizer, "optimizer", is_a(Optimizer))
    scheduler = find_target(config.scheduler, "scheduler", is_scheduler)
    recipe = Recipe(
        optimizer=partial(optimizer, **arguments_of("optimizer", config.optimizer, optimizer)),
        scheduler=partial(scheduler, **arguments_of("scheduler", config.scheduler, scheduler)),
        penalty=Penalty(**arguments_of("penalty", config.penalty, Penalty)),
        label_smoothing=config.loss.label_smoothing,
        has_class_weights=config.loss.class_weights == "balanced",
        gradient_clip=config.trainer.gradient_clip,
    )
    try:
        model.prepare(recipe)
    except ValueError as error:
        raise UserError(f"loss.{error}") from None
    try:  # what torch has against a value, it says now rather than when a run has been opened
        recipe.scheduler(recipe.optimizer(model.parameter_groups()), 100)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"optimizer: {config.optimizer}: {one_line(error)}") from None
    return model


def _call(path: str, node: Node, fits: Callable[[Any], bool], *first: Any) -> Any:
    target = find_target(node, path, fits)
    try:
        return target(*first, **arguments_of(path, node, target))
    except (ValueError, TypeError, NotImplementedError, RuntimeError, MemoryError) as error:
        raise UserError(f"{path}: {node['_target_']}: {one_line(error)}") from None
