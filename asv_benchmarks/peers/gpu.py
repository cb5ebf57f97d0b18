"""Device arrays: dense, sparse and mini-batch steps against memory bandwidth and the installed peers, as Markdown.

Without a CUDA device the script prints what is missing and exits with status 0.
"""

import gc
import importlib
import os
import statistics
import sys
import time

import numpy as np
import pairs

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX would take three quarters of the memory
os.environ.setdefault("NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS", "0")

DEVICE = "cuda"  # of PyTorch
PACKAGES = ("torch", "cupy", "jax", "optax", "fbgemm_gpu", "cuml")
FLOATS_OF_ADAGRAD = 5  # numbers that a step reads and writes for a coordinate: x, g, s, and again x and s


def main():
    quick = pairs.parse_options(__doc__).quick
    from adagrad_nb import has_cuda

    if missing := _missing(has_cuda):
        print("Nothing was measured:", missing)
        return
    table = Table(quick)
    print(table.describe())
    print("\n| case | library | host µs | device µs | graph µs | rate | of copy |\n|---|---|---|---|---|---|---|")
    for part in (dense, variants, launches, many_arrays, sparse, rows, learning, dense_rows):
        try:
            part(table)
        except Exception as error:  # the other parts still run
            table.print_row(part.__name__, "", f"failed: {_describe(error)}")
        table.free_memory()
    print(
        "\nhost: time until a call returns; device: time between two events around a queue of calls; graph: the same "
        "for replays of a captured CUDA graph; rate and share of the bandwidth of a copy: of the shorter one."
    )
    table.print_targets()


def _missing(has_cuda):
    """Return the reason why nothing can run, or an empty string."""
    if has_cuda():
        import numba

        return "CUDA is simulated; unset NUMBA_ENABLE_CUDASIM" if numba.config.ENABLE_CUDASIM else ""
    try:
        from adagrad_nb.cuda.arrays import import_cuda

        import_cuda()
    except ImportError as error:
        return str(error)
    return "numba-cuda finds no CUDA device or driver"


def _describe(error):
    """Return an error as one line of a table."""
    text = f"{type(error).__name__}: {error}".replace("|", "/").split("\n")[0]
    return text[:150]


