"""Tables as users keep them: CSV or Parquet files, with texts, gaps and mistakes in them."""

import re
import warnings
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Literal, TextIO

import numpy as np
import pandas as pd
from pandas.api import types as kinds

from project.core.arrays import Array
from project.core.errors import UserError, nearest

TaskChoice = Literal["auto", "classification", "regression"]
MAX_CATEGORIES = 1000  # of one column: more are no categories but names or free text
MAX_CLASSES = 20  # up to which whole numbers are taken for classes
# What stands for a missing number, in lower case; among texts it may be a category.
MISSING = ("?", "-", "--", ".", "na", "n/a", "#n/a", "nan", "null", "none", "missing", "unknown")
# With separated thousands, a decimal comma, a currency or a percent sign.
NUMBER = re.compile(r"[-+]?\s*[$€£]?\s*(\d{1,3}([,' ]\d{3})+|\d+)([.,]\d+)?\s*[$€£%]?")
PRECISION = 1e-3  # standard deviations by which 32 bits may change a number


def read_table(file: str, key: str = "data.file", as_texts: bool = False) -> pd.DataFrame:
    """Reads a CSV or Parquet file; its columns are numbers (NaN where missing) or texts.

    Args:
        file: path; what ends in ``.parquet`` or ``.pq`` is Parquet.
        key: what the user gave it by, for the error message.
        as_texts: take the numbers of a CSV file as they are written, so that what a value means
            doesn't hang on the rows around it.

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
            if any(name is not None for name in frame.index.names):
                frame = frame.reset_index()
        else:
            _check_header(path, key)
            frame = _drop_row_numbers(parse_csv(path, as_texts), path, key)
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
    return frame if as_texts else frame.apply(_to_plain_numbers)


def parse_csv(source: Path | TextIO, as_texts: bool) -> pd.DataFrame:
    """Parses CSV; see ``read_table``.

    Raises:
        ValueError: it is none.
    """
    # Only what is empty or says so is missing: "None" or "NULL" may be a category.
    frame = pd.read_csv(
        source,
        dtype=str if as_texts else None,
        keep_default_na=False,
        na_values=["", "NA", "NaN", "nan"],
        low_memory=False,
    )
    if not isinstance(frame.index, pd.RangeIndex):  # pandas has made one of what was left over
        raise ValueError(
            "rows have more values than there are column names; a value with a comma in it needs "
            "quotes"
        )
    return frame


def _to_plain_numbers(column: pd.Series) -> pd.Series:
    """Decimals of a database as numbers, and numbers between marks of missing ones."""
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


def parse_numbers(column: pd.Series) -> tuple[Array, Array]:
    """Values (N,) as float64, NaN where missing; and which are neither numbers nor missing."""
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    is_wrong = np.isnan(numbers) & column.notna().to_numpy()
    texts = column[is_wrong].astype(str).str.strip().str.lower()
    is_wrong[is_wrong] = ~texts.isin(MISSING).to_numpy()
    return numbers, is_wrong


def _check_header(path: Path, key: str) -> None:
    """Tells what pandas would mend without a word: doubled names, another delimiter."""
    header = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False)
    names = header.iloc[0].tolist()
    counts = Counter(names)
    for position, name in enumerate(names, 1):
        if counts[name] > 1 and name:
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
    if frame.iloc[:, 0].astype(str).tolist() != list(map(str, range(len(frame)))):
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


def check_plain(column: pd.Series, key: str) -> None:
    """Makes sure that a column holds numbers, texts or times.

    Raises:
        UserError: it holds lists, bytes or the like.
    """
    if column.dtype != object:
        return
    for value in column:
        if isinstance(value, (bytes, list, tuple, dict, set, np.ndarray)):
            raise UserError(
                f"{key}: column '{column.name}' holds values of type {type(value).__name__}: "
                f"expected numbers or texts, or data.ignore=['{column.name}']"
            )


def check_complete(column: pd.Series, what: str, key: str) -> None:
    """Makes sure that a column has a value in each row.

    Args:
        column: of a table.
        what: its values are, for the error message.
        key: of the table, likewise.

    Raises:
        UserError: the first row that has none.
    """
    if column.isna().any():
        row = int(column.isna().to_numpy().argmax()) + 1
        raise UserError(f"{key}: row {row} has no {what}: expected one")


def check_precision(column: pd.Series, values: Array, key: str) -> None:
    """Makes sure that numbers are still told apart as float32.

    Args:
        column: as it was read.
        values: (N,) of it as float32.
        key: of the table, for the error message.

    Raises:
        UserError: they aren't, such as seconds since 1970 within a minute.
    """
    exact = column.to_numpy(np.float64, na_value=np.nan)
    exact, rounded = exact[~np.isnan(exact)], values[~np.isnan(exact)]
    if len(exact) and np.abs(exact - rounded).max() > PRECISION * exact.std() > 0:
        raise UserError(
            f"{key}: column '{column.name}': {exact.min():.12g} to {exact.max():.12g}: 32 bits "
            "can't tell such numbers apart: expected them less a constant"
        )


def check_no_numbers(column: pd.Series, key: str) -> None:
    """Makes sure that texts aren't meant as numbers.

    Raises:
        UserError: nearly all are numbers, or many different ones are, whichever way written.
    """
    if kinds.is_bool_dtype(column.dtype):
        return
    # Each different value once: there are few of them in a column of categories.
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
            f"{key}: column '{column.name}': '{texts[most]}' in row {row + 1} is no number, as most"
            " of its values are: expected numbers such as 1200.5, or nothing where one is missing"
        )


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
        if numbers is None:
            check_no_numbers(column, key)
        task = "classification"
        if numbers is not None:
            is_whole = bool((numbers == np.round(numbers)).all())
            if not is_whole or column.nunique() > MAX_CLASSES:
                task = "regression"
    if task == "regression":
        if numbers is None:
            raise UserError(f"{key}: column '{column.name}' holds texts: expected numbers")
        check_precision(column, numbers, key)
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


def to_categories(column: pd.Series, key: str) -> tuple[Array, tuple[str, ...]]:
    """Values (N,) as indices into texts, float32, and the texts.

    Raises:
        UserError: they are meant as numbers.
    """
    check_no_numbers(column, key)
    known, codes = np.unique(to_texts(column).astype(str), return_inverse=True)
    return codes.astype(np.float32), tuple(known.tolist())


def to_groups(values: Array) -> Array:
    """Values (N,) of any kind as numbers of groups, (N,) int64."""
    return np.unique(values.astype(str), return_inverse=True)[1].astype(np.int64)


def to_times(column: pd.Series) -> Array:
    """Values (N,) that can be sorted: numbers, or dates and times.

    Raises:
        UserError: one is missing or neither, or the month can't be told from the day.
    """
    expected = "expected a number, or a date such as 2026-01-31"
    key = f"data.time_column: column '{column.name}'"
    check_complete(column, "time", key)
    if kinds.is_numeric_dtype(column.dtype) or kinds.is_datetime64_any_dtype(column.dtype):
        return np.asarray(column)
    times = pd.to_datetime(column, errors="coerce", utc=True, format="ISO8601")
    if not times.isna().any():
        return np.asarray(times)
    # One format for all rows, that of the first; the day may come before the month or behind it.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parsed = [
            pd.to_datetime(column, errors="coerce", utc=True, dayfirst=is_first)
            for is_first in (True, False)
        ]
    whole = [each for each in parsed if not each.isna().any()]
    if not whole:
        row = int(min(parsed, key=lambda each: each.isna().sum()).isna().to_numpy().argmax())
        raise UserError(f"{key}: '{column.iloc[row]}' in row {row + 1}: {expected}")
    if not whole[0].equals(whole[-1]):
        raise UserError(
            f"{key}: '{column.iloc[0]}' can be read in two ways, the day or the month first: "
            f"{expected}"
        )
    return np.asarray(whole[0])
