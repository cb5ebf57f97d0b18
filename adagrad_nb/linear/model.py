"""LinearModel: the result of `fit_linear`.

A model has three parts: `parameters` (weights, accumulators and their memory layout), `target` (labels or numbers) and
`selection` (the outputs that it reports).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import _check, _csr
from .._csr import as_csr, as_unsigned, only_row
from ..compiler.jit import cast, compiled_for
from ..cuda.arrays import is_device_array, to_host
from ..io import archive, schema
from ..records.dual_averaging import is_dual_averaging
from ..records.group_penalties import Grouped, is_group_penalty
from ..records.losses import has_probabilities, target_type
from ..records.multiclass_losses import IndependentOutputs, OneVsRest, is_multi_output_loss
from ..records.rules import has_row_step
from ..records.schedules import Constant, Rates, RateSearch, has_several_rates
from . import file_schema
from .explanation import Explanation, explain
from .kernels import multi_rows, rows
from .named_rows import to_features
from .parameters import MultiOutput, SingleOutput
from .rate_search import Candidate, SearchedParameters
from .regret_sums import check_ledger
from .selection import AllOutputs, BestOutput, LastOutput, OnlyOutput, SearchedClasses, SearchedOutput
from .target_scaling import TargetScaling, can_standardize
from .targets import (
    BinaryLabels,
    InverseLink,
    MulticlassLabels,
    Numbers,
    check_sample_weight,
    multiclass_loss,
    multiclass_probabilities,
    two_columns,
)

if TYPE_CHECKING:
    import os

    import numpy.typing as npt

    from ..io.columns import Columns
    from ..optim.ledger import Ledger
    from ..optim.state import State
    from ..records.averaging import OnlineToBatch, Polyak

FILE_KIND = "linear model"
FEATURES_PER_VALUE = 4  # from this ratio on, predictions read only the weights of the stored values


class RowsToPredict(NamedTuple):
    """CSR arrays of the rows to predict, and their number of columns."""

    indptr: Any
    indices: Any
    data: Any
    n_columns: int


class LinearModel:
    """Linear model and the state of its training.

    `fit_linear` and `load_model` return models.  A model does not change afterwards.

    Attributes
    ----------
    coef : ndarray of shape (n_features,), or (n_classes, n_features) for more than two classes
        Weights, with the penalty of all updates applied; with `average`, the mean of the iterates.
    intercept : float, or ndarray of shape (n_classes,)
        Intercept; 0.0 if the model has none.
    classes : ndarray of shape (n_classes,) or None
        Labels in increasing order, or None for regression.  The second of two labels is positive.
    progressive_loss : float
        Mean loss of the first pass, by sample weight.  The loss of a row is computed before the update by that row.
    n_seen : int
        Number of rows trained on, over all passes.
    normalized, invariant, standardize_targets : bool
        Options of `fit_linear`.
    n_features : int
        Number of features.
    dtype : dtype
        float32 or float64.
    pass_losses : list of float
        Monitored loss of each pass; empty without early stopping.  It is not saved in files.
    columns : Columns or None
        Mapping from the columns of tables to features, if the model was trained on a table or by a reader of tables.
        Predictions take tables, then, and match the columns by name.
    feature_names : tuple of str or None
        Names of the features, if `columns` is not None.
    reader_options : dict or None
        Format of the training data and options of its reader, which the command line saves for predictions.
    ledger : Ledger or None
        Sums for the regret, with ``ledger=True``; a new object at each access.  The intercept, if there is one, is the
        last coordinate.
    has_ledger : bool
        Whether the model has one.
    state, bias_state : State
        Options and accumulators of the weights and of the intercept, as copies.  ``state.t`` is the number of updates.
        With several outputs the accumulators have shape (n_features, n_outputs).
    rates : ndarray of shape (n_rates,)
        Learning rates that remain, or their factors on the schedule.  Only with a search for the learning rate, which
        is the default, or `Rates`.
    candidates : list of Candidate
        The learning rates of a search, with the progressive loss of each and the update at which it was removed.
    weight_unit : float
        Unit of the sample weights, by the root of which a search divides its learning rates; 1.0 without a search.
    is_weights_only : bool
        Whether the model was saved with ``weights_only=True``, and cannot be trained further.
    has_several_rates, is_searching : bool
        Whether the model trains with several learning rates; whether it searches for the best one (`RateSearch`).
    rate : float
        Learning rate with the lowest progressive loss.  `coef`, `intercept` and predictions are those of this rate.
    progressive_losses : ndarray of shape (n_rates,)
        Progressive loss of each rate; inf for a rate that diverged.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import fit_linear
    >>> model = fit_linear(np.array([[1.0, 0.0], [0.0, 1.0]]), ["no", "yes"], passes=20)
    >>> model.coef.shape, model.n_seen, model.classes.tolist()
    ((2,), 40, ['no', 'yes'])
    >>> model.predict(np.array([[0.0, 2.0]])).tolist()
    ['yes']
    """

    selection: Any  # of the module `selection`
    parameters: Any  # SingleOutput, MultiOutput or SearchedParameters
    target: Any  # Numbers, BinaryLabels or MulticlassLabels
    target_scaling: TargetScaling | None = None
    weight_unit: float = 1.0
    weight_exponents = 0  # sum of the binary exponents of the weights, of a search
    is_weights_only: bool = False
    expects_known_rows = False  # whether the next call repeats rows, whose losses are not progressive
    columns: Columns | None = None
    reader_options: dict[str, Any] | None = None
    pass_losses: list[float]

    def __init__(
        self,
        n_features: int,
        dtype: npt.DTypeLike,
        loss: Any,
        rule: Any,
        lr: Any,
        penalty: Any,
        intercept: bool,
        average: Any = False,
        batch_size: int = 1,
        normalized: bool = False,
        invariant: bool = False,
        standardize_targets: bool = False,
        ledger: bool = False,
    ) -> None:
        self.loss, self.batch_size, self.dtype = loss, batch_size, np.dtype(dtype)
        self.n_seen, self.pass_losses = 0, []
        if ledger:
            check_ledger(loss, rule, lr, penalty, batch_size, normalized, invariant, standardize_targets)
        _check_outputs(loss, lr, penalty, normalized, invariant, batch_size)
        _check_batches(rule, batch_size)
        shared = (n_features, dtype, _row_loss(loss, lr), intercept, rule, lr, penalty)
        self.target = MulticlassLabels() if is_multi_output_loss(loss) else _single_target(loss)
        if isinstance(lr, RateSearch):
            self.selection = SearchedClasses() if is_multi_output_loss(loss) else SearchedOutput()
            self.parameters = SearchedParameters(*shared, average, batch_size=batch_size)
        elif is_multi_output_loss(loss):
            self.selection, self.parameters = AllOutputs(), MultiOutput(*shared, (), average)
        elif has_several_rates(lr):
            self.selection, self.parameters = BestOutput(), MultiOutput(*shared, lr.values, average)
        else:
            self.selection = OnlyOutput()
            self.parameters = SingleOutput(*shared, average, normalized, invariant, ledger)
        self._end_search()
        self.loss_sums = np.zeros(self.parameters.n_loss_sums)
        if standardize_targets:
            _check_standardized(loss)
            self.target_scaling = TargetScaling(loss, intercept)
            self.parameters.rate_scale = self._rate_scale()

    # --- training ----------------------------------------------------------------------------------------------------

    def copy(self) -> LinearModel:
        """Return a copy with its own arrays."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        new.loss_sums, new.parameters = self.loss_sums.copy(), self.parameters.copy()
        new.pass_losses = list(self.pass_losses)
        new.target_scaling = None if self.target_scaling is None else self.target_scaling.copy()
        return new

    def __copy__(self) -> LinearModel:
        return self.copy()

    def __deepcopy__(self, memo: dict) -> LinearModel:
        return self.copy()

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        self.__dict__.update(attributes)
        self.loss_sums = np.array(self.loss_sums)  # a pickle may hold memory maps

    def _with_options(self, **options):
        """Return a copy with other options."""
        state = self.parameters.state
        merged = {name: getattr(state, name) for name in ("lr", "penalty")} | {"loss": self.loss} | options
        invariant = options.get("invariant", self.invariant)
        batch_size = options.get("batch_size", self.batch_size)
        _check_same_targets(merged["loss"], self.loss)
        _check_outputs(merged["loss"], merged["lr"], merged["penalty"], self.normalized, invariant, batch_size, self)
        _check_batches(options.get("rule", state.rule), batch_size)
        if self.standardize_targets:
            _check_standardized(merged["loss"])
        if isinstance(self.parameters, SearchedParameters):
            self.parameters.check_steps(options.get("rule", state.rule), batch_size)
        new = self.copy()
        new.loss, new.batch_size = merged["loss"], batch_size
        new.parameters = self.parameters.with_options(
            _row_loss(new.loss, merged["lr"], new.parameters), options.get("average", self.average), invariant,
            **{name: options[name] for name in ("rule", "lr", "penalty") if name in options},
        )  # fmt: skip
        return new

    def _with_target(self, target):
        """Return a model that shares all arrays with this one and has other labels."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__, target=target)
        return new

    def _expecting_known_rows(self):
        """Return a model that shares all arrays with this one, to be trained again on rows that it has seen."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__, expects_known_rows=True)
        return new

    def _set_initial_weights(self, coef, intercept):
        """Start an untrained model at these weights, of the shapes of `coef` and `intercept`."""
        if is_dual_averaging(self.parameters.state.rule):
            name = type(self.parameters.state.rule).__name__
            raise ValueError(
                f"coef_init: got initial weights, but the weights of the rule {name} follow from its accumulators; use "
                "Adagrad(…), or no initial weights"
            )
        if self.normalized and np.any(coef):
            raise ValueError(
                "coef_init: got initial weights, which normalized=True would scale down when larger values of their "
                "features occur; use normalized=False, or no initial weights"
            )
        if self.is_searching and np.any(coef):
            raise ValueError(
                "coef_init: got initial weights, which a search over learning rates would scale down when larger "
                "values of their features occur; use one rate, or no initial weights"
            )
        if self.standardize_targets and self.has_intercept:
            self.target_scaling.set_offset(float(np.ravel(intercept)[0]))
            intercept = np.zeros_like(intercept)
        self.parameters.set_weights(np.asarray(coef, self.dtype), np.asarray(intercept, self.dtype))

    def _rescale_rate(self):
        """Estimate the scale of the targets anew, and multiply the learning rate by it from the next update on."""
        self.target_scaling.update_scale()
        self._set_rate_scale()

    def _update_weight_unit(self, next_weight):
        """Estimate the unit of the sample weights anew before updates 0, 1, 2, 4, 8, …; return whether it changed.

        It is the weight of the first row, and then the power of two nearest to the geometric mean so far if that
        differs by more than a factor of four.  The steps of a search are proportional to the root of the weights.
        Divided by the root of the unit, they do not depend on it.
        """
        t = self.parameters.t
        if t & (t - 1):
            return False
        if t == 0:
            unit = next_weight
        elif abs(self.weight_exponents / t - math.log2(self.weight_unit)) > 2:
            unit = 2.0 ** round(self.weight_exponents / t)
        else:
            return False
        if unit == self.weight_unit:
            return False
        self.weight_unit = unit
        self._set_rate_scale()
        return True

    def _count_weights(self, weight):
        """Add the binary exponents of the weights of rows to their sum, which does not depend on the order."""
        self.weight_exponents += int(np.sum(np.frexp(weight[weight > 0])[1] - 1))

    def _rate_scale(self):
        """Return the factor of the learning rate: the scale of the targets by the root of the unit of the weights."""
        scale = None if self.target_scaling is None else self.target_scaling.scale
        return scale if self.weight_unit == 1 else (1.0 if scale is None else scale) / math.sqrt(self.weight_unit)

    def _set_rate_scale(self):
        scale = self._rate_scale()
        self.parameters = self.parameters.with_options(
            self.parameters.loss, self.average, self.invariant, rate_scale=1.0 if scale is None else scale
        )
        self.parameters.rate_scale = scale  # None and 1.0 give the same steps, and a file has None

    def _declare_classes(self, classes):
        """Set the labels that the caller declares."""
        if isinstance(self.target, Numbers):
            raise ValueError(f"classes: the loss {type(self.loss).__name__} takes numbers; leave classes out")
        self._set_target(self.target.declared(classes))

    def _set_target(self, target):
        """Set the target, in place; add an output with zero weights for each new class."""
        if isinstance(target, MulticlassLabels) and target != self.target:
            positions = [target.classes.index(label) for label in self.target.classes]
            self.parameters.add_outputs(len(target.classes), positions)
        self.target = target

    # --- attributes --------------------------------------------------------------------------------------------------

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.parameters.n_features

    @property
    def feature_names(self) -> tuple | None:
        """Names of the features, or None if the model was trained on rows without names."""
        return None if self.columns is None else self.columns.feature_names

    @property
    def has_intercept(self) -> bool:
        """Whether the intercept is trained."""
        return self.parameters.has_intercept

    @property
    def state(self) -> State:
        """Copy of the options, accumulators and update count of the weights."""
        check_trainable(self, "state")
        return self.parameters.states()[0]

    @property
    def bias_state(self) -> State:
        """Copy of the options, accumulators and update count of the intercept."""
        check_trainable(self, "bias_state")
        return self.parameters.states()[1]

    @property
    def has_ledger(self) -> bool:
        """Whether the model keeps a ledger of regret."""
        return self.parameters.ledger_sums is not None

    @property
    def ledger(self) -> Ledger | None:
        """Ledger of the regret of all updates so far, or None."""
        return None if not self.has_ledger else self.parameters.ledger_sums.to_ledger(self.parameters)

    @property
    def average(self) -> Polyak | OnlineToBatch | bool:
        """Average that the model reports, or False."""
        return self.parameters.average

    @property
    def normalized(self) -> bool:
        """Whether each feature is divided by its largest absolute value so far."""
        return self.parameters.scaling.normalized

    @property
    def invariant(self) -> bool:
        """Whether updates are importance-weight-aware."""
        return self.parameters.scaling.invariant

    @property
    def standardize_targets(self) -> bool:
        """Whether the learning rate is multiplied by the scale of the targets."""
        return self.target_scaling is not None

    @property
    def _offset(self):
        return 0.0 if self.target_scaling is None else self.target_scaling.offset

    @property
    def coef(self) -> np.ndarray:
        """Weights, with the penalty of all updates applied."""
        return self.selection.coef(self.parameters, self.loss_sums)

    def coef_of(self, features: npt.ArrayLike) -> np.ndarray:
        """Return the weights of some features, in a time that does not depend on the number of features.

        Parameters
        ----------
        features : array_like of int, shape (n,)
            Numbers of features in [0, n_features).

        Returns
        -------
        ndarray of shape (n,), or (n_classes, n) for more than two classes
            ``coef[..., features]``.

        Examples
        --------
        >>> import numpy as np
        >>> from adagrad_nb import fit_linear
        >>> model = fit_linear(np.eye(3), [0, 1, 1])
        >>> bool(np.all(model.coef_of([2, 0]) == model.coef[[2, 0]]))
        True
        """
        features = np.asarray(features)
        if features.ndim != 1 or (features.size and features.dtype.kind not in "iu"):
            raise TypeError(
                f"features: got dtype {features.dtype} and shape {features.shape}; must be a list of integers"
            )
        is_outside = (features < 0) | (features >= self.n_features)
        if is_outside.any():
            raise ValueError(f"features: got {features[is_outside][0]}; must be in [0, {self.n_features})")
        return self.selection.coef(
            self.parameters,
            self.loss_sums,
            as_unsigned(features if features.dtype in (np.int32, np.int64) else features.astype(np.int64)),
        )

    @property
    def intercept(self) -> float | np.ndarray:
        """Intercept as a float, or an array with one for each class."""
        return self._offset + self.selection.intercept(self.parameters, self.loss_sums)

    @property
    def classes(self) -> Any:
        """Labels in increasing order, or None for regression."""
        return self.target.to_array()

    @property
    def progressive_loss(self) -> float:
        """Mean loss of the first pass, each row before its update; NaN before the first row."""
        loss, weight = self.selection.loss_totals(self.loss_sums)
        return float(loss / weight) if weight else float("nan")

    @property
    def rates(self) -> np.ndarray:
        """Learning rates, or their factors on the schedule."""
        self._require_rates("rates")
        return (self.parameters.rates if self.is_searching else self.parameters.rate_factors).copy()

    @property
    def best_index(self) -> int:
        """Position of the learning rate with the lowest progressive loss."""
        self._require_rates("best_index")
        return self.selection.best(self.loss_sums)

    @property
    def rate(self) -> float:
        """Learning rate with the lowest progressive loss."""
        self._require_rates("rate")
        return float(self.rates[self.best_index])

    @property
    def progressive_losses(self) -> np.ndarray:
        """Progressive loss of each learning rate."""
        self._require_rates("progressive_losses")
        losses, weight = self.selection.losses(self.loss_sums), self.loss_sums[-1]
        return losses / weight if weight else np.full(losses.size, np.nan)

    def single_rate(self, index: int) -> LinearModel:
        """Return the model of one of several learning rates, bit-equal to a model trained with this rate alone.

        Parameters
        ----------
        index : int
            Position in `rates`.

        Returns
        -------
        LinearModel
            A copy with one learning rate, which can be trained further.

        Raises
        ------
        AttributeError
            If the model was trained with one learning rate, or searched for it.
        ValueError
            For an index that is out of range, and if the learning rates have a schedule other than `Constant`, which
            no single number replaces.

        Examples
        --------
        >>> import numpy as np
        >>> from adagrad_nb import Rates, fit_linear
        >>> X = np.random.default_rng(0).normal(size=(100, 3))
        >>> several = fit_linear(X, X[:, 0] > 0, lr=Rates((0.1, 0.5)))
        >>> single = fit_linear(X, X[:, 0] > 0, lr=0.5)
        >>> bool(np.all(several.single_rate(1).coef == single.coef))
        True
        """
        self._require_rates("single_rate")
        if self.is_searching:
            raise AttributeError("single_rate: the model searched for its learning rate; use lr=Rates()")
        parameters, state = self.parameters, self.parameters.state
        if not isinstance(state.lr.schedule, Constant):
            raise ValueError(f"single_rate: the learning rates have the schedule {state.lr.schedule!r}; use Constant()")
        n = parameters.n_outputs
        index = _check.count("index", index, -n, n - 1) % n
        new = LinearModel(
            self.n_features, self.dtype, self.loss, state.rule, state.lr.values[index] * state.lr.schedule.lr,
            state.penalty, self.has_intercept, self.average, self.batch_size,
            standardize_targets=self.standardize_targets,
        )  # fmt: skip
        for name in ("n_seen", "target", "columns", "reader_options", "is_weights_only", "expects_known_rows"):
            setattr(new, name, getattr(self, name))
        if self.target_scaling is not None:
            new.target_scaling = self.target_scaling.copy()
            new.parameters.rate_scale = new._rate_scale()
        new.loss_sums[:] = self.loss_sums[index], self.loss_sums[-1]
        first_update = 0 if parameters.iterate_sums is None else parameters.iterate_sums.first_update
        new.parameters.restore(parameters.arrays_of_output(index), parameters.t, first_update)
        return new

    @property
    def has_several_rates(self) -> bool:
        """Whether the model trains with several learning rates."""
        return isinstance(self.selection, BestOutput)

    @property
    def is_searching(self) -> bool:
        """Whether the model searches for its learning rate."""
        return isinstance(self.selection, SearchedOutput)

    @property
    def candidates(self) -> list[Candidate]:
        """Learning rates of a search, with their losses and the updates at which they were removed."""
        if not self.is_searching:
            raise AttributeError("candidates: the model did not search for its learning rate; use lr=RateSearch()")
        return self.parameters.candidates(self.progressive_losses)

    def _halve_candidates(self):
        """Remove learning rates of a search if it is time to, in place.

        Return a function that removes their entries from loss sums, or None if all remain.
        """
        return self._keep_candidates(self.parameters.halve(self.loss_sums))

    def _limit_candidates(self, n_classes, n_features):
        """Remove learning rates of a search, in place, if so many classes and features would take too much memory.

        Return as `_halve_candidates`.
        """
        if not isinstance(self.parameters, SearchedParameters):
            return None
        return self._keep_candidates(self.parameters.limit_candidates(n_classes, n_features, self.loss_sums))

    def _keep_candidates(self, kept):
        if kept is None:
            return None
        selection, ended = self.selection, self._end_search()

        def keep(loss_sums):
            loss_sums = selection.keep_outputs(loss_sums, kept)
            return self.selection.from_search(loss_sums) if ended else loss_sums

        self.loss_sums = keep(self.loss_sums)
        return keep

    def _end_search(self):
        """Continue with the parameters of one output if one candidate remains, in place; return whether it is so."""
        if not isinstance(self.parameters, SearchedParameters) or not self.parameters.is_last:
            return False
        self.parameters, self.selection = self.parameters.last_candidate(), LastOutput()
        return True

    def _require_rates(self, name):
        if not isinstance(self.selection, BestOutput):
            raise AttributeError(
                f"{name}: the model was trained with one learning rate; use lr=RateSearch() or lr=Rates() for several"
            )

    def __repr__(self) -> str:
        return (
            f"LinearModel({type(self.loss).__name__}, {self.n_features} features, {self.dtype}, "
            f"n_seen={self.n_seen}, progressive_loss={self.progressive_loss:.4f})"
        )

    # --- predictions -------------------------------------------------------------------------------------------------

    @property
    def has_probabilities(self) -> bool:
        """Whether the loss gives probabilities of the labels; the logistic loss does."""
        return has_probabilities(self.loss)

    def decision_function(self, X: Any) -> Any:
        """Return the score coef·x + intercept of each row.

        Parameters
        ----------
        X : sparse matrix or array of shape (n, n_features)
            A sparse matrix may have fewer columns; missing columns count as zero.

        Returns
        -------
        ndarray of shape (n,), or (n, n_classes) for more than two classes
            A device array for rows on a device.  float64 with `standardize_targets`.

        Raises
        ------
        ValueError
            If X has more columns than the model, indices out of range, or non-finite values.
        """
        scores = self.score_row(X)
        if scores is not None:
            return scores
        if hasattr(X, "decision_values"):  # rows on a device
            coef, intercept = self.selection.device_weights(self.parameters, self.loss_sums)
            return X.decision_values(coef, self._offset + intercept)
        X = as_csr(to_features(X, self.columns, self.dtype), self.dtype)
        if X.shape[1] > self.n_features:
            raise ValueError(
                f"X: got {X.shape[1]} columns; the model has {self.n_features} features. "
                f"Drop the others with X[:, :{self.n_features}]"
            )
        arrays, columns = RowsToPredict(X.indptr, as_unsigned(X.indices), X.data, X.shape[1]), ()
        stored = arrays.indices[: X.indptr[-1]]
        if stored.size * FEATURES_PER_VALUE <= self.n_features and rows.are_below(stored, X.shape[1]):
            columns, positions = stored, np.arange(stored.size, dtype=stored.dtype)
            arrays = arrays._replace(indices=positions, n_columns=stored.size)
        with np.errstate(over="ignore", invalid="ignore"):  # as in compiled code; non-finite rows raise below
            out, row = self.selection.decision_values(self.parameters, self.loss_sums, arrays, columns)
        if row < X.shape[0]:
            _csr.raise_for_row(X, row)
        return self._add_offset(out)

    def score_row(self, X: Any) -> np.ndarray | None:
        """Return `decision_function` of a single sparse row, or None if that has to convert or to reject the row.

        It takes a third of the time.
        """
        row, parameters = only_row(X, self.dtype), self.parameters
        if row is None or parameters.iterate_sums is not None or X.shape[1] > parameters.n_features:
            return None
        scores = self.selection.score_row(parameters, self.loss_sums, *row, X.shape[1])
        return None if scores is None else self._add_offset(scores)

    def _add_offset(self, scores):
        return scores + np.float64(self._offset) if self._offset else scores  # it may exceed float32's digits

    def _host_scores(self, X):
        scores = self.decision_function(X)
        return to_host(scores) if is_device_array(scores) else scores

    def predict(self, X: Any) -> np.ndarray:
        """Return the predicted label or number of each row.

        With several classes the prediction is the class with the largest score.

        Parameters
        ----------
        X : sparse matrix or array of shape (n, n_features)

        Returns
        -------
        ndarray of shape (n,)
        """
        scores = self._host_scores(X)
        return self.predict_from_scores(scores) if self.classes is None else self.target.decode(scores)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each label for each row.

        Parameters
        ----------
        X : sparse matrix or array of shape (n, n_features)

        Returns
        -------
        ndarray of shape (n, n_classes)
            Columns in the order of `classes`.  A one-versus-rest loss divides the binary probabilities by their sum.

        Raises
        ------
        AttributeError
            If the loss has no probabilities.
        """
        if "has probabilities" not in self.parameters.cache:
            self._require_probabilities()
            self.parameters.cache["has probabilities"] = True
        probability = self.predict_from_scores(self._host_scores(X))
        return probability if probability.ndim == 2 else two_columns(probability)

    def _require_probabilities(self):
        """Raise AttributeError if the loss has no probabilities."""
        name = type(self.loss).__name__
        if self.classes is None:
            raise AttributeError(f"predict_proba: the loss {name} predicts numbers; use predict")
        if not self.has_probabilities:
            is_multiclass = is_multi_output_loss(self.loss)
            if is_multiclass and not isinstance(self.loss, OneVsRest):
                raise AttributeError(
                    f"predict_proba: the loss {name} has no method inverse_link(p), which returns the probabilities of "
                    "the classes for the scores of a row; use decision_function, or train with 'softmax'"
                )
            raise AttributeError(
                f"predict_proba: the loss {self.loss if is_multiclass else name} has no probabilities; use "
                f"decision_function, or train with {'softmax' if is_multiclass else 'logistic or modified_huber'}"
            )

    def predict_from_scores(self, scores: np.ndarray) -> np.ndarray:
        """Return the inverse link of scores: the probability of the positive label, or the predicted number.

        Parameters
        ----------
        scores : ndarray of shape (n,) or (n, n_classes)
            Values of `decision_function`.

        Returns
        -------
        ndarray of the shape of `scores`
        """
        if is_multi_output_loss(self.loss):
            return multiclass_probabilities(self.loss, scores, self.dtype)
        cache = self.parameters.cache
        link = cache.get("link") or cache.setdefault("link", InverseLink(self.loss))
        return link.apply(scores, self.dtype)

    def loss_of_scores(
        self, y: npt.ArrayLike, scores: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
    ) -> float:
        """Return the mean loss of scores.

        Parameters
        ----------
        y : array_like of shape (n,)
        scores : ndarray of shape (n,) or (n, n_classes)
            Values of `decision_function`.
        sample_weight : array_like of shape (n,), optional

        Returns
        -------
        float
        """
        scores = np.ascontiguousarray(scores, np.float64)
        n = scores.shape[0]
        y = self.target.encode_known(y, n, np.float64)
        weight = check_sample_weight(sample_weight, n, np.float64)
        loss, out = cast(self.loss, np.float64), np.empty(n)
        if scores.ndim == 2:
            compiled_for(multi_rows.compute_losses, loss)(loss, y, scores, np.empty(scores.shape[1]), out)
        else:
            compiled_for(rows.compute_losses, loss)(loss, y, scores, out)
        return float(np.average(out, weights=weight))

    linked = property(lambda self: self.predict_from_scores)  # the name in version 0.1.0
    loss_of_margins = property(lambda self: self.loss_of_scores)  # the name in version 0.1.0

    def mean_loss(self, X: Any, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> float:
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
        return self.loss_of_scores(y, self._host_scores(X), sample_weight)

    def explain(self, X: Any, n_largest: int = 10, label: Any = None, names: Any = None) -> Explanation:
        """Return the largest contributions to one prediction.

        Parameters
        ----------
        X : matrix, table with one row, or dict
            The row.  A dict maps the names of columns to values.
        n_largest : int, default 10
            Number of contributions to list.
        label : label, optional
            Label whose score is explained, by default the predicted one.
        names : dict of int to list of str, optional
            Names of features by their number, such as `feature_names` of ``read_vw(…, keep_names=True)``.

        Returns
        -------
        Explanation
            Score and contributions; ``print`` shows a table.

        Raises
        ------
        ValueError
            If X does not have one row, or the label is unknown.

        Examples
        --------
        >>> import numpy as np
        >>> from adagrad_nb import fit_linear
        >>> model = fit_linear(np.eye(2), ["no", "yes"], passes=9)
        >>> explanation = model.explain(np.array([[0.0, 2.0]]))
        >>> explanation.label, [contribution.name for contribution in explanation.contributions]
        ('yes', ['1', '(intercept)'])
        """
        return explain(self, X, n_largest, label, names)

    # --- files -------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike, weights_only: bool = False) -> None:
        """Write the model and its training state to a file, so that training can continue.

        Parameters
        ----------
        path : str or path-like
            File name.  The file is replaced atomically: it has its old content or all of the new content.  It keeps its
            permissions, and a symbolic link stays one.
        weights_only : bool, default False
            Whether to write only what predictions need: the weights, the intercept, the labels and the columns.  The
            file is smaller; weights of zero take no space if most are zero.  The model that `load_model` reads from it
            predicts with the same bits, and cannot be trained further.

        Raises
        ------
        ValueError
            If a number of the model is not finite.
        """
        _check.boolean("weights_only", weights_only)
        is_partial = weights_only or self.is_weights_only
        archive.write_archive(path, FILE_KIND, *(self._to_weights() if is_partial else self._to_content()))

    def _to_content(self):
        """Return the content of a file: JSON data, and arrays by name."""
        parameters, state = self.parameters, self.parameters.state
        arrays = self._arrays()
        file_schema.check_arrays(self, arrays, arrays, parameters.t)
        options = {name: getattr(state, name) for name in ("rule", "lr", "penalty")} | {"average": self.average}
        meta = {
            "kind": type(self.selection).__name__,
            "options": {name: archive.to_json(value, arrays) for name, value in options.items()},
            "numbers": {name: getattr(self, name) for name in ("batch_size", "normalized", "invariant")}
            | {"intercept": self.has_intercept}
            | ({"standardize_targets": True} if self.standardize_targets else {})
            | ({"ledger": True} if self.has_ledger else {}),
            "loss": archive.to_json(self.loss, arrays),
            "since": 0 if parameters.iterate_sums is None else parameters.iterate_sums.first_update,
            "t": parameters.t,
        }
        if (self.weight_unit, self.weight_exponents) != (1.0, 0):
            meta["weights"] = [self.weight_unit, self.weight_exponents]
        return meta | self._describe_data(), arrays

    def _describe_data(self):
        """Return the part of a file's JSON data that does not depend on the training."""
        meta = {
            "labels": [label.item() if isinstance(label, np.generic) else label for label in self.target.to_json()],
            "n_features": self.n_features,
            "dtype": self.dtype.name,
            "n_seen": self.n_seen,
        }
        if self.columns is not None:
            meta["columns"] = self.columns.to_json()
        if self.reader_options is not None:
            meta["reader"] = self.reader_options
        return meta

    def _to_weights(self):
        """Return the content of a file for predictions: JSON data, and arrays by name."""
        arrays = {
            "tally": np.array(self.selection.loss_totals(self.loss_sums), np.float64),
            "w": np.ascontiguousarray(self.coef.T),
            "bias": np.atleast_1d(self.selection.intercept(self.parameters, self.loss_sums)).astype(self.dtype),
        }
        if self.standardize_targets:
            arrays["targets"] = self.target_scaling.values
        file_schema.check_weights(self, arrays)
        numbers = {"intercept": self.has_intercept, "standardize_targets": self.standardize_targets}
        loss = {"loss": archive.to_json(self.loss, arrays)}
        return {"weights_only": True, "numbers": numbers} | loss | self._describe_data(), arrays

    def _restore_weights(self, meta, arrays):
        """Set a new model to the content of a file for predictions."""
        self._restore_data(meta)
        self.n_seen = schema.count_entry(meta, "n_seen")
        self._set_target(self.target.from_json(meta["labels"]))
        file_schema.check_weights(self, arrays)
        self.loss_sums = arrays["tally"]
        self.parameters.set_nonzero_weights(arrays["w"], arrays["bias"])
        if self.standardize_targets:
            self.target_scaling.restore(arrays["targets"])
        self.is_weights_only = True

    def _restore_data(self, meta):
        """Set the columns and the reader of a file, and check its labels."""
        if "columns" in meta:
            self.columns = file_schema.read_columns(meta, self.n_features)
        self.reader_options = schema.reader_options_entry(meta)
        file_schema.check_labels(self.target, schema.entry(meta, "labels", list))

    def _arrays(self):
        """Return all arrays under their names in a file."""
        arrays = {"tally": self.loss_sums} | self.parameters.to_arrays()
        return arrays | ({"targets": self.target_scaling.values} if self.standardize_targets else {})

    def _restore(self, meta, arrays):
        """Set a new model to the content of a file; raise ValueError for what does not fit its options."""
        self._restore_data(meta)
        if self.is_searching:
            self.parameters.fit_to_file(*file_schema.read_candidates(arrays))
            self._end_search()
            self.loss_sums = np.zeros(self.parameters.n_loss_sums)
        self._set_target(self.target.from_json(meta["labels"]))
        t, first_update, self.n_seen = file_schema.read_counts(meta, self.average)
        file_schema.check_arrays(self, self._arrays(), arrays, t)
        self.loss_sums = arrays["tally"]
        self.parameters.restore(arrays, t, first_update)
        if self.standardize_targets:
            self.target_scaling.restore(arrays["targets"])
        self.weight_unit, self.weight_exponents = file_schema.read_weight_unit(meta)
        self.parameters.rate_scale = self._rate_scale()


