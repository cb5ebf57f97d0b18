"""What a linear model says about rows: decisions, labels or numbers, probabilities, losses."""

import numpy as np

from .. import _check
from .._device.device import fetch, is_device
from .._kernels import linear as kernels
from ..losses import has_probabilities, link, value
from . import samples
from .samples import as_rows, targets, unsigned


class Decisions:
    """The predictions of a model that has a `coef` and an `intercept`; the base of `LinearModel`."""

    @property
    def has_probabilities(self):
        """Whether the loss gives the probability of each label, as the logistic loss does and the hinge does not."""
        return has_probabilities(self.loss)

    def check_columns(self, X):
        """Refuse rows with more columns than there are weights."""
        if X.shape[1] > self.n_features:
            raise ValueError(
                f"X: got {X.shape[1]} columns; the model has {self.n_features} features. "
                f"Drop the others with X[:, :{self.n_features}]"
            )

    def decision_function(self, X):
        """Return coef·x + intercept for each row.

        Parameters
        ----------
        X : sparse matrix or array of shape (n, n_features)
            A sparse matrix may have fewer columns; the missing ones are zero.

        Returns
        -------
        ndarray of shape (n,), or (n, n_classes) for many classes
            For rows on a device, a device array.

        Raises
        ------
        ValueError
            For more columns than the model has, indices out of range, or values that are not finite.
        """
        if hasattr(X, "margins"):  # rows on a device
            return X.margins(*self._told_weights())
        X = as_rows(X, self.dtype)
        self.check_columns(X)
        with np.errstate(over="ignore", invalid="ignore"):  # as in compiled code; such rows are refused by their number
            out, row = self._decide(X.indptr, unsigned(X.indices), X.data, X.shape)
        if row < X.shape[0]:
            _check.row_of(X, row)
        return out

    def _told_weights(self):
        """The weights and the intercept that predict."""
        return self.coef, self.intercept

    def _decide(self, indptr, indices, data, shape):
        """(decisions, number of the first row that has none) of rows."""
        coef, intercept = self._told_weights()
        out = np.empty(shape[0], self.dtype)
        return out, kernels.margins(indptr, indices, data, coef[: shape[1]], self.dtype.type(intercept), out)

    def _margin(self, X):
        """The decision function on the host."""
        margin = self.decision_function(X)
        return fetch(margin) if is_device(margin) else margin

    def predict(self, X):
        """Return the label, or the number, predicted for each row.

        Parameters
        ----------
        X : sparse matrix or array of shape (n, n_features)

        Returns
        -------
        ndarray of shape (n,)
        """
        margin = self._margin(X)
        if self.classes is None:
            return self.linked(margin)
        return self.classes[(margin > 0).astype(np.intp)]

    def predict_proba(self, X):
        """Return the probability of each label for each row.

        Parameters
        ----------
        X : sparse matrix or array of shape (n, n_features)

        Returns
        -------
        ndarray of shape (n, 2)
            Columns in the order of `classes`.

        Raises
        ------
        AttributeError
            If the loss has no probabilities.
        """
        if self.classes is None:
            raise AttributeError(f"predict_proba: the loss {type(self.loss).__name__} predicts numbers; use predict")
        if not self.has_probabilities:
            raise AttributeError(
                f"predict_proba: the loss {type(self.loss).__name__} has no probabilities; use decision_function, "
                "or learn with 'logistic' or 'modified_huber'"
            )
        positive = self.linked(self._margin(X))
        return np.column_stack([1 - positive, positive])

    def linked(self, margin):
        """Return what each entry of a decision function says about y: a probability, or the number predicted."""
        return np.array([link(self.loss, p) for p in margin.tolist()], self.dtype)

    def loss_of_margins(self, y, margin, sample_weight=None):
        """Return the mean loss of the decision function `margin` where `y` is true."""
        y, _ = targets(y, margin.size, self.loss, self.labels, np.float64)
        sample_weight = samples.sample_weight(sample_weight, margin.size, np.float64)
        losses = [value(self.loss, target, p) for target, p in zip(y.tolist(), margin.tolist(), strict=True)]
        return float(np.average(losses, weights=sample_weight))

    def mean_loss(self, X, y, sample_weight=None):
        """Return the mean loss of the model on data, without the penalty.

        Parameters
        ----------
        X : sparse matrix or array of shape (n, n_features)
        y : array_like of shape (n,)
        sample_weight : array_like of shape (n,), optional

        Returns
        -------
        float
        """
        return self.loss_of_margins(y, self._margin(X), sample_weight)
