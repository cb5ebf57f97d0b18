"""Single optimisation steps: `init` and `update`.

Read `state` and `step` first, then `leaf` (one array) and `small_arrays` (several arrays in one pass).  `kernels` holds
the loops.  Modules named `device_*` do the same for arrays on a CUDA device.  `presets` has the options of other
libraries, and `external_schedules` takes their schedulers.
"""
