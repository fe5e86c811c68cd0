"""The analysis of a comparison: loaded from its file, and hashed with the code it imports."""

from pathlib import Path

import pytest

from project import ROOT
from project.compare.analysis import hash_code, load_analysis
from project.core.errors import UserError

CODE = """
from project.compare.analysis import Analysis
from .values import VALUE

ANALYSIS = Analysis(("mine/value",), lambda trained: {"mine/value": VALUE})
"""


def write(folder: Path, value: float = 1.0, code: str = CODE) -> Path:
    (folder / "values.py").write_text(f"VALUE = {value}\n")
    (folder / "analysis.py").write_text(code)
    return folder / "analysis.py"


def test_an_analysis_may_import_its_neighbours_and_is_read_afresh(tmp_path: Path) -> None:
    assert load_analysis(write(tmp_path)).measure(None) == {"mine/value": 1.0}  # type: ignore[arg-type]
    changed = load_analysis(write(tmp_path, 20.5))
    assert changed.measures == ("mine/value",)
    assert changed.measure(None) == {"mine/value": 20.5}  # type: ignore[arg-type]
    assert load_analysis(None).measures == ()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1", r"analysis\.py: expected ANALYSIS = Analysis"),
        ("ANALYSIS = 1", r"analysis\.py: expected ANALYSIS = Analysis"),
        ("def", r"analysis\.py: can't be imported \(SyntaxError: "),
        ("import nowhere_at_all", r"can't be imported \(ModuleNotFoundError: "),
        ("1 / 0", r"can't be imported \(ZeroDivisionError: division by zero\)"),
    ],
)
def test_a_file_without_an_analysis_is_one_clear_line(
    tmp_path: Path, code: str, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_analysis(write(tmp_path, code=code))
    assert "\n" not in str(caught.value)


def test_the_hash_covers_the_code_that_measures_and_no_other(tmp_path: Path) -> None:
    before = hash_code(write(tmp_path))
    (tmp_path / "unrelated.py").write_text("x = 1\n")
    assert hash_code(write(tmp_path)) == before
    assert hash_code(write(tmp_path, 2.0)) != before
    assert hash_code(write(tmp_path, code=f"{CODE}# changed\n")) != before
    assert hash_code(write(tmp_path, code=f"from lessons import robustness\n{CODE}")) != hash_code(
        write(tmp_path, code=f"from lessons import descent, robustness\n{CODE}")
    )
    of_lessons = {hash_code(file) for file in (ROOT / "lessons").glob("*/analysis.py")}
    assert len(of_lessons) == 9
