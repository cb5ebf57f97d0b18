"""CUDA kernels that update or reduce one array; imported when the first device array arrives.

Each kernel uses a grid-stride loop, so a grid of any size covers an array of any size.  Sums are pairwise within a
block, then run over the blocks in order.  The same grid therefore gives the same bits.
"""

import math
from typing import Any, NamedTuple

from numba import cuda

from ...compiler.jit import load, method, pick, store
from ...compiler.simd import is_accurate_norm, rescale_norm
from ...cuda.memory import divide_index, load4, load4_each, load_as, store4, store4_each
from ...cuda.primitives import BLOCK_SIZE, WARP_SIZE, block_max, block_sum, lane_barrier, lane_sum
from ...records.averaging import mix
from ...records.coordinate import apply_update, apply_with_shared_slots
from ...records.penalties import gradient_mapping, prox, value
from ...records.rules import accumulate, pool_squares
from ...records.transforms import scale_for_norm, transform_at

coordinate_of, row_of = method("coordinate_of"), method("row_of")


class AllCoordinates(NamedTuple):
    """The coordinates of a dense gradient: value k belongs to coordinate k."""

    def coordinate_of(self, k):
        """Return the coordinate of gradient value k."""
        return k

    def row_of(self, k):
        """Return the row of x that row k of the gradient belongs to."""
        return k


class ListedCoordinates(NamedTuple):
    """The coordinates of a sparse gradient: blocks of `block_size` coordinates each; block -1 is ignored."""

    blocks: Any
    block_size: int

    def coordinate_of(self, k):
        """Return the coordinate of gradient value k, or -1 if the value is ignored."""
        b, j = divide_index(k, self.block_size)
        r = self.blocks[b]
        return -1 if r < 0 else r * self.block_size + j

    def row_of(self, k):
        """Return the row of x that row k of the gradient belongs to, or -1 if it is ignored."""
        return self.blocks[k]


class DeviceRescale(NamedTuple):
    """Multiply the gradient by the one entry of a device array, so that the factor is never copied to the host."""

    by: Any

    def transform(self, x, g, lr):
        """Return (x, g) with the factor applied to g."""
        return x, g * self.by[0]


@cuda.jit
def dense(update, x, g, s, lr, t):
    """x[i], s[i] = update(x[i], g[i], s[i])"""
    i = cuda.grid(1)
    while i < x.shape[0]:
        x[i], scalars = apply_update(update, x[i], load_as(g, i, x), load(s, i), pick(lr, i), t, i)
        store(s, i, scalars)
        i += cuda.gridsize(1)


@cuda.jit
def dense_vec4(update, x, g, s, lr, t):
    """x[i], s[i] = update(x[i], g[i], s[i]), four entries per thread

    There are one or two accumulators, and all arrays are aligned to 128 bits.
    """
    k, n_vectors = cuda.grid(1), x.shape[0] // 4
    while k < n_vectors:
        i = 4 * k
        x0, x1, x2, x3 = load4(x, i)
        g0, g1, g2, g3 = load4(g, i)
        s0, s1, s2, s3 = load4_each(s, i)
        x0, s0 = apply_update(update, x0, g0, s0, pick(lr, i), t, i)
        x1, s1 = apply_update(update, x1, g1, s1, pick(lr, i + 1), t, i + 1)
        x2, s2 = apply_update(update, x2, g2, s2, pick(lr, i + 2), t, i + 2)
        x3, s3 = apply_update(update, x3, g3, s3, pick(lr, i + 3), t, i + 3)
        store4(x, i, (x0, x1, x2, x3))
        store4_each(s, i, (s0, s1, s2, s3))
        k += cuda.gridsize(1)
    i = 4 * n_vectors + cuda.grid(1)
    if i < x.shape[0]:
        x[i], scalars = apply_update(update, x[i], g[i], load(s, i), pick(lr, i), t, i)
        store(s, i, scalars)


@cuda.jit
def update_listed(update, where, x, g, s, lr, t):
    """x[i], s[i] = update(x[i], g[k], s[i]) with i = where.coordinate_of(k)

    One thread applies all gradients of a repeated block, in order.
    """
    k = cuda.grid(1)
    while k < g.shape[0]:
        b, j = divide_index(k, where.block_size)
        r = where.blocks[b]
        if r >= 0 and (b == 0 or where.blocks[b - 1] != r):
            i = r * where.block_size + j
            while b < where.blocks.shape[0] and where.blocks[b] == r:
                gk = load_as(g, b * where.block_size + j, x)
                x[i], scalars = apply_update(update, x[i], gk, load(s, i), pick(lr, i), t, i)
                store(s, i, scalars)
                b += 1
        k += cuda.gridsize(1)


