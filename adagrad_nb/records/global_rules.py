r"""Rules whose learning rate depends on sums over all coordinates: norms of gradients, and distances from the start.

Such a rule has the members of every rule (see `rules`) and these.  If `takes_penalty` is False, it takes no bounds
either.  m is its memory: a tuple of numbers that all arrays of x share.

``initial_memory(n, norm) -> m``
    The memory for n coordinates of a start with this 2-norm.
``memory_domains``
    Interval of each number of the memory, such as ``"[0, inf)"``.
``totals(x, g, s, lr, m) -> tuple``
    The terms of one coordinate in the sums of an update, before its step.  lr is the learning rate as given.
``update_memory(m, sums) -> m``
    The new memory, from the sums of the terms over all coordinates.
``rate_factor(m) -> float``
    Factor of the learning rate in the step, from the new memory.  The lr of `step` and `step_size` includes it.
``start_slot``
    Number of the accumulator that keeps the start :math:`x_0`, the x that `init` is given.  Default: none does.
``sparse_is_exact``
    True if all terms of a coordinate without gradient are 0, so that sparse gradients suffice.  Default: False.

`initial_memory`, `update_memory` and `rate_factor` run in double precision, in Python.  Where x is on a device,
`update_memory` and `rate_factor` are compiled, so they may use numbers, tuples and functions of `math` only.
"""

import math
from typing import Any, NamedTuple

from .._legacy import get_member, has_member
from ..compiler.jit import method
from ..compiler.simd import safe_divide
from .adagrad_variants import SGD

totals = method("totals")


def has_memory(rule: Any) -> bool:
    """Return whether the steps of a rule depend on sums over all coordinates."""
    return has_member(rule, "totals")


def start_slot(rule: Any) -> int | None:
    """Return the number of the accumulator that keeps the start, or None."""
    return get_member(rule, "start_slot")


class AdagradNorm(NamedTuple):
    r"""AdaGrad-Norm: one learning rate for all coordinates, from the sum of the squared norms of the gradients.

    .. math:: b^2 \leftarrow b^2 + \|g\|^2, \qquad x \leftarrow x - \frac{\eta}{b}\, g

    Parameters
    ----------
    b0 : float, default 1e-8
        Initial value of b, in [0, inf).

    Notes
    -----
    The norm is that of all arrays of x together.  The iterates rotate with the problem.  For a smooth function the
    method converges at the rate of gradient descent with the best constant step size, for every :math:`\eta`.

    References
    ----------
    .. [1] R. Ward, X. Wu, L. Bottou, "AdaGrad Stepsizes: Sharp Convergence over Nonconvex Landscapes", JMLR 21 (2020)
       1-30.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import AdagradNorm, init, update
    >>> x = np.array([3.0, -4.0])
    >>> x, state = update(x, x, init(x, AdagradNorm(), lr=1.0))
    >>> x
    array([ 2.4, -3.2])
    """

    b0: float = 1e-8

    slots = 0
    slot_domains = ()
    memory_domains = ("[0, inf)",)  # b²
    is_scaled_gradient = True
    branchless = True
    sparse_is_exact = True
    domain = {"b0": "[0, inf)"}

    initial_slots = SGD.initial_slots
    step = SGD.step
    step_size = SGD.step_size
    preconditioner = SGD.preconditioner

    def initial_memory(self, n, norm):
        return (self.b0 * self.b0,)

    def totals(self, x, g, s, lr, m):
        return (g * g,)

    def update_memory(self, m, sums):
        return (m[0] + sums[0],)

    def rate_factor(self, m):
        return 0.0 if m[0] == 0 else 1.0 / math.sqrt(m[0])


