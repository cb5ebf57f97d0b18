"""The run of a minimiser whose x lives on a CUDA device.

Gradients are judged on the device, a stretch of steps at a time, and the verdicts copied together.  Where one of them
ends the run, the stretch is gone through again up to that step, so that the run ends where it would on the host.
"""

import numpy as np

from ..cuda import arrays
from ..optim.device_gradients import is_listed, listing, update_kernels
from ..optim.gradients import Operand
from ..optim.kernels.array_update import ALL
from ..optim.step import update
from .loop import Run
from .loop_kernel import CONVERGED, NOT_FINITE, RUNNING
from .objectives import Objective, _number, _pair

STRETCH = 64  # steps between two looks at what the device found


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
        super().__init__(fun, jac, args, arrays.form(x), box, sampler)

    def value(self, x):
        """The value at x, of all samples where there are samples, on the host."""
        self.nfev += 1
        batch = () if self.sampler is None else (self.sampler.everything(),)
        f = self.fun(x, *batch, *self.args)
        return number(_pair(f)[0] if self.jac is True else f)

    def gradient(self, x, t):
        """(value or None, gradient) at x for update t; t = None asks for all samples."""
        batch = ()
        if self.sampler is not None:
            batch = (self.sampler.everything() if t is None else self.sampler.batch(t),)
        self.njev += 1
        if callable(self.jac):
            return None, self.jac(x, *batch, *self.args)
        self.nfev += 1
        return _pair(self.fun(x, *batch, *self.args))

    def is_compiled(self, x):
        return False


def number(f):
    """A value as a float, from the device if it is there."""
    return _number(arrays.fetch(f) if arrays.is_device(f) else f)


class DeviceMemory:
    """What a run would have to put back: copies of x, the accumulators and the mean, on the device."""

    def __init__(self, x, state):
        leaf = state.leaves[0]
        self.counts = state.counts
        self.has_gathered = leaf.gathered is not None
        self.arrays = [x, *leaf.slots] + [array for array in (leaf.mean, leaf.gathered) if array is not None]
        self.copies = [arrays.copy(array) for array in self.arrays]

    def restore(self, state):
        for array, old in zip(self.arrays, self.copies, strict=True):
            arrays.assign(array, old)
        if not self.has_gathered:
            state.leaves[0].gathered = None
        state.counts = self.counts


class DeviceLoop:
    """Iterations whose objective is Python on device arrays."""

    DISTANCE = 2**10  # the most steps between two looks at the value

    def __init__(self, run):
        self.run, self.objective, self.x, self.state = run, run.objective, run.x, run.state
        self.before = None  # the beginning of the last stretch that ended well, and its steps
        self.length = 1

    def advance(self, n):
        """Make at most n steps; return (steps, status)."""
        done = 0
        while done < n:
            asked = min(self.length, n - done)
            steps, status = self._stretch(asked)
            done += steps
            if status != RUNNING:
                return done, status
            self.length = min(2 * self.length, STRETCH)
        return done, RUNNING

    def _stretch(self, n):
        start, values = DeviceMemory(self.x, self.state), []
        arrays.fill(self.run.counts, 0)
        for step in range(n):
            f, g = self.objective.gradient(self.x, self.state.micro)
            values.append(f)
            self.run.note(step, self.x, self.run.operand(g))
            update(self.x, g, self.state, out=(self.x, self.state))
        far, wrong = arrays.fetch(self.run.counts)[: 2 * n].reshape(n, 2).T
        wrong = (wrong > 0) | [f is not None and not np.isfinite(number(f)) for f in values]
        ends = wrong | ((far == 0) & (self.run.gtol > 0))
        if not ends.any():
            self.before = start, n
            return n, RUNNING
        step = int(np.argmax(ends))
        if wrong[step]:
            return self._back(start, step)
        start.restore(self.state)
        self._again(step)
        if self.run.is_optimal():
            return step, CONVERGED
        self._again(1)  # what a sparse gradient does not list is not where it should be
        return step + 1, RUNNING

    def _again(self, n):
        """Make steps that have been looked at."""
        for _ in range(n):
            _, g = self.objective.gradient(self.x, self.state.micro)
            update(self.x, g, self.state, out=(self.x, self.state))

    def _back(self, start, step):
        """Go back to the iterate before that of `step`, where the gradient is not finite."""
        if step == 0 and self.before is None:
            start.restore(self.state)
            return 0, NOT_FINITE
        if step == 0:
            start, length = self.before
            start.restore(self.state)
            self._again(length - 1)
            self.before = None
            return -1, NOT_FINITE
        start.restore(self.state)
        self._again(step - 1)
        return step - 1, NOT_FINITE

    def retreat(self):
        """Take back a step to where the gradient is not finite; return how many that were."""
        f, g = self.objective.gradient(self.x, self.state.micro)
        arrays.fill(self.run.counts, 0)
        self.run.note(0, self.x, self.run.operand(g))
        wrong = arrays.fetch(self.run.counts)[1] > 0 or (f is not None and not np.isfinite(number(f)))
        if not wrong or self.before is None:
            return 0
        start, length = self.before
        start.restore(self.state)
        self._again(length - 1)
        self.before = None
        return 1


