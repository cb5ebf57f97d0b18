"""The minimisation loop for arrays on the host: slices of iterations, checks between them, callbacks, and the result.

`device_loop` offers the same functions and classes for device arrays: `start_point`, `project_start`, `resume`,
`Objective` and `MinimizeLoop`.
"""

import copy
import inspect
import math
import time
import warnings

import numpy as np
from numba.core.errors import NumbaError

from .. import _check
from ..compiler.jit import cast, compiled_for
from ..compiler.pointers import bind_kernel
from ..optim.gradients import PreparedGradient, prepare_gradient
from ..optim.kernels.array_update import ALL
from ..optim.kernels.reductions import (
    compiled_count_unconverged,
    compiled_penalty_value,
    compiled_project_onto_domain,
)
from ..optim.step import update
from ..records import domains
from ..records.schedules import PrecomputedSchedule
from .loop_kernel import (
    CONVERGED,
    NOT_FINITE,
    RUNNING,
    STEP_TYPES,
    LoopArrays,
    PerStep,
    StepArguments,
    make_step,
    minimize_loop,
)
from .objectives import Objective

__all__ = ["MinimizeLoop", "Objective", "project_start", "resume", "start_point"]

SLICE_SECONDS = 0.05  # seconds between two returns to Python, so that Ctrl-C works
STOPPED, ALL_EPOCHS_DONE = 99, 100  # further statuses of a run, beside those of the compiled loop

# Of each status the number that SciPy uses, and the message.
OUTCOMES = {
    CONVERGED: (0, "Optimization terminated successfully: no entry of the gradient exceeds gtol."),
    ALL_EPOCHS_DONE: (0, "All epochs are done."),
    RUNNING: (1, "Maximum number of iterations has been exceeded."),
    NOT_FINITE: (2, "A value or gradient is not finite; x is the last iterate where both are finite."),
    STOPPED: (99, "`callback` raised `StopIteration`."),
}


# --- the start ---------------------------------------------------------------------------------------------------


def start_point(x0, bounds):
    """Return a copy of x0 as a vector, and the bounds as (lower, upper) or None."""
    x = _check.start_point(x0)
    return x, _check.scipy_bounds(bounds, x.size, x.dtype)


def project_start(x, penalty):
    """Move x to the nearest point where the penalty is finite, for example within bounds."""
    _check.penalty_shape(penalty, x.size)
    penalty = cast(penalty, x.dtype)
    if not np.isfinite(compiled_for(compiled_penalty_value, penalty)(penalty, x)):
        compiled_for(compiled_project_onto_domain, penalty)(penalty, x)


def project_onto_domain(x, domain):
    """Move x to the nearest point of a domain, unless it is there up to half of the digits, as after an update."""
    if not domains.contains(domain, x.astype(np.float64), math.sqrt(np.finfo(x.dtype).eps)):
        x[:] = domains.project(domain, x.astype(np.float64), np.ones(x.size))


def resume(x, state, options, arrays_equal=np.array_equal, copy_array=np.copy):
    """Return (x, state) to continue from `state` with other options.

    Where x is the average that the earlier run reported, return the iterate behind it.
    """
    mean = state.leaves[0].mean
    if mean is not None and state.iterate is not None and arrays_equal(x, mean):
        x = copy_array(state.iterate)
    return x, state.with_options(x, **options)


# --- steps -------------------------------------------------------------------------------------------------------


class Snapshot:
    """Copies of x, the accumulators and the average, whole or at some coordinates, to undo updates."""

    def __init__(self, x, state, where=ALL):
        leaf = state.leaves[0]
        optional_arrays = (leaf.mean, leaf.accumulated, leaf.applied_log_decay)
        self.arrays = [x, *leaf.slots, *(array for array in optional_arrays if array is not None)]
        self.has_accumulated = leaf.accumulated is not None
        self.where = slice(None) if where is ALL else where
        self.copies = [self._copy_entries(array) for array in self.arrays]
        self.counts = state.counts
        self.ledger = None if state.ledger is None else state.ledger.copy()

    def restore(self, state):
        """Write the copies back, and the counters of the state."""
        for array, old in zip(self.arrays, self.copies, strict=True):
            self._write_entries(array, old)
        if not self.has_accumulated:
            state.leaves[0].accumulated = None
        state.counts = self.counts
        state.ledger = None if self.ledger is None else self.ledger.copy()

    def _copy_entries(self, array):
        return np.copy(array[self.where])

    def _write_entries(self, array, old):
        array[self.where] = old


