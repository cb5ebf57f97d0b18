"""Block sizes, the fill kernel and the sums over a block, which all CUDA kernels share."""

from numba import cuda

BLOCK_SIZE = 256  # threads per block, a power of two
MAX_SUM_BLOCKS = 1024  # largest number of blocks of a sum


@cuda.jit
def fill(x, value):
    """x[i] = value"""
    i = cuda.grid(1)
    while i < x.shape[0]:
        x[i] = value
        i += cuda.gridsize(1)


@cuda.jit(device=True)
def block_sum(shared, value):
    """Return the sum of `value` over the threads of a block; `shared` is its workspace in shared memory."""
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


@cuda.jit(device=True)
def block_max(shared, value):
    """Return the maximum of `value` over the threads of a block; `shared` is its workspace in shared memory."""
    j = cuda.threadIdx.x
    cuda.syncthreads()
    shared[j] = value
    cuda.syncthreads()
    stride = cuda.blockDim.x >> 1
    while stride > 0:
        if j < stride:
            shared[j] = max(shared[j], shared[j + stride])
        cuda.syncthreads()
        stride >>= 1
    return shared[0]


@cuda.jit(device=True)
def block_prefix_sum(shared, value):
    """Return the sum of `value` over the threads before this one; shared[blockDim.x - 1] is that over all threads."""
    j = cuda.threadIdx.x
    cuda.syncthreads()
    shared[j] = value
    cuda.syncthreads()
    distance = 1
    while distance < cuda.blockDim.x:
        before = shared[j - distance] if j >= distance else 0
        cuda.syncthreads()
        shared[j] += before
        cuda.syncthreads()
        distance <<= 1
    return shared[j] - value
