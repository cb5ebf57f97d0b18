"""Choice of the entries of a mapping: by the types of the first rows, or as the user declares them."""

import math

import numpy as np

from .. import _check
from .arrow import CellError, to_categories, to_numbers, type_kind
from .column_entries import KINDS, Hashed, Interaction, Numeric, OneHot, Text

MAX_ONE_HOT = 1000  # categories in the first rows; columns with more are hashed
FIRST_ROWS = 8192
WORDS_OF_TEXT = 4  # mean number of words of a text column
IGNORE = "ignore"


def check_declared(declared):
    """Return the argument `columns`, a dict, with records, IGNORE or "numeric" as values."""
    if not isinstance(declared, dict):
        raise TypeError(
            f"columns: got {_check.shorten_repr(declared)}; must be a Columns record, or a dict such as "
            "{'zip': 'one_hot', 'id': 'ignore'}"
        )
    return {name: _as_entry(name, value) for name, value in declared.items()}


def _as_entry(name, value):
    kinds = [kind for kind in KINDS if kind != "interaction"]
    if value in (IGNORE, "numeric"):
        return value
    if isinstance(value, str) and value in kinds:
        return KINDS[value](name)
    if type(value) in (Numeric, OneHot, Hashed, Text):
        if value.name != name:
            raise ValueError(f"columns[{name!r}]: got {value}; must be an entry of the column {name!r}")
        return value
    words = ", ".join(map(repr, [*kinds, IGNORE]))
    raise ValueError(
        f"columns[{name!r}]: got {_check.shorten_repr(value)}; must be one of {words}, or an entry such as OneHot('a')"
    )


def find_entries(where, columns, declared, interactions):
    """Return the entries for a batch of first rows.

    Parameters
    ----------
    where : str
        Name of the data, for errors.
    columns : dict of pyarrow.Array
        Columns other than the label and the weight.
    declared : dict
        Entries that the user declares, by column.
    interactions : sequence of sequences of str
    """
    for name in declared:
        if name not in columns:
            raise ValueError(f"columns: got {name!r}, but {where} has the columns {', '.join(map(repr, columns))}")
    entries = []
    for name, array in columns.items():
        entry = declared.get(name) or _find_entry(name, array)
        if entry == "numeric":
            entry = _numeric_entry(name, array)
        if entry != IGNORE:
            entries.append(entry)
    if not entries:
        raise ValueError(f"{where}: has no columns of features; it needs one besides the label")
    return (*entries, *(Interaction(tuple(names)) for names in interactions))


def _find_entry(name, array):
    kind = type_kind(array.type)
    if kind == "number":
        return _numeric_entry(name, array)
    if kind == "time":
        raise CellError(
            None, name, f"has dates or times ({array.type})",
            f"declare it: columns={{{name!r}: 'numeric'}} for days, 'one_hot' for categories, or 'ignore'",
        )  # fmt: skip
    if kind == "other":
        raise CellError(
            None, name, f"has the type {array.type}", f"convert it, or leave it out: columns={{{name!r}: 'ignore'}}"
        )
    codes, categories = to_categories(name, array)
    if len(categories) <= codes.size / 2 and len(categories) <= MAX_ONE_HOT:
        return OneHot(name)
    if len(categories) > codes.size / 2 and sum(len(c.split()) for c in categories) >= WORDS_OF_TEXT * len(categories):
        return Text(name)
    return Hashed(name) if len(categories) > MAX_ONE_HOT else OneHot(name)


def _numeric_entry(name, array):
    """Return the entry of numbers, whose offset and scale are round numbers.

    The offset is the mean to a tenth of the standard deviation, which is the scale.  If most numbers are 0, the offset
    is 0 and the scale is the root mean square of the others.  A column with no more than two values is not changed.
    """
    x, mask = to_numbers(name, array)
    x = x if mask is None else x[~mask]
    if np.unique(x).size <= 2:
        return Numeric(name)
    nonzero = x[x != 0]
    if nonzero.size < x.size / 2:
        offset, scale = 0.0, _root_mean_square(nonzero)
    else:
        largest = float(np.abs(x).max())
        mean = float(np.mean(x / largest)) * largest
        scale = _root_mean_square(x - mean)
        unit = 10.0 ** (math.floor(math.log10(scale)) - 1) if 0 < scale < math.inf else 0.0
        offset = float(f"{round(mean / unit) * unit:.12g}") if unit else 0.0
    scale = float(f"{scale:.0e}")
    return Numeric(name, offset, scale) if 0 < scale < math.inf and math.isfinite(offset) else Numeric(name)


def _root_mean_square(x):
    """Return the root mean square of numbers, of which some are not 0, without overflow."""
    largest = float(np.abs(x).max())
    return float(np.sqrt(np.mean(np.square(x / largest)))) * largest
