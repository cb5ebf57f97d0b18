"""Small blocks and quick switches for the simulator, whose threads are threads of Python."""

import sys

import numba
import pytest


@pytest.fixture(autouse=True, scope="session")
def _quick_switches():
    """The simulator looks in a busy loop whether its threads are at a barrier, and keeps them from getting there."""
    before = sys.getswitchinterval()
    if numba.config.ENABLE_CUDASIM:
        sys.setswitchinterval(2e-5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Each thread is a thread of Python: not 256 of them for seven coordinates."""
    if numba.config.ENABLE_CUDASIM:
        from adagrad_nb.device import kernels

        monkeypatch.setattr(kernels(), "BLOCK", 4)
