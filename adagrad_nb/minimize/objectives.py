"""Objectives: fun and jac in every form that SciPy accepts, also as records for the compiled loop.

`Sampler` draws the batches of `minimize_stochastic`.
"""

import contextlib
import functools
import inspect
from typing import Any, NamedTuple

import numpy as np
import scipy
from numba import types
from numba.core.errors import NumbaError

from .. import _check
from ..compiler.jit import bind, cast, compiled_for, is_compiled, jitable
from ..records.penalties import Bounded, Box, NoPenalty
from .loop_kernel import call_value_grad, value_grad

FINITE_DIFFERENCES = ("2-point", "3-point", "cs")


# --- samples -----------------------------------------------------------------------------------------------------


class EpochOrder(NamedTuple):
    """Order of the samples in the epoch that begins with update `start`; each update uses `size` of them."""

    order: Any
    start: int
    size: int


@jitable
def batch_at(epoch_order, t):
    """Return the batch of update t; after the last batch of the epoch the first one follows."""
    steps = (epoch_order.order.shape[0] + epoch_order.size - 1) // epoch_order.size
    first = (t - epoch_order.start) % steps * epoch_order.size
    return epoch_order.order[first : first + epoch_order.size]


class Sampler:
    """Order of the samples: the batch of an update depends on the seed and on the number of the update only."""

    def __init__(self, n_samples, batch_size, replace, seed):
        self.n_samples, self.batch_size, self.replace, self.seed = n_samples, batch_size, replace, seed
        self.steps_per_epoch = -(-n_samples // batch_size)
        self.draw_order = functools.lru_cache(2)(self.draw_order)

    def draw_order(self, epoch):
        """Return the samples of an epoch in the order of their use."""
        rng = np.random.default_rng([self.seed, epoch])
        return rng.integers(self.n_samples, size=self.n_samples) if self.replace else rng.permutation(self.n_samples)

    def all_samples(self):
        """Return the numbers of all samples."""
        return np.arange(self.n_samples)

    def batch_of(self, t):
        """Return the samples of update t."""
        return batch_at(self.epoch_order(t), t)

    def epoch_order(self, t):
        """Return the order of the epoch of update t."""
        epoch = t // self.steps_per_epoch
        return EpochOrder(self.draw_order(epoch), epoch * self.steps_per_epoch, self.batch_size)

    def steps_left(self, t):
        """Return the number of updates from t to the end of its epoch."""
        return self.steps_per_epoch - t % self.steps_per_epoch


# --- records for the compiled loop -------------------------------------------------------------------------------


def write_gradient(g, gradient):
    """Copy a gradient of any shape into the vector g, or raise if it has another size."""
    gradient = np.asarray(gradient)
    if gradient.size != g.size:
        raise ValueError("jac: the gradient must have the shape of x")
    g[:] = gradient.reshape(-1)


@bind(write_gradient)
def _write_gradient_by_type(g, gradient):
    # Numba's `g[:] = gradient` formats an error message with both shapes: compiling that takes more than a second.
    if isinstance(gradient, types.Array):

        def write_array(g, gradient):
            if gradient.size != g.size:
                raise ValueError("jac: the gradient must have the shape of x")
            values = gradient.flat
            for i in range(g.size):
                g[i] = values[i]

        def write_vector(g, gradient):
            if gradient.size != g.size:
                raise ValueError("jac: the gradient must have the shape of x")
            for i in range(g.size):
                g[i] = gradient[i]

        return write_vector if gradient.ndim == 1 else write_array
    if isinstance(gradient, types.Number):
        return lambda g, gradient: write_gradient(g, (gradient,))
    if isinstance(gradient, (types.UniTuple, types.List, types.ListType)):

        def write_sequence(g, gradient):
            if len(gradient) != g.size:
                raise ValueError("jac: the gradient must have the shape of x")
            for i in range(g.size):
                g[i] = gradient[i]

        return write_sequence
    return None


class Gradient(NamedTuple):
    """A compiled gradient without a value; the value counts as zero."""

    jac: Any
    args: tuple

    def evaluate(self, x, g, t):
        write_gradient(g, self.jac(x, *self.args))
        return 0.0


class ValueAndGradient(NamedTuple):
    """A compiled function that returns value and gradient."""

    fun: Any
    args: tuple

    def evaluate(self, x, g, t):
        f, gradient = self.fun(x, *self.args)
        write_gradient(g, gradient)
        return f


class BatchGradient(NamedTuple):
    """A compiled gradient on the batch of update t."""

    jac: Any
    args: tuple
    epoch_order: Any

    def evaluate(self, x, g, t):
        write_gradient(g, self.jac(x, batch_at(self.epoch_order, t).copy(), *self.args))
        return 0.0


class BatchValueAndGradient(NamedTuple):
    """A compiled function that returns value and gradient on the batch of update t."""

    fun: Any
    args: tuple
    epoch_order: Any

    def evaluate(self, x, g, t):
        f, gradient = self.fun(x, batch_at(self.epoch_order, t).copy(), *self.args)
        write_gradient(g, gradient)
        return f


class BatchRecord(NamedTuple):
    """An objective record on the batch of update t."""

    objective: Any
    epoch_order: Any

    def evaluate(self, x, g, t):
        return value_grad(self.objective, x, g, batch_at(self.epoch_order, t).copy())


# --- functions of Python -----------------------------------------------------------------------------------------


class Objective:
    """The value and the gradient of fun, in every form of fun and jac.

    With a `sampler`, fun and jac take the sample numbers of the batch as their second argument.  Functions of the user
    get copies of x and of the batch, which they may change.

    Attributes
    ----------
    nfev, njev : int
        Evaluations of the value and of the gradient.
    knows_value : bool
        Whether each gradient comes with the value.
    is_compiled : bool
        Whether fun, or jac where it is a function, is compiled by Numba.
    """

    def __init__(self, fun, jac, args, x, bounds=None, sampler=None):
        self.args = args if isinstance(args, tuple) else (args,)
        self.bounds, self.sampler = bounds, sampler
        self.nfev = self.njev = 0
        self.is_record = hasattr(fun, "value_grad")
        if self.is_record:
            _check.no_class("fun", fun)
        if self.is_record:
            fun, jac = cast(fun, x.dtype), True
            self.kernel = compiled_for(call_value_grad, fun)
        elif not callable(fun):
            raise TypeError(f"fun: got {fun!r}; must be callable, or an objective record with the method value_grad")
        elif jac is None or jac is False:
            jac = "2-point"
        if not callable(jac) and jac is not True and not (isinstance(jac, str) and jac in FINITE_DIFFERENCES):
            raise ValueError(
                f"jac: got {jac!r}; must be callable, True, None, or one of {', '.join(FINITE_DIFFERENCES)}"
            )
        if not self.is_record:
            self._check_arguments("fun", fun)
        if callable(jac):
            self._check_arguments("jac", jac)
        self.fun, self.jac = fun, jac
        self.gradient_has_value = not callable(jac)
        self._last_value = None  # (x, value) of the last call of `value`
        self.is_compiled = self.is_record or is_compiled(fun if jac is True else jac)

    def value(self, x):
        """Return the value at x, over all samples if there is a sampler; the last value is kept for the same x."""
        if self._last_value is None or not self.arrays_equal(x, self._last_value[0]):
            self._last_value = self.copy_iterate(x), self._evaluate(x)
        return self._last_value[1]

    def _evaluate(self, x):
        self.nfev += 1
        batch = self._choose_batch(None)
        if self.is_record:
            return self._call_record(x, np.empty_like(x), batch)
        f = self.fun(self.copy_iterate(x), *batch, *self.args)
        return self.to_number(_check_pair(f)[0] if self.jac is True else f)

    def gradient(self, x, state=None):
        """Return (value or None, gradient) at x, on the batch of the next update of `state` or over all samples.

        The value is as fun returned it; `to_number` converts it.
        """
        self.njev += 1
        batch = self._choose_batch(state)
        if self.is_record:
            self.nfev += 1
            g = np.empty_like(x)
            return self._call_record(x, g, batch), g
        if self.jac is True:
            self.nfev += 1
            f, g = _check_pair(self.fun(self.copy_iterate(x), *batch, *self.args))
            return f, self.as_gradient(g, x)
        if callable(self.jac):
            return None, self.as_gradient(self.jac(self.copy_iterate(x), *batch, *self.args), x)
        return self._finite_differences(x, batch)

    def _check_arguments(self, name, function):
        """Raise TypeError if a function cannot take x, the samples if there are any, and `args`."""
        try:
            signature = inspect.signature(getattr(function, "py_func", function))
        except (TypeError, ValueError):  # some built-in functions have none
            return
        names = ["x"] if self.sampler is None else ["x", "the samples of the batch"]
        try:
            signature.bind(*names, *self.args)
        except TypeError as error:
            names += [f"args of length {len(self.args)}"]
            raise TypeError(
                f"{name}: {getattr(function, '__name__', 'it')}{signature} cannot be called with "
                f"{', '.join(names[:-1])} and {names[-1]}: {error}; pass the arguments after {names[-2]} as args=(…)"
            ) from None

    arrays_equal: Any = staticmethod(np.array_equal)

    @staticmethod
    def copy_iterate(x):
        """Return a copy of x for a function of the user."""
        return x.copy()

    @staticmethod
    def to_number(f):
        """Convert a value to a float; an array of one element counts as a number, as in SciPy."""
        array = np.asarray(f)
        if array.size == 1 and array.dtype.kind in "fiubO":
            with contextlib.suppress(TypeError, ValueError):
                return float(array.item())
        raise TypeError(f"fun: got a {type(f).__name__} of shape {array.shape}; must return one real number")

    def as_gradient(self, g, x):
        """Return a dense gradient as an array of the shape of x, and a sparse one unchanged."""
        if _is_indices_and_values(g) or (not isinstance(g, np.ndarray) and scipy.sparse.issparse(g)):
            return g
        if g is None:
            raise TypeError(f"jac: got None; must return the gradient, real numbers of shape {x.shape}")
        try:
            array = np.asarray(g)
            array = array.astype(np.float64) if array.dtype.kind in "Ob" else array
        except (TypeError, ValueError):
            raise TypeError(f"jac: got {_check.shorten_repr(g)}; must be real numbers of shape {x.shape}") from None
        if array.size != x.size:
            raise ValueError(f"jac: got a gradient of shape {array.shape}; must have shape {x.shape}")
        return array.reshape(x.shape)

    def as_record(self, t):
        """Return the objective as a record for the compiled loop, valid for `sampler.steps_left(t)` updates from t."""
        epoch_order = () if self.sampler is None else (self.sampler.epoch_order(t),)
        if self.is_record:
            return BatchRecord(self.fun, *epoch_order) if epoch_order else self.fun
        if self.jac is True:
            return (BatchValueAndGradient if epoch_order else ValueAndGradient)(self.fun, self.args, *epoch_order)
        return (BatchGradient if epoch_order else Gradient)(self.jac, self.args, *epoch_order)

    def _choose_batch(self, state):
        """Return the samples as a tuple of one array, or () without a sampler."""
        if self.sampler is None:
            return ()
        return (self.sampler.all_samples() if state is None else self.sampler.batch_of(state.micro).copy(),)

    def _call_record(self, x, g, batch):
        """Return the value of an objective record and write its gradient into g; compiled if Numba can compile it."""
        x = x.copy()
        try:
            return self.kernel(self.fun, batch, x, g)
        except NumbaError:
            # no warning here: `make_stepper` warns if Numba cannot compile the record
            self.kernel = call_value_grad.py_func
            return self.kernel(self.fun, batch, x, g)

    def _finite_differences(self, x, batch):
        """Return (value, gradient) at x, the gradient by SciPy's finite differences within the bounds."""
        from scipy.optimize._numdiff import approx_derivative

        def fun(z):
            self.nfev += 1
            f = self.fun(z.copy(), *batch, *self.args)
            if np.iscomplexobj(z):
                return np.asarray(f).reshape(-1).copy()
            return np.atleast_1d(self.to_number(f))

        def fun_of_free(z):
            point = x.astype(z.dtype)
            point[is_free] = z
            return fun(point)

        f, g, is_free, limits = fun(x), np.zeros_like(x), np.full(x.size, True), {}
        if self.bounds is not None:  # a coordinate whose bounds are equal has no room for a difference
            lower, upper = self.bounds
            is_free = lower < upper
            limits = {"bounds": (lower[is_free], upper[is_free])}
        if not np.isfinite(f[0]):
            g[is_free] = np.nan
        elif is_free.any():
            g[is_free] = approx_derivative(fun_of_free, x[is_free], method=self.jac, f0=f, **limits).reshape(-1)
        return float(f[0]), g


def _is_indices_and_values(g):
    """Return whether a gradient is a pair (indices, values); a tuple of numbers is a dense gradient."""
    if not isinstance(g, tuple):
        return False
    has_vectors = any(np.ndim(part) > 0 for part in g)
    return has_vectors and not all(_is_single_float(part) for part in g)


def _is_single_float(value):
    """Return whether a value is a float or an array of one float."""
    if not isinstance(value, (float, np.floating, np.ndarray)):
        return False
    return np.size(value) == 1 and np.asarray(value).dtype.kind == "f"


def _check_pair(result):
    """Return the (value, gradient) of a function with jac=True, or raise."""
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise ValueError(f"fun: with jac=True it must return (value, gradient); got {type(result).__name__}")
    return result


def add_bounds(penalty, bounds):
    """Return one penalty record for a penalty, or None, and the bounds (lower, upper)."""
    if penalty is None or isinstance(penalty, (NoPenalty, Box)):
        return Box(*bounds)
    return Bounded(penalty, *bounds)
