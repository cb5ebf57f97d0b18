"""Penalties: the proximal step is the minimiser, and k steps and their sum equal the closed forms."""

import functools
import math
from typing import NamedTuple

import numpy as np
import pytest
import reference

from adagrad_nb import (
    L1,
    L2,
    MCP,
    Adagrad,
    Bounded,
    Box,
    ClipNorm,
    ElasticNet,
    NonNegative,
    NoPenalty,
    fit_linear,
    init,
    minimize_adagrad,
    update,
)
from adagrad_nb.compiler.jit import cast
from adagrad_nb.records.penalties import gradient_mapping, prox, prox_k, prox_k_sum, value, value_k_sum

INF = math.inf

# record, value and proximal step of the reference
CASES = {
    "none": (NoPenalty(), reference.no_penalty, reference.no_prox),
    "l1": (L1(0.7), functools.partial(reference.l1, strength=0.7), functools.partial(reference.l1_prox, strength=0.7)),
    "l2": (L2(0.7), functools.partial(reference.l2, strength=0.7), functools.partial(reference.l2_prox, strength=0.7)),
    "elastic net": (
        ElasticNet(0.3, 0.7),
        functools.partial(reference.elastic_net, first=0.3, second=0.7),
        functools.partial(reference.elastic_net_prox, first=0.3, second=0.7),
    ),
    "elastic net, l1 only": (
        ElasticNet(0.3, 0.0),
        functools.partial(reference.l1, strength=0.3),
        functools.partial(reference.l1_prox, strength=0.3),
    ),
    "box": (
        Box(-0.5, 0.8),
        functools.partial(reference.box, lower=-0.5, upper=0.8),
        functools.partial(reference.box_prox, lower=-0.5, upper=0.8),
    ),
    "half-line": (
        NonNegative(),
        functools.partial(reference.box, lower=0.0, upper=INF),
        functools.partial(reference.box_prox, lower=0.0, upper=INF),
    ),
    "bounded l1": (
        Bounded(L1(0.7), 0.2, 1.5),
        lambda x: reference.l1(x, 0.7) + reference.box(x, 0.2, 1.5),
        lambda x, w: reference.box_prox(reference.l1_prox(x, w, 0.7), w, 0.2, 1.5),
    ),
    "bounded elastic net": (
        Bounded(ElasticNet(0.3, 0.7), -1.0, -0.25),
        lambda x: reference.elastic_net(x, 0.3, 0.7) + reference.box(x, -1.0, -0.25),
        lambda x, w: reference.box_prox(reference.elastic_net_prox(x, w, 0.3, 0.7), w, -1.0, -0.25),
    ),
}
every_case = pytest.mark.parametrize(("penalty", "naive", "naive_prox"), CASES.values(), ids=CASES.keys())


def points(rng, n=60):
    """Yield points, some of them zero or at a kink, with step sizes over ten decades."""
    x = rng.normal(size=n) * 2
    x[:8] = 0.0, -0.0, 0.8, -0.5, 0.2, 1.5, -1.0, 0.7
    return zip(x.tolist(), (10.0 ** rng.uniform(-6, 4, n)).tolist(), strict=True)


@every_case
def test_value(penalty, naive, naive_prox, rng):
    for x, _ in points(rng):
        assert value(penalty, x, 0) == pytest.approx(naive(x), rel=1e-15)


@every_case
def test_prox_equals_the_reference(penalty, naive, naive_prox, rng):
    for x, w in points(rng):
        assert prox(penalty, x, w, 0) == pytest.approx(naive_prox(x, w), rel=1e-14, abs=1e-15 * abs(x))


@every_case
def test_prox_is_the_minimiser(penalty, naive, naive_prox, rng):
    """No point of a fine grid, and none near the result, has a smaller value."""
    for x, w in points(rng):
        best = prox(penalty, x, w, 0)
        at_best = naive(best) + (best - x) ** 2 / (2 * w)
        assert math.isfinite(at_best)
        grid = np.r_[np.linspace(-5, 5, 401), 0.0, x, best + np.outer([-1, 1], 10.0 ** np.arange(-8.0, 1)).ravel()]
        for z in grid.tolist():
            other = naive(z) + (z - x) ** 2 / (2 * w)
            assert at_best <= other + 1e-14 * max(abs(x) ** 2 / w, abs(at_best), 1e-300)


