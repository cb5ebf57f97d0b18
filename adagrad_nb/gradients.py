"""Gradients in every shape they come in, made ready for the kernels: dense, listed coordinates, or listed rows."""

import numpy as np
import scipy

from . import _check
from ._kernels.dense import ALL
from ._kernels.rows import OUTSIDE, SORTED, survey

_LAYOUT = ("C", "ALIGNED")


def operand(g, x, path="g"):
    """Return (where, values, width): the values to apply, flat, and the coordinates or rows they belong to.

    ``where`` is ``()`` for a dense gradient; else unique, increasing numbers of blocks of `width` coordinates.
    """
    if isinstance(g, tuple):
        return _listed(g, x, path)
    if not isinstance(g, np.ndarray) and scipy.sparse.issparse(g):  # a look at scipy.sparse imports it: 0.1 s
        return _sparse(g, x, path)
    g = np.asarray(g)
    if g.dtype.kind not in "fiu":
        raise TypeError(f"{path}: got dtype {g.dtype}; must be real numbers")
    if g.shape != x.shape:
        raise ValueError(f"{path}: got shape {g.shape}; must have the shape of x, {x.shape}")
    return ALL, np.require(g, x.dtype, _LAYOUT).reshape(-1), 1


def _listed(g, x, path):
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
    if values.shape != expected or values.dtype.kind not in "fiu":
        raise ValueError(
            f"{path}[1]: got dtype {values.dtype} and shape {values.shape}; must be real numbers of shape {expected}"
        )
    where = np.require(where, None, _LAYOUT)
    values = np.require(values, x.dtype, _LAYOUT)
    order = survey(where, x.shape[0])
    if order == OUTSIDE:
        at = int(np.flatnonzero((where < 0) | (where >= x.shape[0]))[0])
        raise ValueError(f"{path}[0]: got index {where[at]} at position {at}; must be in [0, {x.shape[0]})")
    if order != SORTED:
        where, values = _merge(where, values)
    return where, values.reshape(-1), (values.size // where.size if where.size else 1)


def _merge(where, values):
    """Sort by index and sum what is listed twice, in the order given."""
    order = np.argsort(where, kind="stable")
    where, values = where[order], values[order]
    first = np.flatnonzero(np.r_[True, where[1:] != where[:-1]])
    return where[first], np.add.reduceat(values, first, axis=0)


def _sparse(g, x, path):
    """A scipy.sparse matrix of the shape of x, or a row or column of its length."""
    if x.ndim == 1 and g.shape not in ((x.size,), (1, x.size), (x.size, 1)):
        raise ValueError(f"{path}: got shape {g.shape}; must be a row or column of the {x.size} coordinates of x")
    if x.ndim > 1 and g.shape != x.shape:
        raise ValueError(f"{path}: got shape {g.shape}; must have the shape of x, {x.shape}")
    _check.sparse_indices(path, g)
    if g.format in ("csr", "csc", "bsr") and g.indptr[-1] < len(g.data):  # tocoo would take in the empty space
        g = g.copy()
        g.prune()
    g = g.tocoo()
    coords = g.coords if hasattr(g, "coords") else (g.row, g.col)
    if x.ndim == 1:
        where = coords[-1] if g.shape[-1] == x.size else coords[0]
    else:
        where = np.ravel_multi_index(tuple(np.asarray(c, np.int64) for c in coords), x.shape)
    flat = x.reshape(-1) if x.ndim > 1 else x
    return _listed((where, g.data), flat, path)
