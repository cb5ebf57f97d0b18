"""One optimisation step: `init` and `update`.

Read `step` and `state` first, then `leaf` (one array) and `small_arrays` (many arrays updated together).  `kernels/`
holds the loops; modules named `device_*` do the same for arrays on a CUDA device.
"""
