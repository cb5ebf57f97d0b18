"""Disk cache of CUDA kernels: another dispatcher, as of another process, finds them; a user's record is not cached."""

from typing import NamedTuple

import numpy as np
import pytest
from host_device import assert_same, copy_to_device

from adagrad_nb import init, update
from adagrad_nb.cuda.arrays import import_cuda
from adagrad_nb.cuda.disk_cache import CudaKernelCache
from adagrad_nb.optim.device_kernels import update_kernels


class Halved(NamedTuple):
    """A user's transform."""

    factor: float = 0.5

    def transform(self, x, g, lr):
        return x, g * self.factor


@pytest.fixture
def dispatcher(monkeypatch):
    """Replace a kernel by new dispatchers; return the function that does so."""
    kernels = update_kernels()
    function = kernels.dense_vec4.py_func

    def replace():
        kernel = import_cuda().jit(function)
        kernel._cache = CudaKernelCache(function)
        monkeypatch.setattr(kernels, "dense_vec4", kernel)
        return kernel

    return replace


def step(transforms=()):
    x = np.ones(8, np.float32)
    device, _ = update(copy_to_device(x), copy_to_device(x), init(copy_to_device(x), transforms=transforms))
    assert_same(device, update(x, x, init(x, transforms=transforms))[0])


def test_kernels_are_found_again(dispatcher):
    dispatcher()
    step()
    kernel = dispatcher()
    step()
    assert sum(kernel.stats.cache_hits.values()) == 1
    assert not kernel.stats.cache_misses


def test_a_kernel_of_a_users_record_is_compiled_again(dispatcher):
    for _ in range(2):
        kernel = dispatcher()
        step((Halved(),))
        assert sum(kernel.stats.cache_misses.values()) == 1


def test_files_of_another_compiler_are_ignored(dispatcher, monkeypatch, tmp_path):
    dispatcher()
    step()
    monkeypatch.setattr(CudaKernelCache, "versions", (str(tmp_path),))
    kernel = dispatcher()
    step()
    assert sum(kernel.stats.cache_misses.values()) == 1
