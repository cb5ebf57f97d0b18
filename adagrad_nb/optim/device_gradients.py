"""Sparse gradients of device arrays: lists of coordinates or rows, made ready on the device."""

import math

import numpy as np
import scipy

from ..cuda import arrays
from .gradients import PreparedGradient, prepare_gradient, reblock


def update_kernels():
    """Import and return the CUDA kernels that update arrays."""
    arrays.import_cuda()
    from .kernels import cuda_array_update

    return cuda_array_update


def sparse_kernels():
    """The CUDA loops over lists."""
    arrays.import_cuda()
    from .kernels import cuda_sparse_gradients

    return cuda_sparse_gradients


def is_sparse_gradient(g):
    """Whether a gradient is sparse, in any of its forms."""
    return isinstance(g, tuple) or _is_cupy_sparse(g) or (not arrays.is_device_array(g) and scipy.sparse.issparse(g))


def _is_cupy_sparse(g):
    return type(g).__module__.startswith("cupyx.") and hasattr(g, "tocoo")


def prepare_sparse_gradient(leaf, g, duplicates, name):
    """Return the `PreparedGradient` that a sparse gradient means for a device array.

    The list is checked before anything is written: two numbers are copied to the host.
    """
    if _is_cupy_sparse(g):
        where, values, block_size = _from_cupy(leaf, g, name)
    elif isinstance(g, tuple) and len(g) == 2 and any(map(arrays.is_device_array, g)):
        where, values, block_size = _from_pair(leaf, g, name)
    elif leaf.group_size > 1 and not isinstance(g, tuple):
        gradient = reblock(
            prepare_gradient(g, leaf.shape, leaf.precision, name, duplicates), leaf.group_size, leaf.size
        )
        return gradient._replace(
            where=arrays.to_device_array(gradient.where), values=arrays.to_device_array(gradient.values)
        )
    else:
        where, values, block_size = prepare_gradient(g, leaf.shape, leaf.precision, name, "sequential")[:3]
        where, values = arrays.to_device_array(where), arrays.to_device_array(values)
    if leaf.group_size > 1 and block_size != leaf.group_size:
        raise ValueError(
            f"{name}: lists single entries; {type(leaf.uncast_update.rule).__name__} on a device takes whole rows"
        )
    return _merge_duplicates(leaf, where, values, block_size, duplicates, name)


def _from_pair(leaf, g, name):
    """(indices, values), or (row_indices, rows)."""
    where, values = (part if arrays.is_device_array(part) else arrays.to_device_array(np.asarray(part)) for part in g)
    forms = arrays.array_spec(where), arrays.array_spec(values)
    if forms[0].ndim != 1 or forms[0].dtype not in (np.int32, np.int64):
        raise TypeError(f"{name}[0]: got {forms[0].dtype} of shape {forms[0].shape}; must be int32 or int64, a vector")
    expected = (forms[0].size, *leaf.shape[1:])
    if not leaf.shape or forms[1].shape != expected or forms[1].dtype not in (leaf.precision, np.float16, "bfloat16"):
        raise ValueError(
            f"{name}[1]: got {forms[1].dtype} of shape {forms[1].shape}; must be {leaf.precision}, float16 or bfloat16 "
            f"of shape {expected}"
        )
    return arrays.flat_view(where, f"{name}[0]"), arrays.flat_view(values, f"{name}[1]"), math.prod(leaf.shape[1:])


def _from_cupy(leaf, g, name):
    """A matrix of CuPy, of the shape of x, or a row or column of its length."""
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


def _next_power_of_two(n):
    """The next power of two from n on."""
    return 1 << max(n - 1, 0).bit_length()


