"""One array of x in a state: its accumulators, and the compiled loops that move it."""

import numpy as np

from . import device
from ._jit import cast, compiled_for, entry, threads
from ._kernels import dense, norms, rows
from ._kernels.coordinate import Update
from .transforms import Identity, chain


class Leaf:
    """One array of x: its accumulators and the kernels and records, in its precision, that move it."""

    __slots__ = (
        "dtype",
        "entries",
        "fixed",
        "flat",
        "head",
        "mean",
        "on_device",
        "path",
        "rows",
        "serial",
        "shape",
        "size",
        "slots",
        "threaded",
        "update",
        "whole",
    )  # fmt: skip

    def __init__(self, path, x, options):
        self.path, self.shape, self.dtype = path, x.shape, np.dtype(x.dtype)
        self.size, self.on_device = x.size, device.is_device(x)
        update = Update(options.rule, chain(options.transforms), options.penalty)
        self.update = cast(update, self.dtype)
        self.whole = any(hasattr(item, "factor") for item in options.transforms)
        self.head = Identity()
        self.serial = compiled_for(dense.serial, update)
        self.threaded = compiled_for(dense.threaded, update)
        self.rows = compiled_for(rows.rows, update)
        self.entries = {}
        self.fixed = None
        if not callable(options.lr) and not hasattr(options.lr, "_fields"):
            self.fixed = self.rate(options.lr)
        fill = options.rule.fill()
        new = device.full if self.on_device else lambda like, value: np.full(like.shape, value, self.dtype)
        self.hold(tuple(new(x, value) for value in fill))
        self.mean = None

    def move(self, records, where, x, g, lr, t):
        """Apply the gradient of update t to coordinates of the flat array x, with as many threads as pay."""
        big = g.size >= dense.PARALLEL_FROM and threads() > 1
        key = ("threaded" if big else "serial", None if where is dense.ALL else where.dtype.char, type(lr))
        kernel = self.entries.get(key)
        if kernel is None:
            kernel = entry(self.threaded if big else self.serial, records, where, x, g, self.flat, lr, t)
            self.entries[key] = kernel
        kernel(records, where, x, g, self.flat, lr, t)

    def norm(self, position, transforms, where, x, g, lr):
        """The 2-norm of a gradient after the first `position` transforms."""
        key = (position, None if where is dense.ALL else where.dtype.char, type(lr))
        kernel = self.entries.get(key)
        if kernel is None:
            kernel = entry(compiled_for(norms.compiled_norm, transforms), transforms, where, x, g, lr)
            self.entries[key] = kernel
        return kernel(transforms, where, x, g, lr)

    def hold(self, slots):
        """Take arrays as the accumulators."""
        self.slots = slots
        self.flat = tuple(slot.reshape(slot.size) for slot in slots)

    def rate(self, lr):
        """A learning rate as the kernels of this leaf take it."""
        if isinstance(lr, float) or np.ndim(lr) == 0:
            return self.dtype.type(lr)
        array = np.ascontiguousarray(lr, self.dtype)
        if array.shape != self.shape:
            raise ValueError(f"lr: got shape {array.shape}; must be a number or have the shape of x, {self.shape}")
        return array.reshape(-1)

    def copy(self):
        """The same leaf with arrays of its own."""
        new = object.__new__(Leaf)
        for name in Leaf.__slots__:
            if hasattr(self, name):
                setattr(new, name, getattr(self, name))
        duplicate = device.copy if self.on_device else np.copy
        new.hold(tuple(duplicate(slot) for slot in self.slots))
        new.mean = None if self.mean is None else duplicate(self.mean)
        return new
