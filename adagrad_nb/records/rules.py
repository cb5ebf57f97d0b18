"""Update rules: what a gradient does to one coordinate.

A rule is a record with ``slots`` accumulators per coordinate and three methods of scalars: ``initial_slots()``, their
initial values; ``step(x, g, s, lr) -> (x, s)``, the step of the loss alone; ``step_size(s, lr)``, the step size of the
penalty's proximal step at this coordinate.  A rule whose step answers for all updates so far, not for the last one, has
``cumulative_step_size(s, lr, t)`` besides: the step size after t updates (see `dual_averaging`).  Where entries share
an accumulator, or squares come from elsewhere, the step is taken in its two halves, ``accumulate(s, square) -> s`` and
``apply(x, g, s, lr) -> x``.  A constant that follows from the fields is a field itself, which ``finalized()`` fills in
double precision before the record is cast to the precision of the kernel.

Attributes of a rule say more about it, each with a predicate in this module.  ``is_scaled_gradient``: the step is
``x - step_size(s, lr) g`` with the s that holds g already, so that its length can be changed, as the options
`normalized` and `invariant` of `fit_linear` do.  ``accumulators_add``: the accumulators are sums over the updates, the
first one of squared gradients, so that models of several learners can be merged.  ``per_row``: the entries of a row
share an accumulator, to which ``accumulate`` adds ``pool_squares(total, n)`` of the sum of their n squared gradients.

A record whose methods compute without branches, by `safe_divide` and `choose`, says so by ``branchless = True``: they
then run on vectors of lanes where several models are learnt side by side, three to six times faster.
"""

import math
from typing import NamedTuple

from .._legacy import get_member, has_member
from ..compiler.jit import jitable, method
from ..compiler.simd import safe_divide

initial_slots = method("initial_slots")
step = method("step")
step_size = method("step_size")


@jitable
def _step_size_of_one_update(rule, s, lr, t):
    """Return the step size of a rule that steps by one gradient, whatever t is."""
    return step_size(rule, s, lr)


@jitable
def _preconditioner_from_step_size(rule, s):
    """Return 1 / step size at rate 1, or 0 where that is 0."""
    w = step_size(rule, s, type(s[0])(1))
    return type(s[0])(1) / w if w > 0 else w


@jitable
def _sum_squares(rule, total, n):
    """Return what entries that share an accumulator add to it, the sum of their squares."""
    return total


cumulative_step_size = method("cumulative_step_size", default=_step_size_of_one_update)
preconditioner = method("preconditioner", default=_preconditioner_from_step_size)
accumulate = method("accumulate")
apply = method("apply")
pool_squares = method("pool_squares", default=_sum_squares)
_denominator = method("denominator")
_denominator_guard = method("denominator_guard")


def unpenalized(rule):
    """Return the rule for a coordinate that is not penalised, such as an intercept."""
    replacement = get_member(rule, "unpenalized")
    return rule if replacement is None else replacement()


def is_scaled_gradient(rule):
    """Return whether a step is the gradient times the step size, which may then be changed."""
    return bool(get_member(rule, "is_scaled_gradient", False))


def has_additive_accumulators(rule):
    """Return whether the accumulators are sums over the updates, so that those of several learners add up."""
    return bool(get_member(rule, "accumulators_add", False))


def has_row_accumulators(rule):
    """Return whether the entries of a row share an accumulator."""
    return has_member(rule, "per_row")


def can_accumulate_squares(rule):
    """Return whether the step comes in two halves, so that squares can be added before it."""
    return has_member(rule, "accumulate")


