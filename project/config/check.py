"""Checks a config against the signatures that it goes to, before anything is built."""

import importlib
import inspect
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, TypeVar, get_type_hints

import albumentations
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from torch.optim import Optimizer

from project.config.compose import Node
from project.core.errors import UserError, nearest
from project.core.types import BY_NAME, Count, Positive, Probability, Seed, Share
from project.data.module import DataModule
from project.data.source import Source
from project.models.base import Model
from project.models.penalty import Penalty

ALLOWED_TARGETS = (
    "project.",
    "torch.optim.",
    "torch.nn.",
    "torchvision.models.",
    "albumentations.",
    "lightning.pytorch.",
)
STRICT = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)
Checked = TypeVar("Checked", bound=BaseModel)


class TrainerSettings(BaseModel):
    """How long and on what a model is trained.

    Attributes:
        max_epochs: passes over the training samples.
        accelerator: ``auto`` takes a GPU where there is one.
        devices: processes; ``auto`` takes all GPUs, or one process on the CPU.
        precision: ``auto`` takes bf16 autocast for convolutions where the hardware has it.
        gradient_clip: greatest norm of all gradients together; None clips nothing.
        patience: epochs without a better score after which training stops; None never does.
        ema_decay: of an exponential moving average of the weights, which is then what is
            validated and saved; None keeps no average.
    """

    model_config = STRICT

    max_epochs: Count = 20
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Literal["auto"] | Count = "auto"
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    gradient_clip: Positive | None = None
    patience: Count | None = None
    ema_decay: Share | None = None


class LossSettings(BaseModel):
    """What changes the data loss.

    Attributes:
        label_smoothing: probability mass given to the wrong classes while training.
        class_weights: ``balanced`` weighs each class against how many training samples it has.
    """

    model_config = STRICT

    label_smoothing: Probability = 0.0
    class_weights: Literal["none", "balanced"] = "none"


class Config(BaseModel):
    """One run: made by ``check``, it is complete and every value in it is in its range."""

    model_config = STRICT

    seed: Seed = 1
    data: Node
    model: Node
    augment: dict[str, Node]
    optimizer: Node
    scheduler: Node
    penalty: Node
    loss: LossSettings = LossSettings()
    trainer: TrainerSettings = TrainerSettings()

    def flatten(self) -> dict[str, Any]:
        """Every value by its dotted key."""
        return flatten(self.model_dump())


def flatten(node: Node) -> dict[str, Any]:
    """Every value of a config, checked or not, by its dotted key."""
    return dict(_leaves(node))


# Targets in the configs of runs that were trained before these functions moved.
RENAMED = {
    "project.data.images.images": "project.data.images.source.images",
    "project.data.table.table": "project.data.tables.source.table",
}


def check(node: Node) -> Config:
    """Checks every key, type and range, and fills in what was left out.

    Args:
        node: as ``compose`` gives it, or as a run has logged it.

    Raises:
        UserError: names the key, the value and what was expected.
    """
    config = validate("", Config, node)
    for key, value in config.flatten().items():
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, float) and not math.isfinite(number):
                raise UserError(f"{key}: {value}: expected a finite number")
    source = find_target(config.data, "data", is_source)
    config.data = _check_call("data", config.data, source, DataModule)
    config.model = _check_call(
        "model", config.model, find_target(config.model, "model", is_a(Model))
    )
    for name, transform in config.augment.items():
        path = f"augment.{name}"
        found = find_target(transform, path, is_a(albumentations.BasicTransform))
        config.augment[name] = _check_call(path, transform, found)
    optimizer = find_target(config.optimizer, "optimizer", is_a(Optimizer))
    config.optimizer = _check_call("optimizer", config.optimizer, optimizer)
    scheduler = find_target(config.scheduler, "scheduler", is_scheduler)
    config.scheduler = _check_call("scheduler", config.scheduler, scheduler)
    penalty = {"_target_": f"{Penalty.__module__}.Penalty"} | config.penalty
    config.penalty = _check_call("penalty", penalty, find_target(penalty, "penalty", is_a(Penalty)))
    return config


