"""Training on one row in place, at a cost that depends on the values of the row and not on the number of features.

`learn_row` makes the same update as `fit_linear` with the row as its data, without the copy of the model.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import _csr
from .._csr import as_unsigned, sum_duplicates
from .dispatch import choose_kernel
from .kernels import rows as row_kernels
from .kernels.rows import Rows
from .trainer import check_finite

ONLY_ROW = np.zeros(1, np.int64)


def can_learn_row(model: Any) -> bool:
    """Return whether `learn_row` supports a model: one without batches and without a running scale of the targets."""
    return model.batch_size == 1 and not model.standardize_targets


def learn_row(model: Any, X: Any, y: np.ndarray, weight: float) -> float:
    """Train a model on one row, in place; after an error it is as before.

    Parameters
    ----------
    model : LinearModel
    X : CSR matrix of shape (1, n)
        Of the precision of the model, with n <= n_features.
    y : ndarray of shape (1,)
        Target as the loss takes it.
    weight : float
        Sample weight.

    Returns
    -------
    float
        Loss of the row before the update; NaN if its weight is zero.

    Raises
    ------
    RowError, ValueError
        If X is malformed, or if the prediction, the gradient or the new weights overflow.
    """
    _csr.check_csr(X)
    before = model.selection.loss_totals(model.loss_sums)
    if model.is_searching:
        model._halve_candidates()
        if model.parameters.is_scaled and weight:
            model._update_weight_unit(model.weight_unit if model.parameters.t else weight)
    parameters, dtype = model.parameters, model.dtype
    weights_of_rows = np.array([weight], dtype)
    rows = Rows(X.indptr.copy(), as_unsigned(X.indices), X.data, y, weights_of_rows, ONLY_ROW)
    saved = SavedEntries(model, rows.indices, X.shape[1])
    position, status = _make_update(model, parameters, X.shape[1], rows)
    if status == row_kernels.UNSORTED:
        X = sum_duplicates(X)
        rows = rows._replace(indptr=X.indptr, indices=as_unsigned(X.indices), data=X.data)
        position, status = _make_update(model, parameters, X.shape[1], rows)
    if status != row_kernels.DONE:
        _csr.raise_for_row(X, position, status == row_kernels.TOO_LARGE)
    try:
        check_finite(model, rows.indices, "row gives")
    except ValueError:
        saved.restore(model)
        raise
    model.n_seen += 1
    if model.is_searching:
        model._count_weights(weights_of_rows)
    loss, total = (now - old for now, old in zip(model.selection.loss_totals(model.loss_sums), before, strict=True))
    return float(loss / total) if total else float("nan")


class SavedEntries:
    """The entries of a model that an update of one row changes, to undo it."""

    def __init__(self, model, columns, n_columns):
        parameters = model.parameters
        self.t, self.loss_sums = parameters.t, model.loss_sums.copy()
        if not row_kernels.are_below(columns, n_columns):  # the kernel rejects the row
            columns = columns[:0]
        entries, others = parameters.arrays_of_updates()
        self.entries = [(array, columns, array[columns]) for array in entries]
        self.others = [(array, ..., array.copy()) for array in others]

    def restore(self, model):
        """Undo the updates since."""
        model.parameters.t, model.loss_sums = self.t, self.loss_sums
        for array, index, values in self.entries + self.others:
            array[index] = values


def _make_update(model, parameters, n_columns, rows):
    """Train on the only row; return (position, status) of the kernel."""
    spec, weights = parameters.spec(1), parameters.kernel_arrays(n_columns)
    kernel, workspace = _row_kernel(parameters, rows, spec, n_columns)
    with np.errstate(over="ignore", invalid="ignore"):  # as in compiled code, which checks predictions
        position, status, parameters.t = kernel(
            spec, rows, weights, workspace, model.selection.kernel_sums(model.loss_sums), parameters.t, 0, 1
        )
    return position, status


class _LargestRow(NamedTuple):
    """Form of the rows for which a workspace is allocated."""

    indptr: np.ndarray
    indices: np.ndarray
    dtype: np.dtype
    shape: tuple[int, int]


def _row_kernel(parameters, rows, spec, n_columns):
    """Return the kernel and its workspace, which later rows use too until an option of the parameters changes."""
    cached = parameters.cache.get("row_kernel")
    if cached is not None and rows.indices.size <= cached[0] and rows.indices.dtype == cached[1]:
        return cached[2:]
    size = 1 << int(rows.indices.size).bit_length()
    indices = rows.indices.view(f"i{rows.indices.itemsize}")
    largest = _LargestRow(np.array([0, size]), indices, rows.data.dtype, (1, n_columns))
    kernel, workspace = choose_kernel(parameters, 1, largest, spec)
    parameters.cache["row_kernel"] = size, rows.indices.dtype, kernel, workspace
    return kernel, workspace
