"""Table columns: fitted on the training split, encoded and described."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types as kinds

from project.core.arrays import Array
from project.core.errors import UserError
from project.core.types import Column
from project.data.tables.values import check_plain, parse_numbers, to_texts

MAX_DESCRIBED = 20  # categories of one column in its description


def fit_columns(columns: Sequence[Column], rows: Array) -> tuple[Column, ...]:
    """Fits medians, missing-value flags and categories on the training rows (N, C)."""
    fitted = []
    for column, values in zip(columns, rows.T.astype(np.float64), strict=True):
        is_missing = np.isnan(values)
        if is_missing.all():
            reason = "all its training values are missing"
            expected = f"expected data.ignore=['{column.name}']"
            raise UserError(f"data.file: column '{column.name}': {reason}: {expected}")
        if column.categories is None:
            fill = float(np.median(values[~is_missing]))
            fitted.append(replace(column, fill=fill, is_flagged=bool(is_missing.any())))
        else:
            codes = np.unique(values).astype(np.int64)
            known = tuple(column.categories[code] for code in codes)
            fitted.append(replace(column, categories=known))
    return tuple(fitted)


def encode_rows(rows: Array, columns: Sequence[Column], fitted: Sequence[Column]) -> Array:
    """Rows (N, C) with the category indices of the fitted columns, -1 if not in training."""
    encoded = rows.copy()
    for position, (column, after) in enumerate(zip(columns, fitted, strict=True)):
        if column.categories is not None:
            codes = pd.Index(after.categories).get_indexer(column.categories)
            encoded[:, position] = codes[rows[:, position].astype(np.int64)]
    return encoded


def to_features(rows: Array, fitted: Sequence[Column]) -> Array:
    """Features (N, F) of encoded rows, in the order of the model's encoder."""
    columns = list(zip(fitted, rows.T.astype(np.float64), strict=True))
    numbers = [(column, values) for column, values in columns if column.categories is None]
    imputed = [np.where(np.isnan(values), column.fill, values) for column, values in numbers]
    flags = [np.isnan(values) for column, values in numbers if column.is_flagged]
    one_hot = [
        values == code for column, values in columns for code in range(len(column.categories or ()))
    ]
    return np.column_stack([*imputed, *flags, *one_hot]).astype(np.float64)


def encode_frame(
    frame: pd.DataFrame, columns: Sequence[Column], num_columns: int, key: str
) -> tuple[Array, list[str], Array]:
    """Encodes the columns of a trained model in a table; other columns are ignored.

    ``columns`` are empty for a model of ``num_columns`` unnamed numbers. A category that is not in
    the training split is noted and encoded as none of the known ones. Returns (N, C) float32 rows;
    a note per row, mostly empty; and (N,) bool, False where a number is missing or not a number.
    """
    if not columns and frame.shape[1] != num_columns:
        raise UserError(f"{key}: {frame.shape[1]} columns: expected {num_columns} of numbers")
    names = [column.name for column in columns] or list(frame.columns)
    if missing := [name for name in names if name not in frame.columns]:
        raise UserError(f"{key}: column '{missing[0]}' is missing: expected {', '.join(names)}")
    rows = np.empty((len(frame), len(names)), dtype=np.float32)
    notes: list[list[str]] = [[] for _ in range(len(frame))]
    usable = np.ones(len(frame), dtype=bool)
    for position, column in enumerate(columns or map(Column, names)):
        values = frame[column.name]
        check_plain(values, key)
        rows[:, position], is_wrong = _encode(values, column)
        problem = "is not a number" if column.categories is None else "was not seen in training"
        wrong = np.flatnonzero(is_wrong)
        for row, text in zip(wrong, to_texts(values.iloc[wrong]), strict=True):
            notes[row].append(f"{column.name}: '{text}' {problem}")
        if column.categories is None:
            usable &= ~is_wrong
    if not columns:  # such a model has no medians to impute missing numbers with
        gaps = usable & np.isnan(rows).any(axis=1)
        for row in np.flatnonzero(gaps):
            notes[row].append("a number is missing")
        usable &= ~gaps
    return rows, ["; ".join(each) for each in notes], usable


def _encode(values: pd.Series, column: Column) -> tuple[Array, Array]:
    """Values as (N,) float32, and whether each is not a number or not a known category."""
    if column.categories is not None:
        codes = {text: code for code, text in enumerate(column.categories)}
        places, uniques = pd.factorize(values)  # -1 where missing
        known = [next((codes[s] for s in _spellings(each) if s in codes), -1) for each in uniques]
        encoded = np.array([*known, codes.get("", -1)], dtype=np.float32)[places]
        return encoded, encoded < 0
    if kinds.is_datetime64_any_dtype(values.dtype) or kinds.is_timedelta64_dtype(values.dtype):
        return np.full(len(values), np.nan, dtype=np.float32), values.notna().to_numpy()
    numbers, is_wrong = parse_numbers(values)
    with np.errstate(over="ignore"):
        rounded = numbers.astype(np.float32)
    is_wrong |= np.isinf(rounded)
    return np.where(is_wrong, np.float32("nan"), rounded), is_wrong


def _spellings(value: Any) -> Iterator[str]:
    """The ways in which the training file may have spelled a value."""
    text = str(value)
    yield text
    if isinstance(value, float) and value.is_integer():
        yield str(int(value))
    if text.lower() in ("true", "false"):
        yield from (text.capitalize(), text.lower(), text.upper())


def describe_encoding(column: Column) -> str:
    """One line on how the values of a fitted column are encoded."""
    if column.categories is None:
        return "a number, NaN where missing"
    names = [f"`{name}`" if name else "missing" for name in column.categories]
    codes = [f"{code} {name}" for code, name in enumerate(names)]
    more = ["..."] if len(codes) > MAX_DESCRIBED else []
    return ", ".join([*codes[:MAX_DESCRIBED], *more, "-1 for any other"])


def describe_values(column: Column, values: Array) -> tuple[str, float]:
    """One line on the (N,) encoded training values of a column, and the share that is missing."""
    if column.categories is None:
        text = f"{np.nanmin(values):g} to {np.nanmax(values):g}, median {column.fill:g}"
        return text, float(np.isnan(values).mean())
    codes = values.astype(np.int64)
    most = column.categories[int(np.bincount(codes).argmax())]
    share = (codes == column.categories.index("")).mean() if "" in column.categories else 0.0
    return f"{len(column.categories)} categories, most often '{most}'", float(share)
