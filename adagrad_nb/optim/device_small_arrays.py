"""Many small device arrays that take their steps in one launch."""

import numpy as np

from ..cuda import arrays as device
from ..records.averaging import overwrites, weight
from .device_gradients import update_kernels
from .device_leaf import DeviceLeaf
from .gradients import PreparedGradient
from .kernels.array_update import ALL


class MultiTensorLeaf(DeviceLeaf):
    """As `DeviceLeaf`, for arrays that lie anywhere; x and the gradient are a table of addresses."""

    __slots__ = ()

    def apply_gradient(self, x, gradient, records, lr, t):
        """Move the arrays by the gradients of update t."""
        device.launch_blocks(
            multi_tensor_kernels().multi_update, x.array_of_block.size, records, x, self.flat_slots, lr, t
        )

    def write_norm(self, norms, place, transforms, x, gradient, lr):
        """Write the 2-norm of all gradients together after `transforms` to norms[place], on the device."""
        parts = self.workspace("parts", x.array_of_block.size)
        device.launch_blocks(multi_tensor_kernels().multi_sum_squares, parts.size, transforms, x, lr, parts)
        device.launch_blocks(update_kernels().sqrt_of_sum, 1, parts, norms, place)

    def count_nonfinite(self, position, transforms, x, gradient, lr):
        """Whether entries of the gradients are not finite: one number is copied to the host."""
        counts = self.workspace("counts", 1, np.int32)
        device.fill(counts, 0)
        device.launch_blocks(
            multi_tensor_kernels().multi_count_nonfinite,
            x.array_of_block.size,
            transforms,
            x,
            self.flat_slots,
            lr,
            counts,
        )
        return int(device.to_host(counts)[0])

    def update_average(self, x, t):
        """mean += weight(t) (x - mean); now and then x = mean."""
        mean_weight, over = self.precision.type(weight(self.average, t)), int(overwrites(self.average, t))
        device.launch_blocks(
            multi_tensor_kernels().multi_update_average,
            x.array_of_block.size,
            self.average,
            x,
            self.as_vector(self.mean),
            mean_weight,
            over,
        )


def multi_tensor_kernels():
    """The CUDA loops over tables."""
    device.import_cuda()
    from .kernels import cuda_small_arrays

    return cuda_small_arrays


class DeviceArrayGroup:
    """Arrays of a state on the device whose accumulators lie one after the other; x and g stay where they are.

    Attributes
    ----------
    members : list of int
        Which arrays of the state.
    leaf : MultiTensorLeaf
        All of them as one vector; it holds the accumulators and the mean of which the arrays have views.
    x : Addresses
        Where the arrays of the present step are.
    """

    __slots__ = ("addresses", "block_table", "leaf", "members", "offsets", "shapes", "spec", "x")

    def __init__(self, members, leaves, options):
        own_leaves = [leaves[i] for i in members]
        self.members, self.shapes = members, [leaf.shape for leaf in own_leaves]
        self.offsets = np.cumsum([0, *(leaf.size for leaf in own_leaves)])
        self.spec = device.ArraySpec((int(self.offsets[-1]),), own_leaves[0].dtype)
        self.leaf = MultiTensorLeaf(own_leaves[0].path, device.empty(*self.spec), options)
        self.leaf.uncast_update, self.leaf.update = own_leaves[0].uncast_update, own_leaves[0].update
        self.x = self.addresses = self.block_table = None
        self.leaf.set_slots(
            tuple(self._concatenate(slots) for slots in zip(*(leaf.flat_slots for leaf in own_leaves), strict=True))
        )
        if own_leaves[0].mean is not None:
            self.leaf.mean = self._concatenate([leaf.as_vector(leaf.mean) for leaf in own_leaves])
        self._share_views(leaves)

    def _share_views(self, leaves):
        """Give the arrays views of the accumulators and the mean that are kept here."""
        for i, part, shape in zip(self.members, self._slices(), self.shapes, strict=True):
            leaves[i].set_slots(tuple(slot[part].reshape(*shape) for slot in self.leaf.flat_slots))
            if self.leaf.mean is not None:
                leaves[i].mean = self.leaf.mean[part].reshape(*shape)

    def copy(self, leaves):
        """The same group with arrays of its own, for copies of the leaves."""
        new = object.__new__(DeviceArrayGroup)
        new.members, new.shapes, new.offsets, new.spec = self.members, self.shapes, self.offsets, self.spec
        new.leaf, new.block_table = self.leaf.copy(), self.block_table
        new.x = new.addresses = None
        new._share_views(leaves)
        return new

    def _slices(self):
        return [slice(int(a), int(b)) for a, b in zip(self.offsets[:-1], self.offsets[1:], strict=True)]

    def _concatenate(self, vectors):
        whole = device.empty(*self.spec)
        for part, vector in zip(self._slices(), vectors, strict=True):
            device.copy_into(whole[part], vector)
        return whole

    def can_pack(self, targets, gradients):
        """Whether nothing but the kinds of arrays that a kernel takes is there; the addresses are noted."""
        dtypes = set()
        for arrays in (targets, gradients):
            for array, shape in zip(arrays, self.shapes, strict=True):
                if not device.is_device_array(array) or array.shape != shape or not device.is_contiguous(array):
                    return False
                dtypes.add(array.dtype)
        wanted = self.spec.dtype
        return all(str(dtype).removeprefix("torch.") == wanted.name for dtype in dtypes)

    def pack(self, targets, gradients):
        """Note where the arrays and their dense gradients are; return the gradient of all of them."""
        gpu = multi_tensor_kernels()
        if device.is_simulated():
            where = tuple(map(device.flat_view, targets)), tuple(map(device.flat_view, gradients))
        else:
            numbers = np.array(
                [[device.data_pointer(array) for array in arrays] for arrays in (targets, gradients)], np.int64
            )
            if self.addresses is None or not np.array_equal(numbers, self.addresses):
                self.addresses, held = numbers, device.to_device_array(numbers)
                where = held[0], held[1]
            else:
                where = self.x.x, self.x.g
        if self.block_table is None:
            sizes = np.diff(self.offsets)
            chunks = -(-sizes // gpu.ENTRIES_PER_BLOCK)
            array = np.repeat(np.arange(sizes.size), chunks)
            first = (np.arange(array.size) - np.repeat(np.cumsum(chunks) - chunks, chunks)) * gpu.ENTRIES_PER_BLOCK
            self.block_table = tuple(map(device.to_device_array, (array, first, self.offsets)))
        self.x = gpu.PointerTable(*where, *self.block_table)
        return PreparedGradient(ALL, self.x)

    def unpack(self, targets):
        """Let go of the arrays: they have been changed where they are."""
        if device.is_simulated():
            self.x = None
