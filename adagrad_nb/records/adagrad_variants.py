"""Variants of Adagrad that act on each coordinate alone: other powers, discounts, momentum, hints.

They have the members of every rule (see `rules`).  For rules without a learning rate see `coin_betting`.
"""

import math
from typing import NamedTuple

from ..compiler.jit import jitable, method
from ..compiler.simd import safe_divide
from .rules import MomentumAdagrad, step_at, step_size

_denominator = method("denominator")
_root = method("root")


class SGD(NamedTuple):
    r"""Stochastic gradient descent: :math:`x \leftarrow x - \eta g`, without accumulators.

    With a penalty it is forward-backward splitting (FOBOS) [1]_.  With the learning rate `InverseSqrt` it is online
    gradient descent [2]_.

    References
    ----------
    .. [1] J. Duchi, Y. Singer, "Efficient Online and Batch Learning Using Forward Backward Splitting", JMLR 10 (2009)
       2899-2934.
    .. [2] M. Zinkevich, "Online Convex Programming and Generalized Infinitesimal Gradient Ascent", ICML 2003.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import SGD, init, update
    >>> x = np.array([3.0, -2.0])
    >>> update(x, 2 * x, init(x, SGD(), lr=0.25))[0]
    array([ 1.5, -1. ])
    """

    slots = 0
    slot_domains = ()
    is_scaled_gradient = True
    branchless = True
    accumulators_add = True

    def initial_slots(self):
        return ()

    def step(self, x, g, s, lr):
        return x - lr * g, s

    def step_size(self, s, lr):
        return lr

    def preconditioner(self, s):
        return 1.0


class PowerAdagrad(NamedTuple):
    r"""Adagrad with another exponent than 1/2, and with a discount of old gradients.

    .. math:: G \leftarrow \gamma G + g^2, \qquad x \leftarrow x - \frac{\eta\, g}{G^p + \epsilon}

    With ``inside=True`` the denominator is :math:`(G + \epsilon)^p`.

    Parameters
    ----------
    power : float, default 0.5
        p in [0, inf).  Vowpal Wabbit calls it ``--power_t``; TensorFlow has ``learning_rate_power=-p``.
    eps : float, default 0.0
        :math:`\epsilon` in [0, inf).
    inside : bool, default False
        Whether `eps` is added to G before the power is taken.
    discount : float, default 1.0
        :math:`\gamma` in (0, 1].  Below 1, old gradients are forgotten.  The discount of a coordinate acts at each of
        its updates; sparse gradients and rows do not change other coordinates.
    initial_accumulator : float, default 0.0
        Initial value of each G, in [0, inf).

    See Also
    --------
    DelayedAdagrad : the same, with a denominator that does not include the present gradient.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import PowerAdagrad, init, update
    >>> x = np.zeros(1)
    >>> update(x, np.array([2.0]), init(x, PowerAdagrad(1.0), lr=0.5))[0]  # -lr g / g²
    array([-0.25])
    """

    power: float = 0.5
    eps: float = 0.0
    inside: bool = False
    discount: float = 1.0
    initial_accumulator: float = 0.0

    slots = 1
    slot_domains = ("[0, inf)",)
    is_scaled_gradient = True
    domain = {
        "power": "[0, inf)", "eps": "[0, inf)", "inside": "bool", "discount": "(0, 1]",
        "initial_accumulator": "[0, inf)",
    }  # fmt: skip

    @property
    def accumulators_add(self):
        """Whether the accumulators are sums over the updates: without a discount."""
        return self.discount == 1

    def initial_slots(self):
        return (self.initial_accumulator,)

    def denominator(self, G):
        """Return the number by which the learning rate is divided, or 0 if G and eps are 0."""
        base = G + self.eps if self.inside else G
        root = base**self.power if base > 0 else base
        return root if self.inside else root + self.eps

    def step(self, x, g, s, lr):
        s = (self.discount * s[0] + g * g,)
        return x - step_size(self, s, lr) * g, s

    def step_size(self, s, lr):
        root = _denominator(self, s[0])
        return safe_divide(lr, root, root)


