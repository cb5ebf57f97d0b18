"""The situations of SciPy's `test_optimize.py` that concern a custom minimiser, through ``scipy.optimize.minimize``.

The following do not apply:

- Hessians, trust regions, line searches, simplexes, `workers`, convergence rates: `minimize_adagrad` has none of them.
- Objectives that never increase: Adagrad takes no line search, so with a wrong gradient the last value may be larger.
- Constraints other than bounds: they are an error, as tested in `tests/minimize/test_drivers.py`.
- No evaluation after ``StopIteration``: the result contains fun and jac at the last x, which may need one.
- ``maxiter=100.1``: SciPy accepts it, `minimize_adagrad` refuses it.
- Unknown options: SciPy's own methods warn of them, `minimize_adagrad` raises an error that lists the known ones.
- ``jac`` of a coordinate with equal bounds: SciPy reports NaN, `minimize_adagrad` 0.
"""

import warnings

import numba
import numpy as np
import pytest
import scipy.optimize
from scipy.optimize import Bounds, OptimizeResult, rosen, rosen_der

from adagrad_nb import minimize_adadelta, minimize_adagrad

METHODS = {"adagrad": minimize_adagrad, "adadelta": minimize_adadelta}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))


def bowl(x, center=2.0, weight=1.0):
    return weight * np.sum((x - center) ** 2)


def bowl_gradient(x, center=2.0, weight=1.0):
    return 2 * weight * (x - center)


def minimize(fun, x0, method=minimize_adagrad, **options):
    """Call `scipy.optimize.minimize` with a custom method."""
    return scipy.optimize.minimize(fun, x0, method=method, **options)


# --- arguments ---------------------------------------------------------------------------------------------------


@every_method
def test_options_reach_the_method(method):
    options = {"maxiter": 7, "lr": 0.25, "gtol": 0.0}
    res = minimize(rosen, [0.5, 0.5], method, jac=rosen_der, options=options)
    expected = method(rosen, [0.5, 0.5], jac=rosen_der, **options)
    np.testing.assert_array_equal(res.x, expected.x)
    assert res.nit == 7
    assert options == {"maxiter": 7, "lr": 0.25, "gtol": 0.0}


@every_method
def test_unknown_options_are_named(method):
    with pytest.raises(TypeError, match=r"unknown option 'maxfun'; the options are average, .*transforms$"):
        minimize(rosen, [0.5, 0.5], method, options={"maxfun": 3})


def test_tol_is_gtol():
    results = [minimize(bowl, [5.0, 1.0], jac=bowl_gradient, tol=tol) for tol in (1e-8, 1.0)]
    assert results[0].success
    assert results[1].success
    assert results[0].fun < results[1].fun
    assert results[0].nit > results[1].nit
    assert np.abs(results[0].jac).max() <= 1e-8


@pytest.mark.parametrize(
    ("args", "expected"), [((), 2.0), ((3.0,), 3.0), (3.0, 3.0), ((3.0, 2.0), 3.0), (np.array([1.0, 4.0]), [1.0, 4.0])],
    ids=["none", "tuple", "number", "two", "array"],
)  # fmt: skip
@pytest.mark.parametrize("jac", [bowl_gradient, None, "3-point", True], ids=["function", "none", "3-point", "true"])
def test_args_in_every_form(args, expected, jac):
    def both(x, *args):
        return bowl(x, *args), bowl_gradient(x, *args)

    res = minimize(both if jac is True else bowl, [5.0, 1.0], args=args, jac=jac)
    np.testing.assert_allclose(res.x, np.broadcast_to(expected, 2), atol=1e-4)


@pytest.mark.parametrize("x0", [17, 17.0, [17], np.array(17), np.array([17])], ids=repr)
def test_a_start_of_one_number(x0):
    for jac in (None, bowl_gradient):
        res = minimize(bowl, x0, jac=jac, bounds=[(-100, 100)], options={"lr": 3.0})
        assert res.success
        assert res.x.shape == (1,)
        np.testing.assert_allclose(res.x, 2.0, atol=1e-4)


@pytest.mark.parametrize("x0", [np.ones((2, 1)), np.ones((1, 2)), [[1.0, 2.0]]], ids=["column", "row", "list"])
def test_a_start_of_two_dimensions_raises(x0):
    with pytest.raises(ValueError, match="x0"):
        minimize(bowl, x0)


