"""What is minimised: functions and gradients in every form that SciPy takes, counted, and as compiled records."""

from typing import Any, NamedTuple

import numpy as np
import scipy
from numba.core.errors import NumbaError

from ..compiler.jit import cast, compiled_for, is_compiled, jitable
from ..records.penalties import Bounded, Box, NoPenalty
from .loop_kernel import call_value_grad, value_grad

FINITE_DIFFERENCES = ("2-point", "3-point", "cs")


class Gradient(NamedTuple):
    """A compiled gradient alone; its value counts as zero."""

    jac: Any
    args: tuple

    def evaluate(self, x, g, t):
        g[:] = self.jac(x, *self.args)
        return 0.0


class ValueAndGradient(NamedTuple):
    """A compiled function that returns both."""

    fun: Any
    args: tuple

    def evaluate(self, x, g, t):
        f, gradient = self.fun(x, *self.args)
        g[:] = gradient
        return f


@jitable
def batch_at(epoch_order, t):
    """The batch of update t; past the end of the window it begins anew."""
    steps = (epoch_order.order.shape[0] + epoch_order.size - 1) // epoch_order.size
    first = (t - epoch_order.start) % steps * epoch_order.size
    return epoch_order.order[first : first + epoch_order.size]


class EpochOrder(NamedTuple):
    """The order of the samples in the updates from `start` on, `size` of them for each."""

    order: Any
    start: int
    size: int


class BatchGradient(NamedTuple):
    """A compiled gradient on the batch of update t."""

    jac: Any
    args: tuple
    epoch_order: Any

    def evaluate(self, x, g, t):
        g[:] = self.jac(x, batch_at(self.epoch_order, t), *self.args)
        return 0.0


class BatchValueAndGradient(NamedTuple):
    """A compiled function that returns both, on the batch of update t."""

    fun: Any
    args: tuple
    epoch_order: Any

    def evaluate(self, x, g, t):
        f, gradient = self.fun(x, batch_at(self.epoch_order, t), *self.args)
        g[:] = gradient
        return f


class BatchRecord(NamedTuple):
    """An objective record on the batch of update t."""

    objective: Any
    epoch_order: Any

    def evaluate(self, x, g, t):
        return value_grad(self.objective, x, g, batch_at(self.epoch_order, t))


class Objective:
    """fun and jac behind one face, with their calls counted.

    With a `sampler` both take the batch of sample numbers of update t as their second argument.
    """

    def __init__(self, fun, jac, args, x, box=None, sampler=None):
        self.args = args if isinstance(args, tuple) else (args,)
        self.sampler, self.box = sampler, box
        self.nfev = self.njev = 0
        self.is_record = hasattr(fun, "value_grad")
        if self.is_record:
            self.fun, self.jac = cast(fun, x.dtype), True
            self.kernel = compiled_for(call_value_grad, self.fun)
            return
        if not callable(fun):
            raise TypeError(f"fun: got {fun!r}; must be callable, or an objective record with the method value_grad")
        if jac is None or jac is False:
            jac = "2-point"
        if not callable(jac) and jac is not True and jac not in FINITE_DIFFERENCES:
            raise ValueError(
                f"jac: got {jac!r}; must be callable, True, None, or one of {', '.join(FINITE_DIFFERENCES)}"
            )
        self.fun, self.jac = fun, jac

    def value(self, x):
        """The value at x, of all samples where there are samples."""
        self.nfev += 1
        batch = () if self.sampler is None else (self.sampler.all_samples(),)
        if self.is_record:
            return self._call_value_grad(x, np.empty_like(x), batch)
        f = self.fun(x, *batch, *self.args)
        return _as_float(_check_pair(f)[0] if self.jac is True else f)

    def gradient(self, x, t):
        """(value or None, gradient) at x for update t; t = None asks for all samples."""
        batch = ()
        if self.sampler is not None:
            batch = (self.sampler.all_samples() if t is None else self.sampler.batch(t),)
        self.njev += 1
        if self.is_record:
            g = np.empty_like(x)
            self.nfev += 1
            return self._call_value_grad(x, g, batch), g
        if self.jac is True:
            self.nfev += 1
            pair = _check_pair(self.fun(x, *batch, *self.args))
            return _as_float(pair[0]), self._check_shape(pair[1], x)
        if callable(self.jac):
            return None, self._check_shape(self.jac(x, *batch, *self.args), x)
        return self._finite_differences(x, batch)

    def _call_value_grad(self, x, g, batch):
        """The value of an objective record, whose gradient goes into g: compiled, where that can be."""
        try:
            return float(self.kernel(self.fun, batch, x, g))
        except NumbaError:
            self.kernel = call_value_grad.py_func  # the loop says so, when it comes to it
            return float(self.kernel(self.fun, batch, x, g))

    def _check_shape(self, g, x):
        """A dense gradient as a vector; sparse ones as they are."""
        if isinstance(g, tuple) or (not isinstance(g, np.ndarray) and scipy.sparse.issparse(g)):
            return g
        g = np.asarray(g)
        if g.size != x.size:
            raise ValueError(f"jac: got a gradient of shape {g.shape}; must have shape {x.shape}")
        return g.reshape(x.shape)

    def _finite_differences(self, x, batch):
        from scipy.optimize._numdiff import approx_derivative

        def fun(z):
            self.nfev += 1
            return self.fun(z, *batch, *self.args)

        f = fun(x)
        limits = {} if self.box is None else {"bounds": self.box}
        g = approx_derivative(fun, x, method=self.jac, f0=np.atleast_1d(f), **limits)
        return _as_float(f), np.asarray(g, x.dtype).reshape(x.shape)

    @property
    def knows_value(self):
        """Whether every gradient brings the value with it."""
        return self.is_record or self.jac is True

    def is_compiled(self, x):
        """Whether the whole loop can be: nothing of the objective is Python, and its gradient is dense."""
        if self.is_record:
            return True
        if not is_compiled(self.fun if self.jac is True else self.jac):
            return False
        _, g = self.gradient(x, None)
        return isinstance(g, np.ndarray) and g.dtype.kind == "f"

    def as_record(self, t):
        """The objective for the compiled loop, good for `sampler.steps_left(t)` updates from t on."""
        epoch_order = () if self.sampler is None else (EpochOrder(*self.sampler.epoch_order(t)),)
        if self.is_record:
            return BatchRecord(self.fun, *epoch_order) if epoch_order else self.fun
        if self.jac is True:
            return (BatchValueAndGradient if epoch_order else ValueAndGradient)(self.fun, self.args, *epoch_order)
        return (BatchGradient if epoch_order else Gradient)(self.jac, self.args, *epoch_order)


def _check_pair(result):
    """What a function with jac=True returns."""
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise ValueError(f"fun: with jac=True it must return (value, gradient); got {type(result).__name__}")
    return result


def _as_float(f):
    """A value as a float; arrays of one element count as numbers, as in SciPy."""
    array = np.asarray(f)
    if array.size != 1 or array.dtype.kind not in "fiub":
        raise TypeError(f"fun: got a {type(f).__name__} of shape {array.shape}; must return one real number")
    return float(array.reshape(-1)[0])


def combine_bounds(penalty, limits):
    """A penalty within bounds: one record for both, or None for neither."""
    if limits is None:
        return penalty
    if penalty is None or isinstance(penalty, (NoPenalty, Box)):
        return Box(*limits)
    return Bounded(penalty, *limits)
