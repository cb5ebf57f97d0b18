"""asv benchmarks of adagrad_nb.  Sets the directory of Numba's disk cache, so import it before Numba."""

import importlib.util
import os
import pathlib
import sys
import tempfile

if importlib.util.find_spec("adagrad_nb") is None:  # `asv run --python=same` without an installed package
    sys.path.append(str(pathlib.Path(__file__).resolve().parents[2]))

PACKAGE = pathlib.Path(next(iter(importlib.util.find_spec("adagrad_nb").submodule_search_locations)))

if "numba" in sys.modules:
    raise ImportError("numba was imported before the benchmarks could set NUMBA_CACHE_DIR: import benchmarks first")
user = os.getuid() if hasattr(os, "getuid") else "user"
os.environ.setdefault("NUMBA_CACHE_DIR", os.path.join(tempfile.gettempdir(), f"adagrad_nb-benchmarks-{user}"))
