"""AdagradClassifier and AdagradRegressor: scikit-learn estimators on top of `fit_linear`."""

from __future__ import annotations

import contextlib
import functools
import inspect
import numbers
import operator
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.utils import check_random_state
    from sklearn.utils._param_validation import InvalidParameterError
    from sklearn.utils.extmath import safe_sparse_dot
    from sklearn.utils.metaestimators import available_if
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        "AdagradClassifier and AdagradRegressor need scikit-learn 1.6 or newer: pip install 'adagrad_nb[sklearn]'"
    ) from error

from .. import _check, _csr
from ..callbacks import PassLosses
from ..io.arrow import is_table
from ..records.averaging import Polyak
from ..records.losses import LOSSES, Logistic, has_probabilities, target_type
from ..records.multiclass_losses import OneVsRest, Softmax
from ..records.penalties import L1, L2, ElasticNet, NoPenalty
from . import targets
from .early_stopping import early_stopping_monitor
from .fit import fit_linear
from .model_options import check_options
from .named_rows import is_numeric, named_chunk
from .one_row import learn_row, learn_rows
from .row_order import sort_rows_by_hash
from .target_scaling import can_standardize
from .targets import BinaryLabels, MulticlassLabels, Numbers, apply_class_weight, check_class_weight
from .trainer import default_rule, new_model

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from .early_stopping import EarlyStopping

LOSS_ALIASES = {"log_loss": "logistic", "squared_error": "squared"}  # scikit-learn's names
# Looking a name up takes 5 µs less than `has_probabilities`, and scikit-learn asks before each call of `predict_proba`.
_PROBABILISTIC_LOSSES = {"log_loss", *(name for name, cls in LOSSES.items() if has_probabilities(cls))}
FEW_ROWS = 64  # up to which `partial_fit` trains in place whatever the number of values
TARGET_WORDS = {"binary": "labels", "multiclass": "labels", "continuous": "numbers", "count": "counts"}


def _is_constant(value):
    """Return whether a parameter is a string, a number, None, or a record of them."""
    if isinstance(value, tuple):
        return all(map(_is_constant, value))
    return value is None or isinstance(value, (str, numbers.Number))


@functools.cache
def _getter(cls):
    """Return a function that takes the attributes of an estimator and returns the values of its parameters."""
    return operator.itemgetter(*cls._get_param_names())


def _number_of_values(X):
    return X.nnz if scipy.sparse.issparse(X) else X.size


def _only_value(y):
    """Return the only value of a list or an array as a Python object, or None."""
    if type(y) is list and len(y) == 1:
        return y[0].item() if isinstance(y[0], np.generic) else y[0]
    return y.item() if type(y) is np.ndarray and y.shape == (1,) else None