def test_the_start_is_unchanged():
    x0 = np.array([5.0, 1.0])
    res = minimize(bowl, x0, jac=bowl_gradient)
    np.testing.assert_array_equal(x0, [5.0, 1.0])
    assert not np.shares_memory(res.x, x0)


# --- objectives --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)], ids=str)
def test_a_value_of_one_element(shape):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for jac in (bowl_gradient, None):
            res = minimize(lambda x: np.full(shape, bowl(x)), [5.0, 1.0], jac=jac)
            assert isinstance(res.fun, float)
            np.testing.assert_allclose(res.x, 2.0, atol=1e-4)


@every_method
def test_a_value_of_several_elements_raises(method):
    for jac in (bowl_gradient, None):
        with pytest.raises(TypeError, match="one real number"):
            minimize(lambda x: x, [5.0, 1.0], method, jac=jac)


def test_functions_that_overwrite_x():
    def fun(x):
        x -= np.arange(x.size)
        x *= x
        return np.sum(x)

    def jac(x):
        x -= np.arange(x.size)
        x *= 2
        return x

    for given in (jac, None):
        res = minimize(fun, np.full(5, 1.5), jac=given)
        assert res.success
        np.testing.assert_allclose(res.x, np.arange(5), atol=1e-4)


@every_method
def test_the_value_belongs_to_x(method):
    for options in ({"jac": rosen_der}, {"jac": None}, {"jac": rosen_der, "bounds": [(0, 0.7)] * 2}):
        res = minimize(rosen, [0.5, 0.6], method, options={"maxiter": 40}, **options)
        assert res.fun == rosen(res.x)


@pytest.mark.parametrize("jac", [True, bowl_gradient, None, "3-point"], ids=["true", "function", "none", "3-point"])
def test_no_evaluation_is_repeated(jac):
    points = []

    def fun(x):
        points.append(tuple(x))
        return bowl(x)

    def both(x):
        return fun(x), bowl_gradient(x)

    res = minimize(both if jac is True else fun, [5.0, 1.0], jac=jac, options={"maxiter": 20})
    assert len(points) == len(set(points))
    if jac is not True:  # SciPy's `minimize` splits fun then, and calls it once for both
        assert res.nfev == len(points)
    else:
        assert res.njev == len(points)


def test_a_compiled_objective():
    """SciPy wraps fun, so the loop of the method compiles jac only."""
    fun, jac = numba.njit(lambda x: np.sum((x - 2.0) ** 2)), numba.njit(lambda x: 2 * (x - 2.0))
    res = minimize(fun, [5.0, 1.0], jac=jac, options={"maxiter": 300})
    np.testing.assert_array_equal(res.x, minimize_adagrad(bowl, [5.0, 1.0], jac=bowl_gradient, maxiter=300).x)


def test_values_that_are_not_finite():
    for fun in (lambda x: np.nan, lambda x: np.inf):
        for jac in (None, lambda x: np.ones(1)):
            res = minimize(fun, [1.0], jac=jac)
            assert (res.success, res.status) == (False, 2)
    calls = []

    def later(x):
        calls.append(x)
        return bowl(x) if len(calls) <= 2 else np.nan

    res = minimize(later, [1.0], jac=lambda x: np.ones(1))
    assert not res.success
    assert np.isfinite(res.x).all()


def test_an_infinite_wall():
    """f is infinite for x < 0; the run ends in front of the wall."""

    def fun(x):
        return np.inf if x[0] < 0 else (x[0] - 1.0) ** 2

    res = minimize(fun, [10.0], jac=lambda x: 2 * (x - 1.0), options={"lr": 2.0})
    assert res.success
    np.testing.assert_allclose(res.x, 1.0, atol=1e-5)


# --- bounds ------------------------------------------------------------------------------------------------------

