"""Choice of the learning kernel, and its workspace.

A kernel is called as ``kernel(spec, rows, weights, workspace, loss_sums, t, start, stop)`` and returns
``(position, status, t)``.
"""

import os
import threading
from typing import Any

import numpy as np

from .._csr import as_unsigned
from ..compiler.jit import compiled_for, is_compiled
from ..records.group_penalties import is_group_penalty
from ..records.rules import has_additive_accumulators
from ..records.schedules import has_several_rates
from .kernels import mini_batch, multi_batch, multi_rows, rows, scaled_rows, search_rows, workers
from .kernels.lazy_ledger import LedgerRow
from .kernels.merging import WorkerResults
from .parameters import SingleOutput

# Early on, the results of separate workers merge badly.  So at least the first SERIAL_UPDATES updates are serial, and a
# round has a tenth of the updates so far.  Chosen on text and census data, at no cost in test loss.
SERIAL_UPDATES, ROUND_GROWTH = 8192, 10
# A merge costs time for each feature, so a round needs enough stored values for each: FIRST_ROUND_DENSITY in the first
# rounds, where a merge takes as long as the training, and LONGEST_ROUND_DENSITY in the longest, where it takes an
# eighth.
FIRST_ROUND_DENSITY, LONGEST_ROUND_DENSITY = 1.2, 12
# Numbers that every worker writes for every row are so many places apart, in cache lines of their own: next to each
# other they made two workers no faster than one.
PADDING = 32
ROUND_ROWS = 1024, 2**18  # of the longest rounds: fewer would be mostly merges, more would delay Ctrl-C


def choose_kernel(parameters, batch_size, X, spec, n_workers=1):
    """Return the compiled kernel for a chunk, and its workspace.

    ========  ===============  ==============  =================  =========================
    outputs   rows per update  updates         workers            kernel
    ========  ===============  ==============  =================  =========================
    one       1                plain           1                  `rows`
    one       1                normalised,     1                  `scaled_rows`
                               invariant, of
                               `row_rules`
    one       `batch_size`     plain           1                  `mini_batch`
    several   1                plain           1                  `multi_rows`
    several   1                scaled, of a    1                  `search_rows`
                               search
    one       1                after a search  1                  `scaled_rows`
    several   `batch_size`     plain           1                  `multi_batch`
    one       any              any but         `n_workers`        `workers`, which calls
                               normalised                         one of the first three
    ========  ===============  ==============  =================  =========================
    """
    if n_workers > 1:
        if not isinstance(parameters, SingleOutput):
            raise ValueError(
                "threads: does not support several classes or learning rates; train one class against the rest at a "
                "time, with one rate such as lr=0.5"
            )
        check_mergeable("threads", parameters)
        return _parallel_kernel(parameters, batch_size, X, spec, n_workers)
    if not isinstance(parameters, SingleOutput):
        return _multi_output_kernel(parameters, batch_size, X, spec)
    return _single_output_kernel(parameters, batch_size, X, spec)


def _single_output_kernel(parameters, batch_size, X, spec, leading=()):
    """Return a kernel of one output; its workspace has the leading dimensions `leading`."""
    return (row_kernel if batch_size == 1 else batch_kernel)(parameters, batch_size, X, spec, leading)


def row_kernel(parameters, batch_size, X, spec, leading=()):
    """Return a kernel that makes one update for each row."""
    shape = (*leading, rows.whole_vectors(longest_row(X)))
    w, slots = np.zeros(shape, X.dtype), _allocate_slots(parameters, shape)
    if isinstance(spec, scaled_rows.ScaledLearnerSpec):
        n_arrays = 5 if isinstance(spec.scaling, scaled_rows.RootMeanSquareScale) else 3
        arrays = (np.empty(shape, X.dtype) for _ in range(n_arrays))
        return compiled_for(scaled_rows.learn_scaled_rows, spec), scaled_rows.ScaledRowBuffers(w, slots, *arrays)
    times: Any = np.zeros(shape, _time_dtype(parameters))
    if parameters.ledger_sums is not None:
        times = LedgerRow(times, *np.zeros((2, *shape), X.dtype))
    return compiled_for(rows.learn_rows, spec), rows.RowBuffers(w, slots, times)


