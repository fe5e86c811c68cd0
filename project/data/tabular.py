"""Tables as users keep them: CSV or Parquet files, with texts, gaps and mistakes in them."""

from collections.abc import Collection
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pandas.api import types as kinds

from project.errors import UserError, nearest
from project.types import Array

TaskChoice = Literal["auto", "classification", "regression"]
MAX_CATEGORIES = 1000  # of one column: more are no categories but names or free text
MAX_CLASSES = 20  # up to which whole numbers are taken for classes


def read_table(file: str, key: str = "data.file") -> pd.DataFrame:
    """Reads a CSV or Parquet file; its columns are numbers (NaN where missing) or texts.

    Args:
        file: path; what ends in ``.parquet`` or ``.pq`` is Parquet.
        key: what the user gave it by, for the error message.

    Raises:
        UserError: it isn't there, can't be read, or is no table with a name for each column.
    """
    path = Path(file)
    if not path.is_file():
        raise UserError(f"{key}: {file}: there is no such file: expected a CSV or Parquet file")
    if not path.stat().st_size:
        raise UserError(f"{key}: {file}: the file is empty: expected a line of column names")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            frame = pd.read_parquet(path)
        else:
            _check_header(path, key)
            # Only what is empty or says so is missing: "None" or "NULL" may be a category.
            frame = pd.read_csv(
                path, keep_default_na=False, na_values=["", "NA", "NaN", "nan"], low_memory=False
            )
            frame = _drop_row_numbers(frame, path, key)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{key}: {file}: byte {error.start} is not UTF-8: expected the file saved as UTF-8"
        ) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{key}: {file}: can't be read ({reason}): expected a table") from None
    frame.columns = frame.columns.map(str)
    doubled = frame.columns[frame.columns.duplicated()]
    if len(doubled):
        raise UserError(f"{key}: {file}: column '{doubled[0]}' is there twice: expected one")
    if frame.empty:
        raise UserError(f"{key}: {file}: it has no rows: expected some under the column names")
    return frame


def _check_header(path: Path, key: str) -> None:
    """Tells what pandas would mend without a word: doubled names, another delimiter."""
    header = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False)
    names = header.iloc[0].tolist()
    for position, name in enumerate(names, 1):
        if names.count(name) > 1 and name:
            raise UserError(f"{key}: {path}: column '{name}' is there twice: expected one")
        if not name.strip() and position > 1:
            raise UserError(f"{key}: {path}: column {position} has no name: expected one")
    if len(names) == 1:
        for delimiter, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
            if delimiter in names[0]:
                raise UserError(
                    f"{key}: {path}: its columns are separated by {word}: expected commas"
                )


def _drop_row_numbers(frame: pd.DataFrame, path: Path, key: str) -> pd.DataFrame:
    """Without a first column that has no name, which is what pandas writes the row numbers to."""
    if not len(frame) or not str(frame.columns[0]).startswith("Unnamed: 0"):
        return frame
    if not frame.iloc[:, 0].equals(pd.Series(range(len(frame)))):
        raise UserError(f"{key}: {path}: column 1 has no name: expected one")
    return frame.iloc[:, 1:]


def check_columns(frame: pd.DataFrame, names: Collection[str], key: str) -> None:
    """Makes sure that columns are there.

    Raises:
        UserError: the first that isn't, by name.
    """
    for name in names:
        if name not in frame.columns:
            known = nearest(name, frame.columns)
            raise UserError(f"{key}: there is no column '{name}': {known}")


def to_numbers(column: pd.Series) -> Array | None:
    """Values (N,) as float32, NaN where missing; None if they are no numbers.

    Raises:
        UserError: one is infinite.
    """
    if kinds.is_datetime64_any_dtype(column.dtype):
        raise UserError(
            f"data.file: column '{column.name}': it holds dates: expected numbers or texts, "
            f"data.time_column={column.name} or data.ignore=['{column.name}']"
        )
    if not (kinds.is_numeric_dtype(column.dtype) and not kinds.is_bool_dtype(column.dtype)):
        return None
    with np.errstate(over="ignore"):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan).astype(np.float32)
    if np.isinf(values).any():
        row = int(np.isinf(values).argmax())
        raise UserError(
            f"data.file: column '{column.name}': {column.iloc[row]} in row {row + 1}: "
            "expected a finite number"
        )
    return np.asarray(values)


