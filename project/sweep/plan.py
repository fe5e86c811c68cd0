"""What a sweep searches and how, read and checked before anything that trains is imported."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from project.config.check import Config, check
from project.config.compose import CONF, compose
from project.config.schema import STRICT, validate
from project.core.errors import UserError
from project.core.types import Count, NonNegativeInt, Positive
from project.sweep.space import Space, parse

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
class SweepPlan:
    """A sweep, checked as far as that needs neither data nor model.

    Attributes:
        config: Config of every trial, apart from the searched values.
        settings: How the search is run.
        space: Searched keys.
        overrides: Overrides of the command line, to print the winner's command.
    """

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
    if settings.study is not None and not re.fullmatch(r"[\w.-]{1,100}", settings.study):
        raise UserError(
            f"sweep.study: {settings.study}: expected letters, digits, '-', '_' and '.'"
        )
    space = parse(tree, config)
    for _ in space.variants(config):  # reports unknown keys before anything is built
        pass
    return {"plan": SweepPlan(config, settings, space, tuple(overrides))}


def make_command(overrides: Sequence[str], config: Config, values: Mapping[str, Any]) -> str:
    """Returns the `make train` command of a setting.

    Args:
        overrides: Overrides of the sweep's command line.
        config: Config of the run.
        values: Searched values by key.
    """
    variables = {"data": "DATA", "model": "MODEL", "experiment": "EXPERIMENT"}
    own = {"data.root": "ROOT", "data.file": "FILE", "data.target": "TARGET"}
    parts, rest = {"SEED": str(config.seed)}, []
    for line in overrides:
        key, _, value = line.partition("=")
        bare = key.lstrip("+~")
        if key in variables:
            parts[variables[key]] = value
        elif key in own:
            parts[own[key]] = shlex.quote(str(config.data[key.removeprefix("data.")]))
        elif bare.split(".")[0] not in ("sweep", "search", "seed") and bare not in values:
            rest.append(line)
    rest += [f"{key}={_to_yaml(value)}" for key, value in values.items()]
    names = (*variables.values(), *own.values(), "SEED")
    chosen = [f"{name}={parts[name]}" for name in names if name in parts]
    text = " ".join(rest)
    quote = "'" if '"' in text else '"'
    return f"make train {' '.join(chosen)} ARGS={quote}{text}{quote}"


def _to_yaml(value: Any) -> str:
    is_nested = isinstance(value, (list, dict))
    return json.dumps(value, separators=(",", ":")).replace('"', "'") if is_nested else str(value)
