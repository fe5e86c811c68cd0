"""The user's own labels of a run: its name, a note and tags; imports nothing but the errors."""

import re
from collections.abc import Mapping

from project.core.errors import UserError

PARENT = "mlflow.parentRunId"  # tag of a nested run
NOTE = "note"  # tag of a run
DESCRIPTION = "mlflow.note.content"  # tag with the text that MLflow shows above a run
# Tags that the project sets, and beginnings of others.
RESERVED = {
    *("model", "data", "score", "best_epoch", "device", "threads", "failure", "pruned"),
    *("reproduces", "trivial", NOTE),
}
RESERVED_GROUPS = ("mlflow.", "split.", "test.", "sweep.", "compare.", "winner.", "verdict.")
MAX_NAME, MAX_TEXT = 250, 4_000  # characters of names, and of notes and values


def read_labels(name: str = "", note: str = "", tags: str = "") -> dict[str, str]:
    """The tags of a run that hold its labels.

    Args:
        name: Name of the run in MLflow; a sweep's or a comparison's is that of its parent run.
        note: Free text, shown at the beginning of the run's description.
        tags: Tags of the run, such as ``owner=ann,paper=fig 3``.

    Raises:
        UserError: A label is too long, or a tag is malformed or one of the project's own.
    """
    for key, text, most in (("name", name, MAX_NAME), ("note", note, MAX_TEXT)):
        if len(text) > most:
            raise UserError(f"{key}: {text[:40]}...: expected at most {most:,} characters")
    if name and not name.strip():
        raise UserError(f"name: {name!r}: expected a name that is not blank")
    labels = {"mlflow.runName": name.strip(), NOTE: note.strip()}
    return {key: text for key, text in labels.items() if text} | _read_tags(tags)


def _read_tags(text: str) -> dict[str, str]:
    read: dict[str, str] = {}
    for pair in text.split(",") if text.strip() else ():
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not (equals and name and value):
            raise UserError(f"tags: {pair.strip()!r}: expected name=value, separated by commas")
        if not re.fullmatch(rf"\w[\w.-]{{0,{MAX_NAME - 1}}}", name):
            raise UserError(f"tags: {name}: expected letters, digits, '_', '-' and '.'")
        if is_reserved(name):
            raise UserError(f"tags: {name}: is set by the project: expected another name")
        if name in read:
            raise UserError(f"tags: {name}: is there twice: expected each name once")
        if len(value) > MAX_TEXT:
            raise UserError(f"tags: {name}: expected at most {MAX_TEXT:,} characters")
        read[name] = value
    return read


def is_reserved(name: str) -> bool:
    """Whether the project or MLflow sets a tag of this name."""
    return name in RESERVED or name.startswith(RESERVED_GROUPS)


def user_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that are neither the project's nor MLflow's."""
    return {name: value for name, value in tags.items() if not is_reserved(name)}
