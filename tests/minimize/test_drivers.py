"""Tests of minimize_adagrad and minimize_stochastic: the interface of SciPy, in every mode of the loop."""

import math
import warnings
from fractions import Fraction
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest
import reference
import scipy.optimize
import scipy.sparse
from scipy.optimize import Bounds, OptimizeResult, rosen, rosen_der

from adagrad_nb import (
    L1,
    L2,
    Accumulate,
    Adagrad,
    Bounded,
    ClipNorm,
    ClipValue,
    Constant,
    ElasticNet,
    InverseSqrt,
    L2Decay,
    NonNegative,
    OnlineToBatch,
    Piecewise,
    Polyak,
    State,
    WarmUp,
    init,
    minimize_adagrad,
    minimize_stochastic,
    update,
)
from adagrad_nb.minimize.loop import CompiledStepper, Snapshot
from adagrad_nb.minimize.objectives import Objective
from adagrad_nb.testing import Quadratic, Rosenbrock, quadratic

needs_compiler = pytest.mark.compiled_only("is about compiled code, or slow without")
MAX_STEPS = 20_000  # steps of a run that is to converge


def assert_same(a, b):
    np.testing.assert_array_equal(a, b)
    assert np.asarray(a).dtype == np.asarray(b).dtype


# --- one problem in every form -----------------------------------------------------------------------------------

N = 5
CURVATURE = np.array([1.0, 3.0, 0.5, 10.0, 2.0])
MINIMUM = np.array([1.0, -2.0, 0.5, 0.25, 3.0])
START = np.array([0.5, 0.5, -1.0, 2.0, -0.25])


def fun(x, curvature, minimum):
    return 0.5 * np.sum(curvature * (x - minimum) ** 2)


def jac(x, curvature, minimum):
    return curvature * (x - minimum)


def both(x, curvature, minimum):
    return 0.5 * np.sum(curvature * (x - minimum) ** 2), curvature * (x - minimum)


fun_nb, jac_nb, both_nb = numba.njit(fun), numba.njit(jac), numba.njit(both)
DATA = (CURVATURE, MINIMUM)

MODES = {
    "python": {"fun": fun, "jac": jac, "args": DATA},
    "python, both": {"fun": both, "jac": True, "args": DATA},
    "compiled": {"fun": fun_nb, "jac": jac_nb, "args": DATA},
    "compiled, both": {"fun": both_nb, "jac": True, "args": DATA},
    "record": {"fun": Quadratic(*DATA)},
}
every_mode = pytest.mark.parametrize("mode", MODES)
python_and_record = pytest.mark.parametrize("mode", ["python", "record"])  # where only the loop makes a difference

SETTINGS = {
    "plain": {},
    "penalty": {"penalty": L1(0.3), "lr": 0.4},
    "average": {"average": Polyak(5)},
    "average of the points before the updates": {"average": OnlineToBatch(5)},
    "all": {
        "rule": Adagrad(1e-6, inside=True),
        "transforms": (ClipValue(3.0), L2Decay(0.1)),
        "lr": InverseSqrt(0.9, 0.01),
        "bounds": [(-1, 1)] * N,
        "average": Polyak(),
    },
}


def run(mode, **options):
    options = {"x0": START, "maxiter": 30, "gtol": 0.0} | MODES[mode] | options
    return minimize_adagrad(options.pop("fun"), **options)


@pytest.mark.parametrize("kind", [Polyak, OnlineToBatch])
@python_and_record
def test_the_average_is_that_of_the_iterates(mode, kind):
    """`OnlineToBatch` reports the mean of the points at which the gradients were computed, the start included."""
    points = [START] + [run(mode, maxiter=n).x for n in range(1, 9)]
    expected = np.mean(points[:-1] if kind is OnlineToBatch else points[1:], axis=0)
    np.testing.assert_allclose(run(mode, maxiter=8, average=kind()).x, expected, rtol=1e-13)
    half = run(mode, maxiter=3, average=kind())
    resumed = minimize_adagrad(fun, half.x, DATA, jac, maxiter=5, gtol=0.0, state=half.state)
    np.testing.assert_allclose(resumed.x, expected, rtol=1e-13)


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_mode_gives_the_same_iterates(setting):
    expected = run("python", **SETTINGS[setting])
    assert np.abs(expected.x - START).max() > 0.1
    for mode in MODES:
        res = run(mode, **SETTINGS[setting])
        assert_same(res.x, expected.x)
        assert_same(res.state.slots[0][0], expected.state.slots[0][0])
        assert res.fun == pytest.approx(expected.fun, rel=1e-14)
        np.testing.assert_allclose(res.jac, expected.jac, rtol=1e-14)
        assert (res.nit, res.status, res.message) == (expected.nit, expected.status, expected.message)


@every_mode
def test_iterates_are_those_of_the_paper(mode):
    x, gradients = START.copy(), []
    for _ in range(10):
        gradients.append(jac(x, *DATA))
        x, _ = reference.steps(START, gradients, [0.5] * len(gradients))
    np.testing.assert_allclose(run(mode, maxiter=10).x, x, rtol=1e-12)


@python_and_record
def test_norms_in_the_loop(mode):
    """The order of summation of a norm differs between loops: the iterates are equal up to rounding."""
    options = {"transforms": (L2Decay(0.1), ClipNorm(1.0)), "rule": Adagrad(eps=0.5)}
    np.testing.assert_allclose(run(mode, **options).x, run("python", **options).x, rtol=1e-12)


@every_mode
def test_converges_and_says_so(mode):
    res = run(mode, maxiter=MAX_STEPS, gtol=1e-6)
    assert isinstance(res, OptimizeResult)
    assert isinstance(res.state, State)
    assert (res.success, res.status) == (True, 0)
    assert "gtol" in res.message
    np.testing.assert_allclose(res.x, MINIMUM, atol=2e-6)
    assert np.abs(res.jac).max() <= 1e-6
    assert res.fun == fun(res.x, *DATA)
    assert 10 < res.nit < MAX_STEPS
    assert res.nit == res.state.t
    before = run(mode, maxiter=res.nit - 1, gtol=1e-6)
    assert np.abs(before.jac).max() > 1e-6


@every_mode
def test_not_converged_and_says_so(mode):
    res = run(mode, maxiter=7)
    assert (res.success, res.status, res.nit) == (False, 1, 7)
    assert "iterations" in res.message


@every_mode
def test_no_iterations(mode):
    res = run(mode, maxiter=0)
    assert_same(res.x, START)
    assert (res.nit, res.status, res.state.t) == (0, 1, 0)
    assert res.fun == pytest.approx(fun(START, *DATA))
    res = run(mode, maxiter=0, x0=MINIMUM, gtol=1e-5)
    assert (res.nit, res.status, res.success) == (0, 0, True)
    assert run(mode, x0=MINIMUM, gtol=1e-5).nit == 0


def test_counts():
    calls = {"fun": 0, "jac": 0}

    def counting_fun(x):
        calls["fun"] += 1
        return fun(x, *DATA)

    def gradient(x):
        calls["jac"] += 1
        return jac(x, *DATA)

    res = minimize_adagrad(counting_fun, START, jac=gradient, maxiter=100, gtol=0.0)
    assert (res.nfev, res.njev) == (calls["fun"], calls["jac"])
    assert res.njev == 101
    assert res.nfev <= 12  # at the start, at the end, after 1, 2, 4, …
    calls.update(fun=0, jac=0)
    res = minimize_adagrad(counting_fun, START, maxiter=10, gtol=0.0)
    assert res.nfev == calls["fun"] >= 10 * (N + 1)
    for mode in ("compiled", "compiled, both", "record"):
        res = run(mode, maxiter=100)
        assert 100 <= res.njev <= 130


def test_the_arguments_are_unchanged():
    x0 = START.copy()
    for mode in ("python", "record"):
        res = run(mode, x0=x0, bounds=[(0, 0.1)] * N)
        assert_same(x0, START)
        assert not np.shares_memory(res.x, x0)


def test_a_list_or_a_number_to_start_from():
    res = minimize_adagrad(lambda x: (x[0] - 2) ** 2, 0, jac=lambda x: 2 * (x - 2))
    assert res.x == pytest.approx([2.0], abs=1e-5)
    assert minimize_adagrad(rosen, [0, 0], jac=rosen_der, maxiter=3).x.dtype == np.float64


# --- precision ---------------------------------------------------------------------------------------------------


@python_and_record
def test_single_precision_is_kept(mode):
    kinds = set()

    def callback(xk):
        kinds.add(xk.dtype)

    args = tuple(a.astype(np.float32) for a in DATA)
    options = {"fun": Quadratic(*args)} if mode == "record" else {"args": args}
    res = run(mode, x0=START.astype(np.float32), callback=callback, maxiter=300, **options)
    assert kinds == {np.dtype(np.float32)}
    assert res.x.dtype == res.jac.dtype == res.state.slots[0][0].dtype == np.float32
    np.testing.assert_allclose(res.x, run(mode, maxiter=300).x, rtol=1e-4)


def test_single_precision_in_every_mode_is_the_same():
    args = tuple(a.astype(np.float32) for a in DATA)
    start = START.astype(np.float32)
    for options in ({}, {"lr": Constant(np.linspace(0.1, 0.7, N))}, {"lr": lambda t: 0.3 + 0.1 * (t % 3)}):
        expected = run("python", x0=start, args=args, **options)
        if not options:
            for mode in ("compiled", "compiled, both"):
                assert_same(run(mode, x0=start, args=args).x, expected.x)
        assert_same(run("record", fun=Quadratic(*args), x0=start, **options).x, expected.x)


