"""Loops over coordinates: updates, reductions, and their CUDA versions.

Read `array_update` first.
"""
