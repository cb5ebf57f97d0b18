"""The tests of device arrays in processes of their own: where CUDA is simulated, and under NVIDIA's sanitizer.

Nothing is compiled in the simulator, which would take longer than the tests; that compiled code gives the bits of
interpreted code is tested elsewhere.
"""

import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys

import numba
import pytest

from adagrad_nb import has_cuda

DIRECTORY = pathlib.Path(__file__).parent


@pytest.mark.skipif(bool(numba.config.ENABLE_CUDASIM), reason="the simulator is on: these tests run by themselves")
@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="numba-cuda is not installed")
def test_in_the_simulator():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(DIRECTORY / "cuda")],
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"},
        cwd=DIRECTORY.parent,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{done.stdout[-5000:]}\n{done.stderr[-2000:]}"
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
def test_under_the_sanitizer(tool):
    """No read or write outside of an array, and none of shared memory that another thread has not finished with."""
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        pytest.skip("compute-sanitizer, of the CUDA toolkit, is not on the path")
    if not has_cuda():
        pytest.skip("there is no CUDA device")
    tests = [str(DIRECTORY / "cuda" / f"test_{name}.py") for name in ("sparse", "rows", "classes")]
    done = subprocess.run(
        [sanitizer, "--tool", tool, "--error-exitcode", "9", sys.executable, "-m", "pytest", "-q", *tests],
        cwd=DIRECTORY.parent,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, f"{done.stdout[-5000:]}\n{done.stderr[-2000:]}"
