"""Minimisers with the interface of `scipy.optimize.minimize`.

Each one prepares x and the state, then the objective, then runs the loop.  `loop` or `device_loop` is chosen once, in
`_prepare_start`.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from .. import _check
from ..cuda.arrays import is_device_array
from ..optim.options import check_domain_and_penalty, check_group_penalty, freeze_arrays
from ..optim.state import State, init
from ..records.gates import may_skip_steps
from ..records.group_penalties import Grouped
from ..records.penalties import Bounded, Box
from ..records.rules import Adadelta
from . import device_loop, loop
from .loop_kernel import RUNNING
from .objectives import Sampler, add_bounds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy as np
    import numpy.typing as npt
    from scipy.optimize import Bounds, OptimizeResult

_OWN_OPTIONS = (
    "average", "domain", "duplicates", "gtol", "ledger", "lr", "lr_scale", "maxiter", "penalty", "rule", "sparse_decay",
    "state", "transforms",
)  # fmt: skip
_DEFAULT_MAXITER = 10_000
_SCIPY_EXTRAS = ("hess", "hessp", "constraints", "tol", "disp")


def minimize_adagrad(
    fun: Callable[..., Any] | tuple[Any, ...],
    x0: npt.ArrayLike,
    args: Any = (),
    jac: Callable[..., Any] | bool | str | None = None,
    bounds: Bounds | Iterable[Sequence[float | None]] | None = None,
    callback: Callable[..., Any] | None = None,
    *,
    lr: npt.ArrayLike | tuple[Any, ...] | Callable[[int], Any] | None = None,
    rule: tuple[Any, ...] | None = None,
    transforms: Sequence[tuple[Any, ...]] | None = None,
    penalty: tuple[Any, ...] | None = None,
    average: tuple[Any, ...] | None = None,
    lr_scale: npt.ArrayLike | None = None,
    duplicates: str | None = None,
    sparse_decay: str | None = None,
    domain: tuple[Any, ...] | None = None,
    ledger: bool | None = None,
    maxiter: int | None = _DEFAULT_MAXITER,
    gtol: float = 1e-5,
    state: State | None = None,
    **scipy_extras: Any,
) -> OptimizeResult:
    """Minimise a function of several variables with Adagrad.

    Also usable as ``scipy.optimize.minimize(fun, x0, method=minimize_adagrad, options={...})``.

    Parameters
    ----------
    fun : callable or objective record
        ``fun(x, *args) -> float`` with x of shape (n,).  The whole loop is compiled if fun and jac are compiled by
        Numba, or if fun is a record with the method ``value_grad(x, g) -> float``, which writes the gradient into g.
    x0 : array_like of shape (n,)
        The start point.  float32 is computed in float32; integers become float64; complex numbers raise an error.
        A device array stays on its device: fun and jac then take and return device arrays, and jac is required.
    args : tuple, optional
        Further arguments of fun and jac.
    jac : callable, bool or {"2-point", "3-point", "cs"}, optional
        ``jac(x, *args) -> g``; True if fun returns ``(f, g)``; else SciPy's finite differences, "2-point" by
        default.  g is dense with n numbers in any shape, a ``scipy.sparse`` row or column, or a pair
        ``(indices, values)``.  A sparse gradient updates only the listed coordinates; duplicate indices are summed.
    bounds : sequence of (lower, upper) or scipy.optimize.Bounds, optional
        None or an infinity means no bound.  Every iterate is within the bounds.  Equal bounds keep a coordinate
        fixed; finite differences leave it out, and its entry of the gradient is 0.
    callback : callable, optional
        ``callback(xk)`` or ``callback(intermediate_result=…)`` after each iteration.  It stops the run by raising
        StopIteration.
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
        As in `init`; ``sparse_decay="lazy"`` works with `update` only.
    domain : domain record, optional
        `L1Ball`, `L2Ball`, `Simplex` or `Box`, without a penalty or bounds.  x0 and each iterate are projected onto it,
        the iterates in the metric of the preconditioner (see `init`).
    ledger : bool, default False
        Keep sums over the iterations in ``res.state.ledger``, from which the regret and its bounds follow (see
        `init`).  A continued state keeps its ledger; False drops it.  The loop then runs in Python.
    maxiter : int, default 10000
        Maximum number of iterations of this call.
    gtol : float, default 1e-5
        Stop when the largest entry of the gradient is at most gtol.  With a penalty or bounds it is the largest entry
        of ``x - prox(x - g)``, with a domain that of ``x - project(x - g)``.  0 switches the test off.
    state : State, optional
        ``res.state`` of an earlier result, to continue it: 100 and then 100 iterations give bit for bit the result
        of 200.  Options that are not given are those of the state.
    **scipy_extras
        ``tol`` is another name of gtol, and ``disp=True`` prints the message at the end.  ``hess``, ``hessp`` and
        ``constraints`` are accepted for scipy.optimize.minimize; only bounds are supported.

    Returns
    -------
    scipy.optimize.OptimizeResult
        ``x``; ``fun``, the value with the penalty; ``jac``, the gradient of fun without it; ``nit``, ``nfev``,
        ``njev``; ``success``, ``status``, ``message``; and ``state``.  Status 0: converged; 1: maxiter reached;
        2: a value or gradient was not finite, x is the last good iterate; 99: the callback stopped the run.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, shape or range.

    Notes
    -----
    If jac is a function, fun is evaluated at the start, at the end, and for callbacks that take an
    ``intermediate_result``.  It is also evaluated after 1, 2, 4, … and then every 1024 or more iterations, to check
    that it is finite.  Its last value is not computed again at the same x.

    A record with ``value_grad(x, g)`` is faster than a compiled jac if n is small, because it allocates no gradient.

    The default learning rate is larger than is usual in deep learning.  On ten classic problems, 10,000 steps reach
    the best or second-best value with rates of 0.5 to 1, and almost never with 0.01.

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
    gtol = _check_scipy_extras(scipy_extras, gtol)
    maxiter = _DEFAULT_MAXITER if maxiter is None else _check.iterations("maxiter", maxiter)
    _check.in_interval("gtol", gtol, "[0, inf)")
    options = {"lr": lr, "rule": rule, "transforms": transforms, "average": average, "lr_scale": lr_scale}
    options |= {"duplicates": duplicates, "sparse_decay": sparse_decay, "domain": domain, "ledger": ledger}
    backend, x, limits, state = _prepare_start(x0, bounds, penalty, state, options)
    objective = backend.Objective(fun, jac, args, x, limits)
    run = backend.MinimizeLoop(objective, x, state, gtol, callback)
    return run.make_result(run.run(maxiter), scipy_extras.get("disp", False))