@every_case
def test_prox_of_step_size_zero_is_the_projection_on_the_domain(penalty, naive, naive_prox):
    for x in (-3.0, -0.1, 0.0, 0.3, 4.0):
        assert prox(penalty, x, 0.0, 0) == naive_prox(x, 0.0)


@every_case
@pytest.mark.parametrize("k", [0, 1, 2, 7, 100])
def test_prox_k_is_k_steps(penalty, naive, naive_prox, k, rng):
    for x, w in points(rng):
        w /= max(k, 1)
        expected = x
        for _ in range(k):
            expected = naive_prox(expected, w)
        assert prox_k(penalty, x, w, k, 0) == pytest.approx(expected, rel=1e-12, abs=1e-12 * abs(x))


@every_case
@pytest.mark.parametrize("k", [0, 1, 2, 7, 100])
def test_prox_k_sum_is_the_sum_of_the_iterates(penalty, naive, naive_prox, k, rng):
    for x, w in points(rng):
        w /= max(k, 1)
        after, expected = x, []
        for _ in range(k):
            after = naive_prox(after, w)
            expected.append(after)
        size = max(abs(x), max(map(abs, expected), default=0))
        assert prox_k_sum(penalty, x, w, k, 0) == pytest.approx(math.fsum(expected), rel=1e-12, abs=1e-13 * k * size)


@pytest.mark.parametrize("l2", [1e-16, 1e-12, 1e-9, 1e-6, 1e-3, 1.0])
@pytest.mark.parametrize("l1", [0.0, 1e-5, 1e-3])
def test_prox_k_sum_does_not_cancel_for_a_weak_ridge(l1, l2):
    for x in (1.0, -0.02):
        after, expected = x, []
        for _ in range(2000):
            after = reference.elastic_net_prox(after, 0.5, l1, l2)
            expected.append(after)
        # The 2,000 single steps have more rounding errors than the closed form.
        assert prox_k_sum(ElasticNet(l1, l2), x, 0.5, 2000, 0) == pytest.approx(math.fsum(expected), rel=2e-12)
        values = [reference.elastic_net(after, l1, l2) for after in expected]
        assert value_k_sum(ElasticNet(l1, l2), x, 0.5, 2000, 0) == pytest.approx(math.fsum(values), rel=4e-12)


@pytest.mark.parametrize("penalty", [L1(0.02), L2(0.1), ElasticNet(0.02, 0.1), ElasticNet(0.0, 0.1)], ids=str)
def test_sums_of_values_are_accurate_in_float32(penalty):
    single = cast(penalty, np.float32)
    exact = cast(penalty, np.longdouble)
    for x in (0.0, 1.0, -0.02):
        for w in (0.0, 1e-3, 0.5, 4.0):
            x, w, k = np.float32(x), np.float32(w), 400
            after, total = np.longdouble(x), np.longdouble(0)
            for _ in range(k):
                after = exact.prox(after, np.longdouble(w), 0)
                total += exact.value(after, 0)
            with np.errstate(all="ignore"):
                assert value_k_sum(single, x, w, k, 0) == pytest.approx(float(total), rel=2e-5)


@pytest.mark.parametrize("penalty", [L1(0.1), L2(0.1), ElasticNet(0.1, 0.1), Bounded(L2(0.1), 0.5, 2.0)], ids=str)
def test_prox_k_sum_of_many_steps_is_a_closed_form(penalty):
    begin = prox_k_sum(penalty, 3.0, 1e-3, 10**4, 0)
    after = prox_k(penalty, 3.0, 1e-3, 10**4, 0)
    end = prox_k_sum(penalty, 3.0, 1e-3, 10**12, 0)
    assert math.isfinite(end)
    assert end == pytest.approx(begin + prox_k_sum(penalty, after, 1e-3, 10**12 - 10**4, 0), rel=1e-10)


