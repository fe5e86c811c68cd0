"""Signatures of the project's classes and functions, read from their source without importing it.

A mistake in a config or on the command line is thus reported before torch is imported. Annotations
are evaluated in the names of their own module; names from libraries other than ``typing`` and
``annotated_types`` stay opaque, and so do the project's classes, except pydantic models.
"""

import ast
import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from project import ROOT

REQUIRED = object()  # default of a parameter that has none
# Parameters that the project passes at run time; the seed of a data source is a config key.
RUN_TIME = ("read", "augment", "spec", "params", "optimizer", "num_steps")
LIGHT = ("typing", "annotated_types", "collections.abc", "pathlib", "project.core.types")


class Opaque:
    """Stands for whatever an annotation names that is not needed to check a value."""

    def __getattr__(self, name: str) -> "Opaque":
        return self

    def __getitem__(self, key: Any) -> "Opaque":
        return self

    def __or__(self, other: Any) -> "Opaque":
        return self

    __ror__ = __or__

    def __call__(self, *args: Any, **kwargs: Any) -> "Opaque":
        """Any call gives the same."""
        return self


@dataclass(frozen=True)
class Signature:
    """A class or function of the project.

    Attributes:
        target: Dotted path.
        summary: First paragraph of the docstring.
        parameters: Parameters by name, without ``self``; the fields of a class without constructor.
        kinds: Dotted paths of a class and all its base classes, or of a function's return type.
    """

    target: str
    summary: str
    parameters: "Mapping[str, Parameter]"
    kinds: frozenset[str]


class _Module:
    """The top-level names of one source file.

    Args:
        name: Dotted path.
        text: Source code.
    """

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.nodes: dict[str, ast.AST] = {}
        self.imports: dict[str, str] = {}
        for node in ast.parse(text).body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                self.nodes[node.name] = node
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self.nodes[node.targets[0].id] = node.value
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                self.nodes[node.target.id] = node.value or ast.Constant(None)
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    self.imports[alias.asname or alias.name] = f"{node.module}.{alias.name}"
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    self.imports[alias.asname or alias.name.partition(".")[0]] = alias.name

    def __getitem__(self, name: str) -> Any:
        """The value of a name, for ``eval``; KeyError leaves it to the builtins."""
        if name in self.imports:
            module, _, attribute = self.imports[name].rpartition(".")
            if module in LIGHT:
                return load(self.imports[name])
            other = _read_module(module)
            return Opaque() if other is None else other[attribute]
        node = self.nodes[name]
        if isinstance(node, ast.ClassDef):
            if "pydantic.BaseModel" in _kinds(self, node):
                return load(f"{self.name}.{name}")
            return Opaque()
        return Opaque() if isinstance(node, ast.FunctionDef) else self.evaluate(node)

    def evaluate(self, node: ast.AST | None) -> Any:
        """The value of an expression in this module's names."""
        if node is None:
            return Opaque()
        expression = ast.Expression(node)  # type: ignore[arg-type]
        return eval(compile(expression, self.name, "eval"), {}, self)  # type: ignore[arg-type]

    def qualify(self, node: ast.AST) -> str:
        """The dotted path that a name or attribute stands for."""
        name = ast.unparse(node).partition("[")[0]
        first, _, rest = name.partition(".")
        path = self.imports.get(first, f"{self.name}.{first}")
        return f"{path}.{rest}" if rest else path


class Parameter:
    """One parameter of a function, or one field of a class; evaluated on access.

    Args:
        module: Module whose names the expressions use.
        annotation: Expression of the type.
        value: Expression of the default; None if there is none.
        description: Text of the docstring's ``Args`` or ``Attributes`` section.
    """

    def __init__(
        self,
        module: "_Module",
        annotation: ast.AST | None,
        value: ast.expr | None,
        description: str,
    ) -> None:
        self.description = description
        self._module, self._annotation, self._value = module, annotation, value

    @cached_property
    def annotation(self) -> Any:
        """Type of the parameter; ``Opaque`` if it can't be checked."""
        return self._module.evaluate(self._annotation)

    @cached_property
    def default(self) -> Any:
        """Default value, or ``REQUIRED``."""
        return REQUIRED if self._value is None else self._module.evaluate(self._value)


