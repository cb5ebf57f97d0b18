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


class IterateSums:
    """The sums behind ``average=Polyak(start)`` of a linear model; double precision, or 10⁵ rows lose digits.

    Attributes
    ----------
    average : Polyak
    since : int
        The update from which on iterates count: `start`, or where averaging was begun if that was later.
    total, bias_total : ndarray
        Sums of the iterates, of each weight up to the update that its ``last_update`` says.
    """

    def __init__(self, average, shape, t):
        self.average, self.first_update = average, max(int(average.start), t)
        self.sums = np.zeros(shape)
        self.bias_sums = np.zeros((1, *self.sums.shape[1:]))

    def copy(self):
        """The same with arrays of its own."""
        new = object.__new__(IterateSums)
        new.__dict__.update(self.__dict__)
        new.sums, new.bias_sums = self.sums.copy(), self.bias_sums.copy()
        return new

    def add_features(self, n_new):
        """Make room for more weights, which have been zero."""
        self.sums = np.concatenate([self.sums, np.zeros((n_new, *self.sums.shape[1:]))])

    def add_outputs(self, n_outputs, columns):
        """Make room for more lanes, which have been zero; those of now stand at these places among them."""
        for name in ("sums", "bias_sums"):
            old = getattr(self, name)
            new = np.zeros((old.shape[0], n_outputs))
            new[:, columns] = old
            setattr(self, name, new)

    def as_lazy_record(self, last_update, n_features=None):
        """The sums as the compiled loop takes them."""
        return Trail(last_update, self.sums[:n_features], self.bias_sums, self.first_update)

    def count_iterates(self, t):
        """How many iterates there are before update t."""
        return max(t - self.first_update, 0)


def check_average(average):
    """An average that a linear model can keep, or False for none."""
    if average is False:
        return average
    _check.record_methods("average", average, ("weight",), "Polyak()")
    if not isinstance(average, Polyak):
        raise ValueError(
            f"average: got {average!r}; the mean is kept where a weight is met, which needs the plain mean "
            "Polyak(start); with decaying shares every row would have to visit every weight"
        )
    return average


# --- feature scaling -------------------------------------------------------------------------------------------------


class FeatureScaling:
    """The options `normalized` and `invariant` of a model, and what normalised steps have noted."""

    def __init__(self, n_features, dtype, normalized, invariant):
        self.normalized, self.invariant = normalized, invariant
        self.max_abs = np.broadcast_to(np.dtype(dtype).type(0), n_features) if normalized else ()
        self.running_sums = np.zeros(3) if normalized else ()

    def __bool__(self):
        return self.normalized or self.invariant

    def copy(self):
        """The same with arrays of its own."""
        new = FeatureScaling(0, np.float64, self.normalized, self.invariant)
        if self.normalized:
            new.max_abs, new.running_sums = self.max_abs.copy(), self.running_sums.copy()
        return new

    @property
    def option_name(self):
        """The option that asks for these steps."""
        return "normalized" if self.normalized else "invariant"

    def check_compatible(self, rule, penalty):
        """Refuse rules whose step has no length of its own, and penalties that are not exact under normalised steps."""
        if self and not is_scaled_gradient(rule):
            raise ValueError(
                f"{self.option_name}: does not go with the rule {type(rule).__name__}; use Adagrad(…), or "
                f"{self.option_name}=False"
            )
        if self.normalized and not has_additive_prox(penalty):
            raise ValueError(
                f"normalized: does not go with the penalty {type(penalty).__name__}, which has no closed form where "
                "the width changes from row to row; use L1, Box, NonNegative or Bounded(L1(…)), or normalized=False"
            )

    @property
    def summed_step_sizes(self):
        """The sum of lr m over all updates."""
        return self.running_sums[2]

    def scaled_spec(self, spec):
        """The recipe of the loop with these steps."""
        scaling = scaled_rows.Normalized(self.max_abs, self.running_sums) if self.normalized else scaled_rows.Unscaled()
        return scaled_rows.ScaledRecipe(*spec, scaling, int(self.invariant))


# --- memory layout ---------------------------------------------------------------------------------------------------

# With separate arrays for weights, accumulators and update numbers, rows of 40 among 2**24 features took 1.3 to 3 times
# as long, and rows of 72 among 47,000, which stay in the caches, up to a tenth longer.

CACHE_LINE = 64  # bytes of a cache line
COPY_BLOCK = 2**14  # entries that are copied while their lines are in a cache


def aligned_zeros(shape, dtype):
    """Zeros that begin where a cache line does."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    buffer = np.zeros(size + CACHE_LINE, np.uint8)
    offset = -buffer.ctypes.data % CACHE_LINE
    return buffer[offset : offset + size].view(dtype).reshape(shape)


def interleave(arrays, n):
    """Copies of vectors, with zeros behind them up to n entries; entries of the same index are next to each other.

    Many have a power of two as room, so that no index is in two lines where one can hold it; for fewer, which stay in
    the caches, it is worth more that they take little.  What is zero and only broadcast is not written: memory that is
    never asked for takes neither time nor space.
    """
    packed = np.dtype([("", array.dtype) for array in arrays], align=True)
    fields = [packed.fields[name] for name in packed.names]
    layout = {
        "names": packed.names,
        "formats": [field[0] for field in fields],
        "offsets": [field[1] for field in fields],
        "itemsize": packed.itemsize if n < FAR else 1 << (packed.itemsize - 1).bit_length(),
    }
    table = aligned_zeros((n,), np.dtype(layout))
    copies = tuple(table[name] for name in packed.names)
    written = [
        (copy[: array.size], array)
        for copy, array in zip(copies, arrays, strict=True)
        if array.size and (array.strides != (0,) or array[0])
    ]
    for start in range(0, n, COPY_BLOCK):
        for copy, array in written:
            copy[start : start + COPY_BLOCK] = array[start : start + COPY_BLOCK]
    return copies