class DelayedAdagrad(NamedTuple):
    r"""Adagrad whose step size does not depend on the present gradient.

    .. math:: x \leftarrow x - \frac{\eta\, g}{(\beta + G)^p}, \qquad G \leftarrow \gamma G + g^2

    The step size and the gradient of an update are independent if the gradients are.  So the method converges almost
    surely for non-convex functions if :math:`p > 1/2`.

    Parameters
    ----------
    power : float, default 0.5
        p in [0, inf).  The paper has :math:`1/2 + \epsilon`.
    beta : float, default 1.0
        :math:`\beta` in (0, inf).  The first step is :math:`\eta g / \beta^p`, so the method depends on the
        scale of the gradients.
    discount : float, default 1.0
        :math:`\gamma` in (0, 1].

    References
    ----------
    .. [1] X. Li, F. Orabona, "On the Convergence of Stochastic Gradient Descent with Adaptive Stepsizes", AISTATS 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import DelayedAdagrad, init, update
    >>> x, g = np.zeros(1), np.array([3.0])
    >>> state = init(x, DelayedAdagrad(), lr=0.5)
    >>> for _ in range(2):  # the step sizes are 0.5 and 0.5 / sqrt(10)
    ...     x, state = update(x, g, state)
    ...     print(x.round(3))
    [-1.5]
    [-1.974]
    """

    power: float = 0.5
    beta: float = 1.0
    discount: float = 1.0

    slots = 2  # G without the last square, and that square
    slot_domains = ("[0, inf)", "[0, inf)")
    is_scaled_gradient = True
    domain = {"power": "[0, inf)", "beta": "(0, inf)", "discount": "(0, 1]"}

    def initial_slots(self):
        return (0.0, 0.0)

    def step(self, x, g, s, lr):
        s = (self.discount * s[0] + s[1], g * g)
        return x - step_size(self, s, lr) * g, s

    def step_size(self, s, lr):
        return lr / (self.beta + s[0]) ** self.power


class SCAdagrad(NamedTuple):
    r"""SC-Adagrad for strongly convex losses: the accumulator itself, not its root, divides the gradient.

    .. math:: G \leftarrow G + g^2, \qquad x \leftarrow x - \frac{\eta\, g}{G + \xi_2 e^{-\xi_1 G}}

    The regret grows like the logarithm of the number of updates if the losses are strongly convex and the learning
    rate is large enough: at least :math:`\max_t g_t^2 / (2 \mu)` for the strong convexity :math:`\mu`.

    Parameters
    ----------
    xi1 : float, default 0.1
        :math:`\xi_1` in [0, inf), the rate at which the damping vanishes.
    xi2 : float, default 0.1
        :math:`\xi_2` in (0, inf), the damping of the first steps.

    References
    ----------
    .. [1] M. C. Mukkamala, M. Hein, "Variants of RMSProp and Adagrad with Logarithmic Regret Bounds", ICML 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import SCAdagrad, init, update
    >>> x = np.array([3.0, -2.0])
    >>> state = init(x, SCAdagrad(), lr=10.0)
    >>> for _ in range(200):
    ...     x, state = update(x, 2 * x, state)
    >>> bool(x @ x < 1e-3)
    True
    """

    xi1: float = 0.1
    xi2: float = 0.1

    slots = 1
    slot_domains = ("[0, inf)",)
    is_scaled_gradient = True
    accumulators_add = True
    domain = {"xi1": "[0, inf)", "xi2": "(0, inf)"}

    def initial_slots(self):
        return (0.0,)

    def step(self, x, g, s, lr):
        s = (s[0] + g * g,)
        return x - step_size(self, s, lr) * g, s

    def step_size(self, s, lr):
        return lr / (s[0] + self.xi2 * math.exp(-self.xi1 * s[0]))


class KATE(NamedTuple):
    r"""KATE: Adagrad without the square root, made independent of the scale of the features.

    .. math:: b^2 \leftarrow b^2 + g^2, \qquad m^2 \leftarrow m^2 + \kappa g^2 + \frac{g^2}{b^2}, \qquad
              x \leftarrow x - \frac{\eta\, m\, g}{b^2}

    Parameters
    ----------
    kappa : float, default 0.9
        :math:`\kappa` in [0, inf); the paper calls it :math:`\eta`.  With 0, a change of the unit of a feature changes
        its weight alone, not the predictions.
    eps : float, default 0.0
        In [0, inf), added to :math:`b^2` where it divides.

    Notes
    -----
    The first step of a coordinate is about :math:`\eta / |g|`.  Where first gradients may be tiny, as those of rare
    features, `eps` limits it: no step exceeds :math:`\eta\, m |g| / \epsilon`.

    References
    ----------
    .. [1] S. Choudhury, N. Tupitsa, N. Loizou, S. Horváth, M. Takáč, E. Gorbunov, "Remove that Square Root: A New
       Efficient Scale-Invariant Version of AdaGrad", NeurIPS 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import KATE, init, update
    >>> x = np.array([3.0, -2.0])
    >>> state = init(x, KATE(), lr=0.5)
    >>> for _ in range(100):
    ...     x, state = update(x, 2 * x, state)
    >>> bool(x @ x < 1e-3)
    True
    """

    kappa: float = 0.9
    eps: float = 0.0

    slots = 2
    slot_domains = ("[0, inf)", "[0, inf)")
    is_scaled_gradient = True
    branchless = True
    domain = {"kappa": "[0, inf)", "eps": "[0, inf)"}

    def initial_slots(self):
        return (0.0, 0.0)

    def step(self, x, g, s, lr):
        square = g * g
        b = s[0] + square
        s = (b, s[1] + self.kappa * square + safe_divide(square, b + self.eps, b + self.eps))
        return x - step_size(self, s, lr) * g, s

    def step_size(self, s, lr):
        return safe_divide(lr * math.sqrt(s[1]), s[0] + self.eps, s[0] + self.eps)


