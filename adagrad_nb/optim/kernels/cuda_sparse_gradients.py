"""CUDA kernels that prepare a sparse gradient: they check its indices and merge duplicates, sorted by `cuda_sort`.

The entries of one index are summed in the order of the list, so the sums are the same every time: in runs of RUN_LENGTH
neighbours, then over the runs.  For an index that is listed a hundred thousand times, a thread reads at most RUN_LENGTH
and 1600 numbers.
"""

from typing import Any, NamedTuple

from numba import cuda, types

from ...compiler.jit import bind
from ...cuda.memory import divide_index, load_as

RUN_LENGTH = 64


class OuterProductGradient(NamedTuple):
    """A gradient whose rows are computed when they are read: row k is x[k] z[owner[k], :], with z flat."""

    z: Any
    owner: Any
    x: Any


def gradient_entry(g, k, j, width, like):
    """Return g[k, j] in the precision of `like`; g is an `OuterProductGradient` or a flat array of rows of `width`."""
    if isinstance(g, OuterProductGradient):
        return g.x[k] * g.z[g.owner[k] * width + j]
    return load_as(g, k * width + j, like)


@bind(gradient_entry)
def _gradient_entry_by_type(g, k, j, width, like):
    if isinstance(g, types.Array):
        return lambda g, k, j, width, like: load_as(g, k * width + j, like)
    return lambda g, k, j, width, like: g.x[k] * g.z[g.owner[k] * width + j]


@cuda.jit
def count_bad_indices(where, n, counts):
    """counts[0] += threads with an index outside [0, n); counts[1] += threads with an index not above the previous"""
    out_of_range = unsorted = 0
    k = cuda.grid(1)
    while k < where.shape[0]:
        if where[k] < 0 or where[k] >= n:
            out_of_range = 1
        if k > 0 and where[k] <= where[k - 1]:
            unsorted = 1
        k += cuda.gridsize(1)
    if out_of_range:
        cuda.atomic.add(counts, 0, 1)
    if unsorted:
        cuda.atomic.add(counts, 1, 1)


@cuda.jit
def flatten_indices(rows, columns, width, where):
    """where[k] = rows[k] * width + columns[k]"""
    k = cuda.grid(1)
    while k < where.shape[0]:
        where[k] = rows[k] * width + columns[k]
        k += cuda.gridsize(1)


@cuda.jit
def permute_rows(order, g, width, out):
    """out[k, :] = g[order[k], :]"""
    i = cuda.grid(1)
    while i < out.shape[0]:
        k, j = divide_index(i, width)
        out[i] = load_as(g, order[k] * width + j, out)
        i += cuda.gridsize(1)


@cuda.jit
def sum_runs(where, order, g, width, sums):
    """sums[k, :] = sum_l g[order[l], :] over l >= k with where[l] = where[k], within the run of k"""
    m, i = where.shape[0], cuda.grid(1)
    while i < m * width:
        k, j = divide_index(i, width)
        if k % RUN_LENGTH == 0 or where[k - 1] != where[k]:
            total = gradient_entry(g, order[k], j, width, sums)
            n = k + 1
            while n < m and n % RUN_LENGTH != 0 and where[n] == where[k]:
                total += gradient_entry(g, order[n], j, width, sums)
                n += 1
            sums[i] = total
        i += cuda.gridsize(1)


@cuda.jit
def merge_runs(where, sums, width, mean, heads):
    """sums[k, :] = sum over all entries n with where[n] = where[k], for the first entry k of each index

    `sum_runs` has written the sums of the runs of each index at their first entries.  If mean, the sum is divided by
    the number of entries.  heads[k] = where[k] if k is the first entry of its index, else -1.
    """
    m, i = where.shape[0], cuda.grid(1)
    while i < m * width:
        k, j = divide_index(i, width)
        head = k == 0 or where[k - 1] != where[k]
        if j == 0:
            heads[k] = where[k] if head else -1
        if head:
            total = sums[i]
            n = k - k % RUN_LENGTH + RUN_LENGTH
            while n < m and where[n] == where[k]:
                total += sums[n * width + j]
                n += RUN_LENGTH
            if mean:
                low, high = k, min(n, m)  # bisection for the first entry with another index, which is in (low, high]
                while high - low > 1:
                    middle = (low + high) >> 1
                    if where[middle] == where[k]:
                        low = middle
                    else:
                        high = middle
                total /= sums.dtype.type(high - k)
            sums[i] = total
        i += cuda.gridsize(1)


@cuda.jit
def claim_slots(where, slot_of):
    """slot_of[i] = one k with where[k] = i: that of the thread that writes first"""
    k = cuda.grid(1)
    while k < where.shape[0]:
        cuda.atomic.cas(slot_of, where[k], -1, k)
        k += cuda.gridsize(1)


@cuda.jit
def add_atomically(where, slot_of, g, width, sums):
    """sums[slot_of[where[k]], :] += g[k, :] by atomic additions, in any order"""
    i = cuda.grid(1)
    while i < where.shape[0] * width:
        k, j = divide_index(i, width)
        cuda.atomic.add(sums, slot_of[where[k]] * width + j, load_as(g, i, sums))
        i += cuda.gridsize(1)


@cuda.jit
def mark_slot_owners(where, slot_of, heads):
    """heads[k] = where[k] if slot_of[where[k]] is k, else -1"""
    k = cuda.grid(1)
    while k < where.shape[0]:
        heads[k] = where[k] if slot_of[where[k]] == k else -1
        k += cuda.gridsize(1)


@cuda.jit
def clear_slots(where, slot_of):
    """slot_of[i] = -1 for each listed i"""
    k = cuda.grid(1)
    while k < where.shape[0]:
        slot_of[where[k]] = -1
        k += cuda.gridsize(1)


@cuda.jit
def scatter_to_dense(where, g, out):
    """out[where.coordinate_of(k)] = sum of g[k] and of the values after it that belong to the same block"""
    i = cuda.grid(1)
    blocks = where.blocks
    while i < g.shape[0]:
        k, j = divide_index(i, where.block_size)
        r = blocks[k]
        if r >= 0 and (k == 0 or blocks[k - 1] != r):
            total, n = load_as(g, i, out), k + 1
            while n < blocks.shape[0] and blocks[n] == r:
                total += load_as(g, n * where.block_size + j, out)
                n += 1
            out[r * where.block_size + j] = total
        i += cuda.gridsize(1)