def batch_kernel(parameters, batch_size, X, spec, leading=()):
    """Return a kernel that makes one update for the mean gradient of `batch_size` rows."""
    touched, slot_of = allocate_batch_index(parameters, X, batch_size, leading)
    w, g = np.empty((2, *touched.shape), X.dtype)
    slots = _allocate_slots(parameters, touched.shape)
    return compiled_for(mini_batch.learn_batches, spec), mini_batch.BatchBuffers(
        batch_size, w, slots, g, touched, slot_of
    )


def _multi_output_kernel(parameters, batch_size, X, spec):
    """Return a kernel of several outputs."""
    if isinstance(spec, search_rows.SearchSpec):
        workspace = parameters.search_workspace(as_unsigned(X.indices).dtype, longest_row(X))
        return compiled_for(search_rows.learn_search_rows, spec), workspace
    row = parameters.row_workspace(as_unsigned(X.indices).dtype)
    if batch_size == 1:
        return compiled_for(multi_rows.learn_multi_rows, spec), row
    touched, slot_of = allocate_batch_index(parameters, X, batch_size)
    g, bias_g = parameters.batch_gradients(touched.size)
    sums = np.empty(parameters.n_loss_sums)
    workspace = multi_batch.MultiBatchBuffers(batch_size, g, bias_g, touched, slot_of, sums, row)
    return compiled_for(multi_batch.learn_multi_batches, spec), workspace


def allocate_batch_index(parameters, X, batch_size, leading=()):
    """Return arrays for the features of a batch, and for the slot of each feature, which is -1 outside a batch."""
    n_values = int(X.indptr[-1])
    shape = (*leading, min(batch_size * longest_row(X), X.shape[1], n_values))
    dtype = np.int32 if shape[-1] < 2**31 else np.int64
    if leading or n_values >= X.shape[1]:
        slot_of = np.full((*leading, X.shape[1]), -1, dtype)
    else:  # filling it would take longer than few rows, so the next call uses it too: kernels leave -1 in it
        slot_of = parameters.cache.get("slot_of", ())
        if len(slot_of) < X.shape[1]:
            slot_of = parameters.cache["slot_of"] = np.full(X.shape[1], -1, dtype)
    return np.empty(shape, np.int64), slot_of


def longest_row(X):
    """Return the number of stored values of the longest row."""
    return int(np.diff(X.indptr).max(initial=0))


def _time_dtype(parameters):
    """Return the dtype of the times in `last_update`."""
    return np.int64 if isinstance(parameters.last_update, tuple) else parameters.last_update.dtype


def _allocate_slots(parameters, shape):
    return tuple(np.zeros(shape, parameters.dtype) for _ in parameters.state.leaves[0].slots)


def check_mergeable(name, parameters):
    """Raise ValueError for parameters that separate workers cannot train and merge."""
    rule = parameters.state.rule
    if has_several_rates(parameters.state.lr):
        raise ValueError(
            f"{name}: does not support several learning rates or a search over them, also after its end; use one "
            "rate such as lr=0.5"
        )
    if not has_additive_accumulators(rule):
        raise ValueError(
            f"{name}: does not support the rule {type(rule).__name__}, whose accumulators do not add up; "
            "use Adagrad(…), RDA(…) or FTRL(…)"
        )
    if is_group_penalty(parameters.state.penalty):
        penalty = type(parameters.state.penalty).__name__
        raise ValueError(f"{name}: does not support the penalty {penalty}; use a penalty of single weights, such as L1")
    if parameters.average:
        raise ValueError(f"{name}: does not support average={parameters.average}; use average=False")
    if parameters.ledger_sums is not None:
        raise ValueError(f"{name}: does not support a ledger of regret; use ledger=False")
    if parameters.scaling.normalized:
        raise ValueError(f"{name}: does not support normalised updates; use normalized=False")


# --- workers ---------------------------------------------------------------------------------------------------------


