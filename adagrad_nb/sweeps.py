"""How the rows of a chunk are gone through: one by one or in batches, by one worker or by a team.

Each way gives a loop ``(recipe, rows, weights, room, tally, t, start, stop) -> (position, status, t)`` and the room it
needs.
"""

import os
import threading

import numpy as np

from ._jit import compiled_for, is_compiled
from ._kernels import batch, linear, scaled, team
from ._kernels.merging import Moves

# While the weights move fast, what workers learn apart does not fit together: one of them makes the first updates, and
# a round then has a tenth of the updates before it.  So chosen on text and census data, where it costs no test loss.
SOLO, GROWTH = 8192, 10
COST = 16  # stored values for each feature in the longest rounds: a merge takes time for each feature


def sweep(model, X, recipe, workers=1):
    """The loop for a model and a chunk, and its room."""
    if workers > 1:
        return _by_team(model, X, recipe, workers)
    return (row_by_row if model.batch_size == 1 else in_batches)(model, X, recipe)


def row_by_row(model, X, recipe, lead=()):
    """An update for each row; with `lead` the room has as many parts."""
    shape = (*lead, int(np.diff(X.indptr).max(initial=0)))
    w, slots = np.empty(shape, X.dtype), _slots(model, shape)
    if model.scaling:
        return compiled_for(scaled.learn, recipe), scaled.ScaledBuffers(w, slots, np.empty(shape, X.dtype))
    return compiled_for(linear.learn, recipe), linear.Buffers(w, slots, np.empty(shape, np.int64))


def in_batches(model, X, recipe, lead=()):
    """An update for the mean gradient of `batch_size` rows."""
    touched, place = room_for_batches(X, model.batch_size, lead)
    w, g = np.empty((2, *touched.shape), X.dtype)
    room = batch.Batch(model.batch_size, w, _slots(model, touched.shape), g, touched, place)
    return compiled_for(batch.learn, recipe), room


def room_for_batches(X, size, lead=()):
    """(touched, place) for batches of so many rows."""
    longest = int(np.diff(X.indptr).max(initial=0))
    shape = (*lead, min(size * longest, X.shape[1], int(X.indptr[-1])))
    place = np.full((*lead, X.shape[1]), -1, np.int32 if shape[-1] < 2**31 else np.int64)
    return np.empty(shape, np.int64), place


def _slots(model, shape):
    return tuple(np.empty(shape, model.dtype) for _ in model.state.leaves[0].slots)


def mergeable(name, model):
    """Refuse models that cannot be made of what several learners made of one."""
    if not getattr(model.state.rule, "adds", False):
        raise ValueError(
            f"{name}: does not go with the rule {type(model.state.rule).__name__}, whose accumulators do not add up; "
            "use Adagrad(…), RDA(…) or FTRL(…)"
        )
    if model.average:
        raise ValueError(f"{name}: does not go with average={model.average}; use average=False")
    if model.normalized:
        raise ValueError(f"{name}: does not go with normalised steps; use normalized=False")


# --- teams -------------------------------------------------------------------------------------------------------


def cores():
    """How many threads can run at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def round_rows(X):
    """Rows of the longest rounds: a merge costs the features, and should cost little beside what is learnt."""
    values = max(int(X.indptr[-1]), 1) / max(X.shape[0], 1)
    return max(SOLO // GROWTH, int(COST * X.shape[1] / max(values, 1.0)))


def _by_team(model, X, recipe, workers):
    """Rounds of rows, dealt out to workers and merged."""
    mergeable("threads", model)
    kernel = compiled_for(team.rounds, recipe)
    threads = min(workers, cores()) if is_compiled(kernel) else 1
    _, room = (row_by_row if model.batch_size == 1 else in_batches)(model, X, recipe, (workers,))
    most = round_rows(X)
    moves = room_for_moves(model, X.shape[1], workers, 2 * team.SAMPLE)
    part = team.Team(
        threads, GROWTH, most, moves, np.zeros((workers, 2)), np.zeros(workers, np.int64),
        np.zeros(workers, np.int64), room, np.zeros(1, np.int64),
    )  # fmt: skip
    alone = sweep(model, X, recipe)
    return _Entrance(kernel, alone), part


def room_for_moves(model, n_features, learners, samples):
    """Arrays for what learners make of a model."""
    dtype = model.dtype
    shape = (learners, n_features)
    return Moves(
        np.empty(shape, dtype), _slots(model, shape),
        () if isinstance(model._last, tuple) else np.empty(shape, np.int64),
        np.empty((learners, 1), dtype), _slots(model, (learners, 1)), np.zeros(learners, np.int64),
        np.empty(n_features, dtype), np.empty(n_features, dtype), _slots(model, n_features),
        np.empty(2, dtype), np.empty((2, samples), dtype),
    )  # fmt: skip


class _Entrance:
    """Send a team's threads through its rounds."""

    def __init__(self, kernel, alone):
        self.kernel, self.alone = kernel, alone

    def __call__(self, recipe, rows, weights, part, tally, t, start, stop):
        if start < stop and t < SOLO:
            loop, room = self.alone
            return loop(recipe, rows, weights, room, tally, t, start, min(stop, start + SOLO - t))
        part.gate[0] = 0
        arguments = (recipe, rows, weights, part, tally, t)
        others = [
            threading.Thread(target=self.kernel, args=(*arguments, me, (start, stop)), daemon=True)
            for me in range(1, part.threads)
        ]
        started = []
        try:
            for thread in others:
                thread.start()
                started.append(thread)
            return self.kernel(*arguments, 0, (start, stop))
        except BaseException:
            part.gate[0] = 2**62  # nobody waits for a thread that does not come
            raise
        finally:
            for thread in started:
                thread.join()
