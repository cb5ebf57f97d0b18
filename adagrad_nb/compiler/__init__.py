"""Numba: decorators, binding of records, SIMD vectors, intrinsics and vectorisable powers.

Read `jit` first; the other modules extend it.
"""
