"""CUDA kernels of lazy weight decay: the decay that rows have missed, and the record of what they have had."""

import math

from numba import cuda

from ...cuda.memory import divide_index
from ...cuda.primitives import WARP_SIZE, lane_barrier
from .cuda_array_update import row_of


@cuda.jit
def apply_missed_decay(where, n_rows, width, x, applied, log_decay, threads_per_row):
    """x[r, :] *= exp(log_decay - applied[r]), applied[r] = log_decay for the rows r = where.row_of(b) with b < n_rows

    `threads_per_row` adjacent threads share a row: a power of two up to WARP_SIZE, or the block.  The factor is
    computed in double precision, as on the CPU, once for each row.
    """
    b, thread = divide_index(cuda.grid(1), threads_per_row)
    stride, _ = divide_index(cuda.gridsize(1), threads_per_row)
    while b < n_rows:
        r = row_of(where, b)
        if r >= 0 and (b == 0 or row_of(where, b - 1) != r):
            missed = log_decay - applied[r]
            if missed != 0:
                factor = x.dtype.type(math.exp(missed))
                j = thread
                while j < width:
                    x[r * width + j] *= factor
                    j += threads_per_row
            if threads_per_row <= WARP_SIZE:
                lane_barrier(threads_per_row)
            else:
                cuda.syncthreads()
            if thread == 0:  # after all threads have read applied[r]
                applied[r] = log_decay
        b += stride


@cuda.jit
def record_decay(where, n_rows, applied, log_decay):
    """applied[r] = log_decay for the rows r = where.row_of(b) with b < n_rows"""
    b = cuda.grid(1)
    while b < n_rows:
        r = row_of(where, b)
        if r >= 0 and (b == 0 or row_of(where, b - 1) != r):
            applied[r] = log_decay
        b += cuda.gridsize(1)
