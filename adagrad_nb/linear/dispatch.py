"""How the rows of a chunk are gone through: one by one or in batches, by one worker or by a team.

Each way gives a loop ``(recipe, rows, weights, room, tally, t, start, stop) -> (position, status, t)`` and the room it
needs.
"""

import os
import threading

import numpy as np

from ..compiler.jit import compiled_for, is_compiled
from ..records.rules import has_additive_accumulators
from .kernels import mini_batch, scaled_rows
from .kernels import rows as linear
from .kernels import workers as team
from .kernels.merging import Moves

# While the weights move fast, what workers learn apart does not fit together: one of them makes the first updates, and
# a round then has a tenth of the updates before it.  So chosen on text and census data, where it costs no test loss.
SOLO, GROWTH = 8192, 10
# A merge takes time for each feature, so that a round should have values enough for each: this many in the first
# rounds, where a merge then takes as long as the learning, and in the longest, where it takes an eighth.
FIRST, LONGEST = 1.2, 12
# Numbers that every worker writes for every row stand so many places apart, in cache lines of their own: side by side
# they kept two workers from being any faster than one.
APART = 32
ROWS = 1024, 2**18  # of the longest rounds: fewer would be all meetings, more would keep Ctrl-C waiting


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
        largest, scale, r = (np.empty(shape, X.dtype) for _ in range(3))
        return compiled_for(scaled_rows.learn, recipe), scaled_rows.ScaledBuffers(w, slots, largest, scale, r)
    return compiled_for(linear.learn, recipe), linear.Buffers(w, slots, np.empty(shape, np.int64))


def in_batches(model, X, recipe, lead=()):
    """An update for the mean gradient of `batch_size` rows."""
    touched, place = room_for_batches(X, model.batch_size, lead)
    w, g = np.empty((2, *touched.shape), X.dtype)
    room = mini_batch.Batch(model.batch_size, w, _slots(model, touched.shape), g, touched, place)
    return compiled_for(mini_batch.learn, recipe), room


def room_for_batches(X, size, lead=()):
    """(touched, place) for batches of so many rows."""
    longest = int(np.diff(X.indptr).max(initial=0))
    shape = (*lead, min(size * longest, X.shape[1], int(X.indptr[-1])))
    place = np.full((*lead, X.shape[1]), -1, np.int32 if shape[-1] < 2**31 else np.int64)
    return np.empty(shape, np.int64), place


def _slots(model, shape):
    return tuple(np.empty(shape, model.dtype) for _ in model._state.leaves[0].slots)


def mergeable(name, model):
    """Refuse models that cannot be made of what several learners made of one."""
    if not model.is_single_output:
        raise ValueError(
            f"{name}: does not go with several classes or rates, which learn side by side; learn one class against the "
            "rest, or one rate, at a time"
        )
    if not has_additive_accumulators(model._state.rule):
        raise ValueError(
            f"{name}: does not go with the rule {type(model._state.rule).__name__}, whose accumulators do not add up; "
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
    """(updates before the first round, most rows of a round)."""
    rows = X.shape[1] * X.shape[0] / max(int(X.indptr[-1]), 1)  # that have a value for each feature
    first = max(SOLO, int(GROWTH * FIRST * rows))
    return first, max(min(max(ROWS[0], int(LONGEST * rows)), ROWS[1]), first // GROWTH)


def _by_team(model, X, recipe, workers):
    """Rounds of rows, dealt out to workers and merged."""
    mergeable("threads", model)
    first, most = round_rows(X)
    alone = sweep(model, X, recipe)
    if model._state.t + X.shape[0] <= first:
        return alone
    kernel = compiled_for(team.rounds, recipe)
    threads = min(workers, cores()) if is_compiled(kernel) else 1
    _, room = (row_by_row if model.batch_size == 1 else in_batches)(model, X, recipe, (workers,))
    moves = room_for_moves(model, X.shape[1], workers, 2 * team.SAMPLE)
    part = team.Team(
        threads, GROWTH, most, moves, np.zeros((workers, APART)), np.zeros(workers, np.int64),
        np.zeros(workers, np.int64), room, np.zeros(1, np.int64),
    )  # fmt: skip
    return _Entrance(kernel, alone, first), part


def room_for_moves(model, n_features, learners, samples):
    """Arrays for what learners make of a model."""
    dtype = model.dtype
    shape = (learners, n_features)
    return Moves(
        np.empty(shape, dtype), _slots(model, shape),
        () if isinstance(model._last_update, tuple) else np.empty(shape, np.int64),
        np.empty((learners, APART), dtype), _slots(model, (learners, APART)), np.zeros(learners, np.int64),
        np.empty(n_features, dtype), np.empty(n_features, dtype), _slots(model, n_features),
        np.empty(2, dtype), np.empty((2, samples), dtype),
    )  # fmt: skip


class _Entrance:
    """Send a team's threads through its rounds.

    Meetings go over all weights, by vectors where they are not side by side with what else is known of a feature, so
    that the rounds have them in arrays of their own.
    """

    def __init__(self, kernel, alone, first):
        self.kernel, self.alone, self.first = kernel, alone, first

    def __call__(self, recipe, rows, weights, part, tally, t, start, stop):
        if start < stop and t < self.first:
            loop, room = self.alone
            return loop(recipe, rows, weights, room, tally, t, start, min(stop, start + self.first - t))
        apart = _apart(weights)
        try:
            return self._meet((recipe, rows, apart, part, tally, t), part, (start, stop))
        finally:
            for mine, theirs in zip(_arrays(apart), _arrays(weights), strict=True):
                theirs[...] = mine

    def _meet(self, arguments, part, span):
        part.barrier[0] = 0
        others = [
            threading.Thread(target=self.kernel, args=(*arguments, me, span), daemon=True)
            for me in range(1, part.threads)
        ]
        started = []
        try:
            for thread in others:
                thread.start()
                started.append(thread)
            return self.kernel(*arguments, 0, span)
        except BaseException:
            part.barrier[0] = 2**62  # nobody waits for a thread that does not come
            raise
        finally:
            for thread in started:
                thread.join()


def _arrays(weights):
    """The arrays of an entry for each feature."""
    return (weights.w, *weights.s, *(() if isinstance(weights.last, tuple) else (weights.last,)))


def _apart(weights):
    """The same weights, their arrays apart in memory."""
    w, s, last, _, _ = weights
    last = last if isinstance(last, tuple) else np.ascontiguousarray(last)
    return weights._replace(w=np.ascontiguousarray(w), s=tuple(map(np.ascontiguousarray, s)), last=last)