def minimize_adadelta(
    fun: Callable[..., Any] | tuple[Any, ...],
    x0: npt.ArrayLike,
    args: Any = (),
    jac: Callable[..., Any] | bool | str | None = None,
    bounds: Bounds | Iterable[Sequence[float | None]] | None = None,
    callback: Callable[..., Any] | None = None,
    *,
    lr: npt.ArrayLike | tuple[Any, ...] | Callable[[int], Any] | None = None,
    rule: tuple[Any, ...] | None = None,
    **options: Any,
) -> OptimizeResult:
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
    Adadelta adapts its step length but begins with steps of about ``sqrt(eps)``.  It approaches a distant minimum
    slowly, and does not converge unless the learning rate decreases.

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
        rule = Adadelta() if rule is None else rule  # type: ignore[call-arg]
    return minimize_adagrad(fun, x0, args, jac, bounds, callback, lr=lr, rule=rule, **options)


def minimize_stochastic(
    fun: Callable[..., Any] | tuple[Any, ...],
    x0: npt.ArrayLike,
    n_samples: int,
    args: Any = (),
    jac: Callable[..., Any] | bool | str | None = None,
    bounds: Bounds | Iterable[Sequence[float | None]] | None = None,
    callback: Callable[..., Any] | None = None,
    *,
    lr: npt.ArrayLike | tuple[Any, ...] | Callable[[int], Any] | None = None,
    rule: tuple[Any, ...] | None = None,
    transforms: Sequence[tuple[Any, ...]] | None = None,
    penalty: tuple[Any, ...] | None = None,
    average: tuple[Any, ...] | None = None,
    domain: tuple[Any, ...] | None = None,
    ledger: bool | None = None,
    batch_size: int = 1,
    epochs: int = 1,
    maxiter: int | None = None,
    rng: int | np.random.Generator | None = None,
    replace: bool = False,
    state: State | None = None,
) -> OptimizeResult:
    """Minimise a mean over samples with Adagrad, with one batch of samples for each update.

    Parameters
    ----------
    fun : callable or objective record
        ``fun(x, batch, *args) -> float``, the mean over the samples in `batch`, an int64 array of sample numbers.
        The whole loop is compiled if fun and jac are compiled by Numba, or if fun is a record with the method
        ``value_grad(x, g, batch) -> float``, which writes the gradient into g.
    x0 : array_like of shape (n,)
    n_samples : int
        The samples have the numbers 0 to n_samples - 1.
    args, jac, bounds, callback, lr, rule, transforms, penalty, average, domain, ledger, state
        As in `minimize_adagrad`; jac is ``jac(x, batch, *args)``.
    batch_size : int, default 1
        Samples for each update; the last batch of an epoch may be smaller.
    epochs : int, default 1
        Number of epochs.
    maxiter : int, optional
        Maximum number of updates; the run may stop within an epoch.  A run ends after `epochs` epochs even if maxiter
        is larger; the message then says so.
    rng : int or numpy.random.Generator, optional
        Seed, or generator of the seed, of the sample order.  The same seed gives the same run, bit for bit.
    replace : bool, default False
        Draw with replacement instead of permuting the samples in each epoch.

    Returns
    -------
    scipy.optimize.OptimizeResult
        As `minimize_adagrad`; ``fun`` and ``jac`` are over all samples.  Status 0: all epochs are done.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, shape or range; the message names it, its value and the remedy.

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
    n_samples = _check.positive_count("n_samples", n_samples)
    batch_size = _check.positive_count("batch_size", batch_size)
    _check.count("epochs", epochs)
    _check.boolean("replace", replace)
    if maxiter is not None:
        maxiter = _check.iterations("maxiter", maxiter)
    options = {"lr": lr, "rule": rule, "transforms": transforms, "average": average}
    options |= {"domain": domain, "ledger": ledger}
    backend, x, limits, state = _prepare_start(x0, bounds, penalty, state, options)
    if state.seed is None or rng is not None:
        state.seed = _check.resolve_seed(rng)
    sampler = Sampler(n_samples, batch_size, replace, state.seed)
    # An epoch that an earlier run has begun counts as the first.
    n_remaining = epochs * sampler.steps_per_epoch - state.micro % sampler.steps_per_epoch
    n_steps = n_remaining if maxiter is None else min(n_remaining, maxiter)
    objective = backend.Objective(fun, jac, args, x, limits, sampler)
    run = backend.MinimizeLoop(objective, x, state, 0.0, callback)
    status = run.run(n_steps)
    if status != RUNNING or n_steps < n_remaining:
        return run.make_result(status)
    note = ""
    if maxiter is not None and maxiter > n_steps:
        note = f" epochs={epochs} ended after {n_steps} of maxiter={maxiter} iterations; increase epochs to continue."
    return run.make_result(loop.ALL_EPOCHS_DONE, note=note)


# --- checks ------------------------------------------------------------------------------------------------------


def _prepare_start(x0, bounds, penalty, state, options):
    """Check the arguments that the minimisers share; return (backend, x, limits, state).

    `backend` is the module `loop` or `device_loop`, x a copy of the start point that satisfies the bounds, `limits`
    (lower, upper) or None, and `state` a new state.
    """
    options = {name: value for name, value in options.items() if value is not None}
    if state is not None and not isinstance(state, State):
        raise TypeError(f"state: got {type(state).__name__}; must be the state of an earlier result, res.state")
    if state is not None:
        state = _continue_ledger(state, options.pop("ledger", None))
    _check_step_options(options if state is None else state.options._asdict() | options)
    backend = device_loop if is_device_array(x0) else loop
    x, limits = backend.start_point(x0, bounds)
    if penalty is not None:
        _check.record_methods("penalty", penalty, ("value", "prox"), "L1(1e-4)")
    elif state is not None:
        penalty = state.penalty
        if limits is not None and isinstance(penalty, Bounded):
            penalty = penalty.penalty  # without the bounds of the earlier run
    if isinstance(penalty, Grouped):
        raise ValueError("penalty: the minimisers do not support Grouped; use L1, or init and update with Grouped")
    check_group_penalty(penalty, "merge", [("x0", x)])
    domain = options.get("domain", None if state is None else state.domain)
    if domain is not None:
        check_domain_and_penalty(domain, penalty)
        if limits is not None:
            raise ValueError(
                f"domain: got {type(domain).__name__} and bounds; leave one of them out, or add a penalty to fun"
            )
        if isinstance(domain, Box):
            penalty = options.pop("domain")
    if limits is not None:
        penalty = add_bounds(penalty, limits)
    if penalty is not None:
        penalty = freeze_arrays(penalty)
        backend.project_start(x, penalty)
        options["penalty"] = penalty
    if state is None:
        state = init(x, **options)
    else:
        x, state = backend.resume(x, state, options)
    if state.domain is not None:
        loop.project_onto_domain(x, state.domain)
    return backend, x, limits, state


def _continue_ledger(state, ledger):
    """Return a state to continue, without its ledger if `ledger` is False; raise for True if it has none."""
    if ledger is None:
        return state
    _check.boolean("ledger", ledger)
    if ledger and state.ledger is None:
        raise ValueError(
            "ledger: got True, but the state has none of its first iterations; start anew with ledger=True"
        )
    if not ledger and state.ledger is not None:
        state = state.copy()
        state.ledger = None
        state._refresh()
    return state


def _check_step_options(options):
    """Raise for options with which x or the gradient is incomplete after a step: the loop checks both."""
    if options.get("sparse_decay") == "lazy":
        raise ValueError("sparse_decay: 'lazy' delays the decay of rows of x; minimise with 'touched' or 'whole'")
    for item in options.get("transforms", ()):
        if may_skip_steps(item):
            raise ValueError(
                f"transforms: {type(item).__name__} works with update only; a minimiser ends at a gradient that is "
                "not finite, with the last good x"
            )


def _check_scipy_extras(extras, gtol):
    """Check the arguments that only scipy.optimize.minimize passes; return gtol."""
    for name in ("options", "method"):
        if name in extras:
            raise TypeError(
                f"{name}: is an argument of scipy.optimize.minimize(…, method=minimize_adagrad, options={{…}}); give "
                "minimize_adagrad the options themselves, such as maxiter=100"
            )
    _check.check_known_options("minimize_adagrad", extras, (*_OWN_OPTIONS, *_SCIPY_EXTRAS))
    _check.no_constraints(extras.get("constraints"))
    for unused in ("hess", "hessp"):
        if extras.get(unused) is not None:
            message = f"minimize_adagrad does not use {unused}: it needs gradients only"
            warnings.warn(message, RuntimeWarning, stacklevel=3)
    return gtol if extras.get("tol") is None else extras["tol"]
