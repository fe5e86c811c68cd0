"""A table of the user's own, CSV or Parquet, with numbers, categories and gaps."""

import numpy as np

from project.core.errors import UserError
from project.data.source import RawColumn, Source
from project.data.tables.read import (
    MAX_CATEGORIES,
    TaskChoice,
    check_columns,
    check_complete,
    check_plain,
    check_precision,
    read_table,
    to_categories,
    to_groups,
    to_numbers,
    to_targets,
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
    """Reads a table; every column but the named ones is a feature.

    Missing numbers are filled with the median of the training rows and flagged, a missing text is a
    category of its own. Rows without a target are left out.

    Args:
        file: path of a CSV file (commas, UTF-8, a line of column names) or a Parquet file.
        target: column to be predicted.
        task: ``auto`` classifies texts and whole numbers of up to 20 kinds, and regresses others.
        ignore: columns that are no features.
        group_by: column; rows of one value stay in one split.
        time_column: column; train is before val, and val before test.

    Raises:
        UserError: names the file, the column and what was expected.
    """
    frame = read_table(file)
    named = {"data.target": target, "data.group_by": group_by, "data.time_column": time_column}
    for key, name in named.items():
        if name is not None:
            check_columns(frame, [name], f"{key}: {file}")
    check_columns(frame, ignore, f"data.ignore: {file}")
    if group_by is not None and time_column is not None:
        raise UserError(f"data.time_column: {time_column}: expected it without data.group_by")
    for name in frame.columns.difference(ignore, sort=False):
        check_plain(frame[name], f"data.file: {file}")
    if group_by is not None:
        check_complete(frame[group_by], "group", f"data.group_by: {file}: column '{group_by}'")
    has_target = frame[target].notna().to_numpy()
    left_out = [(f"row {row + 1}", "no target") for row in np.flatnonzero(~has_target)]
    frame = frame[has_target].reset_index(drop=True)
    if frame.empty:
        raise UserError(f"data.target: {file}: column '{target}' is empty: expected values")
    targets, classes = to_targets(frame[target], task, f"data.target: {file}")
    columns: list[RawColumn] = []
    values = []
    too_many = []
    for name in frame.columns:
        if name in (*named.values(), *ignore):
            continue
        column = frame[name]
        if column.isna().all():
            raise UserError(
                f"data.file: {file}: column '{name}' is empty: expected values, or "
                f"data.ignore=['{name}']"
            )
        numbers = to_numbers(column)
        if numbers is not None:
            check_precision(column, numbers, f"data.file: {file}")
            columns.append(RawColumn(name))
            values.append(numbers)
            continue
        codes, texts = to_categories(column, f"data.file: {file}")
        if len(texts) > min(MAX_CATEGORIES, max(50, len(frame) / 2)):
            too_many.append(name)
        columns.append(RawColumn(name, texts))
        values.append(codes)
    if too_many:
        quoted = ",".join(f"'{name}'" for name in too_many)
        raise UserError(
            f"data.file: {file}: column '{too_many[0]}' has {frame[too_many[0]].nunique()} "
            f"different texts in {len(frame)} rows, too many for categories: expected "
            f"data.ignore=[{','.join([*map(repr, ignore), quoted])}], or data.time_column= for "
            "dates"
        )
    if not columns:
        raise UserError(f"data.file: {file}: no column is left to predict from: expected some")
    return Source(
        inputs=np.stack(values, axis=1),
        targets=targets,
        classes=classes,
        columns=tuple(columns),
        groups=to_groups(frame[group_by].to_numpy()) if group_by else None,
        times=to_times(frame[time_column]) if time_column else None,
        left_out=tuple(left_out),
    )
