"""Sparse gradients of device arrays: their indices are checked, sorted and merged on the device."""

import math

import numpy as np
import scipy

from ..cuda import arrays
from .device_kernels import sort_kernels, sparse_kernels, update_kernels
from .gradients import PreparedGradient, prepare_gradient, reblock

DIGIT_BITS = 8  # of a pass of the sort: its kernels have 2^8 digits


def is_sparse_gradient(g):
    """Return whether a gradient is sparse: a pair, or a matrix of SciPy or CuPy."""
    return isinstance(g, tuple) or _is_cupy_sparse(g) or (not arrays.is_device_array(g) and scipy.sparse.issparse(g))


def _is_cupy_sparse(g):
    """Return whether a gradient is a sparse matrix of CuPy."""
    return type(g).__module__.startswith("cupyx.") and hasattr(g, "tocoo")


def prepare_sparse_gradient(leaf, g, duplicates, name, check=True):
    """Return a sparse gradient of a device array as a `PreparedGradient`.

    The indices are checked on the device; two counts are copied to the host.  Without the check, the list is sorted in
    any case, and nothing is copied.
    """
    row_size, needs_rows = leaf.listed_rows
    if _is_cupy_sparse(g):
        where, values, block_size = _from_cupy(leaf, g, name)
    elif isinstance(g, tuple) and len(g) == 2 and any(map(arrays.is_device_array, g)):
        where, values, block_size = _from_pair(leaf, g, name)
    elif row_size > 1 and not isinstance(g, tuple):
        gradient, block_size = prepare_gradient(g, leaf.shape, leaf.precision, name, duplicates), 1
        if gradient.segment_starts is None:
            where, values, *_ = reblock(gradient, row_size, leaf.size)
            return PreparedGradient(arrays.to_device_array(where), arrays.to_device_array(values), row_size)
    else:
        where, values, block_size = prepare_gradient(g, leaf.shape, leaf.precision, name, "sequential")[:3]
        where, values = arrays.to_device_array(where), arrays.to_device_array(values)
    if row_size > 1 and block_size != row_size:
        raise ValueError(
            f"{name}: lists single entries; {needs_rows} on a device takes whole rows, given as (row_indices, rows)"
        )
    return _merge_duplicates(leaf, where, values, block_size, duplicates, name, check)


def _from_pair(leaf, g, name):
    """Convert a pair (indices, values), or (row_indices, rows) if x is not a vector."""
    where, values = (part if arrays.is_device_array(part) else arrays.to_device_array(np.asarray(part)) for part in g)
    index_spec, value_spec = arrays.array_spec(where), arrays.array_spec(values)
    if index_spec.ndim != 1 or index_spec.dtype not in (np.int32, np.int64):
        raise TypeError(
            f"{name}[0]: got {index_spec.dtype} of shape {index_spec.shape}; must be a vector of int32 or int64"
        )
    expected = (index_spec.size, *leaf.shape[1:])
    if (
        not leaf.shape
        or value_spec.shape != expected
        or value_spec.dtype not in (leaf.precision, np.float16, "bfloat16")
    ):
        raise ValueError(
            f"{name}[1]: got {value_spec.dtype} of shape {value_spec.shape}; must be {leaf.precision}, float16 or "
            f"bfloat16 of shape {expected}"
        )
    return where, arrays.flat_view(values, f"{name}[1]"), math.prod(leaf.shape[1:])


def _from_cupy(leaf, g, name):
    """Convert a sparse matrix of CuPy of the shape of x; for a vector x, a row or column of its length."""
    columns = g.shape[1]
    if g.shape != leaf.shape and (len(leaf.shape) > 1 or g.shape not in ((1, leaf.size), (leaf.size, 1))):
        raise ValueError(f"{name}: got shape {g.shape}; must have the shape of {leaf.path}, {leaf.shape}")
    if np.dtype(str(g.dtype)) != leaf.precision:
        raise TypeError(f"{name}: got {g.dtype}; must be {leaf.precision}")
    g = g.tocoo()
    where = arrays.empty(g.data.size, np.int64)
    arrays.launch_kernel(
        sparse_kernels().flatten_indices, where.size, arrays.flat_view(g.row), arrays.flat_view(g.col), columns, where
    )
    return where, arrays.flat_view(g.data), 1


def next_power_of_two(n):
    """Return the smallest power of two that is at least n."""
    return 1 << max(n - 1, 0).bit_length()


