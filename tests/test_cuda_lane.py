"""The tests of device arrays, in a process where CUDA is simulated.

Nothing is compiled there, which would take longer than the tests; that compiled code gives the bits of interpreted
code is tested elsewhere.
"""

import importlib.util
import os
import pathlib
import subprocess
import sys

import numba
import pytest

HERE = pathlib.Path(__file__).parent


@pytest.mark.skipif(bool(numba.config.ENABLE_CUDASIM), reason="the simulator is on: these tests run by themselves")
@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="numba-cuda is not installed")
def test_in_the_simulator():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / "cuda")],
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"},
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{done.stdout[-5000:]}\n{done.stderr[-2000:]}"
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
