"""Reads a comparison from YAML: what is asked, which variants are trained, what is claimed."""

import hashlib
import importlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, Field

from project import ROOT
from project.compare.analysis import Analysis
from project.compare.claims import Claim, parse_claim
from project.config.build import build_data
from project.config.check import Config, check
from project.config.compose import CONF, compose
from project.config.names import name_of
from project.config.schema import STRICT, validate
from project.core.errors import UserError, nearest
from project.core.types import Count, Seed
from project.models.tasks import Task
from project.tracking.lineage import source_hash
from project.training.devices import make_model

LESSONS = ROOT / "lessons"
MAX_NAME = 100  # letters of a comparison's name, which names files too


class LessonFile(BaseModel):
    """What a file in ``lessons/`` says.

    Attributes:
        title: of the report.
        question: that the comparison is to answer.
        base: overrides of all variants.
        variants: overrides of each, by name.
        grid: values by key: each combination is a variant too.
        for_data: further overrides of variants, by data set: where a network's size depends on it.
        seeds: how many (1, 2, ...), or which.
        measure: metrics of the runs, as MLflow names them, and those that the lesson adds.
        final: open the test set, once for each variant and split; a list names the variants.
        claims: such as ``val/accuracy: cnn > mlp``.
        text: what the figures show and why, for the report.
    """

    model_config = STRICT

    title: str
    question: str
    base: list[str] = []
    variants: dict[str, list[str]] = {}
    grid: dict[str, list[Any]] = {}
    for_data: dict[str, dict[str, list[str]]] = {}
    seeds: Count | list[Seed]
    measure: Annotated[list[str], Field(min_length=1)]
    final: bool | list[str] = False
    claims: list[str] = []
    text: str = ""

    def opens_test(self, variant: str) -> bool:
        """Whether the test set is opened for a variant."""
        return self.final if isinstance(self.final, bool) else variant in self.final


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML, but for a key that is there twice, of which plain YAML takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"'{key}' is there twice")
        made: dict[Any, Any] = super().construct_mapping(node, deep)
        return made


class CompareSettings(BaseModel):
    """How a comparison is done.

    Attributes:
        seeds: how many, or which; None is as the lesson says.
        workers: processes; ``auto`` takes what the machine serves well.
    """

    model_config = STRICT

    seeds: Count | list[Seed] | None = None
    workers: Literal["auto"] | Count = "auto"


@dataclass(frozen=True)
class Planned:
    """One run of a comparison.

    Attributes:
        variant: name.
        seed: of the run.
        config: of the run.
        key: hash of all that decides its numbers; a run that has it needn't be done again.
    """

    variant: str
    seed: int
    config: Config
    key: str


@dataclass(frozen=True)
class Lesson:
    """A comparison that has been checked.

    Attributes:
        name: of its parent run and its report.
        file: what its YAML says.
        settings: how it is done.
        claims: parsed.
        runs: seed by seed, variant by variant.
        analysis: the module that adds metrics and figures.
        base: overrides of all variants, those of the command line included.
        changes: overrides of each variant.
    """

    name: str
    file: LessonFile
    settings: CompareSettings
    claims: tuple[Claim, ...]
    runs: tuple[Planned, ...]
    analysis: Analysis
    base: tuple[str, ...]
    changes: Mapping[str, Sequence[str]]

    @property
    def variants(self) -> list[str]:
        """Their names, in order."""
        return list(dict.fromkeys(run.variant for run in self.runs))

    @property
    def seeds(self) -> list[int]:
        """Of each variant."""
        return list(dict.fromkeys(run.seed for run in self.runs))


def read_lesson(name: str, overrides: Sequence[str] = ()) -> Lesson:
    """Reads, composes and checks everything that will be trained.

    Args:
        name: of a file in ``lessons/``, or the path of one.
        overrides: of the command line; they precede those of the variants.

    Raises:
        UserError: something doesn't fit.
    """
    path = _find_file(name)
    file = validate(f"lesson {name}", LessonFile, _load(path))
    base = _merge(file.base, overrides)
    node = compose("compare", base)
    settings = validate("compare", CompareSettings, node["compare"])
    seeds = settings.seeds if settings.seeds is not None else file.seeds
    if isinstance(seeds, int):
        seeds = list(range(1, seeds + 1))
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"seeds: {seeds}: expected one or more, each once")
    variants = _read_variants(file, name_of(node["data"]))
    analysis = _find_analysis(path)
    claims = tuple(parse_claim(text, list(variants), file.measure) for text in file.claims)
    runs, known = _plan(base, variants, seeds, file, analysis)
    for metric in file.measure:
        if file.measure.count(metric) > 1:
            raise UserError(f"measure: {metric}: it is there twice: expected it once")
        names = set().union(*known.values(), analysis.measures)
        if metric not in names:
            raise UserError(f"measure: {metric}: {nearest(metric, names)}")
    for claim in claims:
        for variant in claim.variants:
            if claim.metric not in known[variant] | set(analysis.measures):
                raise UserError(f"claims: {claim.text}: {variant} has no {claim.metric}")
    name = _name(path, [line for line in overrides if not line.startswith("compare.")])
    return Lesson(name, file, settings, claims, tuple(runs), analysis, tuple(base), variants)