@contextlib.contextmanager
def _parameter_errors():
    """Raise errors of parameters as scikit-learn's `InvalidParameterError`, a ValueError and a TypeError."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise InvalidParameterError(str(error)) from error


class LinearEstimator(BaseEstimator):
    """Base of the estimators: parameters, training, and dense or sparse coefficients."""

    def __init__(
        self, loss, penalty, alpha, l1_ratio, rule, lr, average, batch_size, normalized, invariant, max_iter,
        early_stopping, fit_intercept, shuffle, random_state, warm_start, callback,
    ):  # fmt: skip
        self.loss = loss
        self.penalty = penalty
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.rule = rule
        self.lr = lr
        self.average = average
        self.batch_size = batch_size
        self.normalized = normalized
        self.invariant = invariant
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.fit_intercept = fit_intercept
        self.shuffle = shuffle
        self.random_state = random_state
        self.warm_start = warm_start
        self.callback = callback

    # --- parameters --------------------------------------------------------------------------------------------

    def _loss_names(self):
        return [name for name, cls in LOSSES.items() if target_type(cls) in self._target_types]

    def _resolve_loss(self):
        """Return the loss as a record; raise ValueError if it does not suit the targets."""
        loss = self.loss
        if isinstance(loss, str):
            name = LOSS_ALIASES.get(loss, loss)
            if name not in self._loss_names():
                raise ValueError(
                    f"loss: got {loss!r}; must be one of {', '.join(self._loss_names())}, or a loss record"
                )
            return LOSSES[name]()
        _check.record_methods("loss", loss, ("target_type",), LOSSES[self._loss_names()[0]]())
        if target_type(loss) not in self._target_types:
            words = dict.fromkeys(TARGET_WORDS[name] for name in self._target_types)
            given = TARGET_WORDS.get(target_type(loss), f"targets of type {target_type(loss)!r}")
            raise ValueError(
                f"loss: got {type(loss).__name__}, a loss for {given}; {type(self).__name__} "
                f"takes {', '.join(self._loss_names())}, or a loss record for {' or '.join(words)}"
            )
        return loss

    def _resolve_penalty(self):
        """Return the penalty as a record, with the strengths as in scikit-learn."""
        if self.penalty is None:
            return NoPenalty()
        if not isinstance(self.penalty, str):
            return self.penalty
        _check.in_interval("alpha", self.alpha, "[0, inf)")
        if self.l1_ratio is not None:
            _check.in_interval("l1_ratio", self.l1_ratio, "[0, 1]")
        elif self.penalty == "elasticnet":
            raise ValueError("l1_ratio: got None; must be a number in [0, 1] for penalty='elasticnet'")
        if self.penalty == "l1":
            return L1(self.alpha)
        if self.penalty == "l2":
            return L2(self.alpha)
        if self.penalty == "elasticnet":
            return ElasticNet(self.alpha * self.l1_ratio, self.alpha * (1 - self.l1_ratio))
        raise ValueError(f"penalty: got {self.penalty!r}; must be 'l1', 'l2', 'elasticnet', None, or a penalty record")

    def _fit_linear_options(self):
        """Return the options of `fit_linear` that a model has; raise InvalidParameterError for invalid parameters."""
        with _parameter_errors():
            for name in ("fit_intercept", "shuffle", "warm_start"):
                _check.boolean(name, getattr(self, name))
            _check.positive_count("max_iter", self.max_iter)
            early_stopping_monitor(self.early_stopping, 0)
            if self.callback is not None and not callable(self.callback):
                raise TypeError(f"callback: got {self.callback!r}; must be callable")
            return check_options(
                **self._model_options(), penalty=self._resolve_penalty(), lr=self.lr,
                rule=self.rule, average=self._resolve_average(),
                batch_size=self.batch_size, intercept=bool(self.fit_intercept), normalized=self.normalized,
                invariant=self.invariant,
            )  # fmt: skip

    def _model_options(self):
        """Return the options that differ between the estimators."""
        return {"loss": self._resolve_loss()}

    def _resolve_average(self):
        """Return the average as `fit_linear` takes it: a record or False."""
        average = self.average
        if isinstance(average, (bool, np.bool_)):
            return Polyak() if average else False
        if not isinstance(average, numbers.Integral):
            return average
        _check.count("average", average)
        return Polyak(int(average) - 1) if average else False  # scikit-learn counts updates from 1

    # --- training ----------------------------------------------------------------------------------------------

    def _check_data(self, X, *y, reset=False):
        """Return X, or (X, y), checked by scikit-learn."""
        X = self._map_columns(X, reset)
        options = {"y_numeric": self._needs_numeric_y} if y and y[0] is not None else {}
        kinds = [np.float64, np.float32]
        return validate_data(self, X, *y, reset=reset, accept_sparse="csr", dtype=kinds, **options)

    def _map_columns(self, X, reset):
        """Return a data frame with strings or categories as features; other data is returned unchanged."""
        if reset and hasattr(self, "columns_"):
            del self.columns_
        if not is_table(X):
            return X
        if hasattr(self, "columns_"):
            return self.columns_.transform(X)
        if reset:
            chunk = named_chunk(X, None, None, None, None)
            columns = getattr(chunk, "columns", None)
            if columns is not None and not is_numeric(columns):
                self.columns_ = columns
                return chunk.X
        return X

    def _fit_passes(self, X, y, sample_weight, coef_init, intercept_init):
        options = self._fit_linear_options()
        has_initial_weights = coef_init is not None or intercept_init is not None
        is_continued = self.warm_start and hasattr(self, "model_") and not has_initial_weights
        X, y = self._check_data(X, y, reset=not is_continued)
        y = self._encode_targets(X, y, is_continued)
        X = _csr.as_csr(X, X.dtype)
        if not X.has_canonical_format:  # rows are compared by their sorted entries
            X = _csr.sum_duplicates(X)
        weight = self._row_weights(y, sample_weight)
        rows = weight > 0
        if not rows.any():
            raise ValueError("sample_weight: all weights are zero; at least one must be positive")
        with _parameter_errors():
            seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        model = self.model_._expecting_known_rows() if is_continued else None
        if has_initial_weights:
            model = self._initial_model(X, y, options, coef_init, intercept_init)
        row_numbers = None
        if self.shuffle:
            X, y, weight, row_numbers = sort_rows_by_hash(X, y, weight, seed)
        # The objective is the mean loss by weight plus the penalty, so weights get mean 1.
        weight = weight / weight[weight > 0].mean()
        self.loss_curve_ = []
        training = {"passes": self.max_iter, "rng": seed, "early_stopping": self.early_stopping}
        try:
            self._fit_model(X, y, weight, model, options | training)
        except _csr.RowError as error:
            raise (error if row_numbers is None else error.renumbered(row_numbers[error.row])) from None
        if len(self.validation_curve_) == self.max_iter:
            warnings.warn(
                f"max_iter: the maximum of {self.max_iter} passes was reached before early stopping; increase max_iter "
                "to improve the fit",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self

    def _initial_model(self, X, y, options, coef_init, intercept_init):
        """Return an untrained model with initial weights."""
        has_initial_weights = coef_init is not None and bool(np.any(coef_init))
        model = new_model(
            X, y, self._class_codes(), self._suited_to_classes(options), has_initial_weights=has_initial_weights
        )
        if self._class_codes() is not None:
            model._declare_classes(self._class_codes())
        weights = []
        for name, given, shape in (
            ("coef_init", coef_init, self._shape_coef(model.coef).shape),
            ("intercept_init", intercept_init, np.atleast_1d(model.intercept).shape),
        ):
            values = np.zeros(shape) if given is None else _check.finite_array(name, np.asarray(given, np.float64))
            if values.size != np.prod(shape) or (len(shape) > 1 and shape[0] > 1 and values.shape != shape):
                raise ValueError(f"{name}: got shape {values.shape}; must have shape {shape}, as of the fitted weights")
            weights.append(values.reshape(shape))
        model._set_initial_weights(np.squeeze(weights[0], 0) if weights[0].shape[0] == 1 else weights[0], weights[1])
        return model

    def _suited_to_classes(self, options):
        """Return the options with the loss for the number of classes."""
        return options

    def _fit_once(self, X, y, sample_weight, classes=None):
        first = not hasattr(self, "model_")
        owns_model = not first and classes is None and self._owns_model()
        if owns_model and sample_weight is None and self._learn_row(X, y):
            return self
        options = self._fit_linear_options()
        if self.early_stopping:
            raise InvalidParameterError(
                f"early_stopping: got {self.early_stopping}; partial_fit makes one pass and holds out no rows, so it "
                "needs early_stopping=False"
            )
        X, y = self._check_data(X, y, reset=first)
        y = self._encode_targets(X, y, not first, classes)
        if first:
            self.loss_curve_ = []
        weight = self._row_weights(y, sample_weight)
        if owns_model and X.dtype == self.model_.dtype and self._are_few(X):
            self._learn_rows(X, y, weight)
            return self
        self._fit_model(X, y, weight, None if first else self.model_, options)
        # The next call may train this model in place: nothing else has it.  A shallow copy of self has another id.
        self._row_owner = (id(self), self.model_, self._constant_parameters())
        return self

    def _constant_parameters(self):
        """Return the values of the parameters if none that a model has can change in place, else None."""
        names = set(self._get_param_names()) - {"class_weight"}  # which gives the weights of the rows
        if not all(_is_constant(getattr(self, name)) for name in names):
            return None
        return _getter(type(self))(vars(self))

    def _owns_model(self):
        """Return whether nothing else has the model, and the parameters are those that it was trained with."""
        attributes = vars(self)
        owner, owned, values = attributes.get("_row_owner", (None, None, None))
        if owner != id(self) or owned is not self.model_ or values is None:
            return False
        return all(map(operator.is_, _getter(type(self))(attributes), values))

    def _learn_row(self, X, y):
        """Train on one sparse row, in place, if it needs no further check; return whether it is so.

        The checks of the other way take a hundred times as long as the update.
        """
        model = self.model_
        if model.batch_size != 1 or vars(self).get("class_weight") is not None or not self._is_plain_row(X):
            return False
        target = self._encode_row_target(_only_value(y))
        if target is None:
            return False
        loss = learn_row(model, X, target)
        if loss is None:
            return False
        self._end_pass([loss])
        return True

    def _are_few(self, X):
        """Return whether copying the model may take longer than training on these rows."""
        model = self.model_
        return model.n_seen > 0 and (X.shape[0] <= FEW_ROWS or _number_of_values(X) < model.n_features)

    def _learn_rows(self, X, y, weight):
        """Train on rows in place."""
        model, pass_losses = self.model_, PassLosses(self.callback)
        target = model.target
        if self._class_codes() is not None:
            model.target = self._target(self._class_codes(), model)
        try:
            learn_rows(model, X, y, weight, pass_losses)
        finally:
            model.target = target
        self._end_pass(pass_losses.losses())

    def _is_plain_row(self, X):
        """Return whether X is one sparse row with the columns of the model, without names."""
        attributes = vars(self)
        return (
            type(X) in _csr.CSR_CLASSES
            and X.shape == (1, self.n_features_in_)
            and "feature_names_in_" not in attributes
            and "columns_" not in attributes
        )

    def _fit_model(self, X, y, weight, model, options):
        if model is not None:
            lr = options.get("lr", model.parameters.state.lr)
            options = {"rule": default_rule(lr, model.standardize_targets)} | options
        pass_losses = PassLosses(self.callback)
        self.model_ = fit_linear(
            X, y, sample_weight=weight, model=model, callback=pass_losses, classes=self._class_codes(),
            dtype=None if model is None else model.dtype, **self._suited_to_classes(options),
        )  # fmt: skip
        self.model_.columns = getattr(self, "columns_", None)
        self._end_pass(pass_losses.losses())
        return self

    def _end_pass(self, losses):
        """Set the attributes that describe the training, after passes with these losses."""
        self.loss_curve_ += losses
        self.n_iter_ = len(losses)
        self.validation_curve_ = list(self.model_.pass_losses)
        self.t_ = self.model_.parameters.t
        self._forget_weights()

    def _forget_weights(self):
        """Let `coef_` and `intercept_` be those of the model again."""
        self._weights = {}  # read so far, or set by the user
        vars(self).pop("_has_own_weights", None)

    @property
    def coef_(self):
        """Weights, which are computed from the model when they are first read."""
        model = self._fitted_model("coef_")
        if "coef" not in self._weights:
            self._weights["coef"] = self._shape_coef(model.coef)
        return self._weights["coef"]

    @coef_.setter
    def coef_(self, value):
        self._weights, self._has_own_weights = vars(self).get("_weights", {}) | {"coef": value}, True

    @property
    def intercept_(self):
        """Intercepts, which are computed from the model when they are first read."""
        model = self._fitted_model("intercept_")
        if "intercept" not in self._weights:
            self._weights["intercept"] = np.atleast_1d(model.intercept).astype(model.dtype)
        return self._weights["intercept"]

    @intercept_.setter
    def intercept_(self, value):
        self._weights, self._has_own_weights = vars(self).get("_weights", {}) | {"intercept": value}, True

    def _fitted_model(self, name):
        """Return the model; raise AttributeError for the attribute `name` of an estimator that is not fitted."""
        if "model_" not in vars(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}; call fit first")
        return self.model_

    # --- predictions -------------------------------------------------------------------------------------------

    def _decision_scores(self, X):
        attributes = vars(self)
        if "model_" in attributes and "_has_own_weights" not in attributes and self._is_plain_row(X):
            scores = self.model_.score_row(X)
            if scores is not None:
                return scores
            if X.dtype in (np.float32, np.float64) and np.isfinite(X.data).all():
                return self.model_.decision_function(X)
        check_is_fitted(self)
        X = self._check_data(X)
        coef = np.atleast_2d(self.coef_) if self._has_dense_coef() else self.coef_
        scores = safe_sparse_dot(X, coef.T, dense_output=True) + self.intercept_
        return scores.ravel() if scores.shape[1] == 1 else scores

    def _has_dense_coef(self):
        return not scipy.sparse.issparse(self.coef_)

    def sparsify(self) -> LinearEstimator:
        """Convert `coef_` to a sparse matrix, which is smaller and predicts faster if most weights are zero.

        The training state stays dense.  Training makes `coef_` dense again.

        Returns
        -------
        self
        """
        check_is_fitted(self)
        if self._has_dense_coef():
            self.coef_ = scipy.sparse.csr_matrix(np.atleast_2d(self.coef_))
        return self

    def densify(self) -> LinearEstimator:
        """Convert `coef_` to an array.

        Returns
        -------
        self
        """
        check_is_fitted(self)
        if not self._has_dense_coef():
            self.coef_ = self._shape_coef(self.coef_.toarray())
        return self

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


# Sections that the docstrings of both estimators share.
_DOCSTRING_SECTIONS = {
    "PENALTY": """\
