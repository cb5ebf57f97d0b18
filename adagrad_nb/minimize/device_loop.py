"""The minimisation loop for arrays on a CUDA device: what differs from `loop`, under the same names.

Gradients are checked on the device, a block of steps at a time, and the results are copied to the host together.
Where a step of the block ends the run, the block is replayed up to that step.  So a run ends where it would end on
the host.
"""

import functools

import numpy as np

from .. import _check
from ..compiler.jit import cast
from ..cuda import arrays
from ..optim.device_gradients import is_sparse_gradient, prepare_sparse_gradient
from ..optim.device_kernels import update_kernels
from ..optim.gradients import PreparedGradient
from ..optim.kernels.array_update import ALL
from ..optim.step import update
from . import loop, objectives
from .loop_kernel import CONVERGED, NOT_FINITE, RUNNING

BLOCK_STEPS = 64  # the most steps between two checks


# --- the start ---------------------------------------------------------------------------------------------------


def start_point(x0, bounds):
    """Return a copy of x0, a vector on a device, and the bounds as (lower, upper) or None."""
    spec = arrays.array_spec(x0)
    if spec.dtype not in (np.float32, np.float64):
        raise TypeError(f"x0: got dtype {spec.dtype}; must be float32 or float64 on a device")
    if spec.ndim != 1 or spec.size == 0:
        raise ValueError(f"x0: got shape {spec.shape}; must have one dimension and at least one entry")
    with arrays.on_stream([x0]):
        return arrays.copy(x0), _check.scipy_bounds(bounds, spec.size, spec.dtype)


def project_start(x, penalty):
    """Move x to the nearest point where the penalty is finite, for example within bounds."""
    spec = arrays.array_spec(x)
    _check.penalty_shape(penalty, spec.size)
    with arrays.on_stream([x]):
        penalty, vector = arrays.to_device_record(cast(penalty, spec.dtype)), arrays.flat_view(x)
        partial_sums = arrays.empty(arrays.n_sum_blocks(spec.size), np.float64)
        if not np.isfinite(_penalty_value(penalty, vector, partial_sums)):
            arrays.launch_kernel(update_kernels().project_onto_domain, spec.size, penalty, vector)


def _penalty_value(penalty, vector, partial_sums):
    """sum_i value(x[i], i)"""
    arrays.launch_blocks(update_kernels().sum_penalty_values, partial_sums.size, penalty, vector, partial_sums)
    return float(arrays.to_host(partial_sums).sum())


def arrays_equal(a, b):
    """Return whether two device arrays hold the same numbers."""
    with arrays.on_stream([a, b]):
        counts, vectors = arrays.full(1, 0, np.int32), (arrays.flat_view(a), arrays.flat_view(b))
        arrays.launch_kernel(update_kernels().count_different, arrays.array_spec(a).size, *vectors, counts)
        return arrays.to_host(counts)[0] == 0


resume = functools.partial(loop.resume, arrays_equal=arrays_equal, copy_array=arrays.copy)


# --- objective and steps -----------------------------------------------------------------------------------------


class DeviceObjective(objectives.Objective):
    """The value and the gradient of functions of device arrays; values stay on the device until they are checked."""

    def __init__(self, fun, jac, args, x, bounds=None, sampler=None):
        if hasattr(fun, "value_grad"):
            raise TypeError("fun: got a record, which runs on the host; give functions of device arrays, or a host x0")
        if not callable(jac) and jac is not True:
            raise ValueError(
                f"jac: got {jac!r}; where x is on a device it must be a function of device arrays, or True if fun "
                "returns (value, gradient)"
            )
        super().__init__(fun, jac, args, x, bounds, sampler)

    arrays_equal = staticmethod(arrays_equal)

    @staticmethod
    def copy_iterate(x):
        """Return a copy of x on the device for a function of the user."""
        return arrays.copy(x)

    @staticmethod
    def to_number(f):
        """Convert a value, on the device or the host, to a float."""
        return objectives.Objective.to_number(arrays.to_host(f) if arrays.is_device_array(f) else f)

    def as_gradient(self, g, x):
        """Return the gradient unchanged; the loop checks it when it prepares it."""
        return g


class DeviceSnapshot(loop.Snapshot):
    """Copies of x, the accumulators and the average on the device, to undo updates."""

    def _copy_entries(self, array):
        return arrays.copy(array)

    def _write_entries(self, array, old):
        arrays.copy_into(array, old)


