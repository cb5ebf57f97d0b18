"""Gates: accumulated, skipped and scaled gradients."""

import numpy as np
import pytest

from adagrad_nb import (
    EMA,
    Accumulate,
    Adagrad,
    ClipNorm,
    Cosine,
    DecoupledDecay,
    InverseTime,
    L2Decay,
    LossScale,
    Piecewise,
    Rescale,
    SkipNonFinite,
    init,
    load_state,
    minimize_adagrad,
    minimize_stochastic,
    update,
)

KINDS = ["mean", "sum", "running mean"]


def combine_gradients(gradients, every, kind):
    """Yield the gradient of each step."""
    for k in range(0, len(gradients) - every + 1, every):
        total = np.sum(gradients[k : k + every], axis=0)
        yield total if kind == "sum" else total / every


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("counts", ["updates", "micro-steps"])
@pytest.mark.parametrize("every", [1, 3])
def test_accumulate(kind, counts, every, dtype, tolerance, rng, tmp_path):
    gradients = rng.normal(size=(12, 5)).astype(dtype)
    x = rng.normal(size=5).astype(dtype)
    lr = InverseTime(0.5, 0.1)
    expected, plain = x, init(x, lr=lambda t: lr.at(every * t + every - 1 if counts == "micro-steps" else t))
    state = init(x, lr=lr, transforms=(Accumulate(every, kind, counts),))
    for step, g in enumerate(combine_gradients(gradients, every, kind)):
        expected, plain = update(expected, g.astype(dtype), plain)
        for k in range(every):
            before = x
            x, state = update(x, gradients[step * every + k], state)
            assert (x == before).all() == (k < every - 1)
            if step == 1 and k == 0:  # between two gradients of a step
                state.save(tmp_path / "state.npz")
                state = load_state(tmp_path / "state.npz")
        assert (state.t, state.micro) == (step + 1, (step + 1) * every)
        np.testing.assert_allclose(x, expected, rtol=tolerance, atol=tolerance)


def test_accumulate_in_the_order_of_the_tuple(rng):
    g = rng.normal(size=(2, 4)) * 3
    x = np.zeros(4)
    for transforms, mean in (
        ((ClipNorm(1.0), Accumulate(2)), (g[0] / np.linalg.norm(g[0]) + g[1] / np.linalg.norm(g[1])) / 2),
        ((Accumulate(2), ClipNorm(1.0)), g.mean(axis=0) / np.linalg.norm(g.mean(axis=0))),
        ((Rescale(2.0), Accumulate(2, "sum"), Rescale(0.5)), g.sum(axis=0)),
    ):
        x_new, state = x, init(x, Adagrad(0.3), transforms=transforms)
        for gradient in g:
            x_new, state = update(x_new, gradient, state)
        np.testing.assert_allclose(x_new, update(x, mean, init(x, Adagrad(0.3)))[0], rtol=1e-13)


def test_accumulated_sparse_gradients_of_many_arrays(rng):
    x = {"a": rng.normal(size=(4, 2)), "b": rng.normal(size=3)}
    g = [{"a": ([1, 1], rng.normal(size=(2, 2))), "b": rng.normal(size=3)} for _ in range(2)]
    state = init(x, transforms=(Accumulate(2, "sum"),))
    x_new = x
    for gradient in g:
        x_new, state = update(x_new, gradient, state)
    dense = {"a": np.zeros((4, 2)), "b": g[0]["b"] + g[1]["b"]}
    dense["a"][1] = sum(gradient["a"][1].sum(axis=0) for gradient in g)
    expected, _ = update(x, dense, init(x))
    for name in x:
        np.testing.assert_allclose(x_new[name], expected[name], rtol=1e-13)


