"""Leaf: one array of x in a state, with its accumulators and its compiled kernels.

Kernels take vectors of real numbers in float32 or float64.  A complex array is passed as the vector of its real and
imaginary parts.  A 16-bit array is computed in float32 and rounded when it is written back; its accumulators are
float32.
"""

import functools
import math

import numpy as np

from .. import _check
from ..compiler.jit import cast, compiled_entry, compiled_for, num_threads
from ..compiler.simd import MAGNITUDE_LIMITS, SMALLEST_ACCURATE_NORMS
from ..compiler.threads import ThreadedKernel
from ..cuda import arrays
from ..records import domains
from ..records.averaging import overwrites, weight
from ..records.coordinate import Update
from ..records.dual_averaging import is_dual_averaging
from ..records.gates import is_gate
from ..records.global_rules import start_slot
from ..records.group_penalties import Grouped, is_group_penalty
from ..records.matrix_rules import has_matrices
from ..records.penalties import NoPenalty
from ..records.rules import has_row_accumulators, initial_slots
from ..records.transforms import (
    Identity,
    LimitMagnitude,
    chain_transforms,
    for_array,
    is_weight_decay,
    keeps_master,
    needs_whole_array,
)
from .feature_groups import group_layout
from .gradients import PreparedGradient, reblock
from .kernels import array_update, reductions

_PRECISION_OF = {"f2": "f4", "V2": "f4", "f4": "f4", "f8": "f8", "c8": "f4", "c16": "f8"}


def _full_or_zeros(shape, value, dtype):
    """Return `np.full`, but use `np.zeros` for zeros, since their memory is not touched before it is used."""
    return np.full(shape, value, dtype) if value else np.zeros(shape, dtype)


def own_array(array):
    """Return an array that kernels can write; a copy of a memory map or a read-only array."""
    return array if type(array) is np.ndarray and array.flags.writeable else np.array(array)


def _gradient_size(records, where, x, g, *_):
    return g.size