class PythonStepper:
    """Iterations with an objective in Python.

    Attributes
    ----------
    known : (value or None, gradient) or None
        Those at x, if they have been evaluated there.
    """

    MAX_STEPS_UNCHECKED = 2**10  # the most steps between two checks of the value

    def __init__(self, loop):
        self.loop, self.objective, self.x, self.state = loop, loop.objective, loop.x, loop.state
        self.last_snapshot = None  # of the entries that the last step changed
        self.known = (loop.unpenalized_f, loop.g) if loop.reports_steps else None

    def run_steps(self, n):
        """Make at most n steps; return (steps, status)."""
        for step in range(n):
            f, g = self.known or self.objective.gradient(self.x, self.state)
            self.known = None
            gradient = self.loop.prepare_gradient(g)
            status = self.loop.check_convergence(self.x, f, gradient)
            if status == NOT_FINITE:
                return step - self._undo_last(), status
            if status == CONVERGED:
                self.known = f, self.loop.copy_gradient(g)  # fun may write into the buffer that jac returned
                return step, status
            where, values = gradient.where, gradient.values
            moves_all = where is ALL or self.state.average is not None or not self.state.is_compilable
            self.last_snapshot = Snapshot(self.x, self.state, ALL if moves_all else where)
            if where is ALL:
                g = values
            elif self.state.duplicates == "merge":  # `prepare_gradient` has merged them
                g = where, values
            update(self.x, g, self.state, out=(self.x, self.state))
        return n, RUNNING

    def roll_back(self):
        """Undo the last step if the gradient at x is not finite; return the number of steps undone."""
        f, g = self.objective.gradient(self.x, self.state)
        status = self.loop.check_convergence(self.x, f, self.loop.prepare_gradient(g))
        return self._undo_last() if status == NOT_FINITE else 0

    def _undo_last(self):
        """Undo the last step; return the number of steps undone."""
        if self.last_snapshot is None:
            return 0
        self.last_snapshot.restore(self.state)
        self.last_snapshot = None
        return 1


class CompiledStepper:
    """Iterations in one compiled loop, with a compiled objective; `known` is as in `PythonStepper`."""

    MAX_STEPS_UNCHECKED = 2**17
    MAX_TABLE_SIZE = 2**20  # the most numbers in a table of learning rates

    def __init__(self, loop):
        self.objective, self.x, self.state, self.leaf = loop.objective, loop.x, loop.state, loop.leaf
        self.gtol = self.x.dtype.type(loop.gtol)
        self.average = () if self.state.average is None else self.leaf.average
        mean = () if self.leaf.mean is None else self.leaf.mean
        self.arrays = LoopArrays(self.x, np.empty_like(self.x), np.zeros_like(self.x), self.leaf.flat_slots, mean)
        self.kernel = compiled_for(minimize_loop, self.objective.as_record(self.state.t))
        schedule = self.state.schedule()
        self.constant_step = None if schedule is None else self._bind_step(schedule)
        self.known = None

    def run_steps(self, n):
        """Make at most n steps; return (steps, status)."""
        if self.objective.sampler is not None:
            n = min(n, self.objective.sampler.steps_left(self.state.t))
        before = Snapshot(self.x, self.state)
        steps, status = self._run_kernel(n)
        if status == NOT_FINITE and steps > 0:  # run again, and stop one step earlier
            before.restore(self.state)
            self.known = None
            steps, _ = self._run_kernel(steps - 1)
        return steps, status

    def roll_back(self):
        """Return 0: `run_steps` ends before a value or gradient that is not finite."""
        return 0

    def _run_kernel(self, n):
        if self.constant_step is not None:
            step, _owner = self.constant_step
        else:
            schedule = self._tabulate_schedule(n)
            n = min(n, len(schedule.values))
            step, _owner = self._bind_step(schedule)
        np.copyto(self.arrays.given, self.x)
        objective = self.objective.as_record(self.state.t)
        is_evaluated = self.known is not None
        f = 0.0 if self.known is None or self.known[0] is None else self.known[0]
        steps, status, f = self.kernel(
            objective, self.arrays.given, self.arrays.g, step, self.state.t, n, f, is_evaluated
        )  # fmt: skip
        has_value = self.objective.gradient_has_value
        n_evaluations = steps + 1 - is_evaluated
        self.objective.njev += n_evaluations
        self.objective.nfev += n_evaluations if has_value else 0
        if self.objective.sampler is None:  # the batch of the next call may be of the next epoch
            self.known = f if has_value else None, self.arrays.g
        self.state.t += steps
        return steps, status

    def _bind_step(self, schedule):
        """Return the step with a schedule of learning rates as a bound kernel, and the owner of its memory."""
        per_step = PerStep(schedule, self.average)
        arguments = StepArguments(self.leaf.update, per_step, self.arrays, self.leaf.resolved_prefix, self.gtol)
        return bind_kernel(make_step, arguments, *STEP_TYPES)

    def _tabulate_schedule(self, n):
        """Return the learning rates of a Python schedule for at most n updates."""
        start, rates, remaining = self.state.t, [], self.MAX_TABLE_SIZE
        for t in range(start, start + n):
            rates.append(np.array(self.leaf.cast_lr(self.state.lr_at(t))))  # the schedule may return one buffer
            remaining -= rates[-1].size
            if remaining <= 0:
                break
        if any(rate.ndim for rate in rates):
            rows = [np.broadcast_to(rate, self.x.shape) for rate in rates]
            return PrecomputedSchedule(np.array(rows, self.x.dtype), start)
        return PrecomputedSchedule(np.array(rates, np.float64), start)