class Adagrad(NamedTuple):
    r"""Adagrad with a diagonal matrix, as composite mirror descent.

    .. math:: G \leftarrow G + g^2, \qquad x \leftarrow x - \frac{\eta\, g}{\sqrt{G} + \epsilon}

    With ``inside=True`` the denominator is :math:`\sqrt{G + \epsilon}`.  A zero gradient on a zero accumulator
    moves nothing, whatever `eps` is, zero included.

    Parameters
    ----------
    eps : float, default 1e-10
        Added to the root, in [0, inf).  Outside as in the paper (its :math:`\delta`), PyTorch, MXNet 2 and
        TensorFlow's ApplyAdagradV2; inside as in Keras 3, BrainPy, MXNet 1 and optax.
    inside : bool, default False
        Whether `eps` stands inside the root.
    initial_accumulator : float, default 0.0
        First value of every G, in [0, inf).
    guarded : bool, default False
        Whether a coordinate whose G is zero stays where it is even if its gradient is not zero, only so small that
        its square is: as in optax and braintools.
    modulus : bool, default False
        For complex x: whether an entry has one accumulator, of :math:`|g|^2`, as in optax, instead of one for its
        real and one for its imaginary part, as in PyTorch.

    Notes
    -----
    G only grows, so that a long run over a changing objective comes to a halt.  In float32 it stops growing once
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
    is_scaled_gradient = True
    branchless = True
    accumulators_add = True
    domain = {
        "eps": "[0, inf)", "inside": "bool", "initial_accumulator": "[0, inf)", "guarded": "bool", "modulus": "bool",
    }  # fmt: skip

    def initial_slots(self):
        return (self.initial_accumulator,)

    def denominator(self, G):
        zero = self.eps - self.eps  # in the record's own precision; both sums are exact where eps is zero
        inner, outer = (self.eps, zero) if self.inside else (zero, self.eps)
        return math.sqrt(G + inner) + outer

    def denominator_guard(self, G):
        """Zero just where x stays: where G is, or, unless that is enough, where the root is."""
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
    r"""Adagrad with one accumulator for each row of a matrix, the sum of the mean squares of its gradients.

    .. math:: h_r \leftarrow h_r + \frac{1}{d} \sum_{j=1}^d g_{rj}^2, \qquad
              x_{rj} \leftarrow x_{rj} - \frac{\eta\, g_{rj}}{\sqrt{h_r} + \epsilon}

    Made for embeddings: the state is d times smaller than the matrix.  With ``inside=True`` the denominator is
    :math:`\sqrt{h_r + \epsilon}`.

    Parameters
    ----------
    eps : float, default 1e-8
        In [0, inf); FBGEMM's default.  MXNet has 1e-6 outside the root since version 2, 1e-5 inside before.
    inside : bool, default False
        Whether `eps` stands inside the root.
    initial_accumulator : float, default 0.0
        First value of every h, in [0, inf).

    Notes
    -----
    The rows are what the first axis of an array counts; in a vector every entry is a row of its own.  A sparse
    gradient of which a row lists some entries only moves that row, the others as zeros.

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
    r"""Adagrad whose scaled gradients are averaged, as in JAX's example optimisers.

    .. math:: G \leftarrow G + g^2, \qquad
              m \leftarrow (1 - \mu) \frac{g}{\sqrt{G + \epsilon}} + \mu m, \qquad x \leftarrow x - \eta m

    Parameters
    ----------
    momentum : float, default 0.9
        :math:`\mu` in [0, 1).  The first step is only :math:`1 - \mu` of a plain one.
    eps : float, default 0.0
        Inside the root, in [0, inf).
    initial_accumulator : float, default 0.0
        First value of every G, in [0, inf).

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
    r"""Adadelta: step lengths from two running means, of squared gradients and of squared steps.

    .. math:: E \leftarrow \rho E + (1 - \rho) g^2, \qquad
              \Delta = \frac{\sqrt{D + \epsilon}}{\sqrt{E + \epsilon}}\, g, \qquad
              D \leftarrow \rho D + (1 - \rho) \Delta^2, \qquad x \leftarrow x - \eta \Delta

    Parameters
    ----------
    rho : float, default 0.9
        In [0, 1).
    eps : float, default 1e-6
        In (0, inf); the first steps are about :math:`\sqrt{\epsilon}` long.

    Notes
    -----
    The learning rate multiplies the step, not what enters D, as in every system that has one.

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
        # After the step, s holds the D that includes it; the length that the step had is lost, and this one is near.
        return lr * math.sqrt(s[1] + self.eps) / math.sqrt(s[0] + self.eps)
