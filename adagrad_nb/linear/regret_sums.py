"""Numbers of a ledger of regret in a linear model: their arrays, their checks, and the `Ledger` that users see."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiler.jit import compiled_for
from ..compiler.simd import aligned_zeros
from ..optim.ledger import DUAL_AVERAGING, Ledger, kind_of
from ..records.domains import strengths
from ..records.dual_averaging import RDA
from ..records.multiclass_losses import is_multi_output_loss
from ..records.penalties import Box
from ..records.rules import Adagrad, initial_slots, preconditioner
from ..records.schedules import Constant
from .kernels.lazy import acts_on_untouched
from .kernels.lazy_ledger import (
    LINEAR_LOSS,
    PENALTY,
    WEIGHT,
    LazyLedger,
    WithDualLedger,
    WithLedger,
    preconditioners,
    sum_missed_penalties,
)


class RegretSums:
    """Numbers of a ledger for each feature, for the intercept, and for all together; see `Ledger`.

    Attributes
    ----------
    table : ndarray of shape (n_features, 4)
        Gradient sum, lower, upper and energy of each feature.
    bias : ndarray of shape (4,)
        The same of the intercept.
    totals : ndarray of shape (3,)
        Linear loss; penalties until the last update of each feature; sum of the sample weights.
    """

    def __init__(self, n_features: int) -> None:
        self.table, self.bias, self.totals = aligned_zeros((n_features, 4), np.float64), np.zeros(4), np.zeros(3)

    def copy(self) -> RegretSums:
        """Return a copy with its own arrays."""
        new = object.__new__(RegretSums)
        new.bias, new.totals = np.array(self.bias), np.array(self.totals)
        new._set_table(self.table, len(self.table))
        return new

    def _set_table(self, table, n_features):
        """Set the table to a copy with `n_features` rows, none of which straddles two cache lines."""
        self.table = aligned_zeros((n_features, 4), np.float64)
        self.table[: len(table)] = table

    def add_features(self, n_new: int) -> None:
        """Append features whose weights so far are zero."""
        self._set_table(self.table, len(self.table) + n_new)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays under their names in a file."""
        return {"ledger": self.table, "ledger_bias": self.bias, "ledger_totals": self.totals}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Set the numbers to the arrays of a file."""
        self._set_table(arrays["ledger"], len(arrays["ledger"]))
        self.bias, self.totals = arrays["ledger_bias"], arrays["ledger_totals"]

    def for_kernel(self, spec: Any, weights: Any) -> tuple[Any, Any]:
        """Return the records and the arrays of a kernel, with these numbers."""
        strategy = WithDualLedger if kind_of(spec.update.rule) == DUAL_AVERAGING else WithLedger
        ledger = LazyLedger(weights.last_update, self.table, self.bias, self.totals)
        return spec.with_lazy(strategy(spec.lazy)), weights._replace(last_update=ledger)  # type: ignore[call-arg]

    def to_ledger(self, parameters: Any) -> Ledger:
        """Return the ledger of the parameters of a model; the intercept is its last coordinate."""
        state, d, t = parameters.state, parameters.n_features, parameters.t
        rule, penalty = state.rule, state.penalty
        slots = tuple(parameters.dtype.type(value) for value in initial_slots(rule))
        spec, weights = self.for_kernel(parameters.spec(), parameters.kernel_arrays())
        cast_rule, lr = spec.update.rule, np.float64(spec.schedule.lr)
        ledger = Ledger(np.zeros(d + parameters.has_intercept), rule, lr, penalty, preconditioner(cast_rule, slots))
        arrays, kernel = ledger.arrays, compiled_for(preconditioners, cast_rule)
        kernel(cast_rule, weights.s, arrays.preconditioner[:d])
        arrays.squares[:d] = weights.s[0]
        if parameters.has_intercept:
            kernel(cast_rule, weights.bias_s, arrays.preconditioner[d:])
            arrays.squares[d:] = weights.bias_s[0]
        arrays.squares[:] -= slots[0]
        for k, name in enumerate(("gradient_sum", "lower", "upper", "energy")):
            getattr(arrays, name)[:d] = self.table[:, k]
            getattr(arrays, name)[d:] = self.bias[k]
        arrays.n_penalties[:d] = t
        penalties = self.totals[PENALTY]
        if t and acts_on_untouched(penalty):
            missed = compiled_for(sum_missed_penalties, spec)
            penalties += missed(spec, weights, t - 1)
            if isinstance(penalty, Box) and ledger.penalty_at(ledger.start):
                penalties = np.inf
        arrays.totals[:2] = self.totals[LINEAR_LOSS], penalties
        ledger.n_rounds, ledger.total_weight = t, float(self.totals[WEIGHT])
        return ledger


def check_ledger(loss, rule, lr, penalty, batch_size, normalized, invariant, standardize_targets):
    """Raise ValueError for options of a model with which there is no ledger."""
    refused = None
    if is_multi_output_loss(loss):
        refused = f"several classes (the loss {type(loss).__name__}); train one class against the rest"
    elif hasattr(lr, "_fields") and not isinstance(lr, Constant):
        refused = f"lr={lr}; use a fixed learning rate, such as lr=0.5"
    elif type(rule) not in (Adagrad, RDA):
        refused = f"the rule {type(rule).__name__}; use Adagrad() or RDA(eps=…)"
    elif batch_size != 1:
        refused = f"batch_size={batch_size}; use batch_size=1"
    elif normalized or invariant or standardize_targets:
        name = "normalized" if normalized else "invariant" if invariant else "standardize_targets"
        refused = f"{name}=True; use {name}=False and lr=0.5"
    elif isinstance(rule, RDA) and np.any(strengths(penalty).l2):
        refused = f"{type(penalty).__name__} with RDA, whose sums have no closed form; use L1, or Adagrad()"
    if refused:
        raise ValueError(f"ledger: does not support {refused}")
    strengths(penalty)  # raises an error for other penalties
