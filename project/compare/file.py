"""The YAML file of a comparison: where it is, what it may contain and how it is named."""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, Field

from project import ROOT
from project.config.schema import STRICT, validate
from project.core.errors import UserError, nearest, one_line
from project.core.types import Count, Seed

LESSONS = ROOT / "lessons"
MAX_NAME = 100  # letters; the name of a comparison names files too


class ComparisonFile(BaseModel):
    """A comparison's YAML file.

    Attributes:
        title: Title of the report.
        question: Question behind the comparison, for the report.
        analysis: Python file with further measurements and figures, relative to the YAML file.
        base: Overrides of all variants.
        variants: Overrides of each variant, by name.
        grid: Values by key; each combination is a variant.
        for_data: Further overrides by data set and variant, such as a network's width.
        seeds: Number of seeds (1, 2, ...), or a list of seeds.
        measure: Metric names, of MLflow or of the analysis.
        final: Whether to open the test set, once per variant and split; a list names the variants.
        claims: Claims such as ``val/accuracy: cnn > mlp``.
        text: Explanation for the report; an empty line separates paragraphs.
    """

    model_config = STRICT

    title: str
    question: str
    analysis: str | None = None
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
    """YAML that rejects a repeated key, of which plain YAML silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"'{key}' is there twice")
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def find_file(lesson: str) -> Path:
    """The YAML file of a lesson, or of a comparison named by its path."""
    if lesson.endswith((".yaml", ".yml")):
        return Path(lesson)
    options = {file.parent.name for file in LESSONS.glob("*/lesson.yaml")}
    if lesson not in options:
        raise UserError(
            f"lesson: {lesson}: {nearest(lesson, options)}, or the path of a .yaml file"
        )
    return LESSONS / lesson / "lesson.yaml"


def read_file(path: Path) -> ComparisonFile:
    """Reads and checks a YAML file.

    Raises:
        UserError: The file can't be read, or a key or value is wrong.
    """
    try:
        node = yaml.load(path.read_text(), _Loader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise UserError(f"lesson: {path}: can't be read ({reason}): expected YAML") from None
    if not isinstance(node, dict):
        raise UserError(f"lesson: {path}: expected keys and values, as in lessons/")
    return validate(f"lesson {path}", ComparisonFile, node)


def find_analysis(path: Path, name: str | None) -> Path | None:
    """The file of the analysis, which must be inside the folder of the YAML file."""
    if name is None:
        return None
    folder = path.resolve().parent
    file = (folder / name.replace("\0", "")).resolve()
    if not file.is_relative_to(folder) or file.suffix != ".py":
        raise UserError(f"analysis: {name}: expected a .py file inside {folder}")
    if not file.is_file():
        raise UserError(f"analysis: {name}: there is no such file in {folder}")
    return file


def name_comparison(path: Path, overrides: Sequence[str]) -> str:
    """A name that no other comparison has, for the parent run and the report."""
    file = path.resolve()
    is_shipped = file.parent.parent == LESSONS
    stem = file.parent.name if is_shipped else path.stem
    parts = [_slug(stem), *(_slug(line) for line in sorted(overrides))]
    if not is_shipped:  # files of the same name in two folders are two comparisons
        place = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file
        parts.insert(1, _short_hash(str(place)))
    name = "-".join(parts)
    return name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}-{_short_hash(name)}"


def _short_hash(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:6]


def _slug(text: str) -> str:
    return re.sub(r"[^\w.=,]", "_", text)
