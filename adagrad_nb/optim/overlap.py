"""Checks and copies of arrays that share memory.

Kernels read and write entry by entry, so the result is correct only if two arrays are disjoint or identical.  Arrays of
`out` that share memory are refused.  Gradients and learning rates that share memory with an output are copied.
"""

import weakref

import numpy as np

from ..cuda import arrays
from .kernels.array_update import ALL

_may_share_memory = np.may_share_memory
MAX_WORK = 10**6  # limit of the exact test of `np.shares_memory`; beyond it, arrays are taken to overlap

# Ids of lists of arrays that are known to be disjoint: a training loop gives the same arrays to each step.  An entry
# is removed with the first of its arrays.
_distinct: dict[tuple[int, ...], list[weakref.ref]] = {}


def check_distinct(tree_arrays, leaves):
    """Raise if two arrays of `out` have an entry in common; `leaves` names them by their paths."""
    key = tuple(map(id, tree_arrays))
    if key in _distinct:
        return
    pair = _find_overlap(tree_arrays)
    if pair is not None:
        first, second = (leaves[i].path for i in pair)
        raise ValueError(
            f"out: {first} and {second}: share memory, which one step would change twice; give each array its own "
            "memory, or list the shared array once, with the sum of its gradients"
        )
    try:
        _distinct[key] = [weakref.ref(array, lambda _, pop=_distinct.pop: pop(key, None)) for array in tree_arrays]
    except TypeError:  # arrays of another package without weak references are compared each time
        _distinct.pop(key, None)


def check_iterate(x, leaf):
    """Raise unless each entry of a writable array on the host has memory of its own, outside the average."""
    if not x.flags.c_contiguous and _overlaps_itself(x):
        raise ValueError(
            f"out: {leaf.path}: several of its entries share memory; pass a copy, or call update without out"
        )
    if leaf.mean is not None and np.may_share_memory(x, leaf.mean):
        raise ValueError(f"out: {leaf.path}: shares memory with the average of the state; pass a copy of it")


def copy_shared(gradients, rates, written):
    """Return the gradients and learning rates, with copies of arrays that may overlap those of `written`."""
    if len(written) == 1:  # the usual case
        x, (where, g, *_), lr = written[0], gradients[0], rates[0]
        if where is ALL and isinstance(x, np.ndarray) and not (lr.ndim or _may_share_memory(x, g)):
            return gradients, rates
    read = [gradient.values for gradient in gradients]
    for gradient, rate in zip(gradients, rates, strict=True):
        if gradient.where is not ALL:
            read.append(gradient.where)
        if isinstance(rate, np.ndarray):
            read.append(rate)
    if not _may_overlap(read, written):
        return gradients, rates
    spans = [_byte_span(array) for array in written]

    def separate(array):
        if array is ALL or not getattr(array, "ndim", 0):
            return array
        low, high = _byte_span(array)
        is_shared = any(low < end and begin < high for begin, end in spans)
        return _copy(array) if is_shared else array

    gradients = [g._replace(where=separate(g.where), values=separate(g.values)) for g in gradients]
    return gradients, [separate(rate) for rate in rates]


def copy_shared_sources(sources, targets):
    """Return the arrays to copy to `targets`, with copies of those that another one would overwrite."""
    if not _may_overlap(sources, targets):
        return sources
    return [_copy(source) for source in sources]


def _copy(array):
    return arrays.copy(array) if arrays.is_device_array(array) else np.array(array)


def _may_overlap(read, written):
    """Return False if no array of one list can overlap one of the other, because their owners of memory differ."""
    owners = set()
    for array in written:
        owner = array.base if isinstance(array, np.ndarray) else False
        if owner is None:
            owners.add(id(array))
        elif type(owner) is np.ndarray and owner.base is None:
            owners.add(id(owner))
        else:
            return True
    for array in read:  # the same lines: two calls of a function would take as long as all of this
        owner = array.base if isinstance(array, np.ndarray) else False
        if owner is None:
            owner = array
        elif type(owner) is not np.ndarray or owner.base is not None:
            return True
        if id(owner) in owners:
            return True
    return False


def _find_overlap(tree_arrays):
    """Return the positions of two arrays that have an entry in common, or None."""
    spans = sorted((*_byte_span(array), i) for i, array in enumerate(tree_arrays))
    active, found = [], []
    for low, high, i in spans:
        active = [(end, j) for end, j in active if end > low]
        found += [(min(i, j), max(i, j)) for _, j in active if _share_entry(tree_arrays[i], tree_arrays[j])]
        if high > low:
            active.append((high, i))
    return min(found, default=None)


def _share_entry(a, b):
    """Return whether two arrays, whose spans of memory overlap, have an entry in common."""
    if a is b or not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)):
        return True
    try:
        return np.shares_memory(a, b, max_work=MAX_WORK)
    except np.exceptions.TooHardError:
        return True


def _byte_span(array):
    """Return the address of the first byte of an array and that after its last byte."""
    if not isinstance(array, np.ndarray):
        return _device_span(array)
    low = high = array.__array_interface__["data"][0]
    if array.size == 0:
        return low, low
    if not array.flags.c_contiguous:
        for n, stride in zip(array.shape, array.strides, strict=True):
            if stride < 0:
                low += (n - 1) * stride
            else:
                high += (n - 1) * stride
        return low, high + array.itemsize
    return low, high + array.nbytes


def _device_span(array):
    """Return the span of a contiguous device array; for other layouts, one that is its own."""
    spec = arrays.array_spec(array)
    low = arrays.data_pointer(array) if spec.size else 0
    if not low or not arrays.is_contiguous(array):
        low = -2 * id(array)  # below all addresses
        return low, low + (spec.size > 0)
    return low, low + spec.size * (2 if spec.dtype == "bfloat16" else spec.dtype.itemsize)


def _overlaps_itself(array):
    """Return whether two entries of an array may share memory, by a test that is exact unless dimensions interleave."""
    extent = array.itemsize
    for stride, n in sorted((abs(stride), n) for stride, n in zip(array.strides, array.shape, strict=True) if n > 1):
        if stride < extent:
            return True
        extent = stride * (n - 1) + extent
    return False
