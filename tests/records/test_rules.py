"""Update rules: the step of one coordinate, and the step size of its proximal step."""

import math

import numpy as np
import pytest
import reference

from adagrad_nb import Adadelta, Adagrad, MomentumAdagrad, init
from adagrad_nb.records.rules import step, step_size

RULES = [Adagrad(), Adagrad(eps=1e-6, inside=True), Adagrad(eps=0.0), Adagrad(eps=0.1, initial_accumulator=0.1)]
names = pytest.mark.parametrize("rule", RULES, ids=str)


def completed(rule):
    """Return a rule with its computed constants, as the kernels take it."""
    return init(np.zeros(1), rule).leaves[0].update.rule


def options_of(rule):
    return {"eps": rule.eps, "inside": rule.inside}


@names
def test_step_equals_the_reference(rule, rng):
    for x, g, G, lr in rng.normal(size=(200, 4)) ** 3:
        G, lr = abs(G), abs(lr)
        expected, total, size = reference.adagrad(x, g, G, lr, **options_of(rule))
        x_new, s = step(rule, x, g, (G,), lr)
        assert x_new == pytest.approx(expected, rel=1e-13, abs=1e-300)
        assert s == (pytest.approx(total, rel=1e-15),)
        assert step_size(rule, s, lr) == pytest.approx(size, rel=1e-14)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_momentum(momentum, eps, rng):
    rule = completed(MomentumAdagrad(momentum, eps))
    for x, g, G, m, lr in rng.normal(size=(100, 5)):
        x_new, s, size = reference.momentum_adagrad(x, g, (abs(G), m), abs(lr), momentum, eps)
        result = step(rule, x, g, (abs(G), m), abs(lr))
        assert result == (pytest.approx(x_new, rel=1e-13), (pytest.approx(s[0]), pytest.approx(s[1], rel=1e-13)))
        assert step_size(rule, result[1], abs(lr)) == pytest.approx(size, rel=1e-13)


@pytest.mark.parametrize("rho", [0.0, 0.9, 0.99])
@pytest.mark.parametrize("eps", [1e-6, 0.1])
def test_adadelta(rho, eps, rng):
    rule = completed(Adadelta(rho, eps))
    for x, g, E, D, lr in rng.normal(size=(100, 5)):
        x_new, s, size = reference.adadelta(x, g, (abs(E), abs(D)), abs(lr), rho, eps)
        result = step(rule, x, g, (abs(E), abs(D)), abs(lr))
        assert result == (pytest.approx(x_new, rel=1e-13), (pytest.approx(s[0]), pytest.approx(s[1], rel=1e-13)))
        assert step_size(rule, result[1], abs(lr)) == pytest.approx(size, rel=1e-13)


