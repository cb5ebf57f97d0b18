"""Update rules of dual averaging: x is computed from sums over all gradients so far.

Such a rule has the methods of every rule (see `rules`) and these:

``primal(x, s, lr) -> x``
    The minimiser for the losses alone, without the penalty, from the accumulators s.
``cumulative_step_size(s, lr, t) -> float``
    Step size of the proximal step after t updates, proportional to t.
``unpenalized() -> rule``
    The rule for a coordinate without penalty, such as an intercept.  Default: the rule itself.

Both numbers depend only on the accumulators, the current learning rate and t.  So a coordinate that sparse rows did not
touch costs nothing until it is read.
"""

import math
from typing import Any, NamedTuple

from .._legacy import has_member
from ..compiler.jit import method
from .proximal import soft_threshold
from .rules import step_size

primal = method("primal")
_denominator = method("denominator")
_root = method("root")


def is_dual_averaging(rule: Any) -> bool:
    """Return whether a rule, or a class of rules, is a dual averaging rule."""
    return has_member(rule, "primal")


class RDA(NamedTuple):
    r"""Regularised dual averaging with Adagrad's step sizes: the primal-dual update of the Adagrad paper.

    .. math:: G \leftarrow G + g^2, \qquad z \leftarrow z + g, \qquad
              x = \arg\min_x\; \eta z x + \eta t \varphi(x) + \tfrac12 (\sqrt{G} + \epsilon) x^2

    after t updates with the learning rate :math:`\eta` and the penalty :math:`\varphi`.  The penalties of all updates
    act in one proximal step.  Models are therefore sparser than with `Adagrad`, which is composite mirror descent.

    Parameters
    ----------
    eps : float, default 0.0
        :math:`\epsilon` in [0, inf), added to the root.
    initial_accumulator : float, default 0.0
        Initial value of each G, in [0, inf).  TensorFlow has 0.1.

    Notes
    -----
    The method starts from zero, as in the paper.  A coordinate with another start keeps it until its first non-zero
    gradient; the start has no effect afterwards.  Transforms that change x have no effect.  A decreasing learning rate
    shrinks all of x.

    `update` evaluates only the coordinates that a sparse gradient lists.  The other coordinates keep their value of the
    update that last listed them.  `fit_linear` evaluates each weight when it is read, so all weights are current.

    Theorem 5 of [1]_ bounds the regret if `eps` is at least the largest absolute gradient.  It does not hold for
    ``eps=0``: after n gradients of 1, x is :math:`-\eta \sqrt{n}`, and one gradient of -M, with M much larger than n,
    costs :math:`\eta \sqrt{n} M`.  The bound at 0 is about :math:`\eta M`.  The regret is 10 times the bound for
    n = 100 and M = 10\ :sup:`6`.  `Ledger.certificate` needs eps > 0, and is small for an eps of that size.

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
    >>> X = rng.normal(size=(500, 20))
    >>> y = X[:, 0] - X[:, 1] > 0
    >>> fit_linear(X, y, rule=RDA()).progressive_loss < 0.4
    True
    >>> np.flatnonzero(fit_linear(X, y, rule=RDA(), penalty=L1(0.1)).coef)
    array([0, 1])
    """

    eps: float = 0.0
    initial_accumulator: float = 0.0

    slots = 2
    slot_domains = ("[0, inf)", "(-inf, inf)")
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
        # x keeps its start until the first non-zero gradient, also if the square of that gradient underflows.
        rests = s[1] == 0 and s[0] == self.initial_accumulator
        return x if rests or _denominator(self, s) == 0 else -step_size(self, s, lr) * s[1]


