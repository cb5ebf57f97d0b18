"""Learning by a team: each round its rows are dealt out, learnt by every worker from the same start, and merged.

All rounds run in one compiled loop that each thread enters once.  Between four meetings a round the threads share no
number that one of them writes, and what is summed is summed in the order of the workers or rows: the result depends on
the number of workers, not on that of the threads nor on their speed.
"""

from typing import Any, NamedTuple

from ...compiler.intrinsics import barrier_wait
from ...compiler.jit import bind, jit, jitable, load, method, store
from . import mini_batch, scaled_rows
from . import rows as linear
from .merging import blend, join, join_bias, project, sample

# About how many rows of a round choose how its moves are blended.
SAMPLE = 128

part = method("part")


class Team(NamedTuple):
    """Workers 0, …, K - 1 in `threads` threads; a round has a `growth`-th of the updates so far as rows, but `most`.

    Row k of `tally`, `status`, `place` is worker k's; `room` has a part for each; `barrier` is for the meetings.
    """

    threads: int
    growth: int
    most: int
    moves: Any
    tally: Any
    status: Any
    place: Any
    room: Any
    barrier: Any


_LOOPS = {
    mini_batch.Batch: mini_batch.learn,
    linear.Buffers: linear.learn,
    scaled_rows.ScaledBuffers: scaled_rows.learn,
}


def go(recipe, rows, weights, room, tally, t, start, stop):
    """Learn from rows with the loop that the room is for."""
    loop = _LOOPS[type(room)]
    return getattr(loop, "py_func", loop)(recipe, rows, weights, room, tally, t, start, stop)


@bind(go)
def _go(recipe, rows, weights, room, tally, t, start, stop):
    loop = _LOOPS[room.instance_class]
    return lambda recipe, rows, weights, room, tally, t, start, stop: loop(
        recipe, rows, weights, room, tally, t, start, stop
    )


def row(last, k):
    """Row k of the workers' notes, where there are any."""
    return last if isinstance(last, tuple) else last[k]


def copy(target, source):
    """target[:] = source of arrays, of tuples of them, or of nothing."""
    if isinstance(target, tuple):
        for each, one in zip(target, source, strict=True):
            copy(each, one)
    else:
        target[:] = source


@bind(row)
def _row(last, k):
    return (lambda last, k: last) if hasattr(last, "types") else (lambda last, k: last[k])


@bind(copy)
def _copy(target, source):
    if hasattr(target, "types"):
        if len(target) == 0:
            return lambda target, source: None

        def several(target, source):
            copy(target[0], source[0])
            copy(target[1:], source[1:])

        return several

    def each(target, source):
        for i in range(source.shape[0]):
            target[i] = source[i]

    return each


@jitable
def own(moves, k):
    """The arrays of worker k."""
    return linear.Weights(moves.w[k], load(moves.s, k), row(moves.last, k), moves.bias[k], load(moves.bias_s, k))


@jitable
def begin(weights, mine):
    """Give a worker the model.

    Its own thread does so, for all coordinates: what another core has written last costs a worker that meets it in the
    order of its rows ten times what it costs in one sweep.
    """
    copy(mine.w, weights.w)
    copy(mine.s, weights.s)
    copy(mine.last, weights.last)
    mine.bias[0] = weights.bias[0]
    store(mine.bias_s, 0, load(weights.bias_s, 0))


@jitable
def deal(recipe, rows, team, k, t, first, end):
    """Worker k learns its share of the round, one run of rows: dealt out one by one they would cost a third more."""
    workers, n = team.moves.counts.shape[0], end - first
    first, end = first + n * k // workers, first + n * (k + 1) // workers
    tally = team.tally[k]
    tally[0] = tally[1] = 0
    place, status, after = go(recipe, rows, own(team.moves, k), part(team.room, k), tally, t, first, end)
    team.status[k] = status
    team.place[k] = place
    team.moves.counts[k] = after - t


@jit
def rounds(recipe, rows, weights, team, tally, t, me, span):
    """One thread's part of the rounds from span[0] to span[1]; return (next position, status, next t).

    A round with a row that is refused, and all after it, has changed nothing.
    """
    threads, moves = team.threads, team.moves
    workers, d = moves.counts.shape[0], weights.w.shape[0]
    low, high = d * me // threads, d * (me + 1) // threads
    position, stop = span
    meetings = 0
    while position < stop:
        size = min(t // team.growth + 1, team.most)
        end = min(position + size, rows.order.shape[0])
        for k in range(me, workers, threads):
            begin(weights, own(moves, k))
            deal(recipe, rows, team, k, t, position, end)
        meetings = barrier_wait(team.barrier, threads, meetings)
        n = 0
        for k in range(workers):
            if team.status[k] != linear.DONE:
                place = position if team.status[k] == linear.UNSORTED else team.place[k]
                return place, team.status[k], t
            n += moves.counts[k]
        if n > 0:
            join(recipe, weights, moves, t, low, high)
            average, extra, s = join_bias(recipe, weights, moves, t)
            if me == 0:
                moves.ends[0] = average
                moves.ends[1] = extra
                for k in range(workers):
                    tally[0] += team.tally[k, 0]
                    tally[1] += team.tally[k, 1]
        meetings = barrier_wait(team.barrier, threads, meetings)
        if n > 0:
            stride = max(1, (end - position) // SAMPLE)
            count = (end - position + stride - 1) // stride
            sample(rows, moves, position, end, stride, count * me // threads, count * (me + 1) // threads)
            meetings = barrier_wait(team.barrier, threads, meetings)
            b = blend(recipe, rows, moves, position, stride, count)
            for i in range(low, high):
                weights.w[i] = project(recipe, moves, b, i)
            if me == 0:
                weights.bias[0] = average + b * extra
                store(weights.bias_s, 0, s)
            meetings = barrier_wait(team.barrier, threads, meetings)
        t += n
        position = end
    return position, linear.DONE, t
