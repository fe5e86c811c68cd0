"""Reads a comparison from YAML, and checks all of it that needs neither data nor a model."""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from annotated_types import MinLen
from pydantic import BaseModel

from project import ROOT
from project.compare.claims import Claim, parse_claim
from project.config.check import STRICT, Config, check, name_of, validate
from project.config.compose import CONF, compose, compose_seeds
from project.core.errors import UserError, nearest, one_line
from project.core.types import Count, Seed

LESSONS = ROOT / "lessons"
MAX_NAME = 100  # letters; the name of a comparison names files too
RunKey = tuple[str, int]  # variant and seed


class ComparisonFile(BaseModel):
    """A comparison's YAML file."""

    model_config = STRICT

    title: str
    question: str
    analysis: str | None = None  # Python file with further measurements, beside the YAML file
    base: list[str] = []  # overrides of all variants
    variants: dict[str, list[str]] = {}  # overrides of each variant, by name
    grid: dict[str, list[Any]] = {}  # values by key; each combination is a variant
    for_data: dict[str, dict[str, list[str]]] = {}  # further overrides by data set and variant
    seeds: Count | list[Seed]  # number of seeds (1, 2, ...), or a list of seeds
    measure: Annotated[list[str], MinLen(1)]  # names of metrics, of MLflow or of the analysis
    final: bool | list[str] = False  # whether to open the test set; a list names the variants
    claims: list[str] = []
    captions: dict[str, str] = {}  # captions of figures that the analysis draws, by name
    text: str = ""  # explanation for the report; an empty line separates paragraphs

    def opens_test(self, variant: str) -> bool:
        """Whether the test set is opened for a variant, once per split."""
        return self.final if isinstance(self.final, bool) else variant in self.final


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
    """A comparison with the checked config of every run."""

    name: str  # of the parent run and of the report
    kind: Literal["lessons", "comparisons"]  # of the MLflow experiment
    file: ComparisonFile
    analysis: Path | None
    settings: CompareSettings
    claims: tuple[Claim, ...]
    base: tuple[str, ...]  # overrides of all variants, including those of the command line
    variants: Mapping[str, Sequence[str]]  # overrides of each variant, by name
    seeds: Sequence[int]
    configs: Mapping[RunKey, Config]  # in the order of training


def read_plan(overrides: Sequence[str], lesson: str) -> dict[str, Plan]:
    """Reads a comparison, and composes and checks the configs of its runs.

    Args:
        overrides: Overrides of the command line; those of the variants come after them.
        lesson: Name of a lesson, or path of a .yaml file with a comparison of your own.

    Raises:
        UserError: The file or an override is wrong.
    """
    path = _find_file(lesson)
    file = _read_file(path)
    base = _merge(*file.base, *overrides)
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
    variants = _read_variants(file, name_of(node["data"]))
    plan = Plan(
        name=_name(path, [line for line in overrides if not line.startswith("compare.")]),
        kind="lessons" if path.resolve().parent.parent == LESSONS else "comparisons",
        file=file,
        analysis=None if file.analysis is None else _find_analysis(path, file.analysis),
        settings=settings,
        claims=tuple(parse_claim(text, list(variants), file.measure) for text in file.claims),
        base=tuple(base),
        variants=variants,
        seeds=seeds,
        configs=_read_configs(base, variants, seeds),
    )
    return {"plan": plan}


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML that rejects a repeated key, of which plain YAML silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"'{key}' is there twice")
        return dict(super().construct_mapping(node, deep))


def _find_file(lesson: str) -> Path:
    """The YAML file of a lesson, or of a comparison named by its path."""
    if lesson.endswith((".yaml", ".yml")):
        return Path(lesson)
    options = {file.parent.name: file for file in LESSONS.glob("*/lesson.yaml")}
    if lesson not in options:
        hint = f"{nearest(lesson, options)}, or the path of a .yaml file"
        raise UserError(f"lesson: {lesson}: {hint}")
    return options[lesson]


def _read_file(path: Path) -> ComparisonFile:
    try:
        node = yaml.load(path.read_text(), _Loader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise UserError(f"lesson: {path}: can't be read ({reason}): expected YAML") from None
    if not isinstance(node, dict):
        raise UserError(f"lesson: {path}: expected keys and values, as in lessons/")
    return validate(f"lesson {path}", ComparisonFile, node)


def _find_analysis(path: Path, name: str) -> Path:
    """The file of the analysis, which must be inside the folder of the YAML file."""
    folder = path.resolve().parent
    file = (folder / name.replace("\0", "")).resolve()
    if not file.is_relative_to(folder) or file.suffix != ".py":
        raise UserError(f"analysis: {name}: expected a .py file inside {folder}")
    if not file.is_file():
        raise UserError(f"analysis: {name}: there is no such file in {folder}")
    return file


def _name(path: Path, overrides: Sequence[str]) -> str:
    """A name that no other comparison has, for the parent run and the report."""
    file = path.resolve()
    parts = [path.stem, *sorted(overrides)]
    if file.parent.parent == LESSONS:
        parts[0] = file.parent.name
    else:  # files of the same name in two folders are two comparisons
        place = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file
        parts.insert(1, _short_hash(str(place)))
    name = "-".join(re.sub(r"[^\w.=,]", "_", part) for part in parts)
    return name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}-{_short_hash(name)}"


def _short_hash(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:6]


def _read_variants(file: ComparisonFile, data: str) -> dict[str, list[str]]:
    """The overrides of each variant on a data set."""
    listed = [
        (name, [*lines, *file.for_data.get(data, {}).get(name, [])])
        for name, lines in file.variants.items()
    ]
    for values in product(*file.grid.values()) if file.grid else ():
        texts = [each if isinstance(each, str) else json.dumps(each) for each in values]
        pairs = list(zip(file.grid, texts, strict=True))
        name = ", ".join(f"{key.rpartition('.')[2]}={text}" for key, text in pairs)
        listed.append((name, [f"{key}={text}" for key, text in pairs]))
    variants: dict[str, list[str]] = {}
    for name, lines in listed:
        if not name or set(name) & set("<>:"):
            raise UserError(f"variants: {name!r}: expected a name without '<', '>' and ':'")
        if name in variants:
            raise UserError(f"grid: {name}: there is a variant of that name already")
        for line in lines:
            if line.lstrip("+").startswith(("seed=", "compare.")):
                hint = "expected a key that may differ between variants"
                raise UserError(f"variants: {name}: {line}: {hint}")
        variants[name] = lines
    if not variants:
        raise UserError("variants: there are none: expected names and their overrides, or a grid")
    for key, names, known in (
        ("for_data", file.for_data, {each.stem for each in (CONF / "data").glob("*.yaml")}),
        ("for_data", [name for each in file.for_data.values() for name in each], variants),
        ("final", file.final if isinstance(file.final, list) else [], variants),
    ):
        for name in names:
            if name not in known:
                raise UserError(f"{key}: {name}: {nearest(name, known)}")
    return variants


def _read_configs(
    base: Sequence[str], variants: Mapping[str, Sequence[str]], seeds: Sequence[int]
) -> dict[RunKey, Config]:
    """The checked config of each run, seed by seed, so that first results come early."""
    by_variant: dict[str, list[Config]] = {}
    for variant, lines in variants.items():
        try:
            nodes = compose_seeds("compare", _merge(*base, *lines), seeds)
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


def _merge(*overrides: str) -> list[str]:
    """Overrides without those that a later one of the same key replaces."""
    keys = [line.partition("=")[0].lstrip("+") for line in overrides]
    last = {key: place for place, key in enumerate(keys)}
    return [overrides[place] for place in sorted(last.values())]