penalty : {None, "l1", "l2", "elasticnet"} or penalty record, default None
    Penalty on the weights; the intercept is not penalised.  A record, such as ``NonNegative()`` or ``L1(strengths)``
    with one strength for each feature, has its own strength; `alpha` and `l1_ratio` are then not used.
alpha : float, default 1e-4
    Strength in [0, inf) of a penalty given by name: `alpha` |w| for "l1", `alpha` w² / 2 for "l2".
l1_ratio : float or None, default 0.15
    Fraction in [0, 1] of "l1" in "elasticnet": `alpha` (l1_ratio |w| + (1 - l1_ratio) w² / 2).
rule : rule record, optional
    Update rule, by default ``Adagrad()``, or with `standardize_targets` or a search for the learning rate
    ``Adagrad(eps=0)``, since eps has the unit of a gradient.
lr : float, schedule record, "auto", RateSearch or Rates, default "auto"
    Learning rate: a number in [0, inf), or a record such as ``InverseSqrt(0.5)`` of the update number.  "auto" searches
    among eight rates in the same pass (see `RateSearch`).  Its steps do not depend on the units of the columns, except
    those of other rules than `Adagrad` and of batches, which are plain.  With `normalized`, `invariant`, group
    penalties or `coef_init`, "auto" is 0.5 for classes and 0.1 for numbers.  A model that continues, with `warm_start`
    or `partial_fit`, keeps its learning rate with "auto".""",
    "FITTING": """\
