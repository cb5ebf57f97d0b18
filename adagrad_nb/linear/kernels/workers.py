"""Kernels for parallel workers: in each round every worker trains on a shard of the rows, and the results are merged.

All rounds run in one compiled loop that each thread enters once.  Between the four barriers of a round no thread reads
a number that another writes.  Sums are taken in the order of the workers or rows.  The result therefore depends on the
number of workers, and not on the number or the speed of the threads.
"""

from typing import Any, NamedTuple

from ...compiler.intrinsics import barrier_wait
from ...compiler.jit import bind, jit, jitable, load, method, store
from . import mini_batch, scaled_rows
from . import rows as rows_kernels
from .merging import blend_coordinate, find_blend, merge_bias, merge_range, predict_sample

# About how many rows of a round are evaluated to choose the blend of its results.
SAMPLE_ROWS = 128

for_worker = method("for_worker")


class WorkerPool(NamedTuple):
    """Workers 0, …, K - 1 in `n_threads` threads.

    A round has as many rows as a `round_growth`-th of the updates so far, at most `max_rows`.  Row k of `loss_sums`,
    `status` and `position` belongs to worker k; `workspace` has a part for each.
    """

    n_threads: int
    round_growth: int
    max_rows: int
    results: Any
    loss_sums: Any
    status: Any
    position: Any
    workspace: Any
    barrier: Any


_KERNELS = {
    mini_batch.BatchBuffers: mini_batch.learn_batches,
    rows_kernels.RowBuffers: rows_kernels.learn_rows,
    scaled_rows.ScaledRowBuffers: scaled_rows.learn_scaled_rows,
}


def call_kernel(spec, rows, weights, workspace, loss_sums, t, start, stop):
    """Train on rows with the kernel that the workspace belongs to."""
    kernel = _KERNELS[type(workspace)]
    return getattr(kernel, "py_func", kernel)(spec, rows, weights, workspace, loss_sums, t, start, stop)


@bind(call_kernel)
def _overload_call_kernel(spec, rows, weights, workspace, loss_sums, t, start, stop):
    kernel = _KERNELS[workspace.instance_class]
    return lambda spec, rows, weights, workspace, loss_sums, t, start, stop: kernel(
        spec, rows, weights, workspace, loss_sums, t, start, stop
    )


def worker_last_update(last_update, k):
    """Return row k of the update numbers of the workers, or () if there are none."""
    return last_update if isinstance(last_update, tuple) else last_update[k]


def copy_arrays(target, source):
    """target[:] = source, for arrays and for tuples of them"""
    if isinstance(target, tuple):
        for array, values in zip(target, source, strict=True):
            copy_arrays(array, values)
    else:
        target[:] = source


@bind(worker_last_update)
def _overload_worker_last_update(last_update, k):
    return (
        (lambda last_update, k: last_update)
        if hasattr(last_update, "types")
        else (lambda last_update, k: last_update[k])
    )


@bind(copy_arrays)
def _overload_copy_arrays(target, source):
    if hasattr(target, "types"):
        if len(target) == 0:
            return lambda target, source: None

        def copy_tuple(target, source):
            copy_arrays(target[0], source[0])
            copy_arrays(target[1:], source[1:])

        return copy_tuple

    def copy_array(target, source):
        for i in range(source.shape[0]):
            target[i] = source[i]

    return copy_array


@jitable
def worker_weights(results, k):
    """Return the arrays of worker k."""
    return rows_kernels.Weights(
        results.w[k],
        load(results.s, k),
        worker_last_update(results.last_update, k),
        results.bias[k],
        load(results.bias_s, k),
    )


@jitable
def copy_model(weights, target):
    """Copy the model to a worker.

    The thread of the worker copies all coordinates itself.  A coordinate that another core wrote last takes ten
    times longer to read in the order of the rows than in one sequential copy.
    """
    copy_arrays(target.w, weights.w)
    copy_arrays(target.s, weights.s)
    copy_arrays(target.last_update, weights.last_update)
    target.bias[0] = weights.bias[0]
    store(target.bias_s, 0, load(weights.bias_s, 0))


@jitable
def count_round_rows(t, round_growth, max_rows):
    """Return the number of rows of a round after t updates."""
    return min(t // round_growth + 1, max_rows)


@jitable
def learn_shard(spec, rows, pool, k, t, first, end):
    """Train worker k on its share of the round, a run of adjacent rows; single rows would cost a third more.

    The order that the worker gets ends with its share, and so does its last batch.
    """
    n_workers, n = pool.results.n_updates.shape[0], end - first
    first, end = first + n * k // n_workers, first + n * (k + 1) // n_workers
    loss_sums = pool.loss_sums[k]
    loss_sums[0] = loss_sums[1] = 0
    share = rows_kernels.Rows(rows.indptr, rows.indices, rows.data, rows.y, rows.weight, rows.order[:end])
    stopped_at, status, t_after = call_kernel(
        spec, share, worker_weights(pool.results, k), for_worker(pool.workspace, k), loss_sums, t, first, end
    )
    pool.status[k] = status
    pool.position[k] = stopped_at
    pool.results.n_updates[k] = t_after - t


@jit
def run_rounds(spec, rows, weights, pool, loss_sums, t, thread, span):
    """Run the part of one thread in the rounds from span[0] to span[1]; return (next position, status, next t).

    The round with an error and all rows after it change nothing.
    """
    n_threads, results = pool.n_threads, pool.results
    n_workers, d = results.n_updates.shape[0], weights.w.shape[0]
    low, high = d * thread // n_threads, d * (thread + 1) // n_threads
    position, stop = span
    phase = 0
    while position < stop:
        size = count_round_rows(t, pool.round_growth, pool.max_rows)
        end = min(position + size, rows.order.shape[0])
        for k in range(thread, n_workers, n_threads):
            copy_model(weights, worker_weights(results, k))
            learn_shard(spec, rows, pool, k, t, position, end)
        phase = barrier_wait(pool.barrier, n_threads, phase)
        n = 0
        for k in range(n_workers):
            if pool.status[k] != rows_kernels.DONE:
                stopped_at = position if pool.status[k] == rows_kernels.UNSORTED else pool.position[k]
                return stopped_at, pool.status[k], t
            n += results.n_updates[k]
        if n > 0:
            merge_range(spec, weights, results, t, low, high)
            average, sum_minus_average, s = merge_bias(spec, weights, results, t)
            if thread == 0:
                results.bias_ends[0] = average
                results.bias_ends[1] = sum_minus_average
                for k in range(n_workers):
                    loss_sums[0] += pool.loss_sums[k, 0]
                    loss_sums[1] += pool.loss_sums[k, 1]
        phase = barrier_wait(pool.barrier, n_threads, phase)
        if n > 0:
            stride = max(1, (end - position) // SAMPLE_ROWS)
            count = (end - position + stride - 1) // stride
            predict_sample(
                rows, results, position, end, stride, count * thread // n_threads, count * (thread + 1) // n_threads
            )
            phase = barrier_wait(pool.barrier, n_threads, phase)
            b = find_blend(spec, rows, results, position, stride, count)
            for i in range(low, high):
                weights.w[i] = blend_coordinate(spec, results, b, i)
            if thread == 0:
                weights.bias[0] = average + b * sum_minus_average
                store(weights.bias_s, 0, s)
            phase = barrier_wait(pool.barrier, n_threads, phase)
        t += n
        position = end
    return position, rows_kernels.DONE, t
