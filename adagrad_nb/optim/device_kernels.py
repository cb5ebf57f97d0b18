"""The modules of CUDA kernels, each of which is imported, with its disk cache, when it is first needed."""

from ..cuda import arrays


def update_kernels():
    """Import and return the CUDA kernels that update arrays."""
    arrays.import_cuda()
    from .kernels import cuda_array_update

    return arrays.with_disk_cache(cuda_array_update)


def decay_kernels():
    """Import and return the CUDA kernels of lazy weight decay."""
    arrays.import_cuda()
    from .kernels import cuda_lazy_decay

    return arrays.with_disk_cache(cuda_lazy_decay)


def group_kernels():
    """Import and return the CUDA kernels of group penalties."""
    arrays.import_cuda()
    from .kernels import cuda_group_penalties

    return arrays.with_disk_cache(cuda_group_penalties)


def unit_kernels():
    """Import and return the CUDA kernels of the norms of units."""
    arrays.import_cuda()
    from .kernels import cuda_unit_norms

    return arrays.with_disk_cache(cuda_unit_norms)


def sparse_kernels():
    """Import and return the CUDA kernels that prepare sparse gradients."""
    arrays.import_cuda()
    from .kernels import cuda_sparse_gradients

    return arrays.with_disk_cache(cuda_sparse_gradients)


def sort_kernels():
    """Import and return the CUDA kernels that sort indices."""
    arrays.import_cuda()
    from .kernels import cuda_sort

    return arrays.with_disk_cache(cuda_sort)


def multi_tensor_kernels():
    """Import and return the CUDA kernels over tables of addresses."""
    arrays.import_cuda()
    from .kernels import cuda_small_arrays

    return arrays.with_disk_cache(cuda_small_arrays)


def memory_kernels():
    """Import and return the CUDA kernels of the memory."""
    arrays.import_cuda()
    from .kernels import cuda_global_memory

    return arrays.with_disk_cache(cuda_global_memory)
