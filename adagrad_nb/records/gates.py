"""Gates: transforms that decide whether a gradient becomes a step.

They stand in the tuple of transforms like any other: what stands before a gate is applied to each gradient that
arrives, what stands after it to those that it lets through.  Their memory is part of the state.
"""

from typing import NamedTuple

from .._check import count, one_of, positive_count
from .._legacy import has_member

ACCUMULATION_KINDS = ("mean", "sum", "running mean")
SCHEDULE_CLOCKS = ("updates", "micro-steps")


class Accumulate(NamedTuple):
    """Gather `every` gradients and make one step of them.

    Parameters
    ----------
    every : int
        At least 1.
    kind : {"mean", "sum", "running mean"}, default "mean"
        What the step is made of.  "mean" divides the sum, as Keras does; "running mean" updates the mean with each
        gradient, as optax does, which differs in rounding only.
    counts : {"updates", "micro-steps"}, default "updates"
        What schedules count: steps, as in optax, or the gradients that arrived, as in Keras.  There the average, which
        counts steps, is brought up to date with each gradient, and overwrites x with each gradient of a step.

    Notes
    -----
    The sum is dense, also that of sparse gradients.

    References
    ----------
    .. [1] Keras 3, ``gradient_accumulation_steps``; optax, ``MultiSteps``.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import Accumulate, init, update
    >>> x = np.zeros(1)
    >>> state = init(x, lr=1.0, transforms=(Accumulate(2),))
    >>> x, state = update(x, np.array([1.0]), state)
    >>> x, state = update(x, np.array([3.0]), state)
    >>> x, state.t, state.slots
    (array([-1.]), 1, ((array([4.]),),))
    """

    every: int
    kind: str = "mean"
    counts: str = "updates"

    accumulates = True

    def check(self):
        positive_count("Accumulate.every", self.every)
        one_of("Accumulate.kind", self.kind, ACCUMULATION_KINDS)
        one_of("Accumulate.counts", self.counts, SCHEDULE_CLOCKS)


class SkipNonFinite(NamedTuple):
    """Skip the whole step where the gradient of any array holds a NaN or an infinity.

    Parameters
    ----------
    limit : int, default 0
        After so many steps skipped in a row `update` raises FloatingPointError, with nothing changed; 0 means never.

    Notes
    -----
    A step that is skipped leaves x, the accumulators, the counts and the average as they are.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import SkipNonFinite, init, update
    >>> x = np.ones(2)
    >>> state = init(x, transforms=(SkipNonFinite(),))
    >>> x, state = update(x, np.array([np.nan, 1.0]), state)
    >>> x, state.t
    (array([1., 1.]), 0)
    """

    limit: int = 0

    may_skip = True

    def check(self):
        count("SkipNonFinite.limit", self.limit)


class LossScale(NamedTuple):
    """Divide the gradient by a scale that the loss was multiplied with; find the scale by trying.

    The scale of the next loss is ``state.scale``.  Where a gradient is not finite the step is skipped and the scale
    multiplied by `shrink`; after `every` good steps in a row it is multiplied by `grow`.

    Parameters
    ----------
    initial : float, default 32768.0
        In (0, inf).
    every : int, default 2000
        At least 1.
    grow : float, default 2.0
        In [1, inf).
    shrink : float, default 0.5
        In (0, 1).

    Notes
    -----
    A scale that never changes is ``Rescale(1 / scale)``.

    References
    ----------
    .. [1] P. Micikevicius et al., "Mixed Precision Training", ICLR 2018, section 3.2.
    .. [2] Keras 3, ``LossScaleOptimizer``, whose defaults these are.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import LossScale, init, update
    >>> x = np.ones(1)
    >>> state = init(x, transforms=(LossScale(initial=8.0),))
    >>> x, state = update(x, np.array([np.inf]), state)
    >>> x, state.scale
    (array([1.]), 4.0)
    """

    initial: float = 2.0**15
    every: int = 2000
    grow: float = 2.0
    shrink: float = 0.5

    may_skip = True
    domain = {"initial": "(0, inf)", "grow": "[1, inf)", "shrink": "(0, 1)"}

    def check(self):
        positive_count("LossScale.every", self.every)


def accumulates_gradients(transform):
    """Return whether a transform makes one step of several gradients."""
    return has_member(transform, "accumulates")


def may_skip_steps(transform):
    """Return whether a transform may skip a step."""
    return has_member(transform, "may_skip")


def is_gate(transform):
    """Return whether a transform decides if a gradient becomes a step."""
    return accumulates_gradients(transform) or may_skip_steps(transform)
