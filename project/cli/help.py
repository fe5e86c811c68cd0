"""Help, generated from signatures, docstrings and ``conf/``; nothing heavy is imported for it."""

import re
import shutil
import textwrap
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from rich.console import Console
from rich.table import Table

from project import ROOT
from project.cli.commands import COMMANDS
from project.config.signatures import REQUIRED, Parameter, read_signature
from project.core.types import ModelId, RunId

CONF = ROOT / "conf"
RUN_TIME = ("read", "augment", "spec", "optimizer", "num_steps")  # never given by a config
NAMES = {RunId: "run", ModelId: "run or model", str: "text", bool: "true|false"}
BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
WIDTH = 100  # columns at most
Row = tuple[str, str, str, str]  # key, type and range, default, description


def list_commands() -> str:
    """All commands with their purposes."""
    rows = [(name, each.signature.summary) for name, each in COMMANDS.items()]
    return f"python -m project <command> [key=value ...] [--json] [--help]\n\n{_lay_out(rows)}"


def describe(name: str, words: Sequence[str]) -> str:
    """Help of one command; its config keys are those of the options that the words choose."""
    command = COMMANDS[name]
    parts = [f"python -m project {name} [key=value ...] [--json]", command.signature.summary]
    if command.parameters:
        rows = [_row(key, each) for key, each in command.parameters.items()]
        parts.append(f"Arguments:\n{_lay_out(rows)}")
    if command.reader:
        chosen = _choose_options(words)
        options = " ".join(f"{group}={option}" for group, option in chosen.items())
        groups = [(each, ", ".join(_options(each))) for each in sorted(_options("."))]
        keys = [*_config_keys(chosen), *_rows(name, command.settings)]
        parts.append(textwrap.fill(f"Config keys with {options}:", WIDTH) + f"\n{_lay_out(keys)}")
        parts.append(f"Groups and their options:\n{_lay_out(groups)}")
    parts.append(f"Example:\n  python -m project {name} {command.example}")
    return "\n\n".join(parts)


def _options(group: str) -> list[str]:
    """The options of a group; the groups themselves for ``.``."""
    pattern = "*/" if group == "." else "*.yaml"
    return sorted(path.stem for path in (CONF / group).glob(pattern))


def _choose_options(words: Sequence[str]) -> dict[str, str]:
    """The option of each group: from the words, else the data set's choice, else the default."""
    defaults = [each for each in _read_yaml("train")["defaults"] if isinstance(each, dict)]
    chosen = {k: v for each in defaults for k, v in each.items() if v in _options(k)}
    pairs = (word.split("=", 1) for word in words if "=" in word)
    picked = {key: value for key, value in pairs if value in _options(key)}
    for each in _read_yaml(f"data/{picked.get('data', chosen['data'])}").get("defaults", []):
        for key, option in each.items():  # such as `override /model@_global_.model: linear`
            if match := re.match(r"override /(\w+)@", key):
                chosen[match[1]] = option
    return chosen | picked


def _config_keys(chosen: Mapping[str, str]) -> Iterator[Row]:
    yield _row("seed", read_fields("project.config.check.Config")["seed"])
    values = _read_yaml("train") | {
        group: _read_yaml(f"{group}/{chosen[group]}") for group in chosen
    }
    for group in chosen:
        if group == "data":
            yield from _rows("data", "project.data.module.DataModule", values["data"], "seed")
            yield from _rows("data.splits", "project.data.ratios.Splits")
        if target := values[group].get("_target_"):
            yield from _rows(group, target, values[group])
    yield from _rows("loss", "project.config.check.LossSettings", values.get("loss", {}))
    yield from _rows("trainer", "project.config.check.TrainerSettings", values["trainer"])


def _rows(node: str, target: str, values: Mapping[str, Any] = {}, *hidden: str) -> Iterator[Row]:
    """The arguments of what a node builds; of a library's class those that its YAML names."""
    fields = read_fields(target)
    for key, each in fields.items():
        if key not in (*RUN_TIME, "splits", *hidden):
            yield _row(f"{node}.{key}", each, values.get(key))
    for key in values.keys() - {"_target_", "defaults"} if not fields else ():
        yield f"{node}.{key}", "", str(values[key]), f"See {target}."


def read_fields(target: str) -> Mapping[str, Parameter]:
    """The parameters of a project class or function; none for a library's."""
    signature = read_signature(target)
    return signature.parameters if signature else {}


def _row(key: str, parameter: Parameter, value: Any = None) -> Row:
    value = parameter.default if value is None else value
    default = "required" if value is REQUIRED else "null" if value is None else str(value)
    return key, _type_name(parameter.annotation), default, parameter.description


def _type_name(annotation: Any) -> str:
    """A type and its range, such as ``int >= 1`` or ``onnx|pt2``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in NAMES:
        return NAMES[annotation]
    if origin is Annotated:
        bounds = [
            f"{sign} {getattr(each, name):g}"
            for each in annotation.__metadata__
            for name, sign in BOUNDS.items()
            if hasattr(each, name)
        ]
        return f"{_type_name(arguments[0])} {', '.join(bounds)}".strip()
    if origin is Literal:
        return "|".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join(_type_name(each) for each in arguments if each is not types.NoneType)
    if origin is list:
        return f"list of {_type_name(arguments[0])}"
    return getattr(annotation, "__name__", "")


def _read_yaml(name: str) -> dict[str, Any]:
    node: dict[str, Any] = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8")) or {}
    return node


def _lay_out(rows: Sequence[Sequence[str]]) -> str:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for position, _ in enumerate(rows[0]):
        table.add_column(overflow="fold", no_wrap=position == 0)
    for name, *cells in rows:
        table.add_row(f"  {name}", *cells)
    width = min(WIDTH, shutil.get_terminal_size().columns)
    console = Console(width=width, highlight=False, markup=False, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())
