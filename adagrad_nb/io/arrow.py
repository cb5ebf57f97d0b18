"""Conversion of Arrow arrays to NumPy: numbers, categories and words.  It needs pyarrow, which is optional."""

import math
from collections.abc import Mapping

import numpy as np

from .._check import shorten_repr
from .column_entries import MISSING

WORD_SEPARATORS = r"[^\pL\pN\pM_]+"


class CellError(ValueError):
    """Error in one cell: the row in its batch or None, the column, what is wrong, and a remedy."""

    def __init__(self, row, column, problem, remedy):
        super().__init__(f"column {column!r}: {problem}; {remedy}")
        self.row, self.column, self.problem, self.remedy = row, column, problem, remedy


def import_pyarrow(what):
    """Return the package pyarrow; raise ImportError with a remedy if it is not installed."""
    try:
        import pyarrow
    except ImportError:
        raise ImportError(f"{what} needs pyarrow: pip install 'adagrad_nb[arrow]'") from None
    return pyarrow


def is_table(data):
    """Return whether `data` is a data frame, an Arrow table, or another object that exports an Arrow stream."""
    return hasattr(data, "__arrow_c_stream__") or (hasattr(data, "columns") and hasattr(data, "iloc"))


def as_table(data, what="the argument"):
    """Return a pyarrow Table, or a RecordBatchReader for a stream, of any table or mapping of columns."""
    pa = import_pyarrow(what)
    if isinstance(data, (pa.Table, pa.RecordBatchReader)):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if hasattr(data, "iloc") and hasattr(data, "columns"):
        return _from_pandas(pa, data)
    if isinstance(data, Mapping):
        return pa.table({name: np.atleast_1d(value) if np.ndim(value) == 0 else value for name, value in data.items()})
    if hasattr(data, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(data)
    raise TypeError(f"{what}: got {type(data).__name__}; must be a data frame, an Arrow table, or a mapping of columns")


def _from_pandas(pa, frame):
    """Return a pandas data frame as a Table without its index."""
    names = [str(name) for name in frame.columns]
    columns = []
    for k, name in enumerate(names):
        column = frame.iloc[:, k]
        try:
            columns.append(_from_pandas_column(pa, column))
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
            types = sorted({type(value).__name__ for value in column})
            raise CellError(
                None, name, f"has values of the types {', '.join(types)}",
                "convert the column, as with .astype(float) or .astype(str)",
            ) from None  # fmt: skip
    return pa.Table.from_arrays(columns, names=names)


def _from_pandas_column(pa, column):
    if hasattr(column.dtype, "subtype"):  # sparse columns, as of get_dummies(sparse=True)
        column = column.astype(column.dtype.subtype)
    array = pa.Array.from_pandas(column)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


# --- types -------------------------------------------------------------------------------------------------------


def type_kind(arrow_type):
    """Return "number", "category", "null", "time" or "other" for the type of a column."""
    pa = import_pyarrow("reading tables")
    t = pa.types
    if t.is_dictionary(arrow_type):
        kind = type_kind(arrow_type.value_type)
        return "category" if kind in ("number", "category", "null") else kind
    if t.is_null(arrow_type):
        return "null"
    if t.is_boolean(arrow_type) or t.is_integer(arrow_type) or t.is_floating(arrow_type) or t.is_decimal(arrow_type):
        return "number"
    if t.is_string(arrow_type) or t.is_large_string(arrow_type) or _is_string_view(t, arrow_type):
        return "category"
    if t.is_temporal(arrow_type):
        return "time"
    return "other"


def _is_string_view(types, arrow_type):
    return hasattr(types, "is_string_view") and types.is_string_view(arrow_type)


def without_views(array):
    """Return an array of string views as strings, because old versions of pyarrow lack functions of views."""
    pa = import_pyarrow("reading tables")
    if pa.types.is_dictionary(array.type) and _is_string_view(pa.types, array.type.value_type):
        return pa.DictionaryArray.from_arrays(array.indices, array.dictionary.cast(pa.large_string()))
    return array.cast(pa.large_string()) if _is_string_view(pa.types, array.type) else array


# --- numbers and categories --------------------------------------------------------------------------------------


def to_numbers(name, array):
    """Return (float64 numbers with 0 for missing ones, mask of the missing ones or None)."""
    pa = import_pyarrow("reading tables")
    kind = type_kind(array.type)
    if pa.types.is_dictionary(array.type):
        array, kind = array.dictionary_decode(), type_kind(array.type.value_type)
    if kind == "time":
        array = _time_to_numbers(pa, array)
    elif kind == "category":
        array = _strings_to_numbers(pa, name, array)
    elif kind == "other":
        raise CellError(None, name, f"has the type {array.type}", "give it numbers, or leave the column out")
    if not pa.types.is_float64(array.type):
        array = array.cast(pa.float64(), safe=False)
    x = array.to_numpy(zero_copy_only=False)
    mask = np.isnan(x)
    if not mask.any():
        mask = None
    else:
        x = np.where(mask, 0.0, x)
    is_infinite = np.isinf(x)
    if is_infinite.any():
        row = int(is_infinite.argmax())
        raise CellError(row, name, f"got {x[row]}", "numbers must be finite; leave the cell empty, or correct it")
    return x, mask


def _time_to_numbers(pa, array):
    """Return dates and times as days since 1970, times of day and durations as days."""
    t = pa.types
    if t.is_interval(array.type):
        raise CellError(None, "", f"has the type {array.type}", "convert it to numbers")
    if t.is_date(array.type):
        return array.cast(pa.date32()).cast(pa.int32())
    if t.is_time(array.type):
        unit = array.type.unit
    else:
        unit = array.type.unit
    seconds = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[unit]
    integers = array.cast(pa.int32() if t.is_time32(array.type) else pa.int64())
    x = integers.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False) / (seconds * 86400)
    return pa.array(x, from_pandas=True)


