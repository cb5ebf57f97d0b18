"""Parameters of a linear model: weights, accumulators, update numbers, iterate sums, and their memory layout.

`SingleOutput` has one weight for each feature.  `MultiOutput` has one weight for each feature and output.  An output is
a class or a learning rate.  The model, the trainer and `merge` use both classes through the same methods.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _check
from ..compiler.jit import cast, compiled_entry, compiled_for, errors_ignored
from ..compiler.simd import LANES4, aligned_zeros
from ..optim.feature_groups import group_layout
from ..optim.options import Options
from ..optim.state import State, init
from ..records.anytime import needs_dense_gradients
from ..records.averaging import OnlineToBatch, Polyak, averages_before
from ..records.coordinate import Update
from ..records.dual_averaging import is_dual_averaging
from ..records.group_penalties import Grouped, is_group_penalty
from ..records.multiclass_losses import IndependentOutputs
from ..records.penalties import NoPenalty, has_additive_prox
from ..records.rules import has_row_step, initial_slots, is_scaled_gradient, slot_domains, unpenalized
from ..records.schedules import Constant, has_several_rates
from ..records.transforms import Identity
from .kernels import multi_rows, rows, scaled_rows
from .kernels.group_lazy import AveragedGroups, CatchUpGroups, catch_up_all_groups
from .kernels.lazy import (
    LARGEST_T,
    FromAccumulators,
    LazyIterateSums,
    NoCatchUp,
    PowerSums,
    PowerSumTable,
    StepByStep,
    SummedRates,
    TimedSolution,
    WithAveraging,
    acts_on_untouched,
    choose_strategy,
    needs_last_update,
    sum_rates,
    sum_rates_between,
)
from .kernels.multi_lazy import ScaledSchedule
from .kernels.rows import PREFETCH_FROM
from .regret_sums import RegretSums

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt


_COUNTERS = ("t", "summed_rates", "power_sum_table")  # attributes of parameters that change between updates


def _empty_for(array, columns):
    """Return an empty array for the entries `columns` of an array, or for all of them if `columns` is ()."""
    return (
        np.empty_like(array) if isinstance(columns, tuple) else np.empty((columns.size, *array.shape[1:]), array.dtype)
    )


def weight_state(weights: np.ndarray, rule: Any, lr: Any, penalty: Any) -> State:
    """Return the state of one weight for each feature; `init` refuses group penalties of vectors."""
    if needs_dense_gradients(rule):
        raise ValueError(
            f"rule: each update of {type(rule).__name__} changes all weights, which fit_linear does not support; use "
            "its rule alone with average=OnlineToBatch()"
        )
    return State([("x", weights)], Options(rule, lr, penalty=penalty))


class Parameters:
    """Base class of `SingleOutput` and `MultiOutput`.

    Attributes
    ----------
    loss : loss record
        Loss of one row, over all outputs.
    has_intercept : bool
    dtype : dtype
        float32 or float64.
    state, bias_state : State
        Options and update count of the weights and of the intercepts.
    scaling : FeatureScaling
    iterate_sums : IterateSums or None
        Sums of the iterates, with Polyak averaging.
    last_update : ndarray of shape (n_features,) or ()
        Time of the update up to which each feature is current (see `kernels.lazy`); () if lazy updates do not need it.
    summed_rates : tuple (int, float)
        An update t, and the sum of the learning rates of the updates before it since the options last changed.  Only
        lazy updates that measure time in summed rates need it.
    rate_scale : float or None
        Factor of the learning rate: the scale of the targets, if they are standardised.
    power_sum_table : PowerSumTable or None
        Sums of powers of the learning rates, if lazy updates need them.  They follow from the schedule.
    ledger_sums : RegretSums or None
        Numbers of a ledger of regret.
    cache : dict
        Objects that follow from the options and arrays: the records of `spec`, and the workspace of one row.
    """

    loss: Any
    has_intercept: bool
    dtype: np.dtype
    state: State
    bias_state: State
    scaling: FeatureScaling
    iterate_sums: Any
    ledger_sums: RegretSums | None = None
    last_update: Any
    rate_scale: float | None = None
    summed_rates: tuple[int, float] = (0, 0.0)
    power_sum_table: Any = None
    cache: dict[Any, Any]

    # Members that the subclasses define.
    kernels: Any  # module with the loops over all features
    n_features: Any
    kernel_arrays: Any
    output_arrays: Any
    _group_strategy: Any
    _copy_arrays: Any
    _tables: Any
    _table_arrays: Any
    _from_arrays: Any

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; those other than the counters empty the cache."""
        if name not in _COUNTERS:
            self.__dict__["cache"] = {}
        object.__setattr__(self, name, value)

    @property
    def average(self) -> Any:
        """Average that the model reports, or False."""
        return False if self.iterate_sums is None else self.iterate_sums.average

    @property
    def n_averaged(self) -> int:
        """Number of iterates in the reported average; 0 if the last iterate is reported."""
        return 0 if self.iterate_sums is None else self.iterate_sums.count_iterates(self.state.t)

    @property
    def t(self) -> int:
        """Number of updates."""
        return self.state.t

    @t.setter
    def t(self, value: int) -> None:
        self.state.t = self.bias_state.t = int(value)

    def initial_last_update(self) -> Any:
        """Return the current update number for every feature, or () if lazy updates do not need it."""
        is_lazy = needs_last_update(self.state.rule, self.state.penalty)
        is_lazy |= self.ledger_sums is not None and acts_on_untouched(self.state.penalty)
        if not is_lazy and not self.average:
            return ()
        now: Any = self.state.t
        if is_lazy and self.scaling.normalized:
            now = self.scaling.summed_step_sizes
        elif self.sums_rates:
            now = self.rate_sums()[0]
        return np.broadcast_to(now, self.n_features)

    def lazy_strategy(self, averaged: bool | None = None) -> Any:
        """Return the strategy of the lazy updates, or that with averaged iterates or without."""
        if self.has_feature_groups:
            return CatchUpGroups()
        state, averaged = self.state, self.iterate_sums is not None if averaged is None else averaged
        strategy = choose_strategy(state.rule, state.penalty, self.schedule(), self.scaling.normalized, averaged)
        is_timed = self.ledger_sums is not None and isinstance(strategy, FromAccumulators)
        return TimedSolution(*strategy) if is_timed else strategy

    @property
    def has_feature_groups(self) -> bool:
        """Whether the penalty is of groups of features."""
        return isinstance(self.state.penalty, Grouped)

    @property
    def sums_rates(self) -> bool:
        """Whether lazy updates measure time in summed learning rates."""
        return isinstance(self.lazy_strategy(), SummedRates)

    @property
    def has_fixed_spec(self) -> bool:
        """Whether `spec` has records of the same types and arrays after each update: no sums of learning rates."""
        return not isinstance(self.lazy_strategy(), (SummedRates, PowerSums, CatchUpGroups))

    def _is_other_average(self, average: Any) -> bool:
        """Return whether an average differs from the present one; two classes may have equal entries."""
        return type(average) is not type(self.average) or average != self.average

    def _must_catch_up(self, average: Any) -> bool:
        """Return whether the average can only change to `average` when no feature has missed an update.

        So it is if lazy updates then measure time differently, or if the present iterate is the first in the mean.
        """
        if not self._is_other_average(average):
            return False
        return averages_before(average) or isinstance(self.lazy_strategy(averaged=False), SummedRates)

    def rate_sums(self, n_updates: int = 0) -> np.ndarray:
        """Return the summed learning rates of all updates so far, and after each of the next `n_updates`."""
        t, total = self.summed_rates
        sums = np.zeros(self.state.t - t + n_updates + 1)
        sums[0], schedule = total, self.schedule()
        compiled_for(sum_rates, schedule)(schedule, t, sums)
        sums = sums[self.state.t - t :]
        self.summed_rates = self.state.t, float(sums[0])
        return sums

    def _power_sums(self, n_updates: int) -> Any:
        """Return the lazy updates with the sums that the next updates need, or one by one after too many updates."""
        if self.state.t + n_updates > LARGEST_T:
            return StepByStep()
        table, schedule = self.power_sum_table, self.schedule()
        if table is None or type(table.schedule) is not type(schedule) or table.schedule != schedule:
            table = PowerSumTable(schedule)
        self.power_sum_table = table.covering(self.state.t, n_updates)
        return self.power_sum_table.levels

    def _times_of_updates(self, updates: np.ndarray) -> np.ndarray:
        """Return the summed learning rates at update numbers, counted from the smallest one."""
        schedule = self.schedule()
        distinct, positions = np.unique(np.append(updates, self.state.t), return_inverse=True)
        times = np.zeros(distinct.size)
        compiled_for(sum_rates_between, schedule)(schedule, distinct, times)
        self.summed_rates = self.state.t, float(times[-1])
        return times[positions[:-1]]

    def schedule(self) -> Any:
        """Return the learning-rate schedule as a record, `rate_scale` included."""
        schedule, factor = self._unscaled_schedule(), self.rate_scale
        if factor is None:
            return schedule
        if isinstance(schedule, Constant):  # for which there are closed forms
            return schedule._replace(lr=type(schedule.lr)(schedule.lr * factor))
        return cast(ScaledSchedule(schedule, factor), np.float64)

    def _unscaled_schedule(self):
        return self.state.schedule()

    def spec(self, n_updates: int = 0) -> Any:
        """Return the records that the learning kernels are compiled for; they make at most `n_updates` updates."""
        spec = self.cache.get("records")
        if spec is None:
            spec = self.cache["records"] = self._new_records()
        lazy = spec.lazy
        if isinstance(lazy, SummedRates):
            spec = spec._replace(lazy=SummedRates(self.rate_sums(n_updates), self.state.t))
        elif isinstance(lazy, PowerSums):
            spec = spec._replace(lazy=self._power_sums(n_updates))
        elif isinstance(lazy, CatchUpGroups):
            spec = spec._replace(lazy=self._group_strategy())
        return self.scaling.scaled_spec(spec) if self.scaling or has_row_step(self.state.rule) else spec

    def _new_records(self):
        """Return the records of `spec`, with a lazy-update strategy without its sums."""
        state, lazy = self.state, self.lazy_strategy()
        bias_update = Update(unpenalized(state.rule), Identity(), NoPenalty())  # type: ignore[call-arg]
        return rows.LearnerSpec(
            cast(self.loss, self.dtype),
            state.leaves[0].update._replace(transforms=Identity()),  # type: ignore[call-arg]
            cast(bias_update, self.dtype), self.schedule(),
            lazy if self.iterate_sums is None or self.has_feature_groups else WithAveraging(lazy),
            int(self.has_intercept),
        )  # fmt: skip

    def lazy_state(self, n_features: int | None = None) -> Any:
        """Return the arrays that lazy updates read and write: update numbers, and iterate sums with averaging."""
        if self.iterate_sums is None:
            return self.last_update
        return self.iterate_sums.as_lazy_record(self.last_update, n_features)

    def _check_accumulators(self, rule):
        """Raise ValueError for a rule with other accumulators than that of the model."""
        n_new, n_old = len(initial_slots(rule)), len(initial_slots(self.state.rule))
        if n_new != n_old:
            raise ValueError(
                f"rule: {type(rule).__name__} has {n_new} accumulators, but the model has {n_old}; train a new model "
                "with it"
            )
        domains = zip(slot_domains(rule), slot_domains(self.state.rule), strict=True)
        is_declared = hasattr(type(self.state.rule), "slot_domains")
        if is_declared and any(new not in (old, "(-inf, inf)") for new, old in domains):
            raise ValueError(
                f"rule: {type(rule).__name__} has accumulators in {' and '.join(slot_domains(rule))}, but those of the "
                f"model are in {' and '.join(slot_domains(self.state.rule))}; train a new model with it"
            )

    def _compiled_for_spec(self, kernel, spec):
        """Return ``compiled_for(kernel, spec)``, from the cache from the second call on."""
        if kernel not in self.cache:
            self.cache[kernel] = compiled_for(kernel, spec)
        return self.cache[kernel]

    def score_row(self, columns: np.ndarray, values: np.ndarray, n_columns: int) -> np.ndarray | None:
        """Return the scores of one row for all outputs by the last iterate, or None.

        None says that a column index is not below `n_columns`, or that the score of the only output is not finite.
        """
        cached = self.cache.get(columns.dtype)
        if cached is None:
            cached = self.cache[columns.dtype] = self._prepare_scores(columns, values)
        kernel, weights, workspace = cached
        out = np.empty((2, *weights.bias.shape[1:]), self.dtype)  # not in the cache: threads may predict at once
        if workspace is None:
            workspace = self.catch_up_workspace()
        with errors_ignored():
            is_valid = kernel(self.spec(), weights, columns, values, n_columns, *workspace, self.state.t, out)
        return out[0] if is_valid else None

    def _prepare_scores(self, columns, values):
        """Return the kernel of `score_row`, its weights, and its workspace or None if the kernel writes to it."""
        spec, weights, workspace = self.spec(), self.kernel_arrays(), self.catch_up_workspace()
        kernel = self._compiled_for_spec(self.kernels.score_row, spec)
        if self.has_fixed_spec:
            out = np.empty((2, *weights.bias.shape[1:]), self.dtype)
            kernel = compiled_entry(kernel, spec, weights, columns, values, 0, *workspace, 0, out)
        return kernel, weights, None if is_group_penalty(self.state.penalty) else workspace

    def catch_up(self, lazy: Any = None, columns: Any = ()) -> np.ndarray:
        """Return the weights after all updates so far, including those that a feature missed.

        Parameters
        ----------
        lazy : record, optional
            Replacement of the lazy-update strategy.
        columns : ndarray of unsigned integers, optional
            Features whose weights are returned, all of which the model has; by default all in their order.
        """
        spec, weights = self.spec(), self.kernel_arrays()
        if lazy is not None:
            spec = spec._replace(lazy=lazy)
        elif isinstance(getattr(spec.lazy, "lazy", spec.lazy), NoCatchUp):
            return weights.w.copy() if isinstance(columns, tuple) else weights.w[columns]
        out = _empty_for(weights.w, columns)
        self._compiled_for_spec(self.kernels.catch_up_columns, spec)(
            spec, weights, columns, *self.catch_up_workspace(), self.state.t, out
        )
        return out

    def catch_up_sums(self, columns: Any = ()) -> np.ndarray:
        """Return the iterate sums after all updates so far, of all features or of `columns`."""
        spec, out = self.spec(), _empty_for(self.iterate_sums.sums, columns)
        self._compiled_for_spec(self.kernels.sum_iterates, spec)(
            spec, self.kernel_arrays(), columns, *self.catch_up_workspace(), self.state.t, out
        )
        return out

    def catch_up_workspace(self) -> tuple[Any, ...]:
        """Return the workspace of the loops over all features, as a tuple."""
        return ()

    def arrays_of_updates(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return the arrays that an update changes: those with an entry for each feature, and the others."""
        entries, others = self._tables()
        entries += self.scaling.feature_arrays
        if self.ledger_sums is not None:
            entries.append(self.ledger_sums.table)
            others += [self.ledger_sums.bias, self.ledger_sums.totals]
        if not isinstance(self.last_update, tuple):
            entries.append(self.last_update)
        if self.iterate_sums is not None:
            entries.append(self.iterate_sums.sums)
            others.append(self.iterate_sums.bias_sums)
        if self.scaling.normalized:
            others.append(self.scaling.running_sums)
        return entries, others

    def copy(self) -> Any:
        """Return a copy with its own arrays."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        new.scaling = self.scaling.copy()
        new.iterate_sums = None if self.iterate_sums is None else self.iterate_sums.copy()
        new.ledger_sums = None if self.ledger_sums is None else self.ledger_sums.copy()
        new._copy_arrays()
        return new

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes for a pickle, without the cache."""
        return self.__dict__ | {"cache": {}}

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        """Restore a pickle: arrays may be memory maps, and the memory layout is lost."""
        self.__dict__.update(attributes)
        self.scaling = self.scaling.copy()
        self.iterate_sums = None if self.iterate_sums is None else self.iterate_sums.copy()
        self.ledger_sums = None if self.ledger_sums is None else self.ledger_sums.copy()
        self._copy_arrays()

    def restore(self, arrays: dict[str, Any], t: int, first_update: int) -> None:
        """Set the parameters to the arrays of a file."""
        self.t = t
        if self.sums_rates:
            if "summed_rates" in arrays:
                self.summed_rates = t, float(arrays["summed_rates"][0])
            else:  # a file of 0.1.0 has update numbers
                arrays["last"] = self._times_of_updates(arrays["last"])
        if self.scaling.normalized:
            self.scaling.max_abs, self.scaling.running_sums = arrays["largest"], arrays["totals"]
        if self.ledger_sums is not None:
            self.ledger_sums.restore(arrays)
        self._from_arrays(arrays)
        if self.iterate_sums is not None:
            self.iterate_sums.first_update = first_update
            self.iterate_sums.sums, self.iterate_sums.bias_sums = arrays["total"], arrays["bias_total"]

    def to_arrays(self) -> dict[str, Any]:
        """Return all arrays under their names in a file."""
        arrays = self._table_arrays()
        if not isinstance(self.last_update, tuple):
            arrays["last"] = self.last_update
            if self.sums_rates:
                arrays["summed_rates"] = self.rate_sums()
        if self.iterate_sums is not None:
            arrays |= {"total": self.iterate_sums.sums, "bias_total": self.iterate_sums.bias_sums}
        if self.ledger_sums is not None:
            arrays |= self.ledger_sums.to_arrays()
        if self.scaling.normalized:
            arrays |= {"largest": self.scaling.max_abs, "totals": self.scaling.running_sums}
        return arrays


class SingleOutput(Parameters):
    """One weight for each feature, interleaved in memory with its accumulators and its update number."""

    kernels = rows
    n_outputs = 1
    n_loss_sums = 2  # sum of losses, sum of sample weights

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
        normalized: bool = False,
        invariant: bool = False,
        ledger: bool = False,
    ) -> None:
        self.dtype = dtype = np.dtype(dtype)
        _check.fields_finite_in(dtype, loss)
        self.loss, self.has_intercept = loss, has_intercept
        self.weights, self.bias = np.broadcast_to(dtype.type(0), n_features), np.zeros(1, dtype)
        self.state = weight_state(self.weights, rule, lr, penalty)
        self.bias_state = weight_state(self.bias, rule, lr, None)
        self.scaling = self._new_scaling(n_features, normalized, invariant)
        self.iterate_sums = IterateSums(average, self.weights, self.bias, 0) if average else None
        self.ledger_sums = RegretSums(n_features) if ledger else None
        slots = (np.broadcast_to(dtype.type(value), n_features) for value in initial_slots(self.state.rule))
        self._allocate(self.weights, slots, self.initial_last_update())
        self._check_options()

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.weights.size

    def _new_scaling(self, n_features, normalized, invariant):
        """Return the feature scaling of new parameters."""
        return FeatureScaling(n_features, self.dtype, normalized, invariant)

    def _allocate(self, weights, slots, last_update, n_features=None):
        """Copy the arrays of the features into one interleaved table of `n_features` entries."""
        updates = () if isinstance(last_update, tuple) else (last_update,)
        scales = self.scaling.feature_arrays
        self.weights, *columns = interleave((weights, *slots, *updates, *scales), n_features or weights.size)
        if scales:
            self.scaling.feature_arrays = columns[-len(scales) :]
            del columns[-len(scales) :]
        self.last_update = columns.pop() if updates else ()
        leaf = self.state.leaves[0]
        leaf.slots = leaf.flat_slots = tuple(columns)

    def _check_options(self):
        """Raise ValueError for options that cannot be combined."""
        penalty = self.state.penalty
        self.scaling.check_compatible(self.state.rule, penalty)
        if has_row_step(self.state.rule):
            self._check_row_rule(self.state.rule)
        if self.average and self.scaling.normalized and acts_on_untouched(penalty):
            raise ValueError(
                f"average: got {self.average}, but with normalized=True the iterates have no closed-form sum under the "
                f"penalty {type(penalty).__name__}; use average=False, penalty=None or normalized=False"
            )

    def _check_row_rule(self, rule):
        """Raise ValueError for options that a rule with steps of whole rows does not support."""
        name = type(rule).__name__
        if not isinstance(self.loss, rule.losses):
            supported = " and ".join(loss.__name__ for loss in rule.losses)
            raise ValueError(f"loss: got {self.loss!r}; the rule {name} supports {supported}")
        if self.state.lr != 1.0:
            raise ValueError(f"lr: got {self.state.lr!r}, but the rule {name} has no learning rate; leave lr out")
        if not isinstance(self.state.penalty, NoPenalty):
            raise ValueError(
                f"penalty: got {self.state.penalty!r}, which the rule {name} does not support; use penalty=None, or "
                "another rule such as Adagrad()"
            )

    def _copy_arrays(self):
        self.state, self.bias_state = self.state.copy(without_slots=True), self.bias_state.copy()
        self.bias = self.bias.copy()
        self._allocate(self.weights, self.state.slots[0], self.last_update)

    def with_options(
        self, loss: Any, average: Any, invariant: bool, *, rate_scale: float | None = None, **options: Any
    ) -> SingleOutput:
        """Return a copy with other values of these options and of the options of the state."""
        if has_several_rates(options.get("lr")):
            raise ValueError(
                "lr: got several learning rates, but the model has one; leave lr out, or train a new model with them"
            )
        self._check_accumulators(options.get("rule", self.state.rule))
        new = self.copy()
        new.loss, new.scaling.invariant = loss, invariant
        if options or rate_scale is not None or self._must_catch_up(average):
            new.rate_scale = self.rate_scale if rate_scale is None else rate_scale
            if new.iterate_sums is not None:
                new.iterate_sums.sums = self.catch_up_sums()
            new.weights = self.catch_up()
            new.state = new._state_with_options(new.state, new.weights, **options)
            options.pop("penalty", None)
            new.bias_state = new._state_with_options(new.bias_state, new.bias, **options)
            new.last_update, new.summed_rates = (), (new.state.t, 0.0)
            if is_dual_averaging(new.state.rule):
                if new.has_feature_groups:
                    new.last_update = np.zeros(new.n_features, np.int64)
                new.weights, new.last_update = new.catch_up(FromAccumulators(0)), ()
        if self._is_other_average(average):
            new.iterate_sums = IterateSums(average, new.weights, new.bias, new.state.t) if average else None
        if isinstance(new.last_update, tuple) or not (average or needs_last_update(new.state.rule, new.state.penalty)):
            new.last_update = new.initial_last_update()
        new._allocate(new.weights, new.state.slots[0], new.last_update)
        new._check_options()
        return new

    def without_ledger(self) -> SingleOutput:
        """Return a copy without the numbers of a ledger."""
        new = self.copy()
        new.ledger_sums = None
        if not (new.average or needs_last_update(new.state.rule, new.state.penalty)):
            new.last_update = ()
        new._allocate(new.weights, new.state.slots[0], new.last_update)
        return new

    def _state_with_options(self, state, x, **options):
        """Return a copy of the state of the weights or of the intercept with other options."""
        return state.with_options(x, **options)

    def resize(self, n_features: int) -> None:
        """Grow to `n_features` features in place; new weights are zero."""
        n_old, leaf = self.n_features, self.state.leaves[0]
        if n_features <= n_old:
            return
        _check.penalty_shape(self.state.penalty, n_features)
        # The update numbers of new features are 0, because a penalty with a bound that excludes 0 moves zero weights.
        self._allocate(self.weights, leaf.slots, self.last_update, n_features)
        for slot, value in zip(leaf.slots, initial_slots(self.state.rule), strict=True):
            slot[n_old:] = value
        leaf.shape, leaf.size = (n_features,), n_features
        if self.iterate_sums is not None:
            self.iterate_sums.add_features(n_features - n_old)
        if self.ledger_sums is not None:
            self.ledger_sums.add_features(n_features - n_old)

    def kernel_arrays(self, n_features: int | None = None) -> rows.Weights:
        """Return the arrays of the learning kernels, which reject column indices >= `n_features`."""
        slots, bias_slots = self.state.leaves[0].flat_slots, self.bias_state.leaves[0].flat_slots
        return rows.Weights(self.weights[:n_features], slots, self.lazy_state(n_features), self.bias, bias_slots)

    def output_arrays(self) -> list[rows.Weights]:
        """Return the arrays of each output, as kernels of one output take them."""
        return [self.kernel_arrays()]

    # --- groups of features ------------------------------------------------------------------------------------------

    def _group_strategy(self):
        """Return the lazy updates of groups of features, with the arrays of this model."""
        buffers = self.cache.get("groups")
        if buffers is None:
            layout = group_layout(self.state.penalty.groups)
            buffers = self.cache["groups"] = (*layout, *np.empty((2, layout.largest), self.dtype))
        strategy = CatchUpGroups(self.weights, self.state.leaves[0].flat_slots, self.last_update, *buffers)
        if self.iterate_sums is None:
            return strategy
        sums = self.lazy_state()
        return AveragedGroups(strategy, sums.sums, sums.first_update)

    def _without_missed_updates(self):
        """Return a copy in which all groups of features are current."""
        new = self.copy()
        spec = new.spec()
        compiled_for(catch_up_all_groups, spec)(spec, new.t)
        return new

    def catch_up(self, lazy: Any = None, columns: Any = ()) -> np.ndarray:
        """Return the weights after all updates so far; see `Parameters.catch_up`."""
        if not self.has_feature_groups:
            return super().catch_up(lazy, columns)
        weights = self._without_missed_updates().weights
        return weights.copy() if isinstance(columns, tuple) else weights[columns]

    def catch_up_sums(self, columns: Any = ()) -> np.ndarray:
        """Return the iterate sums after all updates so far, of all features or of `columns`."""
        if not self.has_feature_groups:
            return super().catch_up_sums(columns)
        sums = self._without_missed_updates().iterate_sums.sums
        return sums if isinstance(columns, tuple) else sums[columns]

    def score_row(self, columns: np.ndarray, values: np.ndarray, n_columns: int) -> np.ndarray | None:
        """Return the scores of one row; see `Parameters.score_row`."""
        if not self.has_feature_groups:
            return super().score_row(columns, values, n_columns)
        return Parameters.score_row(self._without_missed_updates(), columns, values, n_columns)

    def set_weights(self, coef: np.ndarray, intercept: np.ndarray) -> None:
        """Set the weights, of shape (n_features,), and the intercept."""
        self.weights[:], self.bias[:] = coef, intercept

    def set_nonzero_weights(self, w: np.ndarray, bias: np.ndarray) -> None:
        """Set weights of shape (n_features,) that are not zero, and the intercept.  Memory of others stays unused."""
        changed = np.flatnonzero((w != 0) | np.signbit(w))
        self.weights[changed], self.bias[:] = w[changed], bias

    def reported_weights(self, columns: Any = ()) -> np.ndarray:
        """Return the weights for predictions of all features, or of `columns`."""
        if not self.n_averaged:
            return self.catch_up(columns=columns)
        sums = self.catch_up_sums(columns)
        return self.iterate_sums.mean(sums, lambda: self.catch_up(columns=columns), self.t).astype(self.dtype)

    def reported_bias(self) -> np.ndarray:
        """Return the intercept for predictions, of shape (1,)."""
        if not self.n_averaged:
            return self.bias
        return self.iterate_sums.mean(self.iterate_sums.bias_sums, lambda: self.bias, self.t).astype(self.dtype)

    def states(self) -> tuple[State, State]:
        """Return copies of the states of the weights and of the intercept."""
        return self.state.copy(), self.bias_state.copy()

    def is_finite(self, output: int | slice | None = None, columns: Any = ()) -> bool:
        """Return whether the weights of all features, or of `columns`, and the intercept are finite."""
        if not math.isfinite(self.bias[0]):
            return False
        if isinstance(columns, tuple):
            return _check.is_finite(self.weights)
        return rows.are_finite(self.weights[:, None], columns)

    def _tables(self):
        return [self.weights, *self.state.leaves[0].flat_slots], [self.bias, *self.bias_state.leaves[0].flat_slots]

    def _table_arrays(self):
        arrays = {"w": self.weights, "bias": self.bias}
        for name, state in (("slot", self.state), ("bias_slot", self.bias_state)):
            arrays |= {f"{name}{k}": slot for k, slot in enumerate(state.slots[0])}
        return arrays

    def _from_arrays(self, arrays):
        self.bias = arrays["bias"]
        slots, bias_slots = (
            tuple(arrays[f"{name}{k}"] for k in range(len(self.state.slots[0]))) for name in ("slot", "bias_slot")
        )
        self.bias_state.leaves[0].set_slots(bias_slots)
        self._allocate(arrays["w"], slots, arrays.get("last", ()))


class MultiOutput(Parameters):
    """One weight for each feature and output, in a table that the kernels read in SIMD vectors.

    ``table[i, 0]`` holds the weights of feature i, and ``table[i, 1 + k]`` its k-th accumulators, one for each output.
    The outputs are padded to whole vectors.

    Parameters
    ----------
    rate_factors : array_like of shape (n_outputs,)
        Factor on the learning rate of each output.
    """

    kernels = multi_rows

    def __init__(
        self,
        n_features: int,
        dtype: npt.DTypeLike,
        loss: Any,
        has_intercept: bool,
        rule: Any,
        lr: Any,
        penalty: Any,
        rate_factors: npt.ArrayLike,
        average: Any = False,
    ) -> None:
        if isinstance(penalty, Grouped):
            raise ValueError(
                f"penalty: got {penalty!r}, whose groups are features, for several classes; use "
                f"{type(penalty.penalty).__name__}, whose groups are the classes of a feature, or train on two classes"
            )
        if has_row_step(rule):
            raise ValueError(
                f"rule: {type(rule).__name__} supports one output, not several classes or learning rates; use "
                "Adagrad(…), or train one class against the rest at a time"
            )
        self.dtype = dtype = np.dtype(dtype)
        _check.fields_finite_in(dtype, loss)
        self.loss, self.has_intercept = loss, has_intercept
        self.scaling = FeatureScaling(0, dtype, False, False)
        self.rate_factors = np.array(rate_factors, np.float64)
        step_lr = lr.schedule if has_several_rates(lr) else lr
        self.state = weight_state(np.broadcast_to(dtype.type(0), n_features), rule, step_lr, penalty)
        self.bias_state = init(np.zeros(1, dtype), rule, lr=step_lr)
        for state in (self.state, self.bias_state):
            state.options = state.options._replace(lr=lr)
        self.table, self.bias_table = self._new_table(n_features), self._new_table(1)
        self.iterate_sums = self._new_iterate_sums(average)
        self.last_update = self.initial_last_update()
        for state in (self.state, self.bias_state):
            leaf = state.leaves[0]
            leaf.slots = leaf.flat_slots = ()  # the accumulators are in the tables

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.table.shape[0]

    @property
    def n_outputs(self) -> int:
        """Number of classes or learning rates."""
        return self.rate_factors.size

    @property
    def n_loss_sums(self) -> int:
        """Number of loss sums: one for all classes or one for each learning rate, and one of the sample weights."""
        return 1 + (self.n_outputs if isinstance(self.loss, IndependentOutputs) else 1)

    def initial_last_update(self) -> Any:
        """Return the current update number for every feature, or () if lazy updates do not need it."""
        last_update = super().initial_last_update()
        return last_update if isinstance(last_update, tuple) else last_update.copy()

    def _unscaled_schedule(self):
        """Return the learning-rate schedule, which each output multiplies by its factor."""
        lr = self.state.lr
        return cast(lr.schedule, np.float64) if has_several_rates(lr) else self.state.schedule()

    def _new_iterate_sums(self, average):
        if not average:
            return None
        weights, bias = (table[:, 0, : self.n_outputs] for table in (self.table, self.bias_table))
        return IterateSums(average, weights, bias, self.state.t)

    def _new_table(self, n_features):
        """Return a table of features without updates.  It starts at the boundary of a cache line."""
        fill = initial_slots(self.state.rule)
        shape = (n_features, 1 + len(fill), -(-self.n_outputs // LANES4) * LANES4)
        table = aligned_zeros(shape, self.state.leaves[0].dtype)
        for k, value in enumerate(fill):
            if value:
                table[:, 1 + k] = value
        return table

    def _resized_table(self, table, n_features, positions=None):
        """Return the table with `n_features` rows and the present outputs; its outputs move to `positions`."""
        new = self._new_table(n_features)
        if positions is None:
            new[: table.shape[0]] = table
        else:
            new[: table.shape[0], :, positions] = table[:, :, : len(positions)]
        return new

    def add_outputs(self, n_outputs: int, positions: list[int]) -> None:
        """Grow to `n_outputs` outputs in place; existing outputs move to `positions`, and new weights are zero."""
        self.rate_factors = np.ones(n_outputs)
        self.table = self._resized_table(self.table, self.n_features, positions)
        self.bias_table = self._resized_table(self.bias_table, 1, positions)
        if self.iterate_sums is not None:
            self.iterate_sums.add_outputs(n_outputs, positions)

    def _copy_arrays(self):
        self.state, self.bias_state = self.state.copy(), self.bias_state.copy()
        self.rate_factors = self.rate_factors.copy()
        self.table = self._resized_table(self.table, self.n_features)
        self.bias_table = self._resized_table(self.bias_table, 1)
        self.last_update = self.last_update if isinstance(self.last_update, tuple) else self.last_update.copy()

    def with_options(
        self, loss: Any, average: Any, invariant: bool = False, *, rate_scale: float | None = None, **options: Any
    ) -> MultiOutput:
        """Return a copy with other values of `loss`, `average`, `rate_scale` and the options of the state."""
        merged = {name: getattr(self.state, name) for name in ("rule", "lr", "penalty")} | options
        fresh = self._similar(loss, average, **merged)
        self._check_accumulators(merged["rule"])
        new = self.copy()
        new.loss = loss
        if options or rate_scale is not None or self._must_catch_up(average):
            new.rate_scale = self.rate_scale if rate_scale is None else rate_scale
            if new.iterate_sums is not None:
                new.iterate_sums.sums = self.catch_up_sums()
            new.table[:, 0] = self.catch_up()
            new.state, new.bias_state, new.rate_factors = fresh.state, fresh.bias_state, fresh.rate_factors
            new.t = self.t
            new.last_update, new.summed_rates = (), (new.t, 0.0)
            if is_dual_averaging(merged["rule"]):
                new.table[:, 0] = new.catch_up(FromAccumulators(0))
        if self._is_other_average(average):
            new.iterate_sums = new._new_iterate_sums(average)
        if isinstance(new.last_update, tuple) or not (average or needs_last_update(merged["rule"], new.state.penalty)):
            new.last_update = new.initial_last_update()
        return new

    def _similar(self, loss, average, **options):
        """Return new parameters with as many outputs and other options."""
        factors = options["lr"].values if has_several_rates(options["lr"]) else self.rate_factors
        return MultiOutput(
            self.n_features, self.dtype, loss, self.has_intercept, **options, rate_factors=factors, average=average
        )

    def resize(self, n_features: int) -> None:
        """Grow to `n_features` features in place; new weights are zero."""
        n_new = n_features - self.n_features
        if n_new <= 0:
            return
        _check.penalty_shape(self.state.penalty, n_features)
        self.table = self._resized_table(self.table, n_features)
        if not isinstance(self.last_update, tuple):
            self.last_update = np.concatenate([self.last_update, np.zeros(n_new, self.last_update.dtype)])
        if self.iterate_sums is not None:
            self.iterate_sums.add_features(n_new)

    def kernel_arrays(self, n_features: int | None = None) -> rows.Weights:
        """Return the arrays of the learning kernels, which reject column indices >= `n_features`."""
        table, bias = self.table[:n_features], self.bias_table
        slots = tuple(table[:, k] for k in range(1, table.shape[1]))
        bias_slots = tuple(bias[:, k] for k in range(1, table.shape[1]))
        return rows.Weights(table[:, 0], slots, self.lazy_state(n_features), bias[:, 0], bias_slots)

    def output_arrays(self) -> list[rows.Weights]:
        """Return the arrays of each output, as kernels of one output take them; the time of an update is shared."""
        w, s, last_update, bias, bias_s = self.kernel_arrays()
        return [
            rows.Weights(
                w[:, c], tuple(slot[:, c] for slot in s), last_update,
                bias[0, c : c + 1], tuple(slot[0, c : c + 1] for slot in bias_s),
            )
            for c in range(self.n_outputs)
        ]  # fmt: skip

    def row_workspace(self, index_dtype: npt.DTypeLike) -> multi_rows.MultiRowBuffers:
        """Return the workspace of one row."""
        p, z, losses, lr = (self._new_table(1)[:, 0] for _ in range(4))
        step_sizes = np.zeros(self.n_outputs, self.dtype)
        bias_column, bias_value = np.zeros(1, index_dtype), np.ones(1, self.dtype)
        return multi_rows.MultiRowBuffers(p, z, losses, lr, self.rate_factors, step_sizes, bias_column, bias_value)

    def batch_gradients(self, n_touched: int) -> tuple[np.ndarray, ...]:
        """Return zeroed gradients of the weights of `n_touched` features, and of the intercepts."""
        return tuple(self._new_table(n)[:, 0] for n in (n_touched, 1))

    def catch_up_workspace(self) -> tuple[Any, ...]:
        """Return the workspace of the loops over all features, as a tuple."""
        return (self.row_workspace(np.uint32),)

    def set_weights(self, coef: np.ndarray, intercept: np.ndarray) -> None:
        """Set the weights, of shape (n_outputs, n_features), or (n_features,) for all outputs, and the intercepts."""
        self.table[:, 0, : self.n_outputs] = np.atleast_2d(coef).T
        self.bias_table[0, 0, : self.n_outputs] = intercept

    def set_nonzero_weights(self, w: np.ndarray, bias: np.ndarray) -> None:
        """Set weights of shape (n_features, n_outputs) that are not zero, and the intercepts."""
        changed = np.flatnonzero(((w != 0) | np.signbit(w)).any(axis=1))
        self.table[changed, 0, : self.n_outputs], self.bias_table[0, 0, : self.n_outputs] = w[changed], bias

    def reported_weights(self, columns: Any = ()) -> np.ndarray:
        """Return the weights for predictions of all features, or of `columns`; one row of outputs for each."""
        if not self.n_averaged:
            return self.catch_up(columns=columns)
        sums = self.catch_up_sums(columns)
        out = np.zeros((sums.shape[0], self.table.shape[2]), self.dtype)
        out[:, : self.n_outputs] = self.iterate_sums.mean(
            sums, lambda: self.catch_up(columns=columns)[:, : self.n_outputs], self.t
        )
        return out

    def reported_bias(self) -> np.ndarray:
        """Return the intercepts for predictions, of shape (1, n_outputs + padding)."""
        if not self.n_averaged:
            return self.bias_table[:, 0]
        out = np.zeros_like(self.bias_table[:, 0])
        out[:, : self.n_outputs] = self.iterate_sums.mean(
            self.iterate_sums.bias_sums, lambda: self.bias_table[:, 0, : self.n_outputs], self.t
        )
        return out

    def states(self) -> tuple[State, State]:
        """Return copies of the states with the accumulators of the tables, one column for each output."""
        return self._state_view(self.state, self.table), self._state_view(self.bias_state, self.bias_table)

    def _state_view(self, state, table):
        state = state.copy()
        leaf, slots = state.leaves[0], table[:, 1:, : self.n_outputs]
        leaf.shape, leaf.size = (slots.shape[0], slots.shape[2]), slots[:, 0].size
        leaf.set_slots(tuple(slots[:, k].copy() for k in range(slots.shape[1])))
        state._refresh()
        return state

    def is_finite(self, output: int | slice | None = None, columns: Any = ()) -> bool:
        """Return whether the weights of some outputs, or of all, are finite, of all features or of `columns`."""
        part = slice(None) if output is None else output
        if not np.isfinite(self.bias_table[0, 0, part]).all():
            return False
        if isinstance(columns, tuple):
            return _check.is_finite(self.table, (slice(None), 0, part))
        return rows.are_finite(self.table[:, 0, part], columns)

    def _tables(self):
        return [self.table], [self.bias_table]

    def _table_arrays(self):
        used = self.n_outputs
        return {"table": self.table[:, :, :used], "bias": self.bias_table[:, :, :used]}

    def arrays_of_output(self, index: int) -> dict[str, Any]:
        """Return copies of the arrays of one output, under the names of `SingleOutput.to_arrays`."""
        arrays = {name: array.copy() for name, array in self.to_arrays().items() if name in ("last", "summed_rates")}
        for table, weights, slot in ((self.table, "w", "slot"), (self.bias_table, "bias", "bias_slot")):
            names = [weights, *(f"{slot}{k}" for k in range(table.shape[1] - 1))]
            arrays |= {name: table[:, k, index].copy() for k, name in enumerate(names)}
        if self.iterate_sums is not None:
            sums = {"total": self.iterate_sums.sums, "bias_total": self.iterate_sums.bias_sums}
            arrays |= {name: array[:, index].copy() for name, array in sums.items()}
        return arrays

    def _from_arrays(self, arrays):
        used = self.n_outputs
        self.table[:, :, :used], self.bias_table[:, :, :used] = arrays["table"], arrays["bias"]
        self.last_update = arrays.get("last", ())


# --- averaged iterates -----------------------------------------------------------------------------------------------


class IterateSums:
    """Sums of the iterates, for ``average=Polyak(start)`` or ``OnlineToBatch(start)``.

    The sums have double precision, because in single precision they lose digits after 10⁵ rows.

    The iterates before the updates s, …, t - 1 are those after the updates s - 1, …, t - 2.  So `OnlineToBatch` sums
    the iterates after the updates from s - 1 on, and subtracts the last one to report the mean.

    Attributes
    ----------
    average : Polyak or OnlineToBatch
    first_update : int
        First update whose iterate is averaged: `start`, or the update at which averaging began if that was later.
    sums, bias_sums : ndarray
        Sums of the iterates.  The sum of a weight includes the updates up to its `last_update`.

    Parameters
    ----------
    average : Polyak or OnlineToBatch
    weights, bias : ndarray
        The iterate before update `t`; `Polyak` takes only their shapes.
    t : int
        The next update.
    """

    def __init__(self, average: Any, weights: np.ndarray, bias: np.ndarray, t: int) -> None:
        self.average, self.first_update = average, max(int(average.start), t)
        self.sums, self.bias_sums = np.zeros(weights.shape), np.zeros(bias.shape)
        if averages_before(average) and self.first_update == t:
            self.sums += weights
            self.bias_sums += bias

    def mean(self, sums: np.ndarray, iterate: Callable[[], np.ndarray], t: int) -> np.ndarray:
        """Return the mean of the iterates before update t, given their sums and a function that returns the last."""
        if averages_before(self.average):
            sums = sums - iterate()
        return sums / self.count_iterates(t)

    def copy(self) -> IterateSums:
        """Return a copy with its own arrays."""
        new = object.__new__(IterateSums)
        new.__dict__.update(self.__dict__)
        new.sums, new.bias_sums = self.sums.copy(), self.bias_sums.copy()
        return new

    def add_features(self, n_new: int) -> None:
        """Append `n_new` features whose iterates so far are zero."""
        self.sums = np.concatenate([self.sums, np.zeros((n_new, *self.sums.shape[1:]))])

    def add_outputs(self, n_outputs: int, positions: list[int]) -> None:
        """Grow to `n_outputs` outputs; existing ones move to `positions`, and new ones are zero."""
        for name in ("sums", "bias_sums"):
            old = getattr(self, name)
            new = np.zeros((old.shape[0], n_outputs))
            new[:, positions] = old
            setattr(self, name, new)

    def keep_outputs(self, kept: np.ndarray) -> None:
        """Remove the sums of the outputs that are not in `kept`."""
        self.sums, self.bias_sums = self.sums[:, kept], self.bias_sums[:, kept]

    def as_lazy_record(self, last_update: Any, n_features: int | None = None) -> LazyIterateSums:
        """Return the sums and update numbers as the record that the kernels take."""
        first = self.first_update - averages_before(self.average)
        return LazyIterateSums(last_update, self.sums[:n_features], self.bias_sums, first)

    def count_iterates(self, t: int) -> int:
        """Return the number of iterates in the sums before update t."""
        return max(t - self.first_update, 0)


def check_average(average: Any) -> Any:
    """Return `average` if a linear model supports it: `Polyak`, `OnlineToBatch`, or False for no average."""
    if average is False:
        return average
    _check.record_methods("average", average, ("weight",), "Polyak()")
    if not isinstance(average, (Polyak, OnlineToBatch)):
        raise ValueError(
            f"average: got {average!r}; fit_linear supports Polyak(start) and OnlineToBatch(start), because an "
            "exponential average cannot be updated lazily"
        )
    return average


# --- feature scaling -------------------------------------------------------------------------------------------------


class FeatureScaling:
    """Options `normalized` and `invariant`, and the arrays of normalised updates.

    Attributes
    ----------
    max_abs : ndarray of shape (n_features,) or ()
        Largest absolute value of each feature so far.
    running_sums : ndarray of shape (3,) or ()
        Sums over the updates; the last one is the sum of the step sizes lr·m.
    """

    max_abs: Any
    running_sums: Any

    def __init__(self, n_features: int, dtype: npt.DTypeLike, normalized: bool, invariant: bool) -> None:
        self.normalized, self.invariant = normalized, invariant
        self.max_abs = np.broadcast_to(np.dtype(dtype).type(0), n_features) if normalized else ()
        self.running_sums = np.zeros(3) if normalized else ()

    def __bool__(self) -> bool:
        return self.normalized or self.invariant

    def copy(self) -> FeatureScaling:
        """Return a copy with its own arrays."""
        new = FeatureScaling(0, np.float64, self.normalized, self.invariant)
        if self.normalized:
            new.max_abs, new.running_sums = self.max_abs.copy(), self.running_sums.copy()
        return new

    @property
    def feature_arrays(self) -> tuple[np.ndarray, ...]:
        """The arrays with one entry for each feature, which are in the table of the weights."""
        return (self.max_abs,) if self.normalized else ()

    @feature_arrays.setter
    def feature_arrays(self, arrays: Sequence[np.ndarray]) -> None:
        (self.max_abs,) = arrays

    @property
    def option_name(self) -> str:
        """Name of the option that is True, for error messages."""
        return "normalized" if self.normalized else "invariant"

    def check_compatible(self, rule: Any, penalty: Any) -> None:
        """Raise ValueError if the rule or the penalty does not support these updates."""
        if self and not is_scaled_gradient(rule):
            raise ValueError(
                f"{self.option_name}: got True, which the rule {type(rule).__name__} does not support; use "
                f"Adagrad(…), or {self.option_name}=False"
            )
        if self.normalized and not has_additive_prox(penalty):
            raise ValueError(
                f"normalized: got True, but the penalty {type(penalty).__name__} has no closed form if the step size "
                "differs by row; use L1, Box, NonNegative or Bounded(L1(…)), or normalized=False"
            )

    @property
    def summed_step_sizes(self) -> float:
        """Sum of the step sizes lr·m over all updates."""
        return self.running_sums[2]

    def scaled_spec(self, spec: rows.LearnerSpec) -> scaled_rows.ScaledLearnerSpec:
        """Return `spec` with the scaling of these updates added."""
        scaling = (
            scaled_rows.MaxAbsScale(self.max_abs, self.running_sums) if self.normalized else scaled_rows.UnitScale()
        )
        return scaled_rows.ScaledLearnerSpec(*spec, scaling, int(self.invariant))


# --- memory layout ---------------------------------------------------------------------------------------------------

# One table, because separate arrays for weights, accumulators and update numbers are slower: 1.3 to 3 times for rows of
# 40 values among 2**24 features, and up to 10 % for rows of 72 among 47,000 features, which fit the caches.

COPY_BLOCK = 2**14  # entries of a table copied at a time, so that its cache lines are loaded once for all vectors


def interleave(arrays: Sequence[np.ndarray], n: int) -> tuple[np.ndarray, ...]:
    """Copy vectors into one table of n entries and return its columns.

    Entry i of the table holds the i-th values of all vectors.  Values beyond the end of a vector are zero.  In tables
    of at least `PREFETCH_FROM` entries the size of an entry is a power of two, so that it does not straddle two cache
    lines.  Smaller tables fit the caches and are packed.  Broadcast zeros are not written, because untouched memory
    takes neither time nor space.
    """
    packed: Any = np.dtype([("", array.dtype) for array in arrays], align=True)
    fields = [packed.fields[name] for name in packed.names]
    layout: Any = {
        "names": packed.names,
        "formats": [field[0] for field in fields],
        "offsets": [field[1] for field in fields],
        "itemsize": packed.itemsize if n < PREFETCH_FROM else 1 << (packed.itemsize - 1).bit_length(),
    }
    table = aligned_zeros((n,), np.dtype(layout))
    copies = tuple(table[name] for name in packed.names)
    written = [
        (copy[: array.size], array)
        for copy, array in zip(copies, arrays, strict=True)
        if array.size and (array.strides != (0,) or array[0])
    ]
    for start in range(0, n, COPY_BLOCK):
        for copy, array in written:
            copy[start : start + COPY_BLOCK] = array[start : start + COPY_BLOCK]
    return copies
