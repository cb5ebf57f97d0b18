"""Gradients in every form that `update` accepts, converted to the form of the kernels: `PreparedGradient`."""

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
    """A gradient in the form that the kernels take: dense, listed coordinates, or listed rows.

    Attributes
    ----------
    where : () or vector of integers
        Indices of blocks of coordinates, such as rows; () if the gradient is dense.  They increase strictly, unless
        `init` was given ``duplicates="sequential"``.
    values : vector
        The values of the blocks, one block after the other.
    block_size : int
        Number of coordinates of a block.
    segment_starts : vector of integers or None
        If a block may have several gradients, the position of the first gradient of each block, and their number.
    """

    where: Any
    values: np.ndarray
    block_size: int = 1
    segment_starts: Any = None

    def to_coordinates(self):
        """Return the coordinate of each value, or () if the gradient is dense, and the values."""
        where = self.where if self.segment_starts is None else np.repeat(self.where, np.diff(self.segment_starts))
        if self.block_size > 1:
            where = _expand_blocks(where, self.block_size)
        return where, self.values

    def blocks_of(self, size):
        """Return the indices of the blocks of `size` coordinates that have values, or () if the gradient is dense."""
        if self.where is ALL or self.block_size == size:
            return self.where
        return np.unique(self.where.astype(np.int64) * self.block_size // size)

    def to_dense(self, size):
        """Return a dense vector in which duplicates are summed."""
        if self.where is ALL:
            return self.values
        where, values = self.to_coordinates()
        vector = np.zeros(size, values.dtype)
        np.add.at(vector, where, values)
        return vector

    def as_real(self, precision):
        """Return a complex gradient as one of real and imaginary parts."""
        return self._replace(
            values=self.values.view(precision), block_size=1 if self.where is ALL else 2 * self.block_size
        )


def _expand_blocks(where, size):
    """Return the indices of all entries of blocks, in 64 bits: an array of 2**31 entries may have int32 row indices."""
    return (where.astype(np.int64, copy=False)[:, None] * size + np.arange(size)).reshape(-1)


def prepare_gradient(g, shape, dtype, path="g", duplicates="merge"):
    """Return g as the `PreparedGradient` of an array of this shape, in this dtype.

    Parameters
    ----------
    g : array_like, scipy.sparse matrix or pair (indices, values)
    shape : tuple
    dtype : dtype
    path : str
        Name of g in error messages.
    duplicates : str
        Treatment of indices that are listed more than once; see `init`.
    """
    x = ArraySpec(shape, dtype)
    if isinstance(g, tuple):
        return _from_indices(g, x, path, duplicates)
    if not isinstance(g, np.ndarray) and scipy.sparse.issparse(
        g
    ):  # the attribute scipy.sparse imports the module, which takes 0.1 s
        return _from_scipy(g, x, path, duplicates)
    _check.no_mask(path, g)
    g = np.asarray(g)
    if not _can_cast(g.dtype, x.dtype):
        raise TypeError(f"{path}: got dtype {g.dtype}; must be {_describe_numbers(x.dtype)}")
    if g.shape != x.shape:
        raise ValueError(f"{path}: got shape {g.shape}; must have the shape of x, {x.shape}")
    return PreparedGradient(ALL, np.require(g, x.dtype, _REQUIREMENTS).reshape(-1))


def reblock(gradient, group_size, size):
    """Return the gradient in blocks of the `group_size` coordinates that share an accumulator."""
    where, values, block_size, _ = gradient
    if where is ALL or block_size == group_size:
        return gradient
    if block_size > group_size:
        ratio = block_size // group_size
        return PreparedGradient(_expand_blocks(where, ratio), values, group_size)
    ratio = group_size // block_size
    blocks, at = np.unique(where // ratio, return_inverse=True)
    padded = np.zeros((blocks.size, ratio, block_size), values.dtype)
    padded[at, where % ratio] = values.reshape(-1, block_size)
    return PreparedGradient(blocks.astype(where.dtype), padded.reshape(-1), group_size)


def list_whole_rows(gradient, row_size, size):
    """Return the gradient with all entries of the rows that it lists; those that are added are zero."""
    if gradient.where is ALL or gradient.block_size >= row_size:
        return gradient
    if gradient.segment_starts is None:
        return reblock(gradient, row_size, size)
    where, values = gradient.to_coordinates()
    entries = _expand_blocks(np.unique(where // row_size), row_size)
    where, values = np.append(where, entries), np.append(values, np.zeros(entries.size, values.dtype))
    where, values, starts = _sort_and_merge(where, values, "simultaneous")
    return PreparedGradient(where, values, 1, starts)


def _can_cast(dtype, target):
    """Return whether gradients of a dtype can be used for an array of the target dtype."""
    return _check.is_real(dtype) or (dtype.kind == "c" and target.kind == "c")


def _describe_numbers(dtype):
    """Return the words of an error message for the gradients that an array of a dtype takes."""
    return "numbers" if dtype.kind == "c" else "real numbers"


def _from_indices(g, x, path, duplicates):
    """Convert a pair (indices, values), or (row_indices, rows) if x is not a vector."""
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
    """Sort by index; then sum or average duplicates in the order given, or return where each index starts."""
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
    """Convert a scipy.sparse matrix of the shape of x; for a vector x, a row or column of its length."""
    if x.ndim == 1 and g.shape not in ((x.size,), (1, x.size), (x.size, 1)):
        raise ValueError(f"{path}: got shape {g.shape}; must be a row or column of the {x.size} coordinates of x")
    if x.ndim > 1 and g.shape != x.shape:
        raise ValueError(f"{path}: got shape {g.shape}; must have the shape of x, {x.shape}")
    _csr.check_sparse_indices(path, g)
    if g.format in ("csr", "csc", "bsr") and g.indptr[-1] < len(
        g.data
    ):  # tocoo would include the unused entries at the end
        g = g.copy()
        g.prune()
    g = g.tocoo()
    coords = g.coords if hasattr(g, "coords") else (g.row, g.col)
    if x.ndim == 1:
        where = coords[-1] if g.shape[-1] == x.size else coords[0]
    else:
        where = np.ravel_multi_index(tuple(np.asarray(c, np.int64) for c in coords), x.shape)
    return _from_indices((where, g.data), x.as_flat(), path, duplicates)