class Table:
    """Packages, timings and the rows of the table.

    Attributes
    ----------
    torch, cupy, jax, optax, fbgemm_gpu, cuml : module or None
    quick : bool
        Whether to use less data.
    copy_rate : float
        GB/s of a copy, read and written bytes together.
    times : dict
        (case, library) -> seconds of the shorter of device and graph.
    """

    def __init__(self, quick):
        from numba import cuda

        self.cuda, self.quick, self.times, self.copy_rate = cuda, quick, {}, float("nan")
        for name in PACKAGES:
            setattr(self, name, _optional(name))
        if self.torch is not None and not (self.torch.cuda.is_available() or DEVICE == "cpu"):
            self.torch = None

    # --- memory --------------------------------------------------------------------------------------------------

    def random(self, *shape, dtype="float32", zeros=False):
        """Return an array of normal numbers, or of zeros, on the device: of PyTorch if it is installed."""
        if self.torch is not None:
            make = self.torch.zeros if zeros else self.torch.randn
            kind = self.torch.float32 if dtype == "bfloat16" else getattr(self.torch, dtype)
            return make(*shape, device=DEVICE, dtype=kind).to(getattr(self.torch, dtype))
        if dtype == "bfloat16":
            raise RuntimeError("needs PyTorch")
        host = np.zeros(shape, dtype) if zeros else np.random.default_rng(0).standard_normal(shape, dtype)
        return self.cuda.to_device(host)

    def free_memory(self):
        """Give the memory of deleted arrays back to the device."""
        gc.collect()
        if self.torch is not None and DEVICE == "cuda":
            self.torch.cuda.empty_cache()
        if self.cupy is not None:
            self.cupy.get_default_memory_pool().free_all_blocks()
        self.cuda.current_context().deallocations.clear()

    # --- timings -------------------------------------------------------------------------------------------------

    def line(self, case, library, prepare, amount=0.0, unit="GB/s", calls=20, captures=False):
        """Time the function that `prepare` returns, and print a row; an error becomes a row, too.

        `amount` is what a call processes, in the unit per second.  With `captures`, also time a captured graph.
        """
        try:
            call = prepare()
            host, device = self._time(call, calls)
            graph = self._time_graph(call, calls) if captures else ""
            numbers = [seconds for seconds in (device, graph) if not isinstance(seconds, str)]
            self.times[case, library] = best = min(numbers)
            rate = f"{amount / best:.4g} {unit}" if amount else ""
            has_share = amount and unit == "GB/s" and self.copy_rate > 0
            share = f"{amount / best / self.copy_rate:.0%}" if has_share else ""
            cells = [s if isinstance(s, str) else f"{s * 1e6:.4g}" for s in (host, device, graph)]
            self.print_row(case, library, *cells, rate, share)
        except Exception as error:  # e.g. out of memory, or not supported by this version of a peer
            self.print_row(case, library, f"failed: {_describe(error)}")
        call = None
        self.free_memory()

    def _time(self, call, calls, repeats=7):
        """Return the medians of the time of the host and of the device for a call, over queues of calls."""
        for _ in range(2):
            call()
        self.cuda.synchronize()
        host, device = [], []
        for _ in range(repeats):
            first, last = self.cuda.event(), self.cuda.event()
            first.record()
            begin = time.perf_counter()
            for _ in range(calls):
                call()
            host.append((time.perf_counter() - begin) / calls)
            last.record()
            last.synchronize()
            device.append(self.cuda.event_elapsed_time(first, last) / 1e3 / calls)
        return statistics.median(host), statistics.median(device)

    def _time_graph(self, call, calls):
        """Return the time of a replay, or why the call cannot be captured."""
        if self.torch is None:
            return "needs PyTorch"
        try:
            stream, graph = self.torch.cuda.Stream(), self.torch.cuda.CUDAGraph()
            self.torch.cuda.synchronize()
            with self.torch.cuda.stream(stream):
                for _ in range(2):
                    call()
            stream.synchronize()
            with self.torch.cuda.graph(graph, stream=stream):
                call()
        except Exception as error:
            return f"not captured: {_describe(error)[:60]}"
        return self._time(graph.replay, calls)[1]

    # --- output --------------------------------------------------------------------------------------------------

    def describe(self):
        """Return the date, the device, its driver and the versions of all packages."""
        device = self.cuda.get_current_device()
        name = device.name.decode() if isinstance(device.name, bytes) else device.name
        capability = ".".join(map(str, device.compute_capability))
        versions = [f"{n} {pairs.version(n)}" for n in ("numba", "numpy", "numba-cuda", "cuda-bindings")]
        versions += [f"{n} {getattr(self, n).__version__}" for n in PACKAGES if getattr(self, n) is not None]
        absent = [n for n in PACKAGES if getattr(self, n) is None]
        return (
            f"{time.strftime('%Y-%m-%d')}, {name}, compute capability {capability}, driver {_driver()}, "
            f"{', '.join(versions)}; not installed: {', '.join(absent) or 'none'}"
        )

    @staticmethod
    def print_row(*cells):
        """Print a row of the table at once, so that a time limit loses no finished row."""
        print("|", " | ".join((*cells, *[""] * (7 - len(cells)))), "|", flush=True)

    def print_targets(self):
        """Print whether the targets were reached whose cases were measured."""
        largest = f"dense, n = {'1e+07' if self.quick else '1e+08'}"
        targets = []
        if (largest, "ours") in self.times:
            n = float(largest.split()[-1])
            share = 4 * FLOATS_OF_ADAGRAD * n / 1e9 / self.times[largest, "ours"] / self.copy_rate
            targets.append(("share of the copy bandwidth", share, ">=", 0.9))
        for case in dict.fromkeys(case for case, _ in self.times):
            peers = [
                t for (other, library), t in self.times.items() if other == case and not library.startswith("ours")
            ]
            factor = 3 if case.startswith(("1000 arrays", "sparse")) else 1
            if peers and (case, "ours") in self.times:
                targets.append(
                    (f"{case}, against the fastest peer", min(peers) / self.times[case, "ours"], ">=", factor)
                )
        if targets:
            pairs.print_targets(*targets)


def _optional(name):
    try:
        return importlib.import_module(name)
    except Exception:  # e.g. built for another version of CUDA
        return None


def _driver():
    import subprocess

    try:
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "unknown"


