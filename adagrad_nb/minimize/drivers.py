"""minimize_adagrad: the contract of scipy.optimize.minimize around Adagrad."""

import functools
import warnings

import numpy as np

from .. import _check
from .._check import resolve_seed
from ..compiler.jit import cast, compiled_for
from ..cuda.arrays import array_spec, copy, is_device_array
from ..optim.kernels.reductions import compiled_penalty_value, compiled_project_onto_domain
from ..optim.state import State, init
from ..records.gates import may_skip_steps
from ..records.penalties import Bounded
from ..records.rules import Adadelta
from . import device_loop
from .device_loop import DeviceMinimizeLoop, DeviceObjective
from .loop import STOPPED, MinimizeLoop
from .loop_kernel import CONVERGED, NOT_FINITE, RUNNING
from .objectives import Objective, combine_bounds

_STATUS = {CONVERGED: 0, RUNNING: 1, NOT_FINITE: 2, STOPPED: STOPPED}
_MESSAGES = {
    CONVERGED: "Optimization terminated successfully: no entry of the gradient exceeds gtol.",
    RUNNING: "Maximum number of iterations has been exceeded.",
    NOT_FINITE: "A value or gradient that is not finite was met; x is the last iterate where both are finite.",
    STOPPED: "`callback` raised `StopIteration`.",
}
_SCIPY_EXTRAS = ("hess", "hessp", "constraints", "tol", "disp")


def minimize_adagrad(
    fun, x0, args=(), jac=None, bounds=None, callback=None, *, lr=None, rule=None, transforms=None, penalty=None,
    average=None, lr_scale=None, duplicates=None, sparse_decay=None, maxiter=10_000, gtol=1e-5, state=None,
    **scipy_extras,
):  # fmt: skip
    """Minimise a function of several variables with Adagrad.

    Also usable as ``scipy.optimize.minimize(fun, x0, method=minimize_adagrad, options={...})``.

    Parameters
    ----------
    fun : callable or objective record
        ``fun(x, *args) -> float`` with x of shape (n,).  If fun and jac are compiled by Numba, or fun is a record
        with the method ``value_grad(x, g) -> float`` that writes the gradient into g, the whole loop is compiled.
    x0 : array_like of shape (n,)
        The start.  float32 is computed in float32; integers become float64; complex numbers are refused.  A device
        array stays on its device: fun and jac, which must be given, get and return device arrays.
    args : tuple, optional
        Further arguments of fun and jac.
    jac : callable, bool or {"2-point", "3-point", "cs"}, optional
        ``jac(x, *args) -> g``; True if fun returns ``(f, g)``; else SciPy's finite differences, "2-point" by
        default.  g is dense of shape (n,), a ``scipy.sparse`` row or column, or a pair ``(indices, values)``;
        of a sparse gradient only the listed coordinates move, and what is listed twice is summed.
    bounds : sequence of (lower, upper) or scipy.optimize.Bounds, optional
        None or an infinity means no bound.  Every iterate is within.
    callback : callable, optional
        ``callback(xk)`` or ``callback(intermediate_result=…)`` after each iteration; a StopIteration that it
        raises ends the run.
    lr : float, ndarray of shape (n,), schedule record or callable of t, default 0.5
        Learning rate of update t = 0, 1, 2, …
    rule : rule record, default Adagrad()
    transforms : tuple of transform records, default ()
        Applied to the gradient in this order.
    penalty : penalty record, optional
        Added to fun and handled by its proximal step.
    average : averaging record, optional
        Report a running average of the iterates.
    lr_scale, duplicates, sparse_decay : optional
        As in `init`; ``sparse_decay="lazy"`` is for `update` alone.
    maxiter : int, default 10000
        Iterations of this call.
    gtol : float, default 1e-5
        Stop when the largest entry of the gradient, or with a penalty or bounds of ``x - prox(x - g)``, is at most
        gtol.  0 switches the test off.
    state : State, optional
        ``res.state`` of an earlier run, to go on with: 100 and 100 iterations more give bit for bit what 200 give.
        Options that are not given are the state's.
    **scipy_extras
        ``tol`` is another name of gtol and ``disp`` prints the message at the end; ``hess``, ``hessp`` and
        ``constraints`` are there for scipy.optimize.minimize, but only bounds are supported.

    Returns
    -------
    scipy.optimize.OptimizeResult
        ``x``; ``fun``, the value with the penalty; ``jac``, the gradient of fun without it; ``nit``, ``nfev``,
        ``njev``; ``success``, ``status``, ``message``; and ``state``.  Status 0: converged; 1: maxiter reached;
        2: a value or gradient was not finite, x is the last good iterate; 99: the callback stopped the run.

    Raises
    ------
    TypeError, ValueError
        For arguments of the wrong kind, shape or range.

    Notes
    -----
    fun is evaluated at the start, at the end, for callbacks that take an ``intermediate_result``, and after 1, 2,
    4, … and then every 1024 or more iterations, to see whether it is finite.

    The default rate is larger than the habit of deep learning: on ten classic problems 10,000 steps come to the
    best or second-best value with rates of 0.5 to 1, and almost nowhere with 0.01.

    References
    ----------
    .. [1] J. Duchi, E. Hazan, Y. Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
       Optimization", JMLR 12 (2011) 2121-2159.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.optimize import rosen, rosen_der
    >>> from adagrad_nb import minimize_adagrad
    >>> res = minimize_adagrad(rosen, [-1.2, 1.0], jac=rosen_der, lr=1.0, maxiter=20_000)
    >>> bool(rosen([-1.2, 1.0]) > 20), bool(res.fun < 1e-6)
    (True, True)
    """
    gtol = _check_scipy_extras("minimize_adagrad", scipy_extras, gtol)
    given = {"lr": lr, "rule": rule, "transforms": transforms, "average": average, "lr_scale": lr_scale}
    given |= {"duplicates": duplicates, "sparse_decay": sparse_decay}
    x, state, limits = check_arguments(x0, bounds, penalty, state, given)
    objective = (DeviceObjective if is_device_array(x) else Objective)(fun, jac, args, x, limits)
    return run_minimizer(objective, x, state, maxiter, gtol, callback, scipy_extras.get("disp", False))