def _merge_duplicates(leaf, where, values, block_size, duplicates, name):
    gpu, counts = sparse_kernels(), leaf.workspace("survey", 2, np.int32)
    arrays.fill(counts, 0)
    blocks = leaf.size // max(block_size, 1)
    arrays.launch_kernel(gpu.count_bad_indices, where.size, where, blocks, counts)
    outside, unsorted = arrays.to_host(counts)
    if outside:
        indices = arrays.to_host(where)
        at = int(np.flatnonzero((indices < 0) | (indices >= blocks))[0])
        raise ValueError(f"{name}[0]: got index {indices[at]} at position {at}; must be in [0, {blocks})")
    if not unsorted or where.size == 0:
        return PreparedGradient(where, values, block_size)
    if duplicates == "atomic":
        return _sum_atomically(leaf, where, values, block_size)
    sorted_indices, order = sort_indices(leaf, where)
    sums = list_workspace(leaf, "sums", values.size, leaf.precision)
    if duplicates in ("sequential", "simultaneous"):
        arrays.launch_kernel(gpu.permute_rows, values.size, order, values, block_size, sums)
        return PreparedGradient(sorted_indices, sums, block_size, () if duplicates == "simultaneous" else None)
    heads = list_workspace(leaf, "heads", where.size)
    arrays.launch_kernel(gpu.sum_runs, values.size, sorted_indices, order, values, block_size, sums)
    arrays.launch_kernel(
        gpu.merge_runs, values.size, sorted_indices, sums, block_size, int(duplicates == "mean"), heads
    )
    return PreparedGradient(heads, sums, block_size)


def list_workspace(leaf, name, size, dtype=np.int64):
    """Memory for a list, kept for others of about this length."""
    return leaf.workspace(name, _next_power_of_two(size), dtype)[:size]


def sort_indices(leaf, where):
    """The indices in rising order, and the places that they had; equal ones in the order of the list."""
    gpu, threads = sparse_kernels(), arrays.import_primitives().BLOCK_SIZE
    count = max(_next_power_of_two(where.size), 2 * threads)
    sort_keys = leaf.workspace("keys", count, np.int64)
    arrays.launch_kernel(gpu.make_sort_keys, count, where, sort_keys)
    span, blocks = 2 * threads, count // (2 * threads)
    arrays.launch_blocks(gpu.compare_exchange_shared, blocks, sort_keys, 2, span)
    size = 2 * span
    while size <= count:
        distance = size // 2
        while distance >= span:
            arrays.launch_kernel(gpu.compare_exchange, count // 2, sort_keys, size, distance)
            distance //= 2
        arrays.launch_blocks(gpu.compare_exchange_shared, blocks, sort_keys, size, size)
        size *= 2
    sorted_indices, order = list_workspace(leaf, "sorted", where.size), list_workspace(leaf, "order", where.size)
    arrays.launch_kernel(gpu.split_sort_keys, where.size, sort_keys, sorted_indices, order)
    return sorted_indices, order


def _sum_atomically(leaf, where, values, block_size):
    """The sums by atomic additions, in whatever order they happen."""
    gpu, blocks = sparse_kernels(), leaf.size // block_size
    key = ("place", block_size)
    if key not in leaf.cache:
        leaf.cache[key] = arrays.full(blocks, -1, np.int64)
    slot_of = leaf.cache[key]
    sums, heads = list_workspace(leaf, "sums", values.size, leaf.precision), list_workspace(leaf, "heads", where.size)
    arrays.fill(sums, 0)
    arrays.launch_kernel(gpu.claim_slots, where.size, where, slot_of)
    arrays.launch_kernel(gpu.add_atomically, values.size, where, slot_of, values, block_size, sums)
    arrays.launch_kernel(gpu.mark_slot_owners, where.size, where, slot_of, heads)
    arrays.launch_kernel(gpu.clear_slots, where.size, where, slot_of)
    return PreparedGradient(heads, sums, block_size)


def to_dense(leaf, gradient):
    """The values of a gradient at all coordinates, the others zero."""
    if isinstance(gradient.where, tuple):
        return gradient.values
    full = leaf.workspace("full", leaf.size)
    arrays.fill(full, 0)
    where = update_kernels().ListedCoordinates(gradient.where, gradient.block_size)
    arrays.launch_kernel(sparse_kernels().scatter_to_dense, gradient.values.size, where, gradient.values, full)
    return full
