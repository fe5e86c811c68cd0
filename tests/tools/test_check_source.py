"""The script behind `make lint` reports long files, long functions and bad docstrings."""

import subprocess
import sys
from pathlib import Path

import pytest

import project
from tools.check_source import check

GOOD = '''"""A module."""


def add(first: int, second: int) -> int:
    """Adds.

    Args:
        first: First number.
        second: Second number, which may be
            of any size.

    Returns:
        The sum.

    Raises:
        ValueError: One of them is negative.
    """
    return first + second
'''


def write(root: Path, name: str, text: str) -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_good_source_has_no_problem(tmp_path: Path) -> None:
    write(tmp_path, "project/good.py", GOOD)
    assert check(tmp_path) == []


@pytest.mark.parametrize("tail", ["of the sum.", "that is added.", "For the sum.", "first number."])
def test_a_sentence_tail_is_a_problem(tmp_path: Path, tail: str) -> None:
    write(tmp_path, "project/bad.py", GOOD.replace("First number.", tail))
    assert check(tmp_path) == [
        f"project/bad.py:4: '{tail}': expected a phrase that stands on its own"
    ]


@pytest.mark.parametrize(("folder", "limit"), [("project", 250), ("lessons", 250), ("tests", 400)])
def test_a_long_file_is_a_problem(tmp_path: Path, folder: str, limit: int) -> None:
    write(tmp_path, f"{folder}/long.py", "x = 1\n" * limit)
    assert check(tmp_path) == []
    write(tmp_path, f"{folder}/long.py", "x = 1\n" * (limit + 1))
    expected = f"{folder}/long.py:1: {limit + 1} lines: expected at most {limit}"
    assert check(tmp_path) == [expected]


def test_a_long_function_is_a_problem_in_the_project_alone(tmp_path: Path) -> None:
    text = "def f():\n" + "    x = 1\n" * 50
    write(tmp_path, "project/long.py", text)
    write(tmp_path, "tests/long.py", text)
    assert check(tmp_path) == ["project/long.py:1: f: 51 lines: expected at most 50"]


def test_the_command_fails_for_a_problem_and_names_it(tmp_path: Path) -> None:
    write(tmp_path, "project/long.py", "x = 1\n" * 251)
    script = Path(project.ROOT / "tools" / "check_source.py").read_text()
    write(tmp_path, "tools/check_source.py", script)
    done = subprocess.run(
        [sys.executable, "tools/check_source.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stdout.startswith("project/long.py:1: 251 lines")
