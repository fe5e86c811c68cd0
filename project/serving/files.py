"""Predicts with a saved model: images of a folder, or rows of a table.

Usage: python -m project.serving.files run=RUN input=PATH [output=FILE.csv] [top_k=N]

  run     a run id, last, or a name of the registry such as models:/digits-cnn@champion
  input   a folder of images, an image, or a CSV or Parquet file, as the model needs it
  output  CSV or Parquet (.parquet); by default in mlruns/predictions/
  top_k   the N likeliest classes instead of the probability of each

Needs nothing of the training data. What can't be read is listed in the result, with the reason.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from project import make_callable
from project.cli.command import run_command
from project.core.errors import UserError, nearest
from project.core.signals import stoppable

if TYPE_CHECKING:
    import pandas as pd

    from project.core.arrays import Array
    from project.serving.predictor import Scorer

KEYS = ("run", "input", "output", "top_k")
MEMORY = 2**27  # bytes of decoded images that may wait for the network


def predict(run: str, input: str, top_k: int | None = None) -> "pd.DataFrame":
    """Predicts for files or rows.

    Args:
        run: a run id, ``last``, or ``models:/name@champion``.
        input: path of a folder of images, an image, or a CSV or Parquet file.
        top_k: the likeliest classes instead of the probability of each.

    Returns:
        A row for each file or row: its name, ``prediction``, ``probability`` and further columns;
        with gaps and a ``note`` where it can't be read.

    Raises:
        UserError: there is no such model, or the input isn't what it takes.
    """
    from project.serving.predictor import load_scorer

    with stoppable():
        scorer = load_scorer(run)
        if top_k is not None and top_k < 1:
            raise UserError(f"top_k: {top_k}: expected a whole number from 1")
        if top_k is not None and not scorer.contract.classes:
            raise UserError(f"top_k: {top_k}: this model knows no classes: expected none")
        if scorer.contract.is_image:
            return _predict_images(scorer, Path(input), top_k)
        return _predict_rows(scorer, input, top_k)


def _predict_images(scorer: "Scorer", place: Path, top_k: int | None) -> "pd.DataFrame":
    import numpy as np

    from project.data.images.cache import map_in_threads, show_progress
    from project.data.images.decode import SUFFIXES, Unreadable, decode_file
    from project.data.images.listing import find_images, relative_name
    from project.serving.predictor import join

    if place.is_dir():
        files, folder = find_images(place, place, key="input"), place
    elif place.is_file() and place.suffix.lower() in SUFFIXES:
        files, folder = [place], place.parent
    elif place.is_file():
        raise UserError(f"input: {place}: this model takes images: expected {', '.join(SUFFIXES)}")
    else:
        raise UserError(f"input: {place}: there is no such file or folder: expected images")
    if not files:
        raise UserError(f"input: {place}: there are no pictures in it: expected some")
    shape = scorer.contract.shape
    notes: list[str] = []

    def read(file: Path) -> "tuple[Array | None, str]":
        try:
            return decode_file(file, shape)[0], ""
        except Unreadable as error:
            return None, str(error)

    def readable() -> "Iterator[Array]":
        ahead = max(8, min(1024, MEMORY // int(np.prod(shape))))
        found = map_in_threads(read, files, ahead)
        for image, note in show_progress(found, len(files), "predicting"):
            notes.append(note)
            if image is not None:
                yield image

    predictions = scorer.predict_each(readable())
    answers = scorer.answer(predictions, top_k)
    names = [relative_name(file, folder) for file in files]
    return join("file", names, answers, [not note for note in notes], notes)


def _predict_rows(scorer: "Scorer", file: str, top_k: int | None) -> "pd.DataFrame":

    from project.data.tables.read import read_table
    from project.serving.predictor import join

    if Path(file).is_dir():
        raise UserError(f"input: {file}: this model takes rows: expected a CSV or Parquet file")
    frame = read_table(file, "input", as_texts=True)
    rows, notes, usable = scorer.read_rows(frame, f"input: {file}")
    answers = scorer.answer(scorer.predict(rows[usable]), top_k)
    return join("row", range(1, len(frame) + 1), answers, usable, notes)


def write(table: "pd.DataFrame", path: Path) -> None:
    """Writes a table as CSV or Parquet, whole or not at all.

    Raises:
        UserError: it can't be written there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            table.to_parquet(temporary, index=False)
        else:
            table.to_csv(temporary, index=False)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"output: {path}: {error.strerror}: expected a file to write") from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def main(arguments: Sequence[str]) -> None:
    """Predicts by the arguments of a command line, and shows the first rows."""
    given = dict.fromkeys(KEYS, "")
    for argument in arguments:
        name, _, value = argument.partition("=")
        key = name.lstrip("-").replace("-", "_")
        if key not in given:
            raise UserError(f"{argument}: unknown key: {nearest(key, KEYS)}")
        given[key] = value
    for key in ("run", "input"):
        if not given[key]:
            raise UserError(f"{key}: missing: expected {key}=<{key}>")
    top_k = None
    if given["top_k"]:
        if not given["top_k"].isdecimal():
            raise UserError(f"top_k: {given['top_k']}: expected a whole number from 1")
        top_k = int(given["top_k"])
    path = Path(given["output"] or _default_output(given["run"], given["input"]))
    if path.suffix not in (".csv", ".parquet"):
        raise UserError(f"output: {path}: expected a name that ends in .csv or .parquet")
    if path.resolve() == Path(given["input"]).resolve():
        raise UserError(f"output: {path}: it is the input: expected another file")
    table = predict(given["run"], given["input"], top_k)
    write(table, path)
    _show(table, path)


def _default_output(run: str, given: str) -> Path:
    from project.tracking.store import store_folder

    names = [
        re.sub(r"[^\w.-]+", "-", part).strip("-") for part in (run, Path(given).resolve().stem)
    ]
    return store_folder() / "predictions" / f"{'-'.join(names)}.csv"


def _show(table: "pd.DataFrame", path: Path) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    columns = [name for name in table.columns if not str(name).startswith("p_")]
    shown = Table(title=f"{len(table)} predictions", title_justify="left")
    for name in columns:
        shown.add_column(escape(str(name)), overflow="fold")
    for row in table[columns].head(10).itertuples(index=False):
        cells = ["" if value != value else value for value in row]  # NaN is not itself
        texts = [f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells]
        shown.add_row(*map(escape, texts))
    Console(width=120).print(shown)
    missing = int(table.iloc[:, 1].isna().sum())
    if missing:
        print(f"{missing} of {len(table)} can't be predicted: see their note")
    print(f"written to {path}")


if __name__ == "__main__":
    run_command(main, __doc__)
else:
    make_callable(__name__, predict)
