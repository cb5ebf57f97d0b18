"""CPU time and driver calls of steps on a CUDA device: what the host does before the device works.

Without a GPU it uses the driver of the tests' emulator, which counts calls and runs no kernel.
"""

import ctypes
import importlib
import pathlib
import sys
import time

import numpy as np
import pairs

TESTS = pathlib.Path(__file__).resolve().parents[2] / "tests" / "cuda"
UPDATE, CLIP, MANY, NEW, SPARSE = 15.0, 40.0, 300.0, 1000.0, 300.0  # targets in microseconds


def load_driver():
    """Return the functions of the emulator's driver, which counts calls, or None if there is a GPU."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        sys.path.insert(0, str(TESTS))
        install = importlib.import_module("emulator.install")
        machine = install.install()
        machine.driver.emulator_set_launcher(None)
        return machine.driver, lambda: install.driver_calls(machine)
    return None


def cpu_time(step, count):
    """Return the CPU time of a step in microseconds, the best of five means."""
    for _ in range(3):
        step()
    best = float("inf")
    for _ in range(5):
        begin = time.thread_time()
        for _ in range(count):
            step()
        best = min(best, (time.thread_time() - begin) / count)
    return best * 1e6


def cases():
    """Yield (name, step, target in microseconds)."""
    from adagrad_nb import ClipGlobalNorm, ClipNorm, init, update
    from adagrad_nb.cuda.arrays import import_cuda

    put, rng = import_cuda().to_device, np.random.default_rng(0)

    def case(x, g, **options):
        check = options.pop("check", True)
        state = init(x, lr=0.1, **options)
        return lambda: update(x, g, state, out=(x, state), check=check)

    x, g = (put(np.ones(1000, np.float32)) for _ in range(2))
    yield "one array", case(x, g), UPDATE
    yield "one array, ClipNorm", case(x, g, transforms=(ClipNorm(1.0),)), CLIP
    yield "one array, ClipGlobalNorm", case(x, g, transforms=(ClipGlobalNorm(1.0),)), CLIP
    many, *gradients = ([put(np.ones(1000, np.float32)) for _ in range(1000)] for _ in range(3))
    yield "1000 arrays", case(many, gradients[0]), MANY
    state = init(many, lr=0.1)

    def step_with_new_gradients():
        gradients.reverse()
        update(many, gradients[0], state, out=(many, state))

    yield "1000 arrays, new gradients", step_with_new_gradients, NEW
    x = put(np.zeros(10**6, np.float32))
    for size in (10**3, 10**4, 10**6):
        g = put(rng.integers(0, 10**6, size)), put(np.ones(size, np.float32))
        yield f"{size} sparse entries, unchecked", case(x, g, check=False), SPARSE


def main():
    quick = pairs.parse_options(__doc__).quick
    driver = load_driver()
    pairs.print_versions("numba-cuda", "cuda-core", ours="default")
    targets = []
    for name, step, target in cases():
        found = cpu_time(step, 5 if quick else 100)
        targets.append((f"{name} in us", found, "<=", target))
        calls = ""
        if driver is not None:
            library, count_calls = driver
            library.emulator_reset_calls()
            step()
            calls = ", ".join(
                f"{n} {call}" for call, n in sorted(count_calls().items()) if not call.startswith("cuCtx")
            )
        print(f"{name:32s} {found:8.1f} us  {calls}", flush=True)
    pairs.print_targets(*targets)


if __name__ == "__main__":
    main()