def available_cores():
    """Return the number of threads that can run at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_round_sizes(X):
    """Return (number of updates before the first round, most rows of a round) for the rows X."""
    covering_rows = count_covering_rows(*X.shape, int(X.indptr[-1]))
    n_serial = count_serial_updates(covering_rows, ROUND_GROWTH)
    max_rows = min(max(int(LONGEST_ROUND_DENSITY * covering_rows), ROUND_ROWS[0]), ROUND_ROWS[1])
    return n_serial, max(max_rows, n_serial // ROUND_GROWTH)


def count_covering_rows(n_rows, n_features, n_values):
    """Return the number of rows that store as many values as there are features."""
    return n_features * n_rows / max(n_values, 1)


def count_serial_updates(covering_rows, round_growth):
    """Return the number of updates before the first round."""
    return max(SERIAL_UPDATES, int(round_growth * FIRST_ROUND_DENSITY * covering_rows))


def _parallel_kernel(parameters, batch_size, X, spec, n_workers):
    """Return a kernel that trains shards of rows in threads, in rounds, and merges them."""
    n_serial, max_rows = choose_round_sizes(X)
    serial = _single_output_kernel(parameters, batch_size, X, spec)
    if parameters.t + X.shape[0] <= n_serial:
        return serial
    kernel = compiled_for(workers.run_rounds, spec)
    n_threads = min(n_workers, available_cores()) if is_compiled(kernel) else 1
    _, workspace = _single_output_kernel(parameters, batch_size, X, spec, (n_workers,))
    results = _allocate_worker_results(parameters, X.shape[1], n_workers, 2 * workers.SAMPLE_ROWS)
    pool = workers.WorkerPool(
        n_threads, ROUND_GROWTH, max_rows, results, np.zeros((n_workers, PADDING)), np.zeros(n_workers, np.int64),
        np.zeros(n_workers, np.int64), workspace, np.zeros(1, np.int64),
    )  # fmt: skip
    return ParallelRounds(kernel, serial, n_serial), pool


def _allocate_worker_results(parameters, n_features, n_workers, n_samples):
    """Return arrays for the results of workers that start from the same weights."""
    dtype = parameters.dtype
    shape = (n_workers, n_features)
    return WorkerResults(
        np.empty(shape, dtype), _allocate_slots(parameters, shape),
        () if isinstance(parameters.last_update, tuple) else np.empty(shape, parameters.last_update.dtype),
        np.empty((n_workers, PADDING), dtype), _allocate_slots(parameters, (n_workers, PADDING)),
        np.zeros(n_workers, np.int64),
        np.empty(n_features, dtype), np.empty(n_features, dtype), _allocate_slots(parameters, n_features),
        np.empty(2, dtype), np.empty((2, n_samples), dtype),
    )  # fmt: skip


class ParallelRounds:
    """Kernel that runs the first updates serially and then starts the threads of the workers.

    A merge reads the weights of all features in SIMD vectors.  The rounds therefore have copies of the weights in
    separate arrays, without the interleaved accumulators between them.
    """

    def __init__(self, kernel, serial, n_serial):
        self.kernel, self.serial, self.n_serial = kernel, serial, n_serial

    def __call__(self, spec, rows, weights, pool, loss_sums, t, start, stop):
        if start < stop and t < self.n_serial:
            kernel, workspace = self.serial
            return kernel(spec, rows, weights, workspace, loss_sums, t, start, min(stop, start + self.n_serial - t))
        contiguous = _make_contiguous(weights)
        try:
            return self._run_threads((spec, rows, contiguous, pool, loss_sums, t), pool, (start, stop))
        finally:
            for copy, array in zip(_feature_arrays(contiguous), _feature_arrays(weights), strict=True):
                array[...] = copy

    def _run_threads(self, arguments, pool, span):
        pool.barrier[0] = 0
        others = [
            threading.Thread(target=self.kernel, args=(*arguments, thread_index, span), daemon=True)
            for thread_index in range(1, pool.n_threads)
        ]
        running = []
        try:
            for thread in others:
                thread.start()
                running.append(thread)
            return self.kernel(*arguments, 0, span)
        except BaseException:
            pool.barrier[0] = 2**62  # releases threads that wait for one that did not start
            raise
        finally:
            for thread in running:
                thread.join()


def _feature_arrays(weights):
    """Return the arrays with one entry for each feature."""
    return (weights.w, *weights.s, *(() if isinstance(weights.last_update, tuple) else (weights.last_update,)))


def _make_contiguous(weights):
    """Return the weights with each array contiguous in memory."""
    w, s, last_update, _, _ = weights
    last_update = last_update if isinstance(last_update, tuple) else np.ascontiguousarray(last_update)
    return weights._replace(w=np.ascontiguousarray(w), s=tuple(map(np.ascontiguousarray, s)), last_update=last_update)
