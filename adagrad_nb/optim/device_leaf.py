"""One array of x that lives on a CUDA device."""

import numpy as np

from ..compiler.jit import Held
from ..cuda import arrays
from ..records.averaging import overwrites, weight
from ..records.transforms import needs_norm, uses_global_norm
from .device_gradients import spread, update_kernels
from .gradients import Operand
from .kernels.array_update import ALL
from .leaf import Leaf


class DeviceLeaf(Leaf):
    """As `Leaf`, with accumulators on the device and the CUDA loops; nothing is copied to the host but counts."""

    __slots__ = ()

    on_device = True

    def __init__(self, path, x, options, scale=None):
        super().__init__(path, arrays.form(x), options, scale)
        self.update = arrays.upload(self.update)

    def _filled(self, x, value):
        """An accumulator with its first value."""
        return arrays.full(self.shape[:1] if self.group > 1 else self.shape, value, self.precision)

    def vector(self, array):
        """What the kernels see of an array."""
        return arrays.view(array, self.path)

    def rate(self, lr):
        """A learning rate as the kernels take it; one that is in device memory is read there, whenever they run."""
        if not arrays.is_device(lr):
            lr = super().rate(lr)
            return arrays.put(lr) if np.ndim(lr) else lr
        form = arrays.form(lr)
        if self.scale is not None:
            raise ValueError("lr: is a device array, which does not go with lr_scale")
        if form.dtype != self.precision or (form.size != 1 and form.shape != self.shape):
            raise ValueError(
                f"lr: got a device array of {form.dtype} and shape {form.shape}; must be {self.precision}, of one "
                f"entry or of the shape of {self.path}, {self.shape}"
            )
        return Held(arrays.view(lr, "lr")) if form.size == 1 else arrays.view(lr, "lr")

    # --- loops ---------------------------------------------------------------------------------------------------

    def room(self, name, size, dtype=None):
        """Device memory that is kept for the next step: whoever captures a step must not allocate."""
        key = ("room", name, size, np.dtype(dtype or self.precision))
        if key not in self.entries:
            self.entries[key] = arrays.empty(size, key[-1])
        return self.entries[key]

    @staticmethod
    def where(gradient):
        """The coordinates of a gradient as a record."""
        gpu = update_kernels()
        return gpu.Whole() if gradient.where is ALL else gpu.Listed(gradient.where, gradient.width)

    def apply(self, x, gradient, records, lr, t):
        """Move the array x by the gradient of update t."""
        gpu, x, g, where = update_kernels(), self.vector(x), gradient.values, self.where(gradient)
        if self.group > 1:
            arrays.launch_blocks(
                gpu.groups, min(g.size // self.group, arrays.primitives().PARTS), records, where, x, g, self.flat, lr, t
            )
        elif gradient.starts is not None:
            arrays.launch(gpu.simultaneous, g.size, records, where, x, g, self.flat, lr, t)
        elif gradient.where is not ALL:
            arrays.launch(gpu.listed, g.size, records, where, x, g, self.flat, lr, t)
        elif len(self.flat) == 1 and g.dtype == x.dtype and arrays.is_aligned(x, g, *self.flat):
            arrays.launch(gpu.dense_quads, max(x.size // 4, 1), records, x, g, self.flat, lr, t)
        else:
            arrays.launch(gpu.dense, x.size, records, x, g, self.flat, lr, t)

    def norm_into(self, norms, place, transforms, x, gradient, lr):
        """Write the 2-norm of a gradient after `transforms` to norms[place], on the device."""
        gpu, g = update_kernels(), gradient.values
        parts = self.room("parts", arrays.blocks_of_sum(g.size))
        arrays.launch_blocks(gpu.squares, parts.size, transforms, self.where(gradient), self.vector(x), g, lr, parts)
        arrays.launch_blocks(gpu.root_of_sum, 1, parts, norms, place)

    def norm(self, position, transforms, x, gradient, lr):
        """The 2-norm of a gradient, on the host."""
        norms = self.room("norm", 1)
        self.norm_into(norms, 0, transforms, x, gradient, lr)
        return arrays.fetch(norms)[0]

    def wrong(self, position, transforms, x, gradient, lr):
        """Whether entries of the gradient are not finite: one number is copied to the host."""
        counts, g = self.room("counts", 1, np.int32), gradient.values
        arrays.fill(counts, 0)
        arrays.launch(update_kernels().wrong, g.size, transforms, self.where(gradient), self.vector(x), g, lr, counts)
        return int(arrays.fetch(counts)[0])

    def gather(self, transforms, x, gradient, lr, n):
        """Add the gradient after the transforms to those that wait, or with n > 0 make it the n-th of their mean."""
        gpu = update_kernels()
        if self.gathered is None:
            self.gathered = arrays.full(self.size, 0, self.precision)
        g, where = self.full(gradient), gpu.Whole()
        arrays.launch(gpu.gather, g.size, transforms, where, self.vector(x), g, lr, self.gathered, n)

    def full(self, gradient):
        """The values of a gradient at all coordinates."""
        return spread(self, gradient)

    def released(self, by):
        """The gradient that has been gathered, divided by a number."""
        values = self.room("released", self.size)
        arrays.launch(update_kernels().release, self.size, self.gathered, values, self.precision.type(by))
        return Operand(ALL, values)

    def blend(self, x, t):
        """mean += weight(t) (x - mean); now and then x = mean."""
        share = self.precision.type(weight(self.average, t))
        mean, x = self.vector(self.mean), self.vector(x)
        arrays.launch(update_kernels().blend, self.size, self.average, mean, x, share)
        if overwrites(self.average, t):
            arrays.assign(x, mean)

    # --- copies --------------------------------------------------------------------------------------------------

    def duplicate(self, x):
        """A new array with the content of x."""
        return arrays.copy(x)

    begin_mean = duplicate

    @staticmethod
    def copied(array):
        """A new array with the content of one of ours."""
        return arrays.copy(array)


def factors(position, firsts, heads, jobs):
    """Each record that looks at the whole array, replaced by the factor it comes to; all of it on the device."""
    gpu = update_kernels()
    chosen = [k for k, first in enumerate(firsts) if needs_norm(first)]
    together = uses_global_norm(firsts[chosen[0]])
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
            arrays.launch_blocks(gpu.factors, 1, firsts[k], norms if together else norms[n : n + 1], out)
        settled[k] = gpu.Scaled(out)
    return settled