def find_target(node: Node, path: str, fits: Callable[[Any], bool]) -> Any:
    """Imports what ``_target_`` names, if it is allowed and of the kind that the path calls for."""
    target = node["_target_"] = RENAMED.get(node.get("_target_", ""), node.get("_target_"))
    if not isinstance(target, str) or not target.startswith(ALLOWED_TARGETS):
        raise UserError(
            f"{path}._target_: {target}: expected a name that starts with one of "
            f"{', '.join(ALLOWED_TARGETS)}"
        )
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        raise UserError(f"{path}._target_: {target}: there is no such class or function") from None
    # What a module has imported is not its own: torch.nn.modules.module.torch.load is refused.
    if not getattr(found, "__module__", "").startswith(ALLOWED_TARGETS) or not fits(found):
        raise UserError(f"{path}._target_: {target}: this is nothing that {path} can be")
    return found


def is_a(kind: type) -> Callable[[Any], bool]:
    """A predicate for subclasses of a class."""
    return lambda found: isinstance(found, type) and issubclass(found, kind)


def is_source(found: Any) -> bool:
    """Whether an object is a function that returns a ``Source``."""
    return inspect.isfunction(found) and found.__annotations__.get("return") is Source


def is_scheduler(found: Any) -> bool:
    """Whether an object is one of the learning-rate schedules."""
    return inspect.isfunction(found) and found.__module__ == "project.models.schedulers"


# Given by the project at run time, never by a config.
_GIVEN = {"read", "augment", "seed", "spec", "params", "optimizer", "num_steps"}


def _schema(*functions: Callable[..., Any]) -> type[BaseModel]:
    """A pydantic model of the arguments of one or more functions, by their annotations."""
    fields: dict[str, Any] = {}
    for position, function in enumerate(functions):
        ours = function.__module__.startswith("project.")
        hints = (
            get_type_hints(
                function.__init__ if inspect.isclass(function) else function, include_extras=True
            )
            if ours
            else {}
        )
        for name, parameter in inspect.signature(function).parameters.items():
            given = name in _GIVEN and not (name == "seed" and inspect.isfunction(function))
            if given or (name in fields and position):
                continue
            annotation = hints.get(name) if ours else BY_NAME.get(name, Any)
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[name] = (annotation, default)
    return create_model("Arguments", __config__=STRICT, **fields)


def _check_call(path: str, node: Node, *functions: Callable[..., Any]) -> Node:
    """Checks a node against the signatures; our own functions' defaults are filled in."""
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    checked = validate(path, _schema(*functions), arguments)
    ours = functions[0].__module__.startswith("project.")
    return {"_target_": node["_target_"]} | checked.model_dump(exclude_unset=not ours)


def arguments_of(path: str, node: Node, *functions: Callable[..., Any]) -> dict[str, Any]:
    """The arguments of a checked node, as the objects that its functions take."""
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    checked = validate(path, _schema(*functions), arguments)
    return {name: getattr(checked, name) for name in checked.model_fields_set}


def validate(path: str, schema: type[Checked], values: Node) -> Checked:
    """Checks values against a pydantic model.

    Args:
        path: key of the values, for the error message; empty at the top.
        schema: the model.
        values: by key.

    Raises:
        UserError: names the first key that is wrong, its value and what was expected.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise UserError(_explain(path, schema, error)) from None


def _explain(path: str, schema: type[BaseModel], error: ValidationError) -> str:
    """The first thing that is wrong, in one line."""
    first = error.errors()[0]
    # pydantic adds the branch of a union to the location; keys are what the user knows.
    keys = [str(part) for part in first["loc"] if _is_key(part)]
    key = ".".join([path, *keys] if path else keys)
    if first["type"] == "extra_forbidden":
        fields: Iterable[str] = schema.model_fields
        for part in keys[:-1]:
            fields = _fields_of(schema, part)
        return f"{key}: unknown key: {nearest(keys[-1], fields)}"
    if first["type"] == "missing":
        return f"{key}: missing: expected a value"
    expected = "; ".join(
        dict.fromkeys(
            _expectation(e["msg"]) for e in error.errors() if e["loc"][:1] == first["loc"][:1]
        )
    )
    return f"{key}: {first['input']!r}: {expected}"


def _is_key(part: int | str) -> bool:
    return isinstance(part, int) or (part.isidentifier() and part not in ("int", "float", "str"))


def _fields_of(schema: type[BaseModel], name: str) -> Iterable[str]:
    annotation = schema.model_fields[name].annotation
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation.model_fields if is_model else ()  # type: ignore[union-attr]


def _expectation(message: str) -> str:
    return message.removeprefix("Value error, ").replace("Input should be", "expected")


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, node