class DeviceStepper(loop.PythonStepper):
    """Iterations with an objective in Python on device arrays, checked in blocks."""

    def __init__(self, loop):
        super().__init__(loop)
        self.known = None  # the checks at the end of a block evaluate nothing
        self.last_block = None  # the snapshot before the last block that did not end the run, and its steps
        self.block_length = 1

    def run_steps(self, n):
        """Make at most n steps; return (steps, status)."""
        done = 0
        while done < n:
            steps, status = self._run_block(min(self.block_length, n - done))
            done += steps
            if status != RUNNING:
                return done, status
            self.block_length = min(2 * self.block_length, BLOCK_STEPS)
        return done, RUNNING

    def _run_block(self, n):
        """Make at most n steps, with one check at the end; return (steps, status)."""
        start, values = self.loop.take_snapshot(), []
        self.loop.clear_counts()
        for step in range(n):
            f, g = self.objective.gradient(self.x, self.state)
            values.append(f)
            self.loop.count_in_block(step, self.x, self.loop.prepare_gradient(g))
            update(self.x, g, self.state, out=(self.x, self.state))
        n_unconverged, n_nonfinite = self.loop.fetch_counts(n)
        is_nonfinite = (n_nonfinite > 0) | [
            f is not None and not np.isfinite(self.objective.to_number(f)) for f in values
        ]
        is_final = is_nonfinite | ((n_unconverged == 0) & (self.loop.gtol > 0))
        if not is_final.any():
            self.last_block = start, n
            return n, RUNNING
        start.restore(self.state)
        step = int(np.argmax(is_final))
        if is_nonfinite[step] and step == 0:
            return -self._undo_last(), NOT_FINITE
        if is_nonfinite[step]:
            self._replay(step - 1)
            return step - 1, NOT_FINITE
        self._replay(step)
        _, g = self.objective.gradient(self.x, self.state)
        if self.loop.check_convergence(self.x, None, self.loop.prepare_gradient(g)) == CONVERGED:
            return step, CONVERGED
        self._replay(1)  # a coordinate that the sparse gradient does not list is not optimal
        return step + 1, RUNNING

    def _replay(self, n):
        """Make n steps again that have been checked."""
        for _ in range(n):
            _, g = self.objective.gradient(self.x, self.state)
            update(self.x, g, self.state, out=(self.x, self.state))

    def _undo_last(self):
        """Undo the last step of the last block; return the number of steps undone."""
        if self.last_block is None:
            return 0
        start, length = self.last_block
        start.restore(self.state)
        self._replay(length - 1)
        self.last_block = None
        return 1


# --- the loop ----------------------------------------------------------------------------------------------------


class DeviceMinimizeLoop(loop.MinimizeLoop):
    """One call of a minimiser with x on a device."""

    def __init__(self, objective, x, state, gtol, callback=None):
        super().__init__(objective, x, state, gtol, callback)
        self.counts = arrays.empty(2 * BLOCK_STEPS, np.int32)

    def run(self, maxiter):
        """Make at most `maxiter` iterations on the stream of x; return the status."""
        with arrays.on_stream([self.x]):
            return super().run(maxiter)

    def make_stepper(self):
        """Return a stepper that checks gradients in blocks."""
        return DeviceStepper(self)

    @staticmethod
    def copy_array(array):
        """Return a copy of a device array, of the same package where it can copy."""
        return arrays.copy(array)

    def copy_gradient(self, g):
        """Return a copy of a gradient for the result; pairs of device arrays have no deep copy."""
        if isinstance(g, tuple):
            return tuple(map(self.copy_gradient, g))
        return self.copy_array(g) if arrays.is_device_array(g) else super().copy_gradient(g)

    def take_snapshot(self):
        """Return copies of all that the run changes."""
        return DeviceSnapshot(self.x, self.state)

    def prepare_gradient(self, g):
        """Return a gradient of the objective as a `PreparedGradient`."""
        if is_sparse_gradient(g):
            return prepare_sparse_gradient(self.leaf, g, self.state.duplicates, "jac")
        if not arrays.is_device_array(g) or arrays.array_spec(g).shape != self.leaf.shape:
            raise ValueError(f"jac: must return a device array of shape {self.leaf.shape}, or a sparse gradient")
        return PreparedGradient(ALL, arrays.flat_view(g, "jac"))

    def clear_counts(self):
        """Set the counts of a block to zero."""
        arrays.fill(self.counts, 0)

    def count_in_block(self, step, x, gradient):
        """Count, for one step of a block, the coordinates that are not optimal and the entries that are not finite."""
        leaf, gtol = self.leaf, self.leaf.precision.type(self.gtol)
        x, where, g = leaf.as_vector(x), leaf.as_coordinates(gradient), gradient.values
        arrays.launch_kernel(
            update_kernels().count_unconverged, g.size, self.penalty, where, x, g, gtol, self.counts, 2 * step
        )

    def fetch_counts(self, n):
        """Return the two counts of each of the first n steps of a block, copied to the host, as two arrays."""
        return arrays.to_host(self.counts)[: 2 * n].reshape(n, 2).T

    def _count_unconverged(self, x, gradient):
        self.clear_counts()
        self.count_in_block(0, x, gradient)
        return self.fetch_counts(1)[:, 0]

    def _penalty_value(self, x):
        partial_sums = self.leaf.workspace("values", arrays.n_sum_blocks(self.leaf.size), np.float64)
        return _penalty_value(self.penalty, self.leaf.as_vector(x), partial_sums)

    def _is_finite_gradient(self, x, gradient):
        return bool(self._count_unconverged(x, gradient)[1] == 0)

    def _is_finite_array(self, x):
        return self._is_finite_gradient(x, PreparedGradient(ALL, self.leaf.as_vector(x)))


Objective, MinimizeLoop = DeviceObjective, DeviceMinimizeLoop  # the names of `loop`
