"""Selection of the outputs that a linear model reports: its only one, all classes, or the best learning rate.

A selection is a stateless object.  Its methods take the `parameters` of a model and its `loss_sums`.  Those that return
or use weights take the features of the weights as `columns`, by default all features in their order.
"""

from __future__ import annotations

import math

import numpy as np

from ..compiler.simd import LANES4
from .kernels import multi_rows, rows


class OnlyOutput:
    """The output of a model with one weight for each feature."""

    def loss_totals(self, loss_sums):
        """Return (sum of losses, sum of sample weights)."""
        return loss_sums[0], loss_sums[1]

    def add_loss(self, loss_sums, loss):
        """Add a loss that all outputs share."""
        loss_sums[:-1] += loss

    def coef(self, parameters, loss_sums, columns=()):
        """Return weights of shape (n_features,)."""
        return parameters.reported_weights(columns)

    def intercept(self, parameters, loss_sums):
        """Return the intercept as a float."""
        return float(parameters.reported_bias()[0])

    def device_weights(self, parameters, loss_sums, columns=()):
        """Return the weights and the intercept that predict rows on a device."""
        return self.coef(parameters, loss_sums, columns), self.intercept(parameters, loss_sums)

    def kernel_sums(self, loss_sums):
        """Return the part of the loss sums to which the learning kernel adds."""
        return loss_sums

    def decision_values(self, parameters, loss_sums, X, columns=()):
        """Return the scores of the rows `X`, and the number of the first row without one."""
        out = np.empty(X.indptr.size - 1, parameters.dtype)
        coef, intercept = self.device_weights(parameters, loss_sums, columns)
        coef = coef[: X.n_columns]
        return out, rows.decision_values(X.indptr, X.indices, X.data, coef, parameters.dtype.type(intercept), out)

    def score_row(self, parameters, loss_sums, columns, values, n_columns):
        """Return the scores of one row, or None if an index is out of range or a score is not finite.

        Only for parameters without averaged iterates.
        """
        scores = parameters.score_row(columns, values, n_columns)
        return None if scores is None else scores.reshape(1)

    def is_finite(self, parameters, loss_sums, columns=()):
        """Return whether all reported weights are finite."""
        return parameters.is_finite(columns=columns)


class BestOutput(OnlyOutput):
    """The output with the lowest progressive loss, of a model that tries several learning rates."""

    def best(self, loss_sums):
        """Return the position of the output with the lowest loss."""
        return int(loss_sums[:-1].argmin())

    def losses(self, loss_sums):
        """Return the sum of the losses of each output."""
        return loss_sums[:-1]

    def loss_totals(self, loss_sums):
        """Return (sum of losses, sum of sample weights) of the best output."""
        return loss_sums[self.best(loss_sums)], loss_sums[-1]

    def coef(self, parameters, loss_sums, columns=()):
        """Return weights of shape (n_features,)."""
        return np.ascontiguousarray(parameters.reported_weights(columns)[:, self.best(loss_sums)])

    def intercept(self, parameters, loss_sums):
        """Return the intercept as a float."""
        return float(parameters.reported_bias()[0, self.best(loss_sums)])

    def score_row(self, parameters, loss_sums, columns, values, n_columns):
        """Return the score of one row, or None if an index is out of range or the score is not finite."""
        scores = parameters.score_row(columns, values, n_columns)
        best = self.best(loss_sums)
        return scores[best : best + 1] if scores is not None and math.isfinite(scores[best]) else None

    def outputs(self, parameters, loss_sums):
        """Return the outputs of the best learning rate, as a slice."""
        best = self.best(loss_sums)
        return slice(best, best + 1)

    def is_finite(self, parameters, loss_sums, columns=()):
        """Return whether all reported weights are finite."""
        return parameters.is_finite(self.outputs(parameters, loss_sums), columns)