def test_double_gradients_of_single_precision_iterates():
    res = run("python", x0=START.astype(np.float32))
    assert res.x.dtype == np.float32


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.uint16, bool])
def test_integers_become_float64(kind):
    res = run("python", x0=np.array([1, 0, 1, 2, 3], kind))
    assert res.x.dtype == np.float64


@pytest.mark.parametrize(
    "x0",
    [START + 1j, START.astype(object), START.astype(np.float16), ["a"] * N, None],
    ids=lambda x: str(np.asarray(x).dtype),
)
def test_other_dtypes_raise(x0):
    with pytest.raises(TypeError, match=r"^x0: got dtype .*; must be float32, float64 or integer$"):
        run("python", x0=x0)


@pytest.mark.parametrize(
    ("x0", "message"),
    [
        (np.zeros((2, 2)), r"x0: got shape \(2, 2\); must have one dimension"),
        ([], "x0: got an empty array"),
        ([1.0, np.nan], "x0: got nan at index 1; must be finite"),
        ([-np.inf], "x0: got -inf at index 0; must be finite"),
    ],
    ids=["matrix", "empty", "nan", "inf"],
)
def test_bad_start_points_raise(x0, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        run("python", x0=x0)


# --- gradients ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [None, False, "2-point", "3-point", "cs"])
def test_differences(method):
    res = minimize_adagrad(fun, START, DATA, method, maxiter=20, gtol=0.0)
    np.testing.assert_allclose(res.x, run("python", maxiter=20).x, rtol=1e-5)
    if method in ("3-point", "cs"):
        np.testing.assert_allclose(res.x, run("python", maxiter=20).x, rtol=1e-9)


def test_differences_stay_within_bounds():
    points = []

    def guarded(x):
        points.append(x.copy())
        return fun(x, *DATA)

    res = minimize_adagrad(guarded, np.zeros(N), bounds=[(0, 0.2)] * N, maxiter=50)
    assert np.min(points) >= 0
    assert np.max(points) <= 0.2
    np.testing.assert_allclose(res.x, np.clip(MINIMUM, 0, 0.2))


def test_differences_in_single_precision():
    res = minimize_adagrad(fun, START.astype(np.float32), DATA, maxiter=20, gtol=0.0)
    assert res.x.dtype == np.float32


@pytest.mark.parametrize("bad", ["4-point", 3, "hess", []], ids=str)
def test_jac_that_is_no_jac(bad):
    with pytest.raises(ValueError, match=r"^jac: got .*; must be callable, True, None, or one of 2-point"):
        minimize_adagrad(fun, START, DATA, bad)


def test_fun_that_is_no_fun():
    with pytest.raises(TypeError, match=r"^fun: got 'rosen'; must be callable, or an objective record"):
        minimize_adagrad("rosen", START)
    with pytest.raises(ValueError, match=r"^fun: with jac=True it must return \(value, gradient\); got float"):
        minimize_adagrad(lambda x: 1.0, START, jac=True)
    for value in (np.zeros(2), "one", None, 1j):
        with pytest.raises(TypeError, match=r"^fun: got a .*; must return one real number$"):
            minimize_adagrad(lambda x, value=value: value, START, jac=lambda x: x)


@pytest.mark.parametrize("value", [1, np.float32(1), np.ones(1), np.ones((1, 1)), np.array(1.0)], ids=str)
def test_one_number_in_any_shape(value):
    assert minimize_adagrad(lambda x: value, START, jac=lambda x: x, maxiter=1).fun == 1.0


@pytest.mark.parametrize(
    "gradient", [lambda x: x[:2], lambda x: x * 1j, lambda x: "g", lambda x: ([N], [1.0]), lambda x: ([0], [1.0, 2.0])],
    ids=["shape", "complex", "text", "index", "lengths"],
)  # fmt: skip
def test_bad_gradients_raise(gradient):
    with pytest.raises((TypeError, ValueError), match=r"^jac"):
        minimize_adagrad(lambda x: 1.0, START, jac=gradient)


def test_a_gradient_in_another_shape():
    res = run("python", jac=lambda x, *args: jac(x, *args)[:, None])
    assert_same(res.x, run("python").x)


SPARSE = {
    "pair": lambda where, values: (where, values),
    "doubled": lambda where, values: (np.r_[where, where], np.r_[values, values] / 2),
    "row": lambda where, values: scipy.sparse.csr_array((values, where, [0, len(where)]), shape=(1, N)),
    "column": lambda where, values: scipy.sparse.csc_matrix((values, where, [0, len(where)]), shape=(N, 1)),
}


@pytest.mark.parametrize("sparse_format", SPARSE)
@pytest.mark.parametrize("average", [None, Polyak()], ids=["last", "mean"])
def test_sparse_gradients(sparse_format, average):
    """Dense and sparse gradients of two coordinates give the same run."""

    def dense(x, counter=None):
        g = np.zeros(N)
        i = (dense.calls // 2) % N
        dense.calls += 1
        g[[i, (i + 1) % N]] = jac(x, *DATA)[[i, (i + 1) % N]]
        return g

    def sparse(x):
        g = dense(x)
        where = np.flatnonzero(g)
        return SPARSE[sparse_format](where, g[where])

    dense.calls = 0
    expected = minimize_adagrad(lambda x: fun(x, *DATA), START, jac=dense, maxiter=40, gtol=0.0, average=average)
    dense.calls = 0
    res = minimize_adagrad(lambda x: fun(x, *DATA), START, jac=sparse, maxiter=40, gtol=0.0, average=average)
    assert_same(res.x, expected.x)
    assert res.fun < fun(START, *DATA) / 2


def test_a_sparse_gradient_alone_does_not_end_a_penalised_run():
    """An unlisted coordinate has a zero gradient, but the penalty would still move it."""
    options = {"penalty": L1(0.1), "maxiter": 30, "gtol": 1e-3}
    res = minimize_adagrad(lambda x: 0.5 * x[0] ** 2, [0.0, 2.0], jac=lambda x: ([0], x[:1]), **options)
    assert res.status == 1
    assert res.nit == 30


@needs_compiler
def test_a_compiled_sparse_gradient():
    @numba.njit
    def sparse(x, curvature, minimum):
        return np.arange(x.size), curvature * (x - minimum)

    assert_same(run("compiled", jac=sparse).x, run("python").x)


# --- bounds ------------------------------------------------------------------------------------------------------

LOWER, UPPER = np.array([-np.inf, -1.0, 0.0, 0.5, -0.5]), np.array([0.5, np.inf, 0.25, 0.75, 0.5])
SPELLINGS = {
    "pairs": list(zip(LOWER, UPPER, strict=True)),
    "tuples of None": tuple((a if np.isfinite(a) else None, b if np.isfinite(b) else None)
                            for a, b in zip(LOWER, UPPER, strict=True)),
    "array": np.c_[LOWER, UPPER],
    "Bounds": Bounds(LOWER, UPPER),
    "iterator": (list(pair) for pair in zip(LOWER, UPPER, strict=True)),
}  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_bounds(spelling):
    res = run("python", bounds=SPELLINGS[spelling], maxiter=MAX_STEPS // 10, gtol=1e-6)
    assert res.status == 0
    np.testing.assert_allclose(res.x, np.clip(MINIMUM, LOWER, UPPER), atol=1e-5)


@every_mode
def test_every_iterate_is_within(mode):
    recorded = []
    run(mode, bounds=Bounds(LOWER, UPPER), callback=lambda xk: recorded.append(xk))
    assert len(recorded) == 30
    assert (np.array(recorded) >= LOWER).all()
    assert (np.array(recorded) <= UPPER).all()


def test_bounds_of_one_number():
    res = run("python", bounds=Bounds(-0.1, 0.3), maxiter=500, gtol=1e-6)
    np.testing.assert_allclose(res.x, np.clip(MINIMUM, -0.1, 0.3), atol=1e-5)
    np.testing.assert_array_equal(run("python", bounds=[(None, None)] * N).x, run("python").x)
    fixed = run("python", bounds=[(1.5, 1.5)] * N)
    np.testing.assert_array_equal(fixed.x, np.full(N, 1.5))


def test_bounds_and_a_penalty():
    res = run("python", bounds=[(0, None)] * N, penalty=L1(0.5), maxiter=MAX_STEPS // 2, gtol=1e-8)
    np.testing.assert_allclose(res.x, np.maximum(MINIMUM - 0.5 / CURVATURE, 0), atol=1e-7)


BAD_BOUNDS = [
    ([(0, 1)] * 2, "bounds: got 2 pairs for 5 variables; give one pair per variable"),
    ([(0, 1)] * 3 + [(2, 1), (0, 1)], "bounds: lower bound 2.0 exceeds upper bound 1.0 at index 3"),
    ([(0, np.nan)] + [(0, 1)] * 4, "bounds: upper: got nan at index 0; every entry must be in [-inf, inf]"),
    ([(0, 1, 2)] * 5, "bounds: got [(0, 1, 2)"),
    (3, "bounds: got 3; must be a sequence of (lower, upper) pairs"),
    (Bounds([0, 0], [1, 1]), "bounds: lower has shape (2,); must be a number or have shape (5,)"),
    ([], "bounds: got 0 pairs for 5 variables"),
]


@pytest.mark.parametrize(("bounds", "message"), BAD_BOUNDS, ids=range(len(BAD_BOUNDS)))
def test_bad_bounds(bounds, message):
    with pytest.raises(ValueError) as raised:
        run("python", bounds=bounds)
    assert str(raised.value).startswith(message)


# --- penalties ---------------------------------------------------------------------------------------------------


def lasso(rng, n=40, m=6):
    A = rng.normal(size=(n, m))
    b = A @ np.array([2.0, 0.0, -1.0, 0.0, 0.5, 0.0]) + 0.1 * rng.normal(size=n)
    return A, b


def least_squares(x, A, b):
    return 0.5 * np.sum((A @ x - b) ** 2) / b.size


def least_squares_gradient(x, A, b):
    return A.T @ (A @ x - b) / b.size


@pytest.mark.parametrize("second", [0.0, 0.3])
def test_penalised_optimum(second, rng):
    """Compare with L-BFGS-B on x = u - v with u, v >= 0, where the penalty is smooth."""
    A, b = lasso(rng)
    first = 0.15

    def split(z):
        u, v = np.split(z, 2)
        g = least_squares_gradient(u - v, A, b) + second * (u - v)
        value = least_squares(u - v, A, b) + first * z.sum() + 0.5 * second * np.sum((u - v) ** 2)
        return value, np.r_[g + first, -g + first]

    exact = scipy.optimize.minimize(
        split, np.ones(12), jac=True, bounds=[(0, None)] * 12, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-10}
    )
    res = minimize_adagrad(
        least_squares, np.ones(6), (A, b), least_squares_gradient, penalty=ElasticNet(first, second), gtol=1e-8
    )
    assert res.status == 0
    assert res.fun == pytest.approx(exact.fun, rel=1e-9)
    np.testing.assert_allclose(res.x, exact.x[:6] - exact.x[6:], atol=1e-6)
    assert (res.x == 0).sum() >= 2
    np.testing.assert_allclose(res.jac, least_squares_gradient(res.x, A, b), atol=1e-12)


@pytest.mark.parametrize("penalty", [L1(0.0), L2(0.0), ElasticNet(0.0, 0.0)], ids=str)
def test_a_penalty_of_no_strength(penalty):
    np.testing.assert_allclose(run("python", penalty=penalty).x, run("python").x, rtol=1e-14)


@python_and_record
def test_a_penalty_per_coordinate(mode):
    strength = np.array([0.0, 1.0, 0.5, 0.0, 100.0])
    res = run(mode, penalty=L1(strength), maxiter=MAX_STEPS // 10, gtol=1e-7)
    expected = np.sign(MINIMUM) * np.maximum(np.abs(MINIMUM) - strength / CURVATURE, 0)
    np.testing.assert_allclose(res.x, expected, atol=1e-6)
    assert res.fun == pytest.approx(fun(res.x, *DATA) + np.sum(strength * np.abs(res.x)))


@python_and_record
def test_a_start_outside_of_the_domain_is_brought_in(mode):
    for penalty, lower, upper in ((NonNegative(), 0, np.inf), (Bounded(L1(0.0), -0.2, 0.4), -0.2, 0.4)):
        assert_same(run(mode, penalty=penalty, maxiter=0).x, np.clip(START, lower, upper))
        res = run(mode, penalty=penalty, maxiter=MAX_STEPS // 10)
        np.testing.assert_allclose(res.x, np.clip(MINIMUM, lower, upper), atol=1e-4)
        assert np.isfinite(res.fun)


# --- rates -------------------------------------------------------------------------------------------------------

RATES = {
    "number": (0.3, lambda t: 0.3),
    "array": (np.linspace(0.1, 0.9, N), lambda t: np.linspace(0.1, 0.9, N)),
    "list": ([0.1, 0.3, 0.5, 0.7, 0.9], lambda t: np.linspace(0.1, 0.9, N)),
    "schedule": (InverseSqrt(0.5), lambda t: 0.5 / math.sqrt(1 + t)),
    "nested": (WarmUp(5, Piecewise((9,), (0.5, 0.25))), lambda t: 0.5 * min((t + 1) / 5, 1) / (1 if t < 14 else 2)),
    "record of an array": (Constant(np.linspace(0.1, 0.9, N)), lambda t: np.linspace(0.1, 0.9, N)),
    "callable": (lambda t: 0.5 / (1 + t), lambda t: 0.5 / (1 + t)),
    "callable of arrays": (lambda t: np.linspace(0.1, 0.9, N) / (1 + t), lambda t: np.linspace(0.1, 0.9, N) / (1 + t)),
    "callable of either": (lambda t: np.full(N, 0.25) if t % 2 else 0.5, lambda t: 0.25 if t % 2 else 0.5),
}


@pytest.mark.parametrize("rate", RATES)
@python_and_record
def test_rates(mode, rate):
    lr, naive = RATES[rate]
    x, G = START.copy(), np.zeros(N)
    for t in range(20):
        g = jac(x, *DATA)
        G += g * g
        x -= naive(t) * g / (np.sqrt(G) + 1e-10)
    np.testing.assert_allclose(run(mode, lr=lr, maxiter=20).x, x, rtol=1e-12)


@python_and_record
@pytest.mark.parametrize(
    "lr", [np.ones(3), Constant(np.ones(3)), lambda t: np.ones(3), lambda t: np.ones(N + 1)], ids=range(4)
)
def test_rates_of_another_shape_raise(mode, lr):
    with pytest.raises(ValueError, match=r"^lr: got shape \([36],\); must be a number or have the shape of x, \(5,\)$"):
        run(mode, lr=lr)


@python_and_record
def test_bad_rates_raise(mode):
    with pytest.raises(ValueError, match=r"^lr\(3\): got -1\.0; must be a number in \[0, inf\)$"):
        run(mode, lr=lambda t: 1.0 if t < 3 else -1.0)
    with pytest.raises(ValueError, match=r"^lr: got -1\.0"):
        run(mode, lr=-1.0)


def test_a_long_table_of_rates_is_cut():
    """A table of rates per coordinate is limited in size; a run with several tables is the same."""
    lr = RATES["callable of arrays"][0]
    expected = run("record", lr=lr, maxiter=60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CompiledStepper, "MAX_TABLE_SIZE", 2 * N)
        assert_same(run("record", lr=lr, maxiter=60).x, expected.x)


# --- callbacks ---------------------------------------------------------------------------------------------------


@every_mode
def test_callback_of_iterates(mode):
    recorded = []
    res = run(mode, callback=lambda xk: recorded.append(xk), maxiter=12)
    assert len(recorded) == 12
    assert_same(recorded[-1], res.x)
    for k in (1, 5):
        assert_same(recorded[k - 1], run(mode, maxiter=k).x)


@python_and_record
def test_callback_of_results(mode):
    recorded = []

    def callback(*, intermediate_result):
        recorded.append(intermediate_result)

    res = run(mode, callback=callback, maxiter=12, penalty=L2(0.5))
    assert [r.nit for r in recorded] == list(range(1, 13))
    for r in recorded:
        assert isinstance(r, OptimizeResult)
        assert r.fun == pytest.approx(fun(r.x, *DATA) + 0.25 * np.sum(r.x**2), rel=1e-13)
    assert_same(recorded[-1].x, res.x)
    assert recorded[-1].fun == res.fun


def test_callbacks_may_take_either_kind_of_argument():
    def positional(intermediate_result):
        assert isinstance(intermediate_result, OptimizeResult)

    run("python", callback=positional, maxiter=2)
    with pytest.raises(TypeError, match=r"^callback: got 3; must be callable$"):
        run("python", callback=3)


@every_mode
def test_callbacks_get_copies(mode):
    def overwrite(xk):
        xk[:] = np.nan

    def overwrite_result(intermediate_result):
        intermediate_result.x[:] = np.nan

    expected = run(mode)
    for average in (None, Polyak()):
        assert np.isfinite(run(mode, callback=overwrite, average=average).x).all()
    for callback in (overwrite, overwrite_result):
        assert_same(run(mode, callback=callback).x, expected.x)


@every_mode
def test_a_callback_does_not_change_the_run(mode):
    assert_same(run(mode, callback=lambda xk: None).x, run(mode).x)


@every_mode
def test_stop_iteration(mode):
    recorded = []

    def callback(xk):
        recorded.append(xk)
        if len(recorded) == 7:
            raise StopIteration

    res = run(mode, callback=callback)
    assert (res.nit, res.status, res.success) == (7, 99, False)
    assert "StopIteration" in res.message
    assert_same(res.x, run(mode, maxiter=7).x)
    assert np.isfinite(res.fun)


@needs_compiler
def test_records_are_evaluated_compiled():
    """Records are compiled before and after the loop too: a sum over many samples would take minutes in Python."""
    objective = Objective(Quadratic(*DATA), None, (), START)
    before = len(objective.kernel.signatures)
    value, gradient = objective.gradient(START, None)
    assert len(objective.kernel.signatures) == max(before, 1)
    assert value == objective.value(START) == pytest.approx(fun(START, *DATA))
    np.testing.assert_allclose(gradient, jac(START, *DATA))


def test_other_errors_pass_through():
    def callback(xk):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match=r"^mine$"):
        run("python", callback=callback)


# --- what is not finite ------------------------------------------------------------------------------------------


class NonFiniteBelowEdge(NamedTuple):
    """Half of |x|**2 until a coordinate falls below the edge; there the value or gradient is `bad_value`."""

    edge: float
    bad_value: float
    where: int  # 0 the gradient, 1 the value, 2 both

    def value_grad(self, x, g):
        value = x[0] - x[0]
        is_below = False
        for i in range(x.shape[0]):
            g[i] = x[i]
            value += x[i] * x[i] / type(self.edge)(2)
            is_below = is_below or x[i] < self.edge
        if is_below and self.where != 1:
            g[0] = self.bad_value
        return self.bad_value if is_below and self.where != 0 else value


def value_and_gradient_below_edge(x, edge, bad_value, where):
    g = x.copy()
    is_below = (x < edge).any()
    if is_below and where != 1:
        g[0] = bad_value
    return (bad_value if is_below and where != 0 else 0.5 * np.sum(x * x)), g


def value_below_edge(x, edge, bad_value, where):
    return bad_value if (x < edge).any() and where != 0 else 0.5 * np.sum(x * x)


def gradient_below_edge(x, edge, bad_value, where):
    g = x.copy()
    if (x < edge).any() and where != 1:
        g[0] = bad_value
    return g


compiled_value, compiled_gradient, compiled_both = (
    numba.njit(value_below_edge),
    numba.njit(gradient_below_edge),
    numba.njit(value_and_gradient_below_edge),
)

NON_FINITE = {
    "python": lambda *args: {"fun": value_below_edge, "jac": gradient_below_edge, "args": args},
    "python, both": lambda *args: {"fun": value_and_gradient_below_edge, "jac": True, "args": args},
    "compiled": lambda *args: {"fun": compiled_value, "jac": compiled_gradient, "args": args},
    "compiled, both": lambda *args: {"fun": compiled_both, "jac": True, "args": args},
    "record": lambda *args: {"fun": NonFiniteBelowEdge(*args)},
}


@pytest.mark.parametrize("bad_value", [math.nan, math.inf])
@pytest.mark.parametrize("where", [0, 1, 2], ids=["gradient", "value", "both"])
def test_not_finite(bad_value, where):
    """Every mode ends at the same x, the last one with a finite value and gradient."""
    # The steps from 2 are 0.1, 0.07, 0.06, …: the edge is crossed by the sixth.
    results = {}
    for mode, problem in NON_FINITE.items():
        options = problem(1.6, bad_value, where)
        with np.errstate(all="ignore"):
            res = minimize_adagrad(options.pop("fun"), [2.0, 3.0], lr=0.1, maxiter=200, **options)
        assert res.status == 2, mode
        assert not res.success
        assert "finite" in res.message
        assert np.isfinite(res.x).all()
        assert np.isfinite(res.fun)
        assert np.isfinite(res.jac).all()
        assert np.isfinite(res.state.slots[0][0]).all()
        assert res.state.t == res.nit
        results[mode] = res
    expected = results["record"]
    assert expected.x.min() >= 1.6
    assert 3 < expected.nit < 20
    for mode, res in results.items():
        if where == 1 and mode in ("python", "compiled"):
            # The value is not part of a step there: it is looked at after 1, 2, 4, … of them.
            assert res.nit == 4
            assert_same(res.x, minimize_adagrad(NonFiniteBelowEdge(-9.0, 0.0, 0), [2.0, 3.0], lr=0.1, maxiter=4).x)
        else:
            assert res.nit == expected.nit, mode
            assert_same(res.x, expected.x)


@pytest.mark.parametrize("mode", NON_FINITE)
def test_not_finite_at_the_start(mode):
    options = NON_FINITE[mode](9.0, math.nan, 2)
    res = minimize_adagrad(options.pop("fun"), [2.0, 3.0], **options)
    assert (res.status, res.nit, res.success) == (2, 0, False)
    assert_same(res.x, np.array([2.0, 3.0]))


@pytest.mark.parametrize("mode", NON_FINITE)
def test_not_finite_with_a_callback(mode):
    options = NON_FINITE[mode](1.6, math.nan, 2)
    recorded = []
    res = minimize_adagrad(
        options.pop("fun"), [2.0, 3.0], lr=0.1, maxiter=200, callback=lambda xk: recorded.append(xk), **options
    )
    assert res.status == 2
    assert np.isfinite(recorded).all()
    assert np.isfinite(res.x).all()
    assert res.x.min() >= 1.6


@pytest.mark.parametrize("mode", ["python, both", "record"])
def test_not_finite_with_an_average(mode):
    options = NON_FINITE[mode](1.6, math.nan, 2)
    res = minimize_adagrad(options.pop("fun"), [2.0, 3.0], lr=0.1, maxiter=200, average=Polyak(), **options)
    expected = minimize_adagrad(NonFiniteBelowEdge(-9.0, 0.0, 0), [2.0, 3.0], lr=0.1, maxiter=res.nit, average=Polyak())
    assert res.status == 2
    assert_same(res.x, expected.x)
    assert_same(res.state.iterate, expected.state.iterate)


def test_a_sparse_step_is_taken_back():
    def gradient(x):
        return ([0], [math.nan if x[0] < 1.6 else x[0]])

    res = minimize_adagrad(lambda x: 0.5 * x @ x, [2.0, 3.0], jac=gradient, lr=0.1, maxiter=50)
    expected = minimize_adagrad(lambda x: 0.5 * x @ x, [2.0, 3.0], jac=lambda x: ([0], x[:1]), lr=0.1, maxiter=res.nit)
    assert res.status == 2
    assert_same(res.x, expected.x)
    assert_same(res.state.slots[0][0], expected.state.slots[0][0])


def test_a_snapshot_restores_an_accumulated_gradient():
    x = START.copy()
    state = init(x, transforms=(Accumulate(4),))
    snapshots = []
    for k in range(2):
        snapshots.append((Snapshot(x, state), k))
        update(x, jac(x, *DATA), state, out=(x, state))
    for snapshot, micro in reversed(snapshots):
        snapshot.restore(state)
        assert state.micro == micro
        if micro:
            assert_same(state.leaves[0].accumulated, jac(START, *DATA))
    assert state.leaves[0].accumulated is None


@every_mode
def test_overflow_ends_finite(mode):
    with np.errstate(all="ignore"):
        res = run(mode, x0=START * 1e160, lr=1e170, maxiter=100)
    assert np.isfinite(res.x).all()
    assert res.status in (1, 2)


# --- going on ----------------------------------------------------------------------------------------------------

RESUMED = {
    "plain": {},
    "average": {"average": Polyak(20)},
    "schedule": {"lr": WarmUp(30, InverseSqrt(0.9, 0.1))},
    "callable": {"lr": lambda t: 0.5 / (1 + 0.01 * t)},
    "transforms": {"transforms": (ClipNorm(2.0), L2Decay(0.1)), "penalty": L1(0.1)},
    "bounds": {"bounds": [(-1, 0.75)] * N},
    "bounds and penalty": {"bounds": [(-1, 0.75)] * N, "penalty": L1(0.1)},
}


@python_and_record
@pytest.mark.parametrize("setting", RESUMED)
def test_resumed_is_uninterrupted(mode, setting):
    first = run(mode, maxiter=40, **RESUMED[setting])
    copies = first.x.copy(), first.state.slots[0][0].copy()
    second = run(mode, x0=first.x, state=first.state, maxiter=60)
    uninterrupted = run(mode, maxiter=100, **RESUMED[setting])
    assert_same(second.x, uninterrupted.x)
    assert_same(second.state.slots[0][0], uninterrupted.state.slots[0][0])
    assert second.state.t == 100
    assert (second.fun, second.nit) == (uninterrupted.fun, 60)
    assert_same(first.state.slots[0][0], copies[1])  # the state that was given stays as it was
    assert first.state.t == 40


def test_options_of_the_state_may_be_replaced():
    first = run("python", maxiter=10, lr=0.5)
    second = run("python", x0=first.x, state=first.state, maxiter=10, lr=0.1, penalty=L2(0.1))
    assert second.state.lr == 0.1
    assert first.state.lr == 0.5
    assert second.state.t == 20
    assert_same(run("python", x0=first.x, state=first.state, maxiter=0).state.slots[0][0], first.state.slots[0][0])


def test_lr_scale_of_a_resumed_run_may_be_replaced():
    first = run("python", maxiter=10)
    second = run("python", x0=first.x, state=first.state, maxiter=10, lr_scale=0.2)
    assert_same(second.x, run("python", x0=first.x, state=first.state, maxiter=10, lr=0.1).x)
    scales = np.linspace(0.1, 1.0, N)
    second = run("python", x0=first.x, state=first.state, maxiter=10, lr_scale=scales)
    assert_same(second.x, run("python", x0=first.x, state=first.state, maxiter=10, lr=0.5 * scales).x)


def test_states_that_do_not_fit():
    state = run("python", maxiter=3).state
    for x0 in (np.zeros(N + 1), START.astype(np.float32)):
        with pytest.raises(ValueError, match=r"^state: it was made for float64 of shape"):
            run("python", x0=x0, state=state)
    with pytest.raises(TypeError, match=r"^state: got dict; must be the state of an earlier result"):
        run("python", state={})


# --- SciPy -------------------------------------------------------------------------------------------------------


def test_as_a_method_of_scipy():
    recorded = []
    res = scipy.optimize.minimize(
        fun, START, args=DATA, jac=jac, method=minimize_adagrad, bounds=[(-1, 1)] * N, tol=1e-6,
        callback=lambda xk: recorded.append(xk), options={"lr": 0.4, "maxiter": 5000, "penalty": L1(0.1)},
    )  # fmt: skip
    expected = minimize_adagrad(
        fun, START, DATA, jac, bounds=[(-1, 1)] * N, lr=0.4, maxiter=5000, penalty=L1(0.1), gtol=1e-6
    )
    assert_same(res.x, expected.x)
    assert len(recorded) == res.nit
    assert res.success


def test_as_a_method_with_both():
    res = scipy.optimize.minimize(both, START, args=DATA, jac=True, method=minimize_adagrad)
    np.testing.assert_allclose(res.x, MINIMUM, atol=1e-5)
    res = scipy.optimize.minimize(fun, START, args=DATA, method=minimize_adagrad, options={"maxiter": 5})
    assert res.nit == 5


@pytest.mark.parametrize(
    "constraints", [{"type": "eq", "fun": np.sum}, [{"type": "ineq", "fun": np.sum}],
                    scipy.optimize.LinearConstraint(np.eye(N), 0, 1)], ids=["dict", "list", "linear"],
)  # fmt: skip
def test_constraints_raise(constraints):
    with pytest.raises(ValueError, match=r"^constraints: only bounds are supported; use bounds=…, a penalty such as"):
        run("python", constraints=constraints)


def test_no_constraints_are_fine():
    for constraints in ((), [], None):
        assert_same(run("python", constraints=constraints).x, run("python").x)


def test_unused_options():
    for name in ("hess", "hessp"):
        with pytest.warns(RuntimeWarning, match=f"^minimize_adagrad does not use {name}: it needs gradients only$"):
            run("python", **{name: lambda x: x})
    with pytest.raises(TypeError, match=r"^minimize_adagrad: unknown option 'maxfun'; the options are"):
        run("python", maxfun=3)


def test_the_message_is_printed(capsys):
    run("python", disp=True, maxiter=3)
    assert "after 3 iterations" in capsys.readouterr().out
    run("python", maxiter=3)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"maxiter": -1}, "maxiter: got -1; must be an integer of at least 0"),
        ({"maxiter": 1.5}, "maxiter: got 1.5; must be an integer of at least 0"),
        ({"gtol": -1.0}, "gtol: got -1.0; must be a number in [0, inf)"),
        ({"gtol": math.nan}, "gtol: got nan; must be a number in [0, inf)"),
        ({"tol": -1.0}, "gtol: got -1.0; must be a number in [0, inf)"),
        ({"gtol": "small"}, "gtol: got 'small'; must be a number in [0, inf)"),
    ],
    ids=str,
)
def test_bad_options(option, message):
    with pytest.raises((TypeError, ValueError)) as raised:
        run("python", **option)
    assert str(raised.value) == message


