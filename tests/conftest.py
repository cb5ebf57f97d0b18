"""Where compiled code is kept during the tests, and what many tests share."""

import collections
import importlib.util
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import zlib

PACKAGE = pathlib.Path(next(iter(importlib.util.find_spec("adagrad_nb").submodule_search_locations)))


# Numba reads this once, when it is imported.
os.environ["NUMBA_CACHE_DIR"] = os.environ.get("ADAGRAD_NB_CACHE") or os.path.join(
    tempfile.gettempdir(), f"adagrad_nb-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
)

import numba  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

# Tests of logic above the kernels, which other modules compile.
LOGIC_MODULES = {
    "test_baseline",
    "test_class_weight",
    "test_default_options",
    "test_early_stopping",
    "test_estimators",
    "test_protocols",
    "test_target_scaling",
}
COMPILED_FOLDERS = {"linear", "records", "optim", "minimize", "online", "experiments"}
INTERPRETED_SHARE = 1 / 5  # of the same cases with the JIT off
SIMULATED_SHARE = 1 / 2  # of the cases of a parametrised test in the CUDA simulator
EMULATED_SHARE = 1 / 8  # of the cases of a parametrised test in the CUDA emulator
COMPILED_SHARE = 1 / 15  # of the cases of a parametrised test in `COMPILED_FOLDERS` or test_sklearn


def pytest_collection_modifyitems(config, items):
    """Divide the cases between the lanes: each case runs with the JIT off, or compiled, or both.

    The compiled lane runs a share of the cases of the tests in `COMPILED_FOLDERS`, always the same ones, no test of
    `LOGIC_MODULES` or that interprets its kernels, and no example of a docstring.  ADAGRAD_NB_EXHAUSTIVE=1 runs all of
    them.  The CUDA simulator and the CUDA emulator run shares of their cases.  The lane with the JIT off runs a larger
    share of those of the compiled lane.  It leaves out the tests marked `compiled_only`, and the examples of the
    README, which learn from all of a9a, a dozen times.
    """
    if numba.config.DISABLE_JIT:
        dropped = {item for item in items if item.get_closest_marker("compiled_only") or item.path.name == "README.md"}
        if os.environ.get("ADAGRAD_NB_EXHAUSTIVE") != "1":
            dropped |= _cases_beyond(INTERPRETED_SHARE, items, _has_kernels)
            dropped |= _cases_beyond(SIMULATED_SHARE, items, lambda item: item.path.parent.name == "cuda")
    elif os.environ.get("ADAGRAD_NB_EXHAUSTIVE") == "1":
        return
    elif os.environ.get("ADAGRAD_NB_EMULATE_CUDA") == "1":
        dropped = _cases_beyond(EMULATED_SHARE, items, lambda item: item.path.stem != "test_emulator")
    else:
        dropped = {item for item in items if "interpreted" in getattr(item, "fixturenames", ())}
        dropped |= {item for item in items if isinstance(item, pytest.DoctestItem) and item.path.suffix == ".py"}
        dropped |= {
            item for item in items if item.path.stem in LOGIC_MODULES and not item.get_closest_marker("compiled_only")
        }
        dropped |= _cases_beyond(COMPILED_SHARE, items, _has_kernels)
    config.hook.pytest_deselected(items=[item for item in items if item in dropped])
    items[:] = [item for item in items if item not in dropped]


def _has_kernels(item):
    """Return whether the cases of a test compile kernels of their own."""
    return item.path.parent.name in COMPILED_FOLDERS or item.path.stem == "test_sklearn"


def _cases_beyond(share, items, is_large):
    """Return the cases of large tests that are beyond the share, which has the first case of each test."""
    cases = collections.defaultdict(list)
    for item in items:
        if hasattr(item, "callspec") and is_large(item) and not item.get_closest_marker("compiled_only"):
            cases[item.path, item.originalname].append(item)
    others = set()
    for group in cases.values():
        rest = sorted(group[1:], key=lambda item: zlib.crc32(item.nodeid.encode()))
        others.update(rest[math.ceil(len(group) * share) - 1 :])
    return others


@pytest.fixture
def rng():
    """The same random numbers for every test, whatever ran before it."""
    return np.random.default_rng(20110712)


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    """Both precisions of an iterate."""
    return np.dtype(request.param)


@pytest.fixture
def tolerance(dtype):
    """A few roundings in this precision."""
    return 64 * np.finfo(dtype).eps


@pytest.fixture
def interpreted():
    """Interpret the kernels of linear models: hundreds of record types without hundreds of compilations."""
    from linear_problems import interpreting

    with interpreting():
        yield


@pytest.fixture(scope="session")
def python():
    """Run a program in another process; return what it printed, and fail with its complaint if it fails."""

    def run(source, *arguments, cwd=None, path=(), **environment):
        paths = [str(p) for p in path] + [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
        done = subprocess.run(
            [sys.executable, *(() if isinstance(source, pathlib.Path) else ("-c",)), str(source), *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p), **environment},
            cwd=cwd, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run
