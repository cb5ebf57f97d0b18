"""Where compiled code is kept during the tests, and what many tests share."""

import importlib.util
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

# Matrices of options whose compiled cases cost seconds each.  Without the compiler all of them run.
LARGE_MODULES = {
    "test_averaging",
    "test_baseline",
    "test_default_options",
    "test_dual_averaging",
    "test_fit",
    "test_lazy",
    "test_merging",
    "test_mini_batch",
    "test_model_file",
    "test_multi_output_model",
    "test_named_rows",
    "test_old_files",
    "test_one_row",
    "test_rate_search",
    "test_rate_search_classes",
    "test_scaled_rows",
    "test_workers",
}
SAMPLING_STEP = 3


def pytest_collection_modifyitems(config, items):
    """Of the wide matrices, compile one case in three, always the same ones; ADAGRAD_NB_EXHAUSTIVE=1 compiles all.

    Without the compiler all cases run, but not the examples of the README: they learn from all of a9a, a dozen times.
    """
    if os.environ.get("ADAGRAD_NB_EXHAUSTIVE") == "1":
        return
    if numba.config.DISABLE_JIT:
        deselected = [item for item in items if item.path.name == "README.md"]
    else:
        deselected = [
            item for item in items if _is_in_large_module(item) and zlib.crc32(item.nodeid.encode()) % SAMPLING_STEP
        ]
    config.hook.pytest_deselected(items=deselected)
    dropped = set(deselected)
    items[:] = [item for item in items if item not in dropped]


def _is_in_large_module(item):
    return hasattr(item, "callspec") and item.module.__name__.rpartition(".")[2] in LARGE_MODULES


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