def _check_standardized(loss):
    """Raise ValueError for a loss whose targets cannot be standardised."""
    if not can_standardize(loss):
        raise ValueError(
            f"standardize_targets: got True, which the loss {type(loss).__name__} does not support; use a loss of the "
            "residual p - y such as 'squared', or set is_residual = True in the record if it is one"
        )


def _check_same_targets(loss, old):
    """Raise ValueError if a model with the loss `old` cannot continue with `loss`: the targets are of another kind."""
    kinds = [target_type(record) if not is_multi_output_loss(record) else "multiclass" for record in (loss, old)]
    if kinds[0] != kinds[1] and kinds != ["continuous", "binary"]:  # labels are the numbers -1 and 1
        words = {"binary": "two labels", "multiclass": "several classes", "continuous": "numbers", "count": "counts"}
        new_targets, old_targets = (words.get(kind, f"targets of type {kind!r}") for kind in kinds)
        raise ValueError(
            f"loss: got {type(loss).__name__}, a loss for {new_targets}, but the model has {type(old).__name__}, a "
            f"loss for {old_targets}; leave loss out, or train a new model"
        )


def _single_target(loss):
    return BinaryLabels() if target_type(loss) == "binary" else Numbers(target_type(loss))


def _row_loss(loss, lr, parameters=None):
    """Return the loss of one row, over all outputs of a new model or of one with `parameters`."""
    return IndependentOutputs(loss) if has_several_rates(lr) and not isinstance(parameters, SingleOutput) else loss


