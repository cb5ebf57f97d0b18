"""Callbacks of `fit_linear`: record the progress of training, or print it as a table.

A callback is called with a `Progress` during training.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class History:
    """The progress of training as lists, one entry for each call of the callback.

    Parameters
    ----------
    nonzero : bool, default False
        Whether non-zero weights are counted, which reads all weights at each call.

    Attributes
    ----------
    rows : list of int
        Number of rows so far, over all passes.
    progressive : list of float
        Progressive loss: mean loss of the rows of the first pass, each before the model is trained on it.
    recent : list of float
        Mean loss of the rows since the previous entry.
    seconds : list of float
        Time since the first row.
    nonzero : list of int
        Number of non-zero weights; empty unless they are counted.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import fit_linear
    >>> from adagrad_nb.callbacks import History
    >>> X = np.random.default_rng(0).normal(size=(1000, 3))
    >>> history = History()
    >>> model = fit_linear(X, X[:, 0] > 0, callback=history)
    >>> history.rows[-1], history.progressive[0] > history.progressive[-1]
    (1000, True)
    """

    def __init__(self, nonzero: bool = False) -> None:
        self.rows: list[int] = []
        self.progressive: list[float] = []
        self.recent: list[float] = []
        self.seconds: list[float] = []
        self.nonzero: list[int] = []
        self.counts_nonzero = nonzero

    def __call__(self, progress: Any) -> None:
        self.rows.append(progress.n_seen)
        self.progressive.append(progress.progressive_loss)
        self.recent.append(progress.recent_loss)
        self.seconds.append(progress.seconds)
        if self.counts_nonzero:
            self.nonzero.append(progress.n_nonzero)


class PassLosses:
    """Weighted mean of the progressive loss in each pass: the loss of each row before training on it.

    Parameters
    ----------
    callback : callable, optional
        Called with each `Progress` too.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import fit_linear
    >>> from adagrad_nb.callbacks import PassLosses
    >>> X = np.random.default_rng(0).normal(size=(100, 3))
    >>> curve = PassLosses()
    >>> model = fit_linear(X, X[:, 0] > 0, passes=5, callback=curve)
    >>> losses = curve.losses()
    >>> len(losses), losses[0] > losses[-1]
    (5, True)
    """

    def __init__(self, callback: Callable[[Any], object] | None = None) -> None:
        self.callback = callback
        self.sums: list[list[float]] = []  # of loss and weight, for each pass

    def __call__(self, progress: Any) -> None:
        while len(self.sums) <= progress.passes:
            self.sums.append([0.0, 0.0])
        if progress.recent_weight > 0:
            self.sums[-1][0] += progress.recent_loss * progress.recent_weight
            self.sums[-1][1] += progress.recent_weight
        if self.callback is not None:
            self.callback(progress)

    def losses(self) -> list[float]:
        """Return the mean loss of each pass.  The last pass may be incomplete."""
        return [loss / weight if weight else float("nan") for loss, weight in self.sums]


Curve = PassLosses  # the name in earlier releases


class Table:
    """Table of the losses, with a line each time the number of rows has doubled.

    If the model trains with several learning rates, the last column is the rate that predicts.

    Parameters
    ----------
    write : callable, optional
        Called with each line.  By default, lines are printed to standard output.
    first : int, default 64
        Number of rows at the first line.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import fit_linear
    >>> from adagrad_nb.callbacks import Table
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> model = fit_linear(X, X[:, 0] > 0, callback=Table())  # doctest: +ELLIPSIS
          rows  progressive loss  since last     seconds  learning rate
            64            0...
           128            0...
    """

    TITLE = f"{'rows':>10}  {'progressive loss':>16}  {'since last':>10}  {'seconds':>10}"

    latest: Any = None  # the last `Progress`

    def __init__(self, write: Callable[[str], object] | None = None, first: int = 64) -> None:
        self.write = self._print_line if write is None else write
        self.next_row = first
        self.has_title = False
        self.loss_sum, self.rows = 0.0, 0  # since the last line

    @staticmethod
    def _print_line(line):
        print(line, file=sys.stdout, flush=True)

    def __call__(self, progress: Any) -> None:
        self.latest = progress
        if progress.recent_loss == progress.recent_loss:  # not NaN
            self.loss_sum += progress.recent_loss * progress.n_recent
            self.rows += progress.n_recent
        if progress.n_seen >= self.next_row:
            self.line()
            while self.next_row <= progress.n_seen:
                self.next_row *= 2

    def line(self) -> None:
        """Write a line for the rows so far, unless the last line did."""
        if self.rows == 0:
            return
        latest = self.latest
        has_rates = getattr(latest.model, "has_several_rates", False)
        if not self.has_title:
            self.write(self.TITLE + ("  learning rate" if has_rates else ""))
            self.has_title = True
        recent_loss = self.loss_sum / self.rows
        self.write(
            f"{latest.n_seen:>10,}  {latest.progressive_loss:>16.5f}  {recent_loss:>10.5f}  {latest.seconds:>10.3f}"
            + (f"  {latest.model.rate:>13g}" if has_rates else "")
        )
        self.loss_sum, self.rows = 0.0, 0
