"""Predicts with a saved model: images of a folder, or rows of a table."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from project.core.arrays import Array
from project.core.console import stdout
from project.core.errors import UserError
from project.core.types import Count, ModelId
from project.data.images.cache import map_in_threads
from project.data.images.decode import SUFFIXES, Unreadable, decode_file, find_images, relative_name
from project.data.tables.columns import encode_frame
from project.data.tables.source import read_table
from project.models.contract import Contract
from project.tracking.models import load
from project.tracking.store import store_folder

PREDICT_BATCH = 256  # inputs per forward pass
MEMORY = 2**27  # bytes of decoded images that may wait for the network
SHOWN = re.compile("row|file|error|prediction(_[23])?|note")  # columns printed by the command


@dataclass(frozen=True)
class SavedModel:
    """A function from raw inputs (B, ...) to predictions (B, ...), on the CPU, and its contract."""

    network: Callable[[Tensor], Tensor]
    contract: Contract

    @torch.inference_mode()
    def predict(self, inputs: Iterable[Array]) -> Array:
        """Probabilities (N, classes), values (N,) or squared reconstruction errors (N,)."""
        shape = (0, len(self.contract.classes)) if self.contract.classes else (0,)
        parts = [np.empty(shape, dtype=np.float32)]
        remaining = iter(inputs)
        while batch := list(islice(remaining, PREDICT_BATCH)):
            batch_inputs = torch.from_numpy(np.stack(batch))
            outputs = self.network(batch_inputs)
            if self.contract.task == "reconstruction":
                outputs = ((outputs - batch_inputs.float() / 255) ** 2).flatten(1).mean(dim=1)
            parts.append(outputs.numpy())
        return np.concatenate(parts)

    def to_table(self, predictions: Array, top_k: int | None = None) -> pd.DataFrame:
        """Tabulates predictions; ``top_k`` lists the most probable classes instead of all."""
        if not self.contract.classes:
            name = "error" if self.contract.task == "reconstruction" else "prediction"
            return pd.DataFrame({name: predictions})
        classes = np.array(self.contract.classes, dtype=object)
        order = np.argsort(-predictions, axis=1, kind="stable")
        ranked = np.take_along_axis(predictions, order, axis=1)
        table = {"prediction": classes[order[:, 0]], "probability": ranked[:, 0]}
        if top_k is None:
            table |= {f"p_{name}": predictions[:, i] for i, name in enumerate(classes)}
        for rank in range(1, min(top_k or 1, len(classes))):
            table[f"prediction_{rank + 1}"] = classes[order[:, rank]]
            table[f"probability_{rank + 1}"] = ranked[:, rank]
        return pd.DataFrame(table)


def load_model(run: str) -> SavedModel:
    """Loads the model of a run or of the registry; see ``project.tracking.models.load``."""
    network, contract = load(run)
    return SavedModel(network, Contract.model_validate(contract))


@dataclass(frozen=True)
class Predictions:
    """Predictions for the files or rows of an input, and the file they were written to."""

    path: Path
    num_rows: int
    num_failed: int
    table: pd.DataFrame  # where an input could not be predicted, gaps and the reason in ``note``

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
    table = predict_input(model, Path(input), top_k)
    _write(table, path)
    return Predictions(path, len(table), int(table.iloc[:, 1].isna().sum()), table)


def show(result: Predictions) -> None:
    """Prints the first rows, without the probabilities of all classes."""
    names = [name for name in result.table.columns if SHOWN.fullmatch(name)]
    shown = Table(*map(escape, names), title=f"{result.num_rows} predictions", title_justify="left")
    for row in result.table.head(10).to_dict("records"):
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
    if name.startswith("prediction") and isinstance(value, str):
        return f"{value} {row[name.replace('prediction', 'probability')]:.2f}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _predict_images(model: SavedModel, path: Path, top_k: int | None) -> pd.DataFrame:
    suffixes, files, folder = ", ".join(SUFFIXES), [path], path.parent
    if path.is_dir():
        files, folder = find_images(path, path, key="input"), path
    elif not path.is_file():
        raise UserError(f"input: {path}: there is no such file or folder: expected images")
    elif path.suffix.lower() not in SUFFIXES:
        raise UserError(f"input: {path}: the model takes images: expected {suffixes}")
    if not files:
        raise UserError(f"input: {path}: contains no images: expected {suffixes}")
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


def _predict_rows(model: SavedModel, path: Path, top_k: int | None) -> pd.DataFrame:
    if path.is_dir():
        raise UserError(f"input: {path}: the model takes rows: expected a CSV or Parquet file")
    frame = read_table(str(path), "input", as_texts=True)
    columns, (num_columns,) = model.contract.columns, model.contract.shape
    rows, notes, usable = encode_frame(frame, columns, num_columns, f"input: {path}")
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
    write = table.to_parquet if path.suffix == ".parquet" else table.to_csv
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary, index=False)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"output: {path}: {error.strerror}: expected a writable file") from None
    finally:
        with suppress(OSError):
            temporary.unlink()