def _strings_to_numbers(pa, name, array):
    import pyarrow.compute as pc

    text = pc.utf8_trim_whitespace(array.cast(pa.large_string()))
    text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.large_string()), text)
    try:
        return text.cast(pa.float64())
    except pa.ArrowInvalid:
        row = next(k for k, value in enumerate(text.to_pylist()) if value is not None and not _is_number(value))
        raise CellError(
            row, name, f"got {shorten_repr(text[row].as_py())} in a numeric column",
            f"correct it, or declare the column: columns={{{name!r}: 'one_hot'}}",
        ) from None  # fmt: skip


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def to_categories(name, array):
    """Return (code of each row, category of each code); categories are strings, and missing values have one too."""
    pa = import_pyarrow("reading tables")
    kind = type_kind(array.type)
    if kind == "other":
        raise CellError(None, name, f"has the type {array.type}", "give it strings, or leave the column out")
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    values = array.dictionary
    if type_kind(values.type) != "category":
        categories = [_category_of(value) for value in values.to_pylist()]
    else:
        categories = [MISSING if value is None else value.strip() or MISSING for value in values.to_pylist()]
    codes = array.indices
    if codes.null_count:
        codes = codes.cast(pa.int64()).fill_null(len(categories))
        categories.append(MISSING)
    return codes.to_numpy(zero_copy_only=False), categories


def _category_of(value):
    """Return a number, boolean or date as a category: a number without a fraction as an integer."""
    if value is None or value != value:
        return MISSING
    if isinstance(value, float) and value.is_integer() and math.isfinite(value):
        return str(int(value))
    return str(value)


def to_words(name, array, lowercase):
    """Return (start of the words of each row, code of each word, words)."""
    pa = import_pyarrow("reading tables")
    import pyarrow.compute as pc

    if type_kind(array.type) not in ("category", "null"):
        raise CellError(None, name, f"has the type {array.type}", "a text column must have strings")
    array = array.cast(pa.large_string()).fill_null("")
    if lowercase:
        array = pc.utf8_lower(array)
    lists = pc.split_pattern_regex(array, WORD_SEPARATORS)
    offsets = lists.offsets.to_numpy()
    words = lists.values.slice(offsets[0], offsets[-1] - offsets[0])
    encoded = words.dictionary_encode()
    codes, distinct = encoded.indices.to_numpy(zero_copy_only=False), encoded.dictionary.to_pylist()
    return offsets - offsets[0], codes, distinct
