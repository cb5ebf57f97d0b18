"""ClassModel: a linear model of many classes."""

import numpy as np

from ..compiler.jit import cast, compiled_for
from ..records.losses import inverse_link
from ..records.multiclass_losses import OneVsRest, Softmax
from ..records.schedules import Rates
from . import targets
from .kernels import multi_rows
from .multi_output_model import MultiOutputModel
from .targets import MulticlassLabels, multiclass_loss


class MulticlassModel(MultiOutputModel):
    """A linear model of many classes: a lane of weights for each.

    A `LinearModel` whose `coef` has the shape (n_classes, n_features) and whose `intercept` the shape (n_classes,).
    """

    def __init__(self, n_features, dtype, loss, rule, lr, penalty, intercept, **options):
        if isinstance(lr, Rates):
            raise ValueError(
                "lr: 'auto' tries rates side by side for two classes or numbers, not for many classes; "
                "give a number such as 0.5"
            )
        self.labels, self.loss_sums = MulticlassLabels(), np.zeros(2)
        super().__init__(n_features, dtype, loss, rule, lr, penalty, intercept, (), **options)

    def _resolve_options(self, options):
        """Options of a call that goes on, as this model has them."""
        return options | {"loss": multiclass_loss(options["loss"])} if "loss" in options else options

    @property
    def _active_outputs(self):
        return slice(None)

    def _labels_to_json(self):
        return [self.labels.is_fixed, *self.labels.classes]

    def _labels_from_json(self, labels):
        self._set_labels(MulticlassLabels(tuple(labels[1:]), labels[0]))

    def _declare_classes(self, classes):
        """Take in labels told beforehand."""
        self._set_labels(self.labels.declared(classes))

    def _encode_targets(self, y, n):
        """(positions of the labels, labels) of a chunk of n rows."""
        y = targets.as_labels(y, n)
        labels = self.labels.extended(y)
        return labels.encode(y), labels

    def _set_labels(self, labels):
        """Make room for more classes, in place: a new one begins with weights of zero."""
        if labels == self.labels:
            return
        old, self.labels = self.labels.classes, labels
        columns = [labels.classes.index(name) for name in old]
        self._rate_factors = np.ones(len(labels.classes))
        self._table = self._resized_table(self._table, self.n_features, columns)
        self._bias_table = self._resized_table(self._bias_table, 1, columns)
        if self._iterate_sums is not None:
            self._iterate_sums.add_outputs(self._rate_factors.size, columns)

    @property
    def coef(self):
        """Weights of shape (n_classes, n_features), with the penalty of every update so far."""
        return np.ascontiguousarray(self._reported_table()[:, : self._rate_factors.size].T)

    @property
    def intercept(self):
        """The intercepts, of shape (n_classes,)."""
        return self._reported_bias()[0, : self._rate_factors.size].copy()

    @property
    def classes(self):
        """The labels in increasing order."""
        return self.labels.to_array()

    def _reported_weights(self):
        n_outputs = self._rate_factors.size
        return self._reported_table()[:, :n_outputs], self._reported_bias()[0, :n_outputs]

    def _decision_values(self, indptr, indices, data, shape):
        w = self._reported_table()
        out = np.empty((shape[0], w.shape[1]), self.dtype)
        row = multi_rows.decision_values(indptr, indices, data, w[: shape[1]], self._reported_bias(), out)
        return out[:, : self._rate_factors.size], row

    def predict(self, X):
        """Return the label predicted for each row: that of the largest decision.

        Parameters
        ----------
        X : sparse matrix or array of shape (n, n_features)

        Returns
        -------
        ndarray of shape (n,)
        """
        return self.classes[np.argmax(self._host_scores(X), axis=1)]

    def predict_proba(self, X):
        """Return the probability of each class for each row.

        Parameters
        ----------
        X : sparse matrix or array of shape (n, n_features)

        Returns
        -------
        ndarray of shape (n, n_classes)
            Columns in the order of `classes`.  One against the rest, the probabilities of the binary problems are
            divided by their sum.

        Raises
        ------
        AttributeError
            If the loss has no probabilities.
        """
        if not (self.has_probabilities or isinstance(self.loss, OneVsRest)):
            raise AttributeError(
                f"predict_proba: the loss {type(self.loss).__name__} has no method inverse_link(p), which gives the "
                "probabilities of the classes from the scores of a row; use decision_function, or learn with 'softmax'"
            )
        if not self.has_probabilities:
            raise AttributeError(
                f"predict_proba: the loss {self.loss!r} has no probabilities; use decision_function, "
                "or learn with 'softmax'"
            )
        return self.predict_from_scores(self._host_scores(X))

    def predict_from_scores(self, scores):
        """Return the probabilities that the rows of a decision function stand for."""
        if isinstance(self.loss, Softmax):
            probabilities = np.exp(scores - scores.max(axis=1, keepdims=True))
        elif not isinstance(self.loss, OneVsRest):
            loss = cast(self.loss, self.dtype)
            rows = [np.asarray(inverse_link(loss, row)) for row in scores]
            for row in rows:
                if row.shape != scores.shape[1:]:
                    raise ValueError(
                        f"{type(loss).__name__}.inverse_link: gives shape {row.shape}; must give {scores.shape[1:]}, a "
                        "probability for each class"
                    )
            return np.array(rows, self.dtype).reshape(scores.shape)
        else:
            flat = [inverse_link(self.loss.loss, p) for p in scores.ravel().tolist()]
            probabilities = np.array(flat, self.dtype).reshape(scores.shape)
            probabilities[probabilities.sum(axis=1) == 0] = 1  # no class claims the row
        return probabilities / probabilities.sum(axis=1, keepdims=True)

    def loss_of_scores(self, y, scores, sample_weight=None):
        """Return the mean loss of the decision function `scores` where `y` is true."""
        scores = np.ascontiguousarray(scores, np.float64)
        y = self.labels.encode(targets.as_labels(y, scores.shape[0]))
        sample_weight = targets.check_sample_weight(sample_weight, y.size, np.float64)
        out = np.empty(y.size)
        loss = cast(self.loss, np.float64)
        compiled_for(multi_rows.losses, loss)(loss, y, scores, np.empty_like(scores[0]), out)
        return float(np.average(out, weights=sample_weight))
