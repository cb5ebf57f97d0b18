"""The run of a minimiser: slices of iterations, checks between them, callbacks, and the result."""

import inspect
import time
import warnings

import numpy as np
from numba.core.errors import NumbaError

from ..compiler.jit import compiled_for
from ..optim.gradients import prepare_gradient
from ..optim.kernels.array_update import ALL
from ..optim.kernels.reductions import compiled_count_unconverged, compiled_penalty_value
from ..optim.step import update
from ..records.schedules import PrecomputedSchedule
from .loop_kernel import CONVERGED, NOT_FINITE, RUNNING, LoopArrays, PerStep, minimize_loop

SLICE_SECONDS = 0.05  # seconds between two returns to Python, so that Ctrl-C works
STOPPED = 99  # SciPy's number for a callback that raised StopIteration


class Snapshot:
    """What a run would have to put back: copies of x, the accumulators and the mean, whole or at some coordinates."""

    def __init__(self, x, state, where=()):
        self.where = slice(None) if where is ALL else where
        self.counts = state.counts
        self.arrays = _list_state_arrays(x, state)
        self.copies = [np.copy(array[self.where]) for array in self.arrays]

    def restore(self, state):
        for array, old in zip(self.arrays, self.copies, strict=True):
            array[self.where] = old
        state.counts = self.counts


def _list_state_arrays(x, state):
    leaf = state.leaves[0]
    others = (leaf.mean, leaf.accumulated, leaf.applied_log_decay)
    return [x, *leaf.slots] + [array for array in others if array is not None]


class PythonStepper:
    """Iterations whose objective is Python."""

    MAX_STEPS_UNCHECKED = 2**10  # the most steps between two looks at the value

    def __init__(self, objective, x, state, check_convergence):
        self.objective, self.x, self.state, self.check_convergence = objective, x, state, check_convergence
        self.last_snapshot = None  # what the last step overwrote

    def run_steps(self, n):
        """Make at most n steps; return (steps, status)."""
        for step in range(n):
            f, g = self.objective.gradient(self.x, self.state.micro)
            where, values = self._prepare_gradient(g)
            status = self.check_convergence(self.x, f, where, values)
            if status == NOT_FINITE:
                return step - self._undo_last(), status
            if status == CONVERGED:
                return step, status
            everywhere = where is ALL or self.state.average is not None or not self.state.is_compilable
            self.last_snapshot = Snapshot(self.x, self.state, ALL if everywhere else where)
            if where is ALL:
                g = values
            elif self.state.duplicates == "merge":  # which has been done
                g = where, values
            update(self.x, g, self.state, out=(self.x, self.state))
        return n, RUNNING

    def _prepare_gradient(self, g):
        return prepare_gradient(g, self.x.shape, self.x.dtype, "jac").to_coordinates()

    def roll_back(self):
        """Take back a step to where the gradient is not finite, as `run_steps` does; return how many that were."""
        f, g = self.objective.gradient(self.x, self.state.micro)
        where, values = self._prepare_gradient(g)
        return self._undo_last() if self.check_convergence(self.x, f, where, values) == NOT_FINITE else 0

    def _undo_last(self):
        """Take the last step back; return how many steps that were."""
        if self.last_snapshot is None:
            return 0
        self.last_snapshot.restore(self.state)
        self.last_snapshot = None
        return 1


class CompiledStepper:
    """Iterations whose objective is compiled: the whole loop is."""

    MAX_STEPS_UNCHECKED = 2**17
    MAX_TABLE_SIZE = 2**20  # the most numbers in a table of rates

    def __init__(self, objective, x, state, gtol):
        self.objective, self.x, self.state, self.gtol = objective, x, state, x.dtype.type(gtol)
        self.leaf = state.leaves[0]
        self.average = () if state.average is None else self.leaf.average
        self.arrays = LoopArrays(
            x, np.zeros_like(x), self.leaf.flat_slots, () if self.leaf.mean is None else self.leaf.mean
        )
        self.kernel = compiled_for(
            minimize_loop, self.leaf.update, objective.as_record(state.t), state.schedule(), self.average
        )

    def run_steps(self, n):
        """Make at most n steps; return (steps, status)."""
        if self.objective.sampler is not None:
            n = min(n, self.objective.sampler.steps_left(self.state.t))
        before = Snapshot(self.x, self.state)
        steps, status = self._run_kernel(n)
        if status == NOT_FINITE and steps > 0:  # go back, and stop one step earlier
            before.restore(self.state)
            steps, _ = self._run_kernel(steps - 1)
        return steps, status

    def _run_kernel(self, n):
        schedule = self.state.schedule()
        if schedule is None:
            schedule = self._tabulate_schedule(n)
            n = min(n, len(schedule.values))
        steps, status, _ = self.kernel(
            self.objective.as_record(self.state.t), self.leaf.update, PerStep(schedule, self.average), self.arrays,
            self.leaf.resolved_prefix, self.state.t, n, self.gtol,
        )  # fmt: skip
        self.objective.njev += steps + 1
        self.objective.nfev += steps + 1 if self.objective.knows_value else 0
        self.state.t += steps
        return steps, status

    def _tabulate_schedule(self, n):
        """The rates of a Python schedule for at most n updates."""
        start, rates, remaining = self.state.t, [], self.MAX_TABLE_SIZE
        for t in range(start, start + n):
            rates.append(self.leaf.cast_lr(self.state.lr_at(t)))
            remaining -= rates[-1].size
            if remaining <= 0:
                break
        if any(rate.ndim for rate in rates):
            return PrecomputedSchedule(
                np.array([np.broadcast_to(rate, self.x.shape) for rate in rates], self.x.dtype), start
            )
        return PrecomputedSchedule(np.array(rates, np.float64), start)

    def roll_back(self):
        return 0