LOWER, UPPER = [1.0, -np.inf, 0.0], [np.inf, np.inf, 1.5]
SPELLINGS = {
    "pairs": [(1.0, None), (None, None), (0, 1.5)],
    "tuple": ((1.0, np.inf), (-np.inf, None), [0, 1.5]),
    "array": np.c_[LOWER, UPPER],
    "objects": np.array([(1.0, None), (None, None), (0, 1.5)], object),
    "Bounds": Bounds(np.array(LOWER), np.array(UPPER)),
    "Bounds of lists": Bounds(lb=LOWER, ub=UPPER),
    "single entries": [(np.array([1.0]), None), (None, None), (np.array(0), np.array([1.5]))],
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("jac", [bowl_gradient, None], ids=["jac", "differences"])
def test_bounds_in_every_spelling(spelling, jac):
    bounds = SPELLINGS[spelling]
    center = np.array([0.0, 5.0, 3.0])
    res = minimize(bowl, [2.0, 0.0, 0.5], args=(center,), jac=jac, bounds=bounds)
    expected = scipy.optimize.minimize(bowl, [2.0, 0.0, 0.5], args=(center,), method="L-BFGS-B", bounds=bounds)
    assert res.success
    np.testing.assert_allclose(res.x, expected.x, atol=1e-4)


@pytest.mark.parametrize(
    "bounds",
    [[(0, 1)] * 3, [(2, 1)] * 2, [(0,)] * 2, [(0, 1, 2)] * 2, Bounds([0] * 3, [1] * 3), Bounds(2, 1)],
    ids=["long", "inverted", "single", "triples", "Bounds long", "Bounds inverted"],
)  # fmt: skip
def test_bounds_that_do_not_fit_raise(bounds):
    with pytest.raises(ValueError, match="ound"):
        minimize(bowl, [0.5, 0.5], bounds=bounds)


def test_a_start_outside_of_the_bounds_is_moved_in():
    points = []

    def fun(x):
        points.append(x.copy())
        return bowl(x)

    res = minimize(fun, [17.0, -3.0], bounds=[(0, 1), (0, 5)])
    assert np.min(points) >= 0
    assert np.max(points) <= 5
    np.testing.assert_allclose(res.x, [1.0, 2.0], atol=1e-4)


def ignore(xk):
    """Return nothing, for a callback of the iterate."""


def ignore_result(intermediate_result):
    """Return nothing, for a callback of the intermediate result."""


@pytest.mark.parametrize("jac", [bowl_gradient, None, "3-point"], ids=["function", "none", "3-point"])
@pytest.mark.parametrize("callback", [None, ignore, ignore_result])
@pytest.mark.parametrize(
    "make", [lambda lower, upper: list(zip(lower, upper, strict=True)), Bounds], ids=["pairs", "Bounds"]
)
def test_equal_bounds(jac, callback, make):
    bounds = make([-5.0, 1.0, 0.0, 3.0], [5.0, 1.0, 1.0, 3.0])
    res = minimize(bowl, [4.0, 1.0, 0.5, 3.0], jac=jac, bounds=bounds, callback=callback)
    assert res.success
    assert res.x.shape == res.jac.shape == (4,)
    np.testing.assert_allclose(res.x, [2.0, 1.0, 1.0, 3.0], atol=1e-4)


def test_all_bounds_equal():
    expected = scipy.optimize.minimize(bowl, [4.0, 1.0], bounds=[(1.0, 1.0), (2.0, 2.0)], method="L-BFGS-B")
    for jac in (bowl_gradient, None):
        res = minimize(bowl, [4.0, 1.0], jac=jac, bounds=[(1.0, 1.0), (2.0, 2.0)])
        assert (res.fun, res.success) == (expected.fun, expected.success)
        np.testing.assert_array_equal(res.x, expected.x)


# --- callbacks ---------------------------------------------------------------------------------------------------


class CallableResult:
    """Callback whose method takes the intermediate result."""

    def __init__(self, record):
        self.record = record

    def __call__(self, intermediate_result: OptimizeResult):
        assert intermediate_result.fun == rosen(intermediate_result.x)
        self.record(intermediate_result.x)


def callbacks(record):
    """Return callbacks in every form that pass the iterate to `record`."""

    def of_keyword(*, intermediate_result):
        assert isinstance(intermediate_result, OptimizeResult)
        assert intermediate_result.fun == rosen(intermediate_result.x)
        record(intermediate_result.x)

    def of_iterate(xk, *args):
        assert isinstance(xk, np.ndarray)
        record(xk)

    def annotated(xk: np.ndarray) -> None:
        record(xk)

    return {
        "keyword": of_keyword, "iterate": of_iterate, "annotated": annotated, "object": CallableResult(record),
        "built-in": record,
    }  # fmt: skip


@pytest.mark.parametrize("form", ["keyword", "iterate", "annotated", "object", "built-in"])
@every_method
def test_callbacks_get_each_iterate_in_memory_of_its_own(form, method):
    iterates, copies = [], []

    def record(x):
        iterates.append(x)
        copies.append(x.copy())

    callback = iterates.append if form == "built-in" else callbacks(record)[form]
    res = minimize(rosen, np.zeros(10), method, jac=rosen_der, callback=callback, options={"maxiter": 5})
    assert len(iterates) == res.nit == 5
    for iterate, copy in zip(iterates, copies, strict=False):
        np.testing.assert_array_equal(iterate, copy)
    assert not any(np.shares_memory(a, b) for i, a in enumerate(iterates) for b in [*iterates[:i], res.x])
    np.testing.assert_array_equal(iterates[-1], res.x)


@pytest.mark.parametrize("form", ["keyword", "iterate", "annotated", "object"])
@pytest.mark.parametrize("jac", [rosen_der, None], ids=["jac", "differences"])
def test_stop_iteration_is_a_limit_of_iterations(form, jac):
    count = 0

    def record(x):
        nonlocal count
        count += 1
        if count == 5:
            raise StopIteration

    res = minimize(rosen, np.zeros(4), jac=jac, callback=callbacks(record)[form])
    limited = minimize(rosen, np.zeros(4), jac=jac, options={"maxiter": 5})
    assert (res.nit, res.status, res.success) == (5, 99, False)
    assert res.message == "`callback` raised `StopIteration`."
    np.testing.assert_array_equal(res.x, limited.x)
    assert res.fun == limited.fun


def test_a_callback_that_returns_true_does_not_stop():
    """Only the callbacks of SciPy's `trust-constr` stop by a return value."""
    assert minimize(rosen, np.zeros(2), jac=rosen_der, callback=lambda xk: True, options={"maxiter": 9}).nit == 9


# --- results -----------------------------------------------------------------------------------------------------


@every_method
@pytest.mark.parametrize("jac", [rosen_der, None], ids=["jac", "differences"])
def test_fields_of_the_result(method, jac):
    res = minimize(rosen, [5.0, 5.0], method, jac=jac, bounds=[(0.0, 10.0)] * 2, options={"maxiter": 4})
    assert isinstance(res, OptimizeResult)
    kinds = {
        "x": np.ndarray, "fun": float, "jac": np.ndarray, "nit": int, "nfev": int, "njev": int, "success": bool,
        "status": int, "message": str,
    }  # fmt: skip
    assert {name: type(res[name]) for name in kinds} == kinds
    assert (res.nit, res.success, res.status) == (4, False, 1)
    assert res.nfev >= 1
    assert res.njev == 5


@pytest.mark.parametrize("maxiter", [0, 1, 4, 4.0, np.int64(4), np.float64(4.0)], ids=repr)
def test_maxiter_is_respected(maxiter):
    calls = {"fun": 0, "jac": 0}

    def fun(x):
        calls["fun"] += 1
        return rosen(x)

    def jac(x):
        calls["jac"] += 1
        return rosen_der(x)

    res = minimize(fun, np.zeros(10), jac=jac, options={"maxiter": maxiter})
    assert res.nit == maxiter
    assert (res.nfev, res.njev) == (calls["fun"], calls["jac"])


def test_the_message_is_printed(capsys):
    minimize(rosen, [0.0, 0.0], jac=rosen_der, options={"maxiter": 3, "disp": False})
    assert capsys.readouterr().out == ""
    res = minimize(rosen, [0.0, 0.0], jac=rosen_der, options={"maxiter": 3, "disp": True})
    assert res.message in capsys.readouterr().out


def test_unused_derivatives_give_a_warning():
    for name in ("hess", "hessp"):
        with pytest.warns(RuntimeWarning, match=name):
            minimize(rosen, [0.0, 0.0], jac=rosen_der, options={"maxiter": 3}, **{name: lambda x, *p: np.eye(2)})
