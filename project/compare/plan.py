"""Reads a comparison from YAML, and checks all of it that needs neither data nor a model."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from project.compare.claims import Claim, parse_claim
from project.compare.file import (
    ComparisonFile,
    find_analysis,
    find_file,
    name_comparison,
    read_file,
)
from project.config.check import Config, check, name_of
from project.config.compose import CONF, compose, compose_seeds
from project.config.schema import STRICT, validate
from project.core.errors import UserError, nearest
from project.core.types import Count, Seed

RunKey = tuple[str, int]  # variant and seed


class CompareSettings(BaseModel):
    """How a comparison is run.

    Attributes:
        seeds: Number of seeds or a list of seeds; null uses those of the comparison's file.
        workers: Number of worker processes; ``auto`` uses one per group of GPUs, or per core.
    """

    model_config = STRICT

    seeds: Count | list[Seed] | None = None
    workers: Literal["auto"] | Count = "auto"


@dataclass(frozen=True)
class Plan:
    """A comparison with the checked config of every run.

    Attributes:
        name: Name of the parent run and of the report.
        file: Contents of the YAML file.
        analysis: Python file of the analysis; None if there is none.
        settings: How the comparison is run.
        claims: Parsed claims.
        base: Overrides of all variants, including those of the command line.
        changes: Overrides of each variant.
        configs: Config of each run, by variant and seed, in the order of training.
    """

    name: str
    file: ComparisonFile
    analysis: Path | None
    settings: CompareSettings
    claims: tuple[Claim, ...]
    base: tuple[str, ...]
    changes: Mapping[str, Sequence[str]]
    configs: Mapping[RunKey, Config]

    @property
    def variants(self) -> list[str]:
        """Names of the variants, in order."""
        return list(self.changes)

    @property
    def seeds(self) -> list[int]:
        """Seeds of each variant, in order."""
        return list(dict.fromkeys(seed for _, seed in self.configs))


def read_plan(overrides: Sequence[str], lesson: str) -> dict[str, Plan]:
    """Reads a comparison, and composes and checks the configs of its runs.

    Args:
        overrides: Overrides of the command line; those of the variants come after them.
        lesson: Name of a lesson, or path of a .yaml file with a comparison of your own.

    Raises:
        UserError: The file or an override is wrong.
    """
    path = find_file(lesson)
    file = read_file(path)
    base = _merge(file.base, overrides)
    node = compose("compare", base)
    settings = validate("compare", CompareSettings, node["compare"])
    seeds = file.seeds if settings.seeds is None else settings.seeds
    if isinstance(seeds, int):
        seeds = list(range(1, seeds + 1))
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"seeds: {seeds}: expected one or more, each listed once")
    for metric in file.measure:
        if file.measure.count(metric) > 1:
            raise UserError(f"measure: {metric}: is listed twice: expected each metric once")
    changes = _read_variants(file, name_of(node["data"]))
    claims = tuple(parse_claim(text, list(changes), file.measure) for text in file.claims)
    plan = Plan(
        name=name_comparison(path, [line for line in overrides if not line.startswith("compare.")]),
        file=file,
        analysis=find_analysis(path, file.analysis),
        settings=settings,
        claims=claims,
        base=tuple(base),
        changes=changes,
        configs=_read_configs(base, changes, seeds),
    )
    return {"plan": plan}


def _read_variants(file: ComparisonFile, data: str) -> dict[str, list[str]]:
    """The overrides of each variant on a data set."""
    changes: dict[str, list[str]] = {}
    for name, lines in _variants(file, data):
        if not name or set(name) & set("<>:"):
            raise UserError(f"variants: {name!r}: expected a name without '<', '>' and ':'")
        if name in changes:
            raise UserError(f"grid: {name}: there is a variant of that name already")
        for line in lines:
            if line.partition("=")[0].lstrip("+") == "seed" or line.startswith("compare."):
                raise UserError(
                    f"variants: {name}: {line}: expected a key that may differ between variants"
                )
        changes[name] = lines
    if not changes:
        raise UserError("variants: there are none: expected names and their overrides, or a grid")
    final = file.final if isinstance(file.final, list) else []
    data_sets = {each.stem for each in (CONF / "data").glob("*.yaml")}
    for key, names, known in (
        ("for_data", file.for_data, data_sets),
        ("for_data", [name for each in file.for_data.values() for name in each], changes),
        ("final", final, changes),
    ):
        for name in names:
            if name not in known:
                raise UserError(f"{key}: {name}: {nearest(name, known)}")
    return changes


def _variants(file: ComparisonFile, data: str) -> Iterator[tuple[str, list[str]]]:
    """Name and overrides of each variant."""
    for name, lines in file.variants.items():
        yield name, [*lines, *file.for_data.get(data, {}).get(name, [])]
    for values in product(*file.grid.values()) if file.grid else ():
        texts = [value if isinstance(value, str) else json.dumps(value) for value in values]
        pairs = list(zip(file.grid, texts, strict=True))
        name = ", ".join(f"{key.rpartition('.')[2]}={text}" for key, text in pairs)
        yield name, [f"{key}={text}" for key, text in pairs]


def _read_configs(
    base: Sequence[str], changes: Mapping[str, Sequence[str]], seeds: Sequence[int]
) -> dict[RunKey, Config]:
    """The checked config of each run, seed by seed, so that first results come early."""
    by_variant: dict[str, list[Config]] = {}
    for variant, lines in changes.items():
        try:
            nodes = compose_seeds("compare", _merge(base, lines), seeds)
            configs = [check({k: v for k, v in node.items() if k != "compare"}) for node in nodes]
        except UserError as error:
            raise UserError(f"variant {variant}: {error}") from None
        for other, known in by_variant.items():
            if configs == known:
                raise UserError(f"variants: {variant}: equals {other}: expected distinct variants")
        by_variant[variant] = configs
    return {
        (variant, seed): configs[place]
        for place, seed in enumerate(seeds)
        for variant, configs in by_variant.items()
    }


def _merge(*parts: Sequence[str]) -> list[str]:
    """Joins overrides; a later one replaces an earlier one of the same key."""
    merged: dict[str, str] = {}
    for line in (line for part in parts for line in part):
        key = line.partition("=")[0].lstrip("+")
        merged.pop(key, None)
        merged[key] = line
    return list(merged.values())
