"""`Anytime` against the definition by sums, with several rules, and what is refused."""

import numpy as np
import pytest
import reference
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal

from adagrad_nb import (
    KT,
    L1,
    RDA,
    Adagrad,
    Anytime,
    DoG,
    FullMatrixAdagrad,
    OptimisticAdagrad,
    PassiveAggressive,
    RowAdagrad,
    fit_linear,
    init,
    load_state,
    minimize_adagrad,
    update,
)

CENTRE = np.array([1.0, -2.0, 0.0])
START = np.array([3.0, 0.5, -1.0])
WEIGHTS = {0: lambda t: 1.0, 1: lambda t: float(t), 2: lambda t: t * (t + 1) / 2}


def gradient(x):
    return np.arctan(x - CENTRE) + 0.1 * np.sin(5 * x.sum())


def anytime(step, slots, weight, T):
    """Cutkosky 2019, algorithm 1: return x_1, …, x_{T+1}, each computed from all w so far."""
    w, s, ws, a = START.copy(), [slots] * START.size, [START.copy()], [weight(1)]
    means = [START.copy()]
    for t in range(1, T + 1):
        g = weight(t) * gradient(means[-1])
        for i in range(w.size):
            w[i], s[i], _ = step(w[i], g[i], s[i])
        ws.append(w.copy())
        a.append(weight(t + 1))
        means.append(np.average(ws, axis=0, weights=a))
    return means


RULES = {
    "adagrad": (Adagrad(eps=0.1), lambda x, g, s: reference.adagrad(x, g, s, 0.5, eps=0.1), 0.0),
    "rda": (RDA(eps=0.1), lambda x, g, s: reference.rda(x, g, s, 0.5, eps=0.1), (0.0, 0.0)),
}


def assert_definition(rule, power, tolerance=1e-12, dtype=np.float64):
    record, step, slots = RULES[rule]
    expected = anytime(step, slots, WEIGHTS[power], 30)
    x = START.astype(dtype)
    state = init(x, Anytime(record, power), lr=0.5)
    for mean in expected[1:]:
        x, state = update(x, gradient(x).astype(dtype), state)
        assert_allclose(x, mean, rtol=tolerance, atol=tolerance)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("power", WEIGHTS)
def test_definition(rule, power):
    assert_definition(rule, power)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-4)])
def test_definition_compiled(dtype, tolerance):
    assert_definition("adagrad", 1, tolerance, dtype)


@pytest.mark.usefixtures("interpreted")
def test_saved_states_resume(tmp_path):
    for rule in (Anytime(OptimisticAdagrad()), Anytime(KT(), 2)):
        x, state = START, init(START, rule, lr=0.3)
        for k in range(6):
            if k == 3:
                state.save(tmp_path / "state.npz")
                y, loaded = x, load_state(tmp_path / "state.npz")
            x, state = update(x, gradient(x) / 4, state)
        for _ in range(3):
            y, loaded = update(y, gradient(y) / 4, loaded)
        assert_array_equal(x, y)


@pytest.mark.usefixtures("interpreted")
def test_the_last_iterate_converges():
    """On |x| the last iterate of Adagrad alternates around 0; that of Anytime converges."""
    plain, anytime = (
        minimize_adagrad(lambda x: abs(x).sum(), START, jac=np.sign, rule=rule, lr=1.0, maxiter=2000, gtol=0.0).fun
        for rule in (Adagrad(), Anytime(Adagrad()))
    )
    assert anytime < 1e-2 < plain


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: init(START, Anytime(3)), TypeError, "^Anytime.rule: got 3; must be a record"),
        (lambda: init(START, Anytime(Adagrad(), -1)), ValueError, "^Anytime.power: got -1"),
        (lambda: init(START, Anytime(RowAdagrad())), ValueError, "^Anytime.rule: does not support RowAdagrad"),
        (lambda: init(START, Anytime(DoG())), ValueError, "^Anytime.rule: a step of DoG depends on all coordinates"),
        (lambda: init(START, Anytime(FullMatrixAdagrad())), ValueError, "^Anytime.rule: a step of FullMatrixAdagrad"),
        (lambda: init(START, Anytime(PassiveAggressive())), ValueError, "does not support PassiveAggressive"),
        (lambda: init(START, Anytime(Anytime(Adagrad()))), ValueError, "does not support Anytime"),
        (
            lambda: init(START, Anytime(Adagrad()), penalty=L1(0.1)),
            ValueError,
            "^penalty: got L1, but Anytime",
        ),
        (
            lambda: minimize_adagrad(np.sum, START, rule=Anytime(Adagrad()), bounds=[(0, 1)] * 3),
            ValueError,
            "supports neither penalties nor bounds",
        ),
        (
            lambda: update(START, ([0], [1.0]), init(START, Anytime(Adagrad()))),
            ValueError,
            "^g: is sparse, but each update of Anytime",
        ),
        (
            lambda: update(START, scipy.sparse.csr_array(START[None]), init(START, Anytime(Adagrad()))),
            ValueError,
            "^g: is sparse, but each update of Anytime",
        ),
        (
            lambda: fit_linear(np.eye(3), [0, 1, 1], rule=Anytime(Adagrad())),
            ValueError,
            "^rule: each update of Any",
        ),
        (
            lambda: fit_linear(np.eye(3), [0, 1, 2], rule=Anytime(Adagrad())),
            ValueError,
            "^rule: each update of Any",
        ),
    ],
)
@pytest.mark.usefixtures("interpreted")
def test_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