class SearchedOutput(BestOutput):
    """The best output of a search over learning rates.

    `loss_sums` has, for n learning rates, n sums of losses in which row k has the weight k, n sums of losses,
    the sum of the losses of the rate that was the best one before each row, and the sum of the sample weights.
    """

    def best(self, loss_sums):
        """Return the position of the output with the lowest loss, in which recent rows count more."""
        return int(loss_sums[: loss_sums.size // 2 - 1].argmin())

    def losses(self, loss_sums):
        """Return the sum of the losses of each output."""
        return loss_sums[loss_sums.size // 2 - 1 : -2]

    def add_loss(self, loss_sums, loss):
        """Add a loss that all outputs share, except to the sums that compare them: it may exceed their digits."""
        loss_sums[loss_sums.size // 2 - 1 : -1] += loss

    def keep_outputs(self, loss_sums, kept):
        """Return the loss sums of the learning rates at the positions `kept`."""
        n = loss_sums.size // 2 - 1
        return loss_sums[np.concatenate([kept, n + kept, [2 * n, 2 * n + 1]])]

    def loss_totals(self, loss_sums):
        """Return (sum of losses, sum of sample weights) of the outputs that were best before each row."""
        return loss_sums[-2], loss_sums[-1]


class LastOutput(SearchedOutput):
    """The output that remains of a search over learning rates.

    `loss_sums` has the sum of its losses minus the next number; the sum of the losses of the output that was the best
    one before each row; and the sum of the sample weights.  The first number is constant, because this output is the
    best one.
    """

    coef, intercept, is_finite = OnlyOutput.coef, OnlyOutput.intercept, OnlyOutput.is_finite
    score_row = OnlyOutput.score_row

    def best(self, loss_sums):
        """Return the position of the output."""
        return 0

    def losses(self, loss_sums):
        """Return the sum of the losses of the output, in an array."""
        return loss_sums[:1] + loss_sums[1]

    def kernel_sums(self, loss_sums):
        """Return the part of the loss sums to which the learning kernel adds."""
        return loss_sums[1:]

    def add_loss(self, loss_sums, loss):
        """Add a loss to the sums, in place."""
        loss_sums[1] += loss

    def from_search(self, loss_sums):
        """Return the loss sums, given those of a `SearchedOutput` with one output."""
        _, own, best, weight = loss_sums
        return np.array([0.0 if own == best else own - best, best, weight])


class AllOutputs(OnlyOutput):
    """All outputs of a model with one output for each class."""

    def outputs(self, parameters, loss_sums):
        """Return the outputs of the classes, as a slice."""
        return slice(0, parameters.n_outputs)

    def coef(self, parameters, loss_sums, columns=()):
        """Return weights of shape (n_classes, n_features)."""
        return np.ascontiguousarray(parameters.reported_weights(columns)[:, self.outputs(parameters, loss_sums)].T)

    def intercept(self, parameters, loss_sums):
        """Return the intercepts, of shape (n_classes,)."""
        return parameters.reported_bias()[0, self.outputs(parameters, loss_sums)].copy()

    def device_weights(self, parameters, loss_sums, columns=()):
        """Return the weights, of shape (n_features, n_classes), and the intercepts that predict rows on a device."""
        used = self.outputs(parameters, loss_sums)
        return parameters.reported_weights(columns)[:, used], parameters.reported_bias()[0, used]

    def score_row(self, parameters, loss_sums, columns, values, n_columns):
        """Return the scores of one row, or None if an index is out of range or a score is not finite."""
        scores = parameters.score_row(columns, values, n_columns)
        scores = None if scores is None else scores[None, self.outputs(parameters, loss_sums)]
        return scores if scores is not None and np.isfinite(scores).all() else None

    def decision_values(self, parameters, loss_sums, X, columns=()):
        """Return the scores of the rows `X`, and the number of the first row without them."""
        used = self.outputs(parameters, loss_sums)
        w, bias = (
            _with_whole_vectors(array, used)
            for array in (parameters.reported_weights(columns), parameters.reported_bias())
        )
        out = np.empty((X.indptr.size - 1, w.shape[1]), parameters.dtype)
        row = multi_rows.decision_values(X.indptr, X.indices, X.data, w[: X.n_columns], bias, out)
        return out[:, : used.stop - used.start], row


class SearchedClasses(AllOutputs, SearchedOutput):
    """All classes of the best learning rate of a search."""

    def outputs(self, parameters, loss_sums):
        """Return the outputs of the best learning rate, as a slice."""
        first = self.best(loss_sums) * parameters.n_classes
        return slice(first, first + parameters.n_classes)

    def is_finite(self, parameters, loss_sums, columns=()):
        """Return whether all reported weights are finite."""
        return parameters.is_finite(self.outputs(parameters, loss_sums), columns)


def _with_whole_vectors(array, used):
    """Return the columns `used` of an array of whole SIMD vectors, padded by zeros to whole vectors."""
    n = used.stop - used.start
    n_padded = -(-n // LANES4) * LANES4
    if used.start == 0 and array.shape[1] == n_padded:
        return array
    padded = np.zeros((array.shape[0], n_padded), array.dtype)
    padded[:, :n] = array[:, used]
    return padded
