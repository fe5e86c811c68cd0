"""A user's own CSV or Parquet table; mistakes in it are reported, not repaired silently."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd
from pandas.api import types as kinds

from project.core.arrays import Array
from project.core.errors import UserError, nearest, one_line
from project.core.types import Column
from project.data.source import Source
from project.data.tables.values import (
    MAX_CATEGORIES,
    TaskChoice,
    check_complete,
    check_not_numbers,
    check_plain,
    check_precision,
    parse_numbers,
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
    roles = {"target": target, "group_by": group_by, "time_column": time_column}
    for key, name in roles.items():
        check_columns(frame, [] if name is None else [name], f"data.{key}: {file}")
    check_columns(frame, ignore, f"data.ignore: {file}")
    if group_by is not None and time_column is not None:
        reason = "can't be combined with data.group_by: expected one of the two"
        raise UserError(f"data.time_column: {time_column}: {reason}")
    for name in frame.columns.difference(ignore, sort=False):
        check_plain(frame[name], f"data.file: {file}")
    if group_by is not None:
        check_complete(frame[group_by], "group", f"data.group_by: {file}: column '{group_by}'")
    has_target = frame[target].notna().to_numpy()
    skipped = tuple((f"row {row + 1}", "no target") for row in np.flatnonzero(~has_target))
    frame = frame[has_target].reset_index(drop=True)
    if frame.empty:
        raise UserError(f"data.target: {file}: column '{target}' is empty: expected values")
    targets, classes = to_targets(frame[target], task, f"data.target: {file}")
    features = frame[[name for name in frame.columns if name not in (*roles.values(), *ignore)]]
    columns, inputs = _read_features(features, ignore, f"data.file: {file}")
    return Source(
        inputs=inputs,
        targets=targets,
        classes=classes,
        columns=columns,
        groups=to_groups(frame[group_by].to_numpy()) if group_by else None,
        times=to_times(frame[time_column]) if time_column else None,
        skipped=skipped,
    )


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
    """An unfitted column; (N,) float32 numbers, NaN where missing, or indices of sorted texts."""
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


def read_table(file: str, key: str = "data.file", as_texts: bool = False) -> pd.DataFrame:
    """Reads a CSV or Parquet file; its columns are numbers (NaN where missing) or texts.

    ``as_texts`` keeps a CSV file's values as written, whatever the other rows hold.
    """
    path, place = Path(file), f"{key}: {file}"
    if not path.is_file():
        raise UserError(f"{place}: there is no such file: expected a CSV or Parquet file")
    if not path.stat().st_size:
        raise UserError(f"{place}: the file is empty: expected a line of column names")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            frame = pd.read_parquet(path)
            if any(name is not None for name in frame.index.names):
                frame = frame.reset_index()
        else:
            _check_header(path, place)
            frame = _drop_row_numbers(parse_csv(path, as_texts), place)
    except UnicodeDecodeError as error:
        reason = f"byte {error.start} is not UTF-8: expected the file saved as UTF-8"
        raise UserError(f"{place}: {reason}") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError, OSError) as error:
        raise UserError(f"{place}: can't be read ({one_line(error)}): expected a table") from None
    frame.columns = frame.columns.map(str)
    _check_doubled(frame.columns, place)
    if frame.empty:
        raise UserError(f"{place}: the table has no rows: expected rows below the names")
    return frame if as_texts else frame.apply(_to_plain_numbers)


def parse_csv(source: Path | TextIO, as_texts: bool) -> pd.DataFrame:
    """Parses CSV, see ``read_table``; raises ValueError if the text is not a table."""
    frame = pd.read_csv(
        source,
        dtype=str if as_texts else None,
        keep_default_na=False,  # "None" or "NULL" may be a category
        na_values=["", "NA", "NaN", "nan"],
        low_memory=False,
    )
    if not isinstance(frame.index, pd.RangeIndex):  # pandas made an index of surplus values
        reason = "rows have more values than there are column names"
        raise ValueError(f"{reason}; a value with a comma in it needs quotes")
    return frame


def _to_plain_numbers(column: pd.Series) -> pd.Series:
    """Turns a database's decimals, and numbers between marks of missing ones, into floats."""
    if kinds.is_numeric_dtype(column.dtype) or kinds.is_datetime64_any_dtype(column.dtype):
        return column
    kind = kinds.infer_dtype(column, skipna=True)
    if kind == "decimal":
        return column.astype(np.float64)
    if kind == "string":
        numbers, is_wrong = parse_numbers(column)
        has_marks = (np.isnan(numbers) & column.notna().to_numpy()).any()
        if has_marks and not is_wrong.any() and not np.isnan(numbers).all():
            return pd.Series(numbers, column.index, name=column.name)
    return column


def _check_header(path: Path, place: str) -> None:
    """Rejects what pandas would repair silently: doubled or missing names, another delimiter."""
    header = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False)
    names = header.iloc[0]
    _check_doubled(names[names != ""], place)
    unnamed = names[1:].str.strip() == ""
    if unnamed.any():
        raise UserError(f"{place}: column {unnamed.idxmax() + 1} has no name: expected one")
    for delimiter, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(names) == 1 and delimiter in names[0]:
            raise UserError(f"{place}: its columns are separated by {word}: expected commas")


def _check_doubled(names: Collection[str], place: str) -> None:
    series = pd.Series(names)
    if doubled := series[series.duplicated()].tolist():
        raise UserError(f"{place}: column '{doubled[0]}' is listed twice: expected one")


def _drop_row_numbers(frame: pd.DataFrame, place: str) -> pd.DataFrame:
    """Drops a first column without a name if it holds row numbers, as pandas writes them."""
    if not len(frame) or not str(frame.columns[0]).startswith("Unnamed: 0"):
        return frame
    if frame.iloc[:, 0].astype(str).tolist() != list(map(str, range(len(frame)))):
        raise UserError(f"{place}: column 1 has no name: expected one")
    return frame.iloc[:, 1:]


def check_columns(frame: pd.DataFrame, names: Collection[str], key: str) -> None:
    """Checks that a table has columns of these names."""
    for name in names:
        if name not in frame.columns:
            raise UserError(f"{key}: there is no column '{name}': {nearest(name, frame.columns)}")
