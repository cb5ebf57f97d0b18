"""Anytime online-to-batch conversion: gradients at the weighted mean of the iterates of another rule."""

from typing import Any, NamedTuple

from .._check import count, record_methods
from .._legacy import get_member
from ..compiler.jit import method
from .global_rules import has_memory
from .matrix_rules import has_matrices
from .rules import has_row_accumulators, has_row_step, initial_slots, slot_domains, step_at, step_size

_weight = method("weight")


def needs_dense_gradients(rule: Any) -> bool:
    """Return whether each update of a rule changes all coordinates, also those with a gradient of zero."""
    return bool(get_member(rule, "needs_dense_gradients", False))


class Anytime(NamedTuple):
    r"""Anytime online-to-batch conversion: the iterate is a weighted mean of the iterates of another rule.

    .. math:: x_t = \frac{\sum_{s \le t} a_s w_s}{\sum_{s \le t} a_s}, \qquad
              w_{t+1} = \operatorname{step}(w_t, a_t \nabla f(x_t)), \qquad a_t = \binom{t + p - 1}{p}

    for t = 1, 2, …, where step is that of the rule.  The gradients are those at the mean, so the last x has the
    guarantee that other methods have for the mean of their iterates: :math:`f(x_T) - f(u)` is at most the regret of the
    rule against u on the weighted losses, divided by the sum of the weights.

    Parameters
    ----------
    rule : rule record
        The rule that updates w, such as ``Adagrad()`` or ``COCOB()``.
    power : int, default 1
        p, at least 0.  :math:`a_t` is 1 for p = 0, t for p = 1 and t (t + 1) / 2 for p = 2.

    Notes
    -----
    Each update changes all coordinates.  So sparse gradients, `fit_linear`, penalties and bounds are not supported.  An
    accumulator holds w - x.  The gradients times their weights must lie in the range of the rule: `KT` needs
    ``power=0``, or gradients in [-1, 1] divided by the last weight.

    References
    ----------
    .. [1] A. Cutkosky, "Anytime Online-to-Batch, Optimism and Acceleration", ICML 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import Adagrad, Anytime, minimize_adagrad
    >>> fun = lambda x: (np.abs(x).sum(), np.sign(x))
    >>> x0 = np.array([3.1, -2.3])
    >>> for rule in (Adagrad(), Anytime(Adagrad())):
    ...     print(minimize_adagrad(fun, x0, jac=True, rule=rule, lr=1.0, maxiter=1000).fun < 1e-2)
    False
    True
    """

    rule: Any
    power: int = 1

    needs_dense_gradients = True

    @property
    def slots(self):
        """Number of accumulators: those of the rule, and w - x."""
        return 1 + getattr(self.rule, "slots", 0)

    @property
    def slot_domains(self):
        """Intervals of the accumulators."""
        return ("(-inf, inf)", *slot_domains(self.rule))

    def check(self):
        if has_memory(self.rule) or has_matrices(self.rule):
            name = type(self.rule).__name__
            raise ValueError(f"Anytime.rule: a step of {name} depends on all coordinates; use a rule such as Adagrad()")
        record_methods("Anytime.rule", self.rule, ("slots", "initial_slots", "step", "step_size"), "Adagrad()")
        if has_row_accumulators(self.rule) or has_row_step(self.rule) or needs_dense_gradients(self.rule):
            raise ValueError(f"Anytime.rule: does not support {type(self.rule).__name__}; use a rule such as Adagrad()")
        count("Anytime.power", self.power)

    def initial_slots(self):
        return (0.0, *initial_slots(self.rule))

    def weight(self, t, one):
        """Return the weight of the gradient of update t, counted from 0, in the precision of `one`."""
        weight = one
        for k in range(1, self.power + 1):
            weight *= type(one)(t + k) / type(one)(k)
        return weight

    def step(self, x, g, s, lr):
        return step_at(self, x, g, s, lr, 0)

    def step_at(self, x, g, s, lr, t):
        one = type(x)(1)
        w, inner = step_at(self.rule, x + s[0], _weight(self, t, one) * g, s[1:], lr, t)
        fraction = type(x)(self.power + 1) / type(x)(t + 2 + self.power)  # a / (sum of a) of the next update
        x += fraction * (w - x)
        return x, (w - x,) + inner

    def step_size(self, s, lr):
        return step_size(self.rule, s[1:], lr)