def test_averages_count_what_accumulate_counts(rng):
    """Keras updates its average, and overwrites x with it, also between steps."""
    x = np.array([10.0])
    state = init(x, lr=1.0, transforms=(Accumulate(3, counts="micro-steps"),), average=EMA(0.9, overwrite=2))
    mean = x.copy()
    trace, expected = [], []
    G, y = 0.0, 10.0
    for k in range(10):
        x, state = update(x, np.ones(1), state)
        trace.append(x[0])
        if k % 3 == 2:
            G += 1.0
            y -= 1.0 / (np.sqrt(G) + 1e-10)
        mean = y if k < 3 else mean + 0.1 * (y - mean)
        if (k // 3 + 1) % 2 == 0:
            y = mean
        expected.append(float(np.squeeze(y)))
    np.testing.assert_allclose(trace, expected, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_skip(poison, rng):
    x = {"a": rng.normal(size=3), "b": rng.normal(size=2)}
    bad = {"a": np.ones(3), "b": np.array([1.0, poison])}
    state = init(x, transforms=(SkipNonFinite(limit=2),), average=EMA())
    for _ in range(2):
        x_new, state = update(x, bad, state)
        assert (state.t, state.micro) == (0, 0)
        for name in x:
            np.testing.assert_array_equal(x_new[name], x[name])
    with pytest.raises(FloatingPointError, match=r"g: got 3 gradients in a row that are not finite"):
        update(x_new, bad, state)
    x_new, state = update(x_new, x, state)
    expected, _ = update(x, x, init(x))
    for name in x:
        np.testing.assert_array_equal(x_new[name], expected[name])
    assert update(x_new, bad, state)[1].t == 1  # counted from zero again


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_large_finite_gradients_are_not_skipped():
    x = np.zeros(2)
    assert update(x, np.full(2, 1e300), init(x, transforms=(SkipNonFinite(),)))[1].t == 1


def test_loss_scale(rng, tmp_path):
    x, g = rng.normal(size=3), rng.normal(size=(9, 3))
    expected, plain = x, init(x)
    state = init(x, transforms=(LossScale(initial=1024.0, every=3),))
    scales = []
    for step, gradient in enumerate(g):
        if step == 4:
            x, state = update(x, np.array([1.0, np.nan, 1.0]), state)
            scales.append(state.scale)
        x, state = update(x, gradient * state.scale, state)
        expected, plain = update(expected, gradient, plain)
        np.testing.assert_array_equal(x, expected)
        state.save(tmp_path / "state.npz")
        state = load_state(tmp_path / "state.npz")
        scales.append(state.scale)
    assert scales == [1024, 1024, 2048, 2048, 1024, 1024, 1024, 2048, 2048, 2048]


def test_minimisers_accumulate_but_do_not_skip(rng):
    A, b = rng.normal(size=(40, 3)), rng.normal(size=40)

    def fun(x, batch):
        return 0.5 * np.mean((A[batch] @ x - b[batch]) ** 2)

    def jac(x, batch):
        return A[batch].T @ (A[batch] @ x - b[batch]) / len(batch)

    options = {"jac": jac, "epochs": 2, "rng": 0, "lr": 0.3}
    big = minimize_stochastic(fun, np.zeros(3), 40, batch_size=8, **options)
    small = minimize_stochastic(fun, np.zeros(3), 40, batch_size=2, transforms=(Accumulate(4),), **options)
    assert (big.nit, small.nit, small.state.t) == (10, 40, 10)
    np.testing.assert_allclose(small.x, big.x, rtol=1e-12)
    half = minimize_stochastic(fun, np.zeros(3), 40, batch_size=2, transforms=(Accumulate(4),), maxiter=17, **options)
    second = minimize_stochastic(fun, half.x, 40, batch_size=2, state=half.state, jac=jac, epochs=2, maxiter=23)
    np.testing.assert_array_equal(second.x, small.x)
    for gate in (SkipNonFinite(), LossScale()):
        with pytest.raises(ValueError, match=rf"transforms: {type(gate).__name__} works with update only"):
            minimize_adagrad(lambda x: x @ x, np.ones(2), jac=lambda x: 2 * x, transforms=(gate,))


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Accumulate(0), r"Accumulate.every: got 0; must be an integer of at least 1"),
    (lambda: Accumulate(2.5), r"Accumulate.every: got 2.5"),
    (lambda: Accumulate(Cosine(-1.0, 2)), r"Cosine.lr: got -1.0"),
    (lambda: Accumulate(2, "median"), r"Accumulate.kind: got 'median'; must be one of 'mean', 'sum', 'running mean'"),
    (lambda: Accumulate(2, counts="epochs"), r"Accumulate.counts: got 'epochs'"),
    (lambda: SkipNonFinite(-1), r"SkipNonFinite.limit: got -1"),
    (lambda: LossScale(0.0), r"LossScale.initial: got 0.0; must be a number in \(0, inf\)"),
    (lambda: LossScale(float("nan")), r"LossScale.initial: got nan"),
    (lambda: LossScale(every=0), r"LossScale.every: got 0"),
    (lambda: LossScale(shrink=1.0), r"LossScale.shrink: got 1.0; must be a number in \(0, 1\)"),
])  # fmt: skip
def test_domain(make, message):
    with pytest.raises(ValueError, match=message):
        init(np.ones(1), transforms=(make(),))