class FTRL(NamedTuple):
    r"""FTRL-Proximal: follow the regularised leader, with per-coordinate learning rates.

    .. math:: \sigma = \sqrt{n + g^2} - \sqrt{n}, \qquad n \leftarrow n + g^2, \qquad
              z \leftarrow z + \eta (g + \kappa x) - \sigma x, \qquad
              x = -\frac{\operatorname{sign}(z) [|z| - \eta \lambda_1]_+}{\beta + \sqrt{n} + \eta \lambda_2}

    Parameters
    ----------
    beta : float, default 1.0
        :math:`\beta` in [0, inf).
    l1, l2 : float, default 0.0
        :math:`\lambda_1` and :math:`\lambda_2`, each in [0, inf).  They penalise the *sum* of the losses of the whole
        run, as in the paper and Vowpal Wabbit.  The argument ``penalty`` of `init` or `fit_linear` acts at every update
        instead, and so penalises the mean loss.  Neither penalises an intercept.
    initial_accumulator : float, default 0.0
        Initial value of each n, in [0, inf).  TensorFlow has 0.1.
    shrinkage : float, default 0.0
        :math:`\kappa` in [0, inf), an L2 penalty of each step that does not enter n: twice TensorFlow's
        `l2_shrinkage_regularization_strength`.  As there, a sparse gradient or row shrinks only what it lists.
    keep_start : bool, default True
        Whether a start other than 0 is kept until the first non-zero gradient, and is part of z.  In TensorFlow and
        Keras the first update forgets it.

    Notes
    -----
    z is the paper's z times the learning rate :math:`\eta`.  So a learning rate of zero changes nothing.  Without
    penalties, a decreasing learning rate gives the steps of ``Adagrad(eps=beta)``.  Vowpal Wabbit calls the learning
    rate ``--ftrl_alpha``.

    As in the paper, :math:`\lambda_2` has no factor of 2, which it has in TensorFlow, and n accumulates the gradient of
    the loss only.  A non-zero start is kept by zero gradients.  The first non-zero gradient sets z to the value for
    which the start is the solution.  For another exponent than 1/2 see `PowerFTRL`.

    `update` evaluates only the coordinates that a sparse gradient lists.  With a ``penalty``, the others keep their
    value of the update that last listed them.  `fit_linear` evaluates each weight when it is read.

    References
    ----------
    .. [1] H. B. McMahan et al., "Ad Click Prediction: a View from the Trenches", KDD 2013, algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import FTRL, fit_linear
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 20))
    >>> y = X[:, 0] - X[:, 1] > 0
    >>> model = fit_linear(X, y, rule=FTRL(l1=20.0))
    >>> model.progressive_loss < 0.5, np.flatnonzero(model.coef)
    (True, array([0, 1]))
    """

    beta: float = 1.0
    l1: float = 0.0
    l2: float = 0.0
    initial_accumulator: float = 0.0
    shrinkage: float = 0.0
    keep_start: bool = True

    slots = 2
    slot_domains = ("[0, inf)", "(-inf, inf)")
    accumulators_add = True
    domain = {
        "beta": "[0, inf)", "l1": "[0, inf)", "l2": "[0, inf)", "initial_accumulator": "[0, inf)",
        "shrinkage": "[0, inf)", "keep_start": "bool",
    }  # fmt: skip

    def initial_slots(self):
        return (self.initial_accumulator, 0.0)

    def unpenalized(self):
        return self._replace(l1=0.0, l2=0.0, shrinkage=0.0)

    def root(self, n):
        """Return the power of n that the learning rate is divided by."""
        return math.sqrt(n)

    def denominator(self, s, lr):
        return _root(self, s[0]) + self.beta + lr * self.l2

    def step(self, x, g, s, lr):
        rests = s[0] == self.initial_accumulator and s[1] == 0 and self.keep_start
        start = -x * _denominator(self, s, lr) - (math.copysign(lr * self.l1, x) if x != 0 else x)
        z = start if rests else s[1]
        n = s[0] + g * g
        z = z + lr * (g + self.shrinkage * x) - (_root(self, n) - _root(self, s[0])) * x
        s = (n, s[1] if rests and g == 0 else z)
        return primal(self, x, s, lr), s

    def step_size(self, s, lr):
        root = _denominator(self, s, lr)
        return root if root == 0 else lr / root

    def cumulative_step_size(self, s, lr, t):
        return type(lr)(t) * step_size(self, s, lr)

    def primal(self, x, s, lr):
        rests = s[0] == self.initial_accumulator and s[1] == 0 and self.keep_start
        return x if rests or s[0] == 0 else soft_threshold(-s[1], lr * self.l1) / _denominator(self, s, lr)


class PowerFTRL(NamedTuple):
    r"""FTRL-Proximal with another exponent of n: `FTRL` with :math:`n^p` in place of :math:`\sqrt{n}`.

    Parameters
    ----------
    power : float, default 0.5
        p in [0, inf): the negative of TensorFlow's `learning_rate_power`.  0 is a constant learning rate.
    beta, l1, l2, initial_accumulator, shrinkage, keep_start
        As for `FTRL`.

    References
    ----------
    .. [1] TensorFlow, ``ApplyFtrlV2``; Keras, ``Ftrl``.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import PowerFTRL, init, update
    >>> state = init(np.zeros(1), PowerFTRL(1.0, beta=0.0), lr=0.5)
    >>> update(np.zeros(1), np.array([2.0]), state)[0]  # -lr g / n
    array([-0.25])
    """

    power: float = 0.5
    beta: float = 1.0
    l1: float = 0.0
    l2: float = 0.0
    initial_accumulator: float = 0.0
    shrinkage: float = 0.0
    keep_start: bool = True

    slots = FTRL.slots
    slot_domains = FTRL.slot_domains
    accumulators_add = True
    domain = {"power": "[0, inf)", **FTRL.domain}

    initial_slots = FTRL.initial_slots
    unpenalized = FTRL.unpenalized
    denominator = FTRL.denominator
    step = FTRL.step
    step_size = FTRL.step_size
    cumulative_step_size = FTRL.cumulative_step_size
    primal = FTRL.primal

    def root(self, n):
        """Return the power of n that the learning rate is divided by."""
        return n**self.power