def _our_step(x, g, **options):
    """Return a function that updates x in place."""
    from adagrad_nb import init, update

    state = init(x, lr=0.01, **options)
    return lambda: update(x, g, state, out=(x, state))


def _torch_step(table, x, g, **options):
    """Return the step of PyTorch's Adagrad for tensors and their gradients."""
    parameters = [table.torch.nn.Parameter(tensor) for tensor in x]
    for parameter, gradient in zip(parameters, g, strict=True):
        parameter.grad = gradient
    return table.torch.optim.Adagrad(parameters, lr=0.01, **options).step


# --- parts ----------------------------------------------------------------------------------------------------------


def dense(table):
    """Steps of one array, with random gradients and with zeros."""
    sizes = (10**6, 10**7) if table.quick else (10**6, 10**7, 10**8)
    table.line("copy", "driver", lambda: _copy(table, sizes[-1]), 8 * sizes[-1] / 1e9)
    table.copy_rate = 8 * sizes[-1] / 1e9 / table.times.get(("copy", "driver"), float("nan"))
    for n in sizes:
        case, amount = f"dense, n = {n:.0e}", 4 * FLOATS_OF_ADAGRAD * n / 1e9

        def ours(n=n, zeros=False):
            return _our_step(table.random(n), table.random(n, zeros=zeros))

        table.line(case, "ours", ours, amount, captures=True)
        if n == sizes[-1]:
            table.line(f"{case}, zero gradient", "ours", lambda ours=ours: ours(zeros=True), amount, captures=True)
        if table.torch is not None:
            for kind in ("fused", "foreach"):

                def peer(n=n, kind=kind):
                    return _torch_step(table, [table.random(n)], [table.random(n)], **{kind: True})

                table.line(case, f"torch {kind}", peer, amount)
        if table.cupy is not None:
            table.line(case, "cupy ElementwiseKernel", lambda n=n: _cupy_step(table.cupy, n), amount)
        if table.jax is not None and table.optax is not None:
            prepare, calls = (lambda n=n: _optax_step(table.jax, table.optax, n)), 20
            table.line(case, "optax, jit", prepare, amount, calls=calls)


def _copy(table, n):
    a, b = (table.cuda.device_array(n, np.float32) for _ in range(2))
    return lambda: b.copy_to_device(a)


def _cupy_step(cupy, n):
    step = "s += g * g; w -= lr * g / (sqrt(s) + eps)"
    kernel = cupy.ElementwiseKernel("float32 g, float32 lr, float32 eps", "float32 w, float32 s", step)
    w, s, g = cupy.random.standard_normal(n, cupy.float32), *(cupy.ones(n, cupy.float32) for _ in range(2))
    return lambda: kernel(g, 0.01, 1e-10, w, s)


def _optax_step(jax, optax, n):
    """Return a step under jit; it waits for the device, since JAX has streams of its own."""
    rule, key = optax.adagrad(0.01), jax.random.key(0)
    w, g = jax.random.normal(key, (n,)), jax.random.normal(key, (n,))
    held = [w, rule.init(w), g]

    def apply_gradient(w, s, g):
        changes, s = rule.update(g, s)
        return optax.apply_updates(w, changes), s

    compiled = jax.jit(apply_gradient, donate_argnums=(0, 1))

    def run():
        held[:2] = compiled(*held)
        held[0].block_until_ready()

    return run


