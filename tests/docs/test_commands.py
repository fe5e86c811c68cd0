"""docs/commands.md has a section for each command, with every field of its JSON."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_type_hints

import pytest
from data.own_data import write_classes

import project
from project.cli.commands import COMMANDS
from project.cli.main import main
from project.config.signatures import load

PAGE = (project.ROOT / "docs" / "commands.md").read_text()
SECTIONS = dict(re.findall(r"^##+ (.+?)\n(.*?)(?=^##+ |\Z)", PAGE, re.M | re.S))
TRAIN = ("model.width=8", "trainer.max_epochs=1", "data.limit_train=200")


def documented(section: str) -> set[str]:
    """Names in the first column of the table of fields."""
    rows = SECTIONS[section].partition("| field | meaning |")[2].splitlines()
    return {name for row in rows for name in re.findall(r"`(\w+)`", row.split(" | ")[0])}


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main([*words, "--json"]) in (0, None)
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_every_command_has_a_section_with_its_keys() -> None:
    assert [name for name in SECTIONS if name in COMMANDS] == list(COMMANDS)
    for name, command in COMMANDS.items():
        for key in command.parameters:
            assert f"`{key}=" in SECTIONS[name], (name, key)


def test_fields_of_the_quick_commands_are_documented(
    own_store: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = "run=last"  # of a store of its own: other tests count what opens a test set
    write_classes(tmp_path / "images", 2)
    lines = {
        "train": ["train", *TRAIN],
        "data": ["data", "data=diabetes"],
        "runs": ["runs", "limit=3"],
        "diff": ["diff", "first=last", "second=last"],
        "evaluate": ["evaluate", run],
        "evaluate with `robustness=true`": ["evaluate", run, "robustness=true"],
        "predict": ["predict", run, f"input={tmp_path / 'images'}", f"output={tmp_path / 'a.csv'}"],
        "export": ["export", run, "format=pt2", f"output={tmp_path / 'exported'}"],
    }
    for section, words in lines.items():
        records = printed(capsys, *words)
        assert len(records) == 1 or section == "runs", section
        for record in records:
            assert set(record) == documented(section), section


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("find-lr", "data.limit_train=320"),
        ("sweep", *TRAIN, "sweep.trials=2", "sweep.workers=1", "sweep.seeds=2", "sweep.top_k=2"),
        ("compare", "lesson=linear_regression", "compare.seeds=3", "trainer.max_epochs=2"),
    ],
    ids=lambda words: words[0],
)
@pytest.mark.usefixtures("own_store")
def test_fields_of_the_slow_commands_are_documented(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "project", *words, "--json"],
        cwd=project.ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert set(json.loads(line)) == documented(words[0])


@pytest.mark.parametrize("name", COMMANDS)
def test_fields_of_a_record_are_documented(name: str) -> None:
    record = get_type_hints(load(COMMANDS[name].target))["return"]
    for each in get_args(record) or [record]:  # a list's elements
        if isinstance(record, UnionType) or each is NoneType or hasattr(each, "to_dict"):
            continue  # printed by the tests above, or without a result
        assert {field.name for field in dataclasses.fields(each)} == documented(name)


def test_the_first_page_lists_every_command() -> None:
    text = (project.ROOT / "README.md").read_text()
    for name in COMMANDS:
        assert f"\n| `make {name}` | " in text
