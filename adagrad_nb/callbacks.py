"""Callbacks for `fit_linear`: what was told is kept, or printed as a table."""

import sys


class History:
    """Keep what `fit_linear` tells, as lists ready to plot.

    Parameters
    ----------
    nonzero : bool, default False
        Whether to count the weights that are not zero, which takes a look at each of them every time.

    Attributes
    ----------
    rows : list of int
    progressive, recent : list of float
        Mean loss of all rows of the first pass so far, and of the rows since the entry before.
    seconds : list of float
    nonzero : list of int
        Empty where that was not asked for.

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

    def __init__(self, nonzero=False):
        self.rows, self.progressive, self.recent, self.seconds, self.nonzero = [], [], [], [], []
        self.counts_nonzero = nonzero

    def __call__(self, progress):
        self.rows.append(progress.n_seen)
        self.progressive.append(progress.progressive_loss)
        self.recent.append(progress.recent_loss)
        self.seconds.append(progress.seconds)
        if self.counts_nonzero:
            self.nonzero.append(progress.n_nonzero)


class PassLosses:
    """Keep the mean loss, by weight, of the rows of each pass, each before it was learnt.

    Parameters
    ----------
    callback : callable, optional
        Told everything too.

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

    def __init__(self, callback=None):
        self.callback = callback
        self.sums = []  # of loss and weight, for each pass

    def __call__(self, progress):
        while len(self.sums) <= progress.passes:
            self.sums.append([0.0, 0.0])
        if progress.recent_weight > 0:
            self.sums[-1][0] += progress.recent_loss * progress.recent_weight
            self.sums[-1][1] += progress.recent_weight
        if self.callback is not None:
            self.callback(progress)

    def losses(self):
        """Return the mean losses as a list, the last of a pass that may not be complete."""
        return [loss / weight if weight else float("nan") for loss, weight in self.sums]


Curve = PassLosses  # the name in earlier releases


class Table:
    """Print a line each time the number of rows has doubled.

    Parameters
    ----------
    write : callable, optional
        Takes a line; by default it is printed to standard output.
    first : int, default 64
        Rows at the first line.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import fit_linear
    >>> from adagrad_nb.callbacks import Table
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> model = fit_linear(X, X[:, 0] > 0, callback=Table())  # doctest: +ELLIPSIS
          rows  progressive loss  since last     seconds
            64            0...
           128            0...
    """

    TITLE = f"{'rows':>10}  {'progressive loss':>16}  {'since last':>10}  {'seconds':>10}"

    def __init__(self, write=None, first=64):
        self.write = self._print_line if write is None else write
        self.next_row = first
        self.has_title = False
        self.loss_sum, self.rows = 0.0, 0  # since the last line
        self.latest = None

    @staticmethod
    def _print_line(line):
        print(line, file=sys.stdout, flush=True)

    def __call__(self, progress):
        self.latest = progress
        if progress.recent_loss == progress.recent_loss:  # not NaN
            self.loss_sum += progress.recent_loss * progress.n_recent
            self.rows += progress.n_recent
        if progress.n_seen >= self.next_row:
            self.line()
            while self.next_row <= progress.n_seen:
                self.next_row *= 2

    def line(self):
        """Write a line for where the learning is, unless the last line did."""
        if self.rows == 0:
            return
        if not self.has_title:
            self.write(self.TITLE)
            self.has_title = True
        latest = self.latest
        recent_loss = self.loss_sum / self.rows
        self.write(
            f"{latest.n_seen:>10,}  {latest.progressive_loss:>16.5f}  {recent_loss:>10.5f}  {latest.seconds:>10.3f}"
        )
        self.loss_sum, self.rows = 0.0, 0