def test_prox_k_sum_defaults_to_single_steps():
    class Cauchy(Box):  # a record without a closed form
        prox_k_sum = None

        def prox(self, x, w, i):
            return x / (1 + w)

    assert prox_k_sum(Cauchy(), 8.0, 1.0, 3, 0) == 4.0 + 2.0 + 1.0
    assert prox_k_sum(Cauchy(), 0.0, 1.0, 10**15, 0) == 0.0  # once x is constant, the rest is a product


@every_case
def test_prox_k_of_many_steps_is_finite(penalty, naive, naive_prox):
    """A million steps in closed form: the limit, without overflow."""
    for x in (-2.0, 0.1, 3.0):
        end = prox_k(penalty, x, 1e3, 1_000_000, 0)
        assert math.isfinite(end)
        assert naive_prox(end, 1e3) == pytest.approx(end, abs=1e-12)


def test_prox_k_defaults_to_single_steps():
    class Cauchy(Box):  # a record without a closed form
        prox_k = None

        def prox(self, x, w, i):
            return x / (1 + w)

    assert prox_k(Cauchy(), 8.0, 1.0, 3, 0) == 1.0


@every_case
def test_gradient_mapping_is_the_distance_from_optimality(penalty, naive, naive_prox, rng):
    for x, g in rng.normal(size=(50, 2)):
        assert gradient_mapping(penalty, x, g, 0) == pytest.approx(
            abs(x - naive_prox(x - g, 1.0)), rel=1e-13, abs=1e-15
        )


@every_case
def test_not_a_number_propagates(penalty, naive, naive_prox):
    assert math.isnan(prox(penalty, math.nan, 0.5, 0))
    assert math.isnan(prox_k(penalty, math.nan, 0.5, 3, 0))


@every_case
def test_single_precision_needs_no_double(penalty, naive, naive_prox):
    """Results are float32 numbers, also if their type is float."""
    penalty = cast(penalty, np.dtype(np.float32))
    for x in np.float32([-2.0, -0.3, 0.0, 0.5, 3.0]):
        for result in (prox(penalty, x, np.float32(0.5), 0), value(penalty, x, 0)):
            assert np.float32(result) == result
        assert prox(penalty, x, np.float32(0.5), 0) == pytest.approx(naive_prox(float(x), 0.5), rel=3e-7, abs=3e-7)


@pytest.mark.parametrize("penalty", [L1(0.5), L2(0.5), ElasticNet(0.5, 0.5), Bounded(L1(0.5), -1.0, 1.0)], ids=str)
def test_prox_of_infinite_step_size_is_the_minimum_of_the_penalty(penalty):
    for x in (-2.0, 0.0, 2.0):
        assert prox(penalty, x, INF, 0) == 0.0


def test_strengths_per_coordinate():
    strengths = np.array([0.0, 1.0, 2.0])
    assert [prox(L1(strengths), 5.0, 1.0, i) for i in range(3)] == [5.0, 4.0, 3.0]
    assert [prox(L2(strengths), 6.0, 1.0, i) for i in range(3)] == [6.0, 3.0, 2.0]
    assert [prox(ElasticNet(strengths, strengths), 5.0, 1.0, i) for i in range(3)] == [5.0, 2.0, 1.0]
    assert [prox(Box(strengths, strengths + 1), 1.5, 1.0, i) for i in range(3)] == [1.0, 1.5, 2.0]
    assert [prox(Bounded(L1(strengths), 0.0, strengths + 1), 3.0, 1.0, i) for i in range(3)] == [1.0, 2.0, 1.0]


