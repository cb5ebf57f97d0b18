"""LaneModel: several linear models that are learnt in the same pass, side by side in one table."""

import numpy as np

from .. import _check
from .._csr import as_unsigned
from ..compiler.jit import cast, compiled_for
from ..compiler.simd import LANES4
from ..optim.state import init
from ..records.dual_averaging import is_dual_averaging
from ..records.group_penalties import is_group_penalty
from ..records.rules import initial_slots
from ..records.schedules import Rates
from .dispatch import mergeable, room_for_batches
from .kernels import multi_batch, multi_rows, rows
from .kernels.lazy import Anew, must_note
from .model import LinearModel
from .parameters import FeatureScaling, IterateSums, aligned_zeros


class MultiOutputModel(LinearModel):
    """What all models of several lanes share: one table with the weights and accumulators of a feature side by side.

    ``_table[i, 0]`` are the weights of feature i and ``_table[i, 1 + k]`` its accumulators of kind k, a lane each; the
    lanes are filled up to whole vectors.
    """

    is_single_output = False
    _kernels = multi_rows

    def __init__(
        self, n_features, dtype, loss, rule, lr, penalty, intercept, rates, average=False, batch_size=1,
        normalized=False, invariant=False,
    ):  # fmt: skip
        if normalized or invariant:
            raise ValueError(
                f"{'normalized' if normalized else 'invariant'}: several classes or rates learn side by side by plain "
                "steps only; leave it out, or learn two classes, or numbers, at one rate"
            )
        if is_group_penalty(penalty) and (average or is_dual_averaging(rule)):
            raise ValueError(
                f"penalty: {type(penalty).__name__}, which takes all classes of a feature together, goes with "
                f"{'average=False' if average else 'Adagrad(…), Adadelta(…) or MomentumAdagrad(…)'} only"
            )
        dtype = np.dtype(dtype)
        self.loss, self.has_intercept, self.batch_size, self.n_seen = loss, intercept, batch_size, 0
        self.scaling, self.pass_losses = FeatureScaling(0, dtype, False, False), []
        self._rate_factors = np.array(rates, np.float64)
        step = lr.schedule if isinstance(lr, Rates) else lr
        zeros = np.broadcast_to(dtype.type(0), n_features)
        self._state = init(zeros, rule, lr=step, penalty=penalty)
        self._bias_state = init(np.zeros(1, dtype), rule, lr=step)
        self._state.lr = self._bias_state.lr = lr
        self._table = self._new_table(n_features, self._rate_factors.size)
        self._bias_table = self._new_table(1, self._rate_factors.size)
        self._iterate_sums = self._new_iterate_sums(average)
        self._last_update = self._initial_last_update()
        for state in (self._state, self._bias_state):
            leaf = state.leaves[0]
            leaf.slots = leaf.flat_slots = ()  # the accumulators are in the tables

    def _initial_last_update(self):
        last_update = super()._initial_last_update()
        return last_update if isinstance(last_update, tuple) else last_update.copy()

    def _new_iterate_sums(self, average):
        """The sums of the iterates from now on, or None."""
        return IterateSums(average, (self.n_features, self._rate_factors.size), self._state.t) if average else None

    # --- tables ------------------------------------------------------------------------------------------------

    def _new_table(self, n_features, n_outputs):
        """A table of n features that nothing has been learnt about; each feature begins a cache line, if it can."""
        rule, dtype = self._state.rule, self._state.leaves[0].dtype
        initial_values = initial_slots(rule)
        shape = (n_features, 1 + len(initial_values), -(-n_outputs // LANES4) * LANES4)
        table = aligned_zeros(shape, dtype)
        for k, value in enumerate(initial_values):
            if value:
                table[:, 1 + k] = value
        return table

    def _resized_table(self, table, n_features, columns=None):
        """The table with room for n features, its lanes at these places among those of now."""
        new = self._new_table(n_features, self._rate_factors.size)
        if columns is None:
            new[: table.shape[0]] = table
        else:
            new[: table.shape[0], :, columns] = table[:, :, : len(columns)]
        return new

    @property
    def state(self):
        """Options, accumulators of the weights of shape (n_features, lanes), and the count of the updates."""
        return self._state_view(self._state, self._table)

    @property
    def bias_state(self):
        """The same of the intercepts, of shape (1, lanes)."""
        return self._state_view(self._bias_state, self._bias_table)

    def _state_view(self, state, table):
        state = state.copy()
        leaf, tables = state.leaves[0], table[:, 1:, : self._rate_factors.size]
        leaf.shape, leaf.size = (tables.shape[0], tables.shape[2]), tables[:, 0].size
        leaf.set_slots(tuple(tables[:, k].copy() for k in range(tables.shape[1])))
        state._refresh()
        return state

    @property
    def rate_factors(self):
        """What the rate of each lane is multiplied with, of shape (lanes,)."""
        return self._rate_factors

    # --- learning ----------------------------------------------------------------------------------------------

    def _copy_weights(self):
        self._state, self._bias_state = self._state.copy(), self._bias_state.copy()
        self._rate_factors = self._rate_factors.copy()
        self._table = self._resized_table(self._table, self.n_features)
        self._bias_table = self._resized_table(self._bias_table, 1)
        self._last_update = self._last_update if isinstance(self._last_update, tuple) else self._last_update.copy()

    def _with_options(self, **options):
        """A copy that goes on with other options."""
        new = self.copy()
        own = {name: getattr(self._state, name) for name in ("rule", "lr", "penalty")}
        own |= {name: getattr(self, name) for name in ("loss", "average", "batch_size", "invariant")}
        kept = own | options
        fresh = type(self)(self.n_features, self.dtype, intercept=self.has_intercept, **kept)
        if fresh._table.shape[1] != self._table.shape[1]:
            raise ValueError(
                f"rule: {type(kept['rule']).__name__} has {fresh._table.shape[1] - 1} accumulators, but the model "
                f"was begun with {self._table.shape[1] - 1}"
            )
        new.loss, new.batch_size = fresh.loss, fresh.batch_size
        if {"rule", "lr", "penalty"} & options.keys():
            if new._iterate_sums is not None:
                new._iterate_sums.sums = self._catch_up_sums()
            new._table[:, 0] = self._catch_up_all()
            new._state, new._bias_state = fresh._state, fresh._bias_state
            new._rate_factors = fresh._rate_factors if isinstance(kept["lr"], Rates) else new._rate_factors
            new._state.t = new._bias_state.t = self._state.t
            new._last_update = ()
            if is_dual_averaging(kept["rule"]):
                new._table[:, 0] = new._catch_up_all(Anew(0))
        if kept["average"] != self.average:
            new._iterate_sums = new._new_iterate_sums(kept["average"])
        if isinstance(new._last_update, tuple) or not (new.average or must_note(kept["rule"], new._state.penalty)):
            new._last_update = new._initial_last_update()
        return new

    def _grow(self, n_features):
        """Make room for more features, in place; only while learning."""
        n_new = n_features - self.n_features
        if n_new <= 0:
            return
        _check.penalty_shape(self._state.penalty, n_features)
        self._table = self._resized_table(self._table, n_features)
        if not isinstance(self._last_update, tuple):
            self._last_update = np.concatenate([self._last_update, np.zeros(n_new, self._last_update.dtype)])
        if self._iterate_sums is not None:
            self._iterate_sums.add_features(n_new)

    def _kernel_schedule(self):
        state = self._state
        return cast(state.lr.schedule, np.float64) if isinstance(state.lr, Rates) else state.schedule()

    def _kernel_arrays(self, n_features=None):
        """The arrays of the compiled loop, which refuses indices from `n_features` on."""
        table, bias = self._table[:n_features], self._bias_table
        accumulators = tuple(table[:, k] for k in range(1, table.shape[1]))
        bias_accumulators = tuple(bias[:, k] for k in range(1, table.shape[1]))
        return rows.Weights(table[:, 0], accumulators, self._lazy_state(n_features), bias[:, 0], bias_accumulators)

    def _choose_kernel(self, X, spec, workers):
        """The compiled loop for rows, and its room."""
        if workers > 1:
            mergeable("threads", self)
        row_workspace = self._row_workspace(as_unsigned(X.indices).dtype)
        if self.batch_size == 1:
            return compiled_for(multi_rows.learn, spec), row_workspace
        touched, place = room_for_batches(X, self.batch_size)
        g, gb = (self._new_table(n, self._rate_factors.size)[:, 0] for n in (touched.size, 1))
        sums = np.empty_like(self.loss_sums)
        return compiled_for(multi_batch.learn, spec), multi_batch.LaneBatch(
            self.batch_size, g, gb, touched, place, sums, row_workspace
        )

    def _row_workspace(self, indices):
        """What the compiled loops need for one row."""
        p, z, losses, lr = (self._new_table(1, self._rate_factors.size)[:, 0] for _ in range(4))
        widths = np.zeros(self._rate_factors.size, self.dtype)
        origin, unit = np.zeros(1, indices), np.ones(1, self.dtype)
        return multi_rows.LaneBuffers(p, z, losses, lr, self._rate_factors, widths, origin, unit)

    def is_finite(self):
        """Whether no weight that predicts is infinite or NaN."""
        active = (slice(None), 0, self._active_outputs)
        return _check.is_finite(self._table, active) and _check.is_finite(self._bias_table, active)

    # --- reading -----------------------------------------------------------------------------------------------

    @property
    def dtype(self):
        """float32 or float64."""
        return self._table.dtype

    @property
    def n_features(self):
        """Columns seen so far."""
        return self._table.shape[0]

    def _catch_up_workspace(self):
        return (self._row_workspace(np.uint32),)

    def _reported_table(self):
        """The weights that the model tells, of shape (n_features, lanes)."""
        if not self._n_averaged:
            return self._catch_up_all()
        out = np.zeros_like(self._table[:, 0])
        out[:, : self._rate_factors.size] = self._catch_up_sums() / self._n_averaged
        return out

    def _reported_bias(self):
        """The intercepts that it tells, of shape (1, lanes)."""
        if not self._n_averaged:
            return self._bias_table[:, 0]
        out = np.zeros_like(self._bias_table[:, 0])
        out[:, : self._rate_factors.size] = self._iterate_sums.bias_sums / self._n_averaged
        return out

    # --- files -------------------------------------------------------------------------------------------------

    def _to_arrays(self):
        n_outputs = self._rate_factors.size
        return {"table": self._table[:, :, :n_outputs], "bias": self._bias_table[:, :, :n_outputs]}

    def _from_arrays(self, arrays):
        n_outputs = self._rate_factors.size
        self._table[:, :, :n_outputs], self._bias_table[:, :, :n_outputs] = arrays["table"], arrays["bias"]
        self._last_update = arrays.get("last", ())
