"""Loops over the coordinates of an array: updates and reductions, for the CPU and in CUDA.

Read `array_update` first.  The modules named `cuda_*` hold the CUDA versions; `optim.device_gradients` and
`optim.device_small_arrays` import them when the first device array arrives.
"""
