"""ClassModel: a linear model of many classes."""

import numpy as np

from ..compiler.jit import cast, compiled_for
from ..records.losses import inverse_link
from ..records.multiclass_losses import OneVsRest, Softmax
from ..records.schedules import Rates
from . import targets as samples
from .kernels import multi_rows
from .multi_output_model import LaneModel
from .targets import Classes, of_classes


class ClassModel(LaneModel):
    """A linear model of many classes: a lane of weights for each.

    A `LinearModel` whose `coef` has the shape (n_classes, n_features) and whose `intercept` the shape (n_classes,).
    """

    def __init__(self, n_features, dtype, loss, rule, lr, penalty, intercept, **options):
        if isinstance(lr, Rates):
            raise ValueError(
                "lr: 'auto' tries rates side by side for two classes or numbers, not for many classes; "
                "give a number such as 0.5"
            )
        self.labels, self.tally = Classes(), np.zeros(2)
        super().__init__(n_features, dtype, loss, rule, lr, penalty, intercept, (), **options)

    def meant(self, options):
        """Options of a call that goes on, as this model has them."""
        return options | {"loss": of_classes(options["loss"])} if "loss" in options else options

    @property
    def _told(self):
        return slice(None)

    def _names(self):
        return [self.labels.closed, *self.labels.names]

    def _name(self, names):
        self.admit(Classes(tuple(names[1:]), names[0]))

    def announce(self, classes):
        """Take in labels told beforehand."""
        self.admit(self.labels.announced(classes))

    def targets(self, y, n):
        """(positions of the labels, labels) of a chunk of n rows."""
        y = samples.labels_of(y, n)
        labels = self.labels.seen(y)
        return labels.positions(y), labels

    def admit(self, labels):
        """Make room for more classes, in place: a new one begins with weights of zero."""
        if labels == self.labels:
            return
        old, self.labels = self.labels.names, labels
        places = [labels.names.index(name) for name in old]
        self._rates = np.ones(len(labels.names))
        self._table = self._moved(self._table, self.n_features, places)
        self._bias_table = self._moved(self._bias_table, 1, places)
        if self._mean is not None:
            self._mean.spread(self._rates.size, places)

    @property
    def coef(self):
        """Weights of shape (n_classes, n_features), with the penalty of every update so far."""
        return np.ascontiguousarray(self._reported()[:, : self._rates.size].T)

    @property
    def intercept(self):
        """The intercepts, of shape (n_classes,)."""
        return self._reported_bias()[0, : self._rates.size].copy()

    @property
    def classes(self):
        """The labels in increasing order."""
        return self.labels.complete()

    def _told_weights(self):
        used = self._rates.size
        return self._reported()[:, :used], self._reported_bias()[0, :used]

    def _decide(self, indptr, indices, data, shape):
        w = self._reported()
        out = np.empty((shape[0], w.shape[1]), self.dtype)
        row = multi_rows.margins(indptr, indices, data, w[: shape[1]], self._reported_bias(), out)
        return out[:, : self._rates.size], row

    def predict(self, X):
        """Return the label predicted for each row: that of the largest decision.

        Parameters
        ----------
        X : sparse matrix or array of shape (n, n_features)

        Returns
        -------
        ndarray of shape (n,)
        """
        return self.classes[np.argmax(self._margin(X), axis=1)]

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
        return self.linked(self._margin(X))

    def linked(self, margin):
        """Return the probabilities that the rows of a decision function stand for."""
        if isinstance(self.loss, Softmax):
            share = np.exp(margin - margin.max(axis=1, keepdims=True))
        elif not isinstance(self.loss, OneVsRest):
            loss = cast(self.loss, self.dtype)
            rows = [np.asarray(inverse_link(loss, scores)) for scores in margin]
            for row in rows:
                if row.shape != margin.shape[1:]:
                    raise ValueError(
                        f"{type(loss).__name__}.inverse_link: gives shape {row.shape}; must give {margin.shape[1:]}, a "
                        "probability for each class"
                    )
            return np.array(rows, self.dtype).reshape(margin.shape)
        else:
            flat = [inverse_link(self.loss.loss, p) for p in margin.ravel().tolist()]
            share = np.array(flat, self.dtype).reshape(margin.shape)
            share[share.sum(axis=1) == 0] = 1  # no class claims the row
        return share / share.sum(axis=1, keepdims=True)

    def loss_of_margins(self, y, margin, sample_weight=None):
        """Return the mean loss of the decision function `margin` where `y` is true."""
        margin = np.ascontiguousarray(margin, np.float64)
        y = self.labels.positions(samples.labels_of(y, margin.shape[0]))
        sample_weight = samples.sample_weight(sample_weight, y.size, np.float64)
        out = np.empty(y.size)
        loss = cast(self.loss, np.float64)
        compiled_for(multi_rows.losses, loss)(loss, y, margin, np.empty_like(margin[0]), out)
        return float(np.average(out, weights=sample_weight))
