"""Rules without a learning rate: each coordinate bets a fraction of its wealth on the sign of the next gradient.

They have the members of every rule (see `rules`).
"""

from typing import NamedTuple

from ..compiler.jit import method
from .rules import step_size

_bet = method("bet")


class KT(NamedTuple):
    r"""Krichevsky-Trofimov coin betting: a regret bound as good as that of the best learning rate, up to a logarithm.

    .. math:: W \leftarrow W - g (x - x_0), \qquad z \leftarrow z - g, \qquad n \leftarrow n + 1, \qquad
              x \leftarrow x_0 + \frac{z}{n + 1} W

    The learning rate is the initial wealth W: with a wealth of :math:`\eta`, the regret against any u is at most
    :math:`\eta + |u - x_0| \sqrt{n \log(1 + 24 n^2 (u - x_0)^2 / \eta^2)}` for each coordinate, where n is the number
    of its non-zero gradients.

    Notes
    -----
    Each gradient must lie in [-1, 1]; otherwise the wealth can become negative.  `ClipValue` and `Rescale` bring
    gradients into this range.  :math:`x_0` is the value of a coordinate before its first non-zero gradient.  Zero
    gradients are not counted, so the method is the same for sparse and for dense gradients.

    There must be no penalty, and transforms that change x have no effect.  With bounds, :math:`x_0` must lie within
    them.

    References
    ----------
    .. [1] F. Orabona, D. Pál, "Coin Betting and Parameter-Free Online Learning", NIPS 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import KT, OnlineToBatch, init, update
    >>> x = np.zeros(1)
    >>> state = init(x, KT(), lr=1.0, average=OnlineToBatch())
    >>> for _ in range(1000):  # the loss is the distance to 10
    ...     x, state = update(x, np.sign(x - 10.0), state)
    >>> bool(abs(state.means[0][0] - 10.0) < 1.0)
    True
    """

    slots = 4  # z, the reward W - lr, n, and x_0
    slot_domains = ("(-inf, inf)", "(-inf, inf)", "[0, inf)", "(-inf, inf)")
    takes_penalty = False

    def initial_slots(self):
        return (0.0, 0.0, 0.0, 0.0)

    def step(self, x, g, s, lr):
        if g == 0:
            return x, s
        start = x if s[2] == 0 else s[3]
        s = (s[0] - g, s[1] - g * (x - start), s[2] + type(lr)(1), start)
        return start + s[0] * step_size(self, s, lr), s

    def step_size(self, s, lr):
        return (lr + s[1]) / (s[2] + type(lr)(1))


class COCOB(NamedTuple):
    r"""COCOB-Backprop: coin betting with gradients of unknown range.

    .. math:: L \leftarrow \max(L, |g|), \quad A \leftarrow A + |g|, \quad
              R \leftarrow [R - g (x - x_0)]_+, \quad z \leftarrow z - g, \quad
              x \leftarrow x_0 + \frac{z\, (L + R)}{L \max(A + L, \alpha L)}

    Parameters
    ----------
    alpha : float, default 100.0
        :math:`\alpha` in (0, inf), which limits the first bets.
    eps : float, default 1e-8
        Initial value of each L, in (0, inf).

    Notes
    -----
    The learning rate multiplies the step from the present x to the new one; the paper has none, so use 1.0.  That of
    optax multiplies the gradients.  :math:`x_0` is the value of a coordinate before its first non-zero gradient.
    There must be no penalty, and transforms that change x have no effect.

    References
    ----------
    .. [1] F. Orabona, T. Tommasi, "Training Deep Networks without Learning Rates Through Coin Betting", NIPS 2017,
       algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import COCOB, init, update
    >>> x = np.array([3.0, -2.0])
    >>> state = init(x, COCOB(), lr=1.0)
    >>> for _ in range(500):
    ...     x, state = update(x, 2 * x, state)
    >>> bool(x @ x < 1e-2)
    True
    """

    alpha: float = 100.0
    eps: float = 1e-8

    slots = 5  # L, A, R, z and x_0
    slot_domains = ("(0, inf)", "[0, inf)", "[0, inf)", "(-inf, inf)", "(-inf, inf)")
    takes_penalty = False
    domain = {"alpha": "(0, inf)", "eps": "(0, inf)"}

    def initial_slots(self):
        return (self.eps, 0.0, 0.0, 0.0, 0.0)

    def bet(self, s):
        """Return the position for each unit of z."""
        return (s[0] + s[2]) / (s[0] * max(s[1] + s[0], self.alpha * s[0]))

    def step(self, x, g, s, lr):
        size = abs(g)
        start = x if s[1] == 0 else s[4]
        reward = max(s[2] - g * (x - start), g - g)
        s = (max(s[0], size), s[1] + size, reward, s[3] - g, start)
        return x + lr * (start - x + s[3] * _bet(self, s)), s

    def step_size(self, s, lr):
        return lr * _bet(self, s)