def test_args_need_not_be_a_tuple():
    res = minimize_adagrad(lambda x, a: a * x @ x, START, 2.0, lambda x, a: 2 * a * x, maxiter=5)
    assert_same(res.x, minimize_adagrad(lambda x: 2 * x @ x, START, jac=lambda x: 4.0 * x, maxiter=5).x)


@needs_compiler
def test_an_objective_that_does_not_compile_runs_in_python():
    class Printed(NamedTuple):
        names: Any

        def value_grad(self, x, g):
            g[:] = x * len("".join(self.names))
            return float(Fraction(1, 2)) * (x @ x)

    with pytest.warns(
        RuntimeWarning, match=r"^fun: could not be compiled into the loop, which runs in Python: "
    ) as raised:
        res = minimize_adagrad(Printed(["a"]), START, maxiter=10)
    assert [warning.filename for warning in raised] == [__file__]
    assert_same(res.x, minimize_adagrad(lambda x: 0.5 * x @ x, START, jac=lambda x: x, maxiter=10).x)


@needs_compiler
def test_an_error_of_the_objective_passes_through():
    @numba.njit
    def bad(x):
        if x[0] < 0.4:
            raise IndexError("mine")
        return x.copy()

    with pytest.raises(IndexError, match=r"^mine$"):
        minimize_adagrad(lambda x: 0.5 * x @ x, START, jac=bad, lr=0.01)


