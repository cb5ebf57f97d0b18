"""Groups of arrays that one pass of the kernels updates: the part that the host and the device share."""

from typing import Any

import numpy as np

from ..cuda.arrays import ArraySpec
from . import overlap
from .leaf import Leaf


class ArrayGroup:
    """Arrays of a state whose accumulators and averages are views of those of one leaf.

    Attributes
    ----------
    members : list of int
        Positions of the arrays in the state.
    shapes : list of tuple
        Shape of each array.
    offsets : list of int
        Position of the first entry of each array in the vectors of `leaf`, and their length.
    leaf : Leaf
        All arrays as one vector; its accumulators and its average hold those of the arrays.
    x
        The arrays in the form that the kernels of `leaf` take.
    """

    __slots__ = ("leaf", "members", "offsets", "shapes", "x")

    leaf_type = Leaf
    x: Any

    def __init__(self, members, leaves, options):
        own_leaves = [leaves[i] for i in members]
        first = own_leaves[0]
        self.members, self.shapes = members, [leaf.shape for leaf in own_leaves]
        self.offsets = np.cumsum([0, *(leaf.size for leaf in own_leaves)]).tolist()
        self.leaf = self.leaf_type(first.path, ArraySpec((self.offsets[-1],), first.dtype), options)
        self.leaf.uncast_update, self.leaf.update = first.uncast_update, first.update
        flat_slots = zip(*(leaf.flat_slots for leaf in own_leaves), strict=True)
        self.leaf.set_slots(tuple(self._concatenate(slots) for slots in flat_slots))
        if first.mean is not None:
            self.leaf.mean = self._concatenate([leaf.as_vector(leaf.mean) for leaf in own_leaves])
        self._allocate_buffers()
        self._share_views(leaves)

    def copy(self, leaves):
        """Return a copy with its own arrays, for copies of the leaves."""
        new = object.__new__(type(self))
        new.members, new.shapes, new.offsets, new.leaf = self.members, self.shapes, self.offsets, self.leaf.copy()
        new._allocate_buffers()
        new._share_views(leaves)
        return new

    def check_distinct(self, targets, leaves):
        """Raise if two arrays of `out` share memory."""
        overlap.check_distinct(targets, leaves)

    def _share_views(self, leaves):
        """Make the accumulators and averages of the arrays views of those of `leaf`."""
        for i, *slots in zip(self.members, *map(self._split, self.leaf.flat_slots), strict=True):
            leaves[i].set_slots(tuple(slots))
        if self.leaf.mean is not None:
            for i, mean in zip(self.members, self._split(self.leaf.mean), strict=True):
                leaves[i].mean = mean

    def _split(self, vector):
        """Return views of a vector in the shapes of the arrays."""
        ranges = zip(self.offsets[:-1], self.offsets[1:], self.shapes, strict=True)
        return [vector[begin:end].reshape(shape) for begin, end, shape in ranges]

    # Methods of the subclasses:

    def _concatenate(self, vectors):
        """Return vectors of the arrays as one vector."""
        raise NotImplementedError

    def _allocate_buffers(self):
        """Allocate the memory that a step needs besides the accumulators."""
        raise NotImplementedError

    def can_pack(self, targets, gradients):
        """Return whether `pack` takes the arrays and gradients as they are."""
        raise NotImplementedError

    def pack(self, targets, gradients):
        """Set `x` from the arrays; return their dense gradients as one `PreparedGradient`."""
        raise NotImplementedError

    def unpack(self, targets):
        """Write the entries of `x` back to the arrays."""
        raise NotImplementedError
