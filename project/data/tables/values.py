"""Values of a table column as numbers or texts; the checks raise UserError if they don't hold."""

import re

import numpy as np
import pandas as pd
from pandas.api import types as kinds

from project.core.arrays import Array
from project.core.errors import UserError

MAX_CLASSES = 20  # distinct whole numbers up to which a target is classified
# Marks of a missing number, in lower case; in a column of texts they may be categories.
MISSING = ("?", "-", "--", ".", "na", "n/a", "#n/a", "nan", "null", "none", "missing", "unknown")
# A number with thousands separators, a decimal comma, a currency or a percent sign.
NUMBER = re.compile(r"[-+]?\s*[$€£]?\s*(\d{1,3}([,' ]\d{3})+|\d+)([.,]\d+)?\s*[$€£%]?")
PRECISION = 1e-3  # largest rounding error of 32-bit numbers, in standard deviations of the column


def parse_numbers(column: pd.Series) -> tuple[Array, Array]:
    """Parses values as numbers.

    Returns:
        (N,) float64 numbers, NaN where missing; (N,) bool, True where a value is neither a number
        nor a mark of a missing one.
    """
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    is_wrong = np.isnan(numbers) & column.notna().to_numpy()
    texts = column[is_wrong].astype(str).str.strip().str.lower()
    is_wrong[is_wrong] = ~texts.isin(MISSING).to_numpy()
    return numbers, is_wrong


def to_numbers(column: pd.Series, key: str) -> Array | None:
    """The values of a numeric column as (N,) float32, NaN where missing; None for other columns."""
    if kinds.is_datetime64_any_dtype(column.dtype):
        raise UserError(
            f"{key}: column '{column.name}' holds dates: expected numbers or texts, "
            f"data.time_column={column.name} or data.ignore=['{column.name}']"
        )
    if not kinds.is_numeric_dtype(column.dtype) or kinds.is_bool_dtype(column.dtype):
        return None
    with np.errstate(over="ignore"):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan).astype(np.float32)
    if np.isinf(values).any():
        row = int(np.isinf(values).argmax())
        value = f"column '{column.name}': {column.iloc[row]} in row {row + 1}"
        raise UserError(f"{key}: {value}: expected a finite number")
    return np.asarray(values)


def to_texts(column: pd.Series) -> Array:
    """Values as (N,) texts, empty where missing."""
    return np.where(column.isna(), "", column.astype(str)).astype(object)


def check_plain(column: pd.Series, key: str) -> None:
    """Checks that no value of a column is nested, such as a list, or bytes."""
    if column.dtype != object:
        return
    for value in column:
        if isinstance(value, (bytes, list, tuple, dict, set, np.ndarray)):
            raise UserError(
                f"{key}: column '{column.name}' holds values of type {type(value).__name__}: "
                f"expected numbers or texts, or data.ignore=['{column.name}']"
            )


def check_complete(column: pd.Series, noun: str, key: str) -> None:
    """Checks that a column has a value in every row; the noun names such a value."""
    if column.isna().any():
        row = int(column.isna().to_numpy().argmax()) + 1
        raise UserError(f"{key}: row {row} has no {noun}: expected a value in every row")


def check_precision(column: pd.Series, values: Array, key: str) -> None:
    """Checks that different numbers still differ as float32, unlike times in seconds since 1970."""
    exact = column.to_numpy(np.float64, na_value=np.nan)
    exact, rounded = exact[~np.isnan(exact)], values[~np.isnan(exact)]
    if len(exact) and np.abs(exact - rounded).max() > PRECISION * exact.std() > 0:
        raise UserError(
            f"{key}: column '{column.name}': {exact.min():.12g} to {exact.max():.12g} are too "
            "close together for 32-bit numbers: expected numbers with a constant subtracted"
        )


def check_not_numbers(column: pd.Series, key: str) -> None:
    """Checks that neither nearly all texts of a column, nor many different ones, are numbers."""
    if kinds.is_bool_dtype(column.dtype):
        return
    # A column of categories has few different values: parse each of them once.
    places, uniques = pd.factorize(column)  # -1 where missing
    counts = np.bincount(places[places >= 0], minlength=len(uniques))
    values = pd.Series(uniques)
    numbers, is_wrong = parse_numbers(values)
    if not is_wrong.any():
        return
    texts = to_texts(values)
    is_number = np.array([bool(NUMBER.fullmatch(text.strip())) for text in texts])
    is_number |= ~np.isnan(numbers)
    num_known = counts.sum()
    is_measured = counts[is_number].sum() >= num_known / 2 and is_number.sum() > MAX_CLASSES
    if is_measured or counts[is_wrong].sum() < 0.1 * num_known:
        most = int(np.where(is_wrong, counts, 0).argmax())
        row = int((places == most).argmax())
        raise UserError(
            f"{key}: column '{column.name}': '{texts[most]}' in row {row + 1} is not a number, "
            "unlike most of its values: expected numbers such as 1200.5, empty where missing"
        )
