"""Adagrad on Rosenbrock's function: `minimize_adagrad` against a jitted loop in JAX and torch.optim.Adagrad."""

import time

import numpy as np
import pairs

LR, EPS = 0.5, 1e-10


def main():
    quick = pairs.parse_options(__doc__).quick
    jax = pairs.import_peer("jax")
    torch = pairs.import_peer("torch")
    jax.config.update("jax_enable_x64", True)
    pairs.print_versions("jax", "torch", ours=1, jax="its own pool", torch=torch.get_num_threads())
    from adagrad_nb import minimize_adagrad
    from adagrad_nb.testing import Rosenbrock

    jax_minimize = jax_loop(jax)
    targets = []
    for n, steps in ((2, 10**6), (10, 5 * 10**5), (100, 10**5)):
        steps //= 10 if quick else 1
        x0 = np.resize([-1.2, 1.0], n)

        def ours(x0=x0, steps=steps):
            return minimize_adagrad(Rosenbrock(), x0, lr=LR, maxiter=steps, gtol=0)

        def peer(x0=x0, steps=steps):
            return np.asarray(jax_minimize(x0, steps))

        result, expected = ours(), peer()
        assert result.nit == steps
        difference = np.abs(result.x - expected).max() / np.abs(expected).max()
        timings = pairs.time_alternately(ours, peer, 3 if quick else 7)
        ratio = pairs.print_timings(f"n = {n}, JAX", timings, steps * 1e-6, "us/step")
        print(f"{'':34s} after {steps} steps f = {result.fun:.3g}; relative difference of x {difference:.1e}")
        assert difference < 1e-6, "the results differ"
        targets.append((f"n = {n}: our time / JAX's", 1 / ratio, "<=", 1.3))
        if n == 10:
            ours_per_step = float(np.median(timings.ours)) / steps
    seconds = torch_seconds(torch, 10, 200 if quick else 2000)
    print(f"n = 10, PyTorch: {1e6 * seconds:.4g} us/step, ours {1e6 * ours_per_step:.4g} us/step")
    targets.append(("n = 10: PyTorch's time / ours", seconds / ours_per_step, ">=", 1000))
    pairs.print_targets(*targets)


def jax_loop(jax):
    """Return a compiled Adagrad loop with JAX's automatic gradient."""
    jnp = jax.numpy

    def rosenbrock(x):
        return jnp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)

    gradient = jax.grad(rosenbrock)

    def step(_, state):
        x, G = state
        g = gradient(x)
        G = G + g * g
        return x - LR * g / (jnp.sqrt(G) + EPS), G

    return jax.jit(lambda x, steps: jax.lax.fori_loop(0, steps, step, (x, jnp.zeros_like(x)))[0])


def torch_seconds(torch, n, steps):
    """Return the median seconds per step of torch.optim.Adagrad with automatic differentiation."""
    x = torch.nn.Parameter(torch.from_numpy(np.resize([-1.2, 1.0], n)))
    optimizer = torch.optim.Adagrad([x], lr=LR, eps=EPS)
    times = []
    for _ in range(steps):
        begin = time.perf_counter()
        optimizer.zero_grad()
        value = (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum()
        value.backward()
        optimizer.step()
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


if __name__ == "__main__":
    main()