# --- known minima ------------------------------------------------------------------------------------------------


def beale(x):
    a, b = x
    terms = np.array([1.5, 2.25, 2.625]) - a + a * b ** np.arange(1, 4)
    slope_b = a * np.arange(1, 4) * b ** np.arange(3)
    return terms @ terms, 2 * np.array([terms @ (b ** np.arange(1, 4) - 1), terms @ slope_b])


def himmelblau(x):
    u, v = x[0] ** 2 + x[1] - 11, x[0] + x[1] ** 2 - 7
    return u * u + v * v, np.array([4 * x[0] * u + 2 * v, 2 * u + 4 * x[1] * v])


def powell(x):
    a, b, c, d = x[0] + 10 * x[1], x[2] - x[3], x[1] - 2 * x[2], x[0] - x[3]
    value = a**2 + 5 * b**2 + c**4 + 10 * d**4
    return value, np.array(
        [2 * a + 40 * d**3, 20 * a + 4 * c**3, 10 * b - 8 * c**3, -10 * b - 40 * d**3]
    )  # fmt: skip


ZOO = {
    # objective, start, rate, the minimum, the least value reached, and the distance from the minimum
    "beale": (beale, [1.0, 1.0], 0.5, [3.0, 0.5], 1e-8, 1e-3),
    "himmelblau": (himmelblau, [0.0, 0.0], 0.5, [3.0, 2.0], 1e-10, 1e-5),
    "powell singular": (powell, [3.0, -1.0, 0.0, 1.0], 0.5, [0.0] * 4, 1e-4, 0.2),
}


