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
                return getattr(importlib.import_module(module), attribute)
            other = _read_module(module)
            return Opaque() if other is None else other[attribute]
        node = self.nodes[name]
        if isinstance(node, ast.ClassDef):
            if "pydantic.BaseModel" in _kinds(self, node):
                return getattr(importlib.import_module(self.name), name)
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
    """One parameter of a function, or one field of a class; evaluated when it is looked at.

    Args:
        module: Module whose names the expressions use.
        node: The parameter with its annotation.
        value: Default value; None if it has none.
        description: Text of the docstring's ``Args`` or ``Attributes`` section.
    """

    def __init__(
        self,
        module: "_Module",
        node: ast.arg | ast.AnnAssign,
        value: ast.expr | None,
        description: str,
    ) -> None:
        self.description = description
        self._module = module
        self._node = node
        self._value = value

    @cached_property
    def annotation(self) -> Any:
        """Type of the parameter; ``Opaque`` if it can't be checked."""
        return self._module.evaluate(self._node.annotation)

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
    if isinstance(node, ast.FunctionDef):
        returned = module.qualify(node.returns) if node.returns else ""
        doc = ast.get_docstring(node) or ""
        fields = dict(_parameters(module, node, doc))
        return Signature(target, _summary(doc), fields, frozenset({returned}))
    if not isinstance(node, ast.ClassDef):
        return None
    doc = ast.get_docstring(node) or ""
    constructor = _constructor(module, node)
    fields = dict(_parameters(*constructor, doc) if constructor else _fields(module, node, doc))
    return Signature(target, _summary(doc), fields, _kinds(module, node))


def _constructor(module: _Module, node: ast.ClassDef) -> tuple[_Module, ast.FunctionDef] | None:
    for each in node.body:
        if isinstance(each, ast.FunctionDef) and each.name == "__init__":
            return module, each
    for base in node.bases:
        if (place := _find(module.qualify(base))) and isinstance(place[1], ast.ClassDef):
            return _constructor(place[0], place[1])
    return None


def _parameters(
    module: _Module, node: ast.FunctionDef, doc: str
) -> Iterator[tuple[str, Parameter]]:
    described = _descriptions(doc)
    positional = [*node.args.posonlyargs, *node.args.args]
    padding: list[ast.expr | None] = [None] * (len(positional) - len(node.args.defaults))
    pairs = [
        *zip(positional, [*padding, *node.args.defaults], strict=True),
        *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True),
    ]
    for argument, default in pairs:
        if argument.arg not in ("self", "cls"):
            description = described.get(argument.arg, "")
            yield argument.arg, Parameter(module, argument, default, description)


def _fields(module: _Module, node: ast.ClassDef, doc: str) -> Iterator[tuple[str, Parameter]]:
    described = _descriptions(doc)
    for each in node.body:
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            name = each.target.id
            yield name, Parameter(module, each, each.value, described.get(name, ""))


def _summary(doc: str) -> str:
    return " ".join(doc.partition("\n\n")[0].split())


def _descriptions(doc: str) -> dict[str, str]:
    """Descriptions by name of a Google docstring's ``Args`` or ``Attributes`` section."""
    described: dict[str, str] = {}
    for section in re.findall(r"^(?:Args|Attributes):\n((?:[ ]{4}.*\n?|\n)+)", doc, re.M):
        for name, text in re.findall(r"^ {4}(\w+): ((?:.|\n {5,})*)", section, re.M):
            described.setdefault(name, " ".join(text.split()))
    return described
