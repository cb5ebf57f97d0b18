"""CUDA kernels for several outputs: scores, slopes and updates.

All arrays are flat: output c of feature i, or of row n of a batch, is at i * n_outputs + c or n * n_outputs + c, so
that adjacent threads access adjacent numbers.  A thread handles one output of a row or feature: three classes keep as
many threads busy as three hundred.  Only the loss of a row, which depends on all its scores, is computed by one thread.
"""

from numba import cuda

from ...compiler.jit import coordinate_of, load, pick, store
from ...cuda.memory import divide_index
from .cuda_rows import THREADS_PER_ROW, catch_up_and_update
from .lazy import NoCatchUp, add_iterate, add_missed_iterates, caught_up, set_last_update
from .multi_lazy import output_spec
from .multi_rows import can_learn_from, loss_and_gradient
from .rows import LearnerSpec

CAUGHT_UP = LearnerSpec((), (), (), (), NoCatchUp(), 0)  # of weights without missed updates


@cuda.jit
def multi_scores(spec, rows, weights, rate_factors, p, t, first):
    """p[n, c] = w[:, c]·x + b[c] for the rows x of the order from `first` on"""
    w, bias = weights.w, weights.bias
    n_outputs = bias.shape[0]
    q = cuda.grid(1)
    while q < p.shape[0]:
        n, c = divide_index(q, n_outputs)
        spec_c = output_spec(spec, pick(rate_factors, c), 0)  # the rate is that of all features
        r = coordinate_of(rows.order, first + n)
        total = w.dtype.type(0)
        for k in range(rows.indptr[r], rows.indptr[r + 1]):
            i = rows.indices[k]
            slot = i * n_outputs + c
            total += caught_up(spec_c, w[slot], load(weights.s, slot), weights.last_update, i, t) * rows.data[k]
        p[q] = total + bias[c]
        q += cuda.gridsize(1)


@cuda.jit
def multi_losses_and_slopes(spec, rows, p, z, losses, bad_row, n_outputs, first):
    """z[n, c] = h times the derivative of the loss by p[n, c], losses[n, :] = loss sums of the row

    The sums of a row's losses are in double precision, as on the CPU.  bad_row[0] is the first position whose scores
    the loss cannot use.
    """
    n, count = cuda.grid(1), p.shape[0] // n_outputs
    n_sums = losses.shape[0] // count
    while n < count:
        r = rows.order[first + n]
        partial, predictions = losses[n * n_sums : (n + 1) * n_sums], p[n * n_outputs : (n + 1) * n_outputs]
        for l in range(n_sums):
            partial[l] = 0
        if can_learn_from(spec.loss, predictions):
            loss_and_gradient(
                spec.loss, rows.y[r], predictions, z[n * n_outputs : (n + 1) * n_outputs], rows.weight[r], partial
            )
        else:
            cuda.atomic.min(bad_row, 0, first + n)
        n += cuda.gridsize(1)


@cuda.jit
def expand_rows(rows, g, columns, value_offsets, first, count):
    """Write column, value and row of each stored value of `count` rows to columns, g.x and g.owner

    The rows are those at the positions first, …, first + count - 1 of the order; their numbers in the batch are
    0, …, count - 1.  The values of the row at position n begin at value_offsets[n] - value_offsets[first].
    """
    q = cuda.grid(1)
    while q < count * THREADS_PER_ROW:
        n, j = divide_index(q, THREADS_PER_ROW)
        r = rows.order[first + n]
        k, slot = rows.indptr[r] + j, value_offsets[first + n] - value_offsets[first] + j
        while k < rows.indptr[r + 1]:
            columns[slot] = rows.indices[k]
            g.x[slot] = rows.data[k]
            g.owner[slot] = n
            k += THREADS_PER_ROW
            slot += THREADS_PER_ROW
        q += cuda.gridsize(1)


@cuda.jit
def cuda_learn_multi(spec, weights, rate_factors, columns, g, n_rows, lr, t):
    """w[i, c], s[i, c] = update(w[i, c], g[k, c] / n_rows), i = columns[k], after the updates that i missed

    The threads of all outputs read the update number of feature i; `set_last_updates` sets it when they are done.
    """
    n_outputs = lr.shape[0]
    q = cuda.grid(1)
    while q < columns.shape[0] * n_outputs:
        k, c = divide_index(q, n_outputs)
        i = columns[k]
        if i >= 0:
            slot = i * n_outputs + c
            spec_c = output_spec(spec, rate_factors[c], i)
            sums, s = weights.last_update, load(weights.s, slot)
            x, scalars = catch_up_and_update(spec_c, weights, slot, g[q] / n_rows, lr[c], t, i)
            add_missed_iterates(spec.lazy, spec_c, sums, weights.w[slot], s, slot, i, t)
            add_iterate(spec.lazy, sums, x, slot, t + 1)
            weights.w[slot] = x
            store(weights.s, slot, scalars)
        q += cuda.gridsize(1)


@cuda.jit
def set_last_updates(spec, last_update, columns, t):
    """Set features columns[k] to be current at update t"""
    k = cuda.grid(1)
    while k < columns.shape[0]:
        if columns[k] >= 0:
            set_last_update(spec.lazy, spec, last_update, columns[k], t)
        k += cuda.gridsize(1)
