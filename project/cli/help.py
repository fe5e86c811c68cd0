"""Help, generated from signatures, docstrings and ``conf/``; nothing heavy is imported for it."""

import shutil
import textwrap
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml

from project import ROOT
from project.cli.commands import COMMANDS
from project.config.signatures import REQUIRED, RUN_TIME, read_signature, signature_of
from project.core.errors import UserError, nearest
from project.core.types import BY_NAME, ModelId, RunId, Tags

CONF = ROOT / "conf"
OPTIONS = {  # by group
    folder.name: sorted(file.stem for file in folder.glob("*.yaml"))
    for folder in sorted(CONF.iterdir())
    if folder.is_dir()
}
NAMES = {RunId: "run", ModelId: "run or model", str: "text", bool: "true | false", Any: ""}
NAMES[Tags] = "tag.<name>=<value>"
LIBRARY = {"lr": "Learning rate", "weight_decay": "Weight decay", "momentum": "Momentum"}
BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
WIDTH = min(100, shutil.get_terminal_size().columns)
Row = tuple[str, Any, Any, str]  # key, annotation, default, description


def list_commands() -> str:
    """All commands with their purposes."""
    rows = [(name, each.signature.summary) for name, each in COMMANDS.items()]
    return f"python -m project <command> [key=value ...] [--json] [--help]\n\n{_list(rows)}"


def describe(name: str, words: Sequence[str]) -> str:
    """Help of one command; its config keys are those of the options that the words choose."""
    command = COMMANDS[name]
    parts = [f"python -m project {name} [key=value ...] [--json]", command.signature.summary]
    if command.parameters:
        fields = command.parameters.items()
        rows = [(key, each.annotation, each.default, each.description) for key, each in fields]
        parts.append(f"Arguments:\n{_lay_out(rows)}")
    if command.reader:
        chosen = _choose_options(words)
        options = " ".join(f"{group}={option}" for group, option in chosen.items())
        keys = list(_config_keys(chosen))
        if command.settings:
            keys += _rows(name, command.settings)
        groups = [(group, ", ".join(names)) for group, names in OPTIONS.items()]
        parts.append(textwrap.fill(f"Config keys with {options}:", WIDTH) + f"\n{_lay_out(keys)}")
        parts.append(f"Groups and their options:\n{_list(groups)}")
    parts.append(f"Example:\n  python -m project {name} {command.example}")
    return "\n\n".join(parts)


def _choose_options(words: Sequence[str]) -> dict[str, str]:
    """The option of each group: from the words, else the data set's choice, else the default."""
    chosen = _defaults("train")
    pairs = [word.partition("=") for word in words]
    picked = {group: option for group, _, option in pairs if group in OPTIONS}
    for group, option in picked.items():
        if option not in OPTIONS[group]:
            raise UserError(f"{group}: {option}: {nearest(option, OPTIONS[group])}")
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
            if option in OPTIONS.get(group, ()):
                chosen[group] = option
    return chosen


def _config_keys(chosen: Mapping[str, str]) -> Iterator[Row]:
    values = _read_yaml("train") | {k: _read_yaml(f"{k}/{option}") for k, option in chosen.items()}
    for key, value in values.get("experiment", {}).items():
        if isinstance(value, dict):
            values[key] = values.get(key, {}) | value
    seed = signature_of("project.config.check.Config").parameters["seed"]
    yield "seed", seed.annotation, values["seed"], seed.description
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
    signature = read_signature(target)
    for key, each in signature.parameters.items() if signature else ():
        if key not in (*RUN_TIME, "splits", *hidden):
            default = each.default if values.get(key) is None else values[key]
            yield f"{node}.{key}", each.annotation, default, each.description
    for key, value in values.items() if not signature else ():
        if key not in ("_target_", "defaults"):
            description = f"{LIBRARY.get(key, 'Argument')} of {target}."
            yield f"{node}.{key}", BY_NAME.get(key, Any), value, description


def _type_name(annotation: Any) -> str:
    """A type and its range, such as ``int >= 1`` or ``onnx | pt2``; empty if nothing is known."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in NAMES:
        return NAMES[annotation]
    if origin is Annotated:
        limits = [limit for each in arguments[1:] for limit in asdict(each).items()]
        bounds = ", ".join(f"{BOUNDS[name]} {value}" for name, value in limits if name in BOUNDS)
        return f"{_type_name(arguments[0])} {bounds}".strip()
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join(map(_type_name, arguments)).replace("NoneType", "null")
    if origin is list:
        return f"list of {_type_name(arguments[0])}"
    return getattr(annotation, "__name__", "")


def _read_yaml(name: str) -> dict[str, Any]:
    node: dict[str, Any] = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8")) or {}
    return node


def _lay_out(rows: Iterable[Row]) -> str:
    """Each key with its type and default, and its description below."""
    lines = []
    for key, annotation, value, text in rows:
        default = f"default {'null' if value is None else value}"
        kind = [_type_name(annotation), "required" if value is REQUIRED else default]
        lines.append(f"  {key}  ({', '.join(filter(None, kind))})")
        lines += [f"      {line}" for line in textwrap.wrap(text.replace("``", ""), WIDTH - 6)]
    return "\n".join(lines)


def _list(rows: Sequence[tuple[str, str]]) -> str:
    """Names with a text beside each."""
    column = 4 + max(len(name) for name, _ in rows)
    return "\n".join(
        textwrap.fill(f"  {name}".ljust(column) + text, WIDTH, subsequent_indent=" " * column)
        for name, text in rows
    )
