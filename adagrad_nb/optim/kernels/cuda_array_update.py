"""The CUDA loops over one array.  Imported only once an array on a device has arrived.

Each loop strides over the grid, so that any grid covers any array.  Sums are pairwise within a block and then over the
blocks in their order: the same grid gives the same bits.
"""

import math
from typing import Any, NamedTuple

from numba import cuda

from ...compiler.jit import load, method, pick, store
from ...cuda.memory import quad, set_quad, wide
from ...cuda.primitives import BLOCK, block_sum
from ...records.averaging import mix
from ...records.coordinate import apply_update
from ...records.penalties import gradient_mapping, prox, value
from ...records.rules import accumulate, apply, cumulative_step_size, pool_squares
from ...records.transforms import scale_for_norm, transform_at

spot = method("spot")


class Whole(NamedTuple):
    """A gradient with one value for each coordinate."""

    def spot(self, k):
        return k


class Listed(NamedTuple):
    """The blocks of `width` coordinates that gradient values belong to; -1 where a value is to be passed over."""

    where: Any
    width: int

    def spot(self, k):
        r = self.where[k // self.width]
        return -1 if r < 0 else r * self.width + k % self.width


class Scaled(NamedTuple):
    """Multiply the gradient by the one entry of an array: a factor that never leaves the device."""

    by: Any

    def transform(self, x, g, lr):
        return x, g * self.by[0]


@cuda.jit
def dense(update, x, g, s, lr, t):
    """x[i], s[i] = move(x[i], g[i])"""
    i = cuda.grid(1)
    while i < x.shape[0]:
        x[i], scalars = apply_update(update, x[i], wide(g, i, x), load(s, i), pick(lr, i), t, i)
        store(s, i, scalars)
        i += cuda.gridsize(1)


@cuda.jit
def dense_quads(update, x, g, s, lr, t):
    """x[i], s[i] = move(x[i], g[i]), in words of 128 bits; one accumulator, arrays that begin at such a word"""
    k, words = cuda.grid(1), x.shape[0] // 4
    while k < words:
        i = 4 * k
        x0, x1, x2, x3 = quad(x, i)
        g0, g1, g2, g3 = quad(g, i)
        s0, s1, s2, s3 = quad(s[0], i)
        x0, p0 = apply_update(update, x0, g0, (s0,), pick(lr, i), t, i)
        x1, p1 = apply_update(update, x1, g1, (s1,), pick(lr, i + 1), t, i + 1)
        x2, p2 = apply_update(update, x2, g2, (s2,), pick(lr, i + 2), t, i + 2)
        x3, p3 = apply_update(update, x3, g3, (s3,), pick(lr, i + 3), t, i + 3)
        set_quad(x, i, (x0, x1, x2, x3))
        set_quad(s[0], i, (p0[0], p1[0], p2[0], p3[0]))
        k += cuda.gridsize(1)
    i = 4 * words + cuda.grid(1)
    if i < x.shape[0]:
        x[i], scalars = apply_update(update, x[i], g[i], load(s, i), pick(lr, i), t, i)
        store(s, i, scalars)


@cuda.jit
def listed(update, where, x, g, s, lr, t):
    """x[i], s[i] = move(x[i], g[k]), i = where.spot(k); blocks listed one after the other, by the same thread"""
    k = cuda.grid(1)
    while k < g.shape[0]:
        b, j = k // where.width, k % where.width
        r = where.where[b]
        if r >= 0 and (b == 0 or where.where[b - 1] != r):
            i = r * where.width + j
            while b < where.where.shape[0] and where.where[b] == r:
                gk = wide(g, b * where.width + j, x)
                x[i], scalars = apply_update(update, x[i], gk, load(s, i), pick(lr, i), t, i)
                store(s, i, scalars)
                b += 1
        k += cuda.gridsize(1)


@cuda.jit
def simultaneous(update, where, x, g, s, lr, t):
    """s[i] = accumulate(s[i], sum_k g[k]**2), x[i] = apply(x[i], sum_k g[k], s[i]), where.spot(k) = i"""
    k = cuda.grid(1)
    while k < g.shape[0]:
        b, j = k // where.width, k % where.width
        r = where.where[b]
        if b == 0 or where.where[b - 1] != r:
            i = r * where.width + j
            rate, xi = pick(lr, i), x[i]
            total = square = xi - xi
            while b < where.where.shape[0] and where.where[b] == r:
                xi, gk = transform_at(update.transforms, x[i], wide(g, b * where.width + j, x), rate, i)
                total += gk
                square += gk * gk
                b += 1
            si = accumulate(update.rule, load(s, i), square)
            x[i] = prox(
                update.penalty,
                apply(update.rule, xi, total, si, rate),
                cumulative_step_size(update.rule, si, rate, t + 1),
                i,
            )
            store(s, i, si)
        k += cuda.gridsize(1)


@cuda.jit
def groups(update, where, x, g, s, lr, t):
    """s[r] = accumulate(s[r], pooled(sum_j g[k, j]**2)), x[r, :] = apply(x[r, :], g[k, :], s[r]), a block for each k"""
    room = cuda.shared.array(BLOCK, s[0].dtype)
    width = x.shape[0] // s[0].shape[0]
    b = cuda.blockIdx.x
    while b < g.shape[0] // width:
        r, k = spot(where, b * width) // width, b
        if r >= 0 and (k == 0 or spot(where, k * width - width) // width != r):
            while k < g.shape[0] // width and spot(where, k * width) // width == r:
                square = x.dtype.type(0)
                j = cuda.threadIdx.x
                while j < width:
                    i = r * width + j
                    _, gj = transform_at(update.transforms, x[i], wide(g, k * width + j, x), pick(lr, i), i)
                    square += gj * gj
                    j += cuda.blockDim.x
                total = block_sum(room, square)
                sr = accumulate(update.rule, load(s, r), pool_squares(update.rule, total, width))
                cuda.syncthreads()
                if cuda.threadIdx.x == 0:
                    store(s, r, sr)
                j = cuda.threadIdx.x
                while j < width:
                    i = r * width + j
                    rate = pick(lr, i)
                    xi, gj = transform_at(update.transforms, x[i], wide(g, k * width + j, x), rate, i)
                    xi = apply(update.rule, xi, gj, sr, rate)
                    x[i] = prox(update.penalty, xi, cumulative_step_size(update.rule, sr, rate, t + 1), i)
                    j += cuda.blockDim.x
                cuda.syncthreads()
                k += 1
        b += cuda.gridDim.x


@cuda.jit
def blend(average, mean, x, weight):
    """mean = mix(mean, x, weight)"""
    i = cuda.grid(1)
    while i < x.shape[0]:
        mean[i] = mix(average, mean[i], x[i], weight)
        i += cuda.gridsize(1)


@cuda.jit
def gather(transforms, where, x, g, lr, total, n):
    """total += transform(g), or with n > 0, the running mean total += (transform(g) - total) / n"""
    k = cuda.grid(1)
    while k < g.shape[0]:
        i = spot(where, k)
        if i >= 0:
            _, gk = transform_at(transforms, x[i], wide(g, k, x), pick(lr, i), i)
            total[i] += (gk - total[i]) / x.dtype.type(n) if n > 0 else gk
        k += cuda.gridsize(1)


@cuda.jit
def release(total, g, by):
    """g = total / by, total = 0"""
    i = cuda.grid(1)
    while i < g.shape[0]:
        g[i] = total[i] / by
        total[i] = 0
        i += cuda.gridsize(1)


# --- sums ---------------------------------------------------------------------------------------------------------


@cuda.jit
def squares(transforms, where, x, g, lr, parts):
    """parts[b] = sum of transform(g[k])**2 over the k of block b"""
    room = cuda.shared.array(BLOCK, parts.dtype)
    mine = parts.dtype.type(0)
    k = cuda.grid(1)
    while k < g.shape[0]:
        i = spot(where, k)
        if i >= 0:
            _, gk = transform_at(transforms, x[i], wide(g, k, x), pick(lr, i), i)
            mine += gk * gk
        k += cuda.gridsize(1)
    total = block_sum(room, mine)
    if cuda.threadIdx.x == 0:
        parts[cuda.blockIdx.x] = total


@cuda.jit
def root_of_sum(parts, out, place):
    """out[place] = sqrt(sum_b parts[b]), in one block"""
    room = cuda.shared.array(BLOCK, parts.dtype)
    mine = parts.dtype.type(0)
    b = cuda.threadIdx.x
    while b < parts.shape[0]:
        mine += parts[b]
        b += cuda.blockDim.x
    total = block_sum(room, mine)
    if cuda.threadIdx.x == 0:
        out[place] = math.sqrt(total)


@cuda.jit
def factors(record, norms, out):
    """out[0] = factor(the 2-norm of norms), by one thread"""
    if cuda.grid(1) > 0:
        return
    largest = norms[0]
    for k in range(norms.shape[0]):
        largest = norms[k] if not norms[k] <= largest else largest
    norm = largest
    if norms.shape[0] > 1 and largest > 0 and largest < math.inf:
        total = norm - norm
        for k in range(norms.shape[0]):
            share = norms[k] / largest
            total += share * share
        norm = largest * math.sqrt(total)
    out[0] = scale_for_norm(record, norm)


@cuda.jit
def wrong(transforms, where, x, g, lr, counts):
    """counts[0] = how many threads met a transform(g[k]) that is not finite, added to what is there"""
    mine = 0
    k = cuda.grid(1)
    while k < g.shape[0]:
        i = spot(where, k)
        if i >= 0:
            _, gk = transform_at(transforms, x[i], wide(g, k, x), pick(lr, i), i)
            if abs(gk - gk) != 0:
                mine = 1
        k += cuda.gridsize(1)
    if mine:
        cuda.atomic.add(counts, 0, 1)


@cuda.jit
def unfinished(penalty, where, x, g, gtol, counts, place):
    """counts[place] and the next: threads that met a coordinate farther than gtol from optimal, or one not finite"""
    far = bad = 0
    k = cuda.grid(1)
    while k < g.shape[0]:
        i = spot(where, k)
        if i >= 0:
            gk = wide(g, k, x)
            if not gradient_mapping(penalty, x[i], gk, i) <= gtol:
                far = 1
            if abs(gk - gk) != 0 or abs(x[i] - x[i]) != 0:
                bad = 1
        k += cuda.gridsize(1)
    if far:
        cuda.atomic.add(counts, place, 1)
    if bad:
        cuda.atomic.add(counts, place + 1, 1)


@cuda.jit
def values(penalty, x, parts):
    """parts[b] = sum of value(x[i], i) over the i of block b; in double precision, as on the CPU"""
    room = cuda.shared.array(BLOCK, parts.dtype)
    mine = parts.dtype.type(0)
    i = cuda.grid(1)
    while i < x.shape[0]:
        mine += value(penalty, x[i], i)
        i += cuda.gridsize(1)
    total = block_sum(room, mine)
    if cuda.threadIdx.x == 0:
        parts[cuda.blockIdx.x] = total


@cuda.jit
def project(penalty, x):
    """x[i] = prox(x[i]) of width 0, the nearest point where the penalty is finite"""
    i = cuda.grid(1)
    while i < x.shape[0]:
        x[i] = prox(penalty, x[i], x.dtype.type(0), i)
        i += cuda.gridsize(1)


@cuda.jit
def differing(a, b, counts):
    """counts[0] = how many threads met a[i] != b[i], added to what is there"""
    mine = 0
    i = cuda.grid(1)
    while i < a.shape[0]:
        if a[i] != b[i]:
            mine = 1
        i += cuda.gridsize(1)
    if mine:
        cuda.atomic.add(counts, 0, 1)
