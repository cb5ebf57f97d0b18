"""Numbers of a ledger of regret in the kernel of rows: sums for the features of a row, and lazy sums of the penalty."""

from typing import Any, NamedTuple

from ...compiler.intrinsics import prefetch
from ...compiler.jit import borrow_arrays, cast_like, force_inline, jit, jitable, load, method, reassociating
from ...compiler.simd import accumulate_entry, safe_divide, select
from ...records.rules import preconditioner
from .lazy import (
    add_bias_iterate,
    add_iterate,
    add_missed_iterates,
    catch_up_row,
    has_penalty,
    is_deferred,
    penalty_until,
    read_last_update,
    read_weight,
    set_last_update,
    time_of,
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
    bias: Any
    totals: Any


class LedgerRow(NamedTuple):
    """Workspace of a row: the times of the last updates; penalties until the round, and energies, of its features."""

    last_update: Any
    penalty: Any
    energy: Any


class WithLedger(NamedTuple):
    """Another strategy with the numbers of a ledger of mirror descent; its state is a `LazyLedger`."""

    lazy: Any

    def is_deferred(self):
        return is_deferred(self.lazy)

    def read_weight(self, spec, x, s, ledger, i, t):
        prefetch(ledger.table, i, 0)  # its line is written at the end of the row
        return read_weight(self.lazy, _inner(spec), x, s, ledger.last_update, i, t)

    def read_last_update(self, ledger, i, row, k):
        read_last_update(self.lazy, ledger.last_update, i, row.last_update, k)

    def catch_up_row(self, spec, x, s, row, k, i, t):
        # Both results have terms in common, which are computed once because nothing is written between them.
        penalty = _penalty_until(self.lazy, spec, x, s, row.last_update[k], t, i)
        caught_up = catch_up_row(self.lazy, _inner(spec), x, s, row.last_update, k, i, t)
        row.penalty[k] = penalty
        return caught_up

    def set_last_update(self, spec, ledger, i, t):
        set_last_update(self.lazy, _inner(spec), ledger.last_update, i, t)

    def add_missed_iterates(self, spec, ledger, x, s, index, i, t):
        add_missed_iterates(self.lazy, _inner(spec), ledger.last_update, x, s, index, i, t)

    def add_iterate(self, ledger, x, index, t):
        add_iterate(self.lazy, ledger.last_update, x, index, t)

    def add_bias_iterate(self, ledger, x, index, t):
        add_bias_iterate(self.lazy, ledger.last_update, x, index, t)

    def record_row(self, spec, weights, columns, row, slope, t):
        """Add a row with the slope, prediction and weight `slope` to the totals and to the numbers of the intercept.

        ``row`` is a pair: the accumulators of its features, and its `LedgerRow`.
        """
        slots, numbers = row
        ledger = weights.last_update
        if has_penalty(self.lazy) and not is_deferred(self.lazy):  # or else `catch_up_row` has done it
            for k in range(columns.shape[0]):
                i = columns[k]
                first, s = time_of(self.lazy, ledger.last_update, i), load(slots, k)
                numbers.penalty[k] = _penalty_until(self.lazy, spec, weights.w[i], s, first, t, i)
        z, p, h = slope
        ledger.totals[LINEAR_LOSS] += cast_like(z, ledger.totals) * p
        if has_penalty(self.lazy):
            ledger.totals[PENALTY] += _sum_first(numbers.penalty, columns.shape[0])
        ledger.totals[WEIGHT] += h
        if spec.intercept:
            bias, b = ledger.bias, weights.bias[0]
            bias[GRADIENT_SUM] += z
            bias[LOWER] = min(bias[LOWER], b)
            bias[UPPER] = max(bias[UPPER], b)

    def record_energy(self, spec, row, g, slots, k):
        """Record the energy of the k-th value with the gradient g; ``slots`` has the accumulators before and after."""
        h = preconditioner(spec.update.rule, slots[1])
        row.energy[k] = safe_divide(g * g, h, h)

    def record_bias_energy(self, spec, ledger, g, slots):
        h = preconditioner(spec.bias_update.rule, slots[1])
        ledger.bias[ENERGY] += safe_divide(g * g, h, h)

    def record_gradient(self, ledger, row, w, g, k, i):
        accumulate_entry(ledger.table, i, g, w, row.energy[k])


class WithDualLedger(NamedTuple):
    """`WithLedger` for dual averaging, whose energy divides by the preconditioner before the gradient.

    A record of its own, because the choice must be known when a kernel is compiled: the step then shares its square
    root with the energy.
    """

    lazy: Any

    is_deferred = WithLedger.is_deferred
    read_weight = WithLedger.read_weight
    read_last_update = WithLedger.read_last_update
    catch_up_row = WithLedger.catch_up_row
    set_last_update = WithLedger.set_last_update
    add_missed_iterates = WithLedger.add_missed_iterates
    add_iterate = WithLedger.add_iterate
    add_bias_iterate = WithLedger.add_bias_iterate
    record_row = WithLedger.record_row
    record_gradient = WithLedger.record_gradient

    def record_energy(self, spec, row, g, slots, k):
        h = preconditioner(spec.update.rule, slots[0])
        row.energy[k] = safe_divide(g * g, h, h)

    def record_bias_energy(self, spec, ledger, g, slots):
        h = preconditioner(spec.bias_update.rule, slots[0])
        ledger.bias[ENERGY] += safe_divide(g * g, h, h)


@force_inline()
def _penalty_until(lazy, spec, x, s, first, t, i):
    """Return the sum of the penalties of a stored weight x until round t; zero for x = 0, also outside of a `Box`."""
    return select(x != 0, penalty_until(lazy, _inner(spec), x, s, first, t, i), x - x)


@reassociating
def _sum_first(numbers, n):
    """Return the sum of the first n numbers, in double precision."""
    total = 0.0
    for k in range(n):
        total += numbers[k]
    return total


@jitable
def _inner(spec):
    """Return the records with the strategy of the lazy updates within a `WithLedger`."""
    return _with_lazy(spec, spec.lazy.lazy)


@jit
def sum_missed_penalties(spec, weights, t):
    """Return the sum of the penalties of all features over the rounds from their last updates until t."""
    spec, weights = borrow_arrays(spec), borrow_arrays(weights)
    w, s, ledger, _, _ = weights
    inner, total = _inner(spec), 0.0
    for i in range(w.shape[0]):
        first = time_of(spec.lazy.lazy, ledger.last_update, i)
        if w[i] != 0 and first <= t:
            total += penalty_until(spec.lazy.lazy, inner, w[i], load(s, i), first, t, i)
    return total


@jit
def preconditioners(rule, s, out):
    """out[i] = entry of the diagonal preconditioner of feature i"""
    for i in range(out.shape[0]):
        out[i] = preconditioner(rule, load(s, i))
