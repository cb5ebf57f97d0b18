"""Update rules: the step of one coordinate for a gradient of the loss.

A rule is a record with these members, where s is the tuple of accumulators of the coordinate:

``slots``
    Number of accumulators per coordinate.
``slot_domains``
    Interval of each accumulator, such as ``"[0, inf)"``.  Files with other values are refused.  Default: finite.
``initial_slots() -> tuple``
    Initial values of the accumulators.
``step(x, g, s, lr) -> (x, s)``
    The step of the loss alone, without the penalty.
``step_at(x, g, s, lr, t) -> (x, s)``
    The same for update t, counted from 0, for rules whose steps depend on t.  Default: ``step(x, g, s, lr)``.
``step_size(s, lr) -> float``
    Step size of the proximal step of the penalty at this coordinate.
``cumulative_step_size(s, lr, t) -> float``
    The same after t updates, for rules whose step accounts for all updates so far (see `dual_averaging`).
    Default: ``step_size(s, lr)``.
``preconditioner(s) -> float``
    Entry of the diagonal preconditioner: 1 / step size at learning rate 1.  Default: computed from `step_size`.
``unpenalized() -> rule``
    The rule for a coordinate without penalty, such as an intercept.  Default: the rule itself.
``accumulate(s, square) -> s`` and ``apply(x, g, s, lr) -> x``
    The two halves of a step.  They are needed if several entries share an accumulator, or if squares other than g² are
    accumulated.  Default: the step has no halves.

These attributes are False by default, unless stated otherwise; each has a predicate in this module:

``is_scaled_gradient``
    True if the step is ``x - step_size(s, lr) * g``, where s already includes g.  The options `normalized` and
    `invariant` of `fit_linear` need such a rule, because they change the length of the step.
``step_size_is_proportional``
    True if ``step_size(s, lr)`` is lr times ``step_size(s, 1)``.  Lazy updates at a changing learning rate are then
    faster.  Default: `is_scaled_gradient`.
``accumulators_add``
    True if the accumulators are sums over the updates, the first one of squared gradients.  Models of several workers
    can then be merged.
``takes_penalty``
    False if the step does not start from x but from the start of the run, so that a proximal step would be lost.
    Bounds are possible.  Default: True.
``per_row``
    True if the entries of a row of a matrix share an accumulator.  `accumulate` then adds ``pool_squares(total, n)``,
    where total is the sum of the n squared gradients of the row.  Default of `pool_squares`: total.

Rules whose learning rate depends on sums over all coordinates have further members (see `global_rules`).  Rules with
matrices have others (see `matrix_rules`).

A record whose methods use `safe_divide` and `select` instead of branches has ``branchless = True``.  Its methods then
run on SIMD vectors in models of several outputs, which is three to six times faster.
"""

import math
from typing import Any, NamedTuple

from .._legacy import get_member, has_member
from ..compiler.jit import bind, jitable, method
from ..compiler.simd import safe_divide

initial_slots = method("initial_slots")
step = method("step")
step_size = method("step_size")


@jitable
def _step_at_any_time(rule, x, g, s, lr, t):
    """Apply the step of a rule that does not depend on t."""
    return step(rule, x, g, s, lr)


@jitable
def _step_size_of_one_update(rule, s, lr, t):
    """Return the step size of a rule whose step accounts for one gradient; it does not depend on t."""
    return step_size(rule, s, lr)


def _one_like_slots(s):
    """Return 1 in the precision of the accumulators; in double precision, as in a ledger, if there are none."""
    return type(s[0])(1) if s else 1.0


@bind(_one_like_slots)
def _overload_one_like_slots(s):
    return (lambda s: type(s[0])(1)) if len(s) else (lambda s: 1.0)


@jitable
def _preconditioner_from_step_size(rule, s):
    """Return 1 / step size at rate 1, or 0 where that is 0."""
    one = _one_like_slots(s)
    w = step_size(rule, s, one)
    return one / w if w > 0 else w


@jitable
def _sum_squares(rule, total, n):
    """Return the sum of squares, which entries with a common accumulator add to it."""
    return total


