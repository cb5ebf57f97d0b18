"""How the rows of a chunk are gone through: one by one, or in batches.

Each way gives a compiled loop ``(recipe, rows, weights, room, tally, t, start, stop) -> (position, status, t)`` and the
room it needs.
"""

import numpy as np

from ._jit import compiled_for
from ._kernels import batch, linear


def row_by_row(model, X, recipe):
    """An update for each row."""
    longest = int(np.diff(X.indptr).max(initial=0))
    return compiled_for(linear.learn, recipe), linear.Buffers(np.empty(longest, X.dtype), _slots(model, longest))


def in_batches(model, X, recipe):
    """An update for the mean gradient of `batch_size` rows."""
    size = model.batch_size
    longest = int(np.diff(X.indptr).max(initial=0))
    places = min(size * longest, X.shape[1], int(X.indptr[-1]))
    place = np.full(X.shape[1], -1, np.int32 if places < 2**31 else np.int64)
    w, g = np.empty((2, places), X.dtype)
    touched = np.empty(places, np.int64)
    return compiled_for(batch.learn, recipe), batch.Batch(size, w, _slots(model, places), g, touched, place)


def _slots(model, n):
    return tuple(np.empty(n, model.dtype) for _ in model.state.leaves[0].slots)