def _check_outputs(loss, lr, penalty, normalized, invariant, batch_size, model=None):
    """Raise ValueError for options that the outputs of a new model, or those of `model`, do not support."""
    has_rates = has_several_rates(lr)
    if is_multi_output_loss(loss) and isinstance(lr, Rates):
        raise ValueError(f"lr: got {lr!r}, which supports two classes or numbers, not more classes; use 'auto'")
    if model is not None and isinstance(model.selection, BestOutput):
        if not has_rates:
            raise ValueError(
                f"lr: got {lr!r}, but the model has several learning rates; leave lr out, or train a new model"
            )
        if isinstance(lr, RateSearch) or isinstance(model.selection, SearchedOutput):
            if lr != model.parameters.state.lr:
                raise ValueError(
                    f"lr: got {lr!r}, but the model searches with {model.parameters.state.lr!r}; leave lr out"
                )
        elif len(lr.values) != model.parameters.n_outputs:
            raise ValueError(
                f"lr: got {len(lr.values)} learning rates, but the model has {model.parameters.n_outputs}, each with "
                "its own weights; leave lr out, or train a new model"
            )
    if has_rates and is_group_penalty(penalty):
        groups = "of features" if isinstance(penalty, Grouped) else "the classes of a feature"
        raise ValueError(
            f"penalty: got {penalty!r}, whose groups are {groups}; a search and several rates support penalties of "
            "single weights; use L1, or one rate"
        )
    if (is_multi_output_loss(loss) or has_rates) and (normalized or invariant):
        raise ValueError(
            f"{'normalized' if normalized else 'invariant'}: got True, which several classes or rates do not support; "
            "use False, or train on two classes or numbers with one rate"
        )
    if isinstance(lr, RateSearch) and model is not None and (batch_size > 1) != (model.batch_size > 1):
        raise ValueError(
            f"batch_size: got {batch_size}, but the model searches with batch_size={model.batch_size}, and rows and "
            "batches have different steps; leave batch_size out, or train a new model"
        )
    if (normalized or invariant) and batch_size > 1:
        option = "normalized" if normalized else "invariant"
        raise ValueError(
            f"batch_size: got {batch_size}, but {option}=True makes one update for each row; "
            f"leave batch_size out, or use {option}=False"
        )


