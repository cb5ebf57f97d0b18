"""Small arrays in one pass: one call of the kernels over all of them instead of one for each."""

import numpy as np

from ..compiler.jit import is_user_defined
from ..cuda import arrays
from ..records.gates import accumulates_gradients
from ..records.group_penalties import is_group_penalty
from ..records.transforms import list_transforms, needs_whole_array, uses_global_norm
from .array_group import ArrayGroup
from .device_small_arrays import DeviceArrayGroup
from .gradients import PreparedGradient
from .kernels.array_update import ALL

MAX_SIZE = 2**13  # entries of an array; to copy more in and out costs more than the call saved, about a microsecond
MAX_SIZE_ON_DEVICE = (
    2**20
)  # entries of a device array, which is not copied; larger ones occupy the device by themselves


class SmallArrayGroup(ArrayGroup):
    """Small arrays of the host, copied to one vector for each step and back.

    Attributes
    ----------
    x, g : vector
        The arrays and their gradients, one after the other.
    views : list of array
        Views of `x` in the shapes of the arrays.
    """

    __slots__ = ("g", "views")

    def _concatenate(self, vectors):
        return np.concatenate(vectors)

    def _allocate_buffers(self):
        self.x, self.g = np.empty((2, self.offsets[-1]), self.leaf.dtype)
        self.views = self._split(self.x)

    def can_pack(self, targets, gradients):
        """Return whether arrays and gradients have the shapes, dtype and layout of the kernels."""
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
        """Copy the arrays to `x`; return their dense gradients as one `PreparedGradient`."""
        np.concatenate([x if x.ndim == 1 else x.reshape(-1) for x in targets], out=self.x)
        np.concatenate([g if g.ndim == 1 else g.reshape(-1) for g in gradients], out=self.g)
        return PreparedGradient(ALL, self.g)

    def unpack(self, targets):
        """Copy `x` back to the arrays."""
        for x, part in zip(targets, self.views, strict=True):
            x[...] = part


def group_small_arrays(leaves, options):
    """Return the groups of arrays that can be updated in one pass."""
    if len(leaves) < 2 or _needs_own_arrays(options):
        return []
    members_of = {}
    for i, leaf in enumerate(leaves):
        if _can_join_group(leaf):
            members_of.setdefault((leaf.on_device, leaf.dtype, repr(leaf.uncast_update)), []).append(i)
    return [
        (DeviceArrayGroup if key[0] else SmallArrayGroup)(members, leaves, options)
        for key, members in members_of.items()
        if len(members) > 1
    ]


def _needs_own_arrays(options):
    """Return whether the options treat each array by itself: accumulation, or rates per coordinate."""
    for item in options.transforms:
        if accumulates_gradients(item):
            return True
    return _has_arrays(options.lr) and not (
        arrays.is_device_array(options.lr) and arrays.array_spec(options.lr).size == 1
    )


def _can_join_group(leaf):
    """Return whether an array is small and has nothing of its own but its accumulators.

    The methods of a user's transform or penalty may depend on the index of a coordinate, which a group changes.
    """
    update = leaf.uncast_update
    return (
        leaf.dtype == leaf.precision
        and leaf.group_size == 1
        and not leaf.has_matrices
        and leaf.lr_scale is None
        and not is_group_penalty(leaf.update.penalty)
        and 0 < leaf.size <= (MAX_SIZE_ON_DEVICE if leaf.on_device else MAX_SIZE)
        and not _has_arrays(update)
        and not any(map(_needs_own_array, list_transforms(update.transforms)))
        and not is_user_defined((update.transforms, update.penalty))
    )


def _needs_own_array(transform):
    """Return whether a transform depends on all entries of one array: a norm of it, or its noise."""
    return needs_whole_array(transform) and not uses_global_norm(transform)


def _has_arrays(record):
    """Return whether a field of a record is an array."""
    if isinstance(record, tuple):
        return any(_has_arrays(item) for item in record)
    return getattr(record, "ndim", 0) > 0
