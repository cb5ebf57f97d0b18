"""Runs of methods for a comparison, each up to the evaluation points of a `Recorder`."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _check
from .._csr import DivergenceError
from ..io.readers import Chunk
from ..linear.fit import fit_linear
from ..linear.model_options import check_options
from ..minimize.drivers import minimize_stochastic
from ..optim.state import init
from ..optim.step import update
from ..records.multiclass_losses import target_type
from ..records.penalties import L1, L2, ElasticNet
from .problems import DataProblem

if TYPE_CHECKING:
    from collections.abc import Callable

CLOCK_ROWS = 256  # between two looks at the clock
PIECES = 200  # of a budget of seconds, between which a minimiser returns
START_NOISE = 0.1  # standard deviation of the start points of seeds other than 0


class Recorder:
    """Values at the evaluation points of one run.  A method of the caller is called with it.

    Attributes
    ----------
    axis : {"rows", "seconds", "gradients"}
    points : ndarray of shape (n_points,)
        Evaluation points; the last one is the budget.
    values, seconds : ndarray of shape (n_points,)
        Values and times so far; NaN at the other points.
    """

    def __init__(self, axis: str, points: np.ndarray, measure: Callable[[Any], float], x0: Any) -> None:
        self.axis, self.points, self._measure, self._last = axis, points, measure, x0
        self.values, self.seconds = np.full(points.size, np.nan), np.full(points.size, np.nan)
        self.n_filled, self._elapsed, self._resumed = 0, 0.0, time.perf_counter()

    @property
    def has_budget(self) -> bool:
        """Whether budget is left."""
        return self.n_filled < self.points.size

    def __call__(self, x: np.ndarray, count: int) -> bool:
        """Record the iterate after `count` rows or gradients; return whether budget is left.

        The time of the evaluation is not counted.  A point between two calls has the value of the first one; on the
        axis of seconds, that of the second one.
        """
        self._elapsed += time.perf_counter() - self._resumed
        if self.axis == "seconds":
            self.fill_until(x, self._elapsed, self._elapsed)
        else:
            while self.has_budget and self.points[self.n_filled] < count:
                self.fill(self._last, self._elapsed)
            self.fill_until(x, count, self._elapsed)
            self._last = np.array(x)
        self._resumed = time.perf_counter()
        return self.has_budget

    def fill(self, x: Any, elapsed: float) -> None:
        """Set the next value to that of a model or of weights."""
        with np.errstate(over="ignore", invalid="ignore"):
            value = self._measure(x)
        self.values[self.n_filled] = np.inf if np.isnan(value) else value
        self.seconds[self.n_filled] = elapsed
        self.n_filled += 1

    def fill_until(self, x: Any, position: float, elapsed: float) -> None:
        """Set the values of all points up to `position`."""
        while self.has_budget and self.points[self.n_filled] <= position:
            self.fill(x, elapsed)

    def finish(self, x: Any) -> None:
        """Set the remaining values to that of the result of a method that stopped early."""
        elapsed = self._elapsed if self.n_filled == 0 else float(self.seconds[self.n_filled - 1])
        while self.has_budget:
            self.fill(x, elapsed)

    def diverge(self) -> None:
        """Set the remaining values to inf."""
        elapsed = 0.0 if self.n_filled == 0 else float(self.seconds[self.n_filled - 1])
        self.values[self.n_filled :], self.seconds[self.n_filled :] = np.inf, elapsed
        self.n_filled = self.points.size


def start_point(problem: Any, seed: int) -> np.ndarray:
    """Return the start point of a run: that of the problem, for a function with normal noise unless the seed is 0."""
    x0 = np.array(problem.x0, np.float64)
    if seed == 0 or isinstance(problem, DataProblem):
        return x0
    return x0 + START_NOISE * np.random.default_rng(seed).normal(size=x0.shape)


# --- linear models -----------------------------------------------------------------------------------------------


def run_linear(problem: DataProblem, options: dict[str, Any], recorder: Recorder, seed: int) -> None:
    """Train a linear model in one call of `fit_linear`, whose chunks end at the evaluation points."""
    batch_size = _check.positive_count("batch_size", options.get("batch_size", 1))
    run = _LinearRun(problem, batch_size, recorder, seed)
    settings = {"loss": problem.loss, "penalty": problem.penalty, "intercept": problem.intercept} | options
    if target_type(check_options(settings["loss"], None)["loss"]) in ("binary", "multiclass"):
        classes = np.unique(problem.y)
        settings = ({"classes": classes} if classes.size > 1 else {}) | settings
    chunks = run.chunks()
    first = next(chunks, None)
    if first is None:  # the budget is less than a batch
        return
    try:
        fit_linear(itertools.chain([first], chunks), callback=run.call, **settings)
    except DivergenceError:
        recorder.diverge()


class _LinearRun:
    """Chunks and callback of one training."""

    def __init__(self, problem, batch_size, recorder, seed):
        self.problem, self.batch_size, self.recorder, self.seed = problem, batch_size, recorder, seed
        self.overhead = 0.0  # seconds outside the training since its first row
        self.end = 0

    def chunks(self):
        """Yield chunks without end, or up to the last point."""
        recorder, resumed = self.recorder, None
        while True:
            position, end = self.end, self._next_end()
            if end == position:  # less than a batch
                recorder.fill(self.problem.x0, 0.0) if position == 0 else self._fill_again()
                if not recorder.has_budget:
                    return
                continue
            self.end = end
            rows = self._rows(position, end)
            chunk = Chunk(self.problem.X[rows], self.problem.y[rows])
            if resumed is not None:
                self.overhead += time.perf_counter() - resumed
            yield chunk
            resumed = time.perf_counter()

    def _next_end(self):
        """Return the number of rows up to the next look at the model: whole batches within the next point."""
        if self.recorder.axis == "seconds":
            return self.end + CLOCK_ROWS * self.batch_size
        point = int(self.recorder.points[self.recorder.n_filled])
        n_updates = point if self.recorder.axis == "gradients" else point // self.batch_size
        return n_updates * self.batch_size

    def _fill_again(self):
        """Set the next value to the previous one."""
        recorder, k = self.recorder, self.recorder.n_filled
        recorder.values[k], recorder.seconds[k] = recorder.values[k - 1], recorder.seconds[k - 1]
        recorder.n_filled += 1

    def _rows(self, position, end):
        """Return the numbers of the rows position, …, end - 1 of all passes."""
        n = self.problem.n_samples
        parts = []
        while position < end:
            number, start = divmod(position, n)
            stop = min(n, start + end - position)
            is_shuffled = self.seed != 0 and not self.problem.is_stream
            order = np.random.default_rng([self.seed, number]).permutation(n) if is_shuffled else np.arange(n)
            parts.append(order[start:stop])
            position += stop - start
        return np.concatenate(parts)

    def call(self, progress):
        """Record the model at the end of a chunk; end the training after the last point."""
        begin, recorder = time.perf_counter(), self.recorder
        elapsed = progress.seconds - self.overhead
        if progress.n_seen == self.end:
            if recorder.axis == "seconds":
                recorder.fill_until(progress.model, elapsed, elapsed)
            else:
                recorder.fill(progress.model, elapsed)
        if not recorder.has_budget:
            raise StopIteration
        self.overhead += time.perf_counter() - begin


# --- minimisers --------------------------------------------------------------------------------------------------


def run_minimizer(problem: Any, driver: Any, options: dict[str, Any], recorder: Recorder, seed: int) -> None:
    """Run a minimiser, or steps with the state of `init`, in pieces that end at the evaluation points."""
    step, rows = _stepper(problem, driver, options, seed)
    x0 = start_point(problem, seed)
    step(x0, None, 1)  # compiles
    x, state, n_done, elapsed, size = x0, None, 0, 0.0, 1
    while recorder.has_budget:
        if recorder.axis == "seconds":
            n = n_done + size
        else:
            point = int(recorder.points[recorder.n_filled])
            n = point // rows if recorder.axis == "rows" else point
        if n > n_done:
            begin = time.perf_counter()
            with np.errstate(over="ignore", invalid="ignore"):
                x, state = step(x, state, n - n_done)
            seconds = time.perf_counter() - begin
            elapsed, n_done = elapsed + seconds, n
            size = 2 * size if seconds < recorder.points[-1] / PIECES else size
            if not np.isfinite(x).all():
                recorder.diverge()
                return
        if recorder.axis == "seconds":
            recorder.fill_until(x, elapsed, elapsed)
        else:
            recorder.fill(x, elapsed)


def _stepper(problem, driver, options, seed):
    """Return ``step(x, state, n) -> (x, state)``, which makes n iterations, and the number of rows of an iteration."""
    settings = dict(options)
    rows, fun = 1, problem.fun
    if isinstance(problem, DataProblem):
        rows, fun = problem.n_samples, problem.mean_loss
        settings = {"penalty": _penalty_of_weights(problem)} | settings
    if driver is init:

        def step_by_hand(x, state, n):
            x = np.array(x)
            state = init(x, **settings) if state is None else state
            for _ in range(n):
                update(x, problem.jac(x), state, out=(x, state))
            return x, state

        return step_by_hand, rows
    if driver is minimize_stochastic:
        batch_size = settings.setdefault("batch_size", 1)
        settings |= {"epochs": 2**31, "rng": seed}

        def step_on_batches(x, state, n):
            given = settings if state is None else {"batch_size": batch_size, "epochs": 2**31}
            result = minimize_stochastic(
                problem.mean_loss, x, problem.n_samples, jac=problem.jac, maxiter=n, state=state, **given
            )
            return result.x, result.state

        return step_on_batches, batch_size

    def step_with_all_rows(x, state, n):
        given = settings if state is None else {}
        result = driver(fun, x, jac=problem.jac, maxiter=n, gtol=0.0, state=state, **given)
        return result.x, result.state

    return step_with_all_rows, rows


def _penalty_of_weights(problem):
    """Return the penalty of a problem for weights with the intercept last, which has none."""
    penalty = problem.penalty
    if penalty is None or not problem.intercept:
        return penalty
    if not isinstance(penalty, L1 | L2 | ElasticNet):
        raise TypeError(f"penalty: got {penalty!r}; with an intercept, minimisers take L1, L2 or ElasticNet")
    n = problem.X.shape[1]
    return type(penalty)(*(np.append(np.broadcast_to(strength, n), 0.0) for strength in penalty))