def _check_batches(rule, batch_size):
    """Raise ValueError for batches with a rule whose steps depend on the whole row."""
    if has_row_step(rule) and batch_size > 1:
        raise ValueError(
            f"batch_size: got {batch_size}, but the rule {type(rule).__name__} makes one update for each row; leave "
            "batch_size out"
        )


def check_trainable(model: LinearModel, name: str) -> None:
    """Raise ValueError for a model without training state, which the argument or attribute `name` needs."""
    if model.is_weights_only:
        raise ValueError(
            f"{name}: the model has no training state, because it was saved with weights_only=True; save it with "
            "model.save(path) after training and load that file, or train a new model"
        )


def continue_from(model: LinearModel, options: dict[str, Any], dtype: npt.DTypeLike | None) -> LinearModel:
    """Return a copy of the model with the options that differ from its own.

    Raises
    ------
    ValueError
        If an option differs that cannot change.
    """
    check_trainable(model, "model")
    if "loss" in options and is_multi_output_loss(model.loss):
        options = options | {"loss": multiclass_loss(options["loss"])}
    if dtype is not None and np.dtype(dtype) != model.dtype:
        raise ValueError(
            f"dtype: got {np.dtype(dtype)}, but the model is {model.dtype}; leave dtype out, or train a new model"
        )
    fixed = {"intercept": model.has_intercept, "normalized": model.normalized}
    for name, value in (fixed | {"standardize_targets": model.standardize_targets}).items():
        if options.get(name, value) != value:
            raise ValueError(f"{name}: got {options[name]}, but the model has {name}={value}; train a new model")
    own = {name: getattr(model.parameters.state, name) for name in ("penalty", "rule", "lr")}
    own |= {name: getattr(model, name) for name in ("loss", "average", "batch_size", "invariant")}
    changed = {name: options[name] for name in own if name in options and not options_equal(options[name], own[name])}
    if options.get("ledger") and not model.has_ledger:
        raise ValueError(
            "ledger: got True, but the model has none of its first rows; train a new model with ledger=True"
        )
    if model.has_ledger and options.get("ledger") is False:
        model = model.copy()
        model.parameters = model.parameters.without_ledger()
    for name in changed:
        if model.has_ledger and name != "loss":
            raise ValueError(
                f"{name}: got {changed[name]}, but the model has a ledger for another value; leave {name} out, or pass "
                "ledger=False"
            )
    return model._with_options(**changed) if changed else model.copy()


def options_equal(a: Any, b: Any) -> bool:
    """Return whether two options are equal.  Options are numbers, arrays, or records of them."""
    if type(a) is not type(b) and (isinstance(a, tuple) or isinstance(b, tuple)):
        return False
    if isinstance(a, tuple):
        return len(a) == len(b) and all(options_equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(np.array_equal(a, b))