@pytest.mark.parametrize("problem", ZOO)
def test_known_minimum(problem):
    objective, x0, lr, minimum, value, distance = ZOO[problem]
    assert scipy.optimize.check_grad(lambda x: objective(x)[0], lambda x: objective(x)[1], x0) < 1e-4
    res = minimize_adagrad(objective, x0, jac=True, lr=lr, maxiter=10_000)
    assert res.fun < value
    np.testing.assert_allclose(res.x, minimum, atol=distance)


@needs_compiler
@pytest.mark.parametrize(("n", "steps", "value"), [(2, 50_000, 1e-8), (10, 200_000, 1e-5)])
def test_rosenbrock(n, steps, value):
    start = np.array([-1.2, 1.0] * (n // 2))
    res = minimize_adagrad(Rosenbrock(), start, lr=1.0, maxiter=steps)
    assert res.fun < value
    np.testing.assert_allclose(res.x, 1.0, atol=0.03)
    assert res.fun == pytest.approx(rosen(res.x), rel=1e-9)


@needs_compiler
@pytest.mark.parametrize("condition", [1e3, 1e5])
def test_ill_conditioned_quadratic(condition):
    """The conditioning of a diagonal problem does not matter for a diagonal method."""
    problem = quadratic(10, condition)
    res = minimize_adagrad(problem, np.zeros(10), maxiter=20_000, gtol=1e-8)
    assert res.status == 0
    np.testing.assert_allclose(res.x, problem.minimum, atol=1e-7)


def test_rosenbrock_record_is_the_function_of_scipy(rng):
    for n in (2, 5):
        x, g = rng.normal(size=n), np.zeros(n)
        assert Rosenbrock().value_grad(x, g) == pytest.approx(rosen(x))
        np.testing.assert_allclose(g, rosen_der(x))


def test_logistic_regression(rng):
    """Compare with L-BFGS on the same sum."""
    A = np.c_[rng.normal(size=(80, 3)), np.ones(80)]
    y = np.where(A @ [1.0, -2.0, 0.5, 0.3] + rng.logistic(size=80) > 0, 1.0, -1.0)

    def objective(x):
        margin = y * (A @ x)
        return np.mean(np.logaddexp(0, -margin)), -A.T @ (y / (1 + np.exp(margin))) / y.size

    exact = scipy.optimize.minimize(objective, np.zeros(4), jac=True, options={"gtol": 1e-10})
    res = minimize_adagrad(objective, np.zeros(4), jac=True, maxiter=5000, gtol=1e-6)
    assert res.status == 0
    np.testing.assert_allclose(res.x, exact.x, atol=1e-4)


# --- batches of samples ------------------------------------------------------------------------------------------

M = 23
RNG = np.random.default_rng(5)
A = RNG.normal(size=(M, N))
B = A @ MINIMUM + 0.1 * RNG.normal(size=M)


def batch_fun(x, batch, A, b):
    return 0.5 * np.sum((A[batch] @ x - b[batch]) ** 2) / batch.size


def batch_jac(x, batch, A, b):
    return A[batch].T @ (A[batch] @ x - b[batch]) / batch.size


def batch_loop(x, batch, A, b):
    g = np.zeros(x.size, x.dtype)
    f = 0.0
    for r in batch:
        residual = -b[r]
        for i in range(x.size):
            residual += A[r, i] * x[i]
        f += 0.5 * residual * residual / batch.size
        for i in range(x.size):
            g[i] += residual * A[r, i] / batch.size
    return f, g


def batch_loop_jac(x, batch, A, b):
    g = np.zeros(x.size, x.dtype)
    for r in batch:
        residual = -b[r]
        for i in range(x.size):
            residual += A[r, i] * x[i]
        for i in range(x.size):
            g[i] += residual * A[r, i] / batch.size
    return g


class LeastSquares(NamedTuple):
    """The mean of squares of `batch_fun` as an objective record."""

    A: Any
    b: Any

    def value_grad(self, x, g, batch):
        f = 0.0
        g[:] = 0.0
        for r in batch:
            residual = -self.b[r]
            for i in range(x.size):
                residual += self.A[r, i] * x[i]
            f += 0.5 * residual * residual / batch.size
            for i in range(x.size):
                g[i] += residual * self.A[r, i] / batch.size
        return f


BATCHES = {
    "python": {"fun": batch_fun, "jac": batch_loop_jac, "args": (A, B)},
    "python, both": {"fun": batch_loop, "jac": True, "args": (A, B)},
    "compiled": {"fun": batch_fun, "jac": numba.njit(batch_loop_jac), "args": (A, B)},
    "compiled, both": {"fun": numba.njit(batch_loop), "jac": True, "args": (A, B)},
    "record": {"fun": LeastSquares(A, B)},
}
every_batch_mode = pytest.mark.parametrize("mode", BATCHES)


def run_batches(mode, **options):
    options = {"x0": START, "n_samples": M, "batch_size": 4, "epochs": 3, "rng": 7} | BATCHES[mode] | options
    return minimize_stochastic(options.pop("fun"), **options)


def test_batches_are_a_permutation_in_each_epoch():
    batches = []

    def recording_jac(x, batch):
        batches.append(batch)
        return batch_jac(x, batch, A, B)

    res = minimize_stochastic(
        lambda x, batch: batch_fun(x, batch, A, B), START, M, jac=recording_jac, batch_size=4, epochs=3, rng=0
    )
    used = [batch for batch in batches if len(batch) < M]
    assert len(used) == res.nit == res.state.t == 18
    assert all(batch.dtype == np.int64 for batch in batches)
    epochs = [np.concatenate(used[k : k + 6]) for k in (0, 6, 12)]
    for epoch in epochs:
        assert_same(np.sort(epoch), np.arange(M))
    assert not np.array_equal(epochs[0], epochs[1])
    assert [len(batch) for batch in used[:6]] == [4] * 5 + [3]
    assert (res.success, res.status, res.message) == (True, 0, "All epochs are done.")
    all_samples = np.arange(M)
    assert res.fun == pytest.approx(batch_fun(res.x, all_samples, A, B))
    np.testing.assert_allclose(res.jac, batch_jac(res.x, all_samples, A, B))


def test_drawn_with_replacement():
    batches = []

    def recording_jac(x, batch):
        batches.append(batch)
        return batch_jac(x, batch, A, B)

    minimize_stochastic(lambda x, b: batch_fun(x, b, A, B), START, M, jac=recording_jac, epochs=40, rng=0, replace=True)
    used = np.concatenate([batch for batch in batches if len(batch) == 1])
    assert used.size == 40 * M
    counts = np.bincount(used, minlength=M)
    assert counts.min() < 40 < counts.max()
    assert counts.sum() == 40 * M


@pytest.mark.parametrize("options", [{}, {"replace": True}, {"average": Polyak(5), "penalty": L1(0.1)}], ids=str)
def test_every_batch_mode_gives_the_same_iterates(options):
    expected = run_batches("python", **options)
    for mode in BATCHES:
        res = run_batches(mode, **options)
        np.testing.assert_allclose(res.x, expected.x, rtol=1e-12)
        assert (res.nit, res.status) == (expected.nit, 0) == (18, 0)
        assert res.fun == pytest.approx(expected.fun, rel=1e-12)


@every_batch_mode
def test_the_seed_is_the_run(mode):
    assert_same(run_batches(mode).x, run_batches(mode).x)
    assert_same(run_batches(mode, rng=np.random.default_rng(3)).x, run_batches(mode, rng=np.random.default_rng(3)).x)
    assert not np.array_equal(run_batches(mode).x, run_batches(mode, rng=8).x)
    assert not np.array_equal(run_batches(mode, rng=None).x, run_batches(mode, rng=None).x)


@pytest.mark.parametrize("mode", ["python", "compiled", "record"])
@pytest.mark.parametrize("cut", [1, 6, 8, 17])
@pytest.mark.parametrize("options", [{}, {"average": Polyak(3), "lr": lambda t: 0.5 / (1 + t)}], ids=["plain", "mean"])
def test_resumed_within_an_epoch(mode, cut, options):
    uninterrupted = run_batches(mode, **options)
    first = run_batches(mode, maxiter=cut, **options)
    assert (first.status, first.nit, first.success) == (1, cut, False)
    second = run_batches(mode, x0=first.x, state=first.state, rng=None, epochs=3 - cut // 6)
    assert_same(second.x, uninterrupted.x)
    assert second.state.t == 18
    assert (second.status, second.nit) == (0, 18 - cut)


@every_batch_mode
def test_batches_with_callbacks(mode):
    recorded = []

    def callback(xk):
        recorded.append(xk)
        if len(recorded) == 8:
            raise StopIteration

    res = run_batches(mode, callback=callback)
    assert (res.status, res.nit, len(recorded)) == (99, 8, 8)
    assert_same(res.x, run_batches(mode, maxiter=8).x)


@every_batch_mode
def test_batches_that_learn(mode):
    res = run_batches(mode, epochs=150 if numba.config.DISABLE_JIT else 400, average=Polyak(100))
    exact = np.linalg.lstsq(A, B, rcond=None)[0]
    np.testing.assert_allclose(res.x, exact, atol=0.02)


@pytest.mark.parametrize("mode", ["python, both", "compiled, both", "record"])
def test_a_bad_sample_ends_the_run(mode):
    b = B.copy()
    b[11] = np.nan
    options = {"fun": LeastSquares(A, b)} if mode == "record" else {"args": (A, b)}
    res = run_batches(mode, **options)
    assert res.status == 2
    assert_same(res.x, START)  # over all samples nothing is finite from the start


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"n_samples": 0}, "n_samples: got 0; must be an integer of at least 1"),
        ({"batch_size": 0}, "batch_size: got 0; must be an integer of at least 1"),
        ({"batch_size": 2.0}, "batch_size: got 2.0; must be an integer of at least 1"),
        ({"epochs": -1}, "epochs: got -1; must be an integer of at least 0"),
        ({"replace": 1}, "replace: got 1; must be True or False"),
        ({"rng": -3}, "rng: got -3; must be an integer of at least 0"),
        ({"rng": "seed"}, "rng: got 'seed'; must be an integer of at least 0"),
        ({"maxiter": -1}, "maxiter: got -1; must be an integer of at least 0"),
    ],
    ids=str,
)
def test_bad_batches(option, message):
    with pytest.raises((TypeError, ValueError)) as raised:
        run_batches("python", **option)
    assert str(raised.value) == message


