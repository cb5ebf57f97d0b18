"""Rules of linear models whose step length depends on the whole row: passive-aggressive updates and AROW.

They have the members of every rule (see `rules`) and these:

``row_step(loss, slope, q, h) -> u``
    Step length of a row of weight h, given its loss, the slope of the loss, and q, the sum of ``step_size(s, 1) x²``
    over the values x of the row.  The weights change by ``u step_size(s, 1) x``.  An intercept is a feature of value 1.
    It is called only if the slope is not zero.
``losses``
    Classes of losses that the rule supports.  Their slopes are -1, 0 and 1.

They have no learning rate and no penalty, and make one update for each row.  `fit_linear` supports them for two classes
or numbers.  `init` does not, because a gradient does not tell the loss of its row.
"""

from typing import NamedTuple

from .._check import count
from .adagrad_variants import SGD
from .binary_losses import Hinge
from .regression_losses import EpsilonInsensitive


class PassiveAggressive(NamedTuple):
    r"""Passive-aggressive updates: the smallest step after which the row has no loss, limited by C.

    .. math:: w \leftarrow w + \tau y x, \qquad
              \tau = \min\left(C, \frac{\ell}{\|x\|^2}\right) \text{ (PA-I)}, \qquad
              \tau = \frac{\ell}{\|x\|^2 + 1 / (2 C)} \text{ (PA-II)}

    where :math:`\ell = [1 - y w \cdot x]_+` is the hinge loss, the default loss of `fit_linear` for this rule.  For
    numbers y is the sign of the residual, and the loss is `EpsilonInsensitive`.

    Parameters
    ----------
    C : float, default 1.0
        In (0, inf).  Larger values take longer steps.  A sample weight multiplies it.
    variant : {1, 2}, default 1
        1 for PA-I, 2 for PA-II.

    Notes
    -----
    The intercept is a feature of value 1, which the squared norm includes.  scikit-learn leaves it out.

    References
    ----------
    .. [1] K. Crammer, O. Dekel, J. Keshet, S. Shalev-Shwartz, Y. Singer, "Online Passive-Aggressive Algorithms", JMLR 7
       (2006) 551-585.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import PassiveAggressive, fit_linear
    >>> model = fit_linear(np.array([[3.0, 4.0]]), [1], rule=PassiveAggressive(), classes=[-1, 1], intercept=False)
    >>> model.coef  # x / |x|²
    array([0.12, 0.16])
    """

    C: float = 1.0
    variant: int = 1

    slots = 0
    slot_domains = ()
    losses = (Hinge, EpsilonInsensitive)
    domain = {"C": "(0, inf)"}

    initial_slots = SGD.initial_slots
    step = SGD.step
    step_size = SGD.step_size

    def check(self):
        count("PassiveAggressive.variant", self.variant, 1, 2)

    def row_step(self, loss, slope, q, h):
        limit = self.C * h
        if self.variant == 2:
            return -slope * loss / (q + type(q)(0.5) / limit)
        return -slope * (limit if loss >= limit * q else loss / q)


class AROW(NamedTuple):
    r"""Adaptive regularisation of weights with a diagonal covariance.

    If the hinge loss :math:`\ell = [1 - y w \cdot x]_+` of a row is not zero,

    .. math:: w \leftarrow w + \frac{\ell\, y\, \Sigma x}{x^T \Sigma x + r}, \qquad
              \Sigma^{-1} \leftarrow \Sigma^{-1} + \operatorname{diag}(x^2) / r

    Parameters
    ----------
    r : float, default 1.0
        In (0, inf).  Larger values take shorter steps.  A sample weight divides it.

    Notes
    -----
    :math:`\Sigma` starts as the identity.  The accumulators of a weight are its inverse variance before and after the
    last update.  The intercept is a feature of value 1.

    References
    ----------
    .. [1] K. Crammer, A. Kulesza, M. Dredze, "Adaptive Regularization of Weight Vectors", NIPS 2009.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import AROW, fit_linear
    >>> model = fit_linear(np.array([[3.0, 4.0]]), [1], rule=AROW(r=5.0), classes=[-1, 1], intercept=False)
    >>> model.coef  # x / (|x|² + r)
    array([0.1       , 0.13333333])
    >>> model.state.slots[0][1]
    array([2.8, 4.2])
    """

    r: float = 1.0

    slots = 2
    slot_domains = ("(0, inf)", "(0, inf)")
    losses = (Hinge,)
    domain = {"r": "(0, inf)"}

    def initial_slots(self):
        return (1.0, 1.0)

    def step(self, x, g, s, lr):
        s = (s[1], s[1] + g * g / self.r)
        return x - lr * g / s[0], s

    def step_size(self, s, lr):
        return lr / s[0]

    def row_step(self, loss, slope, q, h):
        return -slope * loss / (q + self.r / h)
