"""Small blocks and quick switches for the simulator, whose threads are threads of Python."""

import sys

import numba
import numpy as np
import pytest
from numba import types


@pytest.fixture(autouse=True, scope="session")
def _quick_switches():
    """The simulator looks in a busy loop whether its threads are at a barrier, and keeps them from getting there."""
    before = sys.getswitchinterval()
    if numba.config.ENABLE_CUDASIM:
        sys.setswitchinterval(2e-5)
        _share_once()
    yield
    sys.setswitchinterval(before)


def _share_once():
    """Let all threads of a block have the same shared array: the simulator looks and then makes, which two may do."""
    from numba.cuda.simulator import kernelapi

    def array(self, shape, dtype, alignment=None):
        dtype = np.dtype(kernelapi.numpy_support.as_dtype(dtype) if isinstance(dtype, types.Type) else dtype)
        return self._allocations.setdefault((shape, dtype), np.empty(shape, dtype))

    kernelapi.FakeCUDAShared.array = array


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Each thread is a thread of Python: not 256 of them for seven coordinates."""
    if numba.config.ENABLE_CUDASIM:
        from adagrad_nb.cuda.arrays import import_primitives

        monkeypatch.setattr(import_primitives(), "BLOCK_SIZE", 4)
