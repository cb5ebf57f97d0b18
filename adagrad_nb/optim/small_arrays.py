"""Small arrays that take their steps together: one pass of the kernels over all of them instead of one for each."""

import numpy as np

from ..cuda import arrays
from ..records.gates import accumulates_gradients
from ..records.transforms import needs_norm, uses_global_norm
from .device_small_arrays import DeviceBundle
from .gradients import Operand
from .kernels.array_update import ALL
from .leaf import Leaf

LARGEST = 2**13  # entries of an array that is worth the copy in and out: about a microsecond
LARGEST_ON_DEVICE = 2**20  # where nothing is copied; larger arrays keep the device busy by themselves


class Bundle:
    """Arrays of a state whose accumulators lie one after the other, and room for x and g in the same order.

    Attributes
    ----------
    members : list of int
        Which arrays of the state.
    leaf : Leaf
        All of them as one vector; it holds the accumulators and the mean of which the arrays have views.
    """

    __slots__ = ("borders", "g", "kinds", "leaf", "members", "parts", "x")

    def __init__(self, members, leaves, options):
        sizes = [leaves[i].size for i in members]
        self.members, self.borders = members, np.cumsum([0, *sizes]).tolist()
        self.x, self.g = np.empty((2, self.borders[-1]), leaves[members[0]].dtype)
        self.leaf = Leaf(leaves[members[0]].path, self.x, options)
        self.leaf.base, self.leaf.update = leaves[members[0]].base, leaves[members[0]].update
        self.kinds = [leaves[i].shape for i in members]
        self.parts = self._cut(self.x)
        mine = [leaves[i] for i in members]
        self.leaf.hold(tuple(np.concatenate(slots) for slots in zip(*(leaf.flat for leaf in mine), strict=True)))
        if mine[0].mean is not None:
            self.leaf.mean = np.concatenate([leaf.vector(leaf.mean) for leaf in mine])
        self._lend(leaves)

    def _cut(self, vector):
        """Views of a vector in the shapes of the arrays."""
        places = zip(self.borders[:-1], self.borders[1:], self.kinds, strict=True)
        return [vector[a:b].reshape(shape) for a, b, shape in places]

    def _lend(self, leaves):
        """Give the arrays views of the accumulators and the mean that are kept here."""
        for i, *slots in zip(self.members, *map(self._cut, self.leaf.flat), strict=True):
            leaves[i].hold(tuple(slots))
        if self.leaf.mean is not None:
            for i, mean in zip(self.members, self._cut(self.leaf.mean), strict=True):
                leaves[i].mean = mean

    def copy(self, leaves):
        """The same bundle with arrays of its own, for copies of the leaves."""
        new = object.__new__(Bundle)
        new.members, new.borders, new.kinds = self.members, self.borders, self.kinds
        new.x, new.g = np.empty_like(self.x), np.empty_like(self.g)
        new.leaf, new.parts = self.leaf.copy(), new._cut(new.x)
        new._lend(leaves)
        return new

    def fits(self, targets, gradients):
        """Whether arrays and gradients are just as the kernels take them, so that nothing else need be looked at."""
        dtype = self.x.dtype
        for x, g, shape in zip(targets, gradients, self.kinds, strict=True):
            if (
                type(x) is not np.ndarray
                or type(g) is not np.ndarray
                or x.shape != shape
                or g.shape != shape
                or x.dtype != dtype
                or g.dtype != dtype
                or not x.flags.carray
                or not g.flags.carray
            ):
                return False
        return True

    def gather(self, targets, gradients):
        """Copy the arrays and their dense gradients in; return the gradient of all of them."""
        np.concatenate([x if x.ndim == 1 else x.reshape(-1) for x in targets], out=self.x)
        np.concatenate([g if g.ndim == 1 else g.reshape(-1) for g in gradients], out=self.g)
        return Operand(ALL, self.g)

    def scatter(self, targets):
        """Copy the arrays out."""
        for x, part in zip(targets, self.parts, strict=True):
            x[...] = part


def bundles(leaves, options):
    """The bundles that the arrays of a state make."""
    groups: dict = {}
    for i, leaf in enumerate(leaves):
        if _joins(leaf, options):
            groups.setdefault((leaf.on_device, leaf.dtype, repr(leaf.base)), []).append(i)
    return [
        (DeviceBundle if key[0] else Bundle)(members, leaves, options)
        for key, members in groups.items()
        if len(members) > 1
    ]


def _joins(leaf, options):
    """Whether an array may step with others: small, with nothing of its own but its accumulators."""
    plain = leaf.dtype == leaf.precision and leaf.group == 1 and leaf.scale is None
    alone = any(
        accumulates_gradients(item) or (needs_norm(item) and not uses_global_norm(item)) for item in options.transforms
    )
    held = arrays.is_device(options.lr) and arrays.form(options.lr).size == 1
    shared = not _has_arrays(leaf.base) and (held or not _has_arrays(options.lr))
    return plain and shared and not alone and 0 < leaf.size <= (LARGEST_ON_DEVICE if leaf.on_device else LARGEST)


def _has_arrays(record):
    if isinstance(record, tuple):
        return any(_has_arrays(item) for item in record)
    return getattr(record, "ndim", 0) > 0
