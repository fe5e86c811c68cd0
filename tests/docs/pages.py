"""README and docs: the pages, and the code blocks in them."""

import re
from pathlib import Path

import project

README = project.ROOT / "README.md"
PAGES = [README, *sorted((project.ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.S)


def commands() -> list[str]:
    """The lines of all bash blocks in order, each once."""
    lines = (
        line for page in PAGES for block in blocks(page, "bash") for line in block.splitlines()
    )
    return list(dict.fromkeys(line for line in lines if line))
