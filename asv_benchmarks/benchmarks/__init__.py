"""asv benchmarks of adagrad_nb.  Sets the directory of Numba's disk cache, so import it before Numba."""

import hashlib
import importlib.metadata
import importlib.util
import os
import pathlib
import sys
import tempfile

if importlib.util.find_spec("adagrad_nb") is None:  # `asv run --python=same` without an installed package
    sys.path.append(str(pathlib.Path(__file__).resolve().parents[2]))

PACKAGE = pathlib.Path(next(iter(importlib.util.find_spec("adagrad_nb").submodule_search_locations)))


def _cache_directory():
    """Return a cache directory for these sources only; Numba's disk cache misses edits in other modules."""
    digest = hashlib.sha256(importlib.metadata.version("numba").encode())
    for folder in (PACKAGE, pathlib.Path(__file__).parent):
        for path in sorted(folder.rglob("*.py")):
            digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    name = digest.hexdigest()[:16]
    parent = os.environ.get("NUMBA_CACHE_DIR")
    if parent and pathlib.Path(parent).name == name:  # set by the process that started this one
        return parent
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return os.path.join(parent or os.path.join(tempfile.gettempdir(), f"adagrad_nb-benchmarks-{user}"), name)


if "numba" in sys.modules:
    raise ImportError("numba was imported before the benchmarks could set NUMBA_CACHE_DIR: import benchmarks first")
os.environ["NUMBA_CACHE_DIR"] = _cache_directory()
