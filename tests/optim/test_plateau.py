"""ReduceOnPlateau: a learning rate that depends on the loss."""

import pickle

import numpy as np
import pytest

from adagrad_nb import Adagrad, ReduceOnPlateau, init, minimize_adagrad, update


def test_patience_and_threshold():
    lr = ReduceOnPlateau(1.0, factor=0.5, patience=2, threshold=0.1)
    rates = [lr.observe(loss) for loss in (10, 9.5, 9.1, 8.9, 8.8, 8.7, 8.6, 8.5)]
    assert rates == [1, 1, 1, 1, 1, 1, 0.5, 0.5]
    assert (lr.best, lr.n_bad) == (8.9, 1)


def test_cooldown_floor_and_smallest_change():
    lr = ReduceOnPlateau(1.0, factor=0.5, patience=0, cooldown=2, min_lr=0.3)
    assert [lr.observe(1.0) for _ in range(8)] == [1, 0.5, 0.5, 0.5, 0.3, 0.3, 0.3, 0.3]
    lr = ReduceOnPlateau(1.0, factor=0.5, patience=0, eps=0.3)
    assert [lr.observe(1.0) for _ in range(4)] == [1, 0.5, 0.5, 0.5]


def test_maximize_absolute_and_nan():
    lr = ReduceOnPlateau(1.0, factor=0.5, patience=0, threshold=0.1, relative=False, maximize=True)
    assert [lr.observe(score) for score in (1.0, 1.2, 1.25, np.nan, 1.5)] == [1, 1, 0.5, 0.25, 0.25]
    assert lr.best == 1.5


def test_the_rate_of_a_loop():
    lr = ReduceOnPlateau(0.5, factor=0.5, patience=0)
    x, state = np.zeros(1), init(np.zeros(1), Adagrad(eps=0.0), lr=lr)
    for t, rate in enumerate([0.5, 0.5, 0.25, 0.125]):
        new, state = update(x, np.ones(1), state)
        assert x[0] - new[0] == pytest.approx(rate / np.sqrt(t + 1), rel=1e-14)
        x = new
        lr.observe(1.0)
    assert pickle.loads(pickle.dumps(state)).lr.lr == 0.0625


@pytest.mark.parametrize("compiled", [False, True])
def test_a_callback_of_a_minimiser(compiled):
    from adagrad_nb.testing import Quadratic

    fun = Quadratic(np.array([1.0, 50.0]), np.zeros(2)) if compiled else None
    options = {"jac": None} if compiled else {"jac": lambda x: np.array([1.0, 50.0]) * x}
    fun = fun or (lambda x: 0.5 * (x**2 @ [1.0, 50.0]))
    lr, seen = ReduceOnPlateau(0.3, factor=0.5, patience=1, threshold=0.5), []

    def callback(intermediate_result):
        lr.observe_result(intermediate_result)
        seen.append(intermediate_result.fun)

    res = minimize_adagrad(fun, np.full(2, 9.0), lr=lr, callback=callback, maxiter=40, gtol=0, **options)
    twin, rates = ReduceOnPlateau(0.3, factor=0.5, patience=1, threshold=0.5), [0.3]
    for value in seen:
        rates.append(twin.observe(value))
    same = minimize_adagrad(fun, np.full(2, 9.0), lr=lambda t: rates[t], maxiter=40, gtol=0, **options)
    np.testing.assert_allclose(res.x, same.x, rtol=1e-13)
    assert lr.lr < 0.3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, r"lr: got -1\.0"),
        ({"factor": 1.0}, r"factor: got 1\.0; must be a number in \(0, 1\)"),
        ({"patience": -1}, r"patience: got -1"),
        ({"threshold": -1.0}, r"threshold: got -1\.0"),
        ({"cooldown": 0.5}, r"cooldown: got 0\.5"),
        ({"min_lr": -1.0}, r"min_lr: got -1\.0"),
        ({"eps": np.nan}, r"eps: got nan"),
    ],
    ids=str,
)
def test_domains(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        ReduceOnPlateau(**({"lr": 1.0} | options))


@pytest.mark.parametrize("value", ["a", None, np.ones(2)], ids=str)
def test_numbers_are_checked(value):
    with pytest.raises(TypeError, match=r"^lr: got .*; must be one number"):
        ReduceOnPlateau(value)
    with pytest.raises(TypeError, match=r"^loss: got .*; must be one number"):
        ReduceOnPlateau(0.1).observe(value)
    assert ReduceOnPlateau(0.1).observe(float("nan")) == 0.1