def _find_file(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    options = {file.parent.name for file in LESSONS.glob("*/lesson.yaml")}
    if name not in options:
        raise UserError(f"lesson: {name}: {nearest(name, options)}, or the path of a .yaml file")
    return LESSONS / name / "lesson.yaml"


def _load(path: Path) -> dict[str, Any]:
    try:
        node = yaml.load(path.read_text(), _Loader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join((getattr(error, "strerror", None) or str(error)).split())
        raise UserError(f"lesson: {path}: can't be read ({reason}): expected YAML") from None
    if not isinstance(node, dict):
        raise UserError(f"lesson: {path}: expected keys and values, as in lessons/")
    return node


def _read_variants(file: LessonFile, data: str) -> dict[str, list[str]]:
    """The overrides of each variant."""
    variants: dict[str, list[str]] = {}
    for name, lines in _variants(file, data):
        if not name or set(name) & set("<>:"):
            raise UserError(f"variants: {name!r}: expected a name without '<', '>' and ':'")
        if name in variants:
            raise UserError(f"grid: {name}: there is a variant of that name already")
        for line in lines:
            if line.partition("=")[0].lstrip("+") == "seed" or line.startswith("compare."):
                raise UserError(f"variants: {name}: {line}: it is the same for all variants")
        variants[name] = lines
    if not variants:
        raise UserError("variants: there are none: expected names and their overrides, or a grid")
    named = [each for lines in file.for_data.values() for each in lines]
    for key, names in (
        ("for_data", named),
        ("final", file.final if isinstance(file.final, list) else []),
    ):
        for name in names:
            if name not in variants:
                raise UserError(f"{key}: {name}: {nearest(name, variants)}")
    for name in file.for_data:
        options = {each.stem for each in (CONF / "data").glob("*.yaml")}
        if name not in options:
            raise UserError(f"for_data: {name}: {nearest(name, options)}")
    return variants


def _variants(file: LessonFile, data: str) -> Iterator[tuple[str, list[str]]]:
    """Each variant's name and overrides."""
    for name, lines in file.variants.items():
        yield name, [*lines, *file.for_data.get(data, {}).get(name, [])]
    for values in product(*file.grid.values()) if file.grid else ():
        texts = [v if isinstance(v, str) else json.dumps(v) for v in values]
        name = ", ".join(
            f"{key.rpartition('.')[2]}={text}" for key, text in zip(file.grid, texts, strict=True)
        )
        yield name, [f"{key}={text}" for key, text in zip(file.grid, texts, strict=True)]


def _plan(
    base: Sequence[str],
    variants: Mapping[str, list[str]],
    seeds: Sequence[int],
    file: LessonFile,
    analysis: Analysis,
) -> tuple[list[Planned], dict[str, set[str]]]:
    """The runs of all seeds and variants, and the metrics that each variant has."""
    runs, known = [], dict[str, set[str]]()
    same: dict[str, str] = {}
    for seed in seeds:
        for name, lines in variants.items():
            try:
                node = compose("compare", _merge(base, lines, [f"seed={seed}"]))
                node.pop("compare")
                config = check(node)
                data = build_data(config)
                if name not in known:
                    model = make_model(config, data)
                    if not analysis.fits(model):
                        given = f"{name_of(config.model)} on {name_of(config.data)}"
                        raise UserError(f"model: {given}: this lesson looks into {analysis.needs}")
                    known[name] = _metrics(model.task, file.opens_test(name))
            except UserError as error:
                raise UserError(f"variant {name}: {error}") from None
            whole = json.dumps(config.model_dump(), sort_keys=True)
            if same.setdefault(whole, name) != name:
                raise UserError(f"variants: {name}: it is the same as {same[whole]}")
            parts = (whole, data.fingerprint, source_hash())
            key = hashlib.sha256("".join(parts).encode()).hexdigest()
            runs.append(Planned(name, seed, config, key))
    return runs, known


def _metrics(task: Task, final: bool) -> set[str]:
    """Names of the metrics of a run, as MLflow has them."""
    names = {"loss", *map(str, task.metrics().keys())}
    found = {f"{part}/{name}" for part in ("val", "best") for name in names}
    found |= {f"train/{name}" for name in names - {"loss"}} | {"train/loss_epoch", "gap/loss"}
    found |= {f"gap/{name}" for name in task.gap}
    return found | ({f"test/{name}" for name in names} if final else set())


def _merge(*parts: Sequence[str]) -> list[str]:
    """Overrides of which a later one replaces an earlier one of the same key."""
    merged: dict[str, str] = {}
    for line in (line for part in parts for line in part):
        key = line.partition("=")[0].lstrip("+")
        merged.pop(key, None)
        merged[key] = line
    return list(merged.values())


def _find_analysis(path: Path) -> Analysis:
    """The module of a shipped lesson; of a user's own, one that adds nothing."""
    if path.resolve().parent.parent != LESSONS or not (path.parent / "analysis.py").exists():
        return Analysis()
    found = importlib.import_module(f"lessons.{path.parent.name}.analysis").ANALYSIS
    assert isinstance(found, Analysis)
    return found


def _name(path: Path, overrides: Sequence[str]) -> str:
    """Of a comparison, for its parent run and report: no other has it."""
    where = path.resolve()
    is_shipped = where.parent.parent == LESSONS
    stem = where.parent.name if is_shipped else path.stem
    parts = [_slug(stem), *(_slug(line) for line in sorted(overrides))]
    if not is_shipped:  # else two files of one name were one comparison
        inside = where.relative_to(ROOT) if where.is_relative_to(ROOT) else where
        parts.insert(1, _short_hash(str(inside)))
    name = "-".join(parts)
    return name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}-{_short_hash(name)}"


def _short_hash(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:6]


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() or c in "._=," else "_" for c in text)
