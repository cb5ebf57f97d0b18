"""Disk cache of CUDA kernels: that of `compiler.cache`, with machine code for the compute capability of the device."""

import functools

from numba.core import config, types

from ..compiler.cache import KernelCache
from ..compiler.jit import is_own_class


class CudaKernelCache(KernelCache):
    """Disk cache of one CUDA kernel; the key also contains the compute capability and the version of numba-cuda."""

    @property
    def versions(self):
        """Versions of the compilers, and whether they write debugging information."""
        import numba_cuda

        return (*super().versions, numba_cuda.__version__, str(getattr(config, "CUDA_DEBUGINFO_DEFAULT", 0)))

    def _locate(self, sig, codegen):
        """Return the path and the key of a kernel, or (None, None) if it is not cached, as with a user's record."""
        return super()._locate(sig, codegen) if all(map(_is_own_type, sig)) else (None, None)

    @staticmethod
    def _can_pack(kernel):
        """Return True: CUDA kernels have neither lifted loops nor dynamic globals."""
        return True

    @staticmethod
    def _pack(kernel):
        """Return the fields of a compiled kernel, PTX and machine code included."""
        return kernel._reduce_states()

    @staticmethod
    def _unpack(packed, target_context):
        """Return the compiled kernel of `_pack`, loaded to the device."""
        from numba.cuda.dispatcher import _Kernel

        kernel = _Kernel._rebuild(**packed)
        kernel.bind()
        return kernel


def _is_own_type(kind):
    """Return whether the type of an argument contains no record class and no function from outside the package."""
    if isinstance(kind, types.BaseTuple):
        is_own = not isinstance(kind, types.BaseNamedTuple) or is_own_class(kind.instance_class)
        return is_own and all(map(_is_own_type, kind))
    return isinstance(kind, (types.Number, types.Boolean, types.Array, types.NoneType))


@functools.cache
def enable_disk_cache(module):
    """Give the kernels that a module defines the disk cache; return the module."""
    for kernel in vars(module).values():
        if hasattr(kernel, "enable_caching") and kernel.py_func.__module__ == module.__name__:
            kernel._cache = CudaKernelCache(kernel.py_func)
    return module
