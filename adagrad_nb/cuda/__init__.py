"""CUDA runtime: device arrays, streams, memory access and launches.

It knows no optimiser state, model or loop.  Read `arrays` first.
"""
