"""Updates of coordinates that also record the numbers of a ledger of regret."""

from typing import Any, NamedTuple

from ...compiler.jit import cast_like, coordinate_of, jit, load
from ...records.coordinate import update_at
from ...records.penalties import value
from ...records.rules import preconditioner

LINEAR_LOSS, PENALTY, N_DECREASES = range(3)  # entries of `LedgerArrays.totals`
ROUNDING = 1e-6  # relative decrease of a preconditioner that may be rounding in float32


class LedgerArrays(NamedTuple):
    """Numbers of a ledger for each coordinate, and totals; see `Ledger`.  All are float64."""

    gradient_sum: Any
    squares: Any
    lower: Any
    upper: Any
    energy: Any
    preconditioner: Any
    n_penalties: Any
    totals: Any


@jit
def update_recorded(update, where, x, g, s, lr, t, ledger):
    """x[i], s[i] = update(x[i], g[k], s[i]) with i = where[k]; add the round to the arrays of the ledger

    ``ledger`` is a pair: the arrays, and 1 if the energy divides by the preconditioner before the gradient, else 0.
    """
    arrays, is_before = ledger
    z, squares, lower, upper, energy, h, n_penalties, totals = arrays
    for k in range(g.shape[0]):
        i = coordinate_of(where, k)
        # In double precision; Numba's float() keeps float32.
        xi, gk, before = cast_like(x[i], totals), cast_like(g[k], totals), h[i]
        totals[LINEAR_LOSS] += gk * xi
        totals[PENALTY] += value(update.penalty, x[i], i)
        n_penalties[i] += 1.0
        lower[i], upper[i] = min(lower[i], xi), max(upper[i], xi)
        update_at(update, x, g, s, lr, t, i, k)
        after = cast_like(preconditioner(update.rule, load(s, i)), totals)
        if gk != 0:
            z[i] += gk
            squares[i] += gk * gk
            divisor = before if is_before else after
            energy[i] += gk * gk / divisor if divisor > 0 else float("inf")
        totals[N_DECREASES] += after < before * (1.0 - ROUNDING)
        h[i] = after
