"""Schedules and averages: the learning rate, and the weight of the iterate, of update t."""

import math

import numpy as np
import pytest
import reference

from adagrad_nb import (
    EMA,
    Constant,
    Cosine,
    CosineRestarts,
    Cyclic,
    Exponential,
    InverseSqrt,
    InverseTime,
    OneCycle,
    Piecewise,
    Polyak,
    Polynomial,
    Sequential,
    Shift,
    WarmUp,
    init,
    update,  # fmt: skip
)
from adagrad_nb.records.averaging import weight
from adagrad_nb.records.schedules import PrecomputedSchedule, at

CASES = {
    "constant": (Constant(0.3), lambda t: 0.3),
    "inverse time": (InverseTime(0.5, 0.01), lambda t: reference.inverse_time(t, 0.5, 0.01)),
    "inverse root": (InverseSqrt(0.5, 0.1), lambda t: reference.inverse_sqrt(t, 0.5, 0.1)),
    "exponential": (Exponential(0.5, 0.9, 7.0), lambda t: reference.exponential(t, 0.5, 0.9, 7.0)),
    "cosine": (Cosine(0.5, 20, 0.1), lambda t: reference.cosine(t, 0.5, 20, 0.1)),
    "piecewise": (Piecewise((3, 9), (1.0, 0.1, 0.01)), lambda t: reference.piecewise(t, (3, 9), (1.0, 0.1, 0.01))),
    "inverse time, stairs": (
        InverseTime(0.5, 0.1, steps=4, staircase=True),
        lambda t: reference.inverse_time(t // 4, 0.5, 0.1),
    ),
    "exponential, stairs": (
        Exponential(0.5, 0.5, steps=4, staircase=True, final=0.1),
        lambda t: max(reference.exponential(t // 4, 0.5, 0.5, 1), 0.1),
    ),
    "polynomial": (Polynomial(0.5, 20, 0.1, 2.0), lambda t: reference.polynomial(t, 0.5, 20, 0.1, 2.0)),
    "polynomial, cycles": (
        Polynomial(0.5, 7, 0.1, 1.0, cycle=True),
        lambda t: reference.polynomial(t, 0.5, 7, 0.1, 1.0, cycle=True),
    ),
    "restarts": (
        CosineRestarts(0.5, 4, 1.5, 0.9, 0.05),
        lambda t: reference.cosine_restarts(t, 0.5, 4, 1.5, 0.9, 0.05),
    ),
    "restarts of one length": (
        CosineRestarts(0.5, 4.5, 1.0, 0.9, 0.05),
        lambda t: reference.cosine_restarts(t, 0.5, 4.5, 1.0, 0.9, 0.05),
    ),
    "growth": (Exponential(0.5, 1.1, final=2.0), lambda t: min(reference.exponential(t, 0.5, 1.1, 1), 2.0)),
    "growth without end": (Exponential(0.5, 1.1), lambda t: reference.exponential(t, 0.5, 1.1, 1)),
    "rise": (Polynomial(0.1, 20, 0.5, 2.0), lambda t: reference.polynomial(t, 0.1, 20, 0.5, 2.0)),
    "cosine, power": (Cosine(0.5, 20, 0.1, 2.0), lambda t: reference.cosine_wave(min(t, 20), 0.5, 20, 0.1, 2.0)),
    "cosine wave": (Cosine(0.5, 7, 0.1, cycle=True), lambda t: reference.cosine_wave(t, 0.5, 7, 0.1, 1.0)),
    "cyclic": (Cyclic(0.1, 0.9, 5, 3), lambda t: reference.cyclic(t, 0.1, 0.9, 5, 3, 1.0, 1.0)),
    "cyclic, decaying": (
        Cyclic(0.1, 0.9, 2.5, 3, 0.5, 0.99),
        lambda t: reference.cyclic(t, 0.1, 0.9, 2.5, 3, 0.5, 0.99),
    ),
    "one cycle": (OneCycle(0.9, 20), lambda t: reference.one_cycle(t, 0.9, 20, 0.3, 25, 1e4, False)),
    "one cycle, linear": (
        OneCycle(0.9, 15, 0.5, 4.0, 10.0, True),
        lambda t: reference.one_cycle(t, 0.9, 15, 0.5, 4, 10, True),
    ),
    "sequential": (
        Sequential(Polynomial(0.1, 5, 0.5), 5, Sequential(Constant(0.5), 3, InverseTime(0.5, 0.1))),
        lambda t: 0.1 + 0.08 * t if t < 5 else 0.5 if t < 8 else reference.inverse_time(t - 8, 0.5, 0.1),
    ),
    "shift": (Shift(InverseSqrt(0.5), 3), lambda t: reference.inverse_sqrt(t + 3, 0.5, 1.0)),
    "warm-up": (
        WarmUp(5, InverseTime(0.5, 0.1)),
        lambda t: 0.5 * (t + 1) / 5 if t < 5 else reference.inverse_time(t - 5, 0.5, 0.1),
    ),
    "table": (PrecomputedSchedule(np.arange(7.0, 107.0), 0), lambda t: t + 7.0),
    "later table": (PrecomputedSchedule(np.arange(107.0), -7), lambda t: t + 7.0),
}
every_case = pytest.mark.parametrize(("schedule", "naive"), CASES.values(), ids=CASES.keys())


@every_case
def test_rate(schedule, naive):
    for t in [*range(30), 99]:
        assert at(schedule, t) == pytest.approx(naive(t), rel=1e-13, abs=1e-16)


@every_case
def test_update_uses_the_learning_rate_of_its_number(schedule, naive):
    """With g = 1 and eps = 0 update t moves x by rate / sqrt(t + 1)."""
    from adagrad_nb import Adagrad

    x, state = np.zeros(1), init(np.zeros(1), Adagrad(eps=0.0), lr=schedule)
    for t in range(12):
        before = x[0]
        x, state = update(x, np.ones(1), state)
        assert before - x[0] == pytest.approx(naive(t) / math.sqrt(t + 1), rel=1e-11)
    assert state.t == 12


def test_cosine_is_constant_after_its_end():
    assert [at(Cosine(0.5, 20, 0.1), t) for t in (20, 21, 10**9)] == [0.1] * 3


@pytest.mark.parametrize("schedule", [CosineRestarts(0.5, 3, 1.0), CosineRestarts(0.5, 3, 2.0), Cyclic(0.1, 1.0, 2, 2)])
def test_late_updates_take_no_longer(schedule):
    assert 0 <= at(schedule, 10**15) <= 1


def test_nested_warm_up():
    schedule = WarmUp(2, WarmUp(2, Constant(1.0)))
    assert [at(schedule, t) for t in range(5)] == [0.25, 0.5, 0.5, 1.0, 1.0]


DOMAINS = [
    (Constant(-0.1), r"Constant\.lr: got -0\.1; must be a number in \[0, inf\)"),
    (Constant(math.nan), r"Constant\.lr: got nan; must be a number in \[0, inf\)"),
    (InverseTime(0.1, -1.0), r"InverseTime\.decay: got -1\.0; must be a number in \[0, inf\)"),
    (InverseSqrt(math.inf), r"InverseSqrt\.lr: got inf; must be a number in \[0, inf\)"),
    (Exponential(0.1, 0.5, 0.0), r"Exponential\.steps: got 0\.0; must be a number in \(0, inf\)"),
    (Cosine(0.1, 0), r"Cosine\.steps: got 0; must be a number in \(0, inf\)"),
    (Cosine(0.1, 10, -1.0), r"Cosine\.final: got -1\.0; must be a number in \[0, inf\)"),
    (Piecewise((3, 3), (1.0, 1.0, 1.0)), r"Piecewise\.boundaries: got \(3, 3\); must increase"),
    (Piecewise((3,), (1.0,)), r"Piecewise\.values: got 1 values for 1 boundaries; there must be one value more"),
    (Piecewise((3,), (1.0, -1.0)), r"Piecewise\.values: got -1\.0 at index 1; every entry must be in \[0, inf\)"),
    (Piecewise((-3,), (1.0, 1.0)), r"Piecewise\.boundaries: got -3; must be an integer of at least 0"),
    (InverseTime(0.1, 1.0, 0.0), r"InverseTime\.steps: got 0\.0; must be a number in \(0, inf\)"),
    (Polynomial(0.1, 10, power=0.0), r"Polynomial\.power: got 0\.0; must be a number in \(0, inf\)"),
    (CosineRestarts(0.1, 10, 0.5), r"CosineRestarts\.stretch: got 0\.5; must be a number in \[1, inf\)"),
    (CosineRestarts(0.1, 10, shrink=2.0), r"CosineRestarts\.shrink: got 2\.0; must be a number in \(0, 1\]"),
    (Cosine(0.1, 10, power=0.0), r"Cosine\.power: got 0\.0; must be a number in \(0, inf\)"),
    (Cyclic(0.1, 1.0, 0, 3), r"Cyclic\.up: got 0; must be a number in \(0, inf\)"),
    (Cyclic(0.1, 1.0, 3, 3, shrink=0.0), r"Cyclic\.shrink: got 0\.0; must be a number in \(0, 1\]"),
    (OneCycle(0.1, 10, rise=1.0), r"OneCycle\.rise: got 1\.0; must be a number in \(0, 1\)"),
    (Sequential(Constant(1.0), -1, Constant(1.0)), r"Sequential\.steps: got -1; must be an integer of at least 0"),
    (Sequential(Constant(1.0), 1, Constant(-1.0)), r"Constant\.lr: got -1\.0; must be a number in \[0, inf\)"),
    (Shift(Constant(1.0), -1), r"Shift\.by: got -1; must be an integer of at least 0"),
    (WarmUp(0, Constant(1.0)), r"WarmUp\.steps: got 0; must be an integer of at least 1"),
    (WarmUp(3, Constant(-1.0)), r"Constant\.lr: got -1\.0; must be a number in \[0, inf\)"),
    (-0.5, r"lr: got -0\.5; must be a number in \[0, inf\)"),
    (math.nan, r"lr: got nan; must be a number in \[0, inf\)"),
    (math.inf, r"lr: got inf; must be a number in \[0, inf\)"),
    (np.array([0.1, -0.1]), r"lr: got -0\.1 at index 1; every entry must be in \[0, inf\)"),
    (np.ones(3), r"lr: got shape \(3,\); must be a number or have the shape of x, \(2,\)"),
]


def test_lists_and_arrays_of_steps_are_refused():
    for schedule, part in ((Piecewise([3], (1.0, 0.1)), "boundaries"), (Piecewise((3,), np.ones(2)), "values")):
        with pytest.raises(TypeError, match=rf"Piecewise\.{part}: got .*; must be a tuple, such as tuple\({part}\)"):
            init(np.zeros(2), lr=schedule)


@pytest.mark.parametrize(("lr", "message"), DOMAINS, ids=str)
def test_domain(lr, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        init(np.zeros(2), lr=lr)


@pytest.mark.parametrize(
    "lr",
    [
        "0.1",
        True,
        None,
        1j,
        [0.1, "a"],
        Constant,
        Polyak(),
        WarmUp(3, 0.1),
        Shift(0.1, 1),
        Sequential(0.1, 1, Constant(0.1)),
        Sequential(Constant(0.1), 1, 0.1),
    ],
    ids=str,
)
def test_kind(lr):
    with pytest.raises(TypeError, match=r"^(lr|WarmUp\.inner|Shift\.inner|Sequential\.(first|second)): "):
        init(np.zeros(2), lr=lr)


@pytest.mark.parametrize("start", [0, 1, 4])
def test_polyak_is_the_arithmetic_mean(start, rng):
    iterates = rng.normal(size=(10, 3))
    mean = np.zeros(3)
    for t, expected in enumerate(reference.means(iterates, start)):
        mean += weight(Polyak(start), t) * (iterates[t] - mean)
        np.testing.assert_allclose(mean, expected, rtol=1e-13)


def test_moving_average(rng):
    iterates = rng.normal(size=(10, 3))
    mean = np.zeros(3)
    for t, expected in enumerate(reference.moving_means(iterates, 0.7)):
        mean += weight(EMA(0.7), t) * (iterates[t] - mean)
        np.testing.assert_allclose(mean, expected, rtol=1e-13)


@pytest.mark.parametrize("bad", [-1, 1.5, True])
def test_polyak_start_is_a_count(bad):
    with pytest.raises(ValueError, match=rf"^Polyak\.start: got {bad}; must be an integer of at least 0"):
        init(np.zeros(2), average=Polyak(bad))


def test_an_average_is_a_record():
    with pytest.raises(TypeError, match=r"^average: got True; must be a record such as Polyak\(\)$"):
        init(np.zeros(2), average=True)


COMPILED = [
    Piecewise((1,), (0.5, 1)), Piecewise((), (0.5,)), Piecewise((2, 4), (1, 0, 1)), Cosine(0.5, 5, 0.1, 2, True),
    CosineRestarts(0.5, 2, 1, 0.5), Cyclic(0, 1, 2, 3, 0.5, 0.9), OneCycle(1, 5), OneCycle(0.5, 5, linear=True),
    Exponential(0.5, 2, 3, final=1), Sequential(Polynomial(0, 3, 1), 3, Piecewise((), (0.5,))),
]  # fmt: skip


@pytest.mark.parametrize("schedule", COMPILED, ids=str)
def test_schedules_with_integers_in_a_compiled_loop(schedule):
    from adagrad_nb import minimize_adagrad
    from adagrad_nb.testing import Rosenbrock

    compiled = minimize_adagrad(Rosenbrock(), [-1.2, 1.0], lr=schedule, maxiter=7, gtol=0)
    python = minimize_adagrad(Rosenbrock(), [-1.2, 1.0], lr=schedule.at, maxiter=7, gtol=0)
    np.testing.assert_array_equal(compiled.x, python.x)
