"""Schema of files: the arrays that a model or a state has, and the types of the numbers and records in it."""

import typing
from typing import Any, NamedTuple

import numpy as np

from .._check import shorten_repr
from .._legacy import has_member
from ..records.schedules import Schedule

LARGEST_COUNT = 2**53  # of updates and rows; larger integers are not exact in double precision
FINITE = "(-inf, inf)"


class ArrayField(NamedTuple):
    """Shape and dtype of an array, and the interval of its entries; the interval None also allows NaN."""

    shape: tuple
    dtype: Any
    domain: str | None = FINITE

    @classmethod
    def like(cls, array, domain=FINITE):
        """Return the field of arrays such as `array`."""
        return cls(array.shape, array.dtype, domain)


def check_names(arrays, required, optional=()):
    """Raise ValueError unless the arrays have exactly these names."""
    for name in required:
        if name not in arrays:
            raise ValueError(f"{name}: the array is missing")
    for name in arrays:
        if name not in required and name not in optional:
            raise ValueError(f"{name}: there is no such array among {sorted({*required, *optional})[:20]}")


def check_array(name, array, field):
    """Raise ValueError unless an array is as its field says."""
    if array.shape != field.shape:
        raise ValueError(f"{name}: got shape {array.shape}; must have shape {field.shape}")
    if array.dtype != field.dtype:
        raise ValueError(f"{name}: got dtype {array.dtype}; must be {field.dtype}")
    check_entries(name, array, field.domain)


def check_entries(name, array, domain):
    """Raise ValueError unless the entries of an array, and their real and imaginary parts, are in an interval."""
    if domain is None or not array.size:
        return
    if array.dtype.kind == "c":
        array = np.ascontiguousarray(array).reshape(-1).view(array.real.dtype)
    low, high = (float(part) for part in domain[1:-1].split(","))
    smallest, largest = array.min(), array.max()  # NaN if an entry is NaN
    if not (smallest >= low if domain[0] == "[" else smallest > low):
        raise ValueError(f"{name}: has the entry {smallest}; every entry must be in {domain}")
    if not (largest <= high if domain[-1] == "]" else largest < high):
        raise ValueError(f"{name}: has the entry {largest}; every entry must be in {domain}")


# --- numbers ---------------------------------------------------------------------------------------------------------


def entry(mapping, name, type_):
    """Return an entry of JSON data; raise ValueError if it is missing or of another type."""
    if not isinstance(mapping, dict) or name not in mapping:
        raise ValueError(f"{name}: is missing")
    value = mapping[name]
    if not isinstance(value, type_) or (isinstance(value, bool) and type_ is not bool):
        names = " or ".join(one.__name__ for one in (type_ if isinstance(type_, tuple) else (type_,)))
        raise ValueError(f"{name}: got {shorten_repr(value)}; must be of type {names}")
    return value


def reader_options_entry(meta):
    """Return the options of the reader of the rows, or None; raise ValueError if they are not plain data."""
    if "reader" not in meta:
        return None
    options = entry(meta, "reader", dict)
    for name, value in options.items():
        items = value if isinstance(value, list) else [value]
        if not all(isinstance(item, (bool, int, float, str)) for item in items):
            raise ValueError(
                f"reader: {name}: got {shorten_repr(value)}; must be a number, a string, or a list of them"
            )
    return options


def count_entry(mapping, name, low=0, high=LARGEST_COUNT):
    """Return an integer of JSON data; raise ValueError if it is outside [low, high]."""
    value = entry(mapping, name, int)
    if not low <= value <= high:
        raise ValueError(f"{name}: got {shorten_repr(value)}; must be an integer in [{low}, {high}]")
    return value


def check_number(name, value):
    """Return a number, Boolean, string or None of JSON data; raise ValueError for NaN and overlong integers."""
    if value != value or (isinstance(value, int) and not _is_float(value)):
        raise ValueError(f"{name}: got {shorten_repr(value)}; must be a number within float64")
    return value


def is_number(value):
    """Return whether a value of JSON data is a number that is not NaN."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and _is_float(value)


def _is_float(value):
    try:
        return float(value) == float(value)
    except OverflowError:
        return False


def _is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_COUNT


def _is_real_array(value):
    return isinstance(value, np.ndarray) and value.dtype.kind in "biuf"


def _is_tuple_of_numbers(value):
    return isinstance(value, tuple) and all(_is_count(item) or isinstance(item, float) for item in value)


def _is_record_or_name(value):
    parts = value if isinstance(value, tuple) and not hasattr(value, "_fields") else (value,)
    return hasattr(value, "_fields") or all(isinstance(part, str) for part in parts)


_IS_TYPE = {
    float: is_number,
    int: _is_count,
    bool: lambda value: isinstance(value, bool),
    str: lambda value: isinstance(value, str),
    tuple: _is_tuple_of_numbers,
    type(None): lambda value: value is None,
    Schedule: lambda value: has_member(value, "at"),
}


def check_field_type(name, cls, field, value):
    """Raise ValueError unless a field of a record has the type of its annotation.

    ``float | Any`` stands for a number or an array, and ``Any`` for a record or for names.
    """
    hint = typing.get_type_hints(cls)[field]
    types = typing.get_args(hint) or (hint,)
    accepts = [_IS_TYPE.get(type_, _is_real_array if len(types) > 1 else _is_record_or_name) for type_ in types]
    if not any(accept(value) for accept in accepts):
        wanted = ", ".join(getattr(type_, "__name__", str(type_)) for type_ in types).replace(
            "Any", "array" if len(types) > 1 else "record"
        )
        raise ValueError(f"{name}: got {shorten_repr(value)}; must be of type {wanted}")