class OptimisticAdagrad(NamedTuple):
    r"""Optimistic Adagrad: the last gradient is a hint of the next one.

    .. math:: G \leftarrow G + (g - g')^2, \qquad x \leftarrow x - \eta \frac{2 g - g'}{\sqrt{G} + \epsilon}, \qquad
              g' \leftarrow g

    The regret depends on how much the gradients change instead of on their size.  In a bilinear game the last iterates
    of both players converge to the equilibrium; those of `Adagrad` do not.  The correction of the last hint,
    :math:`g - g'`, has the present step size.

    Parameters
    ----------
    eps : float, default 0.0
        :math:`\epsilon` in [0, inf).

    Notes
    -----
    A sparse gradient or row uses and changes the hints of the coordinates that it lists.

    References
    ----------
    .. [1] A. Rakhlin, K. Sridharan, "Online Learning with Predictable Sequences", COLT 2013.
    .. [2] M. Mohri, S. Yang, "Accelerating Online Convex Optimization via Adaptive Prediction", AISTATS 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import OptimisticAdagrad, init, update
    >>> z = np.array([1.0, 1.0])  # the game min over x of max over y of x y
    >>> state = init(z, OptimisticAdagrad(), lr=0.3)
    >>> for _ in range(2000):
    ...     z, state = update(z, np.array([z[1], -z[0]]), state)
    >>> bool(np.abs(z).max() < 1e-2)
    True
    """

    eps: float = 0.0

    slots = 2
    slot_domains = ("[0, inf)", "(-inf, inf)")
    step_size_is_proportional = True
    branchless = True
    domain = {"eps": "[0, inf)"}

    def initial_slots(self):
        return (0.0, 0.0)

    def step(self, x, g, s, lr):
        change = g - s[1]
        s = (s[0] + change * change, g)
        return x - step_size(self, s, lr) * (g + change), s

    def step_size(self, s, lr):
        root = math.sqrt(s[0]) + self.eps
        return safe_divide(lr, root, root)


@jitable
def cube_root(v):
    """Return the cube root of v >= 0, to about one unit in the last place."""
    one = type(v)(1)
    three = one + one + one
    y = v ** (one / three)
    return y - (y * y * y - v) / (three * y * y) if y > 0 else v


class MADGRAD(NamedTuple):
    r"""MADGRAD: dual averaging with momentum and the cube root of weighted squares.

    .. math:: \lambda_t = (\eta + \epsilon) \sqrt{t + 1}, \qquad s \leftarrow s + \lambda_t g, \qquad
              v \leftarrow v + \lambda_t g^2, \qquad
              x \leftarrow \mu x + (1 - \mu) \Bigl(x_0 - \frac{s}{\sqrt[3]{v} + \epsilon}\Bigr)

    Parameters
    ----------
    momentum : float, default 0.9
        :math:`\mu` in [0, 1).
    eps : float, default 1e-6
        :math:`\epsilon` in [0, inf).

    Notes
    -----
    :math:`x_0` is the value of a coordinate before its first non-zero gradient.  A sparse gradient or row moves only
    the coordinates that it lists.  There must be no penalty: the sums would not contain it.

    References
    ----------
    .. [1] A. Defazio, S. Jelassi, "A Momentumized, Adaptive, Dual Averaged Gradient Method", JMLR 23 (2022) 1-34.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import MADGRAD, init, update
    >>> x = np.array([3.0, -2.0])
    >>> state = init(x, MADGRAD(), lr=0.1)
    >>> for _ in range(300):
    ...     x, state = update(x, 2 * x, state)
    >>> bool(x @ x < 1e-3)
    True
    """

    momentum: float = 0.9
    eps: float = 1e-6
    fresh: float | None = None

    slots = 3  # s, v and x_0
    slot_domains = ("(-inf, inf)", "[0, inf)", "(-inf, inf)")
    takes_penalty = False
    domain = {"momentum": "[0, 1)", "eps": "[0, inf)"}

    finalized = MomentumAdagrad.finalized

    def initial_slots(self):
        return (0.0, 0.0, 0.0)

    def denominator(self, v):
        return cube_root(v) + self.eps

    def step(self, x, g, s, lr):
        return step_at(self, x, g, s, lr, 0)

    def step_at(self, x, g, s, lr, t):
        start = x if s[1] == 0 else s[2]
        weight = (lr + self.eps) * math.sqrt(type(lr)(t + 1))
        v = s[1] + weight * (g * g)
        if v == 0:  # no gradient so far, or only gradients whose squares underflow
            return x, s
        s = (s[0] + weight * g, v, start)
        z = start - s[0] / _denominator(self, v)
        return self.momentum * x + self.fresh * z, s

    def step_size(self, s, lr):
        root = _denominator(self, s[1])
        return safe_divide(self.fresh * lr, root, root)
