"""What a coordinate is due that sparse rows passed over: by which lapse it is brought up to date."""

import numpy as np

from .._kernels.lapses import Anew, Closed, Prompt, Stepwise
from .._kernels.scaled import Summed
from ..penalties import Bounded, Box, NonNegative, NoPenalty
from ..schedules import Constant


def moves_untouched(penalty):
    """Whether a penalty moves a coordinate that no gradient touches."""
    if isinstance(penalty, (NonNegative, NoPenalty)):
        return False
    if isinstance(penalty, (Box, Bounded)) or not hasattr(penalty, "strength"):
        return True
    return bool(np.any(np.asarray(penalty.strength) != 0))


def finds_anew(rule):
    """Whether a rule finds a weight anew from its accumulators when it is read."""
    return hasattr(rule, "point")


def must_note(rule, penalty):
    """Whether it must be known up to which update each coordinate is current."""
    return moves_untouched(penalty) and not finds_anew(rule)


def lapse_of(rule, penalty, schedule, normalized):
    """How the iterates are brought up to date at coordinates that no gradient has touched."""
    constant = isinstance(schedule, Constant)
    if finds_anew(rule):
        even = constant and getattr(penalty, "additive", False)
        return Anew(int(even)) if moves_untouched(penalty) or not constant else Prompt()
    if not moves_untouched(penalty):
        return Prompt()
    if normalized:
        return Summed()
    return Closed() if constant else Stepwise()
