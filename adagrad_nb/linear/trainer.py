"""The course of a learning: rows are learnt slice by slice, and who wants to know is told."""

import time
from typing import NamedTuple

import numpy as np

from .. import _csr
from .._csr import as_rows, canonical, common_dtype, unsigned
from ..records.losses import Logistic
from ..records.rules import Adagrad
from ..records.schedules import Rates
from . import device_trainer
from .kernels import rows as kernels
from .model import LinearModel, going_on
from .multiclass_model import ClassModel
from .rate_search import RateModel
from .targets import are_many, of_classes, sample_weight, weighted

SLICE = 0.05  # seconds between two returns to Python, so that Ctrl-C and callbacks work


class Progress(NamedTuple):
    """What a callback of `fit_linear` is told.

    Attributes
    ----------
    n_seen : int
        Rows gone through so far, all passes counted.
    n_recent : int
        Rows since the last call.
    progressive_loss : float
        Mean loss of the rows of the first pass, each before it was learnt.
    recent_loss : float
        Mean loss of the rows since the last call, in any pass; NaN if their weights are all zero.
    seconds : float
        Since the first row of this call of `fit_linear`; compilation is not counted.
    passes : int
        Passes that are complete.
    model : LinearModel
        The model that is being learnt: to look at, not to keep.
    recent_weight : float
        Sum of the weights of the rows since the last call.
    n_nonzero : int
        Weights of it that are not zero; counted only when it is asked for.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import fit_linear
    >>> losses = []
    >>> model = fit_linear(np.eye(2), [0, 1], passes=9, callback=lambda progress: losses.append(progress.recent_loss))
    >>> losses[0] > losses[-1]
    True
    """

    n_seen: int
    n_recent: int
    progressive_loss: float
    recent_loss: float
    seconds: float
    passes: int
    model: LinearModel
    recent_weight: float

    @property
    def n_nonzero(self):
        """How many weights of the model are not zero; counted when it is asked for."""
        return int(np.count_nonzero(self.model.coef))


