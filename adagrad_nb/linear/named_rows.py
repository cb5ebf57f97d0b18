"""Rows with names: data frames and Arrow tables as features, and the mapping of columns that a model keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..io.arrow import as_table, is_table
from ..io.arrow_reader import read_arrow
from ..io.column_entries import Numeric
from ..io.columns import Columns, matching_columns
from ..io.readers import Chunk
from ..io.table_reader import NamedChunk

if TYPE_CHECKING:
    import numpy.typing as npt


def named_chunk(X: Any, y: Any, weight: Any, columns: Columns | None, dtype: npt.DTypeLike | None) -> Chunk:
    """Return the rows of a table as one chunk with its mapping; other rows are returned as a plain chunk.

    The mapping `columns` of a model is extended by new categories.  A table of numbers is not converted.
    """
    if not is_table(X):
        return Chunk(X, y, weight)
    names = _names_if_numeric(X)
    if names is not None and (columns is None or is_numeric(columns)):
        if len(set(names)) < len(names):
            return Chunk(X, y, weight)
        own = Columns(tuple(Numeric(name) for name in names)) if columns is None else columns
        return NamedChunk.with_columns(Chunk(select_columns(X, own.names), y, weight), own)
    n_rows = max(int(X.shape[0]), 1) if hasattr(X, "shape") else 2**62
    reader = read_arrow(
        X, label=None, columns=columns, new_categories="add", dtype=np.float64 if dtype is None else dtype,
        chunk_rows=n_rows,
    )  # fmt: skip
    chunks = list(reader)
    if not chunks:
        raise ValueError("X: has no rows")
    if len(chunks) > 1:
        raise TypeError(f"X: got {type(X).__name__} with y; pass read_arrow(X, label=…), or a Table")
    return NamedChunk.with_columns(Chunk(chunks[0].X, y, weight), reader.columns)


def to_features(X: Any, columns: Columns | None, dtype: npt.DTypeLike) -> Any:
    """Return a table, or a dict of columns, as the features of a model with the mapping `columns`.

    Other rows, and those for a model without mapping, are returned unchanged.
    """
    if columns is None:
        return X
    X = as_row_table(X)
    if not is_table(X):
        return X
    if is_numeric(columns) and _names_if_numeric(X) is not None:
        return select_columns(X, columns.names)
    return columns.transform(X, dtype=dtype)


def common_columns(name: str, models: list) -> Columns | None:
    """Return the mapping of which those of all models are parts; raise ValueError if there is none."""
    known = [model.columns for model in models if model.columns is not None]
    columns = max(known, key=lambda columns: columns.n_features, default=None)
    for k, other in enumerate(known):
        if not columns.is_extension_of(other):  # type: ignore[union-attr]
            raise ValueError(
                f"{name}: the mapping of columns number {k} differs from another one; train all models with the same "
                "columns=…, and new_categories='ignore'"
            )
    return columns


def as_row_table(X: Any) -> Any:
    """Return a dict of the values of one row, or of columns, as a table, and other rows unchanged."""
    return as_table(X, "X") if isinstance(X, Mapping) else X


def is_numeric(columns: Columns) -> bool:
    """Return whether each feature is the number of a column, unchanged and never missing."""
    is_plain = all(isinstance(entry, Numeric) and entry[1:] == (0.0, 1.0) for entry in columns.entries)
    return is_plain and len(columns.features) == len(columns.entries)


def select_columns(X: Any, names: tuple) -> Any:
    """Return the columns of a table of numbers with these names, in this order."""
    own = _column_names(X)
    matching_columns("X", own, names)
    if tuple(own) == tuple(names):
        return X
    if hasattr(X, "iloc"):
        return X.iloc[:, [own.index(name) for name in names]]
    return X.select(list(names))


def update_columns(model: Any, chunk: Any, n_features: int) -> None:
    """Set the mapping of a model to that of a chunk; raise ValueError if it has other features."""
    columns = getattr(chunk, "columns", None)
    known = model.columns
    if columns is not None and known is None:
        if model.n_seen:
            raise ValueError(
                "X: has names, but the model was trained on columns without names; pass features in the order of the "
                "model, as in columns.transform(table)"
            )
    elif columns is not None and columns is not known and not columns.is_extension_of(known):
        if known.is_extension_of(columns):  # rows that were read before all categories were known
            return
        raise ValueError(
            "X: the mapping of its columns differs from that of the model; pass columns=model.columns and "
            "new_categories='add' to the reader"
        )
    elif columns is None:
        if known is not None and n_features > known.n_features:
            raise ValueError(
                f"X: got {n_features} columns without names; the model has {known.n_features} features with names, so "
                "pass a table, or the result of model.columns.transform(table)"
            )
        return
    model.columns = columns


def _column_names(X):
    names = X.column_names if hasattr(X, "column_names") else X.columns
    return [str(name) for name in names]


def _names_if_numeric(X):
    """Return the column names of a table of numbers and booleans, or None for other tables."""
    if hasattr(X, "iloc"):
        numeric = all(_is_numeric_series(X.iloc[:, k]) for k in range(X.shape[1]))
    elif hasattr(X, "schema") and hasattr(X, "dtypes"):  # polars
        numeric = hasattr(X, "to_numpy") and all(t.is_numeric() or str(t) == "Boolean" for t in X.dtypes)
    else:
        return None
    return _column_names(X) if numeric else None


def _is_numeric_series(series):
    kind = getattr(series.dtype, "kind", "O")
    if kind in "biufc":
        return True
    return kind == "O" and type(series.dtype) is np.dtype and not any(isinstance(value, str) for value in series)
