"""minimize_stochastic: means over samples, a batch of them for each update."""

import functools

import numpy as np

from . import _check
from ._device.device import is_device
from ._device.device_run import DeviceObjective
from ._runs.objectives import Objective
from .optimize import prepare, run


class Sampler:
    """Which samples each update sees; a function of the seed and the number of the update alone."""

    def __init__(self, n_samples, batch_size, replace, seed):
        self.n, self.size, self.replace, self.seed = n_samples, batch_size, replace, seed
        self.steps = -(-n_samples // batch_size)
        self.order = functools.lru_cache(2)(self.order)

    def order(self, epoch):
        """The samples of an epoch in the order of their use."""
        rng = np.random.default_rng([self.seed, epoch])
        return rng.integers(self.n, size=self.n) if self.replace else rng.permutation(self.n)

    def everything(self):
        """All sample numbers."""
        return np.arange(self.n)

    def batch(self, t):
        """The samples of update t."""
        order, start, size = self.window(t)
        first = (t - start) * size
        return order[first : first + size]

    def window(self, t):
        """The order of the epoch of update t, its first update, and the batch size."""
        epoch = t // self.steps
        return self.order(epoch), epoch * self.steps, self.size

    def steps_left(self, t):
        """Updates until the epoch of update t ends."""
        return self.steps - t % self.steps


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
    x, state, limits = prepare(x0, bounds, penalty, state, given)
    if state.seed is None or rng is not None:
        state.seed = seed(rng)
    sampler = Sampler(int(n_samples), int(batch_size), replace, state.seed)
    # Going on from within an epoch, that epoch counts as the first.
    whole = epochs * sampler.steps - state.micro % sampler.steps
    steps = whole if maxiter is None else min(whole, _check.count("maxiter", maxiter))
    objective = (DeviceObjective if is_device(x) else Objective)(fun, jac, args, x, limits, sampler)
    return run(objective, x, state, steps, 0.0, callback, False, complete=steps == whole)


def seed(rng):
    """A seed from an integer, a Generator or the system's entropy."""
    if rng is None:
        return int(np.random.SeedSequence().entropy % 2**63)
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**63 - 1))
    return _check.count("rng", rng)
