"""The update of listed rows of a matrix, and the check of a list of indices."""

from .._jit import jit
from .coordinate import advance

SORTED, UNSORTED, OUTSIDE = range(3)


@jit
def rows(update, where, x, g, s, lr, t):
    """x[r, :], s[r, :] = move(x[r, :], g[k, :]), r = where[k]; matrices as flat arrays"""
    width = g.shape[0] // where.shape[0]
    for k in range(where.shape[0]):
        for j in range(width):
            advance(update, x, g, s, lr, t, where[k] * width + j, k * width + j)


@jit
def survey(where, n):
    """OUTSIDE if an index is not in [0, n), else SORTED if they increase strictly, else UNSORTED."""
    outside, rising = 0, 0
    for k in range(where.shape[0]):
        outside += (where[k] < 0) | (where[k] >= n)
    for k in range(1, where.shape[0]):
        rising += where[k] > where[k - 1]
    if outside > 0:
        return OUTSIDE
    return SORTED if rising >= where.shape[0] - 1 else UNSORTED
