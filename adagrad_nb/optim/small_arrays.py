"""Small arrays that take their steps together: one pass of the kernels over all of them instead of one for each."""

import numpy as np

from ..cuda import arrays
from ..records.gates import accumulates_gradients
from ..records.transforms import needs_norm, uses_global_norm
from .device_small_arrays import DeviceArrayGroup
from .gradients import PreparedGradient
from .kernels.array_update import ALL
from .leaf import Leaf

MAX_SIZE = 2**13  # entries of an array that is worth the copy in and out: about a microsecond
MAX_SIZE_ON_DEVICE = 2**20  # where nothing is copied; larger arrays keep the device busy by themselves


class SmallArrayGroup:
    """Arrays of a state whose accumulators lie one after the other, and room for x and g in the same order.

    Attributes
    ----------
    members : list of int
        Which arrays of the state.
    leaf : Leaf
        All of them as one vector; it holds the accumulators and the mean of which the arrays have views.
    """

    __slots__ = ("g", "leaf", "members", "offsets", "shapes", "views", "x")

    def __init__(self, members, leaves, options):
        sizes = [leaves[i].size for i in members]
        self.members, self.offsets = members, np.cumsum([0, *sizes]).tolist()
        self.x, self.g = np.empty((2, self.offsets[-1]), leaves[members[0]].dtype)
        self.leaf = Leaf(leaves[members[0]].path, self.x, options)
        self.leaf.uncast_update, self.leaf.update = leaves[members[0]].uncast_update, leaves[members[0]].update
        self.shapes = [leaves[i].shape for i in members]
        self.views = self._split(self.x)
        own_leaves = [leaves[i] for i in members]
        self.leaf.set_slots(
            tuple(np.concatenate(slots) for slots in zip(*(leaf.flat_slots for leaf in own_leaves), strict=True))
        )
        if own_leaves[0].mean is not None:
            self.leaf.mean = np.concatenate([leaf.as_vector(leaf.mean) for leaf in own_leaves])
        self._share_views(leaves)

    def _split(self, vector):
        """Views of a vector in the shapes of the arrays."""
        places = zip(self.offsets[:-1], self.offsets[1:], self.shapes, strict=True)
        return [vector[a:b].reshape(shape) for a, b, shape in places]

    def _share_views(self, leaves):
        """Give the arrays views of the accumulators and the mean that are kept here."""
        for i, *slots in zip(self.members, *map(self._split, self.leaf.flat_slots), strict=True):
            leaves[i].set_slots(tuple(slots))
        if self.leaf.mean is not None:
            for i, mean in zip(self.members, self._split(self.leaf.mean), strict=True):
                leaves[i].mean = mean

    def copy(self, leaves):
        """The same group with arrays of its own, for copies of the leaves."""
        new = object.__new__(SmallArrayGroup)
        new.members, new.offsets, new.shapes = self.members, self.offsets, self.shapes
        new.x, new.g = np.empty_like(self.x), np.empty_like(self.g)
        new.leaf, new.views = self.leaf.copy(), new._split(new.x)
        new._share_views(leaves)
        return new

    def can_pack(self, targets, gradients):
        """Whether arrays and gradients are just as the kernels take them, so that nothing else need be looked at."""
        dtype = self.x.dtype
        for x, g, shape in zip(targets, gradients, self.shapes, strict=True):
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

    def pack(self, targets, gradients):
        """Copy the arrays and their dense gradients in; return the gradient of all of them."""
        np.concatenate([x if x.ndim == 1 else x.reshape(-1) for x in targets], out=self.x)
        np.concatenate([g if g.ndim == 1 else g.reshape(-1) for g in gradients], out=self.g)
        return PreparedGradient(ALL, self.g)

    def unpack(self, targets):
        """Copy the arrays out."""
        for x, part in zip(targets, self.views, strict=True):
            x[...] = part


def group_small_arrays(leaves, options):
    """The groups that the arrays of a state make."""
    groups: dict = {}
    for i, leaf in enumerate(leaves):
        if _can_join_group(leaf, options):
            groups.setdefault((leaf.on_device, leaf.dtype, repr(leaf.uncast_update)), []).append(i)
    return [
        (DeviceArrayGroup if key[0] else SmallArrayGroup)(members, leaves, options)
        for key, members in groups.items()
        if len(members) > 1
    ]


def _can_join_group(leaf, options):
    """Whether an array may step with others: small, with nothing of its own but its accumulators."""
    is_plain = leaf.dtype == leaf.precision and leaf.group_size == 1 and leaf.lr_scale is None
    needs_own_norm = any(
        accumulates_gradients(item) or (needs_norm(item) and not uses_global_norm(item)) for item in options.transforms
    )
    is_device_scalar = arrays.is_device_array(options.lr) and arrays.array_spec(options.lr).size == 1
    has_shared_lr = not _has_arrays(leaf.uncast_update) and (is_device_scalar or not _has_arrays(options.lr))
    return (
        is_plain
        and has_shared_lr
        and not needs_own_norm
        and 0 < leaf.size <= (MAX_SIZE_ON_DEVICE if leaf.on_device else MAX_SIZE)
    )


def _has_arrays(record):
    if isinstance(record, tuple):
        return any(_has_arrays(item) for item in record)
    return getattr(record, "ndim", 0) > 0
