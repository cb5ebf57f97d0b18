"""Device arrays: dense, sparse and mini-batch steps against memory bandwidth and the installed peers.

Without a CUDA device the script prints what is missing and exits with status 0.
"""

import importlib
import statistics
import sys
import time

import numpy as np
import pairs


def main():
    quick = pairs.parse_options(__doc__).quick
    from adagrad_nb import has_cuda

    if missing := _missing(has_cuda):
        print("Nothing was measured:", missing)
        return
    from numba import cuda

    torch, cupy, jax = (_optional(name) for name in ("torch", "cupy", "jax"))
    if torch is not None and not torch.cuda.is_available():
        torch = None
    pairs.print_versions(
        "numba-cuda", *(name for name, peer in (("torch", torch), ("cupy", cupy), ("jax", jax)) if peer)
    )
    device = cuda.get_current_device()
    name = device.name.decode() if isinstance(device.name, bytes) else device.name
    print(f"{name}, compute capability {device.compute_capability}, driver {_driver()}, {time.strftime('%Y-%m-%d')}")
    for part in (_bandwidth, _dense, _overhead, _many_arrays, _sparse, _rows, _learning):
        try:
            part(cuda, torch, cupy, jax, quick)
        except Exception as error:  # e.g. out of memory; the other parts still run
            print(f"{part.__name__[1:]:34s} failed: {type(error).__name__}: {error}")


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


def _optional(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"{name} is not installed; its comparisons are skipped")
        return None


def _driver():
    import subprocess

    try:
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "unknown"


def _median_seconds(cuda, function, calls=20, repeats=7):
    """Return the median time of a call, measured over a queue of `calls` calls."""
    function()
    cuda.synchronize()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        for _ in range(calls):
            function()
        cuda.synchronize()
        times.append((time.perf_counter() - begin) / calls)
    return statistics.median(times)


def _print_line(label, seconds, unit="us", amount=None):
    scaled = f"{seconds * 1e6:10.4g} us" if amount is None else f"{amount / seconds:10.4g} {unit}"
    print(f"{label:50s} {scaled}")


def _bandwidth(cuda, torch, cupy, jax, quick):
    n = 10**7 if quick else 10**8
    a, b = cuda.device_array(n, np.float32), cuda.device_array(n, np.float32)
    _print_line("copy, read and write", _median_seconds(cuda, lambda: b.copy_to_device(a)), "GB/s", 8 * n / 1e9)


def _dense(cuda, torch, cupy, jax, quick):
    for n in (10**6, 10**7) if quick else (10**6, 10**7, 10**8):
        _dense_of(n, cuda, torch, cupy, jax)


def _dense_of(n, cuda, torch, cupy, jax):
    from adagrad_nb import init, update

    def line(library, function):
        _print_line(f"dense, n = {n:.0e}, {library}", _median_seconds(cuda, function), "GB/s", 20 * n / 1e9)

    x, g = (cuda.to_device(np.ones(n, np.float32)) for _ in range(2))
    state = init(x, lr=0.01)
    line("ours", lambda: update(x, g, state, out=(x, state)))
    if torch is not None:
        for kind in ("fused", "foreach"):
            parameter = torch.nn.Parameter(torch.ones(n, device="cuda"))
            parameter.grad = torch.ones(n, device="cuda")
            line(f"torch {kind}", torch.optim.Adagrad([parameter], lr=0.01, **{kind: True}).step)
    if cupy is not None:
        step = "s += g * g; w -= lr * g / (sqrt(s) + eps)"
        kernel = cupy.ElementwiseKernel("float32 g, float32 lr, float32 eps", "float32 w, float32 s", step)
        w, s, h = (cupy.ones(n, cupy.float32) for _ in range(3))
        line("cupy", lambda: kernel(h, 0.01, 1e-10, w, s))
    if jax is not None and (optax := _optional("optax")) is not None:
        rule = optax.adagrad(0.01)
        jax_state = [jax.numpy.ones(n), rule.init(jax.numpy.ones(n)), jax.numpy.ones(n)]

        def apply_gradient(w, s, h):
            changes, s = rule.update(h, s)
            return optax.apply_updates(w, changes), s

        compiled = jax.jit(apply_gradient, donate_argnums=(0, 1))

        def run():
            jax_state[:2] = compiled(*jax_state)
            jax_state[0].block_until_ready()

        line("optax, synchronised after each step", run)


