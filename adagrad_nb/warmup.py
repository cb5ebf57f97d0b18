"""Compilation of the default functions in advance."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ._csr import common_dtype
from .linear.fit import fit_linear
from .minimize.drivers import minimize_adagrad
from .optim.state import init
from .optim.step import update
from .records.schedules import RateSearch

if TYPE_CHECKING:
    import numpy.typing as npt


class _HalfSquare(NamedTuple):
    """Objective x[0]**2 / 2, to compile the step of the minimisers."""

    def value_grad(self, x, g):
        g[0] = x[0]
        return x[0] * x[0] / type(x[0])(2)


def warm_up(dtype: npt.DTypeLike = np.float64) -> None:
    """Compile the default `update`, `minimize_adagrad` and `fit_linear`, or load them from the disk cache.

    Of `fit_linear`, this is the search for the learning rate from its start to its end, and training with a fixed rate.
    Call it once per machine before several processes start, and before timing.

    Parameters
    ----------
    dtype : {float64, float32}, default float64

    Raises
    ------
    TypeError
        For any other dtype.

    Examples
    --------
    >>> from adagrad_nb import warm_up
    >>> warm_up()
    """
    dtype = common_dtype(None, dtype)
    x = np.ones(2, dtype)
    update(x, x, init(x))
    minimize_adagrad(_HalfSquare(), x[:1], maxiter=1)
    X, y = np.eye(8, 2, dtype=dtype), np.arange(8) % 2
    whole_search = RateSearch(halve_at=(1, 2, 3))  # type: ignore[call-arg]
    for loss in ("logistic", "squared"):
        for lr in (whole_search, 0.5):
            fit_linear(X, y, loss=loss, lr=lr, standardize_targets=loss == "squared").predict(X)
