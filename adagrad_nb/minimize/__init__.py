"""Minimisers: `minimize_adagrad`, `minimize_adadelta` and `minimize_stochastic`.

Read `drivers` first, then `objectives`, `loop` and `loop_kernel`; `device_loop` is the loop for device arrays.
"""