DOMAINS = [
    (L1(-1.0), r"L1\.strength: got -1\.0; must be a number in \[0, inf\)"),
    (L1(math.nan), r"L1\.strength: got nan; must be a number in \[0, inf\)"),
    (L2(INF), r"L2\.strength: got inf; must be a number in \[0, inf\)"),
    (ElasticNet(1.0, -2.0), r"ElasticNet\.l2: got -2\.0; must be a number in \[0, inf\)"),
    (L1(np.array([0.0, -3.0])), r"L1\.strength: got -3\.0 at index 1; every entry must be in \[0, inf\)"),
    (L1(np.ones(3)), r"L1\.strength: got shape \(3,\); must be a number or have shape \(2,\)"),
    (Box(2.0, 1.0), r"Box: lower bound 2\.0 exceeds upper bound 1\.0"),
    (Box(math.nan, 1.0), r"Box\.lower: got nan; must be a number in \[-inf, inf\]"),
    (Box(np.zeros(2), np.array([1.0, -1.0])), r"Box: lower bound 0\.0 exceeds upper bound -1\.0 at index 1"),
    (Bounded(L1(-1.0), 0.0, 1.0), r"L1\.strength: got -1\.0; must be a number in \[0, inf\)"),
    (Bounded(L1(1.0), 1.0, 0.0), r"Bounded: lower bound 1\.0 exceeds upper bound 0\.0"),
    (Bounded(L1(np.ones(3)), 0.0, 1.0), r"L1\.strength: got shape \(3,\); must be a number or have shape \(2,\)"),
]


@pytest.mark.parametrize(("penalty", "message"), DOMAINS, ids=str)
def test_domain(penalty, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        init(np.zeros(2), penalty=penalty)


@pytest.mark.parametrize("bad", [L1, "l1", 0.5, Bounded("l1", 0.0, 1.0)], ids=str)
def test_kind(bad):
    with pytest.raises(TypeError, match=r"^(penalty|Bounded\.penalty): "):
        init(np.zeros(2), penalty=bad)


class Between(NamedTuple):
    """The penalty of a user: a constant outside the knots, which are a tuple of another length than x."""

    knots: tuple = (0.0, 1.0)

    def value(self, x, i):
        return 0.0 if self.knots[0] <= x <= self.knots[1] else 1.0

    def prox(self, x, w, i):
        return min(max(x, self.knots[0]), self.knots[1])


def test_tuples_of_records_of_the_user_have_any_length(interpreted):
    x, _ = update(np.full(3, 2.0), np.zeros(3), init(np.full(3, 2.0), penalty=Between()))
    np.testing.assert_array_equal(x, 1.0)


LISTS = [
    L1([0.1, 0.2]),
    ElasticNet(0.1, [0.1, 0.2]),
    Box([0.0, 0.0], 1.0),
    Bounded(L1([0.1]), 0.0, 1.0),
    MCP([0.1, 0.2]),
]


@pytest.mark.parametrize("penalty", LISTS, ids=str)
def test_lists_of_another_length_are_refused(interpreted, penalty):
    """Compiled code would read behind their end."""
    for run in (
        lambda: init(np.ones(3), penalty=penalty),
        lambda: fit_linear(np.eye(3), [0, 1, 1], penalty=penalty),
        lambda: minimize_adagrad(np.sum, np.ones(3), penalty=penalty),
    ):
        with pytest.raises(ValueError, match=r"got shape \([12],\); must be a number or have shape \(3,\)"):
            run()


def test_lists_are_arrays(interpreted):
    x = [
        minimize_adagrad(lambda x: x @ x / 2, np.ones(2), jac=lambda x: x, penalty=L1(strength), maxiter=3).x
        for strength in ([0.1, 0.2], np.array([0.1, 0.2]))
    ]
    np.testing.assert_array_equal(*x)
    with pytest.raises(TypeError, match=r"^L1.strength: got the tuple \(0.1, 0.2\); must be a number or a list"):
        init(np.ones(2), penalty=L1((0.1, 0.2)))
    for options in (
        {"rule": Adagrad([0.1, 0.2])},
        {"transforms": (ClipNorm([0.1, 0.2]),)},
        {"penalty": MCP(1.0, [3, 4])},
    ):
        with pytest.raises(
            TypeError, match=r"^(Adagrad.eps|ClipNorm.bound|MCP.gamma): got \[.*; must be one number in"
        ):
            init(np.ones(2), **options)
