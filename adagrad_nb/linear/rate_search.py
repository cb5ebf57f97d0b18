"""Parameters of a model that searches for its learning rate.

`SearchedParameters` has one weight for each feature, remaining rate and class; `kernels.search_rows` has its updates,
and `kernels.multi_rows` those of rules with plain steps.  `LastCandidate` has one weight for each feature, when one
rate remains; `kernels.scaled_rows` has its updates.  `RateSearch` of `records.schedules` says which rates remain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..compiler.jit import cast
from ..records.group_penalties import is_group_penalty
from ..records.multiclass_losses import CandidateClasses, is_multi_output_loss
from ..records.rules import initial_slots, is_scaled_gradient
from ..records.schedules import has_several_rates
from .kernels.rows import LearnerSpec
from .kernels.scaled_rows import RootMeanSquareScale, ScaledLearnerSpec
from .kernels.search_rows import SearchRowBuffers, SearchSpec, shares_accumulators
from .parameters import COPY_BLOCK, FeatureScaling, MultiOutput, SingleOutput

if TYPE_CHECKING:
    import numpy.typing as npt

MAX_NUMBERS = 2**27  # of all weights and accumulators of a search: 1 GiB in float64


def supports_search(options: dict[str, Any], n_workers: int, is_on_device: bool, has_initial_weights: bool) -> bool:
    """Return whether a new model can search for its learning rate.

    Parameters
    ----------
    options : dict
        Checked options of the model, with the loss for the number of classes.
    n_workers : int
    is_on_device, has_initial_weights : bool
        Whether the rows are on a device; whether training starts from given weights, which the scales would change.
    """
    return not (
        is_group_penalty(options["penalty"])
        or options.get("normalized", False)
        or options.get("invariant", False)
        or n_workers > 1
        or is_on_device
        or has_initial_weights
    )


class Candidate(NamedTuple):
    """Learning rate of a search and its progressive loss.

    Attributes
    ----------
    rate : float
        The learning rate, or its factor on the schedule.
    progressive_loss : float
        Mean loss of the rows of the first pass, each before its update, until the candidate was removed; NaN if it
        was not trained.
    removed_at : int or None
        Update number at which it was removed: 0 if it was not trained (see `RateSearch`), None if it remains.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import RateSearch, fit_linear
    >>> X = np.random.default_rng(0).normal(size=(300, 3))
    >>> model = fit_linear(X, X @ [1.0, -2.0, 3.0] > 0, lr=RateSearch((0.01, 1.0), halve_at=(200,)))
    >>> [(candidate.rate, candidate.removed_at) for candidate in model.candidates]
    [(0.01, 200), (1.0, None)]
    """

    rate: float
    progressive_loss: float
    removed_at: int | None


class CandidateTable:
    """The candidates of a search, as a base class of its parameters.

    Attributes
    ----------
    rates : ndarray of shape (n_candidates,)
        Learning rates that remain, in increasing order.
    removed : ndarray of shape (n_removed, 3)
        Learning rate, mean loss and update number of each removed candidate.
    """

    rates: np.ndarray
    removed: np.ndarray
    state: Any
    t: Any
    _keep_outputs: Any  # of those parameters that can have several rates

    def candidates(self, losses: np.ndarray) -> list[Candidate]:
        """Return all candidates by rate, given the mean losses of those that remain."""
        remaining = [Candidate(float(rate), float(loss), None) for rate, loss in zip(self.rates, losses, strict=True)]
        removed = [Candidate(float(rate), float(loss), int(update)) for rate, loss, update in self.removed]
        return sorted(remaining + removed)

    def updates_until_halving(self) -> int | None:
        """Return the number of updates until candidates are removed, or None."""
        update = self.state.lr.next_halving(self.t)
        return None if update is None else update - self.t

    def fit_to_file(self, rates: np.ndarray, removed: np.ndarray) -> None:
        """Set the remaining and the removed candidates of new parameters to those of a file."""
        values = np.array(self.state.lr.values)
        kept = np.flatnonzero(np.isin(values, rates))
        if rates.shape != kept.shape or not kept.size or not np.array_equal(values[kept], rates):
            raise ValueError(f"rates: got {rates}; must be some of the learning rates {values}, in increasing order")
        gone = np.setdiff1d(values, rates)
        if removed.shape != (gone.size, 3) or not np.array_equal(np.sort(removed[:, 0]), gone):
            raise ValueError("removed: must have a row for each learning rate that does not remain")
        if gone.size:
            self._keep_outputs(kept)
        self.removed = removed

    def _candidate_arrays(self):
        """Return the arrays of the candidates under their names in a file."""
        return {"rates": self.rates, "removed": self.removed}


def _check_scaled(rule):
    """Raise ValueError for a rule without scaled steps, in a search that makes them."""
    if not is_scaled_gradient(rule):
        raise ValueError(
            f"rule: got {type(rule).__name__}, but the model searches with the scaled steps of Adagrad; train a new "
            "model with it"
        )


class SearchedParameters(CandidateTable, MultiOutput):
    """One weight for each feature, remaining learning rate and class, and the scales of the features.

    The outputs of a learning rate are adjacent.

    Attributes
    ----------
    rates : ndarray of shape (n_rates,)
        Remaining learning rates, in increasing order.
    n_classes : int
        Number of outputs of each rate: 1 for two classes or numbers.
    is_scaled : bool
        Whether the updates are scaled and importance-weight-aware: those of Adagrad for each row.
    scales : ndarray of shape (n_features, 2)
        As in `SearchSpec`; empty for plain updates.
    """

    def __init__(
        self,
        n_features: int,
        dtype: npt.DTypeLike,
        loss: Any,
        has_intercept: bool,
        rule: Any,
        lr: Any,
        penalty: Any,
        average: Any = False,
        rates: npt.ArrayLike | None = None,
        n_classes: int | None = None,
        batch_size: int = 1,
    ) -> None:
        self.rates = np.array(lr.values if rates is None else rates, np.float64)
        self.n_classes = int(not is_multi_output_loss(loss.loss)) if n_classes is None else n_classes
        factors = np.repeat(self.rates, self.n_classes)
        super().__init__(n_features, dtype, loss, has_intercept, rule, lr, penalty, factors, average)
        self.is_scaled = is_scaled_gradient(self.state.rule) and batch_size == 1
        self.scales = np.zeros((n_features if self.is_scaled else 0, 2), self.dtype)
        self.removed = np.zeros((0, 3))

    @property
    def n_loss_sums(self) -> int:
        """Number of loss sums: see `SearchedOutput`."""
        return 2 * self.rates.size + 2

    def spec(self, n_updates: int = 0) -> Any:
        """Return the records that the learning kernel is compiled for; it makes at most `n_updates` updates."""
        spec: Any = super().spec(n_updates)
        if is_multi_output_loss(self.loss.loss):
            spec = spec._replace(loss=CandidateClasses(spec.loss.loss, self.n_classes))
        return SearchSpec(*(*spec, self.scales)) if self.is_scaled else spec

    def check_steps(self, rule: Any, batch_size: int) -> None:
        """Raise ValueError for options with another kind of step than that of the search."""
        if self.is_scaled:
            _check_scaled(rule)
        elif is_scaled_gradient(rule) and batch_size == 1:
            raise ValueError(
                f"rule: got {type(rule).__name__}, whose steps are scaled, but the model searches with the plain steps "
                f"of {type(self.state.rule).__name__}; train a new model with it"
            )

    def _similar(self, loss, average, **options):
        """Return new parameters for the same rates with other options."""
        return SearchedParameters(
            self.n_features, self.dtype, loss, self.has_intercept, **options, average=average, rates=self.rates,
            n_classes=self.n_classes, batch_size=1 if self.is_scaled else 2,
        )  # fmt: skip

    def set_weights(self, coef: np.ndarray, intercept: np.ndarray) -> None:
        """Set the weights, of shape (n_classes, n_features) or (n_features,), and the intercepts, of all rates."""
        if coef.ndim == 2:
            coef, intercept = np.tile(coef, (self.rates.size, 1)), np.tile(intercept, self.rates.size)
        super().set_weights(coef, intercept)

    # --- candidates --------------------------------------------------------------------------------------------------

    def halve(self, loss_sums: np.ndarray) -> np.ndarray | None:
        """Remove the worse candidates if it is time to, in place.

        Parameters
        ----------
        loss_sums : ndarray
            As in `SearchedOutput`.

        Returns
        -------
        ndarray or None
            Positions of those that remain; None if all do.
        """
        return self._keep_best(self.state.lr.n_kept(self.t), loss_sums)

    def _keep_best(self, n_kept, loss_sums):
        n = self.rates.size
        if n <= n_kept:
            return None
        order = np.argsort(loss_sums[:n], kind="stable")
        with np.errstate(invalid="ignore"):
            means = loss_sums[n : 2 * n] / loss_sums[-1]
        return self._keep_rates(np.sort(order[:n_kept]), means)

    def limit_candidates(self, n_classes: int, n_features: int, loss_sums: np.ndarray) -> np.ndarray | None:
        """Remove learning rates if `n_classes` classes and `n_features` features would exceed `MAX_NUMBERS`, in place.

        Those of new parameters are the outer ones; later, those with the largest losses.

        Returns
        -------
        ndarray or None
            As for `halve`.
        """
        n, n_slots = self.rates.size, len(initial_slots(self.state.rule))
        n_kept = max(MAX_NUMBERS // max(n_features * n_classes * (1 + n_slots), 1), 1)
        if self.t:
            return self._keep_best(n_kept, loss_sums)
        if n <= n_kept:
            return None
        first = (n - n_kept) // 2
        return self._keep_rates(np.arange(first, first + n_kept), np.full(n, np.nan))

    def _keep_rates(self, kept, means):
        """Remove the learning rates whose positions are not in `kept`, given all mean losses; return `kept`."""
        removed = np.setdiff1d(np.arange(self.rates.size), kept)
        self.removed = np.concatenate([self.removed, [(self.rates[k], means[k], self.t) for k in removed]])
        self._keep_outputs(kept)
        return kept

    def _keep_outputs(self, kept):
        """Remove the outputs of the learning rates whose positions are not in `kept`, in place."""
        self.rates = self.rates[kept]
        lanes = (kept[:, None] * self.n_classes + np.arange(self.n_classes)).ravel()
        self.rate_factors = np.repeat(self.rates, self.n_classes)
        tables = []
        for table in (self.table, self.bias_table):
            new = self._new_table(table.shape[0])
            used = self._changed_features() if table is self.table else np.arange(1)
            for start in range(0, used.size, COPY_BLOCK):
                rows = used[start : start + COPY_BLOCK]
                new[rows, :, : lanes.size] = table[rows][:, :, lanes]
            tables.append(new)
        self.table, self.bias_table = tables
        if self.iterate_sums is not None:
            self.iterate_sums.keep_outputs(lanes)

    def add_outputs(self, n_outputs: int, positions: list[int]) -> None:
        """Grow to `n_outputs` classes in place; existing classes move to `positions`, and new weights are zero.

        Accumulators that the classes share are those of a new class too.
        """
        first = n_outputs * np.arange(self.rates.size)[:, None]
        super().add_outputs(n_outputs * self.rates.size, (first + np.array(positions, int)).ravel().tolist())
        self.n_classes = n_outputs
        self.rate_factors = np.repeat(self.rates, n_outputs)
        if positions and self.is_scaled and shares_accumulators(self.loss.loss):
            new = np.setdiff1d(np.arange(n_outputs), positions)
            for table in (self.table, self.bias_table):
                table[:, 1:, (first + new).ravel()] = np.repeat(table[:, 1:, first.ravel() + positions[0]], new.size, 2)

    def _changed_features(self):
        """Return the positions of the features that had an update or a non-zero first weight."""
        if not self.is_scaled:
            return np.arange(self.n_features)
        return np.flatnonzero((self.scales[:, 1] > 0) | self.table[:, 0].any(axis=1))

    def is_finite(self, output: int | slice | None = None, columns: Any = ()) -> bool:
        """Return whether the weights of some outputs, or of all, are finite, of all features or of `columns`.

        Features without an update have their first weights.  Reading only their scales is faster in a wide table.
        """
        if not self.is_scaled or not isinstance(columns, tuple):
            return super().is_finite(output, columns)
        part = slice(None) if output is None else output
        rows = np.flatnonzero(self.scales[:, 1] > 0)
        return bool(np.isfinite(self.table[rows, 0, part]).all() and np.isfinite(self.bias_table[0, 0, part]).all())

    @property
    def is_last(self) -> bool:
        """Whether `LastCandidate` can continue: for one rate, one output and scaled updates."""
        return self.rates.size == 1 and self.is_scaled and not is_multi_output_loss(self.loss.loss)

    # --- arrays ------------------------------------------------------------------------------------------------------

    def _copy_arrays(self):
        super()._copy_arrays()
        self.rates, self.scales = self.rates.copy(), self.scales.copy()
        self.removed = self.removed.copy()

    def resize(self, n_features: int) -> None:
        """Grow to `n_features` features in place; new weights are zero."""
        n_new = max(n_features - self.n_features, 0)
        super().resize(n_features)
        if self.is_scaled:
            self.scales = np.concatenate([self.scales, np.zeros((n_new, 2), self.dtype)])

    def search_workspace(self, index_dtype: npt.DTypeLike, longest_row: int) -> SearchRowBuffers:
        """Return the workspace of the kernel for rows of at most `longest_row` values."""
        row = self.row_workspace(index_dtype)
        q, u, first = (self._new_table(1)[:, 0] for _ in range(3))
        return SearchRowBuffers(
            row.p, row.z, first, row.losses, row.lr, q, u, np.zeros(1, self.dtype),
            self._new_table(longest_row + 1)[:, 0],
            tuple(np.zeros((5, longest_row), self.dtype)), row.rate_factors, row.step_sizes, row.bias_column,
            row.bias_value,
        )  # fmt: skip

    def _tables(self):
        entries, others = super()._tables()
        return [*entries, self.scales] if self.is_scaled else entries, others

    def _table_arrays(self):
        return super()._table_arrays() | self._candidate_arrays() | {"scales": self.scales}

    def _from_arrays(self, arrays):
        super()._from_arrays(arrays)
        self.scales = arrays["scales"]

    def last_candidate(self) -> LastCandidate:
        """Return the parameters of the only candidate that remains."""
        state, changed = self.state, self._changed_features()
        new = LastCandidate(
            self.n_features, self.dtype, self.loss.loss, self.has_intercept, state.rule, state.lr, state.penalty,
            self.average, self.rates[0],
        )  # fmt: skip
        new.t, new.removed, new.rate_scale = self.t, self.removed, self.rate_scale
        new.summed_rates, new.power_sum_table = self.summed_rates, self.power_sum_table
        if self.iterate_sums is not None:
            new.iterate_sums = self.iterate_sums.copy()
            new.iterate_sums.sums, new.iterate_sums.bias_sums = (
                np.ascontiguousarray(sums[:, 0]) for sums in (self.iterate_sums.sums, self.iterate_sums.bias_sums)
            )
        columns = (new.weights, *new.state.slots[0])
        for k, column in enumerate(columns):
            column[changed] = self.table[changed, k, 0]
        for k, column in enumerate((new.bias, *new.bias_state.slots[0])):
            column[:] = self.bias_table[:, k, 0]
        scaling: Any = new.scaling
        scaling.scale[changed] = np.sqrt(self.scales[changed, 0])
        scaling.weight[changed] = self.scales[changed, 1]
        if not isinstance(self.last_update, tuple):
            new.last_update[:] = self.last_update
        return new


# --- after the search ------------------------------------------------------------------------------------------------


class LastCandidate(CandidateTable, SingleOutput):
    """One weight for each feature, trained with the only learning rate that remains of a search.

    The updates are those of the search.  A row takes about half of the time, because the loops vectorise over the
    features of the row, and a table of 4 outputs would need 4 times the memory.
    """

    n_loss_sums = 3  # see `LastOutput`
    is_scaled = True

    def __init__(
        self,
        n_features: int,
        dtype: npt.DTypeLike,
        loss: Any,
        has_intercept: bool,
        rule: Any,
        lr: Any,
        penalty: Any,
        average: Any,
        rate: float,
    ) -> None:
        self.rates, self.removed = np.array([rate], np.float64), np.zeros((0, 3))
        super().__init__(n_features, dtype, loss, has_intercept, rule, lr.schedule, penalty, average)
        self._set_search(lr)

    def _new_scaling(self, n_features, normalized, invariant):
        return RootMeanSquareScaling(n_features, self.dtype, float(self.rates[0]))

    def _set_search(self, lr):
        """Set the learning rate that the states report."""
        for state in (self.state, self.bias_state):
            state.options = state.options._replace(lr=lr)
        self.state = self.state  # empties the cache, which depends on it

    def _state_with_options(self, state, x, **options):
        lr = state.lr
        state = state.with_options(x, **options | {"lr": lr.schedule})
        state.options = state.options._replace(lr=lr)
        return state

    def _unscaled_schedule(self):
        """Return the learning-rate schedule, which the kernel multiplies by the rate."""
        lr = self.state.lr
        return cast(lr.schedule if has_several_rates(lr) else lr, np.float64)  # not yet in the first call

    def halve(self, loss_sums: np.ndarray) -> None:
        """Do nothing: one candidate remains."""

    def _table_arrays(self):
        scales = np.column_stack(self.scaling.feature_arrays)
        return super()._table_arrays() | self._candidate_arrays() | {"scales": scales}

    def _from_arrays(self, arrays):
        self.scaling.feature_arrays = arrays["scales"].T
        super()._from_arrays(arrays)

    def _copy_arrays(self):
        super()._copy_arrays()
        self.rates, self.removed = self.rates.copy(), self.removed.copy()


class RootMeanSquareScaling(FeatureScaling):
    """Feature scaling of the last candidate of a search.  The options `normalized` and `invariant` are False.

    Attributes
    ----------
    scale : ndarray of shape (n_features,)
        Root mean square of the non-zero values of each feature so far; 0 before the first.
    weight : ndarray of shape (n_features,)
        Sum of their weights.
    rate : float
        Learning rate of the candidate.
    """

    def __init__(self, n_features: int, dtype: npt.DTypeLike, rate: float) -> None:
        super().__init__(n_features, dtype, False, False)
        self.scale = self.weight = np.broadcast_to(np.dtype(dtype).type(0), n_features)
        self.rate = rate

    def __bool__(self) -> bool:
        return True

    def copy(self) -> RootMeanSquareScaling:
        """Return a copy with its own arrays."""
        new = RootMeanSquareScaling(0, self.scale.dtype, self.rate)
        new.scale, new.weight = self.scale.copy(), self.weight.copy()
        return new

    @property
    def feature_arrays(self) -> tuple[np.ndarray, ...]:
        """The arrays with one entry for each feature, which are in the table of the weights."""
        return self.scale, self.weight

    @feature_arrays.setter
    def feature_arrays(self, arrays: Any) -> None:
        self.scale, self.weight = arrays

    def check_compatible(self, rule: Any, penalty: Any) -> None:
        """Raise ValueError if the rule does not support these updates."""
        _check_scaled(rule)

    def scaled_spec(self, spec: LearnerSpec) -> ScaledLearnerSpec:
        """Return `spec` with the scaling of these updates added."""
        return ScaledLearnerSpec(*spec, RootMeanSquareScale(self.scale, self.weight, self.rate), 1)
