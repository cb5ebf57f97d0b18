"""Trainer: runs the passes of `fit_linear` in time slices and calls the callback."""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import numpy as np

from .. import _csr
from .._csr import as_csr, as_unsigned, sum_duplicates
from ..records.losses import Hinge, Logistic, target_type
from ..records.multiclass_losses import is_multi_output_loss
from ..records.rules import Adagrad, has_row_step
from ..records.schedules import RateSearch
from .baseline import ConstantBaseline
from .device_trainer import DeviceRows, learn_on_device
from .dispatch import choose_kernel
from .kernels import rows as row_kernels
from .model import LinearModel, continue_from
from .named_rows import update_columns
from .rate_search import supports_search
from .target_scaling import can_standardize
from .targets import encode_chunk, is_multiclass, multiclass_loss

SLICE_SECONDS = 0.05  # time between two returns to Python, for callbacks and Ctrl-C


class Progress(NamedTuple):
    """State of the training that `fit_linear` passes to its callback.

    Attributes
    ----------
    n_seen : int
        Number of rows so far, over all passes.
    n_recent : int
        Number of rows since the last call.
    progressive_loss : float
        Mean loss of the rows of the first pass, each before the model is trained on it.
    recent_loss : float
        Mean loss of the rows since the last call, in any pass; NaN if all their weights are zero.
    seconds : float
        Time since the first row of this call of `fit_linear`, without compilation.
    passes : int
        Number of complete passes.
    model : LinearModel
        The model in training.  It changes after the callback: copy what is to be kept.
    recent_weight : float
        Sum of the sample weights of the rows since the last call.
    n_nonzero : int
        Number of non-zero weights of the model, counted on access.

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
    def n_nonzero(self) -> int:
        """Number of non-zero weights of the model, counted on access."""
        return int(np.count_nonzero(self.model.coef))


class Trainer:
    """One call of `fit_linear`.

    Parameters
    ----------
    model : LinearModel or None
        Model to continue from; it is not changed.
    options : dict
        Checked options of the model that the caller gave.
    dtype, classes, class_weight, threads, callback
        Checked arguments of `fit_linear`.
    early_stopping : EarlyStoppingMonitor or None
    is_in_place : bool, default False
        Whether to train `model` itself, with its present options, and not a copy.
    """

    def __init__(
        self, model, options, *, dtype, classes, class_weight, threads, early_stopping, callback, is_in_place=False
    ):  # fmt: skip
        self.options, self.dtype, self.classes, self.class_weight = options, dtype, classes, class_weight
        self.threads, self.early_stopping, self.callback = threads, early_stopping, callback
        self.model = self.start_time = None
        self.baseline = ConstantBaseline() if model is None or model.n_seen == 0 else None
        self.has_new_rows = model is None or not model.expects_known_rows
        self.passes = 0
        self.finishes_chunks = self.is_stopping = False  # whether a chunk is finished before a callback ends training
        self.slice_rows = 1024  # grows and shrinks with the time of a slice
        if model is not None:
            self._set_model(model if is_in_place else continue_from(model, options, dtype))
            self.model.expects_known_rows = False

    def fit_chunk(self, chunk, pass_index, shuffle_key, chunk_index):
        """Train on a chunk; return whether to continue."""
        X = as_csr(chunk.X, self.dtype if self.model is None else self.model.dtype)
        if getattr(X, "indptr", None) is getattr(chunk.X, "indptr", ()):
            X = _csr.with_own_indptr(X)  # kernels trust it, and callbacks may change the array of the caller
        if self.model is None:
            self._set_model(new_model(X, chunk.y, self.classes, self.options, self.threads))
        model, n = self.model, X.shape[0]
        if model.has_ledger and isinstance(X, DeviceRows):
            raise ValueError("ledger: does not support rows on a device; use arrays on the host, or ledger=False")
        y, weight, target = encode_chunk(chunk, n, model, self.class_weight)
        order = np.arange(n) if shuffle_key is None else np.random.default_rng(shuffle_key).permutation(n)
        if model.is_searching:
            n_classes = len(target.classes) if is_multi_output_loss(model.loss) else 1
            self._keep_candidates(model._limit_candidates(n_classes, max(X.shape[1], model.n_features)))
        model._set_target(target)
        update_columns(model, chunk, X.shape[1])
        model.parameters.resize(X.shape[1])
        held_out = None if self.early_stopping is None else self.early_stopping.validation_rows(weight, chunk_index)
        if held_out is not None and held_out.size:
            order = order[~np.isin(order, held_out)]
        if isinstance(X, DeviceRows):
            self.baseline = None  # the losses stay on the device
        if pass_index == 0 and self.baseline is not None:
            rows = order[weight[order] > 0]
            self.baseline.add_rows(y[rows], weight[rows], target)
        loss_sums = model.loss_sums if pass_index == 0 and self.has_new_rows else self.later_sums
        learn = learn_on_device if isinstance(X, DeviceRows) else _learn_on_host
        if model.standardize_targets:
            should_continue = _learn_standardized(self, learn, X, chunk.y, weight, order, loss_sums)
        else:
            should_continue = learn(self, X, y, weight, order, loss_sums)
        if held_out is not None and held_out.size:
            self.early_stopping.add_validation_loss(model, X, chunk.y, weight, held_out)
        return should_continue and not self.is_stopping

    def end_pass(self):
        """Count a complete pass; return whether to continue."""
        self.passes += 1
        if self.early_stopping is None or self.model is None:
            return True
        recent, weight, self.sums_before_pass = self._loss_since(self.sums_before_pass)
        return not self.early_stopping.should_stop(self.model, recent, weight)

    def result(self):
        """Return the trained model.

        Raises
        ------
        ValueError
            Without chunks, and for weights that are not finite.
        """
        model = self.model
        if model is None:
            raise ValueError("X: got no chunks; there is nothing to learn from")
        check_finite(model)
        if self.baseline is not None:
            self.baseline.warn_if_better(model)
            self.baseline.warn_if_sorted()
        if self.early_stopping is not None and self.early_stopping.best_model is not None:
            model = self.early_stopping.best_model
            model.pass_losses = self.early_stopping.pass_losses
        return model

    def run_slices(self, n_rows, learn_slice, before_callback=None):
        """Train on rows in slices of about `SLICE_SECONDS`; return whether to continue.

        ``learn_slice(position, stop)`` trains on the rows from `position` on and returns the position reached.
        """
        position = 0
        while position < n_rows:
            start, before = time.perf_counter(), position
            position = learn_slice(position, self._slice_end(position, n_rows))
            self._adapt_slice(position - before, time.perf_counter() - start)
            if self.baseline is not None and self.passes == 0:
                self.baseline.add_snapshot(self.model)
            if self.callback is not None and not self.is_stopping:
                if before_callback is not None:
                    before_callback()
                if not self._call_callback():
                    if not self.finishes_chunks:
                        return False
                    self.is_stopping = True
        return True

    def start_clock(self, seconds=0.0):
        """Start the time that callbacks see; if it is running, do not count the last `seconds`, of compilation."""
        self.start_time = time.perf_counter() if self.start_time is None else self.start_time + seconds

    def halve_candidates(self):
        """Remove learning rates of a search if it is time to; return whether some were removed."""
        return self._keep_candidates(self.model._halve_candidates())

    def _keep_candidates(self, keep):
        """Remove loss sums by a function of the model, or None; return whether some were removed."""
        if keep is None:
            return False
        self.later_sums, self.reported_sums = keep(self.later_sums), keep(self.reported_sums)
        self.sums_before_pass = keep(self.sums_before_pass)
        return True

    def _set_model(self, model):
        if self.classes is not None:
            model._declare_classes(self.classes)
        self.restore_model(model)

    def restore_model(self, model):
        """Train a model whose labels are declared, such as that of a checkpoint."""
        self.model = model
        self.later_sums = np.zeros_like(model.loss_sums)  # of passes after the first, not in the progressive loss
        self.reported_sums, self.reported_rows = model.loss_sums.copy(), model.n_seen
        self.sums_before_pass = self.reported_sums

    def _loss_since(self, sums_before):
        """Return (mean loss, weight) of the rows since the loss sums were `sums_before`, and the sums now."""
        sums_now, totals = self.model.loss_sums + self.later_sums, self.model.selection.loss_totals
        loss, weight = (now - before for now, before in zip(totals(sums_now), totals(sums_before), strict=True))
        return float(loss / weight) if weight else float("nan"), float(weight), sums_now

    def _slice_end(self, position, end):
        """Return the end of the slice at `position`, no later than where the callback or the baseline is due."""
        end = min(position + self.slice_rows, end)
        if self.baseline is not None and self.passes == 0:
            end = min(end, position + self.baseline.rows_until_snapshot(self.model.n_seen))
        return end if self.callback is None else min(end, position + _rows_to_power_of_two(self.model.n_seen))

    def _adapt_slice(self, n_rows, seconds):
        if seconds < SLICE_SECONDS / 2 and n_rows >= self.slice_rows:
            self.slice_rows *= 2
        elif seconds > SLICE_SECONDS:
            self.slice_rows = max(self.slice_rows // 2, 1)

    def _call_callback(self):
        """Call the callback; return whether to continue."""
        model = self.model
        recent, weight, self.reported_sums = self._loss_since(self.reported_sums)
        n_rows, self.reported_rows = model.n_seen - self.reported_rows, model.n_seen
        seconds = time.perf_counter() - self.start_time
        progressive = model.progressive_loss
        try:
            self.callback(Progress(model.n_seen, n_rows, progressive, recent, seconds, self.passes, model, weight))
        except StopIteration:
            return False
        return True


def check_finite(model, columns=(), rows="last rows give"):
    """Raise DivergenceError if the losses or the weights, of all features or of `columns`, are not finite.

    A row whose prediction is not finite raises, but no row follows the last ones.
    """
    if model.is_searching and math.isinf(model.progressive_loss):
        raise _csr.DivergenceError(
            "X: the losses of all learning rates are infinite; the values, the targets or the sample weights are "
            "too large, scale them, or use dtype=float64"
        )
    if not model.selection.is_finite(model.parameters, model.loss_sums, columns):
        raise _csr.DivergenceError(
            f"X: the {rows} weights that are not finite; the values, the targets or the learning rate are too large, "
            "scale X and y or use a smaller lr"
        )


def default_rule(lr, standardize_targets):
    """Return the rule of a model, if none is given."""
    has_no_unit = isinstance(lr, RateSearch) or standardize_targets
    return Adagrad(eps=0.0) if has_no_unit else Adagrad()  # eps has the unit of a gradient


def choose_rate(options, n_workers, is_on_device, has_initial_weights):
    """Return the learning rate of a new model with these options and their defaults, if none is given."""
    if supports_search(options, n_workers, is_on_device, has_initial_weights):
        return RateSearch()
    return 0.5 if target_type(options["loss"]) in ("binary", "multiclass") else 0.1


def new_model(X, y, classes, options, n_workers=1, has_initial_weights=False):
    """Return an untrained model for the rows X, with the checked `options` and the defaults of others."""
    has_rows = has_row_step(options.get("rule"))
    options = {"loss": Hinge() if has_rows else Logistic(), "penalty": None, "intercept": True} | options
    if is_multiclass(options["loss"], y, classes):
        options["loss"] = multiclass_loss(options["loss"])
    if has_rows:
        options = {"lr": 1.0} | options
    if "lr" not in options and options.get("ledger"):
        raise ValueError("ledger: needs a fixed learning rate; pass lr=0.5 or another number")
    if "lr" not in options:
        options["lr"] = choose_rate(options, n_workers, isinstance(X, DeviceRows), has_initial_weights)
        options = {"standardize_targets": can_standardize(options["loss"])} | options
    options = {"rule": default_rule(options["lr"], options.get("standardize_targets", False))} | options
    model = LinearModel(X.shape[1], X.dtype, **options)
    if model.is_searching:
        labels = np.ravel(y if classes is None else classes) if is_multi_output_loss(options["loss"]) else [None]
        model._limit_candidates(len(set(labels)), X.shape[1])
    return model


def _learn_standardized(trainer, learn, X, y, weight, order, loss_sums):
    """Train on the rows of a chunk in parts, between which the scale of the targets is estimated anew."""
    model, scaling, is_first_pass = trainer.model, trainer.model.target_scaling, loss_sums is trainer.model.loss_sums
    active = np.flatnonzero(weight[order] > 0)
    if not active.size:
        return learn(trainer, X, np.asarray(y, model.dtype), weight, order, loss_sums)
    y = np.asarray(y, np.float64)
    if not scaling.has_offset:
        first = order[active[0]]
        scaling.set_offset(y[first])
        # The prediction for the first row was 0, before the intercept started at its target.
        target = float(y[first])
        untrained_loss = model.loss.value(target, 0.0) - model.loss.value(target, scaling.offset)
        model.selection.add_loss(loss_sums, weight[first] * untrained_loss)
    residual = y - scaling.offset
    y = residual.astype(model.dtype)
    position, n_learnt = 0, 0
    while position < order.size:
        if scaling.is_due:
            model._rescale_rate()
        n_learnt += -(-scaling.rows_until_due() // model.batch_size) * model.batch_size  # whole batches
        end = int(active[n_learnt - 1]) + 1 if n_learnt < active.size else order.size
        before = model.n_seen
        loss_sums = model.loss_sums if is_first_pass else trainer.later_sums  # a search replaces them
        should_continue = learn(trainer, X, y, weight, order[position:end], loss_sums)
        learnt = order[position : position + model.n_seen - before]
        learnt = learnt[weight[learnt] > 0]
        scaling.add_rows(residual[learnt], weight[learnt].astype(np.float64))
        if not should_continue:
            return False
        position = end
    return True


def _learn_on_host(trainer, X, y, weight, order, loss_sums):
    """Train on the rows of a chunk; return whether to continue."""
    model, is_first_pass = trainer.model, loss_sums is trainer.model.loss_sums
    rows = row_kernels.Rows(X.indptr, as_unsigned(X.indices), X.data, y, weight, order)

    def prepare_kernel():
        """Return the kernel, and its arguments without the rows."""
        parameters = model.parameters
        spec, weights = parameters.spec(order.size), parameters.kernel_arrays(X.shape[1])
        if parameters.ledger_sums is not None:
            spec, weights = parameters.ledger_sums.for_kernel(spec, weights)
        kernel, workspace = choose_kernel(parameters, model.batch_size, X, spec, trainer.threads)
        sums = model.selection.kernel_sums(model.loss_sums if is_first_pass else trainer.later_sums)
        before = time.perf_counter()
        if trainer.start_time is None or model.is_searching:  # the kernel changes at the end of a search
            kernel(spec, rows, weights, workspace, sums, parameters.t, 0, 0)  # no rows: this only compiles
        trainer.start_clock(time.perf_counter() - before)
        return kernel, spec, weights, workspace, sums

    kernel, spec, weights, workspace, sums = prepare_kernel()

    def learn_slice(position, stop):
        nonlocal X, rows, kernel, spec, weights, workspace, sums
        if model.is_searching:
            has_changed = trainer.halve_candidates()
            if model.parameters.is_scaled:
                has_changed |= model._update_weight_unit(_next_weight(model, weight, order, position))
                stop = min(stop, position + _rows_to_power_of_two(model.parameters.t))
            if has_changed:
                kernel, spec, weights, workspace, sums = prepare_kernel()
            stop = min(stop, position + (model.parameters.updates_until_halving() or stop))
        parameters = model.parameters
        while True:
            before = position
            with np.errstate(over="ignore", invalid="ignore"):  # as in compiled code, which checks predictions
                position, status, parameters.t = kernel(
                    spec, rows, weights, workspace, sums, parameters.t, position, stop
                )
            model.n_seen += int(position) - before
            if model.is_searching:
                model._count_weights(weight[order[before:position]])
            if status == row_kernels.DONE:
                return int(position)
            if status != row_kernels.UNSORTED:
                _csr.raise_for_row(X, order[position], status == row_kernels.TOO_LARGE)
            X = sum_duplicates(X)
            rows = rows._replace(indptr=X.indptr, indices=as_unsigned(X.indices), data=X.data)

    return trainer.run_slices(order.size, learn_slice)


def _next_weight(model, weight, order, position):
    """Return the sample weight of the first update, or the unit of the weights if there was one."""
    if model.parameters.t:
        return model.weight_unit
    following = weight[order[position:]]
    following = following[following > 0]
    return float(following[0]) if following.size else model.weight_unit


def _rows_to_power_of_two(n):
    """Return the number of rows from n to the next power of two."""
    return (1 << int(n).bit_length()) - int(n)
