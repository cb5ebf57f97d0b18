"""CUDA kernels for several outputs: scores, slopes and updates.

All arrays are flat: output c of feature i, or of row n of a batch, is at i * n_outputs + c or n * n_outputs + c, so
that adjacent threads access adjacent numbers.  A thread handles one output of a row or feature: three classes keep as
many threads busy as three hundred.  Only the loss of a row, which depends on all its scores, is computed by one thread.
"""

from numba import cuda

from ...compiler.jit import coordinate_of, load, pick, store
from .cuda_rows import THREADS_PER_ROW, updated
from .lazy import NoCatchUp, caught_up, set_last_update
from .multi_lazy import output_spec
from .multi_rows import can_learn_from, loss_and_gradient
from .rows import LearnerSpec

CAUGHT_UP = LearnerSpec((), (), (), (), NoCatchUp(), 0)  # of weights that no update is due


@cuda.jit
def multi_scores(spec, rows, weights, rates, p, t, first):
    """p[n, c] = w[:, c]·x + b[c] for the rows x of the order from `first` on"""
    w, bias = weights.w, weights.bias
    lanes = bias.shape[0]
    q = cuda.grid(1)
    while q < p.shape[0]:
        n = q // lanes
        c = q - n * lanes
        own = output_spec(spec, pick(rates, c))
        r = coordinate_of(rows.order, first + n)
        total = w.dtype.type(0)
        for k in range(rows.indptr[r], rows.indptr[r + 1]):
            i = rows.indices[k]
            slot = i * lanes + c
            total += caught_up(own, w[slot], load(weights.s, slot), weights.last_update, i, t) * rows.data[k]
        p[q] = total + bias[c]
        q += cuda.gridsize(1)


@cuda.jit
def multi_losses_and_slopes(spec, rows, p, z, losses, refused, lanes, first):
    """z[n, c] = h times the derivative of the loss by p[n, c], losses[n, :] = loss sums of the row

    The sums of a row's losses are in double precision, as on the CPU.  bad_row[0] is the first position whose scores
    the loss cannot use.
    """
    n, count = cuda.grid(1), p.shape[0] // lanes
    tallied = losses.shape[0] // count
    while n < count:
        r = rows.order[first + n]
        mine, guess = losses[n * tallied : (n + 1) * tallied], p[n * lanes : (n + 1) * lanes]
        for l in range(tallied):
            mine[l] = 0
        if can_learn_from(spec.loss, guess):
            loss_and_gradient(spec.loss, rows.y[r], guess, z[n * lanes : (n + 1) * lanes], rows.weight[r], mine)
        else:
            cuda.atomic.min(refused, 0, first + n)
        n += cuda.gridsize(1)


@cuda.jit
def expand_rows(rows, g, where, starts, first, count):
    """where[k], g.x[k], g.owner[k] = column, value and row in the batch of each stored value of `count` rows"""
    q = cuda.grid(1)
    while q < count * THREADS_PER_ROW:
        n, j = q // THREADS_PER_ROW, q % THREADS_PER_ROW
        r = rows.order[first + n]
        k, slot = rows.indptr[r] + j, starts[first + n] - starts[first] + j
        while k < rows.indptr[r + 1]:
            where[slot] = rows.indices[k]
            g.x[slot] = rows.data[k]
            g.owner[slot] = n
            k += THREADS_PER_ROW
            slot += THREADS_PER_ROW
        q += cuda.gridsize(1)


@cuda.jit
def cuda_learn_multi(spec, weights, rates, where, g, share, lr, t):
    """w[i, c], s[i, c] = update(w[i, c], g[k, c] / share), i = where[k], after the updates that i missed

    The threads of all outputs read the update number of feature i; `set_last_updates` sets it when they are done.
    """
    lanes = lr.shape[0]
    q = cuda.grid(1)
    while q < where.shape[0] * lanes:
        k = q // lanes
        i = where[k]
        if i >= 0:
            c = q - k * lanes
            slot = i * lanes + c
            x, scalars = updated(output_spec(spec, rates[c]), weights, slot, g[q] / share, lr[c], t, i)
            weights.w[slot] = x
            store(weights.s, slot, scalars)
        q += cuda.gridsize(1)


@cuda.jit
def set_last_updates(spec, last_update, where, t):
    """Set features where[k] to be current at update t"""
    k = cuda.grid(1)
    while k < where.shape[0]:
        if where[k] >= 0:
            set_last_update(spec.lazy, spec, last_update, where[k], t)
        k += cuda.gridsize(1)
