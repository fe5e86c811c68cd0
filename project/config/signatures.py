"""Signatures of the project's classes and functions, read from their source without importing it.

A mistake in a config or on the command line is thus reported before torch is imported. Annotations
are evaluated in the names of their own module, as far as these are cheap to import.
"""

import ast
import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from project import ROOT

REQUIRED = ...  # default of a parameter that has none, as in pydantic
# Parameters that the project passes at run time; the seed of a data source is a config key.
RUN_TIME = ("read", "augment", "spec", "params", "optimizer", "num_steps")
LIGHT = ("typing", "annotated_types", "collections.abc", "pathlib", "project.core.types")
Parts = list[tuple[str, ast.AST | None, ast.AST | None]]  # names, annotations and defaults


@dataclass(frozen=True)
class Parameter:
    """One parameter of a function, or one field of a class; evaluated on access."""

    module: "_Module"
    type_node: ast.AST | None
    default_node: ast.AST | None
    description: str

    @cached_property
    def annotation(self) -> Any:
        """Type of the parameter; ``Any`` if it names a class that is not imported here."""
        try:
            return self.module.evaluate(self.type_node) if self.type_node else Any
        except NameError:
            return Any

    @cached_property
    def default(self) -> Any:
        """Default value, or ``REQUIRED``."""
        return self.module.evaluate(self.default_node) if self.default_node else REQUIRED


@dataclass(frozen=True)
class Signature:
    """A class or function of the project."""

    summary: str  # first paragraph of the docstring
    parameters: Mapping[str, Parameter]  # the fields of a class without constructor
    kinds: frozenset[str]  # dotted paths of a class and its bases, or of a return type
    is_class: bool


class _Module:
    """The top-level names of one source file, as a namespace for ``eval``."""

    def __init__(self, name: str, text: str = "") -> None:
        self.name = name
        self.nodes: dict[str, ast.AST] = {}
        self.imports: dict[str, str] = {}
        for node in ast.parse(text).body:
            match node:
                case ast.ClassDef() | ast.FunctionDef():
                    self.nodes[node.name] = node
                case ast.Assign(targets=[target]) | ast.AnnAssign(target=target):
                    self.nodes[ast.unparse(target)] = node.value or ast.Constant(None)
                case ast.Import() | ast.ImportFrom():
                    prefix = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
                    for each in node.names:
                        first = each.asname or each.name.partition(".")[0]
                        self.imports[first] = prefix + each.name

    def __getitem__(self, name: str) -> Any:
        """The value of a name; KeyError leaves it to the builtins."""
        if name in self.imports:
            module, _, attribute = self.imports[name].rpartition(".")
            return load(self.imports[name]) if module in LIGHT else _read_module(module)[attribute]
        node = self.nodes[name]
        if isinstance(node, ast.ClassDef) and "pydantic.BaseModel" in _kinds(self, node):
            return load(f"{self.name}.{name}")
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            raise KeyError(name)
        return self.evaluate(node)

    def evaluate(self, node: ast.AST) -> Any:
        """The value of an expression in this module's names."""
        return eval(ast.unparse(node), {}, self)  # type: ignore[arg-type]

    def qualify(self, node: ast.AST) -> str:
        """The dotted path that a name or attribute stands for."""
        first, dot, rest = ast.unparse(node).partition("[")[0].partition(".")
        return self.imports.get(first, f"{self.name}.{first}") + dot + rest


def load(target: str) -> Any:
    """Imports what a dotted path names."""
    module, _, name = target.rpartition(".")
    return getattr(importlib.import_module(module), name)


@cache
def read_signature(target: str) -> Signature | None:
    """The signature that a dotted path names; None if the project has no such class or function."""
    module, node = _find(target)
    if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return None
    home = module
    if isinstance(node, ast.FunctionDef):
        kinds = frozenset({module.qualify(node.returns)} if node.returns else ())
        parts = _arguments(node)
    else:
        kinds = _kinds(module, node)
        parts = [
            (ast.unparse(each.target), each.annotation, each.value)
            for each in node.body
            if isinstance(each, ast.AnnAssign)
        ]
        for place, each in reversed(list(_lineage(module, node))):
            for part in each.body:
                if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                    home, parts = place, _arguments(part)
    doc = ast.get_docstring(node) or ""
    described = _descriptions(doc)
    parameters = {
        name: Parameter(home, annotation, default, described.get(name, ""))
        for name, annotation, default in parts
    }
    summary = " ".join(doc.partition("\n\n")[0].split())
    return Signature(summary, parameters, kinds, isinstance(node, ast.ClassDef))


def signature_of(target: str) -> Signature:
    """The signature of a class or function that exists in the project."""
    signature = read_signature(target)
    assert signature is not None, target
    return signature


@cache
def _read_module(name: str) -> _Module:
    """A module of the project or of the lessons; an empty one for any other name."""
    path = name.replace(".", "/")
    if re.fullmatch(r"(project|lessons)(/\w+)*", path):
        for file in (ROOT / f"{path}.py", ROOT / path / "__init__.py"):
            if file.is_file():
                return _Module(name, file.read_text(encoding="utf-8"))
    return _Module(name)


def _find(target: str) -> tuple[_Module, ast.AST | None]:
    name, _, attribute = target.rpartition(".")
    module = _read_module(name)
    return module, module.nodes.get(attribute)


def _lineage(module: _Module, node: ast.ClassDef) -> Iterator[tuple[_Module, ast.ClassDef]]:
    """A class and its base classes in the project, each with its module."""
    yield module, node
    for base in node.bases:
        home, parent = _find(module.qualify(base))
        if isinstance(parent, ast.ClassDef):
            yield from _lineage(home, parent)


def _kinds(module: _Module, node: ast.ClassDef) -> frozenset[str]:
    lineage = list(_lineage(module, node))
    bases = {home.qualify(base) for home, each in lineage for base in each.bases}
    return frozenset(bases | {f"{home.name}.{each.name}" for home, each in lineage})


def _arguments(node: ast.FunctionDef) -> Parts:
    positional = [*node.args.posonlyargs, *node.args.args]
    padding = [None] * (len(positional) - len(node.args.defaults))
    defaults = [*padding, *node.args.defaults, *node.args.kw_defaults]
    arguments = zip([*positional, *node.args.kwonlyargs], defaults, strict=True)
    return [
        (each.arg, each.annotation, default) for each, default in arguments if each.arg != "self"
    ]


def _descriptions(doc: str) -> dict[str, str]:
    """Descriptions by name of a Google docstring's ``Args`` or ``Attributes`` section."""
    sections = re.findall(r"^(?:Args|Attributes):\n((?:[ ]{4}.*\n?|\n)+)", doc, re.M)
    entries = re.findall(r"^ {4}(\w+): ((?:.|\n {5,})*)", "\n".join(sections), re.M)
    return {name: " ".join(text.split()) for name, text in entries}