class CallbackAdapter:
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

    def should_stop(self, loop):
        """Tell of an iteration; return whether the run is to stop."""
        from scipy.optimize import OptimizeResult  # here, because it doubles the time that the package takes to import

        x = loop.copy_reported()
        try:
            if self.wants_result:
                self.callback(intermediate_result=OptimizeResult(x=x, fun=loop.value(x), nit=loop.nit))
            else:
                self.callback(x)
        except StopIteration:
            return True
        return False


class MinimizeLoop:
    """One call of a minimiser."""

    def __init__(self, objective, x, state, gtol, callback=None):
        self.objective, self.x, self.state, self.gtol = objective, x, state, gtol
        self.callback_adapter = CallbackAdapter(callback)
        self.penalty = state.leaves[0].update.penalty
        self.nit = 0

    def reported_iterate(self):
        """The iterate to report: the average where there is one."""
        mean = self.state.leaves[0].mean
        return self.x if mean is None else mean

    def copy_reported(self):
        """The iterate to report, as an array of its own."""
        return np.copy(self.reported_iterate())

    def take_snapshot(self):
        """What would have to be put back."""
        return Snapshot(self.x, self.state)

    def value(self, x):
        """The whole objective: fun and penalty."""
        return self.objective.value(x) + float(compiled_for(compiled_penalty_value, self.penalty)(self.penalty, x))

    def is_finite(self):
        """Whether x and the value there are; where each gradient brings a value, the loop has looked at it."""
        return bool(np.isfinite(self.x).all()) and (
            self.objective.knows_value or bool(np.isfinite(self.objective.value(self.x)))
        )

    def check_convergence(self, x, f, where, values):
        """The status that a value, where there is one, and a gradient at x amount to."""
        count_unconverged = compiled_for(compiled_count_unconverged, self.penalty)
        tolerance = x.dtype.type(self.gtol)
        n_far, n_nonfinite = count_unconverged(self.penalty, where, x, values, tolerance)
        if n_nonfinite or (f is not None and not np.isfinite(f)):
            return NOT_FINITE
        if n_far or self.gtol <= 0:
            return RUNNING
        if where is not ALL:  # what is not listed has a zero gradient, but the penalty may still pull at it
            full = np.zeros_like(x)
            full[where] = values
            n_far, _ = count_unconverged(self.penalty, ALL, x, full, tolerance)
        return RUNNING if n_far else CONVERGED

    def make_stepper(self):
        if self.objective.is_compiled(self.x) and self.state.is_compilable:
            try:
                stepper = CompiledStepper(self.objective, self.x, self.state, self.gtol)
                stepper.run_steps(0)
                return stepper
            except NumbaError as error:
                reason = str(error).splitlines()[0]
                warnings.warn(
                    f"fun could not be compiled into the loop, which runs in Python now: {reason}",
                    RuntimeWarning,
                    stacklevel=4,
                )
        return PythonStepper(self.objective, self.x, self.state, self.check_convergence)

    def run(self, maxiter):
        """Iterate; return the status."""
        if not self.evaluate_reported():
            return NOT_FINITE
        stepper = self.make_stepper()
        status, n_steps, checkpoint, finite = RUNNING, 1, self.take_snapshot(), True
        # A value that does not come with each gradient is looked at after 1, 2, 4, … steps, then at even distances;
        # by count, not by the clock, so that the same run ends the same way every time.
        max_steps_unchecked = max(stepper.MAX_STEPS_UNCHECKED, self.state.leaves[0].size // 64)
        nit_at_checkpoint, next_check = 0, maxiter if self.objective.knows_value else 1
        while self.nit < maxiter and status == RUNNING:
            begin = time.perf_counter()
            steps, status = stepper.run_steps(
                1 if self.callback_adapter else min(n_steps, maxiter - self.nit, next_check - self.nit)
            )
            self.nit += steps
            elapsed = time.perf_counter() - begin
            n_steps = min(max(int(n_steps * min(max(SLICE_SECONDS / (2 * elapsed + 1e-9), 0.5), 64)), 1), maxiter)
            if status == RUNNING and self.nit >= next_check:
                finite = self.is_finite()
                if not finite:
                    break
                checkpoint, nit_at_checkpoint = self.take_snapshot(), self.nit
                next_check = self.nit + min(self.nit, max_steps_unchecked)
            if status == RUNNING and self.callback_adapter and self.callback_adapter.should_stop(self):
                status = STOPPED
        if not (finite and self.evaluate_reported()):
            status = NOT_FINITE
            self.nit -= stepper.roll_back()
            if not (self.is_finite() and self.evaluate_reported()):
                checkpoint.restore(self.state)
                self.nit = nit_at_checkpoint
                self.evaluate_reported()
        elif status == RUNNING and self.objective.sampler is None:
            status = self.final_status()
        return status

    def final_status(self):
        """The status that value and gradient at the last look amount to."""
        gradient = prepare_gradient(self.g, self.x.shape, self.x.dtype, "jac")
        return self.check_convergence(self.reported_iterate(), self.f, *gradient.to_coordinates())

    def evaluate_reported(self):
        """Evaluate value and gradient at the iterate to report; return whether all of it is finite."""
        x = self.reported_iterate()
        self.f = self.value(x)
        self.g = self.objective.gradient(x, None)[1]
        gradient = prepare_gradient(self.g, x.shape, x.dtype, "jac")
        return bool(np.isfinite(self.f) and np.isfinite(gradient.values).all() and np.isfinite(self.x).all())
