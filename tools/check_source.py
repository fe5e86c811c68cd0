"""Checks sizes and docstrings, for `make lint`: what ruff has no rule for.

Files of project/ and lessons/ have at most 250 lines, those of tests/ and benchmarks/ at most 400;
functions of project/ and lessons/ have at most 50. Descriptions of arguments, attributes, return
values and errors stand on their own: "Number of epochs.", not "of the run." or "that it takes.".
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_LINES = {"project": 250, "lessons": 250, "tests": 400, "benchmarks": 400, "tools": 250}
MAX_FUNCTION = 50
CHECKED_DOCSTRINGS = ("project", "lessons")
SECTION = re.compile(r"^(?:Args|Attributes|Returns|Raises):\n((?: {4}.*(?:\n|$)|\n)+)", re.M)
ENTRY = re.compile(r"^ {4}[\w*]+: (.*)$", re.M)
# A description that begins like this is the tail of a sentence that the name would begin.
TAIL = re.compile(
    r"(?:of|for|that|to|in|by|as|likewise|see|whose|which|from|with|at|on|it|they|there|behind|"
    r"before|after|when|where|while|what)\b",
    re.I,
)


def check(root: Path) -> list[str]:
    """Problems of all files below a folder, one line each: file, line and what is wrong."""
    problems = []
    for folder in MAX_LINES:
        for file in sorted((root / folder).rglob("*.py")):
            name = file.relative_to(root).as_posix()
            text = file.read_text(encoding="utf-8")
            problems += [f"{name}:{problem}" for problem in _check_file(folder, text)]
    return problems


def _check_file(folder: str, text: str) -> Iterator[str]:
    num_lines = len(text.splitlines())
    if num_lines > MAX_LINES[folder]:
        yield f"1: {num_lines} lines: expected at most {MAX_LINES[folder]}"
    if folder not in CHECKED_DOCSTRINGS:
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION:
                yield f"{node.lineno}: {node.name}: {length} lines: expected at most {MAX_FUNCTION}"
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            line = getattr(node, "lineno", 1)
            for description in descriptions(ast.get_docstring(node) or ""):
                if TAIL.match(description) or description[:1].islower():
                    yield f"{line}: '{description}': expected a phrase that stands on its own"


def descriptions(docstring: str) -> list[str]:
    """First lines of the descriptions in a Google docstring."""
    return [text for part in SECTION.findall(docstring + "\n") for text in ENTRY.findall(part)]


if __name__ == "__main__":
    problems = check(Path(__file__).resolve().parent.parent)
    print("\n".join(problems[:200]) or "sizes and docstrings: no problem")
    sys.exit(bool(problems))
