"""DeviceLeaf: one device array of x, with its accumulators on the device and the CUDA kernels."""

import numpy as np

from .._legacy import has_member
from ..compiler.jit import DeviceScalar
from ..cuda import arrays
from ..records.averaging import overwrites, weight
from ..records.gates import is_gate
from ..records.global_rules import start_slot
from ..records.penalties import NoPenalty
from ..records.transforms import RescaleUnits, adds_noise, list_transforms, needs_norm, uses_global_norm
from .device_gradients import next_power_of_two, to_dense
from .device_kernels import decay_kernels, group_kernels, memory_kernels, unit_kernels, update_kernels
from .gradients import PreparedGradient
from .kernels.array_update import ALL
from .leaf import Leaf

MAX_LANE_WIDTH = 1024  # of a row that a warp updates; a block of threads updates a wider one
MAX_WORKSPACE = 2**25  # entries of the workspace of a group penalty for an array that has no more


def _threads_per_row(width):
    """Return the number of threads that update a row: a power of two up to that of a warp, or a block."""
    primitives = arrays.import_primitives()
    if width > MAX_LANE_WIDTH:
        return primitives.BLOCK_SIZE
    return min(1 << (min(width, primitives.WARP_SIZE) - 1).bit_length(), primitives.BLOCK_SIZE)


