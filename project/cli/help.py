"""Help, generated from signatures, docstrings and ``conf/``; nothing heavy is imported for it."""

import re
import shutil
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt
from rich.console import Console
from rich.table import Table

from project import ROOT
from project.cli.commands import COMMANDS
from project.config.signatures import REQUIRED, Parameter, read_signature
from project.core.types import ModelId, RunId

CONF = ROOT / "conf"
NAMES = {RunId: "run", ModelId: "model"}
RUN_TIME = ("read", "augment", "spec", "optimizer", "num_steps")
BOUNDS = {Ge: ("ge", ">="), Gt: ("gt", ">"), Le: ("le", "<="), Lt: ("lt", "<")}
Row = tuple[str, str, str, str]  # key, type and range, default, description


def list_commands() -> str:
    """All commands with their purposes."""
    rows = [(name, each.signature.summary) for name, each in COMMANDS.items()]
    head = "python -m project <command> [key=value ...] [--json] [--help]"
    return f"{head}\n\n{_lay_out(rows)}"


def describe(name: str, words: Sequence[str]) -> str:
    """Help of one command; config keys are those of the options that the words choose."""
    command = COMMANDS[name]
    parts = [f"python -m project {name} [key=value ...] [--json]", command.signature.summary]
    if command.parameters:
        rows = [_row(key, each) for key, each in command.parameters.items()]
        parts.append(f"Arguments:\n{_lay_out(rows)}")
    if command.reader:
        chosen = _choose_options(words)
        options = " ".join(f"{group}={option}" for group, option in chosen.items())
        keys = [*_config_keys(chosen), *_settings_keys(name, command.settings)]
        parts.append(f"Config keys with {options}:\n{_lay_out(keys)}")
        parts.append(f"Groups and their options:\n{_lay_out(list(_groups().items()))}")
    parts.append(f"Example:\n  python -m project {name} {command.example}")
    return "\n\n".join(parts)


def _groups() -> dict[str, str]:
    folders = sorted(each for each in CONF.iterdir() if each.is_dir())
    return {
        each.name: ", ".join(sorted(file.stem for file in each.glob("*.yaml"))) for each in folders
    }


def _choose_options(words: Sequence[str]) -> dict[str, str]:
    """The option of each group: of the words, else of the chosen data set, else the default."""
    chosen: dict[str, str] = {}
    for each in _read_yaml("train")["defaults"]:
        if isinstance(each, dict):
            chosen |= {k: v for k, v in each.items() if (CONF / k / f"{v}.yaml").exists()}
    pairs = (word.partition("=") for word in words)
    picked = {k: v for k, _, v in pairs if (CONF / k / f"{v}.yaml").exists()}
    for each in _read_yaml(f"data/{picked.get('data', chosen['data'])}").get("defaults", []):
        for key, option in each.items():
            if match := re.match(r"override /(\w+)@", key):
                chosen[match[1]] = option
    return chosen | picked


def _config_keys(chosen: Mapping[str, str]) -> Iterator[Row]:
    yield _row("seed", _fields("project.config.check.Config")["seed"])
    values = _read_yaml("train")
    for group, option in chosen.items():
        node = values[group] = _read_yaml(f"{group}/{option}")
        if "_target_" in node:
            yield from _node_keys(group, node)
    for name, settings in (("loss", "LossSettings"), ("trainer", "TrainerSettings")):
        for key, each in _fields(f"project.config.check.{settings}").items():
            yield _row(f"{name}.{key}", each, values.get(name, {}).get(key, each.default))


def _settings_keys(name: str, settings: str) -> Iterator[Row]:
    values = _read_yaml(name)[name] if settings else {}
    for key, each in _fields(settings).items() if settings else ():
        yield _row(f"{name}.{key}", each, values.get(key, each.default))


def _node_keys(group: str, node: Mapping[str, Any]) -> Iterator[Row]:
    """The arguments of what a node builds; of a library's class those that its YAML names."""
    fields = {k: v for k, v in _fields(node["_target_"]).items() if k not in RUN_TIME}
    if group == "data":
        loading = _fields("project.data.module.DataModule").items()
        fields |= {k: v for k, v in loading if k not in (*RUN_TIME, "seed", "splits")}
        ratios = _fields("project.data.ratios.Splits")
        fields |= {f"splits.{key}": each for key, each in ratios.items()}
    for key, each in fields.items():
        yield _row(f"{group}.{key}", each, node.get(key, each.default))
    if not fields:
        for key in node.keys() - {"_target_"}:
            yield f"{group}.{key}", "", str(node[key]), f"See {node['_target_']}."


def _fields(target: str) -> Mapping[str, Parameter]:
    signature = read_signature(target)
    return signature.parameters if signature else {}


def _row(key: str, parameter: Parameter, default: Any = None) -> Row:
    value = parameter.default if default is None else default
    shown = "required" if value is REQUIRED else "null" if value is None else str(value)
    return key, _type_name(parameter.annotation), shown, parameter.description


def _type_name(annotation: Any) -> str:
    """A type and its range, such as ``int >= 1`` or ``onnx|pt2``."""
    if annotation in NAMES:
        return NAMES[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = [
            f"{sign} {getattr(each, name):g}"
            for each in annotation.__metadata__
            for kind, (name, sign) in BOUNDS.items()
            if isinstance(each, kind)
        ]
        return f"{_type_name(arguments[0])} {', '.join(bounds)}".strip()
    if origin is Literal:
        return "|".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        parts = [_type_name(each) for each in arguments if each is not types.NoneType]
        return " or ".join(parts)
    if origin in (list, tuple):
        return f"list of {_type_name(arguments[0])}"
    names = {str: "text", bool: "true|false"}
    return names.get(annotation, getattr(annotation, "__name__", ""))


def _read_yaml(name: str) -> dict[str, Any]:
    text = (CONF / f"{name}.yaml").read_text(encoding="utf-8")
    node: dict[str, Any] = yaml.safe_load(text) or {}
    return node


def _lay_out(rows: Sequence[Sequence[str]]) -> str:
    width = min(100, shutil.get_terminal_size().columns)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for position in range(len(rows[0])):
        table.add_column(overflow="fold", no_wrap=position == 0)
    for row in rows:
        table.add_row(*("  " + row[0], *row[1:]), style=None)
    console = Console(width=width, highlight=False, markup=False, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())