@pytest.mark.parametrize("size", [M, M + 10])
def test_one_batch_of_everything(size):
    """A run with one batch of all samples is the deterministic run."""
    res = run_batches("python", batch_size=size, epochs=12, jac=batch_jac)
    full_batch = minimize_adagrad(batch_fun, START, (np.arange(M), A, B), batch_jac, maxiter=12, gtol=0.0)
    np.testing.assert_allclose(res.x, full_batch.x, rtol=1e-12)
    assert res.nit == 12


def test_no_epochs():
    res = run_batches("python", epochs=0)
    assert_same(res.x, START)
    assert res.nit == 0


def test_epochs_that_end_before_maxiter_say_so():
    """With the default of one epoch, a run with maxiter=5000 used to end early without a reason."""
    res = run_batches("python", epochs=1, maxiter=5000)
    assert (res.nit, res.status, res.success) == (6, 0, True)
    assert res.message == (
        "All epochs are done. epochs=1 ended after 6 of maxiter=5000 iterations; increase epochs to continue."
    )
    assert run_batches("python", epochs=2, maxiter=12).message == "All epochs are done."
    assert "epochs" not in run_batches("python", epochs=2, maxiter=11).message


def test_a_class_instead_of_a_record_is_named():
    classes = {
        "rule": Adagrad, "penalty": L1, "average": Polyak, "lr": InverseSqrt, "transforms": (ClipNorm,),
    }  # fmt: skip
    for name, given in classes.items():
        with pytest.raises(TypeError, match=rf"^{name}: got the class \w+; pass an instance, such as \w+\(…\)$"):
            run("python", **{name: given})
    with pytest.raises(TypeError, match=r"^fun: got the class Rosenbrock; pass an instance, such as Rosenbrock\(…\)$"):
        minimize_adagrad(Rosenbrock, START)
    with pytest.raises(TypeError, match=r"^WarmUp\.inner: got the class InverseSqrt; pass an instance"):
        run("python", lr=WarmUp(5, InverseSqrt))
    with pytest.raises(TypeError, match=r"^Bounded\.penalty: got the class L1; pass an instance"):
        run("python", penalty=Bounded(L1, 0, 1))


