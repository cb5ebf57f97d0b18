"""Learning rate that depends on the loss: it is reduced when the loss has stopped decreasing."""

from __future__ import annotations

import contextlib
import math
from typing import Any

from .. import _check


def _to_float(name, value):
    """Return a number as a float; raise for other objects."""
    if not isinstance(value, str):
        with contextlib.suppress(TypeError, ValueError):
            return float(value)
    raise TypeError(f"{name}: got {_check.shorten_repr(value)}; must be one number")


class ReduceOnPlateau:
    """Learning rate that is multiplied by `factor` if the loss has not improved for more than `patience` observations.

    Pass it as ``lr``, and each loss to `observe`, in a loop of `update` or as a callback of a minimiser.

    Parameters
    ----------
    lr : float
        Initial learning rate, in [0, inf).
    factor : float, default 0.1
        In (0, 1).
    patience : int, default 10
        Number of observations without improvement that do not reduce the learning rate, at least 0.
    threshold : float, default 1e-4
        Smallest improvement that counts, in [0, inf).
    relative : bool, default True
        Whether `threshold` is relative to the best loss.
    cooldown : int, default 0
        Number of observations after a reduction that are not counted, at least 0.
    min_lr : float, default 0.0
        Smallest learning rate, in [0, inf).
    eps : float, default 1e-8
        Smallest change of the learning rate that is made, in [0, inf).
    maximize : bool, default False
        Whether larger values are better.

    Attributes
    ----------
    lr : float
        Current learning rate.
    best : float
        Best loss so far.
    n_bad : int
        Number of observations since the last improvement.

    References
    ----------
    .. [1] PyTorch, ``ReduceLROnPlateau``, whose names, defaults and results these are.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import ReduceOnPlateau, init, minimize_adagrad, update
    >>> lr = ReduceOnPlateau(0.5, factor=0.5, patience=1)
    >>> x, state = np.ones(1), init(np.ones(1), lr=lr)
    >>> for loss in (1.0, 1.0, 1.0, 1.0):
    ...     x, state = update(x, np.ones(1), state)
    ...     rate = lr.observe(loss)
    >>> rate
    0.25

    With a minimiser:

    >>> lr = ReduceOnPlateau(0.5, patience=3, threshold=0.5)
    >>> res = minimize_adagrad(lambda x: x @ x, [9.0], jac=lambda x: 2 * x, lr=lr, callback=lr.observe_result)
    >>> lr.lr < 0.5
    True
    """

    def __init__(
        self,
        lr: float,
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        relative: bool = True,
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        self.lr = _check.in_interval("lr", _to_float("lr", lr), "[0, inf)")
        self.factor = _check.in_interval("factor", factor, "(0, 1)")
        self.patience, self.cooldown = _check.count("patience", patience), _check.count("cooldown", cooldown)
        self.threshold = _check.in_interval("threshold", threshold, "[0, inf)")
        self.relative, self.maximize = _check.boolean("relative", relative), _check.boolean("maximize", maximize)
        self.min_lr, self.eps = (
            _check.in_interval(name, value, "[0, inf)") for name, value in (("min_lr", min_lr), ("eps", eps))
        )
        self.best = -math.inf if self.maximize else math.inf
        self.n_bad = self.n_cooling = 0

    def __call__(self, t: int) -> float:
        """Return the current learning rate, for any update."""
        return self.lr

    def observe(self, loss: Any) -> float:
        """Take a loss, such as that of an epoch; return the learning rate from now on."""
        loss = _to_float("loss", loss)
        if self._is_better(loss):
            self.best, self.n_bad = loss, 0
        else:
            self.n_bad += 1
        if self.n_cooling > 0:
            self.n_cooling -= 1
            self.n_bad = 0
        if self.n_bad > self.patience:
            reduced = max(self.lr * self.factor, self.min_lr)
            self.lr = reduced if self.lr - reduced > self.eps else self.lr
            self.n_cooling, self.n_bad = self.cooldown, 0
        return self.lr

    def observe_result(self, intermediate_result: Any) -> None:
        """Take the value of an iteration: the callback of a minimiser."""
        self.observe(intermediate_result.fun)

    def _is_better(self, loss):
        """Return whether a loss is better than the best one by more than the threshold."""
        sign = -1.0 if self.maximize else 1.0
        if self.relative:
            return sign * loss < sign * self.best * (1.0 - sign * self.threshold)
        return sign * loss < sign * self.best - self.threshold

    def __repr__(self) -> str:
        return f"ReduceOnPlateau(lr={self.lr}, factor={self.factor}, patience={self.patience})"
