"""The CUDA loops.  Imported only once an array on a device has arrived."""

from numba import cuda

from ..averaging import mix
from .coordinate import advance

BLOCK = 256


@cuda.jit
def dense(update, x, g, s, lr, t):
    """x[i], s[i] = move(x[i], g[i])"""
    i = cuda.grid(1)
    if i < x.shape[0]:
        advance(update, x, g, s, lr, t, i, i)


@cuda.jit
def blend(average, mean, x, weight):
    """mean = mix(mean, x, weight)"""
    i = cuda.grid(1)
    if i < x.shape[0]:
        mean[i] = mix(average, mean[i], x[i], weight)
