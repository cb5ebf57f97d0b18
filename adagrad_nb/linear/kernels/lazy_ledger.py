"""Numbers of a ledger of regret in the kernel of rows: sums for the features of a row, and lazy sums of the penalty."""

from typing import Any, NamedTuple

from ...compiler.intrinsics import prefetch
from ...compiler.jit import borrow_arrays, jit, jitable, load, method
from ...compiler.simd import safe_divide
from ...records.rules import preconditioner
from .lazy import (
    add_bias_iterate,
    add_iterate,
    add_missed_iterates,
    catch_up_row,
    is_deferred,
    penalty_until,
    read_last_update,
    read_weight,
    set_last_update,
    update_times,
)

_with_lazy = method("with_lazy")

LINEAR_LOSS, PENALTY, WEIGHT = range(3)  # entries of `LazyLedger.totals`
GRADIENT_SUM, LOWER, UPPER, ENERGY = range(4)  # columns of `LazyLedger.table`, and entries of `bias`


class LazyLedger(NamedTuple):
    """State of the lazy updates, and numbers of a ledger: for each feature, for the intercept, and for all together.

    ``table[i]`` holds the numbers of feature i, which have half a cache line.  A table of its own is faster than more
    columns in the table of the weights, whose strides are not known when the kernel is compiled.
    """

    last_update: Any
    table: Any
    row_energy: Any
    bias: Any
    totals: Any


class WithLedger(NamedTuple):
    """Another strategy with the numbers of a ledger; its state is a `LazyLedger`.

    `is_before` is 1 if the energy divides by the preconditioner before the gradient, as for dual averaging.
    """

    lazy: Any
    is_before: int

    def is_deferred(self):
        return is_deferred(self.lazy)

    def read_weight(self, spec, x, s, ledger, i, t):
        prefetch(ledger.table, i, 0)  # its line is written at the end of the row
        return read_weight(self.lazy, _inner(spec), x, s, ledger.last_update, i, t)

    def read_last_update(self, ledger, i, row_last_update, k):
        read_last_update(self.lazy, ledger.last_update, i, row_last_update, k)

    def catch_up_row(self, spec, x, s, row_last_update, k, i, t):
        return catch_up_row(self.lazy, _inner(spec), x, s, row_last_update, k, i, t)

    def set_last_update(self, spec, ledger, i, t):
        set_last_update(self.lazy, _inner(spec), ledger.last_update, i, t)

    def add_missed_iterates(self, spec, ledger, x, s, index, i, t):
        add_missed_iterates(self.lazy, _inner(spec), ledger.last_update, x, s, index, i, t)

    def add_iterate(self, ledger, x, index, t):
        add_iterate(self.lazy, ledger.last_update, x, index, t)

    def add_bias_iterate(self, ledger, x, index, t):
        add_bias_iterate(self.lazy, ledger.last_update, x, index, t)

    def record_row(self, spec, weights, columns, row_slots, slope, t):
        """Add a row with the slope, prediction and weight `slope` to the totals and to the numbers of the intercept."""
        ledger, inner = weights.last_update, _inner(spec)
        z, p, h = slope
        times = update_times(self.lazy, ledger.last_update)
        penalty = 0.0
        for k in range(columns.shape[0]):
            w = weights.w[columns[k]]
            if w != 0:
                penalty += penalty_until(self.lazy, inner, w, load(row_slots, k), times, t, columns[k])
        ledger.totals[LINEAR_LOSS] += float(z) * p
        ledger.totals[PENALTY] += penalty
        ledger.totals[WEIGHT] += h
        if spec.intercept:
            bias, b = ledger.bias, weights.bias[0]
            bias[GRADIENT_SUM] += z
            bias[LOWER] = min(bias[LOWER], b)
            bias[UPPER] = max(bias[UPPER], b)

    def record_energy(self, spec, energies, g, before, after, k):
        h = preconditioner(spec.update.rule, before if self.is_before else after)
        energies.row_energy[k] = safe_divide(g * g, h, h)

    def record_bias_energy(self, spec, ledger, g, before, after):
        h = preconditioner(spec.bias_update.rule, before if self.is_before else after)
        ledger.bias[ENERGY] += safe_divide(g * g, h, h)

    def record_gradient(self, ledger, w, g, k, i):
        table = ledger.table
        table[i, GRADIENT_SUM] += g
        table[i, LOWER] = min(table[i, LOWER], w)
        table[i, UPPER] = max(table[i, UPPER], w)
        table[i, ENERGY] += ledger.row_energy[k]


@jitable
def _inner(spec):
    """Return the records with the strategy of the lazy updates within a `WithLedger`."""
    return _with_lazy(spec, spec.lazy.lazy)


@jit
def sum_missed_penalties(spec, weights, t):
    """Return the sum of the penalties of all features over the rounds from their last updates until t."""
    spec, weights = borrow_arrays(spec), borrow_arrays(weights)
    w, s, ledger, _, _ = weights
    inner, times, total = _inner(spec), update_times(spec.lazy.lazy, ledger.last_update), 0.0
    for i in range(w.shape[0]):
        if w[i] != 0 and times[i] <= t:
            total += penalty_until(spec.lazy.lazy, inner, w[i], load(s, i), times, t, i)
    return total


@jit
def preconditioners(rule, s, out):
    """out[i] = entry of the diagonal preconditioner of feature i"""
    for i in range(out.shape[0]):
        out[i] = preconditioner(rule, load(s, i))