class WNGrad(NamedTuple):
    r"""WNGrad: one learning rate for all coordinates, as in weight normalisation.

    .. math:: b \leftarrow b + \frac{\|g\|^2}{b}, \qquad x \leftarrow x - \frac{\eta}{b}\, g

    Parameters
    ----------
    b0 : float, default 1.0
        Initial value of b, in (0, inf): an estimate of the Lipschitz constant of the gradient.

    Notes
    -----
    The norm is that of all arrays of x together.

    References
    ----------
    .. [1] X. Wu, R. Ward, L. Bottou, "WNGrad: Learn the Learning Rate in Gradient Descent", arXiv:1803.02865 (2018).

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import WNGrad, init, update
    >>> x = np.array([3.0, -4.0])
    >>> x, state = update(x, x, init(x, WNGrad(), lr=1.0))
    >>> x.round(3), state.memory
    (array([ 2.885, -3.846]), (26.0,))
    """

    b0: float = 1.0

    slots = 0
    slot_domains = ()
    memory_domains = ("(0, inf)",)  # b
    is_scaled_gradient = True
    branchless = True
    sparse_is_exact = True
    domain = {"b0": "(0, inf)"}

    initial_slots = SGD.initial_slots
    step = SGD.step
    step_size = SGD.step_size
    preconditioner = SGD.preconditioner
    totals = AdagradNorm.totals

    def initial_memory(self, n, norm):
        return (float(self.b0),)

    def update_memory(self, m, sums):
        return (m[0] + sums[0] / m[0],)

    def rate_factor(self, m):
        return 1.0 / m[0]


class DoG(NamedTuple):
    r"""Distance over gradients: gradient descent whose learning rate needs no tuning.

    .. math:: r \leftarrow \max(r, \|x - x_0\|), \qquad G \leftarrow G + \|g\|^2, \qquad
              x \leftarrow x - \frac{\eta\, r}{\sqrt{G + \epsilon}}\, g

    Parameters
    ----------
    r_eps : float, default 1e-6
        In (0, inf): the first r is :math:`r_\epsilon (1 + \|x_0\|)`.
    eps : float, default 1e-8
        :math:`\epsilon` in [0, inf).
    relative : bool, default True
        Whether the first r depends on :math:`x_0`.  Otherwise it is `r_eps`.

    Notes
    -----
    Use it with ``lr=1.0``.  The norms are those of all arrays of x together.  :math:`x_0` is the x that `init` is
    given.  The paper reports the average of the iterates: see `Polyak`.

    References
    ----------
    .. [1] M. Ivgi, O. Hinder, Y. Carmon, "DoG is SGD's Best Friend: A Parameter-Free Dynamic Step Size Schedule", ICML
       2023.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import DoG, init, update
    >>> x = np.array([30.0, -20.0])
    >>> state = init(x, DoG(), lr=1.0)
    >>> for _ in range(300):
    ...     x, state = update(x, 2 * x, state)
    >>> bool(x @ x < 1e-3)
    True
    """

    r_eps: float = 1e-6
    eps: float = 1e-8
    relative: bool = True

    slots = 1  # x_0
    slot_domains = ("(-inf, inf)",)
    memory_domains = ("[0, inf)", "[0, inf)")  # r and G
    start_slot = 0
    is_scaled_gradient = True
    branchless = True
    domain = {"r_eps": "(0, inf)", "eps": "[0, inf)", "relative": "bool"}

    step = SGD.step
    step_size = SGD.step_size
    preconditioner = SGD.preconditioner

    def initial_slots(self):
        return (0.0,)

    def initial_memory(self, n, norm):
        return (self.r_eps * (1.0 + norm) if self.relative else float(self.r_eps), 0.0)

    def totals(self, x, g, s, lr, m):
        moved = x - s[0]
        return (moved * moved, g * g)

    def update_memory(self, m, sums):
        return (max(m[0], math.sqrt(sums[0])), m[1] + sums[1])

    def rate_factor(self, m):
        return safe_divide(m[0], math.sqrt(m[1] + self.eps), m[1] + self.eps)


