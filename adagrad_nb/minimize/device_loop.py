"""The run of a minimiser whose x lives on a CUDA device.

Gradients are judged on the device, a block of steps at a time, and the results copied together.  Where one of them
ends the run, the block is gone through again up to that step, so that the run ends where it would on the host.
"""

import numpy as np

from ..cuda import arrays
from ..optim.device_gradients import is_sparse_gradient, prepare_sparse_gradient, update_kernels
from ..optim.gradients import PreparedGradient
from ..optim.kernels.array_update import ALL
from ..optim.step import update
from .loop import MinimizeLoop
from .loop_kernel import CONVERGED, NOT_FINITE, RUNNING
from .objectives import Objective, _as_float, _check_pair

BLOCK_STEPS = 64  # steps between two looks at what the device found


class DeviceObjective(Objective):
    """fun and jac of device arrays; values stay where they are until they are looked at."""

    def __init__(self, fun, jac, args, x, box=None, sampler=None):
        if hasattr(fun, "value_grad"):
            raise TypeError("fun: a record runs on the host; give functions of device arrays, or copy x to the host")
        if not callable(jac) and jac is not True:
            raise ValueError(
                f"jac: got {jac!r}; where x is on a device it must be a function of device arrays, or True if fun "
                "returns (value, gradient)"
            )
        super().__init__(fun, jac, args, arrays.array_spec(x), box, sampler)

    def value(self, x):
        """The value at x, of all samples where there are samples, on the host."""
        self.nfev += 1
        batch = () if self.sampler is None else (self.sampler.all_samples(),)
        f = self.fun(x, *batch, *self.args)
        return to_float(_check_pair(f)[0] if self.jac is True else f)

    def gradient(self, x, t):
        """(value or None, gradient) at x for update t; t = None asks for all samples."""
        batch = ()
        if self.sampler is not None:
            batch = (self.sampler.all_samples() if t is None else self.sampler.batch(t),)
        self.njev += 1
        if callable(self.jac):
            return None, self.jac(x, *batch, *self.args)
        self.nfev += 1
        return _check_pair(self.fun(x, *batch, *self.args))

    def is_compiled(self, x):
        return False


def to_float(f):
    """A value as a float, from the device if it is there."""
    return _as_float(arrays.to_host(f) if arrays.is_device_array(f) else f)


class DeviceSnapshot:
    """What a run would have to put back: copies of x, the accumulators and the mean, on the device."""

    def __init__(self, x, state):
        leaf = state.leaves[0]
        self.counts = state.counts
        self.has_accumulated = leaf.accumulated is not None
        self.arrays = [x, *leaf.slots] + [array for array in (leaf.mean, leaf.accumulated) if array is not None]
        self.copies = [arrays.copy(array) for array in self.arrays]

    def restore(self, state):
        for array, old in zip(self.arrays, self.copies, strict=True):
            arrays.copy_into(array, old)
        if not self.has_accumulated:
            state.leaves[0].accumulated = None
        state.counts = self.counts


class DeviceStepper:
    """Iterations whose objective is Python on device arrays."""

    MAX_STEPS_UNCHECKED = 2**10  # the most steps between two looks at the value

    def __init__(self, loop):
        self.loop, self.objective, self.x, self.state = loop, loop.objective, loop.x, loop.state
        self.last_block = None  # the beginning of the last block that ended well, and its steps
        self.block_length = 1

    def run_steps(self, n):
        """Make at most n steps; return (steps, status)."""
        done = 0
        while done < n:
            asked = min(self.block_length, n - done)
            steps, status = self._run_block(asked)
            done += steps
            if status != RUNNING:
                return done, status
            self.block_length = min(2 * self.block_length, BLOCK_STEPS)
        return done, RUNNING

    def _run_block(self, n):
        start, values = DeviceSnapshot(self.x, self.state), []
        arrays.fill(self.loop.counts, 0)
        for step in range(n):
            f, g = self.objective.gradient(self.x, self.state.micro)
            values.append(f)
            self.loop.count_unconverged(step, self.x, self.loop.prepare_gradient(g))
            update(self.x, g, self.state, out=(self.x, self.state))
        n_far, is_nonfinite = arrays.to_host(self.loop.counts)[: 2 * n].reshape(n, 2).T
        is_nonfinite = (is_nonfinite > 0) | [f is not None and not np.isfinite(to_float(f)) for f in values]
        ends = is_nonfinite | ((n_far == 0) & (self.loop.gtol > 0))
        if not ends.any():
            self.last_block = start, n
            return n, RUNNING
        step = int(np.argmax(ends))
        if is_nonfinite[step]:
            return self._undo_last(start, step)
        start.restore(self.state)
        self._replay(step)
        if self.loop.is_optimal():
            return step, CONVERGED
        self._replay(1)  # what a sparse gradient does not list is not where it should be
        return step + 1, RUNNING

    def _replay(self, n):
        """Make steps that have been looked at."""
        for _ in range(n):
            _, g = self.objective.gradient(self.x, self.state.micro)
            update(self.x, g, self.state, out=(self.x, self.state))

    def _undo_last(self, start, step):
        """Go back to the iterate before that of `step`, where the gradient is not finite."""
        if step == 0 and self.last_block is None:
            start.restore(self.state)
            return 0, NOT_FINITE
        if step == 0:
            start, length = self.last_block
            start.restore(self.state)
            self._replay(length - 1)
            self.last_block = None
            return -1, NOT_FINITE
        start.restore(self.state)
        self._replay(step - 1)
        return step - 1, NOT_FINITE

    def roll_back(self):
        """Take back a step to where the gradient is not finite; return how many that were."""
        f, g = self.objective.gradient(self.x, self.state.micro)
        arrays.fill(self.loop.counts, 0)
        self.loop.count_unconverged(0, self.x, self.loop.prepare_gradient(g))
        is_nonfinite = arrays.to_host(self.loop.counts)[1] > 0 or (f is not None and not np.isfinite(to_float(f)))
        if not is_nonfinite or self.last_block is None:
            return 0
        start, length = self.last_block
        start.restore(self.state)
        self._replay(length - 1)
        self.last_block = None
        return 1


