"""Arrays on a CUDA device: the one module that talks to `numba.cuda`, which it imports when the first one arrives."""

import functools

import numpy as np


def is_device(array):
    """Whether an array lives on a CUDA device, by its type alone."""
    return hasattr(array, "__cuda_array_interface__") or getattr(type(array), "__cuda_ndarray__", False)


@functools.cache
def cuda():
    """`numba.cuda` of the package numba-cuda, or of the simulator; Numba's built-in target is no longer kept up."""
    remedy = "install the extra for your driver: pip install 'adagrad_nb[cuda12]' or 'adagrad_nb[cuda13]'"
    try:
        from numba import cuda as module
        from numba.core import config
    except ImportError as error:
        raise ImportError(f"arrays on a CUDA device need numba-cuda ({error}); {remedy}") from error
    simulated = getattr(config, "ENABLE_CUDASIM", False)
    if not simulated and getattr(module, "implementation", "Built-in") != "NVIDIA":
        raise ImportError(f"numba.cuda is Numba's built-in target, which this package does not use; {remedy}")
    return module


def has_cuda():
    """Whether arrays on a CUDA device can be updated here: numba-cuda is installed and finds a device.

    Examples
    --------
    >>> from adagrad_nb import has_cuda
    >>> has_cuda() in (True, False)
    True
    """
    try:
        return bool(cuda().is_available())
    except ImportError:
        return False


@functools.cache
def kernels():
    """The CUDA loops."""
    cuda()
    from ._kernels import gpu

    return gpu


def view(array):
    """The array as Numba knows it, flat."""
    module = cuda()
    known = getattr(type(array), "__cuda_ndarray__", False)
    return (array if known else module.as_cuda_array(array, sync=True)).reshape(array.size)


def full(like, value):
    """A new device array of `like`'s shape and dtype, filled."""
    return cuda().to_device(np.full(like.shape, value, like.dtype))


def copy(array):
    """A new device array with the same content."""
    source = view(array)
    target = cuda().device_array(source.shape, source.dtype)
    target.copy_to_device(source)
    return target.reshape(*array.shape)


def launch(kernel, size, *args):
    """Run a CUDA loop over `size` coordinates."""
    block = kernels().BLOCK
    kernel[(size + block - 1) // block, block](*args)
