"""Predicts with a saved model: images of a folder, or rows of a table."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.markup import escape
from rich.table import Table

from project.core.arrays import Array
from project.core.console import stdout
from project.core.errors import UserError
from project.core.types import Count, ModelId
from project.data.images.cache import map_in_threads
from project.data.images.decode import SUFFIXES, Unreadable, decode_file, find_images, relative_name
from project.data.tables.read import read_table
from project.serving.predictor import SavedModel, load_model
from project.tracking.store import store_folder

MEMORY = 2**27  # bytes of decoded images that may wait for the network
NUM_PRINTED = 10  # rows printed by the command
SHOWN = re.compile("row|file|error|prediction(_[23])?|note")  # columns printed by the command


@dataclass(frozen=True)
class Predictions:
    """Predictions for the files or rows of an input.

    Attributes:
        path: File the predictions were written to.
        num_rows: Number of files or rows.
        num_failed: Number of files or rows that could not be predicted.
        table: One row per file or row: its name or number, ``prediction``, ``probability`` and
            further columns. A row that could not be predicted has gaps and a ``note``.
    """

    path: Path
    num_rows: int
    num_failed: int
    table: pd.DataFrame

    def to_dict(self) -> dict[str, Any]:
        """The fields, with the table as a list of records called ``rows``."""
        fields = dict(vars(self))
        return fields | {"rows": fields.pop("table").to_dict("records")}


def predict(
    run: ModelId, input: str, output: str | None = None, top_k: Count | None = None
) -> Predictions:
    """Predicts for images or table rows with a saved model; needs no training data.

    Args:
        run: Run that trained the model, or a registered model such as models:/digits-cnn@champion.
        input: Folder of images, image file, or CSV or Parquet file, as the model takes.
        output: CSV or Parquet file to write; null writes a CSV file in mlruns/predictions/.
        top_k: Number of most probable classes to list; null lists the probability of each class.

    Raises:
        UserError: The model doesn't exist, or the input or output can't be used.
    """
    name = re.sub(r"[^\w.-]+", "-", f"{run}-{Path(input).resolve().stem}")
    path = Path(output or store_folder() / "predictions" / f"{name}.csv")
    if path.suffix not in (".csv", ".parquet"):
        raise UserError(f"output: {path}: expected a file name that ends in .csv or .parquet")
    if path.resolve() == Path(input).resolve():
        raise UserError(f"output: {path}: is the input file: expected another file")
    model = load_model(run)
    if top_k is not None and not model.contract.classes:
        raise UserError(f"top_k: {top_k}: the model predicts no classes: expected null")
    predict_input = _predict_images if model.contract.is_image else _predict_rows
    table = predict_input(model, input, top_k)
    _write(table, path)
    return Predictions(path, len(table), int(table.iloc[:, 1].isna().sum()), table)


def show(result: Predictions) -> None:
    """Prints the first rows, without the probabilities of all classes."""
    names = [name for name in result.table.columns if SHOWN.fullmatch(name)]
    shown = Table(*map(escape, names), title=f"{result.num_rows} predictions", title_justify="left")
    for row in result.table.head(NUM_PRINTED).to_dict("records"):
        shown.add_row(*(escape(_cell(row, name)) for name in names))
    stdout().print(shown)
    if result.num_failed:
        print(f"{result.num_failed} of {result.num_rows} could not be predicted, see their notes")
    print(f"written to {result.path}")


def _cell(row: Mapping[str, Any], name: str) -> str:
    """A value of the table; a class with its probability."""
    value = row[name]
    if value != value:  # NaN
        return ""
    probability = row.get(name.replace("prediction", "probability"), value)
    if probability is not value:
        return f"{value} {probability:.2f}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _predict_images(model: SavedModel, input: str, top_k: int | None) -> pd.DataFrame:
    files, folder = _list_images(Path(input))
    shape = model.contract.shape
    notes: list[str] = []

    def read(file: Path) -> Array | Unreadable:
        try:
            return decode_file(file, shape)[0]
        except Unreadable as error:
            return error

    def readable() -> Iterator[Array]:
        max_ahead = max(8, min(1024, MEMORY // int(np.prod(shape))))
        for image in map_in_threads(read, files, "predicting", max_ahead):
            notes.append(str(image) if isinstance(image, Unreadable) else "")
            if not isinstance(image, Unreadable):
                yield image

    table = model.to_table(model.predict(readable()), top_k)
    names = pd.Series([relative_name(file, folder) for file in files], name="file")
    return _align(table, [not note for note in notes], names, notes)


def _list_images(path: Path) -> tuple[list[Path], Path]:
    """Image files, and the folder that their names are relative to."""
    if path.is_dir():
        if files := find_images(path, path, key="input"):
            return files, path
        raise UserError(f"input: {path}: contains no images: expected {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise UserError(f"input: {path}: there is no such file or folder: expected images")
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"input: {path}: the model takes images: expected {', '.join(SUFFIXES)}")
    return [path], path.parent


def _predict_rows(model: SavedModel, input: str, top_k: int | None) -> pd.DataFrame:
    if Path(input).is_dir():
        raise UserError(f"input: {input}: the model takes rows: expected a CSV or Parquet file")
    frame = read_table(input, "input", as_texts=True)
    rows, notes, usable = model.encode(frame, f"input: {input}")
    table = model.to_table(model.predict(rows[usable]), top_k)
    return _align(table, usable, pd.Series(range(1, len(frame) + 1), name="row"), notes)


def _align(
    table: pd.DataFrame, usable: Sequence[bool] | Array, names: pd.Series, notes: list[str]
) -> pd.DataFrame:
    """Adds names (N,) and notes (N,), and gaps for inputs that are not usable (N,)."""
    aligned = table.set_axis(np.flatnonzero(usable)).reindex(names.index)
    aligned.insert(0, names.name, names)
    return aligned.assign(note=notes) if any(notes) else aligned


def _write(table: pd.DataFrame, path: Path) -> None:
    """Writes a table; a failure leaves no partial file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            table.to_parquet(temporary, index=False)
        else:
            table.to_csv(temporary, index=False)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"output: {path}: {error.strerror}: expected a writable file") from None
    finally:
        with suppress(OSError):
            temporary.unlink()