class DeviceMinimizeLoop(MinimizeLoop):
    """One call of a minimiser, with x on a device."""

    def __init__(self, objective, x, state, gtol, callback=None):
        super().__init__(objective, x, state, gtol, callback)
        self.leaf = state.leaves[0]
        self.counts = arrays.empty(2 * BLOCK_STEPS, np.int32)

    def run(self, maxiter):
        """Iterate; return the status."""
        with arrays.on_stream([self.x]):
            return super().run(maxiter)

    def take_snapshot(self):
        return DeviceSnapshot(self.x, self.state)

    def copy_reported(self):
        """The iterate to report, as a device array of its own."""
        return arrays.copy(self.reported_iterate())

    def make_stepper(self):
        return DeviceStepper(self)

    def prepare_gradient(self, g):
        """A gradient as the kernels take it."""
        if is_sparse_gradient(g):
            return prepare_sparse_gradient(self.leaf, g, self.state.duplicates, "jac")
        if not arrays.is_device_array(g) or arrays.array_spec(g).shape != self.leaf.shape:
            raise ValueError(f"jac: must return a device array of shape {self.leaf.shape}, or a sparse gradient")
        return PreparedGradient(ALL, arrays.flat_view(g, "jac"))

    def count_unconverged(self, step, x, gradient):
        """Count what is far from optimal and what is not finite, for that step of a block."""
        leaf, gtol = self.leaf, self.leaf.precision.type(self.gtol)
        x, where = leaf.as_vector(x), leaf.as_coordinates(gradient)
        kernel, g = update_kernels().count_unconverged, gradient.values
        arrays.launch_kernel(kernel, g.size, self.penalty, where, x, g, gtol, self.counts, 2 * step)

    def _fetch_counts(self, x, gradient):
        """(far, wrong) of a gradient at x, on the host."""
        arrays.fill(self.counts, 0)
        self.count_unconverged(0, x, gradient)
        return arrays.to_host(self.counts)[:2]

    def is_optimal(self):
        """Whether the gradient at x says so, what it does not list being zero."""
        gradient = self.prepare_gradient(self.objective.gradient(self.x, self.state.micro)[1])
        far, wrong = self._fetch_counts(self.x, PreparedGradient(ALL, self.leaf.to_dense(gradient)))
        return far == 0 and wrong == 0

    def value(self, x):
        """The whole objective: fun and penalty."""
        return self.objective.value(x) + penalty_value(self.leaf, self.penalty, x)

    def _is_finite_array(self, x):
        """Whether x is finite."""
        x = self.leaf.as_vector(x)
        return self._fetch_counts(x, PreparedGradient(ALL, x))[1] == 0

    def is_finite(self):
        """Whether x and the value there are; where each gradient brings a value, the loop has looked at it."""
        return self._is_finite_array(self.x) and (
            self.objective.knows_value or bool(np.isfinite(self.objective.value(self.x)))
        )

    def final_status(self):
        """The status that value and gradient at the last look amount to."""
        far, wrong = self._fetch_counts(
            self.reported_iterate(), PreparedGradient(ALL, self.leaf.to_dense(self.prepare_gradient(self.g)))
        )
        if wrong or not np.isfinite(self.f):
            return NOT_FINITE
        return CONVERGED if not far and self.gtol > 0 else RUNNING

    def evaluate_reported(self):
        """Evaluate value and gradient at the iterate to report; return whether all of it is finite."""
        x = self.reported_iterate()
        self.f = self.value(x)
        self.g = self.objective.gradient(x, None)[1]
        return bool(
            np.isfinite(self.f)
            and not self._fetch_counts(x, self.prepare_gradient(self.g))[1]
            and self._is_finite_array(self.x)
        )


def penalty_value(leaf, penalty, x):
    """sum_i value(x[i], i)"""
    parts = leaf.workspace("values", arrays.n_sum_blocks(leaf.size), np.float64)
    arrays.launch_blocks(update_kernels().sum_penalty_values, parts.size, penalty, leaf.as_vector(x), parts)
    return float(arrays.to_host(parts).sum())


def start_point(x0):
    """A start point of one dimension, as a new device array of the same package."""
    form = arrays.array_spec(x0)
    if form.dtype not in (np.float32, np.float64):
        raise TypeError(f"x0: got dtype {form.dtype}; must be float32 or float64 on a device")
    if form.ndim != 1 or form.size == 0:
        raise ValueError(f"x0: got shape {form.shape}; must have one dimension and an entry at least")
    return arrays.copy(x0)


def project_start(x, state):
    """Move x to the nearest point where the penalty is finite, such as within bounds."""
    leaf = state.leaves[0]
    with arrays.on_stream([x]):
        if not np.isfinite(penalty_value(leaf, leaf.update.penalty, x)):
            arrays.launch_kernel(
                update_kernels().project_onto_domain, leaf.size, leaf.update.penalty, leaf.as_vector(x)
            )


def arrays_equal(a, b):
    """Whether two device arrays hold the same numbers."""
    counts = arrays.full(1, 0, np.int32)
    arrays.launch_kernel(
        update_kernels().count_different, arrays.array_spec(a).size, arrays.flat_view(a), arrays.flat_view(b), counts
    )
    return arrays.to_host(counts)[0] == 0
