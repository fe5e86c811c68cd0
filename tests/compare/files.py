"""A small comparison file for the tests."""

from pathlib import Path
from typing import Any

import yaml

VARIANTS = {"slow": ["optimizer.lr=0.001"], "fast": ["optimizer.lr=0.1"]}
GOOD: dict[str, Any] = {
    "title": "Two rates",
    "question": "Which is better?",
    "base": ["data=line", "trainer.max_epochs=2"],
    "variants": VARIANTS,
    "seeds": 3,
    "measure": ["val/loss"],
    "claims": ["val/loss: fast < slow"],
}


def write(folder: Path, **changes: Any) -> str:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **changes}, sort_keys=False))
    return str(path)