step_at = method("step_at", default=_step_at_any_time)
cumulative_step_size = method("cumulative_step_size", default=_step_size_of_one_update)
preconditioner = method("preconditioner", default=_preconditioner_from_step_size)
accumulate = method("accumulate")
apply = method("apply")
pool_squares = method("pool_squares", default=_sum_squares)
_denominator = method("denominator")
_denominator_guard = method("denominator_guard")


def unpenalized(rule: Any) -> Any:
    """Return the rule for a coordinate without penalty, such as an intercept."""
    replacement = get_member(rule, "unpenalized")
    return rule if replacement is None else replacement()


def is_scaled_gradient(rule: Any) -> bool:
    """Return whether the step of a rule is the gradient times the step size."""
    return bool(get_member(rule, "is_scaled_gradient", False))


def has_proportional_step_size(rule: Any) -> bool:
    """Return whether the step size of a rule is proportional to the learning rate."""
    return bool(get_member(rule, "step_size_is_proportional", is_scaled_gradient(rule)))


def slot_domains(rule: Any) -> tuple:
    """Return the interval of each accumulator of a rule."""
    return get_member(rule, "slot_domains") or ("(-inf, inf)",) * len(initial_slots(rule))


def has_additive_accumulators(rule: Any) -> bool:
    """Return whether the accumulators of a rule are sums over the updates, so that models can be merged."""
    return bool(get_member(rule, "accumulators_add", False))


def has_row_accumulators(rule: Any) -> bool:
    """Return whether the entries of a row of a matrix share an accumulator."""
    return has_member(rule, "per_row")


def has_row_step(rule: Any) -> bool:
    """Return whether the step length of a rule depends on the whole row, or that of a class (see `row_rules`)."""
    return has_member(rule, "row_step")


def takes_penalty(rule: Any) -> bool:
    """Return whether the proximal step of a penalty after the step of a rule minimises the loss plus the penalty."""
    return bool(get_member(rule, "takes_penalty", not has_member(rule, "matrix_step")))


def can_accumulate_squares(rule: Any) -> bool:
    """Return whether a rule has `accumulate` and `apply`, the two halves of a step."""
    return has_member(rule, "accumulate")


class Adagrad(NamedTuple):
    r"""Adagrad with a diagonal preconditioner: composite mirror descent with per-coordinate step sizes.

    .. math:: G \leftarrow G + g^2, \qquad x \leftarrow x - \frac{\eta\, g}{\sqrt{G} + \epsilon}

    With ``inside=True`` the denominator is :math:`\sqrt{G + \epsilon}`.  A zero gradient with a zero accumulator does
    not change x, for any `eps`, including 0.

    Parameters
    ----------
    eps : float, default 1e-10
        :math:`\epsilon` in [0, inf).  It is added to the root in the paper (as :math:`\delta`), PyTorch, MXNet 2 and
        TensorFlow's ApplyAdagradV2, and inside the root in Keras 3, BrainPy, MXNet 1 and optax.
    inside : bool, default False
        Whether `eps` is added inside the root.
    initial_accumulator : float, default 0.0
        Initial value of each G, in [0, inf).
    guarded : bool, default False
        Whether a coordinate with G = 0 is left unchanged even if its gradient is not zero but its square underflows, as
        in optax and braintools.
    modulus : bool, default False
        For complex x: whether an entry has one accumulator, of :math:`|g|^2`, as in optax.  Otherwise its real and
        imaginary parts have one each, as in PyTorch.

    Notes
    -----
    G never decreases, so the steps vanish in a long run with a changing objective.  In float32, G stops growing once
    :math:`g^2 < 2^{-24} G`.

    References
    ----------
    .. [1] J. Duchi, E. Hazan, Y. Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
       Optimization", JMLR 12 (2011) 2121-2159, section 1 and figure 1, diagonal case.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import Adagrad, init, update
    >>> x = np.array([3.0, -2.0])
    >>> state = init(x, Adagrad(), lr=0.5)
    >>> for _ in range(100):
    ...     x, state = update(x, 2 * x, state)
    >>> float(x @ x) < 1e-3
    True
    """

    eps: float = 1e-10
    inside: bool = False
    initial_accumulator: float = 0.0
    guarded: bool = False
    modulus: bool = False

    slots = 1
    slot_domains = ("[0, inf)",)
    is_scaled_gradient = True
    branchless = True
    accumulators_add = True
    domain = {
        "eps": "[0, inf)", "inside": "bool", "initial_accumulator": "[0, inf)", "guarded": "bool", "modulus": "bool",
    }  # fmt: skip

    def initial_slots(self):
        return (self.initial_accumulator,)

    def denominator(self, G):
        zero = self.eps - self.eps  # in the precision of the record; both sums are exact if eps is zero
        inner, outer = (self.eps, zero) if self.inside else (zero, self.eps)
        return math.sqrt(G + inner) + outer

    def denominator_guard(self, G):
        """Return 0 if a step must leave x unchanged: if G is 0 and, unless `guarded`, eps is 0 too."""
        return G + (self.eps - self.eps if self.guarded else self.eps)

    def accumulate(self, s, square):
        return (s[0] + square,)

    def apply(self, x, g, s, lr):
        return x - safe_divide(lr * g, _denominator(self, s[0]), _denominator_guard(self, s[0]))

    def step(self, x, g, s, lr):
        s = accumulate(self, s, g * g)
        return apply(self, x, g, s, lr), s

    def step_size(self, s, lr):
        return safe_divide(lr, _denominator(self, s[0]), _denominator_guard(self, s[0]))

    def preconditioner(self, s):
        return _denominator(self, s[0])


