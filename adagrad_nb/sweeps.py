"""How the rows of a chunk are gone through: one by one, with steps that mind scales and weights, or in batches.

Each way gives a compiled loop ``(recipe, rows, weights, room, tally, t, start, stop) -> (position, status, t)`` and the
room it needs.
"""

import numpy as np

from ._jit import compiled_for
from ._kernels import batch, linear, scaled


def sweep(model, X, recipe):
    """The loop for a model and a chunk, and its room."""
    if model.batch_size > 1:
        return in_batches(model, X, recipe)
    return (scaled_rows if model.scaling else row_by_row)(model, X, recipe)


def row_by_row(model, X, recipe):
    """An update for each row."""
    longest = int(np.diff(X.indptr).max(initial=0))
    return compiled_for(linear.learn, recipe), linear.Buffers(np.empty(longest, X.dtype), _slots(model, longest))


def scaled_rows(model, X, recipe):
    """An update for each row, by a step that is normalised, invariant, or both."""
    longest = int(np.diff(X.indptr).max(initial=0))
    w, r = np.empty((2, longest), X.dtype)
    return compiled_for(scaled.learn, recipe), scaled.ScaledBuffers(w, _slots(model, longest), r)


def in_batches(model, X, recipe):
    """An update for the mean gradient of `batch_size` rows."""
    touched, place = room_for_batches(X, model.batch_size)
    w, g = np.empty((2, touched.size), X.dtype)
    room = batch.Batch(model.batch_size, w, _slots(model, touched.size), g, touched, place)
    return compiled_for(batch.learn, recipe), room


def room_for_batches(X, size):
    """(touched, place) for batches of so many rows."""
    longest = int(np.diff(X.indptr).max(initial=0))
    places = min(size * longest, X.shape[1], int(X.indptr[-1]))
    return np.empty(places, np.int64), np.full(X.shape[1], -1, np.int32 if places < 2**31 else np.int64)


def _slots(model, n):
    return tuple(np.empty(n, model.dtype) for _ in model.state.leaves[0].slots)
