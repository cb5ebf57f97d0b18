"""Sparse gradients of device arrays: lists of coordinates or rows, made ready on the device."""

import math

import numpy as np
import scipy

from ..cuda import arrays
from .gradients import Operand, operand, regrouped


def update_kernels():
    """Import and return the CUDA kernels that update arrays."""
    arrays.cuda()
    from .kernels import cuda_array_update

    return cuda_array_update


def loops():
    """The CUDA loops over lists."""
    arrays.cuda()
    from .kernels import cuda_sparse_gradients

    return cuda_sparse_gradients


def is_listed(g):
    """Whether a gradient is sparse, in any of its forms."""
    return isinstance(g, tuple) or _is_cupy(g) or (not arrays.is_device(g) and scipy.sparse.issparse(g))


def _is_cupy(g):
    return type(g).__module__.startswith("cupyx.") and hasattr(g, "tocoo")


def listing(leaf, g, duplicates, name):
    """Return the `Operand` that a sparse gradient means for a device array.

    The list is checked before anything is written: two numbers are copied to the host.
    """
    if _is_cupy(g):
        where, values, width = _from_cupy(leaf, g, name)
    elif isinstance(g, tuple) and len(g) == 2 and any(map(arrays.is_device, g)):
        where, values, width = _from_pair(leaf, g, name)
    elif leaf.group > 1 and not isinstance(g, tuple):
        gradient = regrouped(operand(g, leaf.shape, leaf.precision, name, duplicates), leaf.group, leaf.size)
        return gradient._replace(where=arrays.put(gradient.where), values=arrays.put(gradient.values))
    else:
        where, values, width = operand(g, leaf.shape, leaf.precision, name, "sequential")[:3]
        where, values = arrays.put(where), arrays.put(values)
    if leaf.group > 1 and width != leaf.group:
        raise ValueError(f"{name}: lists single entries; {type(leaf.base.rule).__name__} on a device takes whole rows")
    return _merged(leaf, where, values, width, duplicates, name)


def _from_pair(leaf, g, name):
    """(indices, values), or (row_indices, rows)."""
    where, values = (part if arrays.is_device(part) else arrays.put(np.asarray(part)) for part in g)
    forms = arrays.form(where), arrays.form(values)
    if forms[0].ndim != 1 or forms[0].dtype not in (np.int32, np.int64):
        raise TypeError(f"{name}[0]: got {forms[0].dtype} of shape {forms[0].shape}; must be int32 or int64, a vector")
    expected = (forms[0].size, *leaf.shape[1:])
    if not leaf.shape or forms[1].shape != expected or forms[1].dtype not in (leaf.precision, np.float16, "bfloat16"):
        raise ValueError(
            f"{name}[1]: got {forms[1].dtype} of shape {forms[1].shape}; must be {leaf.precision}, float16 or bfloat16 "
            f"of shape {expected}"
        )
    return arrays.view(where, f"{name}[0]"), arrays.view(values, f"{name}[1]"), math.prod(leaf.shape[1:])


def _from_cupy(leaf, g, name):
    """A matrix of CuPy, of the shape of x, or a row or column of its length."""
    columns = g.shape[1]
    if g.shape != leaf.shape and (len(leaf.shape) > 1 or g.shape not in ((1, leaf.size), (leaf.size, 1))):
        raise ValueError(f"{name}: got shape {g.shape}; must have the shape of {leaf.path}, {leaf.shape}")
    if np.dtype(str(g.dtype)) != leaf.precision:
        raise TypeError(f"{name}: got {g.dtype}; must be {leaf.precision}")
    g = g.tocoo()
    where = arrays.empty(g.data.size, np.int64)
    arrays.launch(loops().flatten, where.size, arrays.view(g.row), arrays.view(g.col), columns, where)
    return where, arrays.view(g.data), 1


def _power(n):
    """The next power of two from n on."""
    return 1 << max(n - 1, 0).bit_length()


def _merged(leaf, where, values, width, duplicates, name):
    gpu, counts = loops(), leaf.room("survey", 2, np.int32)
    arrays.fill(counts, 0)
    blocks = leaf.size // max(width, 1)
    arrays.launch(gpu.survey, where.size, where, blocks, counts)
    outside, falls = arrays.fetch(counts)
    if outside:
        indices = arrays.fetch(where)
        at = int(np.flatnonzero((indices < 0) | (indices >= blocks))[0])
        raise ValueError(f"{name}[0]: got index {indices[at]} at position {at}; must be in [0, {blocks})")
    if not falls or where.size == 0:
        return Operand(where, values, width)
    if duplicates == "atomic":
        return _collected(leaf, where, values, width)
    sorted_, order = sort(leaf, where)
    sums = room(leaf, "sums", values.size, leaf.precision)
    if duplicates in ("sequential", "simultaneous"):
        arrays.launch(gpu.permute, values.size, order, values, width, sums)
        return Operand(sorted_, sums, width, () if duplicates == "simultaneous" else None)
    heads = room(leaf, "heads", where.size)
    arrays.launch(gpu.runs, values.size, sorted_, order, values, width, sums)
    arrays.launch(gpu.merge, values.size, sorted_, sums, width, int(duplicates == "mean"), heads)
    return Operand(heads, sums, width)


def room(leaf, name, size, dtype=np.int64):
    """Memory for a list, kept for others of about this length."""
    return leaf.room(name, _power(size), dtype)[:size]


def sort(leaf, where):
    """The indices in rising order, and the places that they had; equal ones in the order of the list."""
    gpu, threads = loops(), arrays.primitives().BLOCK
    count = max(_power(where.size), 2 * threads)
    numbers = leaf.room("keys", count, np.int64)
    arrays.launch(gpu.keys, count, where, numbers)
    span, blocks = 2 * threads, count // (2 * threads)
    arrays.launch_blocks(gpu.exchange_near, blocks, numbers, 2, span)
    size = 2 * span
    while size <= count:
        distance = size // 2
        while distance >= span:
            arrays.launch(gpu.exchange, count // 2, numbers, size, distance)
            distance //= 2
        arrays.launch_blocks(gpu.exchange_near, blocks, numbers, size, size)
        size *= 2
    sorted_, order = room(leaf, "sorted", where.size), room(leaf, "order", where.size)
    arrays.launch(gpu.split, where.size, numbers, sorted_, order)
    return sorted_, order


def _collected(leaf, where, values, width):
    """The sums by atomic additions, in whatever order they happen."""
    gpu, blocks = loops(), leaf.size // width
    key = ("place", width)
    if key not in leaf.entries:
        leaf.entries[key] = arrays.full(blocks, -1, np.int64)
    place = leaf.entries[key]
    sums, heads = room(leaf, "sums", values.size, leaf.precision), room(leaf, "heads", where.size)
    arrays.fill(sums, 0)
    arrays.launch(gpu.claim, where.size, where, place)
    arrays.launch(gpu.collect, values.size, where, place, values, width, sums)
    arrays.launch(gpu.own, where.size, where, place, heads)
    arrays.launch(gpu.leave, where.size, where, place)
    return Operand(heads, sums, width)


def spread(leaf, gradient):
    """The values of a gradient at all coordinates, the others zero."""
    if isinstance(gradient.where, tuple):
        return gradient.values
    full = leaf.room("full", leaf.size)
    arrays.fill(full, 0)
    where = update_kernels().Listed(gradient.where, gradient.width)
    arrays.launch(loops().spread, gradient.values.size, where, gradient.values, full)
    return full
