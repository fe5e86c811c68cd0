"""A user's own table, CSV or Parquet, with numbers, categories and missing values."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from project.core.arrays import Array
from project.core.errors import UserError
from project.core.types import Column
from project.data.source import Source
from project.data.tables.read import check_columns, read_table
from project.data.tables.values import (
    MAX_CATEGORIES,
    TaskChoice,
    check_complete,
    check_not_numbers,
    check_plain,
    check_precision,
    to_groups,
    to_numbers,
    to_targets,
    to_texts,
    to_times,
)


def table(
    file: str,
    target: str,
    task: TaskChoice = "auto",
    ignore: list[str] = [],  # noqa: B006 - never changed
    group_by: str | None = None,
    time_column: str | None = None,
) -> Source:
    """Reads a table; every column without another role is a feature.

    Missing numbers are imputed with the median of the training split and flagged, a missing text is
    a category of its own. Rows without a target are skipped.

    Args:
        file: Path of a CSV file (commas, UTF-8, a line of column names) or a Parquet file.
        target: Name of the column to predict.
        task: Task; ``auto`` classifies texts and up to 20 distinct whole numbers, else regresses.
        ignore: Names of columns that are not features.
        group_by: Name of a column; rows with the same value stay in one split.
        time_column: Name of a column of times; train is earlier than val, val earlier than test.
    """
    frame = read_table(file)
    named = {"data.target": target, "data.group_by": group_by, "data.time_column": time_column}
    _check(frame, named, ignore, file)
    has_target = frame[target].notna().to_numpy()
    skipped = tuple((f"row {row + 1}", "no target") for row in np.flatnonzero(~has_target))
    frame = frame[has_target].reset_index(drop=True)
    if frame.empty:
        raise UserError(f"data.target: {file}: column '{target}' is empty: expected values")
    targets, classes = to_targets(frame[target], task, f"data.target: {file}")
    features = [name for name in frame.columns if name not in (*named.values(), *ignore)]
    columns, inputs = _read_features(frame[features], ignore, f"data.file: {file}")
    return Source(
        inputs=inputs,
        targets=targets,
        classes=classes,
        columns=columns,
        groups=to_groups(frame[group_by].to_numpy()) if group_by else None,
        times=to_times(frame[time_column]) if time_column else None,
        skipped=skipped,
    )


def _check(
    frame: pd.DataFrame, named: Mapping[str, str | None], ignore: Sequence[str], file: str
) -> None:
    """Checks that the named columns exist and that their values can be used."""
    for key, name in named.items():
        if name is not None:
            check_columns(frame, [name], f"{key}: {file}")
    check_columns(frame, ignore, f"data.ignore: {file}")
    group_by, time_column = named["data.group_by"], named["data.time_column"]
    if group_by is not None and time_column is not None:
        reason = "can't be combined with data.group_by: expected one of the two"
        raise UserError(f"data.time_column: {time_column}: {reason}")
    for name in frame.columns.difference(ignore, sort=False):
        check_plain(frame[name], f"data.file: {file}")
    if group_by is not None:
        check_complete(frame[group_by], "group", f"data.group_by: {file}: column '{group_by}'")


def _read_features(
    frame: pd.DataFrame, ignore: Sequence[str], key: str
) -> tuple[tuple[Column, ...], Array]:
    if not len(frame.columns):
        raise UserError(f"{key}: no column is left to predict from: expected at least one feature")
    columns, values = zip(*(_read_column(frame[name], key) for name in frame.columns), strict=True)
    most = min(MAX_CATEGORIES, max(50, len(frame) / 2))
    too_many = [column.name for column in columns if len(column.categories or ()) > most]
    if too_many:
        num_texts = f"{frame[too_many[0]].nunique()} different texts in {len(frame)} rows"
        ignored = ",".join([*map(repr, ignore), *(f"'{name}'" for name in too_many)])
        expected = f"expected data.ignore=[{ignored}], or data.time_column= for dates"
        reason = f"column '{too_many[0]}' has {num_texts}, too many for categories"
        raise UserError(f"{key}: {reason}: {expected}")
    return columns, np.stack(values, axis=1)


def _read_column(values: pd.Series, key: str) -> tuple[Column, Array]:
    """A column, not fitted yet, and its values as (N,) float32.

    The values are numbers, NaN where missing, or indices of categories: all texts, sorted.
    """
    name = str(values.name)
    if values.isna().all():
        expected = f"expected values, or data.ignore=['{name}']"
        raise UserError(f"{key}: column '{name}' is empty: {expected}")
    numbers = to_numbers(values, key)
    if numbers is not None:
        check_precision(values, numbers, key)
        return Column(name), numbers
    check_not_numbers(values, key)
    # Only different values are turned into texts and sorted: far fewer than there are rows.
    places, uniques = pd.factorize(values)  # -1 where missing
    texts = [*to_texts(pd.Series(uniques)), *([""] if (places < 0).any() else [])]
    categories, codes = np.unique(np.array(texts, dtype=str), return_inverse=True)
    return Column(name, tuple(categories.tolist())), codes.astype(np.float32)[places]
