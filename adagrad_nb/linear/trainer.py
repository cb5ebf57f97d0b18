"""The course of a learning: rows are learnt slice by slice, and who wants to know is told."""

import time
from typing import NamedTuple

import numpy as np

from .. import _csr
from .._csr import as_csr, as_unsigned, common_dtype, sum_duplicates
from ..records.losses import Logistic
from ..records.rules import Adagrad
from ..records.schedules import Rates
from . import device_trainer
from .kernels import rows as kernels
from .model import LinearModel, continue_from
from .multiclass_model import MulticlassModel
from .rate_search import RateSearchModel
from .targets import apply_class_weight, check_sample_weight, is_multiclass, multiclass_loss

SLICE_SECONDS = 0.05  # seconds between two returns to Python, so that Ctrl-C and callbacks work


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


class Trainer:
    """One call of `fit_linear`: the model it makes and what its callback has been told."""

    def __init__(self, model, options, dtype, classes, callback):
        self.callback, self.dtype, self.classes, self.options = callback, dtype, classes, options
        self.threads, self.class_weight = 1, None
        self.model = self.early_stopping = self.start_time = None  # start of the clock
        self.passes = 0
        self.slice_rows = 1024  # of a slice
        if model is not None:
            self._set_model(continue_from(model, options, dtype))

    def fit_chunk(self, chunk, pass_index, shuffle_key, chunk_index):
        """Learn from a chunk; return whether to go on."""
        dtype = common_dtype(chunk.X, self.dtype) if self.model is None else self.model.dtype
        X = as_csr(chunk.X, dtype)
        n = X.shape[0]
        if self.model is None:
            self._set_model(self._new_model(X.shape[1], dtype, chunk.y))
        model = self.model
        weight = check_sample_weight(chunk.weight, n, dtype)
        y, labels = model._encode_targets(chunk.y, n)
        if self.class_weight is not None:
            if model.classes is None:
                raise ValueError(f"class_weight: the loss {type(model.loss).__name__} takes numbers; leave it out")
            weight = apply_class_weight(self.class_weight, chunk.y, weight, labels)
        order = np.arange(n) if shuffle_key is None else np.random.default_rng(shuffle_key).permutation(n)
        model._set_labels(labels)
        model._grow(X.shape[1])
        held_out = None if self.early_stopping is None else self.early_stopping.validation_rows(n, chunk_index)
        if held_out is not None and held_out.size:
            order = order[~np.isin(order, held_out)]
        should_continue = self._learn_rows(X, y, weight, order, model.loss_sums if pass_index == 0 else self.later_sums)
        if held_out is not None and held_out.size:
            self.early_stopping.add_validation_loss(model, X, chunk.y, weight, held_out)
        return should_continue

    def end_pass(self):
        """Note that a pass is complete; return whether to go on."""
        self.passes += 1
        if self.early_stopping is None or self.model is None:
            return True
        recent, _, self.sums_before_pass = self._loss_since(self.sums_before_pass)
        return not self.early_stopping.should_stop(self.model, recent)

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
        if self.early_stopping is not None and self.early_stopping.best_model is not None:
            model = self.early_stopping.best_model
            model.pass_losses = self.early_stopping.pass_losses
        return model

    def _new_model(self, n_features, dtype, y):
        defaults = {"loss": Logistic(), "rule": Adagrad(), "lr": 0.5, "penalty": None, "intercept": True}
        options = defaults | self.options
        kind = RateSearchModel if isinstance(options["lr"], Rates) else LinearModel
        if is_multiclass(options["loss"], y, self.classes):
            kind, options["loss"] = MulticlassModel, multiclass_loss(options["loss"])
        return kind(n_features, dtype, **options)

    def _set_model(self, model):
        """Learn with this model from here on."""
        if self.classes is not None:
            model._declare_classes(self.classes)
        self.model = model
        self.later_sums = np.zeros_like(
            model.loss_sums
        )  # the sums of later passes, which the progressive loss leaves out
        self.reported_sums, self.reported_rows = model.loss_sums.copy(), model.n_seen
        self.sums_before_pass = self.reported_sums  # the sums before this pass

    def _loss_since(self, sums_before):
        """(mean loss, weight) of the rows since the sums was `sums_before`, and what it is now."""
        sums_now = self.model.loss_sums + self.later_sums
        loss, weight = (
            now - then
            for now, then in zip(self.model._loss_totals(sums_now), self.model._loss_totals(sums_before), strict=True)
        )
        return float(loss / weight) if weight else float("nan"), float(weight), sums_now

    def _learn_rows(self, X, y, weight, order, loss_sums):
        if isinstance(X, device_trainer.DeviceRows):
            return device_trainer.learn_on_device(self, X, y, weight, order, loss_sums)
        model, position = self.model, 0
        rows = kernels.Rows(X.indptr, as_unsigned(X.indices), X.data, y, weight, order)
        weights = model._kernel_arrays(X.shape[1])
        spec = model._spec()
        kernel, workspace = model._choose_kernel(X, spec, self.threads)
        if self.start_time is None:
            kernel(spec, rows, weights, workspace, loss_sums, model._state.t, 0, 0)  # no rows: this only compiles
            self.start_time = time.perf_counter()
        while position < order.size:
            stop = self.slice_end(position, order.size)
            slice_start = time.perf_counter()
            before, t = position, model._state.t
            with np.errstate(over="ignore", invalid="ignore"):  # as in compiled code; what is not finite is looked for
                position, status, t = kernel(spec, rows, weights, workspace, loss_sums, t, position, stop)
            model._state.t = model._bias_state.t = int(t)
            model.n_seen += int(position) - before
            if status == kernels.UNSORTED:
                X = sum_duplicates(X)
                rows = rows._replace(indptr=X.indptr, indices=as_unsigned(X.indices), data=X.data)
                continue
            if status != kernels.DONE:
                _csr.raise_for_row(X, order[position])
            self.adapt_slice(position - before, time.perf_counter() - slice_start)
            if self.callback is not None and not self.call_callback():
                return False
        return True

    def slice_end(self, position, end):
        """Where the slice ends that begins at a position: callbacks are told at powers of two as well."""
        end = min(position + self.slice_rows, end)
        return end if self.callback is None else min(end, position + _rows_to_power_of_two(self.model.n_seen))

    def adapt_slice(self, n_rows, seconds):
        """Make the next slice take about the time between two returns to Python."""
        if seconds < SLICE_SECONDS / 2 and n_rows >= self.slice_rows:
            self.slice_rows *= 2
        elif seconds > SLICE_SECONDS:
            self.slice_rows = max(self.slice_rows // 2, 1)

    def call_callback(self):
        model = self.model
        recent, weight, self.reported_sums = self._loss_since(self.reported_sums)
        rows, self.reported_rows = model.n_seen - self.reported_rows, model.n_seen
        seconds = time.perf_counter() - self.start_time
        progressive = model.progressive_loss
        try:
            self.callback(Progress(model.n_seen, rows, progressive, recent, seconds, self.passes, model, weight))
        except StopIteration:
            return False
        return True


def _rows_to_power_of_two(n):
    """Rows from n to the next power of two."""
    return (1 << int(n).bit_length()) - int(n)