@cuda.jit
def update_summed_squares(update, where, x, g, s, lr, t):
    """s[i] = accumulate(s[i], sum_k g[k]**2), x[i] = apply(x[i], sum_k g[k], s[i]) over where.coordinate_of(k) = i"""
    k = cuda.grid(1)
    while k < g.shape[0]:
        b, j = divide_index(k, where.block_size)
        r = where.blocks[b]
        if b == 0 or where.blocks[b - 1] != r:
            i = r * where.block_size + j
            rate, xi = pick(lr, i), x[i]
            total = square = xi - xi
            while b < where.blocks.shape[0] and where.blocks[b] == r:
                xi, gk = transform_at(update.transforms, x[i], load_as(g, b * where.block_size + j, x), rate, i)
                total += gk
                square += gk * gk
                b += 1
            si = accumulate(update.rule, load(s, i), square)
            x[i] = apply_with_shared_slots(update, xi, total, si, rate, t, i)
            store(s, i, si)
        k += cuda.gridsize(1)


@cuda.jit
def update_row_groups(update, where, x, g, s, lr, t, threads_per_row):
    """s[r] = accumulate(s[r], pool(sum_j g[k, j]**2)), x[r, :] = apply(x[r, :], g[k, :], s[r])

    `threads_per_row` adjacent threads share a row: a power of two up to WARP_SIZE, or the block.
    """
    shared = cuda.shared.array(BLOCK_SIZE, s[0].dtype)
    width, _ = divide_index(x.shape[0], s[0].shape[0])
    n_rows, _ = divide_index(g.shape[0], width)
    b, thread = divide_index(cuda.grid(1), threads_per_row)
    stride, _ = divide_index(cuda.gridsize(1), threads_per_row)
    while b < n_rows:
        r, k = row_of(where, b), b
        if r >= 0 and (k == 0 or row_of(where, k - 1) != r):
            sr = load(s, r)
            while k < n_rows and row_of(where, k) == r:
                square = x.dtype.type(0)
                j = thread
                while j < width:
                    i = r * width + j
                    _, gj = transform_at(update.transforms, x[i], load_as(g, k * width + j, x), pick(lr, i), i)
                    square += gj * gj
                    j += threads_per_row
                total = lane_sum(square, threads_per_row) if threads_per_row <= WARP_SIZE else block_sum(shared, square)
                sr = accumulate(update.rule, sr, pool_squares(update.rule, total, width))
                j = thread
                while j < width:
                    i = r * width + j
                    rate = pick(lr, i)
                    xi, gj = transform_at(update.transforms, x[i], load_as(g, k * width + j, x), rate, i)
                    x[i] = apply_with_shared_slots(update, xi, gj, sr, rate, t, i)
                    j += threads_per_row
                k += 1
            if threads_per_row <= WARP_SIZE:
                lane_barrier(threads_per_row)
            else:
                cuda.syncthreads()
            if thread == 0:  # after all threads have read s[r]
                store(s, r, sr)
        b += stride


@cuda.jit
def update_average(average, mean, x, weight):
    """mean[i] = mix(average, mean[i], x[i], weight), where `average` is the averaging record and `mean` an array"""
    i = cuda.grid(1)
    while i < x.shape[0]:
        mean[i] = mix(average, mean[i], x[i], weight)
        i += cuda.gridsize(1)


@cuda.jit
def accumulate_gradient(transforms, where, x, g, lr, total, n):
    """total += transform(g); if n > 0, the running mean total += (transform(g) - total) / n"""
    k = cuda.grid(1)
    while k < g.shape[0]:
        i = coordinate_of(where, k)
        if i >= 0:
            _, gk = transform_at(transforms, x[i], load_as(g, k, x), pick(lr, i), i)
            total[i] += (gk - total[i]) / x.dtype.type(n) if n > 0 else gk
        k += cuda.gridsize(1)


@cuda.jit
def pop_accumulated(total, g, by):
    """g = total / by, total = 0"""
    i = cuda.grid(1)
    while i < g.shape[0]:
        g[i] = total[i] / by
        total[i] = 0
        i += cuda.gridsize(1)


# --- reductions ---------------------------------------------------------------------------------------------------


@cuda.jit(device=True)
def _reduce_thread(transforms, where, x, g, lr, scale):
    """Return sum_k (transform(g[k]) / scale)**2 over the k of a thread, or max_k abs(transform(g[k])) if scale is 0."""
    partial = scale - scale
    k = cuda.grid(1)
    while k < g.shape[0]:
        i = coordinate_of(where, k)
        if i >= 0:
            _, gk = transform_at(transforms, x[i], load_as(g, k, x), pick(lr, i), i)
            partial = partial + (gk / scale) * (gk / scale) if scale > 0 else max(partial, abs(gk))
        k += cuda.gridsize(1)
    return partial


@cuda.jit
def sum_squares(transforms, where, x, g, lr, parts):
    """parts[b] = sum_k transform(g[k])**2 over the k of block b; parts[n_blocks + b] = the norm of these

    The sum may overflow or underflow.  The norm does not.
    """
    shared = cuda.shared.array(BLOCK_SIZE, parts.dtype)
    partial = parts.dtype.type(0)
    k = cuda.grid(1)
    while k < g.shape[0]:
        i = coordinate_of(where, k)
        if i >= 0:
            _, gk = transform_at(transforms, x[i], load_as(g, k, x), pick(lr, i), i)
            partial += gk * gk
        k += cuda.gridsize(1)
    total = block_sum(shared, partial)
    norm = math.sqrt(total)
    if not is_accurate_norm(norm):
        norm = block_max(shared, _reduce_thread(transforms, where, x, g, lr, parts.dtype.type(0)))
        if 0 < norm < math.inf:
            norm = rescale_norm(norm, block_sum(shared, _reduce_thread(transforms, where, x, g, lr, norm)))
    if cuda.threadIdx.x == 0:
        parts[cuda.blockIdx.x] = total
        parts[cuda.gridDim.x + cuda.blockIdx.x] = norm


