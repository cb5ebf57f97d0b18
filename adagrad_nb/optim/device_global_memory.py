"""Memory of rules with sums over all coordinates where x is on a device: no step copies it to the host."""

import numpy as np
from numba.core.errors import NumbaError

from ..compiler.jit import DeviceScalar, cast
from ..cuda import arrays
from ..records.rules import initial_slots
from .device_gradients import next_power_of_two
from .device_kernels import memory_kernels


class DeviceGlobalMemory:
    """The numbers that all device arrays of x share, in double precision.

    Attributes
    ----------
    rule : rule record
        In double precision, with its arrays on the device.
    numbers : device array
        Its address does not change, so that a captured or recorded step finds the numbers.
    entries : tuple of device arrays
        A view of each number.
    zeros : dict
        For each precision of x, a zero for each term of `totals`.
    sums : tuple of device arrays
        Workspace for the sum of each term.
    factor : device array
        Workspace for the factor of the learning rate.
    """

    __slots__ = ("entries", "factor", "numbers", "rule", "sums", "zeros")

    def __init__(self, rule, numbers):
        self.rule = arrays.to_device_record(cast(rule, np.float64))
        n_terms = _count_terms(rule, numbers)
        self.zeros = {dtype: (dtype.type(0),) * n_terms for dtype in map(np.dtype, (np.float32, np.float64))}
        self.sums, self.factor = _entries(arrays.empty(n_terms, np.float64)), arrays.empty(1, np.float64)
        self._use(arrays.to_device_array(np.array(numbers, np.float64)))
        if not arrays.is_simulated():
            self._check_compilable(type(rule).__name__)

    def _use(self, numbers):
        self.numbers, self.entries = numbers, _entries(numbers)

    def _check_compilable(self, name):
        """Raise TypeError unless the methods of the memory can be compiled: try them on a copy, with sums of 0."""
        try:
            self.copy().update(arrays.full(self.n_terms, 0, np.float64), 1, np.float64(1), arrays.empty(1, np.float64))
        except NumbaError as error:
            raise TypeError(
                f"rule: update_memory or rate_factor of {name} cannot be compiled for a device; use numbers, tuples "
                "and functions of math only, or copy x and g to the host"
            ) from error

    @property
    def n_terms(self):
        """Number of sums of an update."""
        return len(self.sums)

    def copy(self):
        """Return a copy with its own numbers, which shares the workspaces."""
        new = object.__new__(type(self))
        new.rule, new.zeros, new.sums, new.factor = self.rule, self.zeros, self.sums, self.factor
        new._use(arrays.copy(self.numbers))
        return new

    def write(self, numbers):
        """Replace the numbers in place by those of a tuple or of another memory."""
        if isinstance(numbers, DeviceGlobalMemory):
            arrays.copy_into(self.numbers, numbers.numbers)
        else:
            arrays.write(self.numbers, np.array(numbers, np.float64))

    def to_host(self):
        """Return the numbers as a tuple of floats, when the device has finished its work."""
        arrays.synchronize_device()
        return tuple(arrays.to_host(self.numbers).tolist())

    def update(self, parts, n_parts, lr, rate):
        """Update the numbers from the sums of `n_parts` blocks; write the factor, and its product with lr[0]."""
        kernel = memory_kernels().update_memory
        arrays.launch_blocks(kernel, 1, self.rule, self.entries, parts, n_parts, self.sums, self.factor, lr, rate)


def _entries(vector):
    """Return a view of each entry of a device vector."""
    return tuple(vector[i : i + 1] for i in range(vector.size))


def _count_terms(rule, numbers):
    """Return the number of terms of `totals`, from a call with ones."""
    one = np.float64(1.0)
    with np.errstate(all="ignore"):
        return len(rule.totals(one, one, tuple(map(np.float64, initial_slots(rule))), one, numbers))


def scale_rates(memory, steps, records):
    """Update the memory for the gradients of an update; return the steps with the learning rates of the rule.

    All sums and learning rates stay on the device.
    """
    n_blocks = [step.leaf.count_sum_blocks(step.x, step.gradient) for step in steps]
    n_parts, first = sum(n_blocks), 0
    if not n_parts:
        return steps
    main = next(step for step, n in zip(steps, n_blocks, strict=True) if n)
    parts = main.leaf.workspace("parts of totals", next_power_of_two(n_parts) * memory.n_terms, np.float64)
    for step, record, n in zip(steps, records, n_blocks, strict=True):
        if n:
            zeros = memory.zeros[step.leaf.precision]
            buffers = memory_kernels().TotalsBuffers(memory.entries, zeros, parts, n_parts, first)
            step.leaf.write_totals(step.x, step.gradient, record, step.lr, buffers, n)
            first += n
    rates = {_rate_key(main): main.leaf.workspace("learning rate", 1)}
    memory.update(parts, n_parts, main.lr, rates[_rate_key(main)])
    return [step._replace(lr=_scale_rate(step, memory.factor, rates)) for step in steps]


def _rate_key(step):
    """Return a key for the precision and the learning rate of a step."""
    is_number = isinstance(step.lr, np.floating)
    return step.leaf.precision, float(step.lr) if is_number else id(step.lr)


def _scale_rate(step, factor, rates):
    """Return the learning rate of a step times the factor, on the device.

    `rates` holds those with one entry: arrays with the same number share it.
    """
    leaf, lr, key = step.leaf, step.lr, _rate_key(step)
    if getattr(lr, "ndim", 0):
        vector = leaf.workspace("learning rates", leaf.size)
        arrays.launch_kernel(memory_kernels().scale_rates, leaf.size, lr, factor, vector)
        return vector
    if key not in rates:
        rates[key] = leaf.workspace("learning rate", 1)
        arrays.launch_kernel(memory_kernels().scale_rates, 1, lr, factor, rates[key])
    return DeviceScalar(rates[key])