def minimize_adadelta(fun, x0, args=(), jac=None, bounds=None, callback=None, *, lr=None, rule=None, **options):
    """Minimise a function of several variables with Adadelta.

    Parameters
    ----------
    fun, x0, args, jac, bounds, callback, **options
        As in `minimize_adagrad`.
    lr : float, ndarray of shape (n,), schedule record or callable of t, default 1.0
    rule : rule record, default Adadelta()

    Returns
    -------
    scipy.optimize.OptimizeResult
        As `minimize_adagrad`.

    Raises
    ------
    TypeError, ValueError
        As `minimize_adagrad`.

    Notes
    -----
    Adadelta finds its own step length but begins with steps of about ``sqrt(eps)``; it is slow to come near a minimum
    far away, and does not settle unless the rate falls.

    References
    ----------
    .. [1] M. Zeiler, "ADADELTA: An Adaptive Learning Rate Method", arXiv:1212.5701 (2012).

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import minimize_adadelta
    >>> res = minimize_adadelta(lambda x: x @ x, np.array([3.0, -2.0]), jac=lambda x: 2 * x, maxiter=3000)
    >>> bool(res.fun < 0.1)
    True
    """
    if options.get("state") is None:
        lr = 1.0 if lr is None else lr
        rule = Adadelta() if rule is None else rule
    return minimize_adagrad(fun, x0, args, jac, bounds, callback, lr=lr, rule=rule, **options)