def variants(table):
    """Steps of other precisions, rules and transforms, and of rows that share an accumulator."""
    from adagrad_nb import Adadelta, ClipGlobalNorm, ClipNorm, MomentumAdagrad, RowAdagrad

    n = 10**7 if table.quick else 10**8
    for name, x_dtype, g_dtype, n_bytes, options in [
        ("float64", "float64", "float64", 40, {}),
        ("bfloat16 gradient", "float32", "bfloat16", 18, {}),
        ("MomentumAdagrad", "float32", "float32", 28, {"rule": MomentumAdagrad()}),
        ("Adadelta", "float32", "float32", 28, {"rule": Adadelta()}),
        ("ClipNorm", "float32", "float32", 24, {"transforms": (ClipNorm(1.0),)}),
        ("ClipGlobalNorm", "float32", "float32", 24, {"transforms": (ClipGlobalNorm(1.0),)}),
    ]:

        def ours(x_dtype=x_dtype, g_dtype=g_dtype, options=options):
            return _our_step(table.random(n, dtype=x_dtype), table.random(n, dtype=g_dtype), **options)

        table.line(f"{name}, n = {n:.0e}", "ours", ours, n_bytes * n / 1e9, captures=True)
    shape = (n // 100, 64)

    def row_step():
        return _our_step(table.random(*shape), table.random(*shape), rule=RowAdagrad())

    table.line(f"RowAdagrad, {shape[0]:.0e} rows of 64", "ours", row_step, 12 * shape[0] * 64 / 1e9, captures=True)


def launches(table):
    """The time of a call for an array of 1000 numbers, which is that of its launch."""
    from adagrad_nb import ClipGlobalNorm

    case = "one array of 1000"
    for name, options in (("ours", {}), ("ours, ClipGlobalNorm", {"transforms": (ClipGlobalNorm(1.0),)})):

        def ours(options=options):
            return _our_step(table.random(1000), table.random(1000), **options)

        table.line(case, name, ours, calls=500, captures=True)
    if table.torch is not None:
        table.line(
            case, "torch foreach", lambda: _torch_step(table, [table.random(1000)], [table.random(1000)]), calls=500
        )
    table.line(case, "ours, Numba arrays", lambda: _our_step(*(_numba_array(table, 1000),) * 2), calls=500)


def _numba_array(table, n):
    return table.cuda.to_device(np.random.default_rng(0).standard_normal(n, np.float32))


def many_arrays(table):
    """1000 arrays of 1000 numbers."""
    from adagrad_nb import ClipGlobalNorm, init, update

    case, clip = "1000 arrays of 1000", {"transforms": (ClipGlobalNorm(1.0),)}

    def arrays():
        return [table.random(1000) for _ in range(1000)]

    table.line(case, "ours", lambda: _our_step(arrays(), arrays()), captures=True)
    table.line(case, "ours, ClipGlobalNorm", lambda: _our_step(arrays(), arrays(), **clip), captures=True)
    if table.torch is None:
        return

    def new_gradients():
        x, gradients = arrays(), [arrays(), arrays()]
        state = init(x, lr=0.01)

        def step():
            gradients.reverse()
            update(x, gradients[0], state, out=(x, state))

        return step

    table.line(case, "ours, other gradient tensors in each step", new_gradients)
    for kind in ("fused", "foreach"):
        table.line(case, f"torch {kind}", lambda kind=kind: _torch_step(table, arrays(), arrays(), **{kind: True}))


def sparse(table):
    """A gradient that lists coordinates of a long vector, with duplicates."""
    n, m = (10**6, 10**5) if table.quick else (10**8, 10**6)
    _sparse_updates(table, f"sparse, {m:.0e} of {n:.0e}", (n,), m)


def rows(table):
    """A gradient that lists rows of a matrix, with duplicates."""
    n, m = (10**5, 10**4) if table.quick else (10**7, 10**5)
    case = f"sparse, {m:.0e} of {n:.0e} rows of 64"
    _sparse_updates(table, case, (n, 64), m)
    if table.fbgemm_gpu is not None:
        for name in ("EXACT_ADAGRAD", "EXACT_ROWWISE_ADAGRAD"):
            prepare = lambda name=name: _embedding_step(table, n, m, name)  # noqa: E731
            table.line(f"{case}, {name}", "fbgemm_gpu TBE, forward and backward", prepare, m / 1e6, "M/s")


def _indices(n, m):
    return np.random.default_rng(0).integers(0, n // 4, m)


def _sparse_updates(table, case, shape, m):
    from adagrad_nb import RowAdagrad, init, update

    amount, where = m / 1e6, _indices(shape[0], m)

    def ours(check=True, **options):
        x, values = table.random(*shape, zeros=True), table.random(m, *shape[1:])
        indices = table.cuda.to_device(where) if table.torch is None else table.torch.from_numpy(where).to(DEVICE)
        state = init(x, lr=0.01, **options)
        return lambda: update(x, (indices, values), state, out=(x, state), check=check)

    for name, options in [
        ("ours", {}), ("ours, unchecked", {"check": False}), ("ours, atomic", {"duplicates": "atomic"}),
        *([("ours, RowAdagrad", {"rule": RowAdagrad()})] if len(shape) > 1 else []),
    ]:  # fmt: skip
        table.line(case, name, lambda options=options: ours(**options), amount, "M/s", captures=True)
    if table.torch is None:
        return

    def peer():
        indices = table.torch.from_numpy(where[None]).to(DEVICE)
        g = table.torch.sparse_coo_tensor(indices, table.random(m, *shape[1:]), shape)
        return _torch_step(table, [table.random(*shape, zeros=True)], [g], foreach=False)

    table.line(case, "torch", peer, amount, "M/s")


def _embedding_step(table, n, m, optimizer):
    """Return the forward and backward pass of FBGEMM's table, whose backward pass updates the listed rows."""
    from fbgemm_gpu.split_embedding_configs import EmbOptimType
    from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation
    from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
        ComputeDevice,
        SplitTableBatchedEmbeddingBagsCodegen,
    )

    specs = [(n, 64, EmbeddingLocation.DEVICE, ComputeDevice.CUDA)]
    tables = SplitTableBatchedEmbeddingBagsCodegen(specs, optimizer=EmbOptimType[optimizer], learning_rate=0.01)
    indices = table.torch.from_numpy(_indices(n, m)).to(DEVICE)
    offsets, g = table.torch.arange(m + 1, device=DEVICE), table.random(m, 64)
    return lambda: tables(indices, offsets).backward(g)


def learning(table):
    """Mini-batches of sparse rows on host and device, with two and with twenty classes."""
    import scipy.sparse

    from adagrad_nb import fit_linear, to_device

    rng, features, row_nnz = np.random.default_rng(0), 47_000, 72
    n = 10**5 if table.quick else 10**6
    columns = (features * rng.random((n, row_nnz), np.float32) ** 3).astype(np.int32)
    columns.sort(axis=1)
    data = rng.random(n * row_nnz, np.float32)
    X = scipy.sparse.csr_matrix((data, columns.reshape(-1), np.arange(0, n * row_nnz + 1, row_nnz)), (n, features))
    X.sum_duplicates()
    scores, device_rows = X @ rng.standard_normal((features, 20), np.float32), to_device(X)
    for case, y in (("logistic batches of 2^14", scores[:, 0] > 0), ("softmax of 20 classes", scores.argmax(axis=1))):
        for library, part in (("ours on the device", device_rows), ("ours on the host", X)):
            _print_fit(table, case, library, n, lambda part=part, y=y: _fit(fit_linear, part, y))


def _fit(fit_linear, X, y):
    return fit_linear(X, y, batch_size=2**14, lr=0.05).progressive_loss


def _print_fit(table, case, library, n, fit):
    """Print the time of the second of two fits, and the number that it returns."""
    try:
        fit()
        begin = time.perf_counter()
        loss = fit()
        seconds = time.perf_counter() - begin
        rate, quality = f"{n / seconds / 1e6:.4g} M rows/s", f"loss {loss:.6f}"
        table.print_row(case, f"{library}, {quality}", f"{seconds * 1e6:.4g}", "", "", rate)
    except Exception as error:
        table.print_row(case, library, f"failed: {_describe(error)}")
    table.free_memory()


def dense_rows(table):
    """Mini-batches of dense rows, which cuML's SGD takes."""
    from adagrad_nb import fit_linear, to_device

    rng, n, features = np.random.default_rng(0), 10**5 if table.quick else 10**6, 100
    X = rng.standard_normal((n, features), np.float32)
    y = (X @ rng.standard_normal(features, np.float32) > 0).astype(np.float32)
    case, rows = "logistic batches of 2^14, 100 dense columns", to_device(X)
    _print_fit(table, case, "ours on the device", n, lambda: _fit(fit_linear, rows, y))
    if table.cuml is not None:
        _print_fit(table, case, "cuML MBSGDClassifier", n, lambda: _cuml_fit(table, X, y))


def _cuml_fit(table, X, y):
    """Fit for one epoch; return the mean logistic loss of the fitted model on the rows."""
    options = {"loss": "log", "penalty": "none", "learning_rate": "constant", "eta0": 0.5, "epochs": 1}
    model = table.cuml.linear_model.MBSGDClassifier(batch_size=2**14, **options).fit(X, y)
    margins = (X @ np.asarray(model.coef_).ravel() + float(model.intercept_)) * (2 * y - 1)
    return float(np.logaddexp(0, -margins).mean())


if __name__ == "__main__":
    sys.exit(main())