@cuda.jit
def sqrt_of_sum(parts, out, position):
    """out[position] = sqrt(sum_b parts[b]), or the norm of parts[n_blocks:] if the sum is not accurate; one block"""
    shared = cuda.shared.array(BLOCK_SIZE, parts.dtype)
    n_blocks = parts.shape[0] // 2
    partial = parts.dtype.type(0)
    b = cuda.threadIdx.x
    while b < n_blocks:
        partial += parts[b]
        b += cuda.blockDim.x
    total = block_sum(shared, partial)
    norm = math.sqrt(total)
    if not is_accurate_norm(norm) and norm == norm:
        partial = parts.dtype.type(0)
        b = cuda.threadIdx.x
        while b < n_blocks:
            partial = max(partial, parts[n_blocks + b])
            b += cuda.blockDim.x
        norm = block_max(shared, partial)
        if 0 < norm < math.inf:
            partial = parts.dtype.type(0)
            b = cuda.threadIdx.x
            while b < n_blocks:
                partial += (parts[n_blocks + b] / norm) * (parts[n_blocks + b] / norm)
                b += cuda.blockDim.x
            norm = rescale_norm(norm, block_sum(shared, partial))
    if cuda.threadIdx.x == 0:
        out[position] = norm


@cuda.jit
def compute_factor(record, norms, out):
    """out[0] = scale_for_norm(the 2-norm of norms), by one thread"""
    if cuda.grid(1) > 0:
        return
    largest = norms[0]
    for k in range(norms.shape[0]):
        largest = norms[k] if not norms[k] <= largest else largest
    norm = largest
    if norms.shape[0] > 1 and largest > 0 and largest < math.inf:
        total = norm - norm
        for k in range(norms.shape[0]):
            ratio = norms[k] / largest
            total += ratio * ratio
        norm = rescale_norm(largest, total)
    out[0] = scale_for_norm(record, norm)


@cuda.jit
def count_nonfinite(transforms, where, x, g, lr, counts):
    """counts[0] += the number of threads with a transform(g[k]) that is not finite"""
    partial = 0
    k = cuda.grid(1)
    while k < g.shape[0]:
        i = coordinate_of(where, k)
        if i >= 0:
            _, gk = transform_at(transforms, x[i], load_as(g, k, x), pick(lr, i), i)
            if abs(gk - gk) != 0:
                partial = 1
        k += cuda.gridsize(1)
    if partial:
        cuda.atomic.add(counts, 0, 1)


@cuda.jit
def count_unconverged(penalty, where, x, g, gtol, counts, position):
    """counts[position] += threads with a coordinate that violates optimality by more than gtol

    counts[position + 1] += threads with an x or g that is not finite.
    """
    is_unconverged = is_nonfinite = 0
    k = cuda.grid(1)
    while k < g.shape[0]:
        i = coordinate_of(where, k)
        if i >= 0:
            gk = load_as(g, k, x)
            if not gradient_mapping(penalty, x[i], gk, i) <= gtol:
                is_unconverged = 1
            if abs(gk - gk) != 0 or abs(x[i] - x[i]) != 0:
                is_nonfinite = 1
        k += cuda.gridsize(1)
    if is_unconverged:
        cuda.atomic.add(counts, position, 1)
    if is_nonfinite:
        cuda.atomic.add(counts, position + 1, 1)


@cuda.jit
def sum_penalty_values(penalty, x, parts):
    """parts[b] = sum_i value(x[i], i) over the i of block b, in double precision as on the CPU"""
    shared = cuda.shared.array(BLOCK_SIZE, parts.dtype)
    partial = parts.dtype.type(0)
    i = cuda.grid(1)
    while i < x.shape[0]:
        partial += value(penalty, x[i], i)
        i += cuda.gridsize(1)
    total = block_sum(shared, partial)
    if cuda.threadIdx.x == 0:
        parts[cuda.blockIdx.x] = total


@cuda.jit
def project_onto_domain(penalty, x):
    """x[i] = prox(x[i]) with step size 0: the nearest point where the penalty is finite"""
    i = cuda.grid(1)
    while i < x.shape[0]:
        x[i] = prox(penalty, x[i], x.dtype.type(0), i)
        i += cuda.gridsize(1)


@cuda.jit
def count_different(a, b, counts):
    """counts[0] += the number of threads with an a[i] != b[i]"""
    partial = 0
    i = cuda.grid(1)
    while i < a.shape[0]:
        if a[i] != b[i]:
            partial = 1
        i += cuda.gridsize(1)
    if partial:
        cuda.atomic.add(counts, 0, 1)