@pytest.mark.parametrize("rule", [MomentumAdagrad(), MomentumAdagrad(eps=0.1), Adadelta()], ids=str)
def test_a_zero_gradient_at_the_start_keeps_x(rule):
    rule = completed(rule)
    assert step(rule, 3.0, 0.0, rule.initial_slots(), 0.5)[0] == 3.0
    assert math.isnan(step(rule, 3.0, math.nan, rule.initial_slots(), 0.5)[0])
    assert len(rule.initial_slots()) == rule.slots == 2


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (MomentumAdagrad(1.0), r"MomentumAdagrad\.momentum: got 1\.0; must be a number in \[0, 1\)"),
        (MomentumAdagrad(0.5, -1.0), r"MomentumAdagrad\.eps: got -1\.0; must be a number in \[0, inf\)"),
        (Adadelta(-0.1), r"Adadelta\.rho: got -0\.1; must be a number in \[0, 1\)"),
        (Adadelta(0.9, 0.0), r"Adadelta\.eps: got 0\.0; must be a number in \(0, inf\)"),
    ],
    ids=str,
)
def test_other_domains(rule, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        init(np.zeros(2), rule)


def test_eps_is_inside_or_outside_the_root():
    # G = 1 after the step, so that the three denominators are 1, 1.5 and sqrt(1.5).
    x_new = [step(rule, 0.0, 1.0, (0.0,), 1.0)[0] for rule in (Adagrad(0.0), Adagrad(0.5), Adagrad(0.5, True))]
    np.testing.assert_allclose(x_new, [-1.0, -1 / 1.5, -1 / math.sqrt(1.5)], rtol=1e-15)


@names
def test_first_accumulator(rule):
    state = init(np.zeros(3), rule)
    np.testing.assert_array_equal(state.slots[0][0], np.full(3, rule.initial_accumulator))
    assert len(state.slots[0]) == rule.slots == len(rule.initial_slots())


@pytest.mark.parametrize("eps", [0.0, 1e-300, 1e-10, 1.0])
@pytest.mark.parametrize("inside", [False, True])
def test_zero_gradient_with_zero_accumulator_keeps_x(eps, inside):
    for x in (3.0, -0.0, 1e300):
        x_new, s = step(Adagrad(eps, inside), x, 0.0, (0.0,), 0.5)
        assert x_new == x
        assert s == (0.0,)


def test_a_square_that_underflows_keeps_x_without_eps():
    x = np.float32(1.0)
    x_new, _ = step(Adagrad(np.float32(0.0)), x, np.float32(1e-30), (np.float32(0.0),), np.float32(0.5))
    assert x_new == 1.0


@names
def test_not_a_number_propagates(rule):
    for arguments in ((math.nan, 1.0, (1.0,), 0.5), (1.0, math.nan, (1.0,), 0.5), (1.0, 1.0, (math.nan,), 0.5)):
        assert math.isnan(step(rule, *arguments)[0])
    assert math.isnan(step(rule, 1.0, math.nan, (1.0,), 0.5)[1][0])
    assert math.isnan(step_size(rule, (math.nan,), 0.5))


@names
def test_an_infinite_accumulator_keeps_x(rule):
    assert step(rule, 2.0, 3.0, (math.inf,), 0.5) == (2.0, (math.inf,))
    assert step_size(rule, (math.inf,), 0.5) == 0.0


def test_step_keeps_the_precision_of_its_arguments():
    one = np.float32(1.0)
    x_new, (G,) = step(Adagrad(np.float32(1e-3)), one, one, (one,), one)
    assert type(x_new) is type(G) is np.float32


@pytest.mark.parametrize("bad", [-1e-10, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ["eps", "initial_accumulator"])
def test_domain(field, bad):
    with pytest.raises(ValueError, match=rf"^Adagrad\.{field}: got {bad!r}; must be a number in \[0, inf\)$"):
        init(np.zeros(2), Adagrad(**{field: bad}))


@pytest.mark.parametrize(("field", "bad"), [("eps", "1"), ("eps", True), ("eps", 1j), ("inside", 1), ("inside", "yes")])
def test_kind(field, bad):
    with pytest.raises(TypeError, match=rf"^Adagrad\.{field}: got {bad!r}; must be"):
        init(np.zeros(2), Adagrad(**{field: bad}))


def test_a_class_is_not_a_rule():
    with pytest.raises(TypeError, match=r"^rule: got the class Adagrad; pass an instance, such as Adagrad\(…\)$"):
        init(np.zeros(2), Adagrad)


def test_a_string_is_not_a_rule():
    with pytest.raises(TypeError, match=r"^rule: got 'adagrad'; must be a record such as Adagrad\(\)$"):
        init(np.zeros(2), "adagrad")


def test_a_zero_dimensional_strength_is_a_number():
    from adagrad_nb import L1, init, update

    x, g = np.array([1.0, 2.0, 3.0]), np.array([0.5, -0.5, 1.0])
    arrays = update(x, g, init(x, penalty=L1(np.array(0.1))))[0]
    np.testing.assert_array_equal(arrays, update(x, g, init(x, penalty=L1(0.1)))[0])