class RowAdagrad(NamedTuple):
    r"""Row-wise Adagrad: one accumulator for each row of a matrix, the sum of its mean squared gradients.

    .. math:: h_r \leftarrow h_r + \frac{1}{d} \sum_{j=1}^d g_{rj}^2, \qquad
              x_{rj} \leftarrow x_{rj} - \frac{\eta\, g_{rj}}{\sqrt{h_r} + \epsilon}

    It is intended for embeddings: the state is d times smaller than the matrix.  With ``inside=True`` the denominator
    is :math:`\sqrt{h_r + \epsilon}`.

    Parameters
    ----------
    eps : float, default 1e-8
        :math:`\epsilon` in [0, inf).  The default is that of FBGEMM.  MXNet 2 has 1e-6 outside the root, MXNet 1 has
        1e-5 inside.
    inside : bool, default False
        Whether `eps` is added inside the root.
    initial_accumulator : float, default 0.0
        Initial value of each h, in [0, inf).

    Notes
    -----
    Rows are indexed by the first axis of an array; in a vector, each entry is a row.  If a sparse gradient lists some
    entries of a row, the whole row is updated, with zeros for its other entries.

    References
    ----------
    .. [1] FBGEMM, ``rowwise_adagrad``; MXNet, ``GroupAdaGrad``.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import RowAdagrad, init, update
    >>> table = np.ones((4, 2))
    >>> state = init(table, RowAdagrad(), lr=0.5)
    >>> table, state = update(table, ([2], [[3.0, 4.0]]), state)
    >>> state.slots[0][0]
    array([ 0. ,  0. , 12.5,  0. ])
    """

    eps: float = 1e-8
    inside: bool = False
    initial_accumulator: float = 0.0

    slots = 1
    slot_domains = ("[0, inf)",)
    step_size_is_proportional = True
    per_row = True
    domain = {"eps": "[0, inf)", "inside": "bool", "initial_accumulator": "[0, inf)"}

    initial_slots = Adagrad.initial_slots
    denominator = Adagrad.denominator
    accumulate = Adagrad.accumulate

    def pool_squares(self, total, n):
        return total / type(total)(n)

    def apply(self, x, g, s, lr):
        root = _denominator(self, s[0])
        return x - safe_divide(lr * g, root, root)

    def step(self, x, g, s, lr):
        s = accumulate(self, s, g * g)
        return apply(self, x, g, s, lr), s

    def step_size(self, s, lr):
        root = _denominator(self, s[0])
        return safe_divide(lr, root, root)


