"""Ledger of regret: sums over all rounds from which regret, its upper bounds and certificates follow.

`init(…, ledger=True)` and `fit_linear(…, ledger=True)` keep one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _check
from ..io import schema
from ..io.schema import ArrayField
from ..records.domains import (
    L1Ball,
    L2Ball,
    Simplex,
    check_domain,
    contains,
    minimize_coordinates,
    minimize_linear,
    project,
)
from ..records.domains import strengths as penalty_strengths
from ..records.dual_averaging import RDA
from ..records.global_rules import has_memory
from ..records.matrix_rules import has_matrices
from ..records.rules import initial_slots, is_scaled_gradient, preconditioner
from ..records.schedules import Constant
from .kernels.array_update import ALL
from .kernels.recorded_update import LINEAR_LOSS, N_DECREASES, PENALTY, LedgerArrays, update_recorded

if TYPE_CHECKING:
    import numpy.typing as npt

MIRROR_DESCENT, DUAL_AVERAGING, OTHER = "mirror descent", "dual averaging", "other"
_DOMAINS = LedgerArrays(*["(-inf, inf)"] * 8)._replace(
    squares="[0, inf)", energy="[0, inf]", preconditioner="[0, inf)", n_penalties="[0, inf)", totals="(-inf, inf]"
)


def kind_of(rule: Any) -> str:
    """Return which bound of the regret a rule has: that of mirror descent, that of dual averaging, or another."""
    if isinstance(rule, RDA):
        return DUAL_AVERAGING
    return MIRROR_DESCENT if is_scaled_gradient(rule) and not has_memory(rule) else OTHER


def fixed_rate(lr: Any) -> Any:
    """Return a learning rate that does not change, as a number or array, or None."""
    if isinstance(lr, Constant):
        return lr.lr
    return None if callable(lr) or hasattr(lr, "_fields") else lr


class Ledger:
    r"""Sums over the rounds of online learning, from which the regret and its bounds follow.

    In round t the iterate is :math:`x_t`, and the gradient of the loss is :math:`g_t`.  The composite regret against u
    is

    .. math:: R(u) = \sum_t f_t(x_t) + \varphi(x_t) - f_t(u) - \varphi(u)
                   \le \sum_t \langle g_t, x_t - u \rangle + \varphi(x_t) - \varphi(u)

    for convex losses :math:`f_t` and the penalty :math:`\varphi`.  The right side is the *linearised* regret.  All
    arrays have one entry for each coordinate; in a model with an intercept, that of the intercept is the last.

    Attributes
    ----------
    n_rounds : int
        Number of rounds T.
    total_weight : float
        Sum of the sample weights of a linear model, else the number of rounds.
    linear_loss : float
        :math:`\sum_t \langle g_t, x_t \rangle`.
    penalty_loss : float
        :math:`\sum_t \varphi(x_t)`.  In a round with a sparse gradient, `update` applies the penalty only to the listed
        coordinates; only these count.
    gradient_sum, squares : ndarray
        :math:`\sum_t g_t` and :math:`\sum_t g_t^2`.
    lower, upper : ndarray
        Bounds of the iterates at the start and in the rounds that list the coordinate, which the certificate needs.
    energy : ndarray
        :math:`\sum_t g_t^2 / h_t` for the diagonal preconditioner h: that after the gradient of the round for mirror
        descent, before it for `RDA`.
    preconditioner : ndarray
        The last h, which is :math:`\sqrt{G} + \epsilon` for `Adagrad`.
    first_preconditioner : float
        h before the first round.
    n_penalties : ndarray
        Number of rounds in which the penalty counts.
    start : ndarray
        :math:`x_1`.
    rule, lr, penalty
        As given; lr is None if it changes.
    domain : domain record or None
        Set of the iterates, as given.
    obstacle : str
        Why there is no certificate, or "".

    See Also
    --------
    adagrad_nb.best_fixed : the best fixed weights, against which the regret is usually measured.

    References
    ----------
    .. [1] J. Duchi, E. Hazan, Y. Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
       Optimization", JMLR 12 (2011) 2121-2159, theorem 5.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import L2Ball, init, update
    >>> x, rng = np.zeros(3), np.random.default_rng(0)
    >>> state = init(x, lr=0.5, ledger=True)
    >>> for _ in range(100):
    ...     x, state = update(x, rng.normal(size=3), state)
    >>> best = -state.ledger.gradient_sum / np.linalg.norm(state.ledger.gradient_sum)
    >>> float(state.ledger.regret(best)) <= float(state.ledger.certificate(best))
    True
    >>> bool(np.isclose(state.ledger.gap(L2Ball(1.0)), state.ledger.regret(best)))
    True
    """

    def __init__(self, start: npt.ArrayLike, rule: Any, lr: Any, penalty: Any, first_preconditioner: float) -> None:
        self.first = np.array(start, np.float64).reshape(-1)
        self.shape = np.shape(start)
        self.rule, self.lr, self.penalty = rule, lr, penalty
        self.first_preconditioner = float(first_preconditioner)
        size = self.first.size
        z, squares, energy, n_penalties = np.zeros((4, size))
        h = np.full(size, self.first_preconditioner)
        self.arrays = LedgerArrays(
            z, squares, self.first.copy(), self.first.copy(), energy, h, n_penalties, np.zeros(3)
        )  # fmt: skip
        self.n_rounds, self.total_weight, self.domain = 0, 0.0, None
        penalty_strengths(penalty)  # raises an error for other penalties
        self.obstacle = ""
        if lr is None:
            self.obstacle = "lr: the learning rate changes; use a fixed one, such as lr=0.5"
        elif self.kind == OTHER:
            self.obstacle = f"rule: theorem 5 does not cover {type(rule).__name__}; use Adagrad() or RDA(eps=…)"

    @property
    def kind(self) -> str:
        """Bound of the rule: "mirror descent", "dual averaging" or "other"."""
        return kind_of(self.rule)

    @property
    def start(self) -> np.ndarray:
        """First iterate."""
        return self.first.reshape(self.shape)

    @property
    def linear_loss(self) -> float:
        """Sum of the inner products of gradients and iterates."""
        return float(self.arrays.totals[LINEAR_LOSS])

    @property
    def penalty_loss(self) -> float:
        """Sum of the penalties of the iterates."""
        return float(self.arrays.totals[PENALTY])

    @property
    def n_decreases(self) -> int:
        """Number of times that an entry of the preconditioner decreased."""
        return int(self.arrays.totals[N_DECREASES])

    def copy(self) -> Ledger:
        """Return a copy with its own arrays."""
        new = object.__new__(Ledger)
        new.__dict__.update(self.__dict__)
        new.arrays = LedgerArrays(*(np.array(array) for array in self.arrays))
        return new

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        self.__dict__.update(attributes)
        self.arrays = LedgerArrays(*(np.array(array) for array in self.arrays))  # a pickle may hold memory maps

    def __repr__(self) -> str:
        certificate = "none" if self.obstacle else self.kind
        return (
            f"Ledger({type(self.rule).__name__}, lr={self.lr}, {self.first.size} coordinates, {self.n_rounds} rounds, "
            f"linear_loss={self.linear_loss:.6g}, penalty_loss={self.penalty_loss:.6g}, certificate: {certificate})"
        )

    # --- regret ------------------------------------------------------------------------------------------------------

    def regret(self, u: Any) -> float:
        """Return the linearised composite regret against u, which is at least the regret for convex losses.

        Parameters
        ----------
        u : array of the shape of the iterate, or object with `coef` and `intercept`
            For a model with an intercept, a vector ends with the intercept.
        """
        u = self._as_vector(u)
        return self.linear_loss + self.penalty_loss - float(self.arrays.gradient_sum @ u) - self._penalty_at(u)

    def gap(self, domain: Any = None) -> float:
        r"""Return an upper bound of the composite regret against every u of a domain.

        .. math:: \sum_t \langle g_t, x_t \rangle + \varphi(x_t) - \min_u \sum_t \langle g_t, u \rangle + \varphi(u)

        It is the regret for linear losses.

        Parameters
        ----------
        domain : domain record, optional
            `L1Ball`, `L2Ball`, `Simplex` or `Box`.  Default: that of the iterates, or all points.

        Raises
        ------
        ValueError
            If the minimum over all points is not finite.  It is finite with `L2`, an `ElasticNet` with l2 > 0, or
            bounds.
        """
        domain = self.domain if domain is None else domain
        l1, l2, lower, upper = self._summed_strengths()
        z = self.arrays.gradient_sum
        if domain is not None:
            check_domain(domain)
        if isinstance(domain, (L1Ball, L2Ball, Simplex)):
            if np.any(l2) or np.any(np.isfinite(lower) | np.isfinite(upper)):
                raise ValueError(
                    f"domain: got {domain!r} with the penalty {type(self.penalty).__name__}; use a Box, or a model "
                    "with L1 or no penalty"
                )
            lowest = minimize_linear(domain, z, l1)
        else:
            if domain is not None:
                lower, upper = np.maximum(lower, domain.lower), np.minimum(upper, domain.upper)
            minima = minimize_coordinates(z, l1, l2, lower, upper)
            lowest = float(minima.sum())
            if domain is None and lowest == -math.inf:
                i = int(np.flatnonzero(minima == -math.inf)[0])
                raise ValueError(
                    f"gap: is infinite over all points, because the gradients of coordinate {i} sum to {z[i]:.6g}; "
                    "pass a domain such as L2Ball(1.0), or use the penalty L2 or ElasticNet"
                )
        return self.linear_loss + self.penalty_loss - lowest

    def certificate(self, u: Any) -> float:
        r"""Return a bound of the composite regret against u that holds for all convex losses.

        For mirror descent (`Adagrad`) and the learning rate :math:`\eta` it is

        .. math:: \frac{1}{2\eta} \sum_i \Bigl[ h_{0,i} (u_i - x_{1,i})^2
                  + (h_{T,i} - h_{0,i}) \max_t (u_i - x_{t,i})^2 \Bigr]
                  + \frac{\eta}{2} \sum_{t,i} \frac{g_{t,i}^2}{h_{t,i}} + \varphi(x_1)

        where :math:`h_0` is the first preconditioner.  It is never larger than the bound of theorem 5 in [1]_.  For
        dual averaging (`RDA`) it is

        .. math:: \frac{1}{2\eta} \sum_i h_{T,i} u_i^2
                  + \frac{\eta}{2} \sum_{t,i} \frac{g_{t,i}^2}{h_{t-1,i}} + \varphi(x_1)

        Parameters
        ----------
        u : array of the shape of the iterate, or object with `coef` and `intercept`
            A point of the domain, if there is one.

        Raises
        ------
        ValueError
            If there is no bound: the learning rate changes, or theorem 5 does not cover the rule.
        """
        if self.obstacle:
            raise ValueError(f"certificate: there is none. {self.obstacle}")
        if self.n_decreases and self.kind == MIRROR_DESCENT:
            raise ValueError(
                f"certificate: there is none. rule: the preconditioner of {self.rule} decreased {self.n_decreases} "
                "times; use a rule whose preconditioner does not decrease, such as Adagrad()"
            )
        if self.kind == DUAL_AVERAGING:
            if self.first_preconditioner == 0:
                largest = math.sqrt(self.arrays.squares.max(initial=0.0))
                raise ValueError(
                    "certificate: there is none for RDA(eps=0), whose regret theorem 5 does not bound; use RDA(eps=…) "
                    f"with eps at least the largest absolute gradient, such as RDA(eps={max(largest, 1e-300):.3g})"
                )
            origin = np.zeros_like(self.first)
            if self.domain is not None:
                origin = project(self.domain, origin, np.ones_like(origin))
            if not np.allclose(self.first, origin, rtol=0, atol=1e-9):
                where = "0" if self.domain is None else f"the projection of 0 onto {self.domain}"
                raise ValueError(f"certificate: there is none. x: RDA must start at {where}")
        elif self.first_preconditioner == 0 and self._penalty_at(self.first):
            raise ValueError(
                "certificate: there is none. rule: without eps, the penalty does not act before the first gradient of "
                "a coordinate; use Adagrad(eps=1e-10), or start at 0"
            )
        u = self._as_vector(u)
        if self.domain is not None and not contains(self.domain, u, 1e-9):
            raise ValueError(f"u: is not in the domain {self.domain!r}; use a point of the domain")
        return self.bound(u)

    def bound(self, u: Any) -> float:
        """Return the formula of `certificate` without its conditions; it is that of mirror descent for other rules."""
        u = self._as_vector(u)
        arrays, h0 = self.arrays, self.first_preconditioner
        if self.kind == DUAL_AVERAGING:
            distances = arrays.preconditioner * u * u
        else:
            farthest = np.maximum(np.abs(u - arrays.lower), np.abs(u - arrays.upper))
            distances = h0 * (u - self.first) ** 2 + (arrays.preconditioner - h0) * farthest**2
        with np.errstate(divide="ignore"):  # a learning rate of 0
            lr = np.broadcast_to(np.asarray(np.nan if self.lr is None else self.lr, np.float64).reshape(-1), u.shape)
            terms = np.where(distances == 0, 0.0, distances / (2 * lr)) + lr / 2 * arrays.energy
        return float(terms.sum()) + self._penalty_at(self.first, 1.0 * (arrays.n_penalties > 0))

    def worst_point(self) -> np.ndarray:
        """Return the point u whose linearised regret exceeds `bound` by most, without regard to penalty and domain."""
        _, _, a, b, _, h, _, _ = self.arrays
        z, lr = self.arrays.gradient_sum, np.broadcast_to(np.reshape(self.lr, -1), h.shape)
        is_active = h > 0
        safe_h = np.where(is_active, h, 1.0)
        if self.kind == DUAL_AVERAGING:
            return np.where(is_active, -lr * z / safe_h, 0.0).reshape(self.shape)
        # The difference is a parabola on each side of the middle, where the farthest iterate changes.
        h0, middle = self.first_preconditioner, (a + b) / 2
        right, left = ((h0 * self.first + (h - h0) * end - lr * z) / safe_h for end in (a, b))
        sides = np.where(is_active, [np.maximum(right, middle), np.minimum(left, middle)], self.first)
        farthest = np.maximum(np.abs(sides - a), np.abs(sides - b))
        excess = -z * sides - (h0 * (sides - self.first) ** 2 + (h - h0) * farthest**2) / (2 * lr)
        return np.where(excess[0] >= excess[1], sides[0], sides[1]).reshape(self.shape)

    def penalty_at(self, x: Any) -> float:
        """Return the penalty of a point, of one round."""
        return self._penalty_at(self._as_vector(x), np.ones_like(self.first))

    @property
    def has_penalty(self) -> bool:
        """Whether the penalty is more than zero somewhere."""
        l1, l2, box = penalty_strengths(self.penalty)
        return bool(np.any(l1) or np.any(l2) or box is not None)

    def _as_vector(self, u):
        """Return u as a vector, checked."""
        if hasattr(u, "coef"):
            has_intercept = self.first.size == np.size(u.coef) + 1
            u = np.append(u.coef, u.intercept) if has_intercept else u.coef
        u = np.asarray(_check.finite_array("u", np.asarray(u, np.float64)))
        if u.shape != self.shape and u.shape != self.first.shape:
            raise ValueError(f"u: got shape {u.shape}; must have the shape of the iterate, {self.shape}")
        return u.reshape(-1)

    def _summed_strengths(self, counts=None):
        """Return the sums over the rounds of l1 and l2 of the penalty, and its bounds, for each coordinate."""
        counts = self.arrays.n_penalties if counts is None else counts
        l1, l2, box = penalty_strengths(self.penalty)

        def fill(value, default):
            value = np.asarray(value, np.float64)
            padding = self.first.size - value.size if value.ndim else 0  # the intercept
            return np.where(counts > 0, np.append(value, np.full(padding, default)) if padding else value, default)

        lower, upper = (-math.inf, math.inf) if box is None else box
        return counts * fill(l1, 0.0), counts * fill(l2, 0.0), fill(lower, -math.inf), fill(upper, math.inf)

    def _penalty_at(self, u, counts=None):
        """Return the sum of the penalties of u over all rounds, or with other numbers of rounds."""
        l1, l2, lower, upper = self._summed_strengths(counts)
        if np.any(u < lower) or np.any(u > upper):
            return math.inf
        return float(np.sum(l1 * np.abs(u) + l2 * u * u / 2))

    # --- updates -----------------------------------------------------------------------------------------------------

    def apply_gradient(self, leaf, x, gradient, records, lr, t):
        """Apply the gradient of update t to the array x of a leaf, and record the round."""
        if lr is not leaf.constant_lr and not self.obstacle and np.any(lr != leaf.constant_lr):
            self.obstacle = "lr: the learning rate of an update differed; use update without lr"
        is_dual = self.kind == DUAL_AVERAGING
        if is_dual and gradient.where is not ALL and not self.obstacle and self._has_strength:
            self.obstacle = "g: RDA with a penalty is not covered if gradients are sparse; use dense gradients"
        where, values = gradient.to_coordinates()
        vector = leaf.as_vector(x)
        arguments = records, where, vector, values, leaf.flat_slots, lr, t, (self.arrays, int(is_dual))
        key = ("recorded", None if where is ALL else where.dtype.char, type(lr))
        kernel = leaf.cache.get(key)
        if kernel is None:
            kernel = leaf.cache[key] = leaf._compile(update_recorded, *arguments)
        kernel(*arguments)
        leaf.write_back(x, vector)
        self.n_rounds += 1
        self.total_weight += 1.0

    @property
    def _has_strength(self):
        l1, l2, _ = penalty_strengths(self.penalty)
        return bool(np.any(l1) or np.any(l2))

    # --- files -------------------------------------------------------------------------------------------------------

    def to_file(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the numbers and the arrays of a file."""
        numbers = {name: getattr(self, name) for name in ("n_rounds", "total_weight", "obstacle")}
        return numbers, {f"ledger_{name}": array for name, array in self._file_arrays().items()}

    def _file_arrays(self):
        return self.arrays._asdict() | {"start": self.first}

    def restore(self, numbers: dict[str, Any], file_arrays: dict[str, np.ndarray]) -> None:
        """Set the numbers and arrays to those of a file; raise ValueError if they do not fit."""
        schema.check_names(numbers, ("n_rounds", "total_weight", "obstacle"))
        names = [f"ledger_{name}" for name in self._file_arrays()]
        schema.check_names(file_arrays, names, file_arrays)
        for name, array in self._file_arrays().items():
            field = ArrayField.like(array, getattr(_DOMAINS, name, "(-inf, inf)"))
            schema.check_array(f"ledger_{name}", file_arrays[f"ledger_{name}"], field)
        self.n_rounds = schema.count_entry(numbers, "n_rounds")
        self.total_weight = float(schema.entry(numbers, "total_weight", (int, float)))
        _check.in_interval("total_weight", self.total_weight, "[0, inf)")
        self.obstacle = schema.entry(numbers, "obstacle", str)
        self.arrays = LedgerArrays(*(np.array(file_arrays[f"ledger_{name}"]) for name in LedgerArrays._fields))
        self.first = np.array(file_arrays["ledger_start"])


