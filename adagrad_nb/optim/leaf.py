"""One array of x in a state: its accumulators, and the compiled loops that move it.

Kernels see vectors of real numbers of 32 or 64 bits.  A complex array is the vector of its parts; one of 16 bits is
computed in 32 and rounded when it is written back, its accumulators are of 32 bits.
"""

import numpy as np

from ..compiler.jit import cast, compiled_for, entry, threads
from ..records.averaging import overwrites, weight
from ..records.coordinate import Update
from ..records.gates import is_gate
from ..records.rules import has_row_accumulators, initial_slots
from ..records.transforms import Identity, chain_transforms, for_array, is_weight_decay, needs_norm
from .gradients import Operand, regrouped
from .kernels import array_update, reductions

_BASE = {"f2": "f4", "V2": "f4", "f4": "f4", "f8": "f8", "c8": "f4", "c16": "f8"}


def _full(shape, value, dtype):
    """As np.full, which writes zeros too."""
    return np.full(shape, value, dtype) if value else np.zeros(shape, dtype)


class Leaf:
    """One array of x: its accumulators and the kernels and records, in its precision, that move it.

    Attributes
    ----------
    precision : dtype
        What the kernels compute in: float32 or float64.
    group : int
        Real numbers that share an accumulator.
    flat : tuple of vectors
        The accumulators as the kernels see them.
    gathered : vector or None
        The sum of the gradients that wait for a step.
    decayed : vector or None
        For each row of x the logarithm of the decay that has been applied to it, where decay is caught up lazily.
    """

    __slots__ = (
        "average",
        "base",
        "decayed",
        "decays",
        "dtype",
        "entries",
        "fixed",
        "flat",
        "gathered",
        "group",
        "head",
        "mean",
        "path",
        "precision",
        "scale",
        "shape",
        "size",
        "slots",
        "update",
        "whole",
    )  # fmt: skip

    on_device = False

    def __init__(self, path, x, options, scale=None):
        self.path, self.shape, self.dtype, self.size = path, tuple(x.shape), np.dtype(x.dtype), x.size
        self.precision = np.dtype(_BASE[self.dtype.str[1:]])
        transforms = tuple(self._flattened(for_array(item, path)) for item in options.transforms)
        self.base = Update(options.rule, chain_transforms(transforms), options.penalty)
        self.update = cast(self.base, self.precision)
        self.average = None if options.average is None else cast(options.average, self.precision)
        self.whole = any(needs_norm(item) or is_gate(item) for item in transforms)
        self.decays = any(is_weight_decay(item) for item in transforms)
        self.head = Identity()
        self.entries = {}
        self.scale = None if scale is None else np.asarray(scale, np.float64)
        self.fixed = None
        if not callable(options.lr) and not hasattr(options.lr, "_fields"):
            self.fixed = self.rate(options.lr)
        self.group = self._group(options.rule)
        self.hold(tuple(self._filled(x, value) for value in initial_slots(options.rule)))
        self.mean = self.gathered = self.decayed = None

    def _flattened(self, item):
        """A transform whose strengths, where there is one for each coordinate, follow the kernels' vector."""
        if np.ndim(getattr(item, "strength", 0.0)) == 0:
            return item
        return item._replace(strength=np.repeat(np.asarray(item.strength).reshape(-1), self.parts))

    def _group(self, rule):
        """How many of the real numbers that the kernels see share an accumulator."""
        if has_row_accumulators(rule):
            return self.parts * int(np.prod(self.shape[1:]))
        return self.parts if getattr(rule, "modulus", False) else 1

    @property
    def parts(self):
        """Real numbers per entry of x."""
        return 2 if self.dtype.kind == "c" else 1

    def _filled(self, x, value):
        """An accumulator with its first value; zeros take no memory until they are met."""
        if self.group > self.parts:
            return _full(self.shape[:1], value, self.precision)
        if self.parts == 2 and self.group == 1:
            return _full((*self.shape, 2), value, self.precision).view(self.dtype).reshape(self.shape)
        return _full(self.shape, value, self.precision)

    def hold(self, slots):
        """Take arrays as the accumulators."""
        self.slots = slots
        self.flat = tuple(self.vector(slot) for slot in slots)

    def vector(self, array):
        """What the kernels see of an array: a view of it where its layout and precision are theirs."""
        if type(array) is not np.ndarray:
            array = np.asarray(array)  # masked arrays and matrices are none for Numba
        if array.ndim == 1 and array.dtype == self.precision and array.flags.c_contiguous:
            return array
        vector = np.ascontiguousarray(array).reshape(-1)
        return vector.view(self.precision) if vector.dtype.kind == "c" else vector.astype(self.precision, copy=False)

    def write_back(self, x, vector):
        """Bring the content of a vector to x, unless it is a view of x."""
        if not x.flags.c_contiguous or self.is_half:
            x[...] = (vector.view(self.dtype) if self.dtype.kind == "c" else vector).reshape(x.shape)

    @property
    def is_half(self):
        return self.dtype.itemsize == 2

    def rate(self, lr):
        """A learning rate as the kernels of this leaf take it."""
        if self.scale is not None:
            lr = np.asarray(lr, np.float64) * self.scale
        if isinstance(lr, float) or np.ndim(lr) == 0:
            return self.precision.type(lr)
        array = np.ascontiguousarray(lr, self.precision)
        if array.shape != self.shape:
            raise ValueError(f"lr: got shape {array.shape}; must be a number or have the shape of x, {self.shape}")
        array = array.reshape(-1)
        return np.repeat(array, self.parts) if self.parts > 1 else array

    # --- loops ---------------------------------------------------------------------------------------------------

    def move(self, records, where, x, g, lr, t):
        """Apply the gradient of update t to coordinates of the vector x, with as many threads as pay."""
        kernel = self._entry("dense", records, where, x, g, lr, t)
        kernel(records, where, x, g, self.flat, lr, t)

    def _entry(self, kind, records, where, x, g, lr, t):
        """The compiled loop for arguments like these."""
        big = kind == "dense" and g.size >= array_update.PARALLEL_FROM and threads() > 1
        key = (kind, big, None if where is array_update.ALL else where.dtype.char, type(lr))
        kernel = self.entries.get(key)
        if kernel is None:
            loop = {
                "dense": array_update.threaded if big else array_update.serial,
                "rows": array_update.rows,
                "groups": array_update.groups,
            }[kind]
            kernel = entry(compiled_for(loop, self.base), records, where, x, g, self.flat, lr, t)
            self.entries[key] = kernel
        return kernel

    def apply(self, x, gradient, records, lr, t):
        """Move the array x by the gradient of update t."""
        vector = self.vector(x)
        if gradient.starts is not None:
            kernel = compiled_for(array_update.simultaneous, self.base)
            kernel(records, gradient.where, gradient.starts, vector, gradient.values, self.flat, lr, t)
        else:
            if self.group > 1:
                gradient = regrouped(gradient, self.group, vector.size)
            kind = "groups" if self.group > 1 else "rows" if gradient.width > 1 else "dense"
            kernel = self._entry(kind, records, gradient.where, vector, gradient.values, lr, t)
            kernel(records, gradient.where, vector, gradient.values, self.flat, lr, t)
        self.write_back(x, vector)

    def _count(self, loop, position, transforms, x, gradient, lr):
        """What a loop over the gradient after the first `position` transforms returns."""
        where, values = gradient.spread()
        x = self.vector(x)
        key = (loop, position, None if where is array_update.ALL else where.dtype.char, type(lr))
        kernel = self.entries.get(key)
        if kernel is None:
            kernel = entry(compiled_for(loop, transforms), transforms, where, x, values, lr)
            self.entries[key] = kernel
        return kernel(transforms, where, x, values, lr)

    def norm(self, position, transforms, x, gradient, lr):
        """The 2-norm of a gradient after the first `position` transforms."""
        return self._count(reductions.compiled_norm, position, transforms, x, gradient, lr)

    def wrong(self, position, transforms, x, gradient, lr):
        """How many of its entries are then not finite."""
        return self._count(reductions.compiled_wrong, position, transforms, x, gradient, lr)

    def gather(self, transforms, x, gradient, lr, n):
        """Add the gradient after the transforms to those that wait, or with n > 0 make it the n-th of their mean."""
        x = self.vector(x)
        if self.gathered is None:
            self.gathered = np.zeros_like(x)
        compiled_for(reductions.compiled_gather, transforms)(transforms, x, gradient.full(x.size), lr, self.gathered, n)

    def full(self, gradient):
        """The values of a gradient at all coordinates, what is listed twice summed."""
        return gradient.full(self.size)

    def released(self, by):
        """The gradient that has been gathered, divided by a number."""
        values = self.gathered / self.precision.type(by) if by != 1 else self.gathered.copy()
        self.gathered[:] = 0
        return Operand(array_update.ALL, values)

    def blend(self, x, t):
        """mean += weight(t) (x - mean); now and then x = mean."""
        share = self.precision.type(weight(self.average, t))
        mean = self.vector(self.mean)
        x_ = self.vector(x)
        kernel = self.entries.get("blend")
        if kernel is None:
            kernel = entry(compiled_for(array_update.compiled_blend, self.average), self.average, mean, x_, share)
            self.entries["blend"] = kernel
        kernel(self.average, mean, x_, share)
        self.write_back(self.mean, mean)
        if overwrites(self.average, t):
            x[...] = self.mean

    # --- copies --------------------------------------------------------------------------------------------------

    def duplicate(self, x):
        """A new array with the content of x."""
        return np.array(x, self.dtype, order="C")

    def begin_mean(self, x):
        """The first average: x itself, in the precision that it is kept in."""
        return np.array(x, self.precision if self.is_half else self.dtype)

    @staticmethod
    def copied(array):
        """A new array with the content of one of ours."""
        return np.copy(array)

    def copy(self, bare=False):
        """The same leaf with arrays of its own, or with none yet."""
        new = object.__new__(type(self))
        for name in Leaf.__slots__:  # copy.copy takes three times as long
            setattr(new, name, getattr(self, name))
        if bare:
            return new
        new.hold(tuple(self.copied(slot) for slot in self.slots))
        for name in ("mean", "gathered", "decayed"):
            array = getattr(self, name)
            setattr(new, name, None if array is None else self.copied(array))
        return new