class DeviceLeaf(Leaf):
    """`Leaf` of a device array.  Only counts and, for mixed host and device arrays, norms are copied to the host."""

    __slots__ = ()

    on_device = True

    def __init__(self, path, x, options, scale=None):
        super().__init__(path, arrays.array_spec(x), options, scale)
        self.update = arrays.to_device_record(self.update)
        if start_slot(options.rule) is not None and arrays.is_device_array(x):
            arrays.copy_into(self.slots[start_slot(options.rule)], self.as_vector(x))

    def _init_slot(self, x, value):
        """Return an accumulator filled with its initial value."""
        return arrays.full(self.shape[:1] if self.group_size > 1 else self.shape, value, self.precision)

    def as_vector(self, array):
        """Return the flat view that the kernels take."""
        return arrays.flat_view(array, self.path)

    def cast_lr(self, lr):
        """Return a learning rate in the form that the kernels take.

        Kernels read one in device memory when they run, so a CUDA graph sees its changes.
        """
        if not arrays.is_device_array(lr):
            lr = super().cast_lr(lr)
            return arrays.to_device_array(lr) if np.ndim(lr) else lr
        spec = arrays.array_spec(lr)
        if self.lr_scale is not None:
            raise ValueError("lr: is a device array, which cannot be combined with lr_scale")
        if spec.dtype != self.precision or (spec.size != 1 and spec.shape != self.shape):
            raise ValueError(
                f"lr: got a device array of {spec.dtype} and shape {spec.shape}; must be {self.precision} with one "
                f"entry or the shape of {self.path}, {self.shape}"
            )
        return DeviceScalar(arrays.flat_view(lr, "lr")) if spec.size == 1 else arrays.flat_view(lr, "lr")

    def check_iterate(self, x):
        """Raise unless x is a device array that this leaf was made for."""
        spec = arrays.array_spec(x) if arrays.is_device_array(x) else None
        if spec is None or (spec.shape, spec.dtype) != (self.shape, self.dtype):
            raise ValueError(
                f"{self.path}: the state was made for a device array of shape {self.shape} and {self.dtype}"
            )

    @property
    def listed_rows(self):
        """The number of entries of the rows that a sparse gradient must list, and the option that needs whole rows.

        The number is 1 if a gradient may list single entries.
        """
        if self.group_size > 1:
            return self.group_size, type(self.uncast_update.rule).__name__
        if self.penalized_row_size:
            return self.penalized_row_size, type(self.uncast_update.penalty).__name__
        return self.decayed_row_size, "sparse_decay='lazy'"

    # --- kernels -------------------------------------------------------------------------------------------------

    @property
    def is_repeatable(self):
        """Whether the launches of an update depend on the arrays and on t only: no gate, no noise."""
        transforms = list_transforms(self.uncast_update.transforms)
        return not any(is_gate(item) or adds_noise(item) for item in transforms)

    def step_in_place(self, x, g, t, memory, apply_gradient):
        """Apply the dense gradient of update t to x if both are plain arrays on one stream; return whether they are.

        The launches of the first step are recorded, and then repeated with other addresses and another t.

        Parameters
        ----------
        x, g : device array
        t : int
        memory : DeviceGlobalMemory or ()
            The memory that the step changes.
        apply_gradient : callable(x, gradient, t)
            Function that makes the first step.
        """
        if not (arrays.is_device_array(x) and arrays.is_device_array(g)):
            return False
        cache, shape, dtype = self.cache, self.shape, self.dtype
        strides = cache.get("strides")
        if strides is None:
            strides = cache["strides"] = _contiguous_strides(shape, dtype.itemsize)
        x_address = arrays.plain_address(x, shape, dtype, strides)
        g_address = arrays.plain_address(g, shape, dtype, strides)
        if not (x_address and g_address):
            return False
        n_bytes = self.size * dtype.itemsize
        if abs(x_address - g_address) < n_bytes and (x_address != g_address or self.group_size > 1):
            return False
        stream = arrays.common_stream(x, g)
        if stream is None:
            return False
        key = ("recording", (x_address | g_address) % 16 == 0, arrays.device_number())
        known = cache.get(key)
        if known is None or known[0] is not self.flat_slots or known[1] is not memory:
            self._record_step(key, x, g, t, memory, apply_gradient)
            return True
        if known[2] is None:
            return False
        known[2].run(stream, x_address, g_address, t)
        return True

    def _record_step(self, key, x, g, t, memory, apply_gradient):
        """Make the first step of `step_in_place` and keep the recording of its launches."""
        with arrays.on_stream([x, g]):
            x, g = arrays.new_view(self.as_vector(x)), arrays.new_view(self.as_vector(g))
            recording = arrays.record_launches(lambda t: apply_gradient(x, PreparedGradient(ALL, g), t), (x, g), t)
        self.cache[key] = self.flat_slots, memory, recording

    def workspace(self, name, size, dtype=None):
        """Return device memory that is kept for the next step, since a captured step must not allocate."""
        key = ("workspace", name, size, np.dtype(dtype or self.precision))
        if key not in self.cache:
            self.cache[key] = arrays.empty(size, key[-1])
        return self.cache[key]

    @staticmethod
    def as_coordinates(gradient):
        """Return the record that maps gradient values to coordinates in CUDA kernels."""
        kernels = update_kernels()
        return (
            kernels.AllCoordinates()
            if gradient.where is ALL
            else kernels.ListedCoordinates(gradient.where, gradient.block_size)
        )

    def apply_gradient(self, x, gradient, records, lr, t):
        """Apply the gradient of update t to the array x."""
        x = self.as_vector(x)
        if not self.penalized_row_size and self.feature_groups is None:
            self._step_coordinates(x, gradient, records, lr, t)
            return
        self._step_coordinates(x, gradient, records._replace(penalty=NoPenalty()), lr, t)
        self._apply_group_penalty(x, gradient, lr, t)

    def _step_coordinates(self, x, gradient, records, lr, t):
        """Apply the gradient of update t to each coordinate of the vector x."""
        kernels, g, where = update_kernels(), gradient.values, self.as_coordinates(gradient)
        if self.group_size > 1:
            n_threads = _threads_per_row(self.group_size)
            n_rows = g.size // self.group_size
            arrays.launch_kernel(
                kernels.update_row_groups, n_rows * n_threads, records, where, x, g, self.flat_slots, lr, t, n_threads
            )
        elif gradient.segment_starts is not None:
            arrays.launch_kernel(kernels.update_summed_squares, g.size, records, where, x, g, self.flat_slots, lr, t)
        elif gradient.where is not ALL:
            arrays.launch_kernel(kernels.update_listed, g.size, records, where, x, g, self.flat_slots, lr, t)
        else:
            arrays.launch_kernel(*self._dense_kernel(x, g), records, x, g, self.flat_slots, lr, t)

    def _apply_group_penalty(self, x, gradient, lr, t):
        """Apply the proximal step of a group penalty in update t to the groups of the vector x that have a gradient."""
        kernels, update = group_kernels(), self.update
        if self.feature_groups is None:
            width = self.penalized_row_size
            n_groups, largest = gradient.values.size // width, width
            groups = kernels.RowGroups(self.as_coordinates(gradient), n_groups, width, self.group_size)
        else:
            n_groups, largest = self.feature_groups.starts.size - 1, self.feature_groups.largest
            groups = self._touched_groups(gradient, n_groups)
            update = update._replace(penalty=update.penalty.penalty)
        if not n_groups:
            return
        n_threads = _threads_per_row(largest) if has_member(update.penalty, "group_prox_step") else 1
        block_size = arrays.import_primitives().BLOCK_SIZE
        n_blocks = next_power_of_two(arrays.n_sum_blocks(n_groups * n_threads))  # so that few sizes occur
        while n_blocks > 1 and 2 * largest * (n_blocks * block_size // n_threads) > max(MAX_WORKSPACE, self.size):
            n_blocks //= 2
        workspace = self.workspace("group penalty", 2 * largest * (n_blocks * block_size // n_threads))
        arrays.launch_blocks(
            kernels.apply_group_penalty, n_blocks, update, groups, x, self.flat_slots, workspace, lr, t, n_threads
        )

    def _touched_groups(self, gradient, n_groups):
        """Return the groups of the entries of a vector for the kernel, with those marked that have a gradient."""
        kernels = group_kernels()
        if "groups" not in self.cache:
            self.cache["groups"] = tuple(map(arrays.to_device_array, self.feature_groups))
        group_of, starts, members = self.cache["groups"]
        touched = self.workspace("touched groups", n_groups, np.int32)
        arrays.fill(touched, int(gradient.where is ALL))
        if gradient.where is not ALL:
            where, n = self.as_coordinates(gradient), gradient.values.size
            arrays.launch_kernel(kernels.mark_touched_groups, n, where, n, group_of, touched)
        return kernels.EntryGroups(starts, members, touched)

    def _dense_kernel(self, x, g):
        """Return the kernel for a dense gradient and its number of threads."""
        if len(self.flat_slots) in (1, 2) and g.dtype == x.dtype and arrays.is_aligned(x, g, *self.flat_slots):
            return update_kernels().dense_vec4, max(x.size // 4, 1)
        return update_kernels().dense, x.size

    def write_norm(self, norms, position, transforms, x, gradient, lr):
        """Write the 2-norm of a gradient after `transforms` to norms[position], on the device."""
        kernels, g = update_kernels(), gradient.values
        n_blocks, where = arrays.n_sum_blocks(g.size), self.as_coordinates(gradient)
        parts = self.workspace("parts", 2 * n_blocks)
        arrays.launch_blocks(kernels.sum_squares, n_blocks, transforms, where, self.as_vector(x), g, lr, parts)
        arrays.launch_blocks(kernels.sqrt_of_sum, 1, parts, norms, position)

    def scale_units(self, position, record, n_units, transforms, x, gradient, lr):
        """Return the transform that multiplies the gradient of each unit of x by a factor, which stays on the device.

        The units are the columns of x as a matrix of `n_units` columns.
        """
        kernels, primitives = unit_kernels(), arrays.import_primitives()
        entries = kernels.GradientEntries(transforms, self.as_vector(x), self.to_dense(gradient), lr)
        n_columns = min(next_power_of_two(n_units), primitives.WARP_SIZE, primitives.BLOCK_SIZE)
        n_tiles = -(-n_units // n_columns)
        n_parts = -(-self.size // (n_units * (primitives.BLOCK_SIZE // n_columns)))
        n_parts = max(min(n_parts, primitives.MAX_SUM_BLOCKS // n_tiles), 1)
        parts = self.workspace("norms of units", 2 * n_parts * n_units)
        factors = self.workspace(("factors of units", position), n_units)
        arrays.launch_blocks(kernels.sum_units, n_parts * n_tiles, entries, n_units, n_columns, parts)
        arrays.launch_blocks(kernels.compute_unit_factors, n_tiles, record, parts, n_columns, factors)
        return RescaleUnits(factors) if n_units > 1 else update_kernels().DeviceRescale(factors)

    def gradient_norm(self, position, transforms, x, gradient, lr):
        """Return the 2-norm of a gradient on the host."""
        norms = self.workspace("norm", 1)
        self.write_norm(norms, 0, transforms, x, gradient, lr)
        return arrays.to_host(norms)[0]

    def norm_of_start(self, x):
        """Return the 2-norm of the initial array."""
        start = PreparedGradient(ALL, self.as_vector(x))
        return float(self.gradient_norm(0, self.resolved_prefix, x, start, self.precision.type(0)))

    def count_sum_blocks(self, x, gradient):
        """Return the number of blocks that sum over a gradient; it depends on the size of x only."""
        return arrays.n_sum_blocks(self.size) if gradient.values.size else 0

    def write_totals(self, x, gradient, records, lr, buffers, n_blocks):
        """Write the sums over the gradient that a rule with a memory needs, one for each block, to `buffers`."""
        x, g, where = self.as_vector(x), gradient.values, self.as_coordinates(gradient)
        kernel = memory_kernels().sum_totals
        arrays.launch_blocks(kernel, n_blocks, records, where, x, g, self.flat_slots, lr, buffers)

    def count_nonfinite(self, position, transforms, x, gradient, lr):
        """Return a number that is 0 if the gradient is finite; it is the only one that is copied to the host."""
        counts, g = self.workspace("counts", 1, np.int32), gradient.values
        arrays.fill(counts, 0)
        arrays.launch_kernel(
            update_kernels().count_nonfinite,
            g.size,
            transforms,
            self.as_coordinates(gradient),
            self.as_vector(x),
            g,
            lr,
            counts,
        )
        return int(arrays.to_host(counts)[0])

    def accumulate_gradient(self, transforms, x, gradient, lr, n):
        """Add the gradient after the transforms to the sum; with n > 0, update the mean of n gradients instead."""
        kernels = update_kernels()
        if self.accumulated is None:
            self.accumulated = arrays.full(self.size, 0, self.precision)
        g, where = self.to_dense(gradient), kernels.AllCoordinates()
        arrays.launch_kernel(
            kernels.accumulate_gradient, g.size, transforms, where, self.as_vector(x), g, lr, self.accumulated, n
        )

    def to_dense(self, gradient):
        """Return a gradient as a dense vector."""
        return to_dense(self, gradient)

    def pop_accumulated(self, by):
        """Return the sum of the accumulated gradients divided by a number, and reset the sum."""
        values = self.workspace("popped", self.size)
        arrays.launch_kernel(
            update_kernels().pop_accumulated, self.size, self.accumulated, values, self.precision.type(by)
        )
        return PreparedGradient(ALL, values)

    def update_average(self, x, t):
        """mean += weight(t) (x - mean); if the average overwrites at t, x = mean"""
        mean_weight = self.precision.type(weight(self.average, t))
        mean, x = self.as_vector(self.mean), self.as_vector(x)
        arrays.launch_kernel(update_kernels().update_average, self.size, self.average, mean, x, mean_weight)
        if overwrites(self.average, t):
            arrays.copy_into(x, mean)

    # --- lazy weight decay ----------------------------------------------------------------------------------------

    def init_applied_decay(self):
        """Return the logarithm of the decay that each row has had: zeros in double precision, as on the host."""
        return arrays.full(self.shape[:1] if self.shape else (1,), 0, np.float64)

    def apply_missed_decay(self, x, gradient, log_decay):
        """Decay the rows of x that a gradient lists, up to `log_decay`; all if it is None or dense."""
        gradient = PreparedGradient(ALL, None) if gradient is None else gradient
        n_rows, width = self._count_rows(gradient), self.decayed_row_size
        n_threads, where = _threads_per_row(width), self.as_coordinates(gradient)
        arrays.launch_kernel(
            decay_kernels().apply_missed_decay, n_rows * n_threads,
            where, n_rows, width, self.as_vector(x), self.applied_log_decay, log_decay, n_threads,
        )  # fmt: skip

    def record_decay(self, gradient, log_decay):
        """Record that the rows that a gradient lists have had the decay `log_decay`."""
        n_rows, where = self._count_rows(gradient), self.as_coordinates(gradient)
        arrays.launch_kernel(decay_kernels().record_decay, n_rows, where, n_rows, self.applied_log_decay, log_decay)

    def _count_rows(self, gradient):
        """Return the number of rows that a gradient lists."""
        return (self.applied_log_decay if gradient.where is ALL else gradient.where).size

    # --- copies --------------------------------------------------------------------------------------------------

    def copy_iterate(self, x):
        """Return a copy of x."""
        return arrays.copy(x)

    init_mean = copy_iterate

    @staticmethod
    def copy_array(array):
        """Return a copy of an array of the leaf."""
        return arrays.copy(array)


def _contiguous_strides(shape, itemsize):
    """Return the strides of a C-contiguous array in bytes."""
    strides = [itemsize]
    for n in reversed(shape[1:]):
        strides.append(strides[-1] * n)
    return tuple(reversed(strides)) if shape else ()


def resolve_factors_on_device(position, first_records, prefixes, steps):
    """Return the transforms of one position, with norms replaced by factors that stay on the device."""
    kernels = update_kernels()
    selected = [k for k, first in enumerate(first_records) if needs_norm(first)]
    is_global = uses_global_norm(first_records[selected[0]])
    main = max((steps[k].leaf for k in selected), key=lambda leaf: leaf.precision.itemsize)
    norms = main.workspace(("norms", position), len(selected))
    for n, k in enumerate(selected):
        leaf, x, gradient, lr = steps[k]
        leaf.write_norm(norms, n, prefixes[k], x, gradient, lr)
    resolved = list(first_records)
    for n, k in enumerate(selected):
        leaf = steps[k].leaf
        # Arrays of one precision share the factor of a global norm; otherwise each array has its own.
        out = (main if is_global else leaf).workspace(("factor", position, leaf.precision), 1, leaf.precision)
        if not is_global or all(getattr(resolved[m], "by", None) is not out for m in selected[:n]):
            arrays.launch_blocks(
                kernels.compute_factor, 1, first_records[k], norms if is_global else norms[n : n + 1], out
            )
        resolved[k] = kernels.DeviceRescale(out)
    return resolved