def _overhead(cuda, torch, cupy, jax, quick):
    from adagrad_nb import init, update

    x, g = (cuda.to_device(np.ones(1000, np.float32)) for _ in range(2))
    state = init(x)
    _print_line(
        "launch of one array of 1000 (target < 25 us)",
        _median_seconds(cuda, lambda: update(x, g, state, out=(x, state)), 1000),
    )
    if torch is not None:
        x, g = (torch.ones(1000, device="cuda") for _ in range(2))
        jax_state = init(x)
        _print_line(
            "the same with PyTorch tensors",
            _median_seconds(cuda, lambda: update(x, g, jax_state, out=(x, jax_state)), 1000),
        )


def _many_arrays(cuda, torch, cupy, jax, quick):
    from adagrad_nb import init, update

    x, g = ([cuda.to_device(np.ones(1000, np.float32)) for _ in range(1000)] for _ in range(2))
    state = init(x)
    ours = _median_seconds(cuda, lambda: update(x, g, state, out=(x, state)))
    _print_line("1000 arrays of 1000, ours", ours)
    if torch is not None:
        parameters = [torch.nn.Parameter(torch.ones(1000, device="cuda")) for _ in range(1000)]
        for parameter in parameters:
            parameter.grad = torch.ones(1000, device="cuda")
        peer = _median_seconds(cuda, torch.optim.Adagrad(parameters, foreach=True).step)
        _print_line("1000 arrays of 1000, torch foreach", peer)
        print(f"{'':50s} {peer / ours:10.3g} times as fast (target >= 3)")


def _sparse(cuda, torch, cupy, jax, quick):
    n, m = (10**6, 10**5) if quick else (10**8, 10**6)
    _sparse_updates(cuda, torch, "sparse", (n,), np.random.default_rng(0).integers(0, n // 4, m))


def _rows(cuda, torch, cupy, jax, quick):
    n, m = (10**5, 10**4) if quick else (10**7, 10**5)
    _sparse_updates(cuda, torch, "rows of 64", (n, 64), np.random.default_rng(0).integers(0, n // 4, m))


def _sparse_updates(cuda, torch, label, shape, where):
    from adagrad_nb import init, update

    values = np.ones((where.size, *shape[1:]), np.float32)
    g = cuda.to_device(where), cuda.to_device(values)
    for duplicates in ("merge", "atomic"):
        x = cuda.device_array(shape, np.float32)
        x.copy_to_device(np.zeros(shape, np.float32))
        state = init(x, duplicates=duplicates)
        ours = _median_seconds(cuda, lambda x=x, state=state: update(x, g, state, out=(x, state)))
        _print_line(f"{label}, ours, {duplicates}", ours, "M/s", where.size / 1e6)
    if torch is not None:
        del x, state
        parameter = torch.nn.Parameter(torch.zeros(shape, device="cuda"))
        indices = torch.from_numpy(where[None]).cuda()
        parameter.grad = torch.sparse_coo_tensor(indices, torch.from_numpy(values).cuda(), shape)
        peer = _median_seconds(cuda, torch.optim.Adagrad([parameter], foreach=False).step)
        _print_line(f"{label}, torch", peer, "M/s", where.size / 1e6)


def _learning(cuda, torch, cupy, jax, quick):
    import scipy.sparse

    from adagrad_nb import fit_linear, to_device

    rng, features, row_nnz = np.random.default_rng(0), 47_000, 72
    n = 10**5 if quick else 10**6
    columns = (features * rng.random((n, row_nnz), np.float32) ** 3).astype(np.int32)
    columns.sort(axis=1)
    data = rng.random(n * row_nnz, np.float32)
    X = scipy.sparse.csr_matrix((data, columns.reshape(-1), np.arange(0, n * row_nnz + 1, row_nnz)), (n, features))
    X.sum_duplicates()
    scores, device_rows = X @ rng.standard_normal((features, 20), np.float32), to_device(X)
    for label, y in (("logistic", scores[:, 0] > 0), ("softmax of 20", scores.argmax(axis=1))):
        losses = []
        for rows in (X, device_rows):
            fit_linear(rows, y, batch_size=2**14, lr=0.5)
            begin = time.perf_counter()
            model = fit_linear(rows, y, batch_size=2**14, lr=0.5)
            where = "device" if rows is device_rows else "host"
            _print_line(f"{label} batches, {where}", time.perf_counter() - begin, "M rows/s", n / 1e6)
            losses.append(model.progressive_loss)
        print(f"{'progressive loss, host and device':50s} {losses[0]:.6f} {losses[1]:.6f}")


if __name__ == "__main__":
    sys.exit(main())
