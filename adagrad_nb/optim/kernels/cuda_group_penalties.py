"""CUDA kernels of group penalties: the proximal step of the rows of a matrix, or of groups of entries of a vector."""

from typing import Any, NamedTuple

from numba import cuda

from ...compiler.jit import load, method, pick
from ...cuda.memory import divide_index
from ...cuda.primitives import BLOCK_SIZE, WARP_SIZE, block_max, block_sum, lane_max, lane_sum
from ...records.group_penalties import group_prox_step
from ...records.rules import cumulative_step_size
from .cuda_array_update import coordinate_of, row_of

count_listed, group_at, count_entries = method("count_listed"), method("group_at"), method("count_entries")
entry_of, slot_of = method("entry_of"), method("slot_of")


class RowGroups(NamedTuple):
    """Groups that are the rows, of `width` entries, which the `n_rows` rows of a gradient belong to."""

    where: Any
    n_rows: int
    width: int
    entries_per_slot: int

    def count_listed(self):
        """Return the number of rows of the gradient."""
        return self.n_rows

    def group_at(self, b):
        """Return the row of x that row b of the gradient belongs to, or -1 if it is ignored or repeated."""
        r = row_of(self.where, b)
        return -1 if b > 0 and row_of(self.where, b - 1) == r else r

    def count_entries(self, j):
        """Return the number of entries of group j."""
        return self.width

    def entry_of(self, j, k):
        """Return the coordinate of entry k of group j."""
        return j * self.width + k

    def slot_of(self, i):
        """Return the index of the accumulators of coordinate i."""
        return divide_index(i, self.entries_per_slot)[0]


class EntryGroups(NamedTuple):
    """Groups of vector entries: group j is ``members[starts[j]:starts[j + 1]]``; it is listed if touched[j] > 0."""

    starts: Any
    members: Any
    touched: Any

    def count_listed(self):
        """Return the number of groups."""
        return self.touched.shape[0]

    def group_at(self, b):
        """Return b, or -1 if none of the entries of this group has a gradient."""
        return b if self.touched[b] > 0 else -1

    def count_entries(self, j):
        """Return the number of entries of group j."""
        return self.starts[j + 1] - self.starts[j]

    def entry_of(self, j, k):
        """Return the coordinate of entry k of group j."""
        return self.members[self.starts[j] + k]

    def slot_of(self, i):
        """Return the index of the accumulators of coordinate i."""
        return i


class AdjacentThreads(NamedTuple):
    """Adjacent threads that share a group: a power of two up to WARP_SIZE, or the block; see `OneThread`."""

    number: int
    n_threads: int
    shared: Any

    def first_entry(self):
        """Return the position of the first entry of this thread."""
        return self.number

    def entry_stride(self):
        """Return the distance between two entries of this thread."""
        return self.n_threads

    def sum_over_threads(self, value):
        """Return the sum of a number over all threads; all get the same bits."""
        if self.n_threads <= WARP_SIZE:
            return lane_sum(value, self.n_threads)
        return block_sum(self.shared, value)

    def max_over_threads(self, value):
        """Return the maximum of a number over all threads."""
        if self.n_threads <= WARP_SIZE:
            return lane_max(value, self.n_threads)
        return block_max(self.shared, value)


@cuda.jit
def mark_touched_groups(where, n, group_of, touched):
    """touched[group_of[where.coordinate_of(k)]] = 1 for k < n"""
    k = cuda.grid(1)
    while k < n:
        i = coordinate_of(where, k)
        if i >= 0:
            cuda.atomic.max(touched, group_of[i], 1)
        k += cuda.gridsize(1)


@cuda.jit
def apply_group_penalty(update, groups, x, s, workspace, lr, t, threads_per_group):
    """x[entries of group j] = group_prox_step(x[entries of group j]) in update t, for the groups j that are listed

    Each of the sets of threads has its own part of the workspace: entries and step sizes of the largest group.
    """
    shared = cuda.shared.array(BLOCK_SIZE, workspace.dtype)
    b, thread = divide_index(cuda.grid(1), threads_per_group)
    n_sets, _ = divide_index(cuda.gridsize(1), threads_per_group)
    largest, _ = divide_index(workspace.shape[0], 2 * n_sets)
    begin = 2 * largest * b
    threads = AdjacentThreads(thread, threads_per_group, shared)
    while b < count_listed(groups):
        j = group_at(groups, b)
        if j >= 0:
            n = count_entries(groups, j)
            entries, step_sizes = workspace[begin : begin + n], workspace[begin + largest : begin + largest + n]
            k = thread
            while k < n:
                i = entry_of(groups, j, k)
                entries[k] = x[i]
                step_sizes[k] = cumulative_step_size(update.rule, load(s, slot_of(groups, i)), pick(lr, i), t + 1)
                k += threads_per_group
            group_prox_step(update.penalty, entries, step_sizes, j, threads)
            k = thread
            while k < n:
                x[entry_of(groups, j, k)] = entries[k]
                k += threads_per_group
        b += n_sets
