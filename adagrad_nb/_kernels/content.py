"""What rows hold, as numbers: equal rows have equal fingerprints, in whatever order their entries are stored."""

import numpy as np

from .._jit import jit, plain

# The multipliers and shifts of splitmix64 (Steele, Lea, Flood, OOPSLA 2014), whose output bits depend on all of the
# input; every constant is unsigned, or Numba would compute in doubles.
GOLDEN, FIRST, SECOND = (np.uint64(c) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
BY_27, BY_30, BY_31 = (np.uint64(c) for c in (27, 30, 31))


@plain
def mix(z):
    """Every bit of z in every bit of the result."""
    z = (z ^ (z >> BY_30)) * FIRST
    z = (z ^ (z >> BY_27)) * SECOND
    return z ^ (z >> BY_31)


@jit
def fingerprints(indptr, indices, data, bits, y, seed, out):
    """out[r] = mix(seed + mix(y[r]) + sum of mix(index, bits of the value) over the row), zeros left out"""
    for r in range(out.shape[0]):
        total = np.uint64(seed) + mix(np.uint64(y[r]) + GOLDEN)
        for k in range(indptr[r], indptr[r + 1]):
            if data[k] != 0:
                total += mix(mix(np.uint64(bits[k])) + np.uint64(indices[k]) * GOLDEN)
        out[r] = mix(total)
