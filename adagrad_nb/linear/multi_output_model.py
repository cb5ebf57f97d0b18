"""LaneModel: several linear models that are learnt in the same pass, side by side in one table."""

import numpy as np

from .. import _check
from .._csr import unsigned
from ..compiler.jit import cast, compiled_for
from ..compiler.simd import NARROW
from ..optim.state import init
from ..records.dual_averaging import is_dual_averaging
from ..records.group_penalties import is_group_penalty
from ..records.rules import initial_slots
from ..records.schedules import Rates
from .dispatch import mergeable, room_for_batches
from .kernels import multi_batch, multi_rows, rows
from .kernels.lazy import Anew, must_note
from .model import LinearModel
from .parameters import Mean, Scaling, aligned


class LaneModel(LinearModel):
    """What all models of several lanes share: one table with the weights and accumulators of a feature side by side.

    ``_table[i, 0]`` are the weights of feature i and ``_table[i, 1 + k]`` its accumulators of kind k, a lane each; the
    lanes are filled up to whole vectors.
    """

    is_single = False
    kernels = multi_rows

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
        self.scaling, self.pass_losses = Scaling(0, dtype, False, False), []
        self._rates = np.array(rates, np.float64)
        step = lr.schedule if isinstance(lr, Rates) else lr
        blank = np.broadcast_to(dtype.type(0), n_features)
        self._state = init(blank, rule, lr=step, penalty=penalty)
        self._bias_state = init(np.zeros(1, dtype), rule, lr=step)
        self._state.lr = self._bias_state.lr = lr
        self._table = self._blank(n_features, self._rates.size)
        self._bias_table = self._blank(1, self._rates.size)
        self._mean = self._mean_of(average)
        self._last = self._up_to_date()
        for state in (self._state, self._bias_state):
            leaf = state.leaves[0]
            leaf.slots = leaf.flat = ()  # the accumulators are in the tables

    def _up_to_date(self):
        last = super()._up_to_date()
        return last if isinstance(last, tuple) else last.copy()

    def _mean_of(self, average):
        """The sums of the iterates from now on, or None."""
        return Mean(average, (self.n_features, self._rates.size), self._state.t) if average else None

    # --- tables ------------------------------------------------------------------------------------------------

    def _blank(self, n, lanes_):
        """A table of n features that nothing has been learnt about; each feature begins a cache line, if it can."""
        rule, dtype = self._state.rule, self._state.leaves[0].dtype
        fill = initial_slots(rule)
        shape = (n, 1 + len(fill), -(-lanes_ // NARROW) * NARROW)
        table = aligned(shape, dtype)
        for k, value in enumerate(fill):
            if value:
                table[:, 1 + k] = value
        return table

    def _moved(self, table, n, places=None):
        """The table with room for n features, its lanes at these places among those of now."""
        new = self._blank(n, self._rates.size)
        if places is None:
            new[: table.shape[0]] = table
        else:
            new[: table.shape[0], :, places] = table[:, :, : len(places)]
        return new

    @property
    def state(self):
        """Options, accumulators of the weights of shape (n_features, lanes), and the count of the updates."""
        return self._shown(self._state, self._table)

    @property
    def bias_state(self):
        """The same of the intercepts, of shape (1, lanes)."""
        return self._shown(self._bias_state, self._bias_table)

    def _shown(self, state, table):
        state = state.copy()
        leaf, tables = state.leaves[0], table[:, 1:, : self._rates.size]
        leaf.shape, leaf.size = (tables.shape[0], tables.shape[2]), tables[:, 0].size
        leaf.hold(tuple(tables[:, k].copy() for k in range(tables.shape[1])))
        state.prepare()
        return state

    @property
    def factors(self):
        """What the rate of each lane is multiplied with, of shape (lanes,)."""
        return self._rates

    # --- learning ----------------------------------------------------------------------------------------------

    def _copy_weights(self):
        self._state, self._bias_state = self._state.copy(), self._bias_state.copy()
        self._rates = self._rates.copy()
        self._table = self._moved(self._table, self.n_features)
        self._bias_table = self._moved(self._bias_table, 1)
        self._last = self._last if isinstance(self._last, tuple) else self._last.copy()

    def replaced(self, **options):
        """A copy that goes on with other options."""
        new = self.copy()
        own = {name: getattr(self._state, name) for name in ("rule", "lr", "penalty")}
        own |= {name: getattr(self, name) for name in ("loss", "average", "batch_size", "invariant")}
        kept = own | options
        fresh = type(self)(self.n_features, self.dtype, intercept=self.has_intercept, **kept)
        if fresh._table.shape[1] != self._table.shape[1]:
            raise ValueError(
                f"rule: {type(kept['rule']).__name__} has {fresh._table.shape[1] - 1} accumulators, but the model was "
                f"begun with {self._table.shape[1] - 1}"
            )
        new.loss, new.batch_size = fresh.loss, fresh.batch_size
        if {"rule", "lr", "penalty"} & options.keys():
            if new._mean is not None:
                new._mean.total = self._totals()
            new._table[:, 0] = self._settled()
            new._state, new._bias_state = fresh._state, fresh._bias_state
            new._rates = fresh._rates if isinstance(kept["lr"], Rates) else new._rates
            new._state.t = new._bias_state.t = self._state.t
            new._last = ()
            if is_dual_averaging(kept["rule"]):
                new._table[:, 0] = new._settled(Anew(0))
        if kept["average"] != self.average:
            new._mean = new._mean_of(kept["average"])
        if isinstance(new._last, tuple) or not (new.average or must_note(kept["rule"], new._state.penalty)):
            new._last = new._up_to_date()
        return new

    def grow(self, n_features):
        """Make room for more features, in place; only while learning."""
        extra = n_features - self.n_features
        if extra <= 0:
            return
        _check.penalty_shape(self._state.penalty, n_features)
        self._table = self._moved(self._table, n_features)
        if not isinstance(self._last, tuple):
            self._last = np.concatenate([self._last, np.zeros(extra, self._last.dtype)])
        if self._mean is not None:
            self._mean.grow(extra)

    def _schedule(self):
        state = self._state
        return cast(state.lr.schedule, np.float64) if isinstance(state.lr, Rates) else state.schedule()

    def weights(self, n_features=None):
        """The arrays of the compiled loop, which refuses indices from `n_features` on."""
        table, bias = self._table[:n_features], self._bias_table
        accumulators = tuple(table[:, k] for k in range(1, table.shape[1]))
        bias_accumulators = tuple(bias[:, k] for k in range(1, table.shape[1]))
        return rows.Weights(table[:, 0], accumulators, self._notes(n_features), bias[:, 0], bias_accumulators)

    def loop(self, X, recipe, workers):
        """The compiled loop for rows, and its room."""
        if workers > 1:
            mergeable("threads", self)
        row = self._room(unsigned(X.indices).dtype)
        if self.batch_size == 1:
            return compiled_for(multi_rows.learn, recipe), row
        touched, place = room_for_batches(X, self.batch_size)
        g, gb = (self._blank(n, self._rates.size)[:, 0] for n in (touched.size, 1))
        sums = np.empty_like(self.tally)
        return compiled_for(multi_batch.learn, recipe), multi_batch.LaneBatch(
            self.batch_size, g, gb, touched, place, sums, row
        )

    def _room(self, indices):
        """What the compiled loops need for one row."""
        p, z, losses, lr = (self._blank(1, self._rates.size)[:, 0] for _ in range(4))
        widths = np.zeros(self._rates.size, self.dtype)
        origin, unit = np.zeros(1, indices), np.ones(1, self.dtype)
        return multi_rows.LaneBuffers(p, z, losses, lr, self._rates, widths, origin, unit)

    def is_finite(self):
        """Whether no weight that predicts is infinite or NaN."""
        told = (slice(None), 0, self._told)
        return _check.is_finite(self._table, told) and _check.is_finite(self._bias_table, told)

    # --- reading -----------------------------------------------------------------------------------------------

    @property
    def dtype(self):
        """float32 or float64."""
        return self._table.dtype

    @property
    def n_features(self):
        """Columns seen so far."""
        return self._table.shape[0]

    def _spare(self):
        return (self._room(np.uint32),)

    def _reported(self):
        """The weights that the model tells, of shape (n_features, lanes)."""
        if not self._averaged:
            return self._settled()
        out = np.zeros_like(self._table[:, 0])
        out[:, : self._rates.size] = self._totals() / self._averaged
        return out

    def _reported_bias(self):
        """The intercepts that it tells, of shape (1, lanes)."""
        if not self._averaged:
            return self._bias_table[:, 0]
        out = np.zeros_like(self._bias_table[:, 0])
        out[:, : self._rates.size] = self._mean.bias_total / self._averaged
        return out

    # --- files -------------------------------------------------------------------------------------------------

    def _tables(self):
        used = self._rates.size
        return {"table": self._table[:, :, :used], "bias": self._bias_table[:, :, :used]}

    def _hold(self, arrays):
        used = self._rates.size
        self._table[:, :, :used], self._bias_table[:, :, :used] = arrays["table"], arrays["bias"]
        self._last = arrays.get("last", ())
