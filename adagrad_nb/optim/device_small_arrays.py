"""Many device arrays in one launch: the kernels get a table of their addresses."""

import numpy as np

from ..cuda import arrays
from ..records.averaging import overwrites, weight
from .array_group import ArrayGroup
from .device_gradients import update_kernels
from .device_leaf import DeviceLeaf
from .gradients import PreparedGradient
from .kernels.array_update import ALL


def multi_tensor_kernels():
    """Import and return the CUDA kernels over tables of addresses."""
    arrays.import_cuda()
    from .kernels import cuda_small_arrays

    return arrays.with_disk_cache(cuda_small_arrays)


class MultiTensorLeaf(DeviceLeaf):
    """Several device arrays as one leaf: x and the gradient are a `PointerTable`, the accumulators are vectors."""

    __slots__ = ()

    def apply_gradient(self, x, gradient, records, lr, t):
        """Apply the gradients of update t to the arrays."""
        kernel = multi_tensor_kernels().multi_update
        arrays.launch_blocks(kernel, x.array_of_block.size, records, x, self.flat_slots, lr, t)

    def write_norm(self, norms, position, transforms, x, gradient, lr):
        """Write the 2-norm of all gradients together after `transforms` to norms[position]."""
        n_blocks = x.array_of_block.size
        parts = self.workspace("parts", 2 * n_blocks)
        arrays.launch_blocks(multi_tensor_kernels().multi_sum_squares, n_blocks, transforms, x, lr, parts)
        arrays.launch_blocks(update_kernels().sqrt_of_sum, 1, parts, norms, position)

    def count_nonfinite(self, position, transforms, x, gradient, lr):
        """Return a number that is 0 if the gradients are finite; it is the only one that is copied to the host."""
        kernel, counts = multi_tensor_kernels().multi_count_nonfinite, self.workspace("counts", 1, np.int32)
        arrays.fill(counts, 0)
        arrays.launch_blocks(kernel, x.array_of_block.size, transforms, x, self.flat_slots, lr, counts)
        return int(arrays.to_host(counts)[0])

    def update_average(self, x, t):
        """mean += weight(t) (x - mean); if the average overwrites at t, x = mean"""
        kernel, mean = multi_tensor_kernels().multi_update_average, self.as_vector(self.mean)
        mean_weight, overwrite = self.precision.type(weight(self.average, t)), int(overwrites(self.average, t))
        arrays.launch_blocks(kernel, x.array_of_block.size, self.average, x, mean, mean_weight, overwrite)


class DeviceArrayGroup(ArrayGroup):
    """Device arrays that one launch updates where they are; only their addresses are passed.

    Attributes
    ----------
    x : PointerTable
        The arrays and gradients of the current step.
    addresses : ndarray
        Addresses in `x`, to copy them to the device only if they have changed.
    block_table : tuple of device arrays
        The range of entries of each block of threads; it depends on the shapes only.
    """

    __slots__ = ("addresses", "block_table")

    leaf_type = MultiTensorLeaf

    def _concatenate(self, vectors):
        result = arrays.empty(self.offsets[-1], vectors[0].dtype)
        for begin, end, vector in zip(self.offsets[:-1], self.offsets[1:], vectors, strict=True):
            arrays.copy_into(result[begin:end], vector)
        return result

    def _allocate_buffers(self):
        self.x = self.addresses = self.block_table = None

    def copy(self, leaves):
        """Return a copy with its own arrays, for copies of the leaves; it shares the table of blocks."""
        new = super().copy(leaves)
        new.block_table = self.block_table
        return new

    def can_pack(self, targets, gradients):
        """Return whether arrays and gradients are contiguous device arrays of the right shapes and dtype."""
        dtypes = set()
        for group in (targets, gradients):
            for array, shape in zip(group, self.shapes, strict=True):
                if not arrays.is_device_array(array) or array.shape != shape or not arrays.is_contiguous(array):
                    return False
                dtypes.add(array.dtype)
        return all(str(dtype).removeprefix("torch.") == self.leaf.dtype.name for dtype in dtypes)

    def pack(self, targets, gradients):
        """Set `x` to the addresses of the arrays; return their dense gradients as one `PreparedGradient`."""
        if self.block_table is None:
            self.block_table = self._make_block_table()
        if arrays.is_simulated():
            pointers = tuple(map(arrays.flat_view, targets)), tuple(map(arrays.flat_view, gradients))
        else:
            addresses = np.array(
                [[arrays.data_pointer(array) for array in group] for group in (targets, gradients)], np.int64
            )
            if self.addresses is None or not np.array_equal(addresses, self.addresses):
                self.addresses, on_device = addresses, arrays.to_device_array(addresses)
                pointers = on_device[0], on_device[1]
            else:
                pointers = self.x.x, self.x.g
        self.x = multi_tensor_kernels().PointerTable(*pointers, *self.block_table)
        return PreparedGradient(ALL, self.x)

    def _make_block_table(self):
        """Return the array and the first entry of each block of threads, and the offsets of the arrays."""
        per_block, offsets = multi_tensor_kernels().ENTRIES_PER_BLOCK, np.array(self.offsets, np.int64)
        n_blocks = -(-np.diff(offsets) // per_block)
        array_of_block = np.repeat(np.arange(n_blocks.size), n_blocks)
        block_in_array = np.arange(array_of_block.size) - np.repeat(np.cumsum(n_blocks) - n_blocks, n_blocks)
        return tuple(map(arrays.to_device_array, (array_of_block, block_in_array * per_block, offsets)))

    def unpack(self, targets):
        """Do nothing, since the kernels wrote to the arrays; the simulator drops its views of them."""
        if arrays.is_simulated():
            self.x = None