average : bool, int, Polyak or OnlineToBatch, default False
    Whether `coef_` and `intercept_` are means of the iterates.  With an int n the mean begins with the n-th update, as
    in scikit-learn; 0 is False.  ``Polyak(start)`` counts updates from 0; ``OnlineToBatch(start)`` takes the iterates
    before the updates.
batch_size : int, default 1
    Number of rows for each update.
normalized : bool, default False
    Whether each feature is divided by its largest absolute value so far, so that X needs no scaling (see `fit_linear`).
invariant : bool, default False
    Whether to use importance-weight-aware updates, which do not overshoot (see `fit_linear`).
max_iter : int, default 10
    Number of passes over the data in `fit`; the maximum with `early_stopping`.  One pass is often enough for 100,000
    rows.
early_stopping : bool or EarlyStopping, default False
    Whether `fit` holds out a tenth of the rows, stops when their loss no longer decreases, and keeps the best
    model.  It warns if that did not happen within `max_iter` passes.  `partial_fit` requires False.
fit_intercept : bool, default True
    Whether to train an intercept.
shuffle : bool, default True
    Whether `fit` visits the rows in a pseudo-random order, which is the same in each pass.  The order depends on the
    values of the rows and on `random_state`, so the result does not depend on the order of the rows in X.  Rows with
    equal X and y are merged, and their weights are added: a row of weight 2 is the same as two rows.  Shuffling makes a
    copy of X.
