"""The emulator finds each kind of fault, and runs instructions that threads execute together."""

import numpy as np
import pytest
from emulator.install import install
from host_device import copy_to_device
from numba import cuda, types

MACHINE = install()
pytestmark = pytest.mark.filterwarnings("ignore:Grid size")  # small grids leave most of the device idle


@cuda.jit
def write_beyond(x):
    x[cuda.threadIdx.x + 1] = 1


@cuda.jit
def write_to_one_place(x):
    x[0] = cuda.threadIdx.x


@cuda.jit
def reverse_in_a_warp(x):
    j = cuda.threadIdx.x
    x[j] = x[j ^ 31]


@cuda.jit
def write_across_blocks(x):
    x[cuda.threadIdx.x] = cuda.blockIdx.x


@cuda.jit
def exchange_without_barrier(x):
    shared = cuda.shared.array(64, types.float32)
    j = cuda.threadIdx.x
    shared[j] = x[j]
    x[j] = shared[63 - j]


@cuda.jit
def reverse_warps(x):
    """Threads of a warp wait for each other, but those of the two warps do not."""
    j = cuda.threadIdx.x
    value = x[63 - j]
    cuda.syncwarp()
    x[j] = value


@cuda.jit
def exchange(x):
    shared = cuda.shared.array(64, types.float32)
    j = cuda.threadIdx.x
    shared[j] = x[j]
    cuda.syncthreads()
    x[j] = shared[63 - j]


@cuda.jit
def wait_in_half_the_block(x):
    if cuda.threadIdx.x < 32:
        cuda.syncthreads()


@cuda.jit
def write_beyond_shared(x):
    shared = cuda.shared.array(64, types.float32)
    shared[cuda.threadIdx.x + x.shape[0]] = 1
    cuda.syncthreads()
    x[cuda.threadIdx.x] = shared[0]


@cuda.jit
def shuffle_in_half_a_warp(x):
    j = cuda.threadIdx.x
    if j % 32 < 16:
        x[j] = cuda.shfl_xor_sync(0x0000FFFF, x[j], 16)


@cuda.jit
def wait_for_half_a_warp(x):
    j = cuda.threadIdx.x
    if j % 32 < 16:
        x[j] = cuda.shfl_xor_sync(0xFFFFFFFF, x[j], 1)


@cuda.jit
def sum_of_a_warp(x):
    j = cuda.threadIdx.x
    total = x[j]
    distance = 16
    while distance > 0:
        total += cuda.shfl_xor_sync(0xFFFFFFFF, total, distance)
        distance >>= 1
    cuda.syncwarp()
    x[j] = total


FAULTS = {
    write_beyond: "store out of bounds: byte 256 of an array of 256, block 0, 1 threads",
    write_to_one_place: "race between warps at 1 addresses, first byte 0 of an array",
    reverse_warps: "race between warps at 64 addresses, first byte 0 of an array",
    reverse_in_a_warp: "race between threads at 64 addresses, first byte 0 of an array",
    write_across_blocks: "race between blocks at 64 addresses",
    exchange_without_barrier: "race between warps at 64 addresses, first shared memory",
    wait_in_half_the_block: "barrier that not all threads of the block reach 32 of 64",
    write_beyond_shared: "store out of bounds of shared memory",
    shuffle_in_half_a_warp: "shuffle from a lane that does not take part",
    wait_for_half_a_warp: "threads of a warp wait for others that do not come",
}


@pytest.mark.parametrize("kernel", FAULTS, ids=lambda kernel: kernel.__name__)
def test_a_fault_is_found(kernel):
    try:
        kernel[2 if kernel is write_across_blocks else 1, 64](copy_to_device(np.ones(64, np.float32)))
    except Exception as error:
        assert "LAUNCH_FAILED" in str(error)  # noqa: PT017
    assert FAULTS[kernel] in MACHINE.findings[0]
    MACHINE.findings.clear()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_barriers_and_shuffles(dtype):
    values = np.arange(64).astype(dtype)
    x = copy_to_device(values)
    sum_of_a_warp[1, 64](x)
    np.testing.assert_array_equal(x.copy_to_host(), np.repeat(values.reshape(2, 32).sum(axis=1), 32))
    exchange[1, 64](x)
    np.testing.assert_array_equal(x.copy_to_host(), np.repeat(values.reshape(2, 32).sum(axis=1)[::-1], 32))