def check_arguments(x0, bounds, penalty, state, given):
    """Check what every minimiser takes; return the start, a state of its own, and the bounds."""
    on_device = is_device_array(x0)
    x = device_loop.start_point(x0) if on_device else _check.start_point(x0)
    n, dtype = (array_spec(x).size, array_spec(x).dtype) if on_device else (x.size, x.dtype)
    limits = _check.scipy_bounds(bounds, n, dtype)
    given = {name: value for name, value in given.items() if value is not None}
    if state is not None and not isinstance(state, State):
        raise TypeError(f"state: got {type(state).__name__}; must be the state of an earlier result, res.state")
    if penalty is None and state is not None:
        penalty = state.penalty
        if limits is not None and isinstance(penalty, Bounded):
            penalty = penalty.penalty
    if penalty is not None:
        _check.record_methods("penalty", penalty, ("value", "prox"), "L1(1e-4)")
    penalty = combine_bounds(penalty, limits)
    if penalty is not None and not on_device:
        _project_start(x, penalty)
    _check_minimizer_options(given)
    if state is None:
        state = init(x, penalty=penalty, **given)
    else:
        mean = state.leaves[0].mean
        equal = device_loop.arrays_equal if on_device else np.array_equal
        if mean is not None and state.iterate is not None and equal(x, mean):
            # x0 is the average that was reported; the run goes on from the iterate behind it
            x = copy_array(state.iterate)
        state = state._with_options(x, penalty=penalty, **given)
    if penalty is not None and on_device:
        device_loop.project_start(x, state)
    return x, state, limits


def _check_minimizer_options(given):
    """A minimiser looks at x and its gradient after each step: both must be whole."""
    if given.get("sparse_decay") == "lazy":
        raise ValueError("sparse_decay: 'lazy' leaves rows of x behind; minimise with 'touched' or 'whole'")
    for item in given.get("transforms", ()):
        if may_skip_steps(item):
            raise ValueError(
                f"transforms: {type(item).__name__} is for steps by hand, with update; a minimiser ends at a gradient "
                "that is not finite, with the last good x"
            )


def _project_start(x, penalty):
    """Move x to the nearest point where the penalty is finite, such as within bounds."""
    _check.penalty_shape(penalty, x.size)
    penalty = cast(penalty, x.dtype)
    if not np.isfinite(compiled_for(compiled_penalty_value, penalty)(penalty, x)):
        compiled_for(compiled_project_onto_domain, penalty)(penalty, x)


def copy_array(x):
    """An array with the content of x, where x is."""
    return copy(x) if is_device_array(x) else np.copy(x)


def _check_scipy_extras(name, extras, gtol):
    """Check SciPy's arguments; return gtol."""
    _check.known_options(name, extras, _SCIPY_EXTRAS)
    _check.no_constraints(extras.get("constraints"))
    for unused in ("hess", "hessp"):
        if extras.get(unused) is not None:
            warnings.warn(f"{name} does not use {unused}: it needs gradients only", RuntimeWarning, stacklevel=3)
    return gtol if extras.get("tol") is None else extras["tol"]


def run_minimizer(objective, x, state, maxiter, gtol, callback, disp, is_full_run=False):
    """Go, and say how it went; `is_full_run` says that maxiter is the aim, not a limit."""
    from scipy.optimize import OptimizeResult  # here, because it doubles the time that the package takes to import

    _check.count("maxiter", maxiter)
    _check.in_interval("gtol", gtol, "[0, inf)")
    loop = (DeviceMinimizeLoop if is_device_array(x) else MinimizeLoop)(objective, x, state, gtol, callback)
    loop_status = loop.run(maxiter)
    is_complete = loop_status == RUNNING and is_full_run
    message = "All epochs are done." if is_complete else _MESSAGES[loop_status]
    if state.average is not None:
        state.iterate = copy_array(x)
    result = OptimizeResult(
        x=loop.copy_reported(), fun=loop.f, jac=loop.g, nit=loop.nit, nfev=objective.nfev,
        njev=objective.njev, success=is_complete or loop_status == CONVERGED,
        status=0 if is_complete else _STATUS[loop_status], message=message, state=state,
    )  # fmt: skip
    if disp:
        print(f"{message}\n  value {result.fun:.6g} after {result.nit} iterations")
    return result


# --- minimize_stochastic ---------------------------------------------------------------------------------------------