def to_texts(column: pd.Series) -> Array:
    """Values (N,) as texts, the empty one where missing."""
    return np.where(column.isna(), "", column.astype(str)).astype(object)


def to_targets(column: pd.Series, task: TaskChoice, key: str) -> tuple[Array, tuple[str, ...]]:
    """What is to be predicted: (N,) class indices and the classes, or (N,) values and none.

    Whole numbers of up to 20 kinds and texts are classes, unless the task says otherwise.

    Args:
        column: without gaps.
        task: chosen by the user.
        key: of the column, for the error message.

    Raises:
        UserError: it is constant, or can't be what the task says.
    """
    if column.nunique() < 2:
        raise UserError(
            f"{key}: column '{column.name}' is constant, all its values are "
            f"'{column.iloc[0]}': expected at least two"
        )
    numbers = to_numbers(column)
    if task == "auto":
        task = "classification"
        if numbers is not None:
            is_whole = bool((numbers == np.round(numbers)).all())
            if not is_whole or column.nunique() > MAX_CLASSES:
                task = "regression"
    if task == "regression":
        if numbers is None:
            raise UserError(f"{key}: column '{column.name}' holds texts: expected numbers")
        return numbers, ()
    if numbers is not None and (numbers % 1 == 0).all():
        column = column.astype(np.int64)
    values = to_texts(column) if numbers is None else column.to_numpy()
    kinds_of, targets = np.unique(values, return_inverse=True)
    if len(kinds_of) > MAX_CATEGORIES:
        raise UserError(
            f"{key}: column '{column.name}' has {len(kinds_of)} different values: expected at most "
            f"{MAX_CATEGORIES} classes, or data.task=regression"
        )
    return targets.astype(np.int64), tuple(str(kind) for kind in kinds_of)


def to_categories(column: pd.Series) -> tuple[Array, tuple[str, ...]]:
    """Values (N,) as indices into texts, float32, and the texts.

    Raises:
        UserError: some are numbers and some are not.
    """
    texts = to_texts(column)
    parsed = pd.to_numeric(column, errors="coerce")
    wrong = (parsed.isna() & ~column.isna()).to_numpy()
    is_bool = kinds.is_bool_dtype(column.dtype)
    if not is_bool and 0 < wrong.sum() < 0.1 * (~column.isna()).sum():
        row = int(wrong.argmax())
        raise UserError(
            f"data.file: column '{column.name}': '{texts[row]}' in row {row + 1} is no number, as "
            "nearly all of its values are: expected numbers, or nothing where one is missing"
        )
    known, codes = np.unique(texts.astype(str), return_inverse=True)
    return codes.astype(np.float32), tuple(known.tolist())


def to_groups(values: Array) -> Array:
    """Values (N,) of any kind as numbers of groups, (N,) int64."""
    return np.unique(values.astype(str), return_inverse=True)[1].astype(np.int64)


def to_times(column: pd.Series) -> Array:
    """Values (N,) that can be sorted: numbers, or dates and times.

    Raises:
        UserError: one is missing or neither.
    """
    times = column
    if not kinds.is_numeric_dtype(column.dtype):
        times = pd.to_datetime(column, errors="coerce", utc=True, format="mixed")
    if times.isna().any():
        row = int(times.isna().to_numpy().argmax())
        raise UserError(
            f"data.time_column: column '{column.name}': {column.iloc[row]!r} in row {row + 1}: "
            "expected a number, or a date such as 2026-01-31"
        )
    return np.asarray(times)
