"""What AdagradClassifier and AdagradRegressor have in common, and all that they take from scikit-learn."""

import numbers

import numpy as np
import scipy

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.extmath import safe_sparse_dot
    from sklearn.utils.metaestimators import available_if
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        "AdagradClassifier and AdagradRegressor need scikit-learn 1.6 or newer: pip install 'adagrad_nb[sklearn]'"
    ) from error

from . import _check
from ._linear import samples
from ._linear.contents import by_content
from .averaging import Polyak
from .callbacks import Curve
from .linear import fit_linear
from .losses import LOSSES
from .penalties import L1, L2, ElasticNet, NoPenalty
from .rules import Adagrad

# What `estimators` takes from scikit-learn it takes from here, behind the one error message.
__all__ = ["ALIASES", "ClassifierMixin", "Estimator", "RegressorMixin", "available_if", "check_classification_targets"]

ALIASES = {"log_loss": "logistic", "squared_error": "squared"}  # scikit-learn's names


class Estimator(BaseEstimator):
    """Parameters, learning, and coefficients that are dense or sparse; a subclass says what targets are."""

    def __init__(
        self, loss, penalty, alpha, l1_ratio, rule, lr, average, batch_size, max_iter, early_stopping, fit_intercept,
        shuffle, random_state, warm_start, callback,
    ):  # fmt: skip
        self.loss = loss
        self.penalty = penalty
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.rule = rule
        self.lr = lr
        self.average = average
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.fit_intercept = fit_intercept
        self.shuffle = shuffle
        self.random_state = random_state
        self.warm_start = warm_start
        self.callback = callback

    # --- parameters --------------------------------------------------------------------------------------------

    def _names(self):
        return [name for name, cls in LOSSES.items() if cls.labels in self._kinds]

    def _loss(self):
        """The loss as a record, if it is one for such targets."""
        loss = self.loss
        if isinstance(loss, str):
            name = ALIASES.get(loss, loss)
            if name not in self._names():
                raise ValueError(f"loss: got {loss!r}; must be one of {', '.join(self._names())}, or a loss record")
            return LOSSES[name]()
        _check.record("loss", loss, ("labels",), LOSSES[self._names()[0]]())
        if loss.labels not in self._kinds:
            raise ValueError(
                f"loss: {type(loss).__name__} is of targets that are a {loss.labels}; must be one of "
                f"{', '.join(self._names())}, or such a record"
            )
        return loss

    def _penalty(self):
        """The penalty as a record, strengths in scikit-learn's meaning."""
        if self.penalty is None:
            return NoPenalty()
        if not isinstance(self.penalty, str):
            return self.penalty
        _check.interval("alpha", self.alpha, "[0, inf)")
        _check.interval("l1_ratio", self.l1_ratio, "[0, 1]")
        if self.penalty == "l1":
            return L1(self.alpha)
        if self.penalty == "l2":
            return L2(self.alpha)
        if self.penalty == "elasticnet":
            return ElasticNet(self.alpha * self.l1_ratio, self.alpha * (1 - self.l1_ratio))
        raise ValueError(f"penalty: got {self.penalty!r}; must be 'l1', 'l2', 'elasticnet', None, or a penalty record")

    def _options(self):
        """Keyword arguments of fit_linear, under its names."""
        _check.boolean("fit_intercept", self.fit_intercept)
        _check.boolean("shuffle", self.shuffle)
        return {
            "loss": self._loss(), "penalty": self._penalty(), "rule": Adagrad() if self.rule is None else self.rule,
            "lr": self.lr, "average": self._average(), "batch_size": self.batch_size,
            "intercept": bool(self.fit_intercept),
        }  # fmt: skip

    def _average(self):
        """True and numbers, as scikit-learn has them, as records."""
        average = self.average
        if isinstance(average, (bool, np.bool_)):
            return Polyak() if average else False
        return Polyak(int(average)) if isinstance(average, numbers.Integral) else average

    # --- learning ----------------------------------------------------------------------------------------------

    def _validated(self, X, *y, reset=False):
        """X, or (X, y), as scikit-learn checks them."""
        options = {"y_numeric": self._numeric} if y and y[0] is not None else {}
        kinds = [np.float64, np.float32]
        return validate_data(self, X, *y, reset=reset, accept_sparse="csr", dtype=kinds, **options)

    def _fit(self, X, y, sample_weight):
        passes = _check.positive_count("max_iter", self.max_iter)
        going_on = _check.boolean("warm_start", self.warm_start) and hasattr(self, "model_")
        options = self._options()
        X, y = self._validated(X, y, reset=not going_on)
        y = self._encoded(y, going_on)
        X = samples.as_rows(X, X.dtype)
        weight = self._weighted(y, sample_weight)
        rows = weight > 0
        if not rows.any():
            raise ValueError("sample_weight: all weights are zero; there is nothing to learn from")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        if self.shuffle:
            X, y, weight = by_content(X, y, weight, seed)
        # The objective is the mean loss by weight: the penalty stands beside weights of mean 1.
        weight = weight / weight[weight > 0].mean()
        self.loss_curve_ = []
        more = {"passes": passes, "rng": seed, "early_stopping": self.early_stopping}
        return self._learn(X, y, weight, self.model_ if going_on else None, options | more)

    def _partial_fit(self, X, y, sample_weight, classes=None):
        first = not hasattr(self, "model_")
        options = self._options()
        X, y = self._validated(X, y, reset=first)
        y = self._encoded(y, not first, classes)
        if first:
            self.loss_curve_ = []
        return self._learn(X, y, self._weighted(y, sample_weight), None if first else self.model_, options)

    def _learn(self, X, y, weight, model, options):
        curve = Curve(self.callback)
        self.model_ = fit_linear(
            X, y, sample_weight=weight, model=model, callback=curve, classes=self._codes(), **options,
            dtype=None if model is None else model.dtype,
        )  # fmt: skip
        losses = curve.losses()
        self.loss_curve_ += losses
        self.n_iter_ = len(losses)
        self.validation_curve_ = list(self.model_.pass_losses)
        self.t_ = self.model_._state.t
        self.coef_ = self._shaped(self.model_.coef)
        self.intercept_ = np.atleast_1d(self.model_.intercept).astype(self.coef_.dtype)
        return self

    # --- predicting --------------------------------------------------------------------------------------------

    def _scores(self, X):
        check_is_fitted(self)
        X = self._validated(X)
        coef = np.atleast_2d(self.coef_) if self._is_dense() else self.coef_
        scores = safe_sparse_dot(X, coef.T, dense_output=True) + self.intercept_
        return scores.ravel() if scores.shape[1] == 1 else scores

    def _is_dense(self):
        return not scipy.sparse.issparse(self.coef_)

    def sparsify(self):
        """Keep `coef_` as a sparse matrix, for fewer bytes and faster predictions where most weights are zero.

        The learning state stays dense, so that the model can learn on; learning makes `coef_` dense again.

        Returns
        -------
        self
        """
        check_is_fitted(self)
        if self._is_dense():
            self.coef_ = scipy.sparse.csr_matrix(np.atleast_2d(self.coef_))
        return self

    def densify(self):
        """Keep `coef_` as an array again.

        Returns
        -------
        self
        """
        check_is_fitted(self)
        if not self._is_dense():
            self.coef_ = self._shaped(self.coef_.toarray())
        return self

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
