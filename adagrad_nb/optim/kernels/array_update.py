"""The update of all coordinates of an array, or of those that are listed.

Bytes: a dense step reads x, g and the accumulators and writes back x and the accumulators, five words a
coordinate for Adagrad; above the caches that traffic is the limit.
"""

from ...compiler.jit import coordinate_of, jit, jitable, load, pack_record, parallel, pick, prange, store, unpack_record
from ...records.averaging import mix
from ...records.coordinate import update_at
from ...records.penalties import prox
from ...records.rules import accumulate, apply, cumulative_step_size, pool_squares
from ...records.transforms import transform_at

# Below this size starting the threads costs more than they save (2 cores: even at 2**15, twice as fast at 2**17).
PARALLEL_FROM = 2**16

ALL = ()  # the `where` of a gradient that covers every coordinate


@jitable
def update_coordinates(update, where, x, g, s, lr, t):
    """x[i], s[i] = move(x[i], g[k]), i = where[k]"""
    for k in range(g.shape[0]):
        update_at(update, x, g, s, lr, t, coordinate_of(where, k), k)


serial = jit(update_coordinates)


@parallel
def threaded(update, where, x, g, s, lr, t):
    """As `update_coordinates`; the entries of `where` must be unique."""
    packed = pack_record((update, where, lr))
    for k in prange(g.shape[0]):
        records, places, rate = unpack_record(packed)
        update_at(records, x, g, s, rate, t, coordinate_of(places, k), k)


@jitable
def update_average(average, mean, x, weight):
    """mean = mix(mean, x, weight)"""
    for i in range(x.shape[0]):
        mean[i] = mix(average, mean[i], x[i], weight)


compiled_update_average = jit(update_average)
# --- listed rows, entries that share an accumulator, and the check of a list of indices ------------------------------

SORTED, UNSORTED, OUT_OF_RANGE = range(3)


@jit
def update_rows(update, where, x, g, s, lr, t):
    """x[r, :], s[r, :] = move(x[r, :], g[k, :]), r = where[k]; matrices as flat arrays"""
    width = g.shape[0] // max(where.shape[0], 1)
    for k in range(where.shape[0]):
        for j in range(width):
            update_at(update, x, g, s, lr, t, where[k] * width + j, k * width + j)


@jit
def update_row_groups(update, where, x, g, s, lr, t):
    """s[r] = accumulate(s[r], pooled(sum_j g[k, j]**2)), x[r, :] = apply(x[r, :], g[k, :], s[r]), r = where[k]"""
    width = x.shape[0] // s[0].shape[0]
    for k in range(g.shape[0] // width):
        r = coordinate_of(where, k)
        total = g.dtype.type(0)
        for j in range(width):
            i = r * width + j
            _, gj = transform_at(update.transforms, x[i], g[k * width + j], pick(lr, i), i)
            total += gj * gj
        sr = accumulate(update.rule, load(s, r), pool_squares(update.rule, total, width))
        store(s, r, sr)
        for j in range(width):
            i = r * width + j
            rate = pick(lr, i)
            xi, gj = transform_at(update.transforms, x[i], g[k * width + j], rate, i)
            x[i] = prox(
                update.penalty,
                apply(update.rule, xi, gj, sr, rate),
                cumulative_step_size(update.rule, sr, rate, t + 1),
                i,
            )


@jit
def update_summed_squares(update, where, starts, x, g, s, lr, t):
    """s[r] = accumulate(s[r], sum_k g[k]**2), x[r] = apply(x[r], sum_k g[k], s[r]), k from starts[b], r = where[b]"""
    width = g.shape[0] // max(starts[-1], 1)
    for b in range(where.shape[0]):
        for j in range(width):
            i = where[b] * width + j
            rate = pick(lr, i)
            total, square, xi = g.dtype.type(0), g.dtype.type(0), x[i]
            for k in range(starts[b], starts[b + 1]):
                xi, gk = transform_at(update.transforms, x[i], g[k * width + j], rate, i)
                total += gk
                square += gk * gk
            si = accumulate(update.rule, load(s, i), square)
            x[i] = prox(
                update.penalty,
                apply(update.rule, xi, total, si, rate),
                cumulative_step_size(update.rule, si, rate, t + 1),
                i,
            )
            store(s, i, si)


@jit
def classify_indices(where, n):
    """OUTSIDE if an index is not in [0, n), else SORTED if they increase strictly, else UNSORTED."""
    n_out_of_range, n_increasing = 0, 0
    for k in range(where.shape[0]):
        n_out_of_range += (where[k] < 0) | (where[k] >= n)
    for k in range(1, where.shape[0]):
        n_increasing += where[k] > where[k - 1]
    if n_out_of_range > 0:
        return OUT_OF_RANGE
    return SORTED if n_increasing >= where.shape[0] - 1 else UNSORTED
