"""Many small device arrays that take their steps in one launch."""

import numpy as np

from ..cuda import arrays as device
from ..records.averaging import overwrites, weight
from .device_gradients import update_kernels
from .device_leaf import DeviceLeaf
from .gradients import Operand
from .kernels.array_update import ALL


class TableLeaf(DeviceLeaf):
    """As `DeviceLeaf`, for arrays that lie anywhere; x and the gradient are a table of addresses."""

    __slots__ = ()

    def apply(self, x, gradient, records, lr, t):
        """Move the arrays by the gradients of update t."""
        device.launch_blocks(loops().many, x.array.size, records, x, self.flat, lr, t)

    def norm_into(self, norms, place, transforms, x, gradient, lr):
        """Write the 2-norm of all gradients together after `transforms` to norms[place], on the device."""
        parts = self.room("parts", x.array.size)
        device.launch_blocks(loops().many_squares, parts.size, transforms, x, lr, parts)
        device.launch_blocks(update_kernels().root_of_sum, 1, parts, norms, place)

    def wrong(self, position, transforms, x, gradient, lr):
        """Whether entries of the gradients are not finite: one number is copied to the host."""
        counts = self.room("counts", 1, np.int32)
        device.fill(counts, 0)
        device.launch_blocks(loops().many_wrong, x.array.size, transforms, x, self.flat, lr, counts)
        return int(device.fetch(counts)[0])

    def blend(self, x, t):
        """mean += weight(t) (x - mean); now and then x = mean."""
        share, over = self.precision.type(weight(self.average, t)), int(overwrites(self.average, t))
        device.launch_blocks(loops().many_blend, x.array.size, self.average, x, self.vector(self.mean), share, over)


def loops():
    """The CUDA loops over tables."""
    device.cuda()
    from .kernels import cuda_small_arrays

    return cuda_small_arrays


class DeviceBundle:
    """Arrays of a state on the device whose accumulators lie one after the other; x and g stay where they are.

    Attributes
    ----------
    members : list of int
        Which arrays of the state.
    leaf : TableLeaf
        All of them as one vector; it holds the accumulators and the mean of which the arrays have views.
    x : Addresses
        Where the arrays of the present step are.
    """

    __slots__ = ("addresses", "borders", "fixed", "form", "kinds", "leaf", "members", "x")

    def __init__(self, members, leaves, options):
        mine = [leaves[i] for i in members]
        self.members, self.kinds = members, [leaf.shape for leaf in mine]
        self.borders = np.cumsum([0, *(leaf.size for leaf in mine)])
        self.form = device.Form((int(self.borders[-1]),), mine[0].dtype)
        self.leaf = TableLeaf(mine[0].path, device.empty(*self.form), options)
        self.leaf.base, self.leaf.update = mine[0].base, mine[0].update
        self.x = self.addresses = self.fixed = None
        self.leaf.hold(tuple(self._joined(slots) for slots in zip(*(leaf.flat for leaf in mine), strict=True)))
        if mine[0].mean is not None:
            self.leaf.mean = self._joined([leaf.vector(leaf.mean) for leaf in mine])
        self._lend(leaves)

    def _lend(self, leaves):
        """Give the arrays views of the accumulators and the mean that are kept here."""
        for i, part, shape in zip(self.members, self._parts(), self.kinds, strict=True):
            leaves[i].hold(tuple(slot[part].reshape(*shape) for slot in self.leaf.flat))
            if self.leaf.mean is not None:
                leaves[i].mean = self.leaf.mean[part].reshape(*shape)

    def copy(self, leaves):
        """The same bundle with arrays of its own, for copies of the leaves."""
        new = object.__new__(DeviceBundle)
        new.members, new.kinds, new.borders, new.form = self.members, self.kinds, self.borders, self.form
        new.leaf, new.fixed = self.leaf.copy(), self.fixed
        new.x = new.addresses = None
        new._lend(leaves)
        return new

    def _parts(self):
        return [slice(int(a), int(b)) for a, b in zip(self.borders[:-1], self.borders[1:], strict=True)]

    def _joined(self, vectors):
        whole = device.empty(*self.form)
        for part, vector in zip(self._parts(), vectors, strict=True):
            device.assign(whole[part], vector)
        return whole

    def fits(self, targets, gradients):
        """Whether nothing but the kinds of arrays that a kernel takes is there; the addresses are noted."""
        dtypes = set()
        for arrays in (targets, gradients):
            for array, shape in zip(arrays, self.kinds, strict=True):
                if not device.is_device(array) or array.shape != shape or not device.is_packed(array):
                    return False
                dtypes.add(array.dtype)
        wanted = self.form.dtype
        return all(str(dtype).removeprefix("torch.") == wanted.name for dtype in dtypes)

    def gather(self, targets, gradients):
        """Note where the arrays and their dense gradients are; return the gradient of all of them."""
        gpu = loops()
        if device.is_simulated():
            where = tuple(map(device.view, targets)), tuple(map(device.view, gradients))
        else:
            numbers = np.array(
                [[device.address(array) for array in arrays] for arrays in (targets, gradients)], np.int64
            )
            if self.addresses is None or not np.array_equal(numbers, self.addresses):
                self.addresses, held = numbers, device.put(numbers)
                where = held[0], held[1]
            else:
                where = self.x.x, self.x.g
        if self.fixed is None:
            sizes = np.diff(self.borders)
            chunks = -(-sizes // gpu.CHUNK)
            array = np.repeat(np.arange(sizes.size), chunks)
            first = (np.arange(array.size) - np.repeat(np.cumsum(chunks) - chunks, chunks)) * gpu.CHUNK
            self.fixed = tuple(map(device.put, (array, first, self.borders)))
        self.x = gpu.Addresses(*where, *self.fixed)
        return Operand(ALL, self.x)

    def scatter(self, targets):
        """Let go of the arrays: they have been changed where they are."""
        if device.is_simulated():
            self.x = None
