"""Sizes, data sets and timers shared by the benchmarks."""

import lzma
import os
import pathlib
import statistics
import subprocess
import sys
import time

import numpy as np
import scipy.sparse

from . import PACKAGE

PROFILE = os.environ.get("ASV_PROFILE", "regular")
_SIZES = {
    "fast": {"dense": [10**3, 10**5], "rows": 20_000, "features": 2**20, "copies": 8, "processes": 1},
    "regular": {"dense": [10**3, 10**5, 10**7], "rows": 200_000, "features": 2**22, "copies": 40, "processes": 3},
    "large": {
        "dense": [10**3, 10**5, 10**7, 10**8],
        "rows": 1_000_000,
        "features": 2**24,
        "copies": 200,
        "processes": 5,
    },
}
if PROFILE not in _SIZES:
    raise ValueError(f"ASV_PROFILE: got {PROFILE!r}; must be one of {', '.join(_SIZES)}")
SIZES = _SIZES[PROFILE]

A9A = pathlib.Path(__file__).resolve().parents[2] / "examples" / "data" / "a9a.xz"


def text_like(n_rows, n_features=47_000, mean_nnz=72, seed=0):
    """Return a CSR matrix shaped like a bag of words, and labels in {-1, 1} from a noisy linear model.

    Feature r is drawn with probability proportional to 1/r.  A feature drawn twice in a row counts once.
    """
    rng = np.random.default_rng(seed)
    p = 1 / np.arange(1, n_features + 1)
    cumulated = np.cumsum(p / p.sum())
    cumulated[-1] = 1
    columns = np.searchsorted(cumulated, rng.random((n_rows, int(mean_nnz * 1.35)))).astype(np.int32)
    columns.sort(axis=1)
    first = np.ones(columns.shape, bool)
    first[:, 1:] = columns[:, 1:] != columns[:, :-1]
    indptr = np.concatenate([[0], np.cumsum(first.sum(axis=1))]).astype(np.int32)
    indices = columns[first]
    X = scipy.sparse.csr_matrix((rng.random(indices.size) / 8, indices, indptr), shape=(n_rows, n_features))
    X.has_canonical_format = True
    y = np.sign(X @ (2 * rng.normal(size=n_features)) + rng.normal(size=n_rows))
    return X, y


def even_rows(n_rows, n_features, nnz=40, seed=0):
    """Return a float32 CSR matrix with uniformly drawn features, and random labels in {-1, 1}.

    Rows in which a feature is drawn twice are dropped.
    """
    rng = np.random.default_rng(seed)
    columns = np.sort(rng.integers(0, n_features, (n_rows, nnz)), axis=1)
    columns = columns[(np.diff(columns, axis=1) > 0).all(axis=1)].astype(np.int32)
    n = columns.shape[0]
    values = rng.normal(scale=0.2, size=columns.size).astype(np.float32)
    X = scipy.sparse.csr_array((values, columns.ravel(), np.arange(0, columns.size + 1, nnz)), shape=(n, n_features))
    return X, np.where(rng.random(n) < 0.5, -1.0, 1.0)


def text_classes(n_rows, n_classes=20, seed=0):
    """Return the rows of `text_like` with multi-class labels, drawn from a noisy sparse linear model."""
    X, _ = text_like(n_rows, seed=seed)
    rng = np.random.default_rng(seed + 1)
    scores = X @ (4 * rng.normal(size=(X.shape[1], n_classes)) * (rng.random((X.shape[1], n_classes)) < 0.1))
    return X, np.argmax(scores + rng.gumbel(size=scores.shape) / 2, axis=1)


def svmlight_file(path, copies):
    """Write `copies` copies of a9a as svmlight text; return the path and the size in bytes."""
    text = lzma.decompress(A9A.read_bytes())
    path = pathlib.Path(path).resolve()
    with path.open("wb") as file:
        for _ in range(copies):
            file.write(text)
    return str(path), copies * len(text)


def median_seconds(function, calls=1, repeat=5):
    """Return the median time of a call over `repeat` loops of `calls` calls.  Call `function` once before."""
    samples = []
    for _ in range(repeat):
        begin = time.perf_counter()
        for _ in range(calls):
            function()
        samples.append((time.perf_counter() - begin) / calls)
    return statistics.median(samples)


# --- import and first calls -----------------------------------------------------------------------------------

_IMPORT = "import time; begin = time.perf_counter(); import adagrad_nb; print(time.perf_counter() - begin)"

_FIRST_CALL_PROGRAM = """
import time
import numpy as np
import adagrad_nb
{prepare}
begin = time.perf_counter()
{call}
print(time.perf_counter() - begin)
"""

FIRST_CALLS = {
    "update": (
        "x = np.ones(8); g = np.ones(8); from adagrad_nb import init, update",
        "state = init(x, lr=0.5); update(x, g, state, out=(x, state))",
    ),
    "fit_linear": (
        "import scipy.sparse; y = np.array([-1.0, 1.0] * 4); X = scipy.sparse.csr_matrix(np.diag(y))",
        "adagrad_nb.fit_linear(X, y)",
    ),
    "minimize_adagrad": (
        "from adagrad_nb.testing import Rosenbrock",
        "adagrad_nb.minimize_adagrad(Rosenbrock(), np.zeros(2), maxiter=10)",
    ),
}


def import_seconds(cache):
    """Return the seconds of the import in a new process, NumPy included, start of Python excluded."""
    return fresh_process(_IMPORT, cache)


def first_call(name, cache):
    """Return the seconds of the first call after the import, in a new process with the disk cache `cache`."""
    setup, call = FIRST_CALLS[name]
    return fresh_process(_FIRST_CALL_PROGRAM.format(_refresh=setup, call=call), cache)


def fresh_process(program, cache):
    """Run a program in a new process with this package; return the number that it prints."""
    path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "NUMBA_CACHE_DIR": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return float(done.stdout)
