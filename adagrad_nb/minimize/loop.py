"""The run of a minimiser: slices of iterations, checks between them, callbacks, and the result."""

import inspect
import time
import warnings

import numpy as np
from numba.core.errors import NumbaError

from ..compiler.jit import compiled_for
from ..optim.gradients import operand
from ..optim.kernels.array_update import ALL
from ..optim.kernels.reductions import compiled_unfinished, compiled_value
from ..optim.step import update
from ..records.schedules import PrecomputedSchedule
from .loop_kernel import CONVERGED, NOT_FINITE, RUNNING, Clock, Iterate, descend

SLICE = 0.05  # seconds between two returns to Python, so that Ctrl-C works
STOPPED = 99  # SciPy's number for a callback that raised StopIteration


class Memory:
    """What a run would have to put back: copies of x, the accumulators and the mean, whole or at some coordinates."""

    def __init__(self, x, state, where=()):
        self.where = slice(None) if where is ALL else where
        self.counts = state.counts
        self.arrays = _arrays(x, state)
        self.copies = [np.copy(array[self.where]) for array in self.arrays]

    def restore(self, state):
        for array, old in zip(self.arrays, self.copies, strict=True):
            array[self.where] = old
        state.counts = self.counts


def _arrays(x, state):
    leaf = state.leaves[0]
    others = (leaf.mean, leaf.gathered, leaf.decayed)
    return [x, *leaf.slots] + [array for array in others if array is not None]


class PythonLoop:
    """Iterations whose objective is Python."""

    DISTANCE = 2**10  # the most steps between two looks at the value

    def __init__(self, objective, x, state, judge):
        self.objective, self.x, self.state, self.judge = objective, x, state, judge
        self.last = None  # what the last step overwrote

    def advance(self, n):
        """Make at most n steps; return (steps, status)."""
        for step in range(n):
            f, g = self.objective.gradient(self.x, self.state.micro)
            where, values = self._listed(g)
            status = self.judge(self.x, f, where, values)
            if status == NOT_FINITE:
                return step - self._back(), status
            if status == CONVERGED:
                return step, status
            everywhere = where is ALL or self.state.average is not None or not self.state.is_compilable
            self.last = Memory(self.x, self.state, ALL if everywhere else where)
            if where is ALL:
                g = values
            elif self.state.duplicates == "merge":  # which has been done
                g = where, values
            update(self.x, g, self.state, out=(self.x, self.state))
        return n, RUNNING

    def _listed(self, g):
        return operand(g, self.x.shape, self.x.dtype, "jac").spread()

    def retreat(self):
        """Take back a step to where the gradient is not finite, as `advance` does; return how many that were."""
        f, g = self.objective.gradient(self.x, self.state.micro)
        where, values = self._listed(g)
        return self._back() if self.judge(self.x, f, where, values) == NOT_FINITE else 0

    def _back(self):
        """Take the last step back; return how many steps that were."""
        if self.last is None:
            return 0
        self.last.restore(self.state)
        self.last = None
        return 1


class CompiledLoop:
    """Iterations whose objective is compiled: the whole loop is."""

    DISTANCE = 2**17
    TABLE = 2**20  # the most numbers in a table of rates

    def __init__(self, objective, x, state, gtol):
        self.objective, self.x, self.state, self.gtol = objective, x, state, x.dtype.type(gtol)
        self.leaf = state.leaves[0]
        self.average = () if state.average is None else self.leaf.average
        self.iterate = Iterate(x, np.zeros_like(x), self.leaf.flat, () if self.leaf.mean is None else self.leaf.mean)
        self.kernel = compiled_for(descend, self.leaf.update, objective.record(state.t), state.schedule(), self.average)

    def advance(self, n):
        """Make at most n steps; return (steps, status)."""
        if self.objective.sampler is not None:
            n = min(n, self.objective.sampler.steps_left(self.state.t))
        before = Memory(self.x, self.state)
        steps, status = self._run(n)
        if status == NOT_FINITE and steps > 0:  # go back, and stop one step earlier
            before.restore(self.state)
            steps, _ = self._run(steps - 1)
        return steps, status

    def _run(self, n):
        schedule = self.state.schedule()
        if schedule is None:
            schedule = self._table(n)
            n = min(n, len(schedule.values))
        steps, status, _ = self.kernel(
            self.objective.record(self.state.t), self.leaf.update, Clock(schedule, self.average), self.iterate,
            self.leaf.head, self.state.t, n, self.gtol,
        )  # fmt: skip
        self.objective.njev += steps + 1
        self.objective.nfev += steps + 1 if self.objective.knows_value else 0
        self.state.t += steps
        return steps, status

    def _table(self, n):
        """The rates of a Python schedule for at most n updates."""
        start, rates, room = self.state.t, [], self.TABLE
        for t in range(start, start + n):
            rates.append(self.leaf.rate(self.state.rate(t)))
            room -= rates[-1].size
            if room <= 0:
                break
        if any(rate.ndim for rate in rates):
            return PrecomputedSchedule(
                np.array([np.broadcast_to(rate, self.x.shape) for rate in rates], self.x.dtype), start
            )
        return PrecomputedSchedule(np.array(rates, np.float64), start)

    def retreat(self):
        return 0


