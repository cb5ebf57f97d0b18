"""Device functions and constants that CUDA kernels share: block sizes, fills and sums over a block."""

from numba import cuda

BLOCK = 256  # threads, a power of two
PARTS = 1024  # most blocks of a sum


@cuda.jit
def fill(x, number):
    """x[i] = number"""
    i = cuda.grid(1)
    while i < x.shape[0]:
        x[i] = number
        i += cuda.gridsize(1)


@cuda.jit(device=True)
def block_sum(room, mine):
    """The sum of `mine` over the threads of a block, in shared memory."""
    j = cuda.threadIdx.x
    cuda.syncthreads()
    room[j] = mine
    cuda.syncthreads()
    half = cuda.blockDim.x >> 1
    while half > 0:
        if j < half:
            room[j] += room[j + half]
        cuda.syncthreads()
        half >>= 1
    return room[0]
