"""Compact storage of arrays most of whose rows are equal, such as the weights of features that never occurred.

A row is an entry of a vector, or a slice along the first axis.  ``pack`` stores the row that is repeated, and the
numbers and values of all other rows.  Equality is that of the bytes.
"""

import math

import numpy as np

from .schema import LARGEST_COUNT

MIN_ROWS = 4096  # of arrays that are worth it
LARGEST_SHARE = 4  # at most one row in so many may differ
LARGEST_BYTES = 2**36  # of an array in memory
PARTS = ("rows", "values", "repeated")
BLOCK_ROWS = 2**16


def pack(arrays):
    """Return the arrays of a file, and the number of rows of each array that they store compactly.

    An array ``name`` becomes the arrays ``name.rows``, ``name.values`` and ``name.repeated``.
    """
    packed, n_rows = {}, {}
    for name, array in arrays.items():
        rows = _different_rows(array)
        if rows is None:
            packed[name] = array
        else:
            n_rows[name] = array.shape[0]
            parts = rows, array[rows], _repeated_row(array)
            packed |= {f"{name}.{part}": values for part, values in zip(PARTS, parts, strict=True)}
    return packed, n_rows


def unpack(packed, n_rows):
    """Return the arrays that `pack` packed; raise ValueError if the parts do not fit together."""
    arrays = dict(packed)
    for name, n in n_rows.items():
        if not isinstance(n, int) or isinstance(n, bool) or not 0 <= n <= LARGEST_COUNT:
            raise ValueError(f"{name}: the number of rows is not one")
        parts = [arrays.pop(f"{name}.{part}", None) for part in PARTS]
        if name in arrays or any(part is None for part in parts):
            raise ValueError(f"{name}: must be stored once, as {', '.join(f'{name}.{part}' for part in PARTS)}")
        arrays[name] = _unpack_array(name, n, *parts)
    return arrays


def _unpack_array(name, n, rows, values, repeated):
    is_fit = rows.ndim == 1 and rows.dtype.kind in "iu" and values.shape == rows.shape + repeated.shape
    if not is_fit or values.dtype != repeated.dtype:
        raise ValueError(f"{name}: the rows, their numbers and the repeated row do not fit together")
    rows = rows.astype(np.int64)
    if rows.size and (rows[0] < 0 or rows[-1] >= n or np.any(np.diff(rows) <= 0)):
        raise ValueError(f"{name}: the numbers of the rows must increase and be smaller than {n}")
    shape = (n, *repeated.shape)
    if math.prod(shape) * repeated.itemsize > LARGEST_BYTES:
        raise ValueError(f"{name}: shape {shape} has more than {LARGEST_BYTES} bytes")
    native = repeated.dtype.newbyteorder("=")
    array = np.zeros(shape, native)  # untouched zeros take no memory
    if np.any(_bits(repeated[np.newaxis])):
        array[...] = repeated
    array[rows] = values
    return array


def _different_rows(array):
    """Return the numbers of the rows that are not the repeated one, or None if they are too many."""
    n = array.shape[0] if array.ndim else 0
    if n < MIN_ROWS or not array.size:
        return None
    repeated = _bits(_repeated_row(array)[np.newaxis])
    sample = array[np.linspace(0, n - 1, 256, dtype=np.int64)]
    if np.count_nonzero(_differs(sample, repeated)) > 256 // LARGEST_SHARE:
        return None
    blocks = (np.flatnonzero(_differs(array[k : k + BLOCK_ROWS], repeated)) + k for k in range(0, n, BLOCK_ROWS))
    rows = np.concatenate(list(blocks))
    return None if rows.size > n // LARGEST_SHARE else rows.astype(np.uint32 if n <= 2**32 else np.int64)


def _repeated_row(array):
    """Return the row that occurs most often in a sample."""
    sample = array[np.linspace(0, array.shape[0] - 1, 31, dtype=np.int64)]
    _, first, counts = np.unique(_bits(sample), axis=0, return_index=True, return_counts=True)
    return sample[first[np.argmax(counts)]]


def _differs(rows, repeated):
    """Return whether the bits of each row differ from those of the repeated row."""
    return np.any(_bits(rows) != repeated, axis=1)


def _bits(rows):
    """Return the bits of each row as a vector of integers."""
    rows = np.ascontiguousarray(rows)
    size = math.gcd(rows.itemsize, 8)
    return rows.reshape(rows.shape[0], -1).view(np.dtype(f"u{size}"))