random_state : int, RandomState instance or None, default None
    Seed for `shuffle` and for the rows that `early_stopping` holds out.
warm_start : bool, default False
    Whether `fit` continues from the model of the last `fit`, accumulators included.  Its passes count as further passes
    over the same rows: their losses do not enter the choice of the learning rate.""",
    "CALLBACK": """\
callback : callable, optional
    Called with a `Progress` about 20 times a second.  If it raises StopIteration, training ends.""",
    "FITTED": """\
n_features_in_ : int
feature_names_in_ : ndarray of shape (n_features_in_,)
    Defined if all column names of X are strings.
n_iter_ : int
    Number of passes of the last `fit`; 1 after `partial_fit`.
t_ : int
    Number of updates so far.
loss_curve_ : list of float
    Mean loss of each pass, of each row before training on it.  `partial_fit` adds one entry for each call.
validation_curve_ : list of float
    Loss of each pass that `early_stopping` monitored; empty without it.
model_ : LinearModel
    The model, with its ``state`` and the method ``save``.  `partial_fit` changes it in place for at most 64 rows, and
    for rows with fewer values than the model has features; other calls replace it.  Copy a model that is to be kept,
    with ``model_.copy()``.""",
    "NOTES": """\
Notes
-----
`partial_fit` trains once on the given rows, in their order and with their weights.  Calls with the rows A and then with
the rows B give, bit for bit, the model of one call with all rows of A and B.

References
----------
.. [1] J. Duchi, E. Hazan, Y. Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
   Optimization", JMLR 12 (2011) 2121-2159.""",
}


def _fill_docstring(cls):
    """Replace the names of shared sections in the docstring of a class."""
    if cls.__doc__:  # None with python -OO
        # Remove the indentation, as Python 3.13 does when it compiles a docstring.
        cls.__doc__ = inspect.cleandoc(cls.__doc__).format(**_DOCSTRING_SECTIONS)
    return cls


def _supports_probabilities(estimator):
    """Return True if the loss has probabilities; raise AttributeError otherwise.  For `available_if`."""
    if type(estimator.loss) is str and estimator.loss in _PROBABILISTIC_LOSSES:
        return True
    loss = estimator._resolve_loss()
    if not has_probabilities(loss):
        raise AttributeError(
            f"predict_proba: the loss {type(loss).__name__} has no probabilities; use 'logistic' or 'modified_huber', "
            "or sklearn.calibration.CalibratedClassifierCV"
        )
    return True