def test_sparse_batches():
    def listed(x, batch, A, b):
        return np.arange(N), batch_loop_jac(x, batch, A, b)

    assert_same(run_batches("python", jac=listed).x, run_batches("python").x)


def test_quietly():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for mode in MODES:
            run(mode, maxiter=3)


# --- unusual inputs, through both loops ---------------------------------------------------------------------------

VALUES = {
    "integer": lambda x: 3,
    "boolean": lambda x: x[0] > 0,
    "single": lambda x: np.float32(1.5),
    "one entry": lambda x: x[:1].copy(),
    "one entry of a matrix": lambda x: x[:1].copy().reshape(1, 1),
    "no dimension": lambda x: np.array(1.5),
    "tuple": lambda x: (x[0],),
    "list": lambda x: [x[0]],
    "two": lambda x: x[:2].copy(),
    "empty": lambda x: x[:0].copy(),
    "complex": lambda x: x[0] * 1j,
    "none": lambda x: None,
}
GRADIENTS = {
    "column": lambda x: (2 * (x - 2.0)).reshape(-1, 1),
    "row": lambda x: (2 * (x - 2.0)).reshape(1, -1),
    "integers": lambda x: np.sign(x - 2.0).astype(np.int64),
    "booleans": lambda x: x > 2.0,
    "single": lambda x: (2 * (x - 2.0)).astype(np.float32),
    "tuple": lambda x: (2 * (x[0] - 2), 2 * (x[1] - 2), 2 * (x[2] - 2)),
    "list": lambda x: [2 * (x[0] - 2), 2 * (x[1] - 2), 2 * (x[2] - 2)],
    "strided": lambda x: np.repeat(2 * (x - 2.0), 2)[::2],
    "reversed": lambda x: (2 * (x - 2.0))[::-1],
    "x": lambda x: x,
    "pair": lambda x: (np.array([0, 1]), x[:2] - 2.0),
    "pair of one": lambda x: (np.array([0]), x[:1] - 2.0),
    "pair out of range": lambda x: (np.array([0, 7]), x[:2] - 2.0),
    "pair of floats": lambda x: (np.array([0.0, 1.0]), x[:2] - 2.0),
    "short": lambda x: x[:2].copy(),
    "one": lambda x: x[:1].copy(),
    "number": lambda x: x[0],
    "short later": lambda x: x[:2].copy() if x[0] > 1.2 else x - 2.0,
    "complex": lambda x: x * 1j,
    "none": lambda x: None,
}


def outcome(fun, **options):
    """Return the result of a run, or the type of its error and the argument that the message names."""
    try:
        res = minimize_adagrad(fun, options.pop("x0", [1.0, 5.0, 0.0]), **{"maxiter": 10, "gtol": 0.0} | options)
    except (TypeError, ValueError) as error:
        return type(error), str(error).partition(":")[0]
    return res.x.round(12).tolist(), res.fun, res.nit, res.message


@pytest.mark.filterwarnings("error:fun. could not be compiled")
@pytest.mark.parametrize("form", VALUES)
def test_values_of_any_form_in_both_loops(form):
    value, compiled_value = VALUES[form], numba.njit(VALUES[form])
    python = outcome(lambda x: (value(x), 2 * (x - 2.0)), jac=True)
    assert outcome(numba.njit(lambda x: (compiled_value(x), 2 * (x - 2.0))), jac=True) == python
    assert outcome(compiled_value, jac=numba.njit(lambda x: 2 * (x - 2.0))) == python
    assert outcome(value) == outcome(compiled_value)
    assert (python == (TypeError, "fun")) == (form in ("two", "empty", "complex", "none"))


@pytest.mark.filterwarnings("error:fun. could not be compiled")
@pytest.mark.parametrize("form", GRADIENTS)
def test_gradients_of_any_form_in_both_loops(form):
    python = outcome(lambda x: 1.0, jac=GRADIENTS[form])
    assert outcome(lambda x: 1.0, jac=numba.njit(GRADIENTS[form])) == python
    is_refused = form.startswith(("short", "one", "number", "complex", "none", "pair of floats", "pair out"))
    assert (python[0] in (TypeError, ValueError)) == is_refused
    if is_refused:
        assert python[1].startswith("jac")
    if form in ("column", "row", "tuple", "list", "strided"):
        assert python == outcome(lambda x: 1.0, jac=lambda x: 2 * (x - 2.0))


def quadratic_of(x):
    return np.sum((x - 2.0) ** 2)


def gradient_of(x):
    return 2 * (x - 2.0)


def gradient_by_numbers(x):
    return np.array([2 * (v - 2) for v in x], object)


ARGUMENTS = {
    "integral": {"maxiter": 10.0},
    "integral of NumPy": {"maxiter": np.float32(7)},
    "integer of NumPy": {"maxiter": np.int8(7)},
    "fraction": {"maxiter": 10.5},
    "infinite": {"maxiter": math.inf},
    "Boolean": {"maxiter": True},
    "no maximum": {"maxiter": None, "gtol": 1e-3},
    "bounds of arrays": {"bounds": [(None, None), (np.array([0.1]), np.array([1.0])), (np.array(0.0), None)]},
    "bounds of long arrays": {"bounds": [(None, None), (np.zeros(2), np.ones(2)), (None, None)]},
    "bounds of objects": {"bounds": np.array([[0, 1], [None, None], [0, 2]], object)},
    "bounds of text": {"bounds": [("low", "high")] * 3},
    "bounds of complex numbers": {"bounds": [(0, 1j)] * 3},
    "equal bounds": {"bounds": [(1.5, 1.5), (None, None), (0, 1)]},
    "all bounds equal": {"bounds": [(1.5, 1.5)] * 3},
    "column": {"x0": np.ones((3, 1))},
    "tuple": {"x0": (1, 2, 3)},
    "text": {"x0": ["1", "2", "3"]},
    "no args": {"args": []},
}


@pytest.mark.parametrize("form", ARGUMENTS)
def test_arguments_of_any_form_in_both_loops(form):
    problem = {} if form != "no args" else {"fun": lambda x, a: quadratic_of(x), "jac": lambda x, a: gradient_of(x)}
    python = outcome(**{"fun": quadratic_of, "jac": gradient_of} | problem | ARGUMENTS[form])
    if form != "no args":
        assert outcome(numba.njit(quadratic_of), jac=numba.njit(gradient_of), **ARGUMENTS[form]) == python
    is_refused = form in (
        "fraction", "infinite", "Boolean", "bounds of long arrays", "bounds of text", "bounds of complex numbers",
        "column", "text",
    )  # fmt: skip
    assert (python[0] in (TypeError, ValueError)) == is_refused


@pytest.mark.parametrize(
    ("fun", "jac"),
    [
        (quadratic_of, gradient_by_numbers),
        (lambda x: np.array([[Fraction(float(quadratic_of(x)))]], object), gradient_of),
        (lambda x: quadratic_of(x).reshape(1, 1), None),
        (quadratic_of, lambda x: tuple(np.array([v]) for v in gradient_of(x))),
    ],
    ids=["gradient of objects", "value of objects", "value of a matrix", "tuple of arrays"],
)
def test_what_scipy_takes(fun, jac):
    options = {"jac": jac, "x0": [1.0, 5.0]}
    np.testing.assert_allclose(scipy.optimize.minimize(fun, method="L-BFGS-B", **options).x, [2, 2], rtol=1e-5)
    np.testing.assert_allclose(minimize_adagrad(fun, **options, lr=1.0, maxiter=2000).x, [2, 2], rtol=1e-4)


# --- finite differences ------------------------------------------------------------------------------------------

differences = pytest.mark.parametrize("method", ["2-point", "3-point", "cs"])


@differences
def test_equal_bounds_keep_a_coordinate(method):
    """Before, the difference of a coordinate without room was 0 / 0, which ended the run."""
    bounds = [(0.5, 0.5), (None, None), (0, 1)]
    res = minimize_adagrad(quadratic_of, [0.5, 0.0, 0.0], jac=method, bounds=bounds)
    expected = scipy.optimize.minimize(quadratic_of, [0.5, 0.0, 0.0], bounds=bounds, method="L-BFGS-B")
    assert res.success
    np.testing.assert_allclose(res.x, expected.x, atol=1e-5)
    assert res.jac[0] == 0
    fixed = minimize_adagrad(quadratic_of, [0.0, 0.0], jac=method, bounds=[(0.5, 0.5)] * 2)
    assert (fixed.success, fixed.nit, fixed.nfev) == (True, 0, 1)


@differences
def test_bounds_one_rounding_apart(method):
    bounds = [(1.0, np.nextafter(1.0, 2.0)), (0.0, 1.0)]
    res = minimize_adagrad(quadratic_of, [1.0, 0.5], jac=method, bounds=bounds, maxiter=200)
    assert np.isfinite(res.jac).all()
    np.testing.assert_allclose(res.x, 1.0)


@differences
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)], ids=str)
def test_a_value_in_one_buffer(method, shape):
    """Before, all values of a difference were the last one, so that each gradient was zero."""

    def fun(x):
        if np.iscomplexobj(x):
            fun.complex_buffer[...] = quadratic_of(x)
            return fun.complex_buffer
        fun.buffer[...] = quadratic_of(x)
        return fun.buffer

    fun.buffer, fun.complex_buffer = np.zeros(shape), np.zeros(shape, complex)
    expected = minimize_adagrad(quadratic_of, [1.0, 5.0], jac=method, maxiter=20)
    res = minimize_adagrad(fun, [1.0, 5.0], jac=method, maxiter=20)
    assert_same(res.x, expected.x)
    assert res.fun == expected.fun


