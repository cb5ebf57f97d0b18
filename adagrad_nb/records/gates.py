"""Gates: transforms that can hold a gradient back or skip its step.

A gate is one of the tuple of transforms.  Transforms before it act on each gradient passed to `update`, transforms
after it on the gradients that it lets through.  The counters of a gate are part of the state.  A gate is a record with
one of these attributes:

``accumulates``
    True if several gradients are accumulated into one step.  The record has the fields of `Accumulate`.
``may_skip``
    True if steps with non-finite gradients are skipped.  The record has the fields of `SkipNonFinite` or those of
    `LossScale`.
"""

from typing import Any, NamedTuple

from .._check import count, one_of, positive_count, record_methods
from .._legacy import has_member
from .schedules import Schedule, at

ACCUMULATION_KINDS = ("mean", "sum", "running mean")
SCHEDULE_CLOCKS = ("updates", "micro-steps")


class Accumulate(NamedTuple):
    """Gradient accumulation: make one step from `every` gradients.

    Parameters
    ----------
    every : int, schedule record or callable
        Number of gradients for each step, at least 1: one number, or a schedule or function of the step number t that
        gives it, such as ``Piecewise((100,), (2, 4))``.
    kind : {"mean", "sum", "running mean"}, default "mean"
        How the gradients are combined.  "mean" divides their sum by their number, as in Keras.  "running mean" updates
        the mean with each gradient, as in optax; only the rounding differs.
    counts : {"updates", "micro-steps"}, default "updates"
        The argument t of schedules: the number of steps, as in optax, or of gradients, as in Keras.  With "micro-steps"
        an average is updated after each gradient, and an average that overwrites x does so after each gradient of its
        step.

    Notes
    -----
    The accumulated gradient is dense, also if the gradients are sparse.

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

    every: int | Schedule
    kind: str = "mean"
    counts: str = "updates"

    accumulates = True

    def check(self):
        if hasattr(self.every, "_fields"):
            record_methods("Accumulate.every", self.every, ("at",), "Piecewise((100,), (2, 4))")
        elif not callable(self.every):
            positive_count("Accumulate.every", self.every)
        one_of("Accumulate.kind", self.kind, ACCUMULATION_KINDS)
        one_of("Accumulate.counts", self.counts, SCHEDULE_CLOCKS)


class SkipNonFinite(NamedTuple):
    """Skip the step of all arrays if the gradient of any array has a NaN or an infinity.

    Parameters
    ----------
    limit : int, default 0
        Number of consecutive steps that may be skipped, at least 0.  The next one raises FloatingPointError and changes
        nothing.  0 means no limit.

    Notes
    -----
    A skipped step changes neither x nor the accumulators, counters and average.

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
    """Dynamic loss scaling for mixed precision: divide the gradient by the scale of the loss.

    Multiply the next loss by ``state.scale``.  If a gradient is not finite, the step is skipped and the scale is
    multiplied by `shrink`.  After `every` consecutive finite steps the scale is multiplied by `grow`.

    Parameters
    ----------
    initial : float, default 32768.0
        Initial scale, in (0, inf).
    every : int, default 2000
        Number of consecutive finite steps before the scale grows, at least 1.
    grow : float, default 2.0
        Factor in [1, inf).
    shrink : float, default 0.5
        Factor in (0, 1).

    Notes
    -----
    For a constant scale use ``Rescale(1 / scale)``.

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


def gradients_per_step(gate: Any, t: int) -> int:
    """Return the number of gradients that a gate accumulates for step t."""
    every = gate.every
    if not hasattr(every, "_fields") and not callable(every):
        return every
    value = at(every, t) if hasattr(every, "_fields") else every(t)
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    return positive_count(f"Accumulate.every({t})", number if number == value else value)


def accumulates_gradients(transform: Any) -> bool:
    """Return whether a transform accumulates several gradients into one step."""
    return has_member(transform, "accumulates")


def may_skip_steps(transform: Any) -> bool:
    """Return whether a transform may skip steps."""
    return has_member(transform, "may_skip")


def is_gate(transform: Any) -> bool:
    """Return whether a transform is a gate."""
    return accumulates_gradients(transform) or may_skip_steps(transform)
