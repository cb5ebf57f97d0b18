"""Update rules of dual averaging: x is not moved, but computed from sums over all gradients so far.

Besides the methods of every rule (see `rules`) such a rule has ``primal(x, s, lr)``, the solution for the losses alone,
and ``cumulative_step_size(s, lr, t)``, the step size of the penalty's proximal step there after t updates, in
proportion to t.  Both follow from the accumulators, the rate of the last update and t, so that a coordinate that sparse
rows pass over costs nothing until it is read.  ``unpenalized()`` gives the rule for a coordinate that is not penalised,
such as an intercept.
"""

import math
from typing import NamedTuple

from .._legacy import has_member
from ..compiler.jit import method
from .proximal import soft_threshold
from .rules import step_size

primal = method("primal")
_denominator = method("denominator")


def is_dual_averaging(rule):
    """Return whether a rule, or class of rules, computes x from its accumulators whenever it is read."""
    return has_member(rule, "primal")


class RDA(NamedTuple):
    r"""Adagrad as regularised dual averaging: the primal-dual update of its paper.

    .. math:: G \leftarrow G + g^2, \qquad z \leftarrow z + g, \qquad
              x = \arg\min_x\; \eta z x + \eta t \varphi(x) + \tfrac12 (\sqrt{G} + \epsilon) x^2

    after t updates under the penalty :math:`\varphi`.  The penalty of every update counts at once, so that models are
    sparser than by composite mirror descent, `Adagrad`.

    Parameters
    ----------
    eps : float, default 0.0
        Added to the root, in [0, inf).
    initial_accumulator : float, default 0.0
        First value of every G, in [0, inf); 0.1 in TensorFlow.

    Notes
    -----
    Everything is measured from zero, the start that the paper has.  Another start holds for a coordinate until its
    first gradient that is not zero, and is then forgotten; transforms that move x have no effect.  A rate that falls
    shrinks x as a whole.

    Of a sparse gradient, `update` evaluates the coordinates that are listed; the others keep the value of the t at
    which they were listed last.  `fit_linear` evaluates each weight when it is read, so that nothing is out of date.

    References
    ----------
    .. [1] J. Duchi, E. Hazan, Y. Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
       Optimization", JMLR 12 (2011) 2121-2159, figure 1, diagonal case, primal-dual subgradient update.
    .. [2] L. Xiao, "Dual Averaging Methods for Regularized Stochastic Learning and Online Optimization", JMLR 11
       (2010) 2543-2596.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import L1, RDA, fit_linear
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(2000, 50))
    >>> y = X[:, 0] - X[:, 1] > 0
    >>> fit_linear(X, y, rule=RDA()).progressive_loss < 0.3
    True
    >>> np.flatnonzero(fit_linear(X, y, rule=RDA(), penalty=L1(0.1)).coef)
    array([0, 1])
    """

    eps: float = 0.0
    initial_accumulator: float = 0.0

    slots = 2
    accumulators_add = True
    domain = {"eps": "[0, inf)", "initial_accumulator": "[0, inf)"}

    def initial_slots(self):
        return (self.initial_accumulator, 0.0)

    def denominator(self, s):
        return math.sqrt(s[0]) + self.eps

    def step(self, x, g, s, lr):
        s = (s[0] + g * g, s[1] + g)
        return primal(self, x, s, lr), s

    def step_size(self, s, lr):
        root = _denominator(self, s)
        return root if root == 0 else lr / root

    def cumulative_step_size(self, s, lr, t):
        return type(lr)(t) * step_size(self, s, lr)

    def primal(self, x, s, lr):
        # Where nothing has pulled yet, or so little that its square is lost, x stays where it is.
        rests = s[1] == 0 and s[0] == self.initial_accumulator
        return x if rests or _denominator(self, s) == 0 else -step_size(self, s, lr) * s[1]


class FTRL(NamedTuple):
    r"""Follow the regularised leader, proximally: per-coordinate rates, a penalty counted once.

    .. math:: \sigma = \sqrt{n + g^2} - \sqrt{n}, \qquad n \leftarrow n + g^2, \qquad
              z \leftarrow z + \eta g - \sigma x, \qquad
              x = -\frac{\operatorname{sign}(z) [|z| - \eta \lambda_1]_+}{\beta + \sqrt{n} + \eta \lambda_2}

    Parameters
    ----------
    beta : float, default 1.0
        In [0, inf).
    l1, l2 : float, default 0.0
        :math:`\lambda_1` and :math:`\lambda_2`, each in [0, inf): penalties on x once for the whole run, against the
        *sum* of the losses, as in the paper and Vowpal Wabbit.  A ``penalty`` beside the rule counts at every update,
        against the mean loss.  An intercept is spared both.

    Notes
    -----
    z here is the paper's z times the rate, so that a rate of zero moves nothing and, without penalties, a rate that
    falls gives the steps of ``Adagrad(eps=beta)``.  The rate is what Vowpal Wabbit calls ``--ftrl_alpha``.

    It is the paper's update: :math:`\lambda_2` without a factor of 2, nothing but the gradient of the loss in n, a
    penalty that shrinks, and a start that counts: a zero gradient leaves it as it is, and the first other one sets z
    to where the start would be the solution.

    Of a sparse gradient, `update` evaluates the coordinates that are listed; with a ``penalty`` the others keep the
    value of the t at which they were listed last.  `fit_linear` evaluates each weight when it is read.

    References
    ----------
    .. [1] H. B. McMahan et al., "Ad Click Prediction: a View from the Trenches", KDD 2013, algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import FTRL, fit_linear
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(2000, 50))
    >>> y = X[:, 0] - X[:, 1] > 0
    >>> model = fit_linear(X, y, rule=FTRL(l1=40.0))
    >>> model.progressive_loss < 0.5, np.flatnonzero(model.coef)
    (True, array([0, 1]))
    """

    beta: float = 1.0
    l1: float = 0.0
    l2: float = 0.0

    slots = 2
    accumulators_add = True
    domain = {"beta": "[0, inf)", "l1": "[0, inf)", "l2": "[0, inf)"}

    def initial_slots(self):
        return (0.0, 0.0)

    def unpenalized(self):
        return self._replace(l1=0.0, l2=0.0)

    def denominator(self, s, lr):
        return math.sqrt(s[0]) + self.beta + lr * self.l2

    def step(self, x, g, s, lr):
        first = -x * (self.beta + lr * self.l2) - (math.copysign(lr * self.l1, x) if x != 0 else x)
        z = first if s[0] == 0 else s[1]
        n = s[0] + g * g
        s = (n, z + lr * g - (math.sqrt(n) - math.sqrt(s[0])) * x)
        return primal(self, x, s, lr), s

    def step_size(self, s, lr):
        root = _denominator(self, s, lr)
        return root if root == 0 else lr / root

    def cumulative_step_size(self, s, lr, t):
        return type(lr)(t) * step_size(self, s, lr)

    def primal(self, x, s, lr):
        return x if s[0] == 0 else soft_threshold(-s[1], lr * self.l1) / _denominator(self, s, lr)
