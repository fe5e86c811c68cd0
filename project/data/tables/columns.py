"""Columns of a table: what the training rows say of them, and rows in the terms of that."""

from collections.abc import Sequence

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

from project.core.arrays import Array
from project.core.errors import UserError
from project.core.types import Column
from project.data.source import RawColumn


def learn_columns(
    raw: Sequence[RawColumn], train: Array
) -> tuple[tuple[Column, ...], Array, Array]:
    """Learns medians, categories and the spread of features from training rows.

    Args:
        raw: the columns as they were read.
        train: (N, C) float32.

    Returns:
        The columns; mean and standard deviation of each feature, (F,).

    Raises:
        UserError: all training values of a column are missing.
    """
    for column, values in zip(raw, train.T, strict=True):
        if np.isnan(values).all():
            raise UserError(
                f"data.file: column '{column.name}': all its training values are missing: "
                f"expected some, or data.ignore=['{column.name}']"
            )
    numbers = [i for i, column in enumerate(raw) if column.texts is None]
    texts = [i for i, column in enumerate(raw) if column.texts is not None]
    imputer = SimpleImputer(strategy="median", add_indicator=True)
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    transformer = ColumnTransformer([("numbers", imputer, numbers), ("texts", encoder, texts)])
    features = transformer.fit_transform(train.astype(np.float64))
    columns = [Column(column.name) for column in raw]
    if numbers:
        fitted = transformer.named_transformers_["numbers"]
        flagged = {numbers[i] for i in fitted.indicator_.features_}
        for i, fill in zip(numbers, fitted.statistics_.tolist(), strict=True):
            columns[i] = Column(raw[i].name, None, fill, i in flagged)
    if texts:
        fitted = transformer.named_transformers_["texts"]
        for i, codes in zip(texts, fitted.categories_, strict=True):
            known = raw[i].texts or ()
            columns[i] = Column(raw[i].name, tuple(known[int(code)] for code in codes))
    return tuple(columns), features.mean(axis=0), features.std(axis=0)


def recode(rows: Array, raw: Sequence[RawColumn], columns: Sequence[Column]) -> Array:
    """Rows as they were read, in terms of the learnt columns: -1 is a category not seen."""
    recoded = rows.copy()
    for position, (before, after) in enumerate(zip(raw, columns, strict=True)):
        if before.texts is not None:
            codes = {text: code for code, text in enumerate(after.categories or ())}
            new = np.array([codes.get(text, -1) for text in before.texts], dtype=np.float32)
            recoded[:, position] = new[rows[:, position].astype(np.int64)]
    return recoded