class DeviceRun(Run):
    """One call of a minimiser, with x on a device."""

    def __init__(self, objective, x, state, gtol, callback=None):
        super().__init__(objective, x, state, gtol, callback)
        self.leaf = state.leaves[0]
        self.counts = arrays.empty(2 * STRETCH, np.int32)

    def go(self, maxiter):
        """Iterate; return the status."""
        with arrays.ordered([self.x]):
            return super().go(maxiter)

    def memory(self):
        return DeviceMemory(self.x, self.state)

    def snapshot(self):
        """The iterate to report, as a device array of its own."""
        return arrays.copy(self.report())

    def loop(self):
        return DeviceLoop(self)

    def operand(self, g):
        """A gradient as the kernels take it."""
        if is_listed(g):
            return listing(self.leaf, g, self.state.duplicates, "jac")
        if not arrays.is_device(g) or arrays.form(g).shape != self.leaf.shape:
            raise ValueError(f"jac: must return a device array of shape {self.leaf.shape}, or a sparse gradient")
        return Operand(ALL, arrays.view(g, "jac"))

    def note(self, step, x, gradient):
        """Count what is far from optimal and what is not finite, for that step of a stretch."""
        leaf, gtol = self.leaf, self.leaf.precision.type(self.gtol)
        x, where = leaf.vector(x), leaf.where(gradient)
        kernel, g = update_kernels().unfinished, gradient.values
        arrays.launch(kernel, g.size, self.penalty, where, x, g, gtol, self.counts, 2 * step)

    def _count(self, x, gradient):
        """(far, wrong) of a gradient at x, on the host."""
        arrays.fill(self.counts, 0)
        self.note(0, x, gradient)
        return arrays.fetch(self.counts)[:2]

    def is_optimal(self):
        """Whether the gradient at x says so, what it does not list being zero."""
        gradient = self.operand(self.objective.gradient(self.x, self.state.micro)[1])
        far, wrong = self._count(self.x, Operand(ALL, self.leaf.full(gradient)))
        return far == 0 and wrong == 0

    def value(self, x):
        """The whole objective: fun and penalty."""
        return self.objective.value(x) + penalty_value(self.leaf, self.penalty, x)

    def _is_whole(self, x):
        """Whether x is finite."""
        x = self.leaf.vector(x)
        return self._count(x, Operand(ALL, x))[1] == 0

    def is_finite(self):
        """Whether x and the value there are; where each gradient brings a value, the loop has looked at it."""
        return self._is_whole(self.x) and (
            self.objective.knows_value or bool(np.isfinite(self.objective.value(self.x)))
        )

    def verdict(self):
        """The status that value and gradient at the last look amount to."""
        far, wrong = self._count(self.report(), Operand(ALL, self.leaf.full(self.operand(self.g))))
        if wrong or not np.isfinite(self.f):
            return NOT_FINITE
        return CONVERGED if not far and self.gtol > 0 else RUNNING

    def look(self):
        """Evaluate value and gradient at the iterate to report; return whether all of it is finite."""
        x = self.report()
        self.f = self.value(x)
        self.g = self.objective.gradient(x, None)[1]
        return bool(np.isfinite(self.f) and not self._count(x, self.operand(self.g))[1] and self._is_whole(self.x))


def penalty_value(leaf, penalty, x):
    """sum_i value(x[i], i)"""
    parts = leaf.room("values", arrays.blocks_of_sum(leaf.size), np.float64)
    arrays.launch_blocks(update_kernels().values, parts.size, penalty, leaf.vector(x), parts)
    return float(arrays.fetch(parts).sum())


def start(x0):
    """A start point of one dimension, as a new device array of the same package."""
    form = arrays.form(x0)
    if form.dtype not in (np.float32, np.float64):
        raise TypeError(f"x0: got dtype {form.dtype}; must be float32 or float64 on a device")
    if form.ndim != 1 or form.size == 0:
        raise ValueError(f"x0: got shape {form.shape}; must have one dimension and an entry at least")
    return arrays.copy(x0)


def enter(x, state):
    """Move x to the nearest point where the penalty is finite, such as within bounds."""
    leaf = state.leaves[0]
    with arrays.ordered([x]):
        if not np.isfinite(penalty_value(leaf, leaf.update.penalty, x)):
            arrays.launch(update_kernels().project, leaf.size, leaf.update.penalty, leaf.vector(x))


def equal(a, b):
    """Whether two device arrays hold the same numbers."""
    counts = arrays.full(1, 0, np.int32)
    arrays.launch(update_kernels().differing, arrays.form(a).size, arrays.view(a), arrays.view(b), counts)
    return arrays.fetch(counts)[0] == 0