@_fill_docstring
class AdagradClassifier(ClassifierMixin, LinearEstimator):
    """Linear classifier trained online with Adagrad, which adapts the step size of each weight.

    The objective is the mean loss of the rows, by sample weight, plus the penalty.

    Parameters
    ----------
    loss : str or loss record, default "logistic"
        "logistic" (or "log_loss") and "modified_huber", which have probabilities; "hinge", "squared_hinge",
        "smooth_hinge", "perceptron"; or a record such as ``SmoothHinge(0.5)``.  With more than two classes "logistic"
        is the softmax loss; the others are trained one versus rest, in the same pass.
    {PENALTY}
    {FITTING}
    class_weight : dict, "balanced" or None, default None
        Factors of the sample weights by label; labels that a dict lacks have the factor 1.  "balanced" gives every
        label the same total weight.
    {CALLBACK}

    Attributes
    ----------
    coef_ : ndarray or csr_matrix of shape (1, n_features) or (n_classes, n_features)
        Weights.
    intercept_ : ndarray of shape (1,) or (n_classes,)
    classes_ : ndarray of shape (n_classes,)
        Labels in increasing order.  With two labels a positive decision function predicts the second.
    {FITTED}

    See Also
    --------
    AdagradRegressor : The estimator for numbers and counts.
    fit_linear : The same training, also of files larger than memory.

    {NOTES}

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from adagrad_nb import AdagradClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> classifier = make_pipeline(StandardScaler(), AdagradClassifier(random_state=0)).fit(X, y)
    >>> bool(classifier.score(X, y) > 0.98)
    True
    >>> pass_losses = classifier[-1].loss_curve_
    >>> pass_losses[0] > pass_losses[-1]
    True
    """

    _target_types = ("binary", "multiclass")
    _needs_numeric_y = False

    def __init__(
        self, loss: str | tuple[Any, ...] = "logistic", *, penalty: str | tuple[Any, ...] | None = None,
        alpha: float = 1e-4, l1_ratio: float = 0.15, rule: tuple[Any, ...] | None = None,
        lr: float | str | tuple[Any, ...] = "auto", average: bool | int | Polyak = False, batch_size: int = 1,
        normalized: bool = False, invariant: bool = False, max_iter: int = 10,
        early_stopping: bool | EarlyStopping = False, fit_intercept: bool = True, shuffle: bool = True,
        random_state: Any = None, warm_start: bool = False,
        class_weight: dict[Any, float] | str | None = None, callback: Callable[..., Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            loss, penalty, alpha, l1_ratio, rule, lr, average, batch_size, normalized, invariant, max_iter,
            early_stopping, fit_intercept, shuffle, random_state, warm_start, callback,
        )  # fmt: skip
        self.class_weight = class_weight

    def fit(
        self, X: Any, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None, *,
        coef_init: npt.ArrayLike | None = None, intercept_init: npt.ArrayLike | None = None,
    ) -> AdagradClassifier:  # fmt: skip
        """Train on rows, in `max_iter` passes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The model has precision float32 for float32 data, else float64.  Indices may have 32 or 64 bits.
            The columns of a data frame with strings or categories become features as in `read_arrow`; predictions match
            them by name.
        y : array-like of shape (n_samples,)
            Labels of one kind.
        sample_weight : array-like of shape (n_samples,), optional
            In [0, inf); by default ones.
        coef_init : array-like of the shape of `coef_`, optional
            Initial weights, in place of zeros or, with `warm_start`, of the last ones.
        intercept_init : array-like of the shape of `intercept_`, optional
            Initial intercept.

        Returns
        -------
        self
        """
        return self._fit_passes(X, y, sample_weight, coef_init, intercept_init)

    def partial_fit(
        self, X: Any, y: npt.ArrayLike, classes: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> AdagradClassifier:  # fmt: skip
        """Train once on further rows, in the given order.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        classes : array-like of shape (n_classes,), optional
            All labels, at the first call; by default those of y.
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self
        """
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            raise ValueError(
                "class_weight: 'balanced' needs all of y, but partial_fit gets parts of it; use a dict, such as "
                "that of sklearn.utils.class_weight.compute_class_weight"
            )
        return self._fit_once(X, y, sample_weight, classes)

    def _encode_targets(self, X, y, is_continued, classes=None):
        """Return the positions of the labels in `classes_`."""
        check_classification_targets(y)
        if classes is not None:
            classes = np.unique(np.asarray(classes))
            if is_continued and not np.array_equal(classes, self.classes_):
                raise ValueError(f"classes: got {classes.tolist()}, but the first call had {self.classes_.tolist()}")
        found = np.unique(y)
        known = self.classes_ if is_continued else found if classes is None else classes
        if known.size < 2:
            raise ValueError(
                f"y: got {known.size} class, {known.tolist()}; must have at least two, in y or in "
                "partial_fit(…, classes=…)"
            )
        new = set() if known is found else set(found.tolist()) - set(known.tolist())
        if new:
            remedy = "pass all classes to the first partial_fit(…, classes=…)"
            if self.warm_start:
                remedy = (
                    f"warm_start=True continues with the labels of the first fit; use warm_start=False, or {remedy}"
                )
            raise ValueError(
                f"y: got {min(new, key=str)!r}, which is not among the classes {known.tolist()[:5]}; {remedy}"
            )
        self.classes_ = known
        return np.searchsorted(known, y)

    def _encode_row_target(self, label):
        """Return the label of a row as the loss takes it, in an array, or None if it is unknown."""
        known, codes = vars(self).get("_codes_of", (None, None))
        if known is not self.classes_:
            codes = self._encode_classes()
            self._codes_of = self.classes_, codes
        try:
            return codes.get(label)
        except TypeError:  # not hashable
            return None

    def _encode_classes(self):
        """Return a dict from each label to its array for the loss."""
        labels, dtype = self.classes_.tolist(), self.model_.dtype
        target = self._target(labels, self.model_)
        return {label: target.encode_known(self.classes_[k : k + 1], 1, dtype) for k, label in enumerate(labels)}

    def _class_codes(self):
        return list(range(self.classes_.size))

    def _suited_to_classes(self, options):
        loss = options["loss"]
        if self.classes_.size == 2 and isinstance(loss, (Softmax, OneVsRest)):  # two classes need one output
            return options | {"loss": getattr(loss, "loss", Logistic())}
        return options

    def _fit_model(self, X, y, weight, model, options):
        # Rows have the positions of their labels; afterwards the model gets the labels, for its predictions and files.
        if model is not None:
            model = model._with_target(self._target(range(self.classes_.size), model))
        super()._fit_model(X, y, weight, model, options)
        if self.classes_.dtype.kind in "biufOUT":
            self.model_ = self.model_._with_target(self._target(self.classes_.tolist(), self.model_))
        return self

    def _target(self, labels, model):
        """Return the target with these labels, of the kind that a model has."""
        return (
            BinaryLabels(*labels) if isinstance(model.target, BinaryLabels) else MulticlassLabels(tuple(labels), True)
        )

    def _row_weights(self, y, sample_weight):
        """Return the sample weights times the class weights."""
        weight = targets.check_sample_weight(sample_weight, y.size, np.float64)
        class_weight = check_class_weight(self.class_weight, True)
        if class_weight is None:
            return weight
        return apply_class_weight(
            class_weight, self.classes_[y], weight, MulticlassLabels(tuple(self.classes_.tolist()), True)
        )

    def _shape_coef(self, coef):
        return np.atleast_2d(coef)

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the score of the second of two classes, or of each of more classes.

        A custom multi-class loss has two scores for two classes, of which this is the difference.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        scores = self._decision_scores(X)
        return scores[:, 1] - scores[:, 0] if scores.ndim == 2 and self.classes_.size == 2 else scores

    def predict(self, X: Any) -> np.ndarray:
        """Return the label of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(np.intp) if scores.ndim == 1 else scores.argmax(axis=1)]

    @available_if(_supports_probabilities)
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class; only for losses with probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of `classes_`.
        """
        scores = self._decision_scores(X)
        probabilities = self.model_.predict_from_scores(scores)
        return probabilities if probabilities.ndim == 2 else targets.two_columns(probabilities)

    @available_if(_supports_probabilities)
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithm of the probability of each class; -inf for probability 0.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))


