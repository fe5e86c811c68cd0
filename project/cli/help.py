"""Help, generated from signatures, docstrings and ``conf/``; nothing heavy is imported for it."""

import shutil
import textwrap
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml

from project import ROOT
from project.cli.commands import COMMANDS
from project.config.signatures import REQUIRED, RUN_TIME, Parameter, read_signature
from project.core.errors import UserError, nearest
from project.core.types import BY_NAME, ModelId, RunId

CONF = ROOT / "conf"
NAMES = {RunId: "run", ModelId: "run or model", str: "text", bool: "true | false"}
LIBRARY = {"lr": "Learning rate", "weight_decay": "Weight decay", "momentum": "Momentum"}
BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
WIDTH = 100  # columns at most
Row = tuple[str, str, str, str]  # key, type and range, default, description


def list_commands() -> str:
    """All commands with their purposes."""
    rows = [(name, each.signature.summary) for name, each in COMMANDS.items()]
    return f"python -m project <command> [key=value ...] [--json] [--help]\n\n{_list(rows)}"


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
        parts.append(f"Groups and their options:\n{_list(groups)}")
    parts.append(f"Example:\n  python -m project {name} {command.example}")
    return "\n\n".join(parts)


def _options(group: str) -> list[str]:
    """The options of a group; the groups themselves for ``.``."""
    pattern = "*/*.yaml" if group == "." else "*.yaml"
    files = (CONF / group).glob(pattern)
    return sorted({file.parent.name if group == "." else file.stem for file in files})


def _choose_options(words: Sequence[str]) -> dict[str, str]:
    """The option of each group: from the words, else the data set's choice, else the default."""
    chosen = _defaults("train")
    picked = {}
    for word in words:
        group, _, option = word.partition("=")
        if group not in _options("."):
            continue
        if option not in _options(group):
            raise UserError(f"{group}: {option}: {nearest(option, _options(group))}")
        picked[group] = option
    if "experiment" in picked:
        chosen |= _defaults(f"experiment/{picked['experiment']}")
    data = (chosen | picked)["data"]
    return chosen | _defaults(f"data/{data}") | picked


def _defaults(name: str) -> dict[str, str]:
    """Options that a YAML file chooses, such as ``override /model@_global_.model: linear``."""
    chosen = {}
    for each in _read_yaml(name).get("defaults", []):
        for key, option in each.items() if isinstance(each, dict) else ():
            group = key.partition("@")[0].rpartition("/")[2]
            if option in _options(group):
                chosen[group] = option
    return chosen


def _config_keys(chosen: Mapping[str, str]) -> Iterator[Row]:
    values = _read_yaml("train") | {k: _read_yaml(f"{k}/{option}") for k, option in chosen.items()}
    for key, value in values.get("experiment", {}).items():
        if isinstance(value, dict):
            values[key] = values.get(key, {}) | value
    yield _row("seed", read_fields("project.config.check.Config")["seed"], values["seed"])
    for group in chosen:
        if target := values[group].get("_target_"):
            yield from _rows(group, target, values[group])
        if group == "data":
            yield from _rows("data", "project.data.module.DataModule", values["data"], "seed")
            yield from _rows("data.splits", "project.data.ratios.Splits")
        if group == "augment":
            for name, node in _transforms(chosen["augment"]).items():
                yield from _rows(f"augment.{name}", node["_target_"], node)
    yield from _rows("loss", "project.config.check.LossSettings", values.get("loss", {}))
    yield from _rows("trainer", "project.config.check.TrainerSettings", values["trainer"])


def _transforms(option: str) -> dict[str, Any]:
    """The transforms of an option of ``augment`` and of the options that it includes."""
    node = _read_yaml(f"augment/{option}")
    included = [each for each in node.pop("defaults", []) if each != "_self_"]
    return {k: v for each in included for k, v in _transforms(each).items()} | node


def _rows(node: str, target: str, values: Mapping[str, Any] = {}, *hidden: str) -> Iterator[Row]:
    """The arguments of what a node builds; of a library's class those that its YAML names."""
    fields = read_fields(target)
    for key, each in fields.items():
        if key not in (*RUN_TIME, "splits", *hidden):
            yield _row(f"{node}.{key}", each, values.get(key))
    if read_signature(target) is None and "." in target:
        for key in (key for key in values if key not in ("_target_", "defaults")):
            kind = _type_name(BY_NAME[key]) if key in BY_NAME else ""
            description = f"{LIBRARY.get(key, 'Argument')} of {target}."
            yield f"{node}.{key}", kind, f"default {values[key]}", description


def read_fields(target: str) -> Mapping[str, Parameter]:
    """The parameters of a project class or function; none for a library's."""
    signature = read_signature(target)
    return signature.parameters if signature else {}


def _row(key: str, parameter: Parameter, value: Any = None) -> Row:
    value = parameter.default if value is None else value
    default = "null" if value is None else str(value)
    default = "required" if value is REQUIRED else f"default {default}"
    description = parameter.description.replace("``", "")
    return key, _type_name(parameter.annotation), default, description


def _type_name(annotation: Any) -> str:
    """A type and its range, such as ``int >= 1`` or ``onnx | pt2``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in NAMES:
        return NAMES[annotation]
    if origin is Annotated:
        bounds = [
            f"{sign} {getattr(each, name)}"
            for each in annotation.__metadata__
            for name, sign in BOUNDS.items()
            if hasattr(each, name)
        ]
        return f"{_type_name(arguments[0])} {', '.join(bounds)}".strip()
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        names = ["null" if each is types.NoneType else _type_name(each) for each in arguments]
        return " or ".join(names)
    if origin is list:
        return f"list of {_type_name(arguments[0])}"
    return getattr(annotation, "__name__", "")


def _read_yaml(name: str) -> dict[str, Any]:
    node: dict[str, Any] = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8")) or {}
    return node


def _lay_out(rows: Sequence[Row]) -> str:
    """Each key with its type and default, and its description below."""
    width = min(WIDTH, shutil.get_terminal_size().columns)
    lines = []
    for key, kind, default, description in rows:
        lines.append(f"  {key}  ({', '.join(filter(None, (kind, default)))})")
        indent = " " * 6
        lines += textwrap.wrap(description, width, initial_indent=indent, subsequent_indent=indent)
    return "\n".join(lines)


def _list(rows: Sequence[tuple[str, str]]) -> str:
    """Names with a text beside each."""
    width = min(WIDTH, shutil.get_terminal_size().columns)
    column = 4 + max(len(name) for name, _ in rows)
    return "\n".join(
        textwrap.fill(f"  {name}".ljust(column) + text, width, subsequent_indent=" " * column)
        for name, text in rows
    )