class Course:
    """One call of `fit_linear`: the model it makes and what its callback has been told."""

    def __init__(self, model, options, dtype, classes, callback):
        self.callback, self.dtype, self.classes, self.options = callback, dtype, classes, options
        self.threads, self.class_weight = 1, None
        self.model = self.watch = self.start = None  # start of the clock
        self.passes = 0
        self.rows = 1024  # of a slice
        if model is not None:
            self._begin(going_on(model, options, dtype))

    def learn(self, chunk, number, key, position):
        """Learn from a chunk; return whether to go on."""
        dtype = common_dtype(chunk.X, self.dtype) if self.model is None else self.model.dtype
        X = as_rows(chunk.X, dtype)
        n = X.shape[0]
        if self.model is None:
            self._begin(self._new(X.shape[1], dtype, chunk.y))
        model = self.model
        weight = sample_weight(chunk.weight, n, dtype)
        y, labels = model.targets(chunk.y, n)
        if self.class_weight is not None:
            if model.classes is None:
                raise ValueError(f"class_weight: the loss {type(model.loss).__name__} takes numbers; leave it out")
            weight = weighted(self.class_weight, chunk.y, weight, labels)
        order = np.arange(n) if key is None else np.random.default_rng(key).permutation(n)
        model.admit(labels)
        model.grow(X.shape[1])
        held = None if self.watch is None else self.watch.held(n, position)
        if held is not None and held.size:
            order = order[~np.isin(order, held)]
        goes_on = self._sweep(X, y, weight, order, model.tally if number == 0 else self.later)
        if held is not None and held.size:
            self.watch.score(model, X, chunk.y, weight, held)
        return goes_on

    def passed(self):
        """Note that a pass is complete; return whether to go on."""
        self.passes += 1
        if self.watch is None or self.model is None:
            return True
        recent, _, self.passed_total = self._since(self.passed_total)
        return not self.watch.is_over(self.model, recent)

    def result(self):
        """The model that has been learnt."""
        model = self.model
        if model is None:
            raise ValueError("X: got no chunks; there is nothing to learn from")
        # A row that meets a weight that is not finite is refused, but the last rows are met by none.
        if not model.is_finite():
            raise ValueError(
                "X: the last rows give weights that are not finite; the values, the targets or the learning rate are "
                "too large, scale X and y or take a smaller lr"
            )
        if self.watch is not None and self.watch.best is not None:
            model = self.watch.best
            model.pass_losses = self.watch.losses
        return model

    def _new(self, n_features, dtype, y):
        defaults = {"loss": Logistic(), "rule": Adagrad(), "lr": 0.5, "penalty": None, "intercept": True}
        options = defaults | self.options
        kind = RateModel if isinstance(options["lr"], Rates) else LinearModel
        if are_many(options["loss"], y, self.classes):
            kind, options["loss"] = ClassModel, of_classes(options["loss"])
        return kind(n_features, dtype, **options)

    def _begin(self, model):
        """Learn with this model from here on."""
        if self.classes is not None:
            model.announce(self.classes)
        self.model = model
        self.later = np.zeros_like(model.tally)  # the tally of later passes, which the progressive loss leaves out
        self.told, self.told_rows = model.tally.copy(), model.n_seen
        self.passed_total = self.told  # the tally before this pass

    def _since(self, before):
        """(mean loss, weight) of the rows since the tally was `before`, and what it is now."""
        total = self.model.tally + self.later
        loss, weight = (now - then for now, then in zip(self.model.told(total), self.model.told(before), strict=True))
        return float(loss / weight) if weight else float("nan"), float(weight), total

    def _sweep(self, X, y, weight, order, tally):
        if isinstance(X, device_trainer.DeviceRows):
            return device_trainer.sweep(self, X, y, weight, order, tally)
        model, position = self.model, 0
        rows = kernels.Rows(X.indptr, unsigned(X.indices), X.data, y, weight, order)
        weights = model.weights(X.shape[1])
        recipe = model.recipe()
        learn, room = model.loop(X, recipe, self.threads)
        if self.start is None:
            learn(recipe, rows, weights, room, tally, model._state.t, 0, 0)  # no rows: this only compiles
            self.start = time.perf_counter()
        while position < order.size:
            stop = self.slice_end(position, order.size)
            begin = time.perf_counter()
            before, t = position, model._state.t
            with np.errstate(over="ignore", invalid="ignore"):  # as in compiled code; what is not finite is looked for
                position, status, t = learn(recipe, rows, weights, room, tally, t, position, stop)
            model._state.t = model._bias_state.t = int(t)
            model.n_seen += int(position) - before
            if status == kernels.UNSORTED:
                X = canonical(X)
                rows = rows._replace(indptr=X.indptr, indices=unsigned(X.indices), data=X.data)
                continue
            if status != kernels.DONE:
                _csr.row_of(X, order[position])
            self._pace(position - before, time.perf_counter() - begin)
            if self.callback is not None and not self._tell():
                return False
        return True

    def slice_end(self, position, end):
        """Where the slice ends that begins at a position: callbacks are told at powers of two as well."""
        end = min(position + self.rows, end)
        return end if self.callback is None else min(end, position + _until_power(self.model.n_seen))

    def _pace(self, rows, seconds):
        """Make the next slice take about the time between two returns to Python."""
        if seconds < SLICE / 2 and rows >= self.rows:
            self.rows *= 2
        elif seconds > SLICE:
            self.rows = max(self.rows // 2, 1)

    def _tell(self):
        model = self.model
        recent, weight, self.told = self._since(self.told)
        rows, self.told_rows = model.n_seen - self.told_rows, model.n_seen
        seconds = time.perf_counter() - self.start
        progressive = model.progressive_loss
        try:
            self.callback(Progress(model.n_seen, rows, progressive, recent, seconds, self.passes, model, weight))
        except StopIteration:
            return False
        return True


def _until_power(n):
    """Rows from n to the next power of two."""
    return (1 << int(n).bit_length()) - int(n)
