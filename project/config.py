"""Composes a config, checks it against the signatures that it goes to, and builds from it."""

import importlib
import inspect
import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeVar, get_type_hints

import albumentations
import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from torch.optim import Optimizer

from project import ROOT
from project.data.augment import Augment
from project.data.module import DataModule
from project.data.source import Source
from project.errors import UserError, nearest
from project.models.base import Model, Recipe
from project.models.penalty import Penalty
from project.types import BY_NAME, Count, Positive, Probability, Seed, Share, Spec

CONF = ROOT / "conf"
ALLOWED_TARGETS = (
    "project.",
    "torch.optim.",
    "torch.nn.",
    "torchvision.models.",
    "albumentations.",
    "lightning.pytorch.",
)
LAID_OUT = "from_a_file"  # what the options of an experiment file are called for Hydra
# Keys of data that leave the samples as they are.
SERVING = ("batch_size", "num_workers", "balanced_sampling")
STRICT = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)
Node = dict[str, Any]
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


def compose(command: str, overrides: Iterable[str] = ()) -> Node:
    """Composes ``conf/<command>.yaml`` and its groups with the overrides of a command line.

    Any key can be overridden, whether a YAML file mentions it or not: ``check`` knows which exist.
    ``experiment`` takes a file as well, such as the ``config.yaml`` of any run.

    Args:
        command: name of a file in ``conf/``.
        overrides: such as ``model=resnet`` or ``optimizer.lr=0.01``.

    Raises:
        UserError: an override can't be parsed, or a group has no such option.
    """
    groups = {folder.name for folder in CONF.iterdir() if folder.is_dir()}
    lines, experiments = [], list[Path]()
    for line in overrides:
        try:
            line, override = _parse_override(line)
            if not override.key_or_group:
                raise HydraException
            if override.key_or_group.partition(".")[0] == "hydra":
                raise UserError(f"{override.key_or_group}: unknown key")
        except HydraException:
            raise UserError(f"{line}: expected key=value") from None
        key, value = override.key_or_group, override.value()
        if key == "experiment" and str(value).endswith((".yaml", ".yml")):
            experiments.append(Path(str(value)))
            continue
        if key in groups:
            options = {file.stem for file in (CONF / key).glob("*.yaml")}
            if not isinstance(value, str) or value not in options:
                raise UserError(f"{key}: {value}: {nearest(str(value), options)}")
        lines.append(line if key in groups or line[0] in "+~" else f"++{line}")
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"), TemporaryDirectory() as folder:
            if experiments:
                _lay_out(experiments[-1], Path(folder), groups)
                lines += [f"hydra.searchpath=['file://{folder}']", f"experiment={LAID_OUT}"]
            config = hydra_compose(command, overrides=lines)
        node = OmegaConf.to_container(config, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(str(error).strip().splitlines()[0]) from None
    assert isinstance(node, dict)
    return {str(key): value for key, value in node.items() if key != "experiment"}


def _parse_override(line: str) -> tuple[str, Override]:
    """Parses ``key=value``; what Hydra can't take for a value, such as some paths, is a text."""
    parser = OverridesParser.create()
    try:
        return line, parser.parse_override(line)
    except HydraException:
        key, equals, value = line.partition("=")
        if not value or "'" in value or value[0] in '[{"':
            raise
        quoted = f"{key}{equals}'{value}'"
        return quoted, parser.parse_override(quoted)


def _lay_out(file: Path, folder: Path, groups: set[str]) -> None:
    """Makes a folder of groups of a file, so that Hydra can compose it like those in ``conf/``.

    Args:
        file: an experiment, or the whole config of a run: each of its groups then replaces ours.
        folder: that is filled.
        groups: that there are.
    """
    try:
        text = file.read_text()
        node = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or _one_line(error)
        raise UserError(f"experiment: {file}: can't be read ({reason}): expected YAML") from None
    if not isinstance(node, dict):
        raise UserError(f"experiment: {file}: expected keys and values, as in conf/experiment/")
    if "defaults" not in node:
        chosen = [group for group in node if group in groups]
        for group in chosen:
            (folder / group).mkdir()
            (folder / group / f"{LAID_OUT}.yaml").write_text(
                yaml.safe_dump(node[group], sort_keys=False)  # transforms are in their order
            )
        rest = {key: value for key, value in node.items() if key not in groups}
        defaults = [{f"override /{group}": LAID_OUT} for group in chosen]
        text = "# @package _global_\n" + yaml.safe_dump({"defaults": defaults, **rest})
    (folder / "experiment").mkdir()
    (folder / "experiment" / f"{LAID_OUT}.yaml").write_text(text)


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
    source = _find(config.data, "data", _is_source)
    config.data = _check_call("data", config.data, source, DataModule)
    config.model = _check_call("model", config.model, _find(config.model, "model", _is_a(Model)))
    for name, transform in config.augment.items():
        path = f"augment.{name}"
        found = _find(transform, path, _is_a(albumentations.BasicTransform))
        config.augment[name] = _check_call(path, transform, found)
    optimizer = _find(config.optimizer, "optimizer", _is_a(Optimizer))
    config.optimizer = _check_call("optimizer", config.optimizer, optimizer)
    scheduler = _find(config.scheduler, "scheduler", _is_scheduler)
    config.scheduler = _check_call("scheduler", config.scheduler, scheduler)
    penalty = {"_target_": _name(Penalty)} | config.penalty
    config.penalty = _check_call("penalty", penalty, _find(penalty, "penalty", _is_a(Penalty)))
    return config


def build_data(config: Config, like: tuple[Config, DataModule] | None = None) -> DataModule:
    """Reads and cuts the data; downloads them first if need be.

    Args:
        config: of the run.
        like: another config and its data, which are not read again if they are the same samples.
    """
    if like is not None and _samples(like[0]) == _samples(config):
        settings = {name: config.data[name] for name in SERVING}
        return like[1].serve(**settings, augment=build_augment(config), seed=config.seed)
    source = _find(config.data, "data", _is_source)
    arguments = _arguments("data", config.data, source, DataModule)
    source_names = inspect.signature(source).parameters
    read = partial(source, **{k: v for k, v in arguments.items() if k in source_names})
    settings = {k: v for k, v in arguments.items() if k not in source_names}
    return DataModule(read, **settings, augment=build_augment(config), seed=config.seed)


def _samples(config: Config) -> Node:
    """What decides which samples there are, and in which split."""
    return {key: value for key, value in config.data.items() if key not in SERVING}


def build_augment(config: Config) -> Augment | None:
    """The transforms of the config, in its order; None where it has none."""
    transforms = [
        _call(f"augment.{name}", node, _is_a(albumentations.BasicTransform))
        for name, node in config.augment.items()
    ]
    return Augment(transforms, config.seed) if transforms else None


def build_model(config: Config, spec: Spec) -> Model:
    """The untrained model, ready to be trained; its weights are drawn from torch's global seed."""
    model: Model = _call("model", config.model, _is_a(Model), spec)
    optimizer = _find(config.optimizer, "optimizer", _is_a(Optimizer))
    scheduler = _find(config.scheduler, "scheduler", _is_scheduler)
    recipe = Recipe(
        optimizer=partial(optimizer, **_arguments("optimizer", config.optimizer, optimizer)),
        scheduler=partial(scheduler, **_arguments("scheduler", config.scheduler, scheduler)),
        penalty=Penalty(**_arguments("penalty", config.penalty, Penalty)),
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
        raise UserError(f"optimizer: {config.optimizer}: {_one_line(error)}") from None
    return model


def _call(path: str, node: Node, fits: Callable[[Any], bool], *first: Any) -> Any:
    target = _find(node, path, fits)
    try:
        return target(*first, **_arguments(path, node, target))
    except (ValueError, TypeError, NotImplementedError, RuntimeError, MemoryError) as error:
        raise UserError(f"{path}: {node['_target_']}: {_one_line(error)}") from None


def _find(node: Node, path: str, fits: Callable[[Any], bool]) -> Any:
    """Imports what ``_target_`` names, if it is allowed and of the kind that the path calls for."""
    target = node.get("_target_")
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


def _is_a(kind: type) -> Callable[[Any], bool]:
    return lambda found: isinstance(found, type) and issubclass(found, kind)


def _is_source(found: Any) -> bool:
    return inspect.isfunction(found) and found.__annotations__.get("return") is Source


def _is_scheduler(found: Any) -> bool:
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


def _arguments(path: str, node: Node, *functions: Callable[..., Any]) -> dict[str, Any]:
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


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, node