for _name in LedgerArrays._fields[:-1]:  # the arrays of each coordinate, in the shape of x
    setattr(Ledger, _name, property(lambda ledger, name=_name: getattr(ledger.arrays, name).reshape(ledger.shape)))


def new_ledger(state: Any, leaves: Any) -> Ledger:
    """Return the ledger of a new state of one array; raise an error for options that it does not support."""
    options = state.options
    if len(leaves) != 1 or state.leaves[0].on_device:
        what = "an array on a device" if len(leaves) == 1 else f"{len(leaves)} arrays"
        raise ValueError(f"ledger: got {what}; must be one array on the host, such as the concatenated arrays")
    leaf, (path, x) = state.leaves[0], leaves[0]
    if leaf.dtype != leaf.precision:
        raise ValueError(f"ledger: {path} is {leaf.dtype}; must be float32 or float64")
    if options.transforms:
        raise ValueError(f"ledger: does not support transforms; got {options.transforms}; change the gradients instead")
    if options.duplicates not in ("merge", "mean"):
        raise ValueError(f"ledger: does not support duplicates={options.duplicates!r}; use 'merge'")
    if has_matrices(options.rule):
        raise ValueError(f"ledger: does not support the matrices of {type(options.rule).__name__}; use Adagrad()")
    if leaf.group_size > 1:
        raise ValueError(f"ledger: the rule {type(options.rule).__name__} shares accumulators; use Adagrad()")
    rate = None if fixed_rate(options.lr) is None else np.float64(leaf.cast_lr(fixed_rate(options.lr)))
    slots = tuple(leaf.precision.type(value) for value in initial_slots(options.rule))
    ledger = Ledger(x, options.rule, rate, options.penalty, preconditioner(leaf.update.rule, slots))
    if getattr(options.average, "overwrite", 0):
        ledger.obstacle = f"average: {options.average} overwrites iterates; use Polyak() or none"
    if options.domain is not None:
        ledger.domain = options.domain
        ledger.obstacle = ledger.obstacle or _find_obstacle_of_domain(ledger)
    return ledger


def _find_obstacle_of_domain(ledger):
    """Return why the projections onto a domain have no certificate, or ""."""
    nearest = project(ledger.domain, np.zeros_like(ledger.first), np.ones_like(ledger.first))
    if ledger.kind == DUAL_AVERAGING and not np.allclose(ledger.first, nearest, rtol=1e-6, atol=0):
        return f"x: RDA must start at the point of {ledger.domain!r} with the smallest 2-norm"
    return ""
