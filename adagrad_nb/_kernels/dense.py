"""The update of all coordinates of an array, or of those that are listed.

Bytes: a dense step reads x, g and the accumulators and writes back x and the accumulators, five words a
coordinate for Adagrad; above the caches that traffic is the limit.
"""

from .._jit import jit, pack, parallel, plain, prange, unpack
from ..averaging import mix
from .coordinate import advance, place

# Below this size starting the threads costs more than they save (2 cores: even at 2**15, twice as fast at 2**17).
PARALLEL_FROM = 2**16

ALL = ()  # the `where` of a gradient that covers every coordinate


@plain
def each(update, where, x, g, s, lr, t):
    """x[i], s[i] = move(x[i], g[k]), i = where[k]"""
    for k in range(g.shape[0]):
        advance(update, x, g, s, lr, t, place(where, k), k)


serial = jit(each)


@parallel
def threaded(update, where, x, g, s, lr, t):
    """As `each`; the entries of `where` must be unique."""
    packed = pack((update, where, lr))
    for k in prange(g.shape[0]):
        records, places, rate = unpack(packed)
        advance(records, x, g, s, rate, t, place(places, k), k)


@plain
def blend(average, mean, x, weight):
    """mean = mix(mean, x, weight)"""
    for i in range(x.shape[0]):
        mean[i] = mix(average, mean[i], x[i], weight)


compiled_blend = jit(blend)