@_fill_docstring
class AdagradRegressor(RegressorMixin, LinearEstimator):
    """Linear regression trained online with Adagrad, which adapts the step size of each weight.

    The objective is the mean loss of the rows, by sample weight, plus the penalty.

    Parameters
    ----------
    loss : str or loss record, default "squared"
        "squared" (or "squared_error"), "huber", "absolute", "epsilon_insensitive", "squared_epsilon_insensitive",
        "quantile"; "poisson" for counts, which predicts their mean, the exponential of the linear function; or a
        record such as ``Quantile(0.9)`` or ``Huber(1.35)``.
    {PENALTY}
    {FITTING}
    standardize_targets : bool, default True
        Whether y is standardised during training, by its first value and a running estimate of its scale (see
        `fit_linear`).  So y may have any unit and any mean.  `lr` is then in units of the standard deviation of y.
        `coef_`, `intercept_`, predictions, losses and the parameters of losses and penalties are in the units of y.
        It has no effect on counts, and on custom losses without an attribute ``is_residual = True``.
    {CALLBACK}

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,), or csr_matrix of shape (1, n_features)
        Weights.
    intercept_ : ndarray of shape (1,)
    {FITTED}

    See Also
    --------
    AdagradClassifier : The estimator for labels.
    fit_linear : The same training, also of files larger than memory.

    {NOTES}

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import AdagradRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(1000, 3))
    >>> y = X @ [1.0, -2.0, 0.0] + 3 + 0.1 * rng.normal(size=1000)
    >>> regressor = AdagradRegressor(penalty="l1", alpha=0.01, random_state=0).fit(X, y)
    >>> bool(regressor.score(X, y) > 0.99), regressor.loss_curve_[0] > regressor.loss_curve_[-1]
    (True, True)
    """

    _target_types = ("continuous", "count")
    _needs_numeric_y = True

    def __init__(
        self, loss: str | tuple[Any, ...] = "squared", *, penalty: str | tuple[Any, ...] | None = None,
        alpha: float = 1e-4, l1_ratio: float = 0.15, rule: tuple[Any, ...] | None = None,
        lr: float | str | tuple[Any, ...] = "auto", average: bool | int | Polyak = False, batch_size: int = 1,
        normalized: bool = False, invariant: bool = False, max_iter: int = 10,
        early_stopping: bool | EarlyStopping = False, fit_intercept: bool = True, shuffle: bool = True,
        random_state: Any = None, warm_start: bool = False, standardize_targets: bool = True,
        callback: Callable[..., Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            loss, penalty, alpha, l1_ratio, rule, lr, average, batch_size, normalized, invariant, max_iter,
            early_stopping, fit_intercept, shuffle, random_state, warm_start, callback,
        )  # fmt: skip
        self.standardize_targets = standardize_targets

    def fit(
        self, X: Any, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None, *,
        coef_init: npt.ArrayLike | None = None, intercept_init: npt.ArrayLike | None = None,
    ) -> AdagradRegressor:  # fmt: skip
        """Train on rows, in `max_iter` passes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The model has precision float32 for float32 data, else float64.  Indices may have 32 or 64 bits.
            The columns of a data frame with strings or categories become features as in `read_arrow`; predictions match
            them by name.
        y : array-like of shape (n_samples,)
            Finite numbers, non-negative for counts.
        sample_weight : array-like of shape (n_samples,), optional
            In [0, inf); by default ones.
        coef_init : array-like of the shape of `coef_`, optional
            Initial weights, in place of zeros or, with `warm_start`, of the last ones.
        intercept_init : array-like of the shape of `intercept_`, optional
            Initial intercept.

        Returns
        -------
        self
        """
        return self._fit_passes(X, y, sample_weight, coef_init, intercept_init)

    def partial_fit(self, X: Any, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> AdagradRegressor:
        """Train once on further rows, in the given order.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self
        """
        return self._fit_once(X, y, sample_weight)

    def predict(self, X: Any) -> np.ndarray:
        """Return the predicted number of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        scores = self._decision_scores(X)
        return self.model_.predict_from_scores(scores)

    def _model_options(self):
        options = super()._model_options()
        is_wanted = _check.boolean("standardize_targets", self.standardize_targets)
        return options | {"standardize_targets": is_wanted and can_standardize(options["loss"])}

    def _encode_targets(self, X, y, is_continued, classes=None):
        # Raises for invalid targets with their positions in y, before rows are shuffled.
        Numbers(target_type(self._resolve_loss())).encode_known(y, y.size, X.dtype)
        return y

    def _encode_row_target(self, y):
        """Return the target of a row as the loss takes it, in an array, or None if it needs checks."""
        model = self.model_
        if type(y) not in (int, float) or target_type(model.loss) != "continuous":
            return None
        target = np.array([y], model.dtype)
        if not np.isfinite(target[0]):
            return None
        return np.array([y], np.float64) if model.standardize_targets else target

    def _class_codes(self):
        return None

    def _row_weights(self, y, sample_weight):
        return targets.check_sample_weight(sample_weight, y.size, np.float64)

    def _shape_coef(self, coef):
        return np.ravel(coef)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        loss = LOSS_ALIASES.get(self.loss, self.loss) if isinstance(self.loss, str) else self.loss
        tags.target_tags.positive_only = target_type(LOSSES.get(loss, loss)) == "count"
        return tags