# --- the loop ----------------------------------------------------------------------------------------------------


class CallbackAdapter:
    """A callback in either of SciPy's two forms."""

    def __init__(self, callback):
        if not callable(callback):
            raise TypeError(f"callback: got {callback!r}; must be callable")
        self.callback = callback
        try:
            names = set(inspect.signature(callback).parameters)
        except (TypeError, ValueError):
            names = set()
        self.takes_result = names == {"intermediate_result"}

    def should_stop(self, loop):
        """Call the callback with the iterate; return whether it raised StopIteration."""
        from scipy.optimize import OptimizeResult  # here, because it doubles the import time of the package

        x = loop.copy_reported()
        try:
            if self.takes_result:
                self.callback(intermediate_result=OptimizeResult(x=x, fun=loop.value(x), nit=loop.nit))
            else:
                self.callback(x)
        except StopIteration:
            return True
        return False


class MinimizeLoop:
    """One call of a minimiser.

    Attributes
    ----------
    nit : int
        Iterations so far.
    f, unpenalized_f, g : float, float, gradient
        Value with and without the penalty, and gradient without it, at the reported iterate; see `evaluate_reported`.
    reports_steps : bool
        Whether the reported iterate, value and gradient are those of the steps: there is no average and no sampler.
    """

    def __init__(self, objective, x, state, gtol, callback=None):
        self.objective, self.x, self.state, self.gtol = objective, x, state, gtol
        self.callback = None if callback is None else CallbackAdapter(callback)
        self.leaf = state.leaves[0]
        self.penalty = self.leaf.update.penalty
        self.reports_steps = state.average is None and objective.sampler is None
        self.nit = 0

    def run(self, maxiter):
        """Make at most `maxiter` iterations; return the status."""
        if not self.evaluate_reported():
            return NOT_FINITE
        stepper = self.make_stepper()
        status, n_steps, checkpoint, finite = RUNNING, 1, self.take_snapshot(), True
        # A value that does not come with each gradient is checked after 1, 2, 4, … steps, then at equal distances.
        # The distances count steps, not seconds: a run ends at the same iterate each time.
        max_steps_unchecked = max(stepper.MAX_STEPS_UNCHECKED, self.leaf.size // 64)
        nit_at_checkpoint, next_check = 0, maxiter if self.objective.gradient_has_value else 1
        while self.nit < maxiter and status == RUNNING:
            begin = time.perf_counter()
            steps, status = stepper.run_steps(
                1 if self.callback else min(n_steps, maxiter - self.nit, next_check - self.nit)
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
            if status == RUNNING and self.callback and self.callback.should_stop(self):
                status = STOPPED
        if not (finite and self.evaluate_reported(stepper.known)):
            status = NOT_FINITE
            self.nit -= stepper.roll_back()
            if not (self.is_finite() and self.evaluate_reported()):
                checkpoint.restore(self.state)
                self.nit = nit_at_checkpoint
                self.evaluate_reported()
        elif status == RUNNING and self.objective.sampler is None:
            status = self.check_convergence(self.reported_iterate(), self.f, self.prepare_gradient(self.g))
        return status

    def make_result(self, status, disp=False, note=""):
        """Return the result of a run that ended with `status`; with `disp`, print its message.

        `note` is appended to the message.
        """
        from scipy.optimize import OptimizeResult  # here, because it doubles the import time of the package

        code, message = OUTCOMES[status]
        message += note
        if self.state.average is not None:
            self.state.iterate = self.copy_array(self.x)
        if disp:
            print(f"{message}\n  value {self.f:.6g} after {self.nit} iterations")
        return OptimizeResult(
            x=self.copy_reported(), fun=self.f, jac=self.copy_gradient(self.g), nit=self.nit, nfev=self.objective.nfev,
            njev=self.objective.njev, success=code == 0, status=code, message=message, state=self.state,
        )  # fmt: skip

    def reported_iterate(self):
        """Return the average of the iterates, or the iterate where no average is kept."""
        return self.x if self.leaf.mean is None else self.leaf.mean

    def copy_reported(self):
        """Return a copy of the iterate to report."""
        return self.copy_array(self.reported_iterate())

    def evaluate_reported(self, known=None):
        """Evaluate value and gradient at the iterate to report; return whether they and x are finite.

        `known` is (value or None, gradient) at x, or None.
        """
        x = self.reported_iterate()
        has_value = self.objective.gradient_has_value
        value = None if has_value else self.objective.value(x)
        f, self.g = known if known is not None and self.reports_steps else self.objective.gradient(x)
        self.unpenalized_f = self.objective.to_number(f) if has_value else value
        self.f = self._penalty_value(x) + self.unpenalized_f
        gradient = self.prepare_gradient(self.g)
        return bool(np.isfinite(self.f)) and self._is_finite_gradient(x, gradient) and self._is_finite_array(self.x)

    def value(self, x):
        """Return the objective at x: the value of fun and the penalty."""
        return self._penalty_value(x) + self.objective.value(x)

    def is_finite(self):
        """Return whether x and the value at x are finite; a value that comes with the gradient has been checked."""
        if not self._is_finite_array(self.x):
            return False
        return self.objective.gradient_has_value or bool(np.isfinite(self.objective.value(self.x)))

    def check_convergence(self, x, f, gradient):
        """Return the status for a prepared gradient at x and a value f, or None where the value is not known."""
        n_unconverged, n_nonfinite = self._count_unconverged(x, gradient)
        if n_nonfinite or (f is not None and not np.isfinite(self.objective.to_number(f))):
            return NOT_FINITE
        if n_unconverged or self.gtol <= 0:
            return RUNNING
        if gradient.where is not ALL:  # an unlisted coordinate has a zero gradient, but the penalty may still move it
            n_unconverged, _ = self._count_unconverged(x, PreparedGradient(ALL, self.leaf.to_dense(gradient)))
        return RUNNING if n_unconverged else CONVERGED

    # --- methods that differ on a device -------------------------------------------------------------------------

    def make_stepper(self):
        """Return the stepper for the objective: compiled if it can be, else Python."""
        objective = self.objective
        if objective.is_compiled and self._has_float_gradient() and self.state.is_compilable:
            try:
                stepper = CompiledStepper(self)
                stepper.run_steps(0)
                return stepper
            except NumbaError as error:
                reason = str(error).splitlines()[0]
                warnings.warn(
                    f"fun: could not be compiled into the loop, which runs in Python: {reason}",
                    RuntimeWarning,
                    stacklevel=4,
                )
        return PythonStepper(self)

    def _has_float_gradient(self):
        """Return whether the gradient is a dense array of floats, which the compiled loop needs."""
        return isinstance(self.g, np.ndarray) and self.g.dtype.kind == "f"

    @staticmethod
    def copy_array(array):
        """Return a copy of an array."""
        return np.copy(array)

    def copy_gradient(self, g):
        """Return a copy of a gradient for the result, as jac may have returned a buffer of its own."""
        return self.copy_array(g) if hasattr(g, "dtype") and not hasattr(g, "tocoo") else copy.deepcopy(g)

    def take_snapshot(self):
        """Return copies of all that the run changes."""
        return Snapshot(self.x, self.state)

    def prepare_gradient(self, g):
        """Return a gradient of the objective as a `PreparedGradient`."""
        if type(g) is np.ndarray and g.dtype == self.x.dtype and g.flags.carray:  # ready: the usual case
            return PreparedGradient(ALL, g)
        return prepare_gradient(g, self.x.shape, self.x.dtype, "jac")

    def _count_unconverged(self, x, gradient):
        """Return the numbers of coordinates that are not optimal within gtol, and of entries that are not finite."""
        if self.state.domain is not None:
            return self._count_moved_by_projection(x, gradient)
        kernel, tolerance = compiled_for(compiled_count_unconverged, self.penalty), x.dtype.type(self.gtol)
        return kernel(self.penalty, gradient.where, x, gradient.values, tolerance)

    def _count_moved_by_projection(self, x, gradient):
        """Return the number of entries of x - project(x - g) larger than gtol, and of gradients that are not finite."""
        n_nonfinite = int(np.count_nonzero(~np.isfinite(gradient.values)))
        if n_nonfinite or not np.isfinite(x).all():
            return x.size, n_nonfinite
        x = x.astype(np.float64)
        z = domains.project(self.state.domain, x - self.leaf.to_dense(gradient), np.ones(x.size))
        return int(np.count_nonzero(np.abs(x - z) > self.gtol)), 0

    def _penalty_value(self, x):
        return float(compiled_for(compiled_penalty_value, self.penalty)(self.penalty, x))

    def _is_finite_gradient(self, x, gradient):
        return bool(np.isfinite(gradient.values).all())

    def _is_finite_array(self, x):
        return bool(np.isfinite(x).all())