class Listener:
    """A callback in either of SciPy's forms."""

    def __init__(self, callback):
        if callback is not None and not callable(callback):
            raise TypeError(f"callback: got {callback!r}; must be callable")
        self.callback = callback
        try:
            names = set(inspect.signature(callback).parameters)
        except (TypeError, ValueError):
            names = set()
        self.wants_result = names == {"intermediate_result"}

    def __bool__(self):
        return self.callback is not None

    def hears(self, run):
        """Tell of an iteration; return whether the run is to stop."""
        from scipy.optimize import OptimizeResult  # here, because it doubles the time that the package takes to import

        x = run.snapshot()
        try:
            if self.wants_result:
                self.callback(intermediate_result=OptimizeResult(x=x, fun=run.value(x), nit=run.nit))
            else:
                self.callback(x)
        except StopIteration:
            return True
        return False


class Run:
    """One call of a minimiser."""

    def __init__(self, objective, x, state, gtol, callback=None):
        self.objective, self.x, self.state, self.gtol = objective, x, state, gtol
        self.listener = Listener(callback)
        self.penalty = state.leaves[0].update.penalty
        self.nit = 0

    def report(self):
        """The iterate to report: the average where there is one."""
        mean = self.state.leaves[0].mean
        return self.x if mean is None else mean

    def snapshot(self):
        """The iterate to report, as an array of its own."""
        return np.copy(self.report())

    def memory(self):
        """What would have to be put back."""
        return Memory(self.x, self.state)

    def value(self, x):
        """The whole objective: fun and penalty."""
        return self.objective.value(x) + float(compiled_for(compiled_value, self.penalty)(self.penalty, x))

    def is_finite(self):
        """Whether x and the value there are; where each gradient brings a value, the loop has looked at it."""
        return bool(np.isfinite(self.x).all()) and (
            self.objective.knows_value or bool(np.isfinite(self.objective.value(self.x)))
        )

    def judge(self, x, f, where, values):
        """The status that a value, where there is one, and a gradient at x amount to."""
        unfinished = compiled_for(compiled_unfinished, self.penalty)
        tolerance = x.dtype.type(self.gtol)
        far, wrong = unfinished(self.penalty, where, x, values, tolerance)
        if wrong or (f is not None and not np.isfinite(f)):
            return NOT_FINITE
        if far or self.gtol <= 0:
            return RUNNING
        if where is not ALL:  # what is not listed has a zero gradient, but the penalty may still pull at it
            full = np.zeros_like(x)
            full[where] = values
            far, _ = unfinished(self.penalty, ALL, x, full, tolerance)
        return RUNNING if far else CONVERGED

    def loop(self):
        if self.objective.is_compiled(self.x) and self.state.is_compilable:
            try:
                loop = CompiledLoop(self.objective, self.x, self.state, self.gtol)
                loop.advance(0)
                return loop
            except NumbaError as error:
                reason = str(error).splitlines()[0]
                warnings.warn(
                    f"fun could not be compiled into the loop, which runs in Python now: {reason}",
                    RuntimeWarning,
                    stacklevel=4,
                )
        return PythonLoop(self.objective, self.x, self.state, self.judge)

    def go(self, maxiter):
        """Iterate; return the status."""
        if not self.look():
            return NOT_FINITE
        loop = self.loop()
        status, size, checked, finite = RUNNING, 1, self.memory(), True
        # A value that does not come with each gradient is looked at after 1, 2, 4, … steps, then at even distances;
        # by count, not by the clock, so that the same run ends the same way every time.
        distance = max(loop.DISTANCE, self.state.leaves[0].size // 64)
        nit_checked, due = 0, maxiter if self.objective.knows_value else 1
        while self.nit < maxiter and status == RUNNING:
            begin = time.perf_counter()
            steps, status = loop.advance(1 if self.listener else min(size, maxiter - self.nit, due - self.nit))
            self.nit += steps
            took = time.perf_counter() - begin
            size = min(max(int(size * min(max(SLICE / (2 * took + 1e-9), 0.5), 64)), 1), maxiter)
            if status == RUNNING and self.nit >= due:
                finite = self.is_finite()
                if not finite:
                    break
                checked, nit_checked = self.memory(), self.nit
                due = self.nit + min(self.nit, distance)
            if status == RUNNING and self.listener and self.listener.hears(self):
                status = STOPPED
        if not (finite and self.look()):
            status = NOT_FINITE
            self.nit -= loop.retreat()
            if not (self.is_finite() and self.look()):
                checked.restore(self.state)
                self.nit = nit_checked
                self.look()
        elif status == RUNNING and self.objective.sampler is None:
            status = self.verdict()
        return status

    def verdict(self):
        """The status that value and gradient at the last look amount to."""
        gradient = operand(self.g, self.x.shape, self.x.dtype, "jac")
        return self.judge(self.report(), self.f, *gradient.spread())

    def look(self):
        """Evaluate value and gradient at the iterate to report; return whether all of it is finite."""
        x = self.report()
        self.f = self.value(x)
        self.g = self.objective.gradient(x, None)[1]
        gradient = operand(self.g, x.shape, x.dtype, "jac")
        return bool(np.isfinite(self.f) and np.isfinite(gradient.values).all() and np.isfinite(self.x).all())
