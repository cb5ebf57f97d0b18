"""Gradients in every shape they come in, made ready for the kernels: dense, listed coordinates, or listed rows."""

import math
from typing import Any, NamedTuple

import numpy as np
import scipy

from .. import _check, _csr
from ..cuda.arrays import ArraySpec
from .kernels.array_update import ALL, OUT_OF_RANGE, SORTED, classify_indices

DUPLICATES = ("merge", "mean", "sequential", "simultaneous", "atomic")

_REQUIREMENTS = ("C", "ALIGNED")


class PreparedGradient(NamedTuple):
    """A gradient as the kernels take it.

    Attributes
    ----------
    where : () or vector of integers
        Numbers of blocks of coordinates, increasing unless duplicates are applied one after the other; () if dense.
    values : vector
        The blocks one after the other.
    block_size : int
        Coordinates of a block.
    segment_starts : vector of integers or None
        Where each block of `where` has several entries: the number of its first one.
    """

    where: Any
    values: np.ndarray
    block_size: int = 1
    segment_starts: Any = None

    def to_coordinates(self):
        """(coordinate of each value, values); () for the coordinates of a dense gradient."""
        where = self.where if self.segment_starts is None else np.repeat(self.where, np.diff(self.segment_starts))
        if self.block_size > 1:
            where = (where[:, None] * self.block_size + np.arange(self.block_size)).reshape(-1)
        return where, self.values

    def to_dense(self, size):
        """The dense vector, what is listed twice summed."""
        if self.where is ALL:
            return self.values
        where, values = self.to_coordinates()
        vector = np.zeros(size, values.dtype)
        np.add.at(vector, where, values)
        return vector

    def as_real(self, precision):
        """A gradient of complex numbers as one of their parts."""
        return self._replace(
            values=self.values.view(precision), block_size=1 if self.where is ALL else 2 * self.block_size
        )


def prepare_gradient(g, shape, dtype, path="g", duplicates="merge"):
    """Return the `PreparedGradient` that g means for an array; what is listed twice is treated as `duplicates` says."""
    x = ArraySpec(shape, dtype)  # of x, in the dtype that the gradient is to have
    if isinstance(g, tuple):
        return _from_indices(g, x, path, duplicates)
    if not isinstance(g, np.ndarray) and scipy.sparse.issparse(g):  # a look at scipy.sparse imports it: 0.1 s
        return _from_scipy(g, x, path, duplicates)
    g = np.asarray(g)
    if not _can_cast(g.dtype, x.dtype):
        raise TypeError(f"{path}: got dtype {g.dtype}; must be {_describe_numbers(x.dtype)}")
    if g.shape != x.shape:
        raise ValueError(f"{path}: got shape {g.shape}; must have the shape of x, {x.shape}")
    return PreparedGradient(ALL, np.require(g, x.dtype, _REQUIREMENTS).reshape(-1))


def reblock(gradient, group_size, size):
    """The same gradient in blocks of `group_size` coordinates, for entries that share an accumulator."""
    where, values, block_size, _ = gradient
    if where is ALL or block_size == group_size:
        return gradient
    if block_size > group_size:
        ratio = block_size // group_size
        return PreparedGradient((where[:, None] * ratio + np.arange(ratio)).reshape(-1), values, group_size)
    ratio = group_size // block_size
    blocks, at = np.unique(where // ratio, return_inverse=True)
    full = np.zeros((blocks.size, ratio, block_size), values.dtype)
    full[at, where % ratio] = values.reshape(-1, block_size)
    return PreparedGradient(blocks.astype(where.dtype), full.reshape(-1), group_size)


def _can_cast(dtype, target):
    return _check.is_real(dtype) or (dtype.kind == "c" and target.kind == "c")


def _describe_numbers(dtype):
    return "numbers" if dtype.kind == "c" else "real numbers"


def _from_indices(g, x, path, duplicates):
    """(indices, values) of a vector, or (row_indices, rows) of a matrix."""
    if len(g) != 2:
        raise ValueError(f"{path}: got a tuple of {len(g)}; a sparse gradient is a pair (indices, values)")
    if x.ndim == 0:
        raise ValueError(f"{path}: got indices and values for a single number; its gradient is a number too")
    where, values = np.asarray(g[0]), np.asarray(g[1])
    if where.size == 0:
        where = where.astype(np.int64)
    if where.ndim != 1 or where.dtype.kind not in "iu":
        raise TypeError(f"{path}[0]: got dtype {where.dtype} and shape {where.shape}; must be a vector of integers")
    if where.dtype not in (np.int32, np.int64):
        where = where.astype(np.int64)
    expected = (where.size, *x.shape[1:])
    if values.shape != expected or not _can_cast(values.dtype, x.dtype):
        raise ValueError(
            f"{path}[1]: got dtype {values.dtype} and shape {values.shape}; "
            f"must be {_describe_numbers(x.dtype)} of shape {expected}"
        )
    where = np.require(where, None, _REQUIREMENTS)
    values = np.require(values, x.dtype, _REQUIREMENTS)
    order = classify_indices(where, x.shape[0])
    if order == OUT_OF_RANGE:
        at = int(np.flatnonzero((where < 0) | (where >= x.shape[0]))[0])
        raise ValueError(f"{path}[0]: got index {where[at]} at position {at}; must be in [0, {x.shape[0]})")
    segment_starts = None
    if order != SORTED and duplicates != "sequential":
        where, values, segment_starts = _sort_and_merge(where, values, duplicates)
    return PreparedGradient(where, values.reshape(-1), math.prod(x.shape[1:]), segment_starts)


def _sort_and_merge(where, values, duplicates):
    """Sort by index; sum or average what is listed twice, in the order given, or say where it starts."""
    order = np.argsort(where, kind="stable")
    where, values = where[order], values[order]
    first = np.flatnonzero(np.r_[True, where[1:] != where[:-1]])
    if duplicates == "simultaneous":
        return where[first], values, np.append(first, where.size)
    counts = np.diff(np.append(first, where.size))
    values = np.add.reduceat(values, first, axis=0)
    if duplicates == "mean":
        values /= counts.reshape(-1, *(1,) * (values.ndim - 1)).astype(values.real.dtype)
    return where[first], values, None


def _from_scipy(g, x, path, duplicates):
    """A scipy.sparse matrix of the shape of x, or a row or column of its length."""
    if x.ndim == 1 and g.shape not in ((x.size,), (1, x.size), (x.size, 1)):
        raise ValueError(f"{path}: got shape {g.shape}; must be a row or column of the {x.size} coordinates of x")
    if x.ndim > 1 and g.shape != x.shape:
        raise ValueError(f"{path}: got shape {g.shape}; must have the shape of x, {x.shape}")
    _csr.check_sparse_indices(path, g)
    if g.format in ("csr", "csc", "bsr") and g.indptr[-1] < len(g.data):  # tocoo would take in the empty space
        g = g.copy()
        g.prune()
    g = g.tocoo()
    coords = g.coords if hasattr(g, "coords") else (g.row, g.col)
    if x.ndim == 1:
        where = coords[-1] if g.shape[-1] == x.size else coords[0]
    else:
        where = np.ravel_multi_index(tuple(np.asarray(c, np.int64) for c in coords), x.shape)
    return _from_indices((where, g.data), x.as_flat(), path, duplicates)