class DoWG(NamedTuple):
    r"""Distance over weighted gradients: `DoG` for smooth functions.

    .. math:: r^2 \leftarrow \max(r^2, \|x - x_0\|^2), \qquad v \leftarrow v + r^2 \|g\|^2, \qquad
              x \leftarrow x - \frac{\eta\, r^2}{\sqrt{v} + \epsilon}\, g

    Parameters
    ----------
    square_distance : float, default 1e-4
        The first :math:`r^2`, in (0, inf).
    eps : float, default 1e-4
        :math:`\epsilon` in [0, inf), as in optax.  The paper has none.

    Notes
    -----
    Use it with ``lr=1.0``.  The norms are those of all arrays of x together.  :math:`x_0` is the x that `init` is
    given.

    References
    ----------
    .. [1] A. Khaled, K. Mishchenko, C. Jin, "DoWG Unleashed: An Efficient Universal Parameter-Free Gradient Descent
       Method", NeurIPS 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import DoWG, init, update
    >>> x = np.array([30.0, -20.0])
    >>> state = init(x, DoWG(), lr=1.0)
    >>> for _ in range(300):
    ...     x, state = update(x, 2 * x, state)
    >>> bool(x @ x < 1e-3)
    True
    """

    square_distance: float = 1e-4
    eps: float = 1e-4

    slots = 1  # x_0
    slot_domains = ("(-inf, inf)",)
    memory_domains = ("[0, inf)", "[0, inf)")  # r² and v
    start_slot = 0
    is_scaled_gradient = True
    branchless = True
    domain = {"square_distance": "(0, inf)", "eps": "[0, inf)"}

    initial_slots = DoG.initial_slots
    step = SGD.step
    step_size = SGD.step_size
    preconditioner = SGD.preconditioner
    totals = DoG.totals

    def initial_memory(self, n, norm):
        return (float(self.square_distance), 0.0)

    def update_memory(self, m, sums):
        square = max(m[0], sums[0])
        return (square, m[1] + square * sums[1])

    def rate_factor(self, m):
        root = math.sqrt(m[1]) + self.eps
        return safe_divide(m[0], root, root)


class AdagradPlusPlus(NamedTuple):
    r"""AdaGrad++: Adagrad at a learning rate that is the distance from the start.

    .. math:: r \leftarrow \max\Bigl(r, \frac{\|x - x_0\|}{\sqrt{d}}\Bigr), \qquad G \leftarrow G + g^2, \qquad
              x \leftarrow x - \frac{\eta\, r\, g}{\sqrt{G} + \epsilon}

    for d coordinates.

    Parameters
    ----------
    eps : float, default 1e-8
        :math:`\epsilon` in [0, inf).
    r_eps : float, default 1e-6
        The first r, in (0, inf).

    Notes
    -----
    Use it with ``lr=1.0``.  The distance is that of all arrays of x together.  :math:`x_0` is the x that `init` is
    given.

    References
    ----------
    .. [1] Y. Tao, H. Yuan, X. Zhou, Y. Cao, Q. Gu, "Towards Simple and Provable Parameter-Free Adaptive Gradient
       Methods", arXiv:2412.19444 (2024).

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import AdagradPlusPlus, init, update
    >>> x = np.array([30.0, -20.0])
    >>> state = init(x, AdagradPlusPlus(), lr=1.0)
    >>> for _ in range(300):
    ...     x, state = update(x, 2 * x, state)
    >>> bool(x @ x < 1e-3)
    True
    """

    eps: float = 1e-8
    r_eps: float = 1e-6

    slots = 2  # G and x_0
    slot_domains = ("[0, inf)", "(-inf, inf)")
    memory_domains = ("[0, inf)", "[0, inf)")  # r and d
    start_slot = 1
    is_scaled_gradient = True
    branchless = True
    domain = {"eps": "[0, inf)", "r_eps": "(0, inf)"}

    def initial_slots(self):
        return (0.0, 0.0)

    def initial_memory(self, n, norm):
        return (float(self.r_eps), float(n))

    def totals(self, x, g, s, lr, m):
        moved = x - s[1]
        return (moved * moved,)

    def update_memory(self, m, sums):
        return (max(m[0], math.sqrt(sums[0] / max(m[1], 1.0))), m[1])

    def rate_factor(self, m):
        return m[0]

    def step(self, x, g, s, lr):
        s = (s[0] + g * g, s[1])
        root = math.sqrt(s[0]) + self.eps
        return x - safe_divide(lr * g, root, root), s

    def step_size(self, s, lr):
        root = math.sqrt(s[0]) + self.eps
        return safe_divide(lr, root, root)


