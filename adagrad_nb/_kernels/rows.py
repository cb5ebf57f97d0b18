"""The update of listed rows of a matrix, of entries that share an accumulator, and the check of a list of indices."""

from .._jit import jit, load, pick, store
from ..penalties import prox
from ..rules import accumulate, apply, pooled, reach
from ..transforms import revise
from .coordinate import advance, place

SORTED, UNSORTED, OUTSIDE = range(3)


@jit
def rows(update, where, x, g, s, lr, t):
    """x[r, :], s[r, :] = move(x[r, :], g[k, :]), r = where[k]; matrices as flat arrays"""
    width = g.shape[0] // where.shape[0]
    for k in range(where.shape[0]):
        for j in range(width):
            advance(update, x, g, s, lr, t, where[k] * width + j, k * width + j)


@jit
def groups(update, where, x, g, s, lr, t):
    """s[r] = accumulate(s[r], pooled(sum_j g[k, j]**2)), x[r, :] = apply(x[r, :], g[k, :], s[r]), r = where[k]"""
    width = x.shape[0] // s[0].shape[0]
    for k in range(g.shape[0] // width):
        r = place(where, k)
        total = g.dtype.type(0)
        for j in range(width):
            i = r * width + j
            _, gj = revise(update.transforms, x[i], g[k * width + j], pick(lr, i), i)
            total += gj * gj
        sr = accumulate(update.rule, load(s, r), pooled(update.rule, total, width))
        store(s, r, sr)
        for j in range(width):
            i = r * width + j
            rate = pick(lr, i)
            xi, gj = revise(update.transforms, x[i], g[k * width + j], rate, i)
            x[i] = prox(update.penalty, apply(update.rule, xi, gj, sr, rate), reach(update.rule, sr, rate, t + 1), i)


@jit
def simultaneous(update, where, starts, x, g, s, lr, t):
    """s[r] = accumulate(s[r], sum_k g[k]**2), x[r] = apply(x[r], sum_k g[k], s[r]), k from starts[b], r = where[b]"""
    width = g.shape[0] // max(starts[-1], 1)
    for b in range(where.shape[0]):
        for j in range(width):
            i = where[b] * width + j
            rate = pick(lr, i)
            total, square, xi = g.dtype.type(0), g.dtype.type(0), x[i]
            for k in range(starts[b], starts[b + 1]):
                xi, gk = revise(update.transforms, x[i], g[k * width + j], rate, i)
                total += gk
                square += gk * gk
            si = accumulate(update.rule, load(s, i), square)
            x[i] = prox(update.penalty, apply(update.rule, xi, total, si, rate), reach(update.rule, si, rate, t + 1), i)
            store(s, i, si)


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
