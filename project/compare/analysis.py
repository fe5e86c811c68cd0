"""Measurements and figures that a comparison adds: the interface of its ``analysis.py``."""

import ast
import hashlib
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType

import torch
from matplotlib.figure import Figure

from project import ROOT
from project.config.check import Config
from project.core.errors import UserError, one_line
from project.data.module import DataModule
from project.models.base import Model
from project.reports.run import load_best
from project.tracking.run import Run

NOT_MEASURING = [ROOT / "project" / name for name in ("core", "compare", "figures")]


@dataclass
class Trained:
    """One finished run of a comparison."""

    variant: str
    seed: int
    run: Run
    config: Config
    data: DataModule  # the test split is sealed
    metrics: dict[str, float]  # last value of each metric
    tags: Mapping[str, str]

    @cached_property
    def model(self) -> Model:
        """Model with the weights of the best epoch, in eval mode on the CPU."""
        return load_best(self.run, self.config, self.data.spec)

    @cached_property
    def last_weights(self) -> dict[str, torch.Tensor]:
        """Weights of the last epoch, by name."""
        saved = torch.load(self.run.last_checkpoint, map_location="cpu", weights_only=True)
        return dict(saved["state_dict"])


Runs = Mapping[str, Sequence[Trained]]  # by variant, one per seed
# Name and figure, and a caption, which follows that of the YAML file if there is one.
Drawn = tuple[str, Figure] | tuple[str, Figure, str]


@dataclass(frozen=True)
class Analysis:
    """Measurements and figures that are added to a comparison."""

    measures: tuple[str, ...] = ()  # metrics that ``measure`` returns if they have a value
    measure: Callable[[Trained], Mapping[str, float]] = lambda trained: {}
    figures: Callable[[Runs], Iterator[Drawn]] = lambda runs: iter(())  # no variant without a run
    supports: Callable[[Model], bool] = lambda model: True  # whether a model can be analysed
    needs: str = ""  # requirement that ``supports`` checks, for the error message


def load_analysis(path: Path | None) -> Analysis:
    """``ANALYSIS`` of a Python file, which may import its neighbours; empty without a file."""
    if path is None:
        return Analysis()
    # A package of its own, so that ``from .figures import ...`` works.
    package = ModuleType(f"_analysis_{hashlib.sha256(bytes(path.parent)).hexdigest()[:12]}")
    package.__path__ = [str(path.parent)]
    for name in [each for each in sys.modules if each.partition(".")[0] == package.__name__]:
        del sys.modules[name]  # so that a notebook sees changes of the file
    sys.modules[package.__name__] = package
    try:
        module = importlib.import_module(f"{package.__name__}.{path.stem}")
    except UserError:
        raise
    except Exception as error:  # the user's own code
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise UserError(f"analysis: {path}: can't be imported ({reason})") from None
    analysis = getattr(module, "ANALYSIS", None)
    if not isinstance(analysis, Analysis):
        raise UserError(f"analysis: {path}: expected ANALYSIS = Analysis(...) in it")
    return analysis


def hash_code(path: Path) -> str:
    """SHA-256 of the code that measures: the file, and what it imports from its folder and lessons.

    Modules of ``project`` count if these files import them directly, except NOT_MEASURING.
    """
    digest, waiting, seen = hashlib.sha256(), [path], set[Path]()
    while waiting:
        file = waiting.pop()
        if file in seen or not file.is_file() or any(map(file.is_relative_to, NOT_MEASURING)):
            continue
        seen.add(file)
        digest.update(file.read_bytes())
        if not file.is_relative_to(ROOT / "project"):
            waiting += _imported(file)
    return digest.hexdigest()


def _imported(file: Path) -> Iterator[Path]:
    """Files that a module may import from: of this project, and beside it."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield ROOT / f"{alias.name.replace('.', '/')}.py"
        elif isinstance(node, ast.ImportFrom):
            folder = file.parents[node.level - 1] if node.level else ROOT
            module = folder / (node.module or "").replace(".", "/")
            yield module.with_name(f"{module.name}.py")
            yield from (module / f"{alias.name}.py" for alias in node.names)