@cache
def _read_module(name: str) -> _Module | None:
    if name.partition(".")[0] not in ("project", "lessons") or not re.fullmatch(r"[\w.]+", name):
        return None
    path = ROOT / name.replace(".", "/")
    for file in (path.with_name(f"{path.name}.py"), path / "__init__.py"):
        if file.is_file():
            return _Module(name, file.read_text(encoding="utf-8"))
    return None


def load(target: str) -> Any:
    """Imports what a dotted path names."""
    module, _, name = target.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _find(target: str) -> tuple[_Module, ast.AST] | None:
    name, _, attribute = target.rpartition(".")
    module = _read_module(name)
    return (module, module.nodes[attribute]) if module and attribute in module.nodes else None


def _kinds(module: _Module, node: ast.ClassDef) -> frozenset[str]:
    kinds = {f"{module.name}.{node.name}"}
    for base in node.bases:
        path = module.qualify(base)
        kinds.add(path)
        if (place := _find(path)) and isinstance(place[1], ast.ClassDef):
            kinds |= _kinds(place[0], place[1])
    return frozenset(kinds)


@cache
def read_signature(target: str) -> Signature | None:
    """The signature of a class or function of the project.

    Args:
        target: Dotted path, such as ``project.models.cnn.CNN``.

    Returns:
        Its signature; None if there is no such class or function.
    """
    place = _find(target)
    if place is None:
        return None
    module, node = place
    if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return None
    doc = ast.get_docstring(node) or ""
    if isinstance(node, ast.FunctionDef):
        kinds = frozenset({module.qualify(node.returns)} if node.returns else ())
        home, parts = module, _arguments(node)
    else:
        kinds = _kinds(module, node)
        constructor = _constructor(module, node)
        home, parts = (
            (constructor[0], _arguments(constructor[1])) if constructor else (module, _fields(node))
        )
    described = _descriptions(doc)
    parameters = {
        name: Parameter(home, annotation, value, described.get(name, ""))
        for name, annotation, value in parts
    }
    return Signature(target, " ".join(doc.partition("\n\n")[0].split()), parameters, kinds)


def _constructor(module: _Module, node: ast.ClassDef) -> tuple[_Module, ast.FunctionDef] | None:
    for each in node.body:
        if isinstance(each, ast.FunctionDef) and each.name == "__init__":
            return module, each
    for base in node.bases:
        if (place := _find(module.qualify(base))) and isinstance(place[1], ast.ClassDef):
            return _constructor(place[0], place[1])
    return None


def _arguments(node: ast.FunctionDef) -> Iterator[tuple[str, ast.AST | None, ast.expr | None]]:
    """Name, annotation and default of each parameter."""
    positional = [*node.args.posonlyargs, *node.args.args]
    padding = [None] * (len(positional) - len(node.args.defaults))
    defaults = [*padding, *node.args.defaults, *node.args.kw_defaults]
    for argument, default in zip([*positional, *node.args.kwonlyargs], defaults, strict=True):
        if argument.arg not in ("self", "cls"):
            yield argument.arg, argument.annotation, default


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, ast.AST | None, ast.expr | None]]:
    """Name, annotation and default of each field of a dataclass or pydantic model."""
    for each in node.body:
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            yield each.target.id, each.annotation, each.value


def _descriptions(doc: str) -> dict[str, str]:
    """Descriptions by name of a Google docstring's ``Args`` or ``Attributes`` section."""
    described: dict[str, str] = {}
    for section in re.findall(r"^(?:Args|Attributes):\n((?:[ ]{4}.*\n?|\n)+)", doc, re.M):
        for name, text in re.findall(r"^ {4}(\w+): ((?:.|\n {5,})*)", section, re.M):
            described.setdefault(name, " ".join(text.split()))
    return described
