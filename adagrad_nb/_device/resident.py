"""One array of x that lives on a CUDA device."""

import numpy as np

from .._jit import Held
from .._kernels.dense import ALL
from .._steps.gradients import Operand
from .._steps.leaf import Leaf
from ..averaging import overwrites, weight
from . import device
from .listing import spread


class DeviceLeaf(Leaf):
    """As `Leaf`, with accumulators on the device and the CUDA loops; nothing is copied to the host but counts."""

    __slots__ = ()

    on_device = True

    def __init__(self, path, x, options, scale=None):
        super().__init__(path, device.form(x), options, scale)
        self.update = device.upload(self.update)

    def _filled(self, x, value):
        """An accumulator with its first value."""
        return device.full(self.shape[:1] if self.group > 1 else self.shape, value, self.precision)

    def vector(self, array):
        """What the kernels see of an array."""
        return device.view(array, self.path)

    def rate(self, lr):
        """A learning rate as the kernels take it; one that is in device memory is read there, whenever they run."""
        if not device.is_device(lr):
            lr = super().rate(lr)
            return device.put(lr) if np.ndim(lr) else lr
        form = device.form(lr)
        if self.scale is not None:
            raise ValueError("lr: is a device array, which does not go with lr_scale")
        if form.dtype != self.precision or (form.size != 1 and form.shape != self.shape):
            raise ValueError(
                f"lr: got a device array of {form.dtype} and shape {form.shape}; must be {self.precision}, of one "
                f"entry or of the shape of {self.path}, {self.shape}"
            )
        return Held(device.view(lr, "lr")) if form.size == 1 else device.view(lr, "lr")

    # --- loops ---------------------------------------------------------------------------------------------------

    def room(self, name, size, dtype=None):
        """Device memory that is kept for the next step: whoever captures a step must not allocate."""
        key = ("room", name, size, np.dtype(dtype or self.precision))
        if key not in self.entries:
            self.entries[key] = device.empty(size, key[-1])
        return self.entries[key]

    @staticmethod
    def where(gradient):
        """The coordinates of a gradient as a record."""
        gpu = device.kernels()
        return gpu.Whole() if gradient.where is ALL else gpu.Listed(gradient.where, gradient.width)

    def apply(self, x, gradient, records, lr, t):
        """Move the array x by the gradient of update t."""
        gpu, x, g, where = device.kernels(), self.vector(x), gradient.values, self.where(gradient)
        if self.group > 1:
            device.launch_blocks(
                gpu.groups, min(g.size // self.group, gpu.PARTS), records, where, x, g, self.flat, lr, t
            )
        elif gradient.starts is not None:
            device.launch(gpu.simultaneous, g.size, records, where, x, g, self.flat, lr, t)
        elif gradient.where is not ALL:
            device.launch(gpu.listed, g.size, records, where, x, g, self.flat, lr, t)
        elif len(self.flat) == 1 and g.dtype == x.dtype and device.is_aligned(x, g, *self.flat):
            device.launch(gpu.dense_quads, max(x.size // 4, 1), records, x, g, self.flat, lr, t)
        else:
            device.launch(gpu.dense, x.size, records, x, g, self.flat, lr, t)

    def norm_into(self, norms, place, transforms, x, gradient, lr):
        """Write the 2-norm of a gradient after `transforms` to norms[place], on the device."""
        gpu, g = device.kernels(), gradient.values
        parts = self.room("parts", device.blocks_of_sum(g.size))
        device.launch_blocks(gpu.squares, parts.size, transforms, self.where(gradient), self.vector(x), g, lr, parts)
        device.launch_blocks(gpu.root_of_sum, 1, parts, norms, place)

    def norm(self, position, transforms, x, gradient, lr):
        """The 2-norm of a gradient, on the host."""
        norms = self.room("norm", 1)
        self.norm_into(norms, 0, transforms, x, gradient, lr)
        return device.fetch(norms)[0]

    def wrong(self, position, transforms, x, gradient, lr):
        """Whether entries of the gradient are not finite: one number is copied to the host."""
        counts, g = self.room("counts", 1, np.int32), gradient.values
        device.fill(counts, 0)
        device.launch(device.kernels().wrong, g.size, transforms, self.where(gradient), self.vector(x), g, lr, counts)
        return int(device.fetch(counts)[0])

    def gather(self, transforms, x, gradient, lr, n):
        """Add the gradient after the transforms to those that wait, or with n > 0 make it the n-th of their mean."""
        gpu = device.kernels()
        if self.gathered is None:
            self.gathered = device.full(self.size, 0, self.precision)
        g, where = self.full(gradient), gpu.Whole()
        device.launch(gpu.gather, g.size, transforms, where, self.vector(x), g, lr, self.gathered, n)

    def full(self, gradient):
        """The values of a gradient at all coordinates."""
        return spread(self, gradient)

    def released(self, by):
        """The gradient that has been gathered, divided by a number."""
        values = self.room("released", self.size)
        device.launch(device.kernels().release, self.size, self.gathered, values, self.precision.type(by))
        return Operand(ALL, values)

    def blend(self, x, t):
        """mean += weight(t) (x - mean); now and then x = mean."""
        share = self.precision.type(weight(self.average, t))
        mean, x = self.vector(self.mean), self.vector(x)
        device.launch(device.kernels().blend, self.size, self.average, mean, x, share)
        if overwrites(self.average, t):
            device.assign(x, mean)

    # --- copies --------------------------------------------------------------------------------------------------

    def duplicate(self, x):
        """A new array with the content of x."""
        return device.copy(x)

    begin_mean = duplicate

    @staticmethod
    def copied(array):
        """A new array with the content of one of ours."""
        return device.copy(array)


def factors(position, firsts, heads, jobs):
    """Each record that looks at the whole array, replaced by the factor it comes to; all of it on the device."""
    gpu = device.kernels()
    chosen = [k for k, first in enumerate(firsts) if hasattr(first, "factor")]
    together = getattr(firsts[chosen[0]], "together", False)
    main = max((jobs[k].leaf for k in chosen), key=lambda leaf: leaf.precision.itemsize)
    norms = main.room(("norms", position), len(chosen))
    for n, k in enumerate(chosen):
        leaf, x, gradient, lr = jobs[k]
        leaf.norm_into(norms, n, heads[k], x, gradient, lr)
    settled = list(firsts)
    for n, k in enumerate(chosen):
        leaf = jobs[k].leaf
        # One factor for all arrays of a precision, or one for each array.
        out = (main if together else leaf).room(("factor", position, leaf.precision), 1, leaf.precision)
        if not together or all(getattr(settled[m], "by", None) is not out for m in chosen[:n]):
            device.launch_blocks(gpu.factors, 1, firsts[k], norms if together else norms[n : n + 1], out)
        settled[k] = gpu.Scaled(out)
    return settled