class Leaf:
    """One array of x: its accumulators, and the records and compiled kernels that update it.

    Attributes
    ----------
    path : str
        Expression of the array, such as ``x['weights']``.
    shape, dtype, size
        Those of the array.
    precision : dtype
        Dtype of the kernels: float32 or float64.
    update : Update
        Rule, transforms and penalty in this precision; `uncast_update` holds them as given.
    resolved_prefix : record
        Transforms before those that need a norm.
    needs_reduction : bool
        Whether a transform needs a norm or is a gate.
    decays : bool
        Whether a transform is a weight decay.
    constant_lr : number, vector or None
        The learning rate if it does not depend on t.
    lr_scale : ndarray or None
        Factor of the learning rate.
    has_matrices : bool
        Whether the accumulators are matrices, of a rule such as `FullMatrixAdagrad`.
    group_size : int
        Number of coordinates that share an accumulator.
    slots : tuple of arrays
        Accumulators in the shapes that users see; `flat_slots` holds the vectors that kernels take.
    average : averaging record or None
    mean : array or None
        Average of the iterates.
    feature_groups : GroupLayout or None
        Groups of the entries of a vector that has a `Grouped` penalty.
    penalized_row_size : int
        Number of entries of a row of a matrix that has a group penalty, else 0.
    master : vector or None
        Float32 copy of a 16-bit array, made at the first update if `keeps_master`.
    accumulated : vector or None
        Sum of the gradients since the last update of `Accumulate`.
    applied_log_decay : vector or None
        For each row of x the logarithm of the decay that has been applied to it, with lazy decay.
    cache : dict
        Compiled kernels, and workspaces on a device.
    """

    __slots__ = (
        "accumulated",
        "applied_log_decay",
        "average",
        "cache",
        "constant_lr",
        "decays",
        "dtype",
        "feature_groups",
        "flat_slots",
        "group_size",
        "has_matrices",
        "keeps_master",
        "lr_scale",
        "master",
        "mean",
        "needs_reduction",
        "path",
        "penalized_row_size",
        "precision",
        "resolved_prefix",
        "shape",
        "size",
        "slots",
        "uncast_update",
        "update",
    )  # fmt: skip

    on_device = False

    def __init__(self, path, x, options, scale=None):
        self.path, self.shape, self.dtype = path, tuple(x.shape), np.dtype(x.dtype)
        self.size = math.prod(self.shape)
        self.precision = np.dtype(_PRECISION_OF[self.dtype.str[1:]])
        for record in (options.rule, options.penalty):
            _check.fields_finite_in(self.precision, record)
        transforms = tuple(self._flatten_strength(for_array(item, path, self.size)) for item in options.transforms)
        last = LimitMagnitude(float(MAGNITUDE_LIMITS[self.precision.type]))
        self.uncast_update = Update(options.rule, chain_transforms(transforms, last), options.penalty)
        self.update = cast(self.uncast_update, self.precision)
        self.average = None if options.average is None else cast(options.average, self.precision)
        self.needs_reduction = any(needs_whole_array(item) or is_gate(item) for item in transforms)
        self.decays = any(is_weight_decay(item) for item in transforms)
        self.resolved_prefix = Identity()
        self.cache = {}
        self.lr_scale = None if scale is None else np.asarray(scale, np.float64)
        self.constant_lr = None
        if not callable(options.lr) and not hasattr(options.lr, "_fields"):
            self.constant_lr = self.cast_lr(options.lr)
        self.group_size = self._count_reals_per_slot(options.rule)
        self.has_matrices = has_matrices(options.rule)
        if self.has_matrices:
            slots = [np.zeros(shape, self.precision) for shape in options.rule.slot_shapes(self.size)]
        else:
            slots = [self._init_slot(x, value) for value in initial_slots(options.rule)]
        if start_slot(options.rule) is not None and isinstance(x, np.ndarray):  # a group gets the slots of its arrays
            slots[start_slot(options.rule)] = self.init_mean(x)
        self.set_slots(tuple(slots))
        is_of_vector = isinstance(options.penalty, Grouped)
        self.feature_groups = group_layout(options.penalty.groups) if is_of_vector else None
        has_group_penalty = len(self.shape) > 1 and is_group_penalty(options.penalty) and not is_of_vector
        self.penalized_row_size = math.prod(self.shape[1:]) if has_group_penalty else 0
        self.keeps_master = self.is_half and any(keeps_master(item) for item in transforms)
        self.mean = self.accumulated = self.applied_log_decay = self.master = None

    def _flatten_strength(self, item):
        """Return a transform whose array-valued strength has one entry for each coordinate of the kernels' vector."""
        if np.ndim(getattr(item, "strength", 0.0)) == 0:
            return item
        return item._replace(strength=np.repeat(np.asarray(item.strength).reshape(-1), self.reals_per_entry))

    def _count_reals_per_slot(self, rule):
        """Return the number of coordinates of the kernels' vector that share an accumulator."""
        if has_row_accumulators(rule):
            return self.reals_per_entry * int(np.prod(self.shape[1:]))
        return self.reals_per_entry if getattr(rule, "modulus", False) else 1

    @property
    def reals_per_entry(self):
        """Number of real numbers per entry of x: 2 if it is complex."""
        return 2 if self.dtype.kind == "c" else 1

    def _init_slot(self, x, value):
        """Return an accumulator filled with its initial value."""
        if self.group_size > self.reals_per_entry:
            return _full_or_zeros(self.shape[:1], value, self.precision)
        if self.reals_per_entry == 2 and self.group_size == 1:
            return _full_or_zeros((*self.shape, 2), value, self.precision).view(self.dtype).reshape(self.shape)
        return _full_or_zeros(self.shape, value, self.precision)

    def set_slots(self, slots):
        """Use arrays as the accumulators."""
        self.slots = slots
        self.flat_slots = tuple(self.as_vector(slot) for slot in slots)

    def as_vector(self, array):
        """Return the vector that kernels take: a view of the array if its layout and dtype allow it, else a copy."""
        if type(array) is not np.ndarray:
            array = np.asarray(array)  # Numba does not take masked arrays and matrices
        if array.ndim == 1 and array.dtype == self.precision and array.flags.c_contiguous:
            return array
        vector = np.ascontiguousarray(array).reshape(-1)
        return vector.view(self.precision) if vector.dtype.kind == "c" else vector.astype(self.precision, copy=False)

    def iterate_vector(self, x):
        """Return the vector that the updates change: that of `as_vector`, or the float32 copy of a 16-bit array."""
        if not self.keeps_master:
            return self.as_vector(x)
        if self.master is None:
            self.master = self.as_vector(x)
        return self.master

    def write_back(self, x, vector):
        """Copy a vector that `as_vector` returned back to x, unless it is a view of x."""
        if not x.flags.c_contiguous or self.is_half:
            x[...] = (vector.view(self.dtype) if self.dtype.kind == "c" else vector).reshape(x.shape)

    @property
    def is_half(self):
        """Whether entries have 16 bits."""
        return self.dtype.itemsize == 2

    def cast_lr(self, lr):
        """Return a learning rate in the precision of the kernels, multiplied by `lr_scale`."""
        if self.lr_scale is not None:
            lr = np.asarray(lr, np.float64) * self.lr_scale
        if isinstance(lr, float) or np.ndim(lr) == 0:
            return self.precision.type(lr)
        array = own_array(np.ascontiguousarray(lr, self.precision))
        if array.shape != self.shape:
            raise ValueError(f"lr: got shape {array.shape}; must be a number or have the shape of x, {self.shape}")
        array = array.reshape(-1)
        return np.repeat(array, self.reals_per_entry) if self.reals_per_entry > 1 else array

    def check_iterate(self, x):
        """Raise unless x is an array that this leaf was made for, or integers of its shape."""
        if arrays.is_device_array(x):
            raise TypeError(f"{self.path}: the state was made for an array on the host; copy x and g to the host")
        if not isinstance(x, np.ndarray):
            x = _check.parameter_array(self.path, x)
        if x.shape != self.shape or (x.dtype != self.dtype and x.dtype.kind not in "iu"):
            raise ValueError(
                f"{self.path}: got {x.dtype} of shape {x.shape}; the state was made for {self.dtype} of {self.shape}"
            )

    # --- kernels -------------------------------------------------------------------------------------------------

    def apply_dense(self, records, where, x, g, lr, t):
        """Apply the gradient g of update t to the coordinates `where` of the vector x, in threads if x is large."""
        kernel = self._get_kernel("dense", records, where, x, g, lr, t)
        kernel(records, where, x, g, self.flat_slots, lr, t)

    def _get_kernel(self, kind, records, where, x, g, lr, t):
        """Return the kernel that is compiled for arguments of these types."""
        is_large = kind == "dense" and g.size >= array_update.PARALLEL_FROM and num_threads() > 1
        key = (kind, is_large, None if where is array_update.ALL else where.dtype.char, type(lr))
        kernel = self.cache.get(key)
        if kernel is None:
            loop = {
                "dense": array_update.serial,
                "rows": array_update.update_rows,
                "groups": array_update.update_row_groups,
            }[kind]
            kernel = self._compile(loop, records, where, x, g, self.flat_slots, lr, t)
            if is_large:
                compile_threaded = functools.partial(self._compile, array_update.threaded)
                kernel = ThreadedKernel(kernel, compile_threaded, size_of=_gradient_size)
            self.cache[key] = kernel
        return kernel

    def _compile(self, loop, *args):
        return compiled_entry(compiled_for(loop, self.uncast_update), *args)

    def apply_gradient(self, x, gradient, records, lr, t):
        """Apply the gradient of update t to the array x."""
        vector, row_size = self.iterate_vector(x), self.penalized_row_size
        if row_size:
            records = records._replace(penalty=NoPenalty())
            if self.group_size == 1 and gradient.segment_starts is None:
                gradient = reblock(gradient, row_size, vector.size)
        if gradient.segment_starts is not None:
            kernel = compiled_for(array_update.update_summed_squares, self.uncast_update)
            kernel(records, gradient.where, gradient.segment_starts, vector, gradient.values, self.flat_slots, lr, t)
        else:
            if self.group_size > 1:
                gradient = reblock(gradient, self.group_size, vector.size)
            kind = "groups" if self.group_size > 1 else "rows" if gradient.block_size > 1 else "dense"
            kernel = self._get_kernel(kind, records, gradient.where, vector, gradient.values, lr, t)
            kernel(records, gradient.where, vector, gradient.values, self.flat_slots, lr, t)
        if row_size:
            self._apply_group_penalty(gradient.blocks_of(row_size), vector, lr, t)
        if self.feature_groups is not None:
            self._apply_feature_groups(gradient, vector, lr, t)
        self.write_back(x, vector)

    def _apply_feature_groups(self, gradient, x, lr, t):
        """Apply the proximal step of a `Grouped` penalty in update t to the groups whose entries have a gradient."""
        where, layout = gradient.to_coordinates()[0], self.feature_groups
        touched = np.arange(layout.starts.size - 1) if where is array_update.ALL else np.unique(layout.group_of[where])
        kernel = compiled_for(array_update.apply_feature_groups, self.uncast_update)
        workspace = np.empty((2, layout.largest), self.precision)
        kernel(self.update, touched, layout, x, self.flat_slots, workspace, lr, t)

    def _apply_group_penalty(self, rows, x, lr, t):
        """Apply the proximal step of a group penalty in update t to the rows `rows` of x; () are all rows."""
        if rows is array_update.ALL:
            rows = np.arange(self.shape[0])
        kernel = compiled_for(array_update.apply_group_penalty, self.uncast_update)
        step_sizes = np.empty(self.penalized_row_size, self.precision)
        kernel(self.update, rows, x, self.flat_slots, step_sizes, lr, t, self.group_size)

    def apply_matrices(self, x, gradient, records, lr, domain):
        """Apply a gradient by a rule whose preconditioner is a matrix, and project x onto a domain, if there is one.

        A gradient that is not finite makes x and the accumulators NaN, because LAPACK takes finite matrices only.
        """
        if not gradient.values.size and domain is None:  # None: an array without a gradient stays
            return
        vector, g = self.as_vector(x), np.array(self.to_dense(gradient))
        compiled_for(array_update.apply_transforms, self.uncast_update)(records.transforms, vector, g, lr)
        if np.isfinite(g).all() and np.isfinite(vector).all():
            vector[:] = self.uncast_update.rule.matrix_step(vector, g, self.slots, lr, domain)
        else:
            for array in (vector, *self.slots):
                array[...] = np.nan
        self.write_back(x, vector)

    def project(self, x, domain):
        """Replace x by the nearest point of a domain in the metric of the preconditioner; see `domains.project`.

        An x that is not finite stays.
        """
        vector = self.iterate_vector(x)
        point, h = vector.astype(np.float64), np.ones(vector.size)
        if not np.isfinite(point).all():
            return
        if self.flat_slots:
            entries = np.empty(self.flat_slots[0].size, self.precision)
            rule = self.uncast_update.rule
            compiled_for(array_update.preconditioners, rule)(self.update.rule, self.flat_slots, entries)
            h[:] = np.repeat(entries, self.group_size)
            if is_dual_averaging(rule) and not getattr(rule, "keep_start", False):
                # The kernel leaves coordinates without a gradient where the last projection moved them.
                point[self.flat_slots[1] == 0] = 0
        vector[:] = domains.project(domain, point, h)
        self.write_back(x, vector)

    def _reduce_gradient(self, loop, position, transforms, x, gradient, lr):
        """Return the result of a reduction of the gradient after the first `position` transforms."""
        where, values = gradient.to_coordinates()
        x = self.iterate_vector(x)
        key = (loop, position, None if where is array_update.ALL else where.dtype.char, type(lr))
        kernel = self.cache.get(key)
        if kernel is None:
            kernel = compiled_entry(compiled_for(loop, transforms), transforms, where, x, values, lr)
            self.cache[key] = kernel
        return kernel(transforms, where, x, values, lr)

    def norm_of_start(self, x):
        """Return the 2-norm of the initial array in double precision."""
        reals = x.view(x.real.dtype) if x.dtype.kind == "c" else x
        return float(np.linalg.norm(np.asarray(reals, np.float64)))

    def sum_totals(self, x, gradient, records, lr, memory):
        """Return the sums over the coordinates of the gradient that a rule with a memory needs."""
        where, values = gradient.to_coordinates()
        numbers = tuple(self.precision.type(number) for number in memory)
        args = (records, where, self.iterate_vector(x), values, self.flat_slots, lr, numbers)
        key = (reductions.sum_totals, None if where is array_update.ALL else where.dtype.char, type(lr))
        kernel = self.cache.get(key)
        if kernel is None:
            kernel = self.cache[key] = self._compile(reductions.sum_totals, *args)
        return kernel(*args)

    def gradient_norm(self, position, transforms, x, gradient, lr):
        """Return the 2-norm of a gradient after the first `position` transforms."""
        norm = self._reduce_gradient(reductions.compiled_norm, position, transforms, x, gradient, lr)
        if SMALLEST_ACCURATE_NORMS[self.precision.type] <= norm < math.inf:
            return norm
        return self._reduce_gradient(reductions.compiled_scaled_norm, position, transforms, x, gradient, lr)

    def count_nonfinite(self, position, transforms, x, gradient, lr):
        """Return the number of its entries that are not finite after the first `position` transforms."""
        return self._reduce_gradient(reductions.compiled_count_nonfinite, position, transforms, x, gradient, lr)

    def accumulate_gradient(self, transforms, x, gradient, lr, n):
        """Add the gradient after the transforms to the sum; with n > 0, update the mean of n gradients instead."""
        x = self.iterate_vector(x)
        if self.accumulated is None:
            self.accumulated = np.zeros_like(x)
        compiled_for(reductions.compiled_accumulate_gradient, transforms)(
            transforms, x, gradient.to_dense(x.size), lr, self.accumulated, n
        )

    def to_dense(self, gradient):
        """Return a gradient as a dense vector in which duplicates are summed."""
        return gradient.to_dense(self.size)

    def pop_accumulated(self, by):
        """Return the sum of the accumulated gradients divided by a number, and reset the sum."""
        values = self.accumulated / self.precision.type(by) if by != 1 else self.accumulated.copy()
        self.accumulated[:] = 0
        return PreparedGradient(array_update.ALL, values)

    def update_average(self, x, t):
        """mean += weight(t) (x - mean); if the average overwrites at t, x = mean"""
        mean_weight = self.precision.type(weight(self.average, t))
        mean = self.as_vector(self.mean)
        vector = self.iterate_vector(x)
        kernel = self.cache.get("update_average")
        if kernel is None:
            kernel = compiled_entry(
                compiled_for(array_update.compiled_update_average, self.average),
                self.average,
                mean,
                vector,
                mean_weight,
            )
            self.cache["update_average"] = kernel
        kernel(self.average, mean, vector, mean_weight)
        self.write_back(self.mean, mean)
        if overwrites(self.average, t):
            x[...] = self.mean
            if self.keeps_master:
                self.master[:] = mean

    # --- lazy weight decay ----------------------------------------------------------------------------------------

    def init_applied_decay(self):
        """Return the logarithm of the decay that each row has had: zeros."""
        return np.zeros(self.shape[:1] if self.shape else (1,))

    @property
    def decayed_row_size(self):
        """Number of real numbers of a row with lazy decay, else 1."""
        if self.applied_log_decay is None:
            return 1
        return self.reals_per_entry * (self.size // max(self.applied_log_decay.size, 1))

    def apply_missed_decay(self, x, gradient, log_decay):
        """Decay the rows of x that a gradient lists, up to `log_decay`; all if it is None or dense."""
        rows = self._touched_rows(gradient)
        missed_factor = np.exp(log_decay - self.applied_log_decay[rows])
        x = x.reshape(self.applied_log_decay.size, -1) if x.flags.c_contiguous else x
        x[rows] = (x[rows] * missed_factor.reshape(-1, *(1,) * (x.ndim - 1))).astype(x.dtype)
        self.applied_log_decay[rows] = log_decay

    def record_decay(self, gradient, log_decay):
        """Record that the rows that a gradient lists have had the decay `log_decay`."""
        self.applied_log_decay[self._touched_rows(gradient)] = log_decay

    def _touched_rows(self, gradient):
        """Return the rows of the array that a gradient lists; all if it is None or dense."""
        if gradient is None or gradient.where is array_update.ALL:
            return slice(None)
        return gradient.blocks_of(self.decayed_row_size)

    # --- pickles -------------------------------------------------------------------------------------------------

    def __getstate__(self):
        """Return all attributes but compiled kernels and views, which cannot be pickled."""
        return {name: getattr(self, name) for name in Leaf.__slots__ if name not in ("cache", "flat_slots")}

    def __setstate__(self, attributes):
        self.has_matrices = False  # earlier versions had no such rules
        for name, value in attributes.items():
            setattr(self, name, value)
        self.cache = {}
        for name in ("mean", "accumulated", "applied_log_decay", "master"):
            array = getattr(self, name)
            setattr(self, name, None if array is None else own_array(array))
        self.set_slots(tuple(own_array(slot) for slot in self.slots))

    # --- copies --------------------------------------------------------------------------------------------------

    def copy_iterate(self, x):
        """Return a copy of x."""
        return np.array(x, self.dtype, order="C")

    def init_mean(self, x):
        """Return the initial average, or the start: a copy of x, in float32 if x has 16 bits."""
        return np.array(x, self.precision if self.is_half else self.dtype)

    @staticmethod
    def copy_array(array):
        """Return a copy of an array of the leaf."""
        return np.copy(array)

    def copy(self, without_slots=False):
        """Return a copy with its own arrays; with `without_slots`, share accumulators and average."""
        new = object.__new__(type(self))
        for name in Leaf.__slots__:  # copy.copy takes three times as long
            setattr(new, name, getattr(self, name))
        for name in ("accumulated", "applied_log_decay", "master", *(() if without_slots else ("mean",))):
            array = getattr(self, name)
            setattr(new, name, None if array is None else self.copy_array(array))
        if not without_slots:
            new.set_slots(tuple(self.copy_array(slot) for slot in self.slots))
        return new
