"""Device functions and constants that CUDA kernels share: block sizes, fills and sums over a block."""

from numba import cuda

BLOCK_SIZE = 256  # threads, a power of two
MAX_SUM_BLOCKS = 1024  # most blocks of a sum


@cuda.jit
def fill(x, value):
    """x[i] = number"""
    i = cuda.grid(1)
    while i < x.shape[0]:
        x[i] = value
        i += cuda.gridsize(1)


@cuda.jit(device=True)
def block_sum(shared, value):
    """The sum of `value` over the threads of a block, in shared memory."""
    j = cuda.threadIdx.x
    cuda.syncthreads()
    shared[j] = value
    cuda.syncthreads()
    stride = cuda.blockDim.x >> 1
    while stride > 0:
        if j < stride:
            shared[j] += shared[j + stride]
        cuda.syncthreads()
        stride >>= 1
    return shared[0]
