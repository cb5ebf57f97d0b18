"""Early stopping of `fit_linear`: which loss is looked at after each pass, and when it has stopped falling."""

import math
from typing import NamedTuple

import numpy as np

from .. import _check, _csr

MONITORS = ("held-out", "recent")


class EarlyStopping(NamedTuple):
    """When to stop going through the data again; the best model so far is the one that is kept.

    Parameters
    ----------
    monitor : {"held-out", "recent"}, default "held-out"
        Which loss is looked at, each a mean by sample weight and without the penalty.  "held-out": of rows that are
        never learnt, with the model as it reports itself (its average, where it averages); for one matrix after the
        pass, for chunks of each chunk's held-out rows after its other rows have been learnt.  "recent": of every row
        of the pass, each just before it is learnt.
    validation_fraction : float, default 0.1
        Share of the rows of each chunk to hold out, in (0, 1); chosen at random by ``rng``, or by the seed 0 where
        none is given, and the same in every pass.
    n_iter_no_change : int, default 5
        Stop after so many passes in a row that did not bring the loss below the best one by more than `tol`.
    tol : float, default 1e-3
        In [0, inf).

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import EarlyStopping, fit_linear
    >>> X = np.random.default_rng(0).normal(size=(500, 40))
    >>> y = X[:, 0] + np.random.default_rng(1).normal(size=500) > 0
    >>> model = fit_linear(X, y, passes=1000, early_stopping=EarlyStopping(n_iter_no_change=3))
    >>> losses = model.pass_losses
    >>> len(losses) < 1000, min(losses) < losses[0]
    (True, True)
    """

    monitor: str = "held-out"
    validation_fraction: float = 0.1
    n_iter_no_change: int = 5
    tol: float = 1e-3

    domain = {"tol": "[0, inf)"}

    def check(self):
        if self.monitor not in MONITORS:
            raise ValueError(f"EarlyStopping.monitor: got {self.monitor!r}; must be one of {', '.join(MONITORS)}")
        _check.interval("EarlyStopping.validation_fraction", self.validation_fraction, "(0, 1)")
        _check.positive_count("EarlyStopping.n_iter_no_change", self.n_iter_no_change)


def watch_for(early_stopping, seed):
    """A `Watch` for what a caller gave as `early_stopping`, or None."""
    if early_stopping is None or early_stopping is False:
        return None
    if early_stopping is True:
        early_stopping = EarlyStopping()
    if not isinstance(early_stopping, EarlyStopping):
        raise TypeError(f"early_stopping: got {early_stopping!r}; must be True, False or EarlyStopping(…)")
    _check.fields(early_stopping)
    return Watch(early_stopping, seed)


class Watch:
    """The losses of the passes so far, and the best model."""

    def __init__(self, options, seed):
        self.options, self.seed = options, seed
        self.best, self.lowest, self.losses = None, math.inf, []
        self.since = 0  # passes without improvement
        self.scores = np.zeros(2)  # of the held-out rows of this pass: sum of losses, sum of weights

    def held(self, n, position):
        """The rows of chunk `position`, of n rows, that are not to be learnt, in increasing order."""
        if self.options.monitor != "held-out":
            return np.empty(0, np.int64)
        rng = np.random.default_rng([self.seed, position, n])
        count = int(self.options.validation_fraction * n + rng.random())
        return np.sort(rng.permutation(n)[:count])

    def score(self, model, X, y, weight, rows):
        """Take in the losses of held-out rows."""
        part, y, weight = X[rows], np.asarray(y)[rows], weight[rows]
        wrong = ~np.isfinite(part.data) | (part.indices < 0) | (part.indices >= X.shape[1])
        if wrong.any():
            _csr.row_of(X, rows[np.searchsorted(part.indptr, np.argmax(wrong), side="right") - 1])
        total = float(weight.sum(dtype=np.float64))
        if total:
            self.scores += total * model.mean_loss(part, y, weight), total

    def is_over(self, model, recent):
        """Note the model after a pass whose rows had the mean loss `recent`; return whether to stop."""
        options = self.options
        if options.monitor == "held-out":
            if not self.scores[1]:
                raise ValueError(
                    f"early_stopping: {options.validation_fraction} of the rows are none with a weight; give more "
                    "rows, a larger validation_fraction, or monitor='recent'"
                )
            recent = float(self.scores[0] / self.scores[1])
            self.scores[:] = 0
        improved = recent < self.lowest - options.tol
        self.since = 0 if improved else self.since + 1
        self.losses.append(recent)
        if self.best is None or recent < self.lowest:
            self.best, self.lowest = model.copy(), recent
        return self.since >= options.n_iter_no_change