class DAdaptAdagrad(NamedTuple):
    r"""D-Adaptation for Adagrad: dual averaging whose learning rate estimates the distance to the solution.

    .. math:: G \leftarrow G + g^2, \quad z \leftarrow z + \eta d\, g, \quad h = \sqrt{G} + \epsilon, \quad
              x \leftarrow x_0 - \frac{z}{h}, \quad
              q \leftarrow q + \sum_i \frac{(\eta d\, g_i)^2}{h_i}, \quad
              d \leftarrow \max\Bigl(d, \frac{\sum_i z_i^2 / h_i - q}{\|z\|_1}\Bigr)

    Parameters
    ----------
    d0 : float, default 1e-6
        The first d, in (0, inf).
    initial_accumulator : float, default 1e-6
        Initial value of each G, in [0, inf).
    eps : float, default 1e-6
        :math:`\epsilon` in [0, inf).

    Notes
    -----
    Use it with ``lr=1.0``.  d estimates the distance to the solution in the maximum norm.  As in the authors' code, it
    lacks the factor 1/2 of the lower bound in the paper, so it may exceed the distance.  The sums are over all arrays
    of x together.  :math:`x_0` is the x that `init` is given.  There must be no penalty, and transforms that change x
    have no effect.

    References
    ----------
    .. [1] A. Defazio, K. Mishchenko, "Learning-Rate-Free Learning by D-Adaptation", ICML 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import DAdaptAdagrad, init, update
    >>> x = np.array([3.0, -2.0])
    >>> state = init(x, DAdaptAdagrad(), lr=1.0)
    >>> for _ in range(1000):
    ...     x, state = update(x, np.sign(x), state)
    >>> bool(np.abs(x).max() < 0.2), 0.1 < state.memory[1] <= 3.0
    (True, True)
    """

    d0: float = 1e-6
    initial_accumulator: float = 1e-6
    eps: float = 1e-6

    slots = 3  # z, G and x_0
    slot_domains = ("(-inf, inf)", "[0, inf)", "(-inf, inf)")
    memory_domains = ("[0, inf)", "[0, inf)", "[0, inf)")  # d of the last step, d of the next one, q
    start_slot = 2
    takes_penalty = False
    branchless = True
    domain = {"d0": "(0, inf)", "initial_accumulator": "[0, inf)", "eps": "[0, inf)"}

    def initial_slots(self):
        return (0.0, self.initial_accumulator, 0.0)

    def initial_memory(self, n, norm):
        return (float(self.d0), float(self.d0), 0.0)

    def totals(self, x, g, s, lr, m):
        weighted = lr * m[1] * g
        z = s[0] + weighted
        root = math.sqrt(s[1] + g * g) + self.eps
        return (safe_divide(z * z, root, root), abs(z), safe_divide(weighted * weighted, root, root))

    def update_memory(self, m, sums):
        q = m[2] + sums[2]
        return (m[1], max(m[1], (sums[0] - q) / sums[1]) if sums[1] > 0 else m[1], q)

    def rate_factor(self, m):
        return m[0]

    def step(self, x, g, s, lr):
        s = (s[0] + lr * g, s[1] + g * g, s[2])
        root = math.sqrt(s[1]) + self.eps
        return s[2] - safe_divide(s[0], root, root), s

    def step_size(self, s, lr):
        root = math.sqrt(s[1]) + self.eps
        return safe_divide(lr, root, root)
