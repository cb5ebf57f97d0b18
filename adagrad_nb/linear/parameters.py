"""The mean of the iterates that a linear model reports while it learns on from the last one."""

import math

import numpy as np

from .. import _check
from ..records.averaging import Polyak
from ..records.penalties import has_additive_prox
from ..records.rules import is_scaled_gradient
from .kernels import scaled_rows
from .kernels.lazy import Trail
from .kernels.rows import FAR


class Mean:
    """The sums behind ``average=Polyak(start)`` of a linear model; double precision, or 10⁵ rows lose digits.

    Attributes
    ----------
    average : Polyak
    since : int
        The update from which on iterates count: `start`, or where averaging was begun if that was later.
    total, bias_total : ndarray
        Sums of the iterates, of each weight up to the update that its ``last`` says.
    """

    def __init__(self, average, shape, t):
        self.average, self.since = average, max(int(average.start), t)
        self.total = np.zeros(shape)
        self.bias_total = np.zeros((1, *self.total.shape[1:]))

    def copy(self):
        """The same with arrays of its own."""
        new = object.__new__(Mean)
        new.__dict__.update(self.__dict__)
        new.total, new.bias_total = self.total.copy(), self.bias_total.copy()
        return new

    def grow(self, extra):
        """Make room for more weights, which have been zero."""
        self.total = np.concatenate([self.total, np.zeros((extra, *self.total.shape[1:]))])

    def spread(self, lanes, places):
        """Make room for more lanes, which have been zero; those of now stand at these places among them."""
        for name in ("total", "bias_total"):
            old = getattr(self, name)
            new = np.zeros((old.shape[0], lanes))
            new[:, places] = old
            setattr(self, name, new)

    def trail(self, last, n_features=None):
        """The sums as the compiled loop takes them."""
        return Trail(last, self.total[:n_features], self.bias_total, self.since)

    def count(self, t):
        """How many iterates there are before update t."""
        return max(t - self.since, 0)


def check_average(average):
    """An average that a linear model can keep, or False for none."""
    if average is False:
        return average
    _check.record("average", average, ("weight",), "Polyak()")
    if not isinstance(average, Polyak):
        raise ValueError(
            f"average: got {average!r}; the mean is kept where a weight is met, which needs the plain mean "
            "Polyak(start); with decaying shares every row would have to visit every weight"
        )
    return average


# --- feature scaling -------------------------------------------------------------------------------------------------


class Scaling:
    """The options `normalized` and `invariant` of a model, and what normalised steps have noted."""

    def __init__(self, n_features, dtype, normalized, invariant):
        self.normalized, self.invariant = normalized, invariant
        self.largest = np.broadcast_to(np.dtype(dtype).type(0), n_features) if normalized else ()
        self.totals = np.zeros(3) if normalized else ()

    def __bool__(self):
        return self.normalized or self.invariant

    def copy(self):
        """The same with arrays of its own."""
        new = Scaling(0, np.float64, self.normalized, self.invariant)
        if self.normalized:
            new.largest, new.totals = self.largest.copy(), self.totals.copy()
        return new

    @property
    def name(self):
        """The option that asks for these steps."""
        return "normalized" if self.normalized else "invariant"

    def check(self, rule, penalty):
        """Refuse rules whose step has no length of its own, and penalties that are not exact under normalised steps."""
        if self and not is_scaled_gradient(rule):
            raise ValueError(
                f"{self.name}: does not go with the rule {type(rule).__name__}; use Adagrad(…), or {self.name}=False"
            )
        if self.normalized and not has_additive_prox(penalty):
            raise ValueError(
                f"normalized: does not go with the penalty {type(penalty).__name__}, which has no closed form where "
                "the width changes from row to row; use L1, Box, NonNegative or Bounded(L1(…)), or normalized=False"
            )

    @property
    def clock(self):
        """The sum of lr m over all updates."""
        return self.totals[2]

    def recipe(self, recipe):
        """The recipe of the loop with these steps."""
        scaling = scaled_rows.Normalized(self.largest, self.totals) if self.normalized else scaled_rows.Unscaled()
        return scaled_rows.ScaledRecipe(*recipe, scaling, int(self.invariant))


# --- memory layout ---------------------------------------------------------------------------------------------------

# With separate arrays for weights, accumulators and update numbers, rows of 40 among 2**24 features took 1.3 to 3 times
# as long, and rows of 72 among 47,000, which stay in the caches, up to a tenth longer.

LINE = 64  # bytes of a cache line
BLOCK = 2**14  # entries that are copied while their lines are in a cache


def aligned(shape, dtype):
    """Zeros that begin where a cache line does."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    room = np.zeros(size + LINE, np.uint8)
    skip = -room.ctypes.data % LINE
    return room[skip : skip + size].view(dtype).reshape(shape)


def side_by_side(arrays, n):
    """Copies of vectors, with zeros behind them up to n entries; entries of the same index are next to each other.

    Many have a power of two as room, so that no index is in two lines where one can hold it; for fewer, which stay in
    the caches, it is worth more that they take little.  What is zero and only broadcast is not written: memory that is
    never asked for takes neither time nor space.
    """
    record = np.dtype([("", array.dtype) for array in arrays], align=True)
    fields = [record.fields[name] for name in record.names]
    room = {
        "names": record.names,
        "formats": [field[0] for field in fields],
        "offsets": [field[1] for field in fields],
        "itemsize": record.itemsize if n < FAR else 1 << (record.itemsize - 1).bit_length(),
    }
    table = aligned((n,), np.dtype(room))
    copies = tuple(table[name] for name in record.names)
    written = [
        (copy[: array.size], array)
        for copy, array in zip(copies, arrays, strict=True)
        if array.size and (array.strides != (0,) or array[0])
    ]
    for first in range(0, n, BLOCK):
        for copy, array in written:
            copy[first : first + BLOCK] = array[first : first + BLOCK]
    return copies
