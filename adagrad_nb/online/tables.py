"""Tables of results: columns of record arrays, and data frames where pandas is installed."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np


def is_number(value: Any) -> bool:
    """Return whether a value is a real number, and not a boolean."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def as_column(values: list[Any]) -> np.ndarray:
    """Return values as floats if all are numbers, else as strings."""
    if all(is_number(value) for value in values):
        return np.array(values, np.float64)
    return np.array([value if isinstance(value, str) else repr(value) for value in values])


def record_array(columns: dict[str, np.ndarray]) -> np.recarray:
    """Return a record array with these columns."""
    table = np.empty(len(next(iter(columns.values()))), [(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        table[name] = column
    return table.view(np.recarray)


def data_frame(table: np.recarray) -> Any:
    """Return a record array as a data frame of pandas."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError("to_pandas: needs pandas; run pip install pandas") from error
    return pandas.DataFrame({name: table[name] for name in table.dtype.names or ()})
