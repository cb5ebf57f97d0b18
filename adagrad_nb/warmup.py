"""Compilation of the default functions in advance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._csr import common_dtype
from .linear.fit import fit_linear
from .optim.state import init
from .optim.step import update

if TYPE_CHECKING:
    import numpy.typing as npt


def warm_up(dtype: npt.DTypeLike = np.float64) -> None:
    """Compile the default `update` and `fit_linear`, or load them from the disk cache.

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
    for loss in ("logistic", "squared"):
        fit_linear(np.eye(2, dtype=dtype), np.array([0, 1]), loss=loss).predict(np.eye(2))
