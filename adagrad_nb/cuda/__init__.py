"""CUDA runtime: device arrays, streams, memory access and launches.

Nothing here depends on optimiser states, models or training loops.  Read `arrays` first.
"""