@pytest.mark.parametrize("kind", ["mean", "sum", "running mean"])
@pytest.mark.parametrize(
    "every", [Piecewise((2, 3), (1, 3, 2)), lambda t: 1 if t < 2 else 3 if t < 3 else 2], ids=["record", "function"]
)
def test_the_number_of_gradients_may_depend_on_the_step(every, kind, rng):
    g, x = rng.normal(size=(9, 3)), rng.normal(size=3)
    expected, plain = x, init(x)
    for first, last in ((0, 1), (1, 2), (2, 5), (5, 7), (7, 9)):
        combined = g[first:last].sum(axis=0) / (1 if kind == "sum" else last - first)
        expected, plain = update(expected, combined, plain)
    state = init(x, transforms=(Accumulate(every, kind),))
    for gradient in g:
        x, state = update(x, gradient, state)
    np.testing.assert_allclose(x, expected, rtol=1e-13)
    assert (state.t, state.micro, state.n_pending) == (5, 9, 0)


def test_a_varying_number_of_gradients_in_files(rng, tmp_path):
    x, g = rng.normal(size=3), rng.normal(size=(7, 3))
    state = init(x, transforms=(Accumulate(Piecewise((1,), (2, 4))),))
    for k, gradient in enumerate(g):
        x, state = update(x, gradient, state)
        state.save(tmp_path / "state.npz")
        state = load_state(tmp_path / "state.npz")
        assert state.n_pending == (1, 0, 1, 2, 3, 0, 1)[k]
    with pytest.raises(ValueError, match=r"is a Python function, which cannot be saved"):
        init(x, transforms=(Accumulate(lambda t: 2),)).save(tmp_path / "state.npz")
    for bad in (lambda t: 0, lambda t: 1.5, Piecewise((), (0.5,)), lambda t: np.inf):
        with pytest.raises(ValueError, match=r"Accumulate\.every\(0\): got .*; must be an integer of at least 1"):
            update(x, g[0], init(x, transforms=(Accumulate(bad),)))


def test_incompatible_gates():
    with pytest.raises(ValueError, match=r"transforms: got Accumulate 2 times; give it once"):
        init(np.ones(1), transforms=(Accumulate(2), Accumulate(3)))
    with pytest.raises(ValueError, match=r"transforms: a DecoupledDecay before Accumulate"):
        init(np.ones(1), transforms=(DecoupledDecay(0.1), Accumulate(3)))
    assert init(np.ones(1), transforms=(L2Decay(0.1), Accumulate(3))).t == 0


def test_accumulate_with_a_function_that_returns_no_number():
    x = np.ones(2)
    state = init(x, transforms=(Accumulate(lambda t: "two"),))
    with pytest.raises(ValueError, match=r"^Accumulate.every\(0\): got 'two'; must be an integer"):
        update(x, x, state)
