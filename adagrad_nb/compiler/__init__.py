"""Numba extensions: decorators, method dispatch on records, SIMD vectors, intrinsics and a vectorisable power.

Read `jit` first; the other modules extend it.
"""
