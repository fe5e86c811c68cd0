"""Raw inputs of the user's own to answers: files or rows in, a table of predictions out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import torch
from pandas.api import types as kinds
from torch import Tensor

from project.core.arrays import Array, Indexed
from project.core.errors import UserError
from project.core.types import Column
from project.data.tables.read import check_plain, parse_numbers, to_texts
from project.models.contract import Contract

BATCH = 256


@dataclass(frozen=True)
class Scorer:
    """A saved model, ready to answer.

    Attributes:
        network: raw inputs (B, ...) to predictions (B, ...).
        contract: what it takes and gives.
    """

    network: Callable[[Tensor], Tensor]
    contract: Contract

    def predict(self, inputs: Indexed) -> Array:
        """Predicts from raw inputs, (N, H, W, C) uint8 or (N, F) float32; see ``predict_each``."""
        return self._join(
            self._predict_batch(inputs[i : i + BATCH]) for i in range(0, len(inputs), BATCH)
        )

    def predict_each(self, inputs: Iterable[Array]) -> Array:
        """Predicts from one raw input after another, in batches.

        Args:
            inputs: (H, W, C) uint8 or (F,) float32 each.

        Returns:
            (N, classes) probabilities, (N,) values, or (N,) mean squared errors of
            reconstructions.
        """
        waiting = iter(inputs)
        batches = iter(lambda: list(islice(waiting, BATCH)), [])
        return self._join(self._predict_batch(np.stack(batch)) for batch in batches)

    @torch.inference_mode()
    def _predict_batch(self, inputs: Array) -> Array:
        given = torch.from_numpy(np.ascontiguousarray(inputs))
        found = self.network(given)
        if self.contract.task == "reconstruction":
            found = ((found - given.float() / 255) ** 2).flatten(1).mean(dim=1)
        return np.asarray(found.numpy())

    def _join(self, parts: Iterable[Array]) -> Array:
        shape = (0, len(self.contract.classes)) if self.contract.classes else (0,)
        return np.concatenate([np.empty(shape, dtype=np.float32), *parts])

    def answer(self, predictions: Array, top_k: int | None = None) -> pd.DataFrame:
        """Predictions in words: a row a sample.

        Args:
            predictions: from ``predict``.
            top_k: give only so many of the likeliest classes; None gives the probability of each.
        """
        if self.contract.task == "reconstruction":
            return pd.DataFrame({"error": predictions})
        if self.contract.task == "regression":
            return pd.DataFrame({"prediction": predictions})
        classes = np.array(self.contract.classes, dtype=object)
        order = np.argsort(-predictions, axis=1, kind="stable")
        ranked = np.take_along_axis(predictions, order, axis=1)
        table = {"prediction": classes[order[:, 0]], "probability": ranked[:, 0]}
        if top_k is None:
            table |= {f"p_{name}": predictions[:, i] for i, name in enumerate(classes)}
        else:
            for rank in range(1, min(top_k, len(classes))):
                table[f"prediction_{rank + 1}"] = classes[order[:, rank]]
                table[f"probability_{rank + 1}"] = ranked[:, rank]
        return pd.DataFrame(table)

    def read_rows(self, frame: pd.DataFrame, key: str) -> tuple[Array, list[str], list[bool]]:
        """Rows of a table as the model takes them.

        A category that training has not seen is taken for none of the known ones, and noted. A row
        with a text where a number should be can't be predicted.

        Args:
            frame: with the model's columns, and any others.
            key: what the user gave it by, for the error message.

        Returns:
            (N, F) float32; a note on each row, mostly empty; whether each can be predicted.

        Raises:
            UserError: a column is missing.
        """
        columns = self.contract.columns
        if not columns:  # rows without names, as of the built-in tables
            columns = tuple(Column(name) for name in frame.columns)
            if len(columns) != self.contract.shape[0]:
                raise UserError(
                    f"{key}: {len(columns)} columns: expected {self.contract.shape[0]} of numbers"
                )
        names = [column.name for column in columns]
        missing = [name for name in names if name not in frame.columns]
        if missing:
            raise UserError(f"{key}: column '{missing[0]}' is missing: expected {', '.join(names)}")
        rows = np.empty((len(frame), len(names)), dtype=np.float32)
        notes: list[list[str]] = [[] for _ in range(len(frame))]
        usable = np.ones(len(frame), dtype=bool)
        for position, column in enumerate(columns):
            check_plain(frame[column.name], key)
            values, wrong = _to_codes(frame[column.name], column)
            rows[:, position] = values
            texts = to_texts(frame[column.name])
            for row in np.flatnonzero(wrong):
                what = "is no number" if column.categories is None else "was not seen in training"
                notes[row].append(f"{column.name}: '{texts[row]}' {what}")
            if column.categories is None:
                usable &= ~wrong
        if not self.contract.columns:  # such a model can't fill gaps
            for row in np.flatnonzero(usable & np.isnan(rows).any(axis=1)):
                notes[row].append("a number is missing")
            usable &= ~np.isnan(rows).any(axis=1)
        return rows, ["; ".join(each) for each in notes], usable.tolist()


def _to_codes(values: pd.Series, column: Column) -> tuple[Array, Array]:
    """A column's raw values (N,), and which of them are none that it knows."""
    if column.categories is None:
        if kinds.is_datetime64_any_dtype(values.dtype) or kinds.is_timedelta64_dtype(values.dtype):
            return np.full(len(values), np.nan, dtype=np.float32), values.notna().to_numpy()
        numbers, wrong = parse_numbers(values)
        with np.errstate(over="ignore"):
            rounded = numbers.astype(np.float32)
        wrong |= np.isinf(rounded)
        return np.where(wrong, np.float32("nan"), rounded), wrong
    codes = {text: code for code, text in enumerate(column.categories)}
    places, kinds_of = pd.factorize(values)  # -1 where missing
    found = [next((codes[s] for s in _spellings(each) if s in codes), -1) for each in kinds_of]
    known = np.array([*found, codes.get("", -1)], dtype=np.float32)[places]
    return known, known < 0


def _spellings(value: Any) -> Iterator[str]:
    """How a value may have been written in the table that the model was trained on."""
    text = str(value)
    yield text
    if isinstance(value, float) and value.is_integer():
        yield str(int(value))
    if text.lower() in ("true", "false"):
        yield from (text.capitalize(), text.lower(), text.upper())


def join(
    name: str,
    names: Iterable[Any],
    answers: pd.DataFrame,
    usable: Sequence[bool],
    notes: Sequence[str],
) -> pd.DataFrame:
    """A table of all that was asked; what couldn't be predicted has gaps.

    Args:
        name: of the first column.
        names: of everything that was asked.
        answers: of what could be predicted, in order.
        usable: which those are.
        notes: on everything, empty where there is none.
    """
    rows = pd.RangeIndex(len(usable))
    table = answers.set_axis(rows[np.asarray(usable, dtype=bool)]).reindex(rows)
    table.insert(0, name, list(names))
    return table.assign(note=list(notes)) if any(notes) else table


def load_scorer(model: str) -> Scorer:
    """Loads a saved model; see ``project.tracking.models.load``."""
    from project.tracking.models import load

    network, contract = load(model)
    return Scorer(network, Contract.from_plain(contract))
