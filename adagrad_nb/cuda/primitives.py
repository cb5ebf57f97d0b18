"""Block sizes, the fill kernel and the sums over adjacent threads and over a block, which all CUDA kernels share."""

import threading

from numba import config, cuda

BLOCK_SIZE = 256  # threads per block, a power of two
WARP_SIZE, LOG2_WARP_SIZE = 32, 5
MAX_SUM_BLOCKS = 1024  # largest number of blocks of a sum


@cuda.jit
def fill(x, value):
    """x[i] = value"""
    i = cuda.grid(1)
    while i < x.shape[0]:
        x[i] = value
        i += cuda.gridsize(1)


# --- sums and maxima ----------------------------------------------------------------------------------------------


if getattr(config, "ENABLE_CUDASIM", False):  # without shuffles

    class _Lanes:
        """Values of adjacent threads, which wait for each other."""

        def __init__(self, n_lanes):
            self.values, self.barrier = [None] * n_lanes, threading.Barrier(n_lanes, timeout=60)

    _lanes: dict[tuple[int, int], _Lanes] = {}

    @cuda.jit(device=True)
    def exchange_lanes(value, distance, n_lanes):
        """Return the value of the thread whose number differs in the bit `distance`, among `n_lanes` adjacent ones."""
        j = cuda.threadIdx.x
        lanes = _lanes.setdefault((j // n_lanes, n_lanes), _Lanes(n_lanes))
        lanes.values[j % n_lanes] = value
        lanes.barrier.wait()
        other = lanes.values[(j % n_lanes) ^ distance]
        lanes.barrier.wait()
        return other

    @cuda.jit(device=True)
    def lane_barrier(n_lanes):
        """Wait for `n_lanes` adjacent threads; each sees what the others have read and written before."""
        exchange_lanes(0, 0, n_lanes)

else:

    @cuda.jit(device=True)
    def _lane_mask(n_lanes):
        """Return the mask of the aligned group of lanes that has this thread."""
        lane = cuda.laneid
        return ((1 << n_lanes) - 1) << (lane - (lane & (n_lanes - 1)))

    @cuda.jit(device=True)
    def exchange_lanes(value, distance, n_lanes):
        """Return the value of the thread whose number differs in the bit `distance`, among `n_lanes` adjacent ones."""
        return cuda.shfl_xor_sync(_lane_mask(n_lanes), value, distance)

    @cuda.jit(device=True)
    def lane_barrier(n_lanes):
        """Wait for `n_lanes` adjacent threads; each sees what the others have read and written before."""
        cuda.syncwarp(_lane_mask(n_lanes))


@cuda.jit(device=True)
def lane_sum(value, n_lanes):
    """Return the sum over `n_lanes` adjacent threads, a power of two up to WARP_SIZE; all get the same bits."""
    distance = n_lanes >> 1
    while distance > 0:
        value += exchange_lanes(value, distance, n_lanes)
        distance >>= 1
    return value


@cuda.jit(device=True)
def lane_max(value, n_lanes):
    """Return the maximum over `n_lanes` adjacent threads, a power of two up to WARP_SIZE."""
    distance = n_lanes >> 1
    while distance > 0:
        value = max(value, exchange_lanes(value, distance, n_lanes))
        distance >>= 1
    return value


@cuda.jit(device=True)
def block_sum(shared, value):
    """Return the sum of `value` over the threads of a block; `shared` is its workspace in shared memory."""
    n_lanes = min(WARP_SIZE, cuda.blockDim.x)
    lane, n_warps = cuda.threadIdx.x & (n_lanes - 1), (cuda.blockDim.x + WARP_SIZE - 1) >> LOG2_WARP_SIZE
    value = lane_sum(value, n_lanes)
    cuda.syncthreads()
    if lane == 0:
        shared[cuda.threadIdx.x >> LOG2_WARP_SIZE] = value
    cuda.syncthreads()
    # A conditional expression would be compiled into two copies of the shuffles from Python 3.12 on.
    value = shared.dtype.type(0)
    if lane < n_warps:
        value = shared[lane]
    return lane_sum(value, n_lanes)


@cuda.jit(device=True)
def block_max(shared, value):
    """Return the maximum of `value` over the threads of a block; `shared` is its workspace in shared memory."""
    n_lanes = min(WARP_SIZE, cuda.blockDim.x)
    lane, n_warps = cuda.threadIdx.x & (n_lanes - 1), (cuda.blockDim.x + WARP_SIZE - 1) >> LOG2_WARP_SIZE
    value = lane_max(value, n_lanes)
    cuda.syncthreads()
    if lane == 0:
        shared[cuda.threadIdx.x >> LOG2_WARP_SIZE] = value
    cuda.syncthreads()
    return lane_max(shared[min(lane, n_warps - 1)], n_lanes)


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