# --- evaluations -------------------------------------------------------------------------------------------------


class Counting:
    """Value and gradient that record where they are evaluated."""

    def __init__(self):
        self.points = {"fun": [], "jac": []}

    def fun(self, x):
        self.points["fun"].append(tuple(x))
        return quadratic_of(x)

    def jac(self, x):
        self.points["jac"].append(tuple(x))
        return gradient_of(x)

    def both(self, x):
        return self.fun(x), gradient_of(x)


@pytest.mark.parametrize("maxiter", [0, 1, 10, 16, 5000])
@pytest.mark.parametrize("penalty", [None, L1(0.5)], ids=str)
def test_no_point_is_evaluated_twice(maxiter, penalty):
    options = {"maxiter": maxiter, "penalty": penalty}
    counting = Counting()
    res = minimize_adagrad(counting.fun, [1.0, 5.0], jac=counting.jac, **options)
    for name, number in (("fun", res.nfev), ("jac", res.njev)):
        points = counting.points[name]
        assert len(points) == len(set(points)) == number
    assert res.njev == res.nit + 1
    assert (res.status == 0) == (maxiter == 5000)
    counting = Counting()
    res = minimize_adagrad(counting.both, [1.0, 5.0], jac=True, **options)
    points = counting.points["fun"]
    assert len(points) == len(set(points)) == res.nfev == res.njev == res.nit + 1
    counting = Counting()
    res = minimize_adagrad(counting.fun, [1.0, 5.0], maxiter=min(maxiter, 20))
    assert len(counting.points["fun"]) == len(set(counting.points["fun"])) == res.nfev


def test_a_callback_does_not_evaluate_a_point_again():
    counting = Counting()

    def callback(*, intermediate_result):
        assert intermediate_result.fun == quadratic_of(intermediate_result.x)

    res = minimize_adagrad(counting.fun, [1.0, 5.0], jac=counting.jac, maxiter=9, callback=callback)
    assert len(counting.points["fun"]) == len(set(counting.points["fun"])) == res.nfev == 10
    assert len(counting.points["jac"]) == res.njev == 10


@needs_compiler
@pytest.mark.parametrize("mode", ["compiled", "compiled, both", "record"])
def test_a_compiled_run_with_a_callback_evaluates_each_point_once(mode):
    res = run(mode, maxiter=30, callback=lambda xk: None)
    assert res.njev <= 33


def test_fun_and_jac_that_share_a_buffer():
    """fun may prepare the gradient that jac returns, and overwrite the last one."""
    shared = np.zeros(2)

    def fun(x):
        shared[:] = gradient_of(x)
        return quadratic_of(x)

    def jac(x):
        shared[:] = gradient_of(x)
        return shared

    for maxiter in (0, 1, 7, 5000):
        options = {"x0": [1.0, 5.0], "maxiter": maxiter}
        res, expected = (
            minimize_adagrad(fun, jac=jac, **options),
            minimize_adagrad(quadratic_of, jac=gradient_of, **options),
        )
        assert_same(res.x, expected.x)
        assert_same(res.jac, expected.jac)


# --- memory of the caller ----------------------------------------------------------------------------------------


def shifted_quadratic(x):
    return 2 * (x - 1) * np.arange(1.0, x.size + 1)


def spoil(x):
    """Return the gradient, and overwrite the argument."""
    g = shifted_quadratic(x)
    x[:] = -7.0
    return g


class Buffered:
    """Functions that return one buffer each time."""

    def __init__(self, n):
        self.buffer, self.rates = np.empty(n), np.empty(n)

    def jac(self, x):
        self.buffer[:] = shifted_quadratic(x)
        return self.buffer

    def lr(self, t):
        self.rates[:] = 0.5 / (t + 1)
        return self.rates


@numba.njit
def compiled_spoil(x):
    g = 2 * (x - 1) * np.arange(1.0, x.size + 1)
    x[:] = -7.0
    return g


class SpoilingRecord(NamedTuple):
    """Objective that overwrites x."""

    scale: float

    def value_grad(self, x, g):
        f = x[0] - x[0]
        for i in range(x.shape[0]):
            g[i] = 2 * self.scale * (x[i] - 1) * (i + 1)
            f += self.scale * (i + 1) * (x[i] - 1) ** 2
            x[i] = -7.0
        return f


@pytest.mark.parametrize("average", [None, Polyak()])
def test_functions_may_change_x(average):
    x0, options = np.array([3.0, -2.0]), {"maxiter": 7, "lr": 0.3, "average": average, "gtol": 0}
    fun = lambda x: float(np.sum((x - 1) ** 2 * np.arange(1.0, 3.0)))  # noqa: E731
    expected = minimize_adagrad(fun, x0, jac=shifted_quadratic, **options)

    def spoil_value(x):
        f = fun(x)
        x[:] = 99.0
        return f

    results = [
        minimize_adagrad(spoil_value, x0, jac=spoil, **options),
        minimize_adagrad(lambda x: (fun(x), spoil(x)), x0, jac=True, **options),
        minimize_adagrad(fun, x0, jac=compiled_spoil, **options),
        minimize_adagrad(SpoilingRecord(1.0), x0, **options),
        scipy.optimize.minimize(spoil_value, x0, jac=spoil, method=minimize_adagrad, options=options),
    ]
    for res in results:
        np.testing.assert_allclose(res.x, expected.x, rtol=1e-12)
        np.testing.assert_allclose(res.fun, expected.fun, rtol=1e-12)
    np.testing.assert_allclose(minimize_adagrad(spoil_value, x0, **options).x, expected.x, rtol=1e-5)
    np.testing.assert_array_equal(x0, [3.0, -2.0])


def test_functions_may_return_buffers():
    x0, buffered = np.array([3.0, -2.0]), Buffered(2)
    options = {"maxiter": 6, "gtol": 0}
    expected = minimize_adagrad(
        lambda x: 0.0, x0, jac=shifted_quadratic, lr=lambda t: np.full(2, 0.5 / (t + 1)), **options
    )
    res = minimize_adagrad(lambda x: 0.0, x0, jac=buffered.jac, lr=buffered.lr, **options)
    buffered.buffer[:] = np.nan
    np.testing.assert_array_equal(res.x, expected.x)
    np.testing.assert_array_equal(res.jac, expected.jac)
    compiled = minimize_adagrad(lambda x: 0.0, x0, jac=numba.njit(shifted_quadratic), lr=buffered.lr, **options)
    np.testing.assert_allclose(compiled.x, expected.x, rtol=1e-12)


def test_functions_may_change_the_batch():
    rng = np.random.default_rng(0)
    A, b = rng.normal(size=(12, 3)), rng.normal(size=12)

    def jac(x, batch):
        return A[batch].T @ (A[batch] @ x - b[batch])

    def spoil_batch(x, batch):
        g = jac(x, batch)
        x[:], batch[:] = 5.0, 0
        return g

    options = {"n_samples": 12, "batch_size": 3, "epochs": 4, "rng": 0}
    results = [minimize_stochastic(lambda x, i: 0.0, np.zeros(3), jac=each, **options) for each in (jac, spoil_batch)]
    np.testing.assert_array_equal(results[0].x, results[1].x)


@pytest.mark.parametrize("name", ["options", "method"])
def test_arguments_of_scipy_minimize_name_the_remedy(name):
    with pytest.raises(TypeError, match=rf"^{name}: is an argument of scipy.optimize.minimize"):
        minimize_adagrad(rosen, np.ones(2), jac=rosen_der, **{name: {"maxiter": 3}})


def test_a_gradient_of_none():
    with pytest.raises(TypeError, match=r"^jac: got None; must return the gradient"):
        minimize_adagrad(rosen, np.ones(2), jac=lambda x: None)


def test_one_pair_of_bounds_for_all_variables():
    res = minimize_adagrad(lambda x: np.sum((x - 3) ** 2), np.zeros(3), jac=lambda x: 2 * (x - 3), bounds=[(0, 2)])
    np.testing.assert_allclose(res.x, 2)


@pytest.mark.parametrize("compiled", [True, False], ids=["njit", "python"])
def test_too_few_or_too_many_args_are_named(compiled):
    def fun(x, a, b):
        return a * b * (x * x).sum()

    def jac(x, a):
        return 2 * a * x

    if compiled:
        fun, jac = numba.njit(fun), numba.njit(jac)
    with pytest.raises(TypeError, match=r"^fun: fun\(x, a, b\) cannot be called with x and args of length 1.*'b'"):
        minimize_adagrad(fun, np.ones(2), args=(1.0,))
    with pytest.raises(TypeError, match=r"^jac: jac\(x, a\) cannot be called with x and args of length 2: too many"):
        minimize_adagrad(fun, np.ones(2), args=(1.0, 1.0), jac=jac)
    with pytest.raises(TypeError, match=r"^jac: .* x, the samples of the batch and args of length 1"):
        minimize_stochastic(lambda x, batch, a: 0.0, np.ones(2), 5, args=(1.0,), jac=jac)
