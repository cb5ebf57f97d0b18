"""Early stopping of `fit_linear`: the monitored loss of each pass, and the decision to stop."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .. import _check, _csr

MONITORS = ("held-out", "recent")


class EarlyStopping(NamedTuple):
    """Criterion for the end of training; the result is the model of the pass with the lowest loss.

    Parameters
    ----------
    monitor : {"held-out", "recent"}, default "held-out"
        The monitored loss: a mean by sample weight, without the penalty.

        - "held-out": of rows that are held out from training, predicted with the reported model, which may be an
          average.  One matrix is evaluated after each pass; of chunks, the held-out rows of each are evaluated after
          training on its other rows.
        - "recent": of all rows of the pass, each before the model is trained on it.
    validation_fraction : float, default 0.1
        Fraction in (0, 1) of the rows of non-zero weight of each chunk to hold out, at least one of the first chunk.
        They are drawn with ``rng``, or with seed 0 if it is
        not given, and are the same in every pass.
    n_iter_no_change : int, default 5
        Number of consecutive passes that do not decrease the lowest loss by more than `tol` before training stops.
    tol : float, default 1e-3
        In [0, inf).  With ``standardize_targets=True`` it is in units of the squared scale of the targets, or of the
        scale for losses that grow linearly.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import EarlyStopping, fit_linear
    >>> X = np.random.default_rng(0).normal(size=(200, 20))
    >>> y = X[:, 0] + np.random.default_rng(1).normal(size=200) > 0
    >>> model = fit_linear(X, y, lr=0.5, passes=1000, early_stopping=EarlyStopping(n_iter_no_change=3))
    >>> losses = model.pass_losses
    >>> len(losses) < 1000, min(losses) < losses[0]
    (True, True)
    """

    monitor: str = "held-out"
    validation_fraction: float = 0.1
    n_iter_no_change: int = 5
    tol: float = 1e-3

    domain = {"tol": "[0, inf)"}

    def check(self) -> None:
        """Raise ValueError for options outside their domain."""
        if self.monitor not in MONITORS:
            raise ValueError(f"EarlyStopping.monitor: got {self.monitor!r}; must be one of {', '.join(MONITORS)}")
        _check.in_interval("EarlyStopping.validation_fraction", self.validation_fraction, "(0, 1)")
        _check.positive_count("EarlyStopping.n_iter_no_change", self.n_iter_no_change)


def early_stopping_monitor(early_stopping, seed):
    """Return the `EarlyStoppingMonitor` for the argument `early_stopping` of `fit_linear`, or None."""
    if early_stopping is None or early_stopping is False:
        return None
    if early_stopping is True:
        early_stopping = EarlyStopping()
    if not isinstance(early_stopping, EarlyStopping):
        raise TypeError(f"early_stopping: got {early_stopping!r}; must be True, False or EarlyStopping(…)")
    _check.field_domains(early_stopping)
    return EarlyStoppingMonitor(early_stopping, seed)


class EarlyStoppingMonitor:
    """Losses of the passes so far, and the model of the best pass."""

    def __init__(self, options, seed):
        self.options, self.seed = options, seed
        self.best_model, self.best_loss, self.pass_losses = None, math.inf, []
        self.n_bad_passes = 0  # passes without improvement
        self.validation_sums = np.zeros(2)  # of the held-out rows of this pass: sum of losses, sum of weights

    def validation_rows(self, weight, chunk_index):
        """Return the indices, in increasing order, of the held-out rows of a chunk with these sample weights.

        Rows of weight zero are not drawn: they would reduce the number of rows that are evaluated.
        """
        if self.options.monitor != "held-out":
            return np.empty(0, np.int64)
        candidates = np.flatnonzero(weight > 0)
        n = candidates.size
        rng = np.random.default_rng([self.seed, chunk_index, n])
        n_held_out = int(self.options.validation_fraction * n + rng.random())
        if chunk_index == 0 and n > 1:
            n_held_out = max(n_held_out, 1)
        return candidates[np.sort(rng.permutation(n)[:n_held_out])]

    def add_validation_loss(self, model, X, y, weight, rows):
        """Add the losses of the held-out rows to the loss of this pass."""
        X_held_out, y, weight = X[rows], np.asarray(y)[rows], weight[rows]
        is_invalid = ~np.isfinite(X_held_out.data) | (X_held_out.indices < 0) | (X_held_out.indices >= X.shape[1])
        if is_invalid.any():
            _csr.raise_for_row(X, rows[np.searchsorted(X_held_out.indptr, np.argmax(is_invalid), side="right") - 1])
        total_weight = float(weight.sum(dtype=np.float64))
        if total_weight:
            self.validation_sums += total_weight * model.mean_loss(X_held_out, y, weight), total_weight

    def should_stop(self, model, pass_loss, pass_weight):
        """Record a pass whose rows had the mean loss `pass_loss` and the total weight `pass_weight`.

        Return whether to stop.
        """
        options = self.options
        if options.monitor == "held-out":
            if not self.validation_sums[1]:
                raise ValueError(
                    f"early_stopping: no held-out row has a positive weight; with validation_fraction="
                    f"{options.validation_fraction} give more rows of positive weight, or use monitor='recent'"
                )
            if not pass_weight:
                raise ValueError(
                    f"early_stopping: validation_fraction={options.validation_fraction} holds out all rows of positive "
                    "weight; give more rows, use a smaller validation_fraction, or use monitor='recent'"
                )
            pass_loss = float(self.validation_sums[0] / self.validation_sums[1])
            self.validation_sums[:] = 0
        loss_unit = 1.0 if model.target_scaling is None else model.target_scaling.loss_unit
        improved = pass_loss < self.best_loss - options.tol * loss_unit
        self.n_bad_passes = 0 if improved else self.n_bad_passes + 1
        self.pass_losses.append(pass_loss)
        if self.best_model is None or pass_loss < self.best_loss:
            self.best_model, self.best_loss = model.copy(), pass_loss
        return self.n_bad_passes >= options.n_iter_no_change
