"""Update rules: what a gradient does to one coordinate.

A rule is a record with ``slots`` accumulators per coordinate and three methods of scalars: ``fill()``, their initial
values; ``step(x, g, s, lr) -> (x, s)``, the step of the loss alone; ``width(s, lr)``, the length of step that the
penalty's proximal operator takes at this coordinate.
"""

import math
from typing import NamedTuple

from ._jit import method

step = method("step")
width = method("width")
_root = method("root")


class Adagrad(NamedTuple):
    r"""Adagrad with a diagonal matrix, as composite mirror descent.

    .. math:: G \leftarrow G + g^2, \qquad x \leftarrow x - \frac{\eta\, g}{\sqrt{G} + \epsilon}

    With ``inside=True`` the denominator is :math:`\sqrt{G + \epsilon}`.  A zero gradient on a zero accumulator
    moves nothing, whatever `eps` is.

    Parameters
    ----------
    eps : float, default 1e-10
        Added to the root, in [0, inf).  Outside as in the paper (its :math:`\delta`), PyTorch, MXNet 2 and
        TensorFlow's ApplyAdagradV2; inside as in Keras 3, BrainPy, MXNet 1 and optax.
    inside : bool, default False
        Whether `eps` stands inside the root.
    initial_accumulator : float, default 0.0
        First value of every G, in [0, inf).

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

    slots = 1
    domain = {"eps": "[0, inf)", "inside": "bool", "initial_accumulator": "[0, inf)"}

    def fill(self):
        return (self.initial_accumulator,)

    def root(self, G):
        zero = self.eps - self.eps  # in the record's own precision; both sums are exact where eps is zero
        inner, outer = (self.eps, zero) if self.inside else (zero, self.eps)
        return math.sqrt(G + inner) + outer

    def step(self, x, g, s, lr):
        G = s[0] + g * g
        root = _root(self, G)
        return (x if root == 0 else x - lr * g / root), (G,)

    def width(self, s, lr):
        root = _root(self, s[0])
        return root if root == 0 else lr / root
