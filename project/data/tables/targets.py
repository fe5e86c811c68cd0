"""Table columns with a role of their own: targets, groups and times."""

import warnings
from typing import Literal

import numpy as np
import pandas as pd
from pandas.api import types as kinds

from project.core.arrays import Array
from project.core.errors import UserError
from project.data.tables.values import (
    MAX_CLASSES,
    check_complete,
    check_not_numbers,
    check_precision,
    to_numbers,
    to_texts,
)

TaskChoice = Literal["auto", "classification", "regression"]
MAX_CATEGORIES = 1000  # per column; more are names or free text


def to_targets(column: pd.Series, task: TaskChoice, key: str) -> tuple[Array, tuple[str, ...]]:
    """Targets for a column: (N,) class indices and class names, or (N,) values and no names.

    Args:
        column: Column without missing values.
        task: Task; ``auto`` classifies texts and up to 20 distinct whole numbers.
        key: Config key and file, for the error message.

    Raises:
        UserError: The column is constant, or doesn't suit the task.
    """
    if column.nunique() < 2:
        raise UserError(
            f"{key}: column '{column.name}' is constant, all its values are "
            f"'{column.iloc[0]}': expected at least two different values"
        )
    numbers = to_numbers(column, key)
    if task == "auto":
        if numbers is None:
            check_not_numbers(column, key)
        is_whole = numbers is None or bool((numbers == np.round(numbers)).all())
        is_few = numbers is None or column.nunique() <= MAX_CLASSES
        task = "classification" if is_whole and is_few else "regression"
    if task == "regression":
        if numbers is None:
            raise UserError(f"{key}: column '{column.name}' holds texts: expected numbers")
        check_precision(column, numbers, key)
        return numbers, ()
    if numbers is not None and (numbers % 1 == 0).all():
        column = column.astype(np.int64)
    values = to_texts(column) if numbers is None else column.to_numpy()
    classes, targets = np.unique(values, return_inverse=True)
    if len(classes) > MAX_CATEGORIES:
        raise UserError(
            f"{key}: column '{column.name}' has {len(classes)} different values: expected at most "
            f"{MAX_CATEGORIES} classes, or data.task=regression"
        )
    return targets.astype(np.int64), tuple(str(name) for name in classes)


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
    times = pd.to_datetime(column, errors="coerce", utc=True, format="ISO8601")
    if not times.isna().any():
        return np.asarray(times)
    # The first row sets the format of all rows; try it with the day first and the month first.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parsed = [
            pd.to_datetime(column, errors="coerce", utc=True, dayfirst=is_first)
            for is_first in (True, False)
        ]
    complete = [each for each in parsed if not each.isna().any()]
    if not complete:
        row = int(min(parsed, key=lambda each: each.isna().sum()).isna().to_numpy().argmax())
        raise UserError(f"{key}: '{column.iloc[row]}' in row {row + 1}: {expected}")
    if not complete[0].equals(complete[-1]):
        raise UserError(
            f"{key}: '{column.iloc[0]}' can be read in two ways, day first or month first: "
            f"{expected}"
        )
    return np.asarray(complete[0])
