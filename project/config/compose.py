"""Composes a config from ``conf/`` and the overrides of a command line, with Hydra."""

from collections.abc import Collection, Iterable
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
FILE_OPTION = "from_a_file"  # Hydra option name for an experiment read from a file
Node = dict[str, Any]


def compose(command: str, overrides: Iterable[str] = ()) -> Node:
    """Composes ``conf/<command>.yaml`` and its groups with the overrides of a command line.

    Any key can be overridden, whether or not a YAML file mentions it; ``check`` rejects keys that
    don't exist. ``experiment`` also takes a file, such as the ``config.yaml`` of a run.

    Args:
        command: Name of a file in ``conf/``, without suffix.
        overrides: Overrides such as ``model=resnet`` or ``optimizer.lr=0.01``.

    Raises:
        UserError: An override can't be parsed, or a group has no such option.
    """
    return compose_seeds(command, overrides, [None])[0]


def compose_seeds(
    command: str, overrides: Iterable[str], seeds: Iterable[int | None]
) -> list[Node]:
    """Composes one config per seed; faster than ``compose`` for each, as Hydra composes once.

    Args:
        command: Name of a file in ``conf/``, without suffix.
        overrides: Overrides such as ``model=resnet`` or ``optimizer.lr=0.01``.
        seeds: Values of ``seed``; None leaves it as composed.
    """
    groups = {folder.name for folder in CONF.iterdir() if folder.is_dir()}
    lines, experiment = _read_overrides(overrides, groups)
    nodes = []
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"), TemporaryDirectory() as folder:
            if experiment is not None:
                _write_groups(experiment, Path(folder), groups)
                lines += [f"hydra.searchpath=['file://{folder}']", f"experiment={FILE_OPTION}"]
            config = hydra_compose(command, overrides=lines)
        for seed in seeds:
            if seed is not None:
                config.seed = seed
            nodes.append(OmegaConf.to_container(config, resolve=True))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(str(error).strip().splitlines()[0]) from None
    return [
        {str(key): value for key, value in node.items() if key != "experiment"}
        for node in nodes
        if isinstance(node, dict)
    ]


def _read_overrides(
    overrides: Iterable[str], groups: Collection[str]
) -> tuple[list[str], Path | None]:
    """Overrides as Hydra takes them, and the file of ``experiment=`` if it names one."""
    lines, experiment = [], None
    for line in overrides:
        try:
            line, override = _parse_override(line)
            if not override.key_or_group:
                raise HydraException
        except HydraException:
            raise UserError(f"{line}: expected key=value") from None
        key, value = override.key_or_group, override.value()
        if key.partition(".")[0] == "hydra":
            raise UserError(f"{key}: unknown key")
        if key == "experiment" and str(value).endswith((".yaml", ".yml")):
            experiment = Path(str(value))
            continue
        if key in groups:
            options = {file.stem for file in (CONF / key).glob("*.yaml")}
            if not isinstance(value, str) or value not in options:
                raise UserError(f"{key}: {value}: {nearest(str(value), options)}")
        lines.append(line if key in groups or line[0] in "+~" else f"++{line}")
    return lines, experiment


def _parse_override(line: str) -> tuple[str, Override]:
    """Parses ``key=value``; a value that Hydra can't parse, such as some paths, becomes text."""
    parser = OverridesParser.create()
    try:
        return line, parser.parse_override(line)
    except HydraException:
        key, equals, value = line.partition("=")
        if not value or "'" in value or value[0] in '[{"':
            raise
        quoted = f"{key}{equals}'{value}'"
        return quoted, parser.parse_override(quoted)


def _write_groups(file: Path, folder: Path, groups: set[str]) -> None:
    """Splits a file into a folder of groups, so that Hydra can compose it like those in ``conf/``.

    Args:
        file: An experiment, or the whole config of a run, whose groups replace those in ``conf/``.
        folder: Empty folder for the result.
        groups: Names of the groups in ``conf/``.
    """
    try:
        text = file.read_text()
        node = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise UserError(f"experiment: {file}: can't be read ({reason}): expected YAML") from None
    if not isinstance(node, dict):
        raise UserError(f"experiment: {file}: expected keys and values, as in conf/experiment/")
    if "defaults" not in node:
        chosen = [group for group in node if group in groups]
        for group in chosen:
            (folder / group).mkdir()
            (folder / group / f"{FILE_OPTION}.yaml").write_text(
                yaml.safe_dump(node[group], sort_keys=False)  # keeps the order of transforms
            )
        rest = {key: value for key, value in node.items() if key not in groups}
        defaults = [{f"override /{group}": FILE_OPTION} for group in chosen]
        text = "# @package _global_\n" + yaml.safe_dump({"defaults": defaults, **rest})
    (folder / "experiment").mkdir()
    (folder / "experiment" / f"{FILE_OPTION}.yaml").write_text(text)
