"""Values of a table column as numbers, texts, targets, groups or times.

The checks raise UserError; ``key`` is the config key and file for its message.
"""

import re
import warnings
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd
from pandas.api import types as kinds

from project.core.arrays import Array
from project.core.errors import UserError

TaskChoice = Literal["auto", "classification", "regression"]
MAX_CLASSES = 20  # distinct whole numbers up to which a target is classified
MAX_CATEGORIES = 1000  # per column; more are names or free text
# Marks of a missing number, in lower case; in a column of texts they may be categories.
MISSING = ("?", "-", "--", ".", "na", "n/a", "#n/a", "nan", "null", "none", "missing", "unknown")
# A number with thousands separators, a decimal comma, a currency or a percent sign.
NUMBER = re.compile(r"[-+]?\s*[$€£]?\s*(\d{1,3}([,' ]\d{3})+|\d+)([.,]\d+)?\s*[$€£%]?")
PRECISION = 1e-3  # largest rounding error of 32-bit numbers, in standard deviations of the column


def parse_numbers(column: pd.Series) -> tuple[Array, Array]:
    """Values as (N,) float64, NaN where missing, and whether each is a text other than MISSING."""
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    is_wrong = np.isnan(numbers) & column.notna().to_numpy()
    texts = column[is_wrong].astype(str).str.strip().str.lower()
    is_wrong[is_wrong] = ~texts.isin(MISSING).to_numpy()
    return numbers, is_wrong


def to_numbers(column: pd.Series, key: str) -> Array | None:
    """The values of a numeric column as (N,) float32, NaN where missing; None for other columns."""
    name = column.name
    if kinds.is_datetime64_any_dtype(column.dtype):
        expected = f"expected numbers or texts, data.time_column={name} or data.ignore=['{name}']"
        raise UserError(f"{key}: column '{name}' holds dates: {expected}")
    if not kinds.is_numeric_dtype(column.dtype) or kinds.is_bool_dtype(column.dtype):
        return None
    with np.errstate(over="ignore"):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan).astype(np.float32)
    if np.isinf(values).any():
        row = int(np.isinf(values).argmax())
        value = f"{column.iloc[row]} in row {row + 1}"
        raise UserError(f"{key}: column '{name}': {value}: expected a finite number")
    return np.asarray(values)


def to_texts(column: pd.Series) -> Array:
    """Values as (N,) texts, empty where missing."""
    return np.where(column.isna(), "", column.astype(str)).astype(object)


def to_targets(column: pd.Series, task: TaskChoice, key: str) -> tuple[Array, tuple[str, ...]]:
    """Targets of a complete column: (N,) class indices and class names, or (N,) values and ()."""
    place, num_values = f"{key}: column '{column.name}'", column.nunique()
    if num_values < 2:
        reason = f"is constant, all its values are '{column.iloc[0]}'"
        raise UserError(f"{place} {reason}: expected at least two different values")
    numbers = to_numbers(column, key)
    is_whole = numbers is not None and bool((numbers % 1 == 0).all())
    if task == "auto":
        if numbers is None:
            check_not_numbers(column, key)
        is_class = numbers is None or (is_whole and num_values <= MAX_CLASSES)
        task = "classification" if is_class else "regression"
    if task == "regression":
        if numbers is None:
            raise UserError(f"{place} holds texts: expected numbers")
        check_precision(column, numbers, key)
        return numbers, ()
    values = to_texts(column) if numbers is None else column.to_numpy()
    values = values.astype(np.int64) if is_whole else values
    classes, targets = np.unique(values, return_inverse=True)
    if len(classes) > MAX_CATEGORIES:
        expected = f"expected at most {MAX_CATEGORIES} classes, or data.task=regression"
        raise UserError(f"{place} has {len(classes)} different values: {expected}")
    return targets.astype(np.int64), tuple(map(str, classes))


def to_groups(values: Array) -> Array:
    """Group indices, (N,) int64, for (N,) values of any type."""
    return np.unique(values.astype(str), return_inverse=True)[1].astype(np.int64)


def to_times(column: pd.Series) -> Array:
    """Sortable values, (N,), for a column of numbers, or of dates and times in one format."""
    expected = "expected a number, or a date such as 2026-01-31"
    key = f"data.time_column: column '{column.name}'"
    check_complete(column, "time", key)
    if kinds.is_numeric_dtype(column.dtype) or kinds.is_datetime64_any_dtype(column.dtype):
        return np.asarray(column)
    parse = partial(pd.to_datetime, column, errors="coerce", utc=True)
    if (times := parse(format="ISO8601")).notna().all():
        return np.asarray(times)
    # The first row sets the format of all rows; try it with the day first and the month first.
    with warnings.catch_warnings(action="ignore"):
        parsed = [parse(dayfirst=True), parse(dayfirst=False)]
    complete = [each for each in parsed if each.notna().all()]
    if not complete:
        gaps = min((each.isna().to_numpy() for each in parsed), key=np.sum)
        row = int(gaps.argmax())
        raise UserError(f"{key}: '{column.iloc[row]}' in row {row + 1}: {expected}")
    if not complete[0].equals(complete[-1]):
        reason = "can be read in two ways, day first or month first"
        raise UserError(f"{key}: '{column.iloc[0]}' {reason}: {expected}")
    return np.asarray(complete[0])


def check_plain(column: pd.Series, key: str) -> None:
    """Checks that no value of a column is nested, such as a list, or bytes."""
    for value in column if column.dtype == object else ():
        if isinstance(value, (bytes, list, tuple, dict, set, np.ndarray)):
            reason = f"holds values of type {type(value).__name__}"
            expected = f"expected numbers or texts, or data.ignore=['{column.name}']"
            raise UserError(f"{key}: column '{column.name}' {reason}: {expected}")


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
    is_number = [bool(NUMBER.fullmatch(text.strip())) for text in texts] | ~np.isnan(numbers)
    is_measured = is_number.sum() > MAX_CLASSES and counts[is_number].sum() >= counts.sum() / 2
    if is_measured or counts[is_wrong].sum() < 0.1 * counts.sum():
        most = int(np.where(is_wrong, counts, 0).argmax())
        row = int((places == most).argmax())
        raise UserError(
            f"{key}: column '{column.name}': '{texts[most]}' in row {row + 1} is not a number, "
            "unlike most of its values: expected numbers such as 1200.5, empty where missing"
        )
