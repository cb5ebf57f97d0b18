"""Many device arrays in one launch: the kernels get a table of their addresses."""

import operator

import numpy as np

from ..cuda import arrays
from ..records.averaging import overwrites, weight
from .array_group import ArrayGroup
from .device_kernels import memory_kernels, multi_tensor_kernels, update_kernels
from .device_leaf import DeviceLeaf
from .gradients import PreparedGradient
from .kernels.array_update import ALL


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

    def count_sum_blocks(self, x, gradient):
        """Return the number of blocks that sum over the gradients."""
        return x.array_of_block.size

    def write_totals(self, x, gradient, records, lr, buffers, n_blocks):
        """Write the sums over the gradients that a rule with a memory needs, one for each block, to `buffers`."""
        kernel = memory_kernels().multi_sum_totals
        arrays.launch_blocks(kernel, n_blocks, records, x, self.flat_slots, lr, buffers)

    def count_nonfinite(self, position, transforms, x, gradient, lr):
        """Return a number that is 0 if the gradients are finite; it is the only one that is copied to the host."""
        kernel, counts = multi_tensor_kernels().multi_count_nonfinite, self.workspace("counts", 1, np.int32)
        arrays.fill(counts, 0)
        arrays.launch_blocks(kernel, x.array_of_block.size, transforms, x, lr, counts)
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
    addresses : list
        Addresses of the arrays and of the gradients in `table`, to copy them to the device only if they have changed.
    known_arrays : list
        The arrays and the gradients of the last step if their addresses cannot change, else None.
    packable : tuple or None
        Arrays, gradients and addresses that `can_pack` has found.
    table : tuple of two device arrays
        Memory of the addresses, kept because a captured step must not allocate.
    block_table : tuple of device arrays
        The range of entries of each block of threads, and an array of their precision; it depends on the shapes only.
    """

    __slots__ = ("addresses", "block_table", "known_arrays", "packable", "table")

    leaf_type = MultiTensorLeaf

    def _concatenate(self, vectors):
        result = arrays.empty(self.offsets[-1], vectors[0].dtype)
        for begin, end, vector in zip(self.offsets[:-1], self.offsets[1:], vectors, strict=True):
            arrays.copy_into(result[begin:end], vector)
        return result

    def _allocate_buffers(self):
        self.x = self.block_table = self.table = None
        self.addresses, self.known_arrays, self.packable = [None, None], [None, None], None

    def copy(self, leaves):
        """Return a copy with its own arrays, for copies of the leaves; it shares the table of blocks."""
        new = super().copy(leaves)
        new.block_table = self.block_table
        return new

    def can_pack(self, targets, gradients):
        """Return whether arrays and gradients are contiguous device arrays of the right shapes and dtype.

        The addresses of Numba's arrays never change, so those of the last step are found by the identity of the arrays.
        """
        addresses = []
        for i, group in enumerate((targets, gradients)):
            known = self.known_arrays[i]
            if known is not None and len(group) == len(known) and all(map(operator.is_, group, known)):
                addresses.append(self.addresses[i])
                continue
            found = arrays.plain_addresses(group, self.shapes, self.leaf.dtype)
            if found is None:
                return False
            addresses.append(found)
        self.packable = targets, gradients, addresses
        return True

    def check_distinct(self, targets, leaves):
        """Raise if two arrays of `out` share memory; the arrays of the last step do not."""
        if self.packable[2][0] is not self.addresses[0]:
            super().check_distinct(targets, leaves)

    def pack(self, targets, gradients):
        """Set `x` to the addresses of the arrays; return their dense gradients as one `PreparedGradient`."""
        if self.block_table is None:
            self.block_table = self._make_block_table()
        if arrays.is_simulated():
            pointers = tuple(map(arrays.flat_view, targets)), tuple(map(arrays.flat_view, gradients))
            self.x = multi_tensor_kernels().PointerTable(*pointers, *self.block_table)
            return PreparedGradient(ALL, self.x)
        if self.table is None:
            self.table = tuple(arrays.empty(len(self.members), np.int64) for _ in range(2))
            self.x = multi_tensor_kernels().PointerTable(*self.table, *self.block_table)
        if self.packable is not None and self.packable[0] is targets and self.packable[1] is gradients:
            addresses = self.packable[2]
        else:
            addresses = [list(map(arrays.data_pointer, group)) for group in (targets, gradients)]
        self.packable = None
        for i, group in enumerate((targets, gradients)):
            if addresses[i] is not self.addresses[i]:
                if addresses[i] != self.addresses[i]:
                    arrays.write(self.table[i], np.array(addresses[i], np.int64))
                self.addresses[i] = addresses[i]
                self.known_arrays[i] = list(group) if arrays.have_fixed_addresses(group) else None
        return PreparedGradient(ALL, self.x)

    def _make_block_table(self):
        """Return array and first entry of each block, the offsets of the arrays, and an array of their precision."""
        per_block, offsets = multi_tensor_kernels().ENTRIES_PER_BLOCK, np.array(self.offsets, np.int64)
        n_blocks = -(-np.diff(offsets) // per_block)
        array_of_block = np.repeat(np.arange(n_blocks.size), n_blocks)
        block_in_array = np.arange(array_of_block.size) - np.repeat(np.cumsum(n_blocks) - n_blocks, n_blocks)
        like = np.zeros(1, self.leaf.precision)
        return tuple(map(arrays.to_device_array, (array_of_block, block_in_array * per_block, offsets, like)))

    def unpack(self, targets):
        """Do nothing, since the kernels wrote to the arrays; the simulator drops its views of them."""
        if arrays.is_simulated():
            self.x = None
