"""Updates of the coordinates of an array: all of them, listed ones, or groups that share an accumulator.

A dense step of Adagrad moves five words per coordinate: it reads x, g and the accumulator, and writes x and the
accumulator.  For arrays larger than the caches, memory bandwidth sets the time.
"""

from ...compiler.jit import (
    coordinate_of,
    force_inline,
    jit,
    jitable,
    load,
    pack_record,
    parallel,
    pick,
    prange,
    store,
    unpack_record,
)
from ...records.averaging import mix
from ...records.coordinate import apply_with_shared_slots, update_at
from ...records.group_penalties import group_prox
from ...records.rules import accumulate, cumulative_step_size, pool_squares, preconditioner
from ...records.transforms import transform_at

# Smaller arrays are always updated by one thread.  With 2 idle cores, threads halve the time at 2**17 and gain nothing
# at 2**15.
PARALLEL_FROM = 2**16

ALL = ()  # the `where` of a dense gradient


@force_inline()
def update_coordinates(update, where, x, g, s, lr, t):
    """x[i], s[i] = update(x[i], g[k], s[i]) with i = where[k]"""
    for k in range(g.shape[0]):
        update_at(update, x, g, s, lr, t, coordinate_of(where, k), k)


serial = jit(update_coordinates)


@parallel
def threaded(update, where, x, g, s, lr, t):
    """Run `update_coordinates` in several threads; the entries of `where` must be unique."""
    packed = pack_record((update, where, lr))
    for k in prange(g.shape[0]):
        records, indices, rate = unpack_record(packed)
        update_at(records, x, g, s, rate, t, coordinate_of(indices, k), k)


@jitable
def update_average(average, mean, x, weight):
    """mean[i] = mix(average, mean[i], x[i], weight), where `average` is the averaging record and `mean` an array"""
    for i in range(x.shape[0]):
        mean[i] = mix(average, mean[i], x[i], weight)


compiled_update_average = jit(update_average)

# --- listed rows, and accumulators that several coordinates or gradients share ---------------------------------------


@jit
def update_rows(update, where, x, g, s, lr, t):
    """x[r, :], s[r, :] = update(x[r, :], g[k, :], s[r, :]) with r = where[k]; matrices are passed flat"""
    width = g.shape[0] // max(where.shape[0], 1)
    for k in range(where.shape[0]):
        for j in range(width):
            update_at(update, x, g, s, lr, t, where[k] * width + j, k * width + j)


@jit
def update_row_groups(update, where, x, g, s, lr, t):
    """s[r] = accumulate(s[r], pool(sum_j g[k, j]**2)), x[r, :] = apply(x[r, :], g[k, :], s[r]) with r = where[k]"""
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
            x[i] = apply_with_shared_slots(update, xi, gj, sr, rate, t, i)


@jit
def update_summed_squares(update, where, starts, x, g, s, lr, t):
    """s[r] = accumulate(s[r], sum_k g[k]**2), x[r] = apply(x[r], sum_k g[k], s[r])

    Row r = where[b] has the gradients starts[b] <= k < starts[b + 1].
    """
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
            x[i] = apply_with_shared_slots(update, xi, total, si, rate, t, i)
            store(s, i, si)


@jit
def apply_group_penalty(update, rows, x, s, step_sizes, lr, t, group_size):
    """x[r, :] = group_prox(x[r, :]) in update t with r = rows[k]

    `step_sizes` is workspace for a row; `group_size` coordinates share an accumulator.
    """
    width = step_sizes.shape[0]
    for k in range(rows.shape[0]):
        r = rows[k]
        for j in range(width):
            i = r * width + j
            step_sizes[j] = cumulative_step_size(update.rule, load(s, i // group_size), pick(lr, i), t + 1)
        group_prox(update.penalty, x[r * width : (r + 1) * width], step_sizes, 1, r)


@jit
def apply_transforms(transforms, x, g, lr):
    """x[i], g[i] = transform(x[i], g[i])"""
    for i in range(x.shape[0]):
        x[i], g[i] = transform_at(transforms, x[i], g[i], pick(lr, i), i)


@jit
def preconditioners(rule, s, h):
    """h[i] = preconditioner(s[i])"""
    for i in range(h.shape[0]):
        h[i] = preconditioner(rule, load(s, i))


@jit
def apply_feature_groups(update, touched, layout, x, s, workspace, lr, t):
    """x[members of group j] = group_prox(x[members of group j]) in update t, for the groups j in `touched`"""
    starts, members = layout.starts, layout.members
    for position in range(touched.shape[0]):
        j = touched[position]
        n = starts[j + 1] - starts[j]
        for k in range(n):
            i = members[starts[j] + k]
            workspace[0, k] = x[i]
            workspace[1, k] = cumulative_step_size(update.rule, load(s, i), pick(lr, i), t + 1)
        group_prox(update.penalty.penalty, workspace[0, :n], workspace[1, :n], 1, j)
        for k in range(n):
            x[members[starts[j] + k]] = workspace[0, k]


# --- check of a list of indices --------------------------------------------------------------------------------------

SORTED, UNSORTED, OUT_OF_RANGE = range(3)


@jit
def classify_indices(where, n):
    """Return OUT_OF_RANGE if an index is outside [0, n), SORTED if they increase strictly, else UNSORTED."""
    n_out_of_range, n_increasing = 0, 0
    for k in range(where.shape[0]):
        n_out_of_range += (where[k] < 0) | (where[k] >= n)
    for k in range(1, where.shape[0]):
        n_increasing += where[k] > where[k - 1]
    if n_out_of_range > 0:
        return OUT_OF_RANGE
    return SORTED if n_increasing >= where.shape[0] - 1 else UNSORTED