def _merge_duplicates(leaf, where, values, block_size, duplicates, name, check):
    """Check the indices; if they do not increase strictly, sort or merge the gradient as `duplicates` says."""
    kernels, blocks, listed = sparse_kernels(), leaf.size // max(block_size, 1), where
    where = arrays.flat_view(listed, f"{name}[0]")
    if check:
        counts = leaf.workspace("bad_indices", 2, np.int32)
        arrays.fill(counts, 0)
        arrays.launch_kernel(kernels.count_bad_indices, where.size, where, blocks, counts)
        n_out_of_range, n_unsorted = arrays.to_host(counts)
        if n_out_of_range:
            indices = arrays.to_host(where)
            at = int(np.flatnonzero((indices < 0) | (indices >= blocks))[0])
            raise ValueError(f"{name}[0]: got index {indices[at]} at position {at}; must be in [0, {blocks})")
        if not n_unsorted:
            return PreparedGradient(where, values, block_size)
    if where.size == 0:
        return PreparedGradient(where, values, block_size)
    if duplicates == "atomic":
        return _sum_atomically(leaf, where, values, block_size)
    sorted_indices, order = sort_indices(leaf, listed, blocks)
    sums = list_workspace(leaf, "sums", values.size, leaf.precision)
    if duplicates in ("sequential", "simultaneous"):
        arrays.launch_kernel(kernels.permute_rows, values.size, order, values, block_size, sums)
        return PreparedGradient(sorted_indices, sums, block_size, () if duplicates == "simultaneous" else None)
    heads = list_workspace(leaf, "heads", where.size)
    arrays.launch_kernel(kernels.sum_runs, values.size, sorted_indices, order, values, block_size, sums)
    arrays.launch_kernel(
        kernels.merge_runs, values.size, sorted_indices, sums, block_size, int(duplicates == "mean"), heads
    )
    return PreparedGradient(heads, sums, block_size)


def list_workspace(leaf, name, size, dtype=np.int64):
    """Return device memory for a list, kept for lists of similar length; the view of it, for lists of this length."""
    key = ("list", name, np.dtype(dtype))
    view = leaf.cache.get(key)
    if view is None or view.size != size:
        view = leaf.cache[key] = leaf.workspace(name, next_power_of_two(size), dtype)[:size]
    return view


def sort_indices(leaf, where, n):
    """Return the sorted indices, which are in [0, n), and their positions in the list; the sort is stable."""
    known = arrays.sort_with_positions(where)
    if known is not None:
        return known
    kernels, threads = sort_kernels(), arrays.import_primitives().BLOCK_SIZE
    where = arrays.flat_view(where)
    n_bits, tile = (n - 1).bit_length(), kernels.KEYS_PER_THREAD * threads
    lists = [
        [list_workspace(leaf, name, where.size) for name in pair] for pair in (("sorted", "order"), ("keys", "to"))
    ]
    if where.size <= tile:
        arrays.launch_blocks(kernels.sort_tile, 1, where, n_bits, *lists[0])
        return tuple(lists[0])
    n_parts = min(-(-where.size // tile), arrays.import_primitives().MAX_SUM_BLOCKS)
    part_size = -(-where.size // (n_parts * tile)) * tile
    n_parts = -(-where.size // part_size)
    counts = list_workspace(leaf, "digit counts", (1 << DIGIT_BITS) * (n_parts + 1))
    n_passes = max(-(-n_bits // DIGIT_BITS), 1)
    keys, order = where, list_workspace(leaf, "no order", 0)
    for number in range(n_passes):
        shift = number * DIGIT_BITS
        n_digits = 1 << min(max(n_bits - shift, 1), DIGIT_BITS)
        target = lists[(n_passes - 1 - number) % 2]
        arrays.launch_blocks(kernels.count_digits, n_parts, keys, shift, n_digits, part_size, counts)
        arrays.launch_blocks(kernels.sum_digit_counts, n_digits, counts, n_parts)
        arrays.launch_blocks(kernels.move_by_digit, n_parts, keys, order, shift, n_digits, part_size, counts, *target)
        keys, order = target
    return keys, order


def _sum_atomically(leaf, where, values, block_size):
    """Sum duplicates by atomic additions, in any order."""
    kernels, blocks = sparse_kernels(), leaf.size // block_size
    key = ("slot_of", block_size)
    if key not in leaf.cache:
        leaf.cache[key] = arrays.full(blocks, -1, np.int64)
    slot_of = leaf.cache[key]
    sums, heads = list_workspace(leaf, "sums", values.size, leaf.precision), list_workspace(leaf, "heads", where.size)
    arrays.fill(sums, 0)
    arrays.launch_kernel(kernels.claim_slots, where.size, where, slot_of)
    arrays.launch_kernel(kernels.add_atomically, values.size, where, slot_of, values, block_size, sums)
    arrays.launch_kernel(kernels.mark_slot_owners, where.size, where, slot_of, heads)
    arrays.launch_kernel(kernels.clear_slots, where.size, where, slot_of)
    return PreparedGradient(heads, sums, block_size)


def to_dense(leaf, gradient):
    """Return a gradient as a dense vector in device memory."""
    if isinstance(gradient.where, tuple):
        return gradient.values
    dense = leaf.workspace("dense", leaf.size)
    arrays.fill(dense, 0)
    where = update_kernels().ListedCoordinates(gradient.where, gradient.block_size)
    arrays.launch_kernel(sparse_kernels().scatter_to_dense, gradient.values.size, where, gradient.values, dense)
    return dense
