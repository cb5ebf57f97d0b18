"""Small blocks and a short switch interval for the simulator, whose threads are Python threads; the emulator."""

import os
import sys

import numba
import numpy as np
import pytest
from numba import types

from adagrad_nb.cuda.arrays import import_cuda, import_primitives

EMULATED = os.environ.get("ADAGRAD_NB_EMULATE_CUDA") == "1"
if EMULATED:
    from emulator.install import install

    MACHINE = install()

# The simulator compiles nothing, and has neither streams nor graphs; other processes do not have the emulator.
collect_ignore = ["test_disk_cache.py"] if EMULATED or numba.config.ENABLE_CUDASIM else []
collect_ignore += [] if EMULATED else ["test_emulator.py"]
collect_ignore += ["test_device.py"] if numba.config.ENABLE_CUDASIM else []


def pytest_terminal_summary(terminalreporter):
    """Print the number of launches of the kernels, without xdist."""
    if EMULATED and MACHINE.launches:
        n = sum(MACHINE.launches.values())
        terminalreporter.write_line(f"emulator: {n} launches of {len(MACHINE.launches)} kernels")


@pytest.fixture(autouse=True)
def _emulator_finds_nothing():
    """Fail if a kernel of the test made a fault or a race in the emulator."""
    if EMULATED:
        MACHINE.findings.clear()
    yield
    if EMULATED:
        assert MACHINE.findings == []


@pytest.fixture(autouse=True, scope="session")
def _short_switch_interval():
    """Switch threads often: the simulator polls in a busy loop whether its threads have reached a barrier."""
    before = sys.getswitchinterval()
    if numba.config.ENABLE_CUDASIM:
        sys.setswitchinterval(2e-5)
        _use_one_shared_array()
    yield
    sys.setswitchinterval(before)


def _use_one_shared_array():
    """Give all threads of a block the same shared array; the simulator may create it in two threads at once."""
    import_cuda()
    from numba.cuda.simulator import kernelapi

    def array(self, shape, dtype, alignment=None):
        dtype = np.dtype(kernelapi.numpy_support.as_dtype(dtype) if isinstance(dtype, types.Type) else dtype)
        return self._allocations.setdefault((shape, dtype), np.empty(shape, dtype))

    kernelapi.FakeCUDAShared.array = array


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Each thread is a thread of Python: not 256 of them for seven coordinates."""
    if numba.config.ENABLE_CUDASIM:
        monkeypatch.setattr(import_primitives(), "BLOCK_SIZE", 4)