class Sampler:
    """Which samples each update sees; a function of the seed and the number of the update alone."""

    def __init__(self, n_samples, batch_size, replace, seed):
        self.n, self.size, self.replace, self.seed = n_samples, batch_size, replace, seed
        self.steps_per_epoch = -(-n_samples // batch_size)
        self.order_samples = functools.lru_cache(2)(self.order_samples)

    def order_samples(self, epoch):
        """The samples of an epoch in the order of their use."""
        rng = np.random.default_rng([self.seed, epoch])
        return rng.integers(self.n, size=self.n) if self.replace else rng.permutation(self.n)

    def all_samples(self):
        """All sample numbers."""
        return np.arange(self.n)

    def batch(self, t):
        """The samples of update t."""
        order, start, size = self.epoch_order(t)
        first = (t - start) * size
        return order[first : first + size]

    def epoch_order(self, t):
        """The order of the epoch of update t, its first update, and the batch size."""
        epoch = t // self.steps_per_epoch
        return self.order_samples(epoch), epoch * self.steps_per_epoch, self.size

    def steps_left(self, t):
        """Updates until the epoch of update t ends."""
        return self.steps_per_epoch - t % self.steps_per_epoch


def minimize_stochastic(
    fun, x0, n_samples, args=(), jac=None, bounds=None, callback=None, *, lr=None, rule=None, transforms=None,
    penalty=None, average=None, batch_size=1, epochs=1, maxiter=None, rng=None, replace=False, state=None,
):  # fmt: skip
    """Minimise a mean over samples with Adagrad, one batch of samples for each update.

    Parameters
    ----------
    fun : callable or objective record
        ``fun(x, batch, *args) -> float``, the mean over the samples whose numbers, an int64 array, are in `batch`.
        If fun and jac are compiled by Numba, or fun is a record with the method
        ``value_grad(x, g, batch) -> float`` that writes the gradient into g, the whole loop is compiled.
    x0 : array_like of shape (n,)
    n_samples : int
        Samples have the numbers 0 to n_samples - 1.
    args, jac, bounds, callback, lr, rule, transforms, penalty, average, state
        As in `minimize_adagrad`; jac is ``jac(x, batch, *args)``.
    batch_size : int, default 1
        Samples for each update; the last batch of an epoch may be smaller.
    epochs : int, default 1
        Passes over the samples.
    maxiter : int, optional
        Stop after so many updates, even within an epoch.
    rng : int or numpy.random.Generator, optional
        Where the order of the samples comes from.  The same seed gives the same run, bit for bit.
    replace : bool, default False
        Draw with replacement instead of permuting the samples in each epoch.

    Returns
    -------
    scipy.optimize.OptimizeResult
        As `minimize_adagrad`; ``fun`` and ``jac`` are over all samples.  Status 0: all epochs are done.

    Raises
    ------
    TypeError, ValueError
        For options that are not as said above; the message names the option, what it got and what would do.

    References
    ----------
    .. [1] J. Duchi, E. Hazan, Y. Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
       Optimization", JMLR 12 (2011) 2121-2159.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import minimize_stochastic
    >>> A = np.random.default_rng(0).normal(size=(200, 3))
    >>> b = A @ [1.0, -2.0, 3.0]
    >>> def fun(x, batch):
    ...     return 0.5 * np.mean((A[batch] @ x - b[batch]) ** 2)
    >>> def jac(x, batch):
    ...     return A[batch].T @ (A[batch] @ x - b[batch]) / len(batch)
    >>> res = minimize_stochastic(fun, np.zeros(3), 200, jac=jac, batch_size=10, epochs=20, rng=0)
    >>> bool(fun(np.zeros(3), np.arange(200)) > 5), bool(res.fun < 1e-3)
    (True, True)
    """
    _check.positive_count("n_samples", n_samples)
    _check.positive_count("batch_size", batch_size)
    _check.count("epochs", epochs)
    _check.boolean("replace", replace)
    given = {"lr": lr, "rule": rule, "transforms": transforms, "average": average}
    x, state, limits = check_arguments(x0, bounds, penalty, state, given)
    if state.seed is None or rng is not None:
        state.seed = resolve_seed(rng)
    sampler = Sampler(int(n_samples), int(batch_size), replace, state.seed)
    # Going on from within an epoch, that epoch counts as the first.
    n_remaining = epochs * sampler.steps_per_epoch - state.micro % sampler.steps_per_epoch
    steps = n_remaining if maxiter is None else min(n_remaining, _check.count("maxiter", maxiter))
    objective = (DeviceObjective if is_device_array(x) else Objective)(fun, jac, args, x, limits, sampler)
    return run_minimizer(objective, x, state, steps, 0.0, callback, False, is_full_run=steps == n_remaining)
