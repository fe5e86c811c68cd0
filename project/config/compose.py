"""Composes a config from ``conf/`` and the overrides of a command line, with Hydra."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from project import ROOT
from project.core.errors import UserError, nearest, one_line

CONF = ROOT / "conf"
GROUPS = frozenset(folder.name for folder in CONF.iterdir() if folder.is_dir())
FILE_OPTION = "from_a_file"  # Hydra option name for an experiment read from a file
Node = dict[str, Any]


def compose(command: str, overrides: Iterable[str] = ()) -> Node:
    """Composes ``conf/<command>.yaml`` and its groups with overrides such as ``optimizer.lr=0.01``.

    Any key can be overridden, whether or not a YAML file mentions it; ``check`` rejects keys that
    don't exist. ``experiment`` also takes a file, such as the ``config.yaml`` of a run.
    """
    return compose_seeds(command, overrides, [None])[0]


def compose_seeds(
    command: str, overrides: Iterable[str], seeds: Iterable[int | None]
) -> list[Node]:
    """Configs with other seeds, in the time of one; None leaves ``seed`` as composed."""
    lines, experiment = _read_overrides(overrides)
    nodes = []
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"), TemporaryDirectory() as folder:
            if experiment is not None:
                _write_groups(experiment, Path(folder))
                lines += [f"hydra.searchpath=['file://{folder}']", f"experiment={FILE_OPTION}"]
            config = hydra_compose(command, overrides=lines)
        for seed in seeds:
            if seed is not None:
                config.seed = seed
            node: Any = OmegaConf.to_container(config, resolve=True)
            nodes.append({str(key): each for key, each in node.items() if key != "experiment"})
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(str(error).strip().splitlines()[0]) from None
    return nodes


def _read_overrides(overrides: Iterable[str]) -> tuple[list[str], Path | None]:
    """Overrides as Hydra takes them, and the file of ``experiment=`` if it names one."""
    lines, experiment = [], None
    for line in overrides:
        line, override = _parse_override(line)
        key, value = override.key_or_group, override.value()
        if key.partition(".")[0] == "hydra":
            raise UserError(f"{key}: unknown key")
        if key == "experiment" and str(value).endswith((".yaml", ".yml")):
            experiment = Path(str(value))
            continue
        if key in GROUPS:
            options = {file.stem for file in (CONF / key).glob("*.yaml")}
            if not isinstance(value, str) or value not in options:
                raise UserError(f"{key}: {value}: {nearest(str(value), options)}")
        lines.append(line if key in GROUPS or line[0] in "+~" else f"++{line}")
    return lines, experiment


def _parse_override(line: str) -> tuple[str, Override]:
    """Parses ``key=value``; a value that Hydra can't parse, such as some paths, becomes text."""
    key, _, value = line.partition("=")
    is_text = value and "'" not in value and value[0] not in '[{"'
    for text in (line, f"{key}='{value}'") if is_text else (line,):
        with suppress(HydraException):
            override = OverridesParser.create().parse_override(text)
            if override.key_or_group:
                return text, override
    raise UserError(f"{line}: expected key=value")


def _write_groups(file: Path, folder: Path) -> None:
    """Splits an experiment, or the whole config of a run, into groups like those in ``conf/``."""
    try:
        text = file.read_text()
        node = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = f"can't be read ({getattr(error, 'strerror', None) or one_line(error)})"
        raise UserError(f"experiment: {file}: {reason}: expected YAML") from None
    if not isinstance(node, dict):
        raise UserError(f"experiment: {file}: expected keys and values, as in conf/experiment/")
    files = {"experiment": text}
    if "defaults" not in node:
        chosen = {key: node.pop(key) for key in list(node) if key in GROUPS}
        defaults = [{f"override /{group}": FILE_OPTION} for group in chosen]
        whole = yaml.safe_dump({"defaults": defaults, **node})
        files = {"experiment": f"# @package _global_\n{whole}"}
        for group, options in chosen.items():
            files[group] = yaml.safe_dump(options, sort_keys=False)  # keeps the transforms' order
    for group, text in files.items():
        (folder / group).mkdir()
        (folder / group / f"{FILE_OPTION}.yaml").write_text(text)