class MomentumAdagrad(NamedTuple):
    r"""Adagrad with momentum: a moving average of the scaled gradients, as in JAX's example optimisers.

    .. math:: G \leftarrow G + g^2, \qquad
              m \leftarrow (1 - \mu) \frac{g}{\sqrt{G + \epsilon}} + \mu m, \qquad x \leftarrow x - \eta m

    Parameters
    ----------
    momentum : float, default 0.9
        :math:`\mu` in [0, 1).  The first step is :math:`1 - \mu` times that of `Adagrad`.
    eps : float, default 0.0
        :math:`\epsilon` in [0, inf), added inside the root.
    initial_accumulator : float, default 0.0
        Initial value of each G, in [0, inf).

    References
    ----------
    .. [1] JAX, ``jax.example_libraries.optimizers.adagrad``.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import MomentumAdagrad, init, update
    >>> x = np.array([3.0, -2.0])
    >>> state = init(x, MomentumAdagrad(), lr=0.5)
    >>> for _ in range(100):
    ...     x, state = update(x, 2 * x, state)
    >>> bool(x @ x < 1e-2)
    True
    """

    momentum: float = 0.9
    eps: float = 0.0
    initial_accumulator: float = 0.0
    fresh: float | None = None

    slots = 2
    slot_domains = ("[0, inf)", "(-inf, inf)")
    step_size_is_proportional = True
    branchless = True
    domain = {"momentum": "[0, 1)", "eps": "[0, inf)", "initial_accumulator": "[0, inf)"}

    def finalized(self):
        return self._replace(fresh=1.0 - self.momentum)

    def initial_slots(self):
        return (self.initial_accumulator, 0.0)

    def step(self, x, g, s, lr):
        G = s[0] + g * g
        root = math.sqrt(G + self.eps)
        scaled = safe_divide(g, root, root)
        m = self.fresh * scaled + self.momentum * s[1]
        return x - lr * m, (G, m)

    def step_size(self, s, lr):
        root = math.sqrt(s[0] + self.eps)
        return safe_divide(lr, root, root)


class Adadelta(NamedTuple):
    r"""Adadelta: step sizes from exponential moving averages of squared gradients and of squared steps.

    .. math:: E \leftarrow \rho E + (1 - \rho) g^2, \qquad
              \Delta = \frac{\sqrt{D + \epsilon}}{\sqrt{E + \epsilon}}\, g, \qquad
              D \leftarrow \rho D + (1 - \rho) \Delta^2, \qquad x \leftarrow x - \eta \Delta

    Parameters
    ----------
    rho : float, default 0.9
        :math:`\rho` in [0, 1), the decay of the averages.
    eps : float, default 1e-6
        :math:`\epsilon` in (0, inf).  The first steps have a length of about :math:`\sqrt{\epsilon}`.

    Notes
    -----
    The learning rate :math:`\eta` multiplies the step, but not the :math:`\Delta` that enters D.  All libraries with a
    learning rate do this.

    References
    ----------
    .. [1] M. Zeiler, "ADADELTA: An Adaptive Learning Rate Method", arXiv:1212.5701 (2012), algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import Adadelta, init, update
    >>> x = np.array([0.3, -0.2])
    >>> state = init(x, Adadelta(), lr=1.0)
    >>> for _ in range(1000):
    ...     x, state = update(x, 2 * x, state)
    >>> bool(x @ x < 1e-3)
    True
    """

    rho: float = 0.9
    eps: float = 1e-6
    fresh: float | None = None

    slots = 2
    slot_domains = ("[0, inf)", "[0, inf)")
    step_size_is_proportional = True
    branchless = True
    domain = {"rho": "[0, 1)", "eps": "(0, inf)"}

    def finalized(self):
        return self._replace(fresh=1.0 - self.rho)

    def initial_slots(self):
        return (0.0, 0.0)

    def step(self, x, g, s, lr):
        E = self.rho * s[0] + self.fresh * g * g
        delta = math.sqrt(s[1] + self.eps) / math.sqrt(E + self.eps) * g
        D = self.rho * s[1] + self.fresh * delta * delta
        return x - lr * delta, (E, D)

    def step_size(self, s, lr):
        # D already includes the last step; the exact size of that step is not stored.  This one is close to it.
        return lr * math.sqrt(s[1] + self.eps) / math.sqrt(s[0] + self.eps)
