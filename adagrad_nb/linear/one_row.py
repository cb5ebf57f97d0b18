"""Training on one row or on few rows in place, at a cost that does not depend on the number of features.

`learn_row` and `learn_rows` make the same updates as `fit_linear` with the rows as its data, without the copy of the
model.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._csr import as_csr, as_unsigned, only_row, sum_duplicates
from ..compiler.jit import compiled_entry, errors_ignored
from ..io.readers import Chunk
from .dispatch import choose_kernel
from .kernels import rows as row_kernels
from .kernels.rows import Rows
from .trainer import Trainer, check_finite

ONLY_ROW = np.zeros(1, np.int64)
ONE = np.ones(1)


def learn_row(model: Any, X: Any, y: np.ndarray) -> float | None:
    """Train a model on one row of weight 1, in place.

    Parameters
    ----------
    model : LinearModel
        With updates for each row.
    X : matrix of shape (1, n_features)
    y : ndarray of shape (1,)
        Target as the loss takes it, or in double precision if the model standardises targets.

    Returns
    -------
    float or None
        Loss of the row before the update.  None if `fit_linear` has to convert or to reject the row, which has changed
        nothing.

    Raises
    ------
    ValueError
        If the new weights overflow.
    """
    row, scaling = only_row(X, model.dtype), model.target_scaling
    if row is None or X.shape[1] != model.n_features or not row_kernels.are_below(row[0], X.shape[1]):
        return None
    if scaling is None:
        return _learn_row(model, X, row, y)
    if not scaling.has_offset:
        return None
    before = model.parameters, scaling.values.copy()
    if scaling.is_due:
        model._rescale_rate()
    loss, residual = None, y - scaling.offset
    try:
        loss = _learn_row(model, X, row, residual.astype(model.dtype))
    finally:
        if loss is None:
            model.parameters, scaling.values = before
    if loss is not None:
        scaling.add_rows(residual, ONE)
    return loss


def _learn_row(model, X, row, y):
    """Train on a row whose indices are in range; return its loss, or None if the kernel rejects it."""
    totals = model.selection.loss_totals(model.loss_sums)
    if model.is_searching:
        model._halve_candidates()
        if model.parameters.is_scaled:
            model._update_weight_unit(model.weight_unit if model.parameters.t else 1.0)
    parameters = model.parameters
    columns, values = row
    saved = SavedEntries(model, columns)
    status = _row_learner(parameters, X.indptr.dtype, columns, values, y).learn(model, columns, values, y)
    if status == row_kernels.UNSORTED:
        X = sum_duplicates(X)
        columns, values = as_unsigned(X.indices), X.data
        status = _row_learner(parameters, X.indptr.dtype, columns, values, y).learn(model, columns, values, y)
    if status != row_kernels.DONE:
        saved.restore(model)
        return None
    try:
        check_finite(model, columns, "row gives")
    except ValueError:
        saved.restore(model)
        raise
    model.n_seen += 1  # the binary exponent of a weight of 1 is 0, so a search counts nothing
    loss, total = (now - old for now, old in zip(model.selection.loss_totals(model.loss_sums), totals, strict=True))
    return float(loss / total)


class SavedEntries:
    """The entries of a model that updates of some columns change, to undo them."""

    def __init__(self, model, columns):
        parameters = model.parameters
        if parameters.has_feature_groups:  # all weights of the groups change
            columns = np.arange(parameters.n_features)
        arrays = parameters.cache.get("arrays of updates")
        if arrays is None:
            arrays = parameters.cache["arrays of updates"] = parameters.arrays_of_updates()
        self.t, self.loss_sums, self.columns = parameters.t, model.loss_sums.copy(), columns
        self.entries = [(array, array[columns]) for array in arrays[0]]
        self.others = [(array, array.copy()) for array in arrays[1]]

    def restore(self, model):
        """Undo the updates since."""
        model.parameters.t, model.loss_sums = self.t, self.loss_sums
        for array, values in self.entries:
            array[self.columns] = values
        for array, values in self.others:
            array[...] = values


# --- the kernel of one row -------------------------------------------------------------------------------------------


class _LargestRow(NamedTuple):
    """Form of the rows for which a workspace is allocated."""

    indptr: np.ndarray
    indices: np.ndarray
    dtype: np.dtype
    shape: tuple[int, int]


class _RowLearner:
    """Kernel for one row of at most `size` values, with the arguments that are the same for all rows.

    `spec` is None if the records change with each update.
    """

    def __init__(self, parameters, index_dtype, columns, values, y):
        self.size = 1 << columns.size.bit_length()
        spec = parameters.spec(1)
        largest = _LargestRow(
            np.array([0, self.size]), columns.view(f"i{columns.itemsize}"), values.dtype, (1, parameters.n_features)
        )
        self.kernel, self.workspace = choose_kernel(parameters, 1, largest, spec)
        self.weights, self.weight = parameters.kernel_arrays(), np.ones(1, parameters.dtype)
        self.indptr, self.spec = np.zeros(2, index_dtype), spec if parameters.has_fixed_spec else None
        if self.spec is not None:
            rows = Rows(self.indptr, columns, values, y, self.weight, ONLY_ROW)
            sums = np.zeros(parameters.n_loss_sums)
            self.kernel = compiled_entry(self.kernel, spec, rows, self.weights, self.workspace, sums, 0, 0, 0)

    def learn(self, model, columns, values, y):
        """Train on a row; return the status of the kernel."""
        parameters = model.parameters
        self.indptr[1] = columns.size
        rows = Rows(self.indptr, columns, values, y, self.weight, ONLY_ROW)
        spec = parameters.spec(1) if self.spec is None else self.spec
        sums = model.selection.kernel_sums(model.loss_sums)
        with errors_ignored():
            _, status, t = self.kernel(spec, rows, self.weights, self.workspace, sums, parameters.t, 0, 1)
        if status == row_kernels.DONE:
            parameters.t = t
        return status


def _row_learner(parameters, index_dtype, columns, values, y):
    """Return the kernel for a row, which later rows use too until an option of the parameters changes."""
    key = index_dtype, columns.dtype
    learner = parameters.cache.get(key)
    if learner is None or columns.size > learner.size:
        learner = parameters.cache[key] = _RowLearner(parameters, index_dtype, columns, values, y)
    return learner


# --- few rows --------------------------------------------------------------------------------------------------------


def learn_rows(model: Any, X: Any, y: np.ndarray, weight: np.ndarray, callback: Any = None) -> None:
    """Train a model on few rows, in place, with its present options; after an error it is as before.

    Parameters
    ----------
    model : LinearModel
    X : matrix of shape (n, n_features)
    y : ndarray of shape (n,)
    weight : ndarray of shape (n,)
        Sample weights.
    callback : callable, optional
        See `fit_linear`.
    """
    X = as_csr(X, model.dtype)
    columns = as_unsigned(np.unique(X.indices[: X.indptr[-1]]))
    if not row_kernels.are_below(columns, X.shape[1]):  # the kernel rejects a row
        columns = columns[:0]
    saved = SavedEntries(model, columns)
    attributes = _copy_attributes(model)
    try:
        trainer = Trainer(
            model, {}, dtype=None, classes=None, class_weight=None, threads=1, early_stopping=None, callback=callback,
            is_in_place=True,
        )  # fmt: skip
        trainer.fit_chunk(Chunk(X, y, weight), 0, None, 0)
        check_finite(model, columns)
    except BaseException:
        for instance, values in attributes:
            instance.__dict__.clear()
            instance.__dict__.update(values)
        model.parameters.cache.pop("slot_of", None)
        saved.restore(model)
        raise


def _copy_attributes(model):
    """Return the objects of a model that training changes, each with its attributes."""
    parameters = model.parameters
    parts = [model, parameters, parameters.scaling, parameters.iterate_sums, model.target_scaling]
    attributes = [(part, dict(part.__dict__)) for part in parts if part is not None]
    if model.target_scaling is not None:
        attributes[-1][1]["values"] = model.target_scaling.values.copy()
    return attributes
