"""CSV and Parquet files as data frames; their mistakes are reported, not repaired silently."""

from collections.abc import Collection
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd
from pandas.api import types as kinds

from project.core.errors import UserError, nearest, one_line
from project.data.tables.values import parse_numbers


def read_table(file: str, key: str = "data.file", as_texts: bool = False) -> pd.DataFrame:
    """Reads a CSV or Parquet file; its columns are numbers (NaN where missing) or texts.

    ``as_texts`` keeps the numbers of a CSV file as they are written, so that the meaning of a value
    doesn't depend on the other rows.
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
    # "None" or "NULL" may be a category: only these spellings are missing values.
    missing, dtype = ["", "NA", "NaN", "nan"], str if as_texts else None
    frame = pd.read_csv(
        source, dtype=dtype, keep_default_na=False, na_values=missing, low_memory=False
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
    if len(names) == 1:
        for delimiter, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
            if delimiter in names[0]:
                reason = f"its columns are separated by {word}"
                raise UserError(f"{place}: {reason}: expected commas")


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
