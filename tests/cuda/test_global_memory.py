"""Rules with sums over all coordinates: device arrays make the steps of the host, and keep the memory on the device."""

import math
from typing import NamedTuple

import numpy as np
import pytest
from host_device import SIMULATED, assert_same, copy_to_device, copy_to_host, update_on_both

from adagrad_nb import (
    SGD,
    AdagradNorm,
    AdagradPlusPlus,
    ClipGlobalNorm,
    DAdaptAdagrad,
    DoG,
    DoWG,
    InverseSqrt,
    L2Decay,
    Polyak,
    SkipNonFinite,
    WNGrad,
    init,
    minimize_adagrad,
    update,
)
from adagrad_nb.cuda import arrays

# The first r and d are large, because the rounding errors of x count in a short distance from the start.
RULES = [AdagradNorm(0.1), WNGrad(), DoG(0.5), DoWG(0.25), AdagradPlusPlus(1e-8, 0.5), DAdaptAdagrad(0.5)]
NAMES = [type(rule).__name__ for rule in RULES]
SHAPES = [(3,), (2, 5), (1,)]
ULPS = 16


def draw(rng, dtype, shapes=SHAPES, n=3):
    """Return arrays and n gradients of them."""
    x, *gradients = ([rng.normal(size=shape).astype(dtype) for shape in shapes] for _ in range(1 + n))
    return x, gradients


def assert_same_state(device, host, dtype=np.float64, ulps=ULPS):
    """Compare accumulators and memory, which is a tuple of floats."""
    assert_same(device.slots, host.slots, ulps)
    assert isinstance(device.memory, tuple)
    assert all(type(number) is float for number in device.memory)
    np.testing.assert_allclose(device.memory, host.memory, rtol=1e-12 if dtype == np.float64 else 1e-6)
    assert device.t == host.t


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_steps(rule, dtype, rng):
    """One array in place, whose launches are repeated; several arrays, after a transform with their norm."""
    x, gradients = rng.normal(size=11).astype(dtype), rng.normal(size=(3, 11)).astype(dtype)
    (host, host_state), (device, state) = update_on_both(x, gradients, True, rule=rule, lr=0.7)
    assert_same(device, host, ULPS)
    assert_same_state(state, host_state, dtype)
    assert np.abs(host - x).max() > 1e-3
    x, gradients = draw(rng, dtype, n=2)
    options = {"rule": rule, "transforms": (ClipGlobalNorm(1.5), L2Decay(0.1)), "average": Polyak()}
    (host, host_state), (device, state) = update_on_both(x, gradients, False, **options)
    assert_same(device, host, ULPS)
    assert_same(state.means, host_state.means, ULPS)
    assert_same_state(state, host_state, dtype)


@pytest.mark.parametrize("rule", RULES[:2], ids=NAMES[:2])
@pytest.mark.parametrize("duplicates", ["merge", "atomic"])
def test_sparse_gradients(duplicates, rule, rng):
    x = rng.normal(size=11)
    gradients = [(np.array([4, 1, 4]), rng.normal(size=3)), (np.array([2, 7]), rng.normal(size=2))]
    (host, host_state), (device, state) = update_on_both(x, gradients, True, rule=rule, duplicates=duplicates)
    assert_same(device, host, ULPS)
    assert_same_state(state, host_state)


def test_a_sparse_gradient_of_a_rule_with_distances_raises():
    x = copy_to_device(np.ones(3))
    state = init(x, DoG())
    with pytest.raises(ValueError, match="^g: lists some coordinates or is None, but DoG needs the distance"):
        update(x, copy_to_device((np.array([0]), np.ones(1))), state)
    assert state.memory == init(np.ones(3), DoG()).memory


def test_arrays_without_a_gradient(rng):
    x, [[_, *others]] = draw(rng, np.float64, n=1)
    for g in ([None, *others], [None, None, others[1]], [np.zeros(3), None, None]):
        host, host_state = update(x, g, init(x, AdagradNorm()))
        given = [None if array is None else copy_to_device(array) for array in g]
        device, state = update(copy_to_device(x), given, init(copy_to_device(x), AdagradNorm()))
        assert_same(device, host, ULPS)
        assert_same_state(state, host_state)


@pytest.mark.parametrize("rule", [WNGrad(), DAdaptAdagrad(0.5)], ids=["WNGrad", "DAdaptAdagrad"])
def test_float32_and_float64_arrays_with_factors_of_the_learning_rate(rule, rng):
    """Arrays of two precisions and of one precision with two learning rates share one memory."""
    x, gradients = draw(rng, np.float32, [(3,), (5,), (2,), (4,)])
    for each in (x, *gradients):
        each[1] = each[1].astype(np.float64)
    options = {"rule": rule, "lr_scale": [1.0, 1.0, 0.5, np.array([0.0, 1.0, 2.0, 3.0])]}
    (host, host_state), (device, state) = update_on_both(x, gradients, False, **options)
    np.testing.assert_allclose(state.memory, host_state.memory, rtol=1e-6)
    for actual, expected in zip(copy_to_host(device), host, strict=True):
        assert actual.dtype == expected.dtype
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["schedule", "function", "vector", "device vector"])
def test_learning_rates(kind, rng):
    x, g, vector = rng.uniform(0.1, 1, (3, 7))
    lr = {"schedule": InverseSqrt(0.5), "function": lambda t: 0.5 / (1 + t)}.get(kind, vector)
    host_state = init(x, DoG(0.5), lr=lr)
    y = copy_to_device(x)
    state = init(y, DoG(0.5), lr=copy_to_device(lr) if kind == "device vector" else lr)
    for _ in range(2):
        x, host_state = update(x, g, host_state)
        update(y, copy_to_device(g), state, out=(y, state))
    assert_same(y, x, ULPS)
    assert_same_state(state, host_state)


@pytest.mark.parametrize("shapes", [[(7,)], SHAPES], ids=["one array", "several arrays"])
def test_learning_rate_in_device_memory(shapes, rng):
    """A step reads it when it runs, so the next one sees a change."""
    x, gradients = draw(rng, np.float64, shapes)
    rate = copy_to_device(np.full(1, 0.25))
    y, host_state = copy_to_device(x), init(x, DoG(0.5), lr=0.25)
    state = init(y, DoG(0.5), lr=rate)
    for g, lr in zip(gradients, (0.25, 0.5, 0.75), strict=True):
        rate.copy_to_device(np.full(1, lr))
        update(y, copy_to_device(g), state, out=(y, state))
        x, host_state = update(x, g, host_state, lr=lr)
    assert_same(y, x, ULPS)
    assert_same_state(state, host_state)


def test_sums_over_several_blocks(rng):
    """The memory contains the sums over all blocks, and has the same bits again."""
    block = arrays.import_primitives().BLOCK_SIZE
    x, g = rng.normal(size=(2, 9 * block + 3))
    results = []
    for _ in range(2):
        y, state = update(copy_to_device(x), copy_to_device(g), init(copy_to_device(x), DoG(0.5)))
        results.append((copy_to_host(y).tobytes(), state.memory))
    assert results[0] == results[1]
    np.testing.assert_allclose(results[0][1], (0.5 * (1 + np.linalg.norm(x)), g @ g), rtol=1e-13)


@pytest.mark.parametrize("shapes", [[(7,)], SHAPES], ids=["one array", "several arrays"])
def test_a_step_copies_nothing_to_the_host(shapes, rng, monkeypatch):
    x, [g] = draw(rng, np.float64, shapes, 1)
    y, device_gradient = copy_to_device(x), copy_to_device(g)
    y, device_gradient = (y[0], device_gradient[0]) if len(x) == 1 else (y, device_gradient)
    state, host_state = init(y, DoG(0.5)), init(x, DoG(0.5))
    for k in range(3):
        if k == 2:
            for name in ("to_host", "to_device_array", "empty", "synchronize_device"):
                monkeypatch.setattr(arrays, name, lambda *_: pytest.fail("something was copied or allocated"))
        update(y, device_gradient, state, out=(y, state))
        x, host_state = update(x, g, host_state)
    monkeypatch.undo()
    assert_same(y if len(x) > 1 else [y], x, ULPS)
    assert_same_state(state, host_state)


@pytest.mark.filterwarnings("ignore:.*invalid value:RuntimeWarning")
def test_a_skipped_gradient_leaves_the_memory(rng):
    x, g = rng.normal(size=(2, 7))
    bad = g.copy()
    bad[3] = np.nan
    options = {"rule": DoG(0.5), "transforms": (SkipNonFinite(limit=2),)}
    (host, host_state), (device, state) = update_on_both(x, [g, bad], True, **options)
    assert_same(device, host, ULPS)
    assert_same_state(state, host_state)
    before = state.memory
    update(device, copy_to_device(bad), state, out=(device, state))
    with pytest.raises(FloatingPointError, match="SkipNonFinite.limit is 2"):
        update(device, copy_to_device(bad), state, out=(device, state))
    assert state.memory == before


@pytest.mark.parametrize("rule", [AdagradNorm(0.1), DoG(0.5)], ids=["AdagradNorm", "DoG"])
def test_copies_have_their_own_memory(rule, rng):
    """`State.copy`, a state of `out`, other options and restored counters, also where launches are repeated."""
    x, *gradients = rng.normal(size=(5, 7))
    y, gradients = copy_to_device(x), [copy_to_device(g) for g in gradients]
    state = init(y, rule)
    for g in gradients[:2]:
        update(y, g, state, out=(y, state))
    counts, memory, start = state.counts, state.memory, copy_to_host(y)
    copied, other = state.copy(), init(copy_to_device(x), SGD() if rule == AdagradNorm(0.1) else DoG(9.0))
    z, _ = update(y, gradients[2], state, out=(copy_to_device(x), other))
    changed = state.with_options(y, lr=0.25)
    assert state.memory == copied.memory == changed.memory == memory
    assert other.rule == rule
    update(y, gradients[2], copied, out=(y, copied))
    assert_same(z, copy_to_host(y))
    assert state.memory == memory != copied.memory == other.memory
    again = copy_to_device(start)
    update(again, gradients[2], changed, out=(again, changed))
    assert changed.memory == copied.memory
    assert not np.array_equal(copy_to_host(again), copy_to_host(y))
    copied.counts = counts
    assert copied.memory == memory
    assert copied.t == 2


def test_minimize():
    """Steps that are made again restore the memory, so the run ends where it ends on the host."""
    target = np.array([1.0, -2.0, 0.5])

    def run(copy, back):
        def value(x):
            return 0.5 * float(np.sum((back(x) - target) ** 2))

        def gradient(x):
            return copy(back(x) - target)

        return minimize_adagrad(value, copy(np.zeros(3)), jac=gradient, rule=AdagradNorm(1.0), lr=1.0, gtol=0.5)

    host, device = run(np.array, np.asarray), run(copy_to_device, copy_to_host)
    assert (device.nit, device.status, device.success) == (host.nit, host.status, True)
    assert host.nit == 4  # the second of the four steps of the third block
    assert_same(device.x, host.x, ULPS)
    assert_same_state(device.state, host.state)


def test_host_and_device_arrays_are_refused():
    x = [np.ones(2), copy_to_device(np.ones(2))]
    message = r"^rule: DoG has sums over all arrays, but x\[0\] is on the host and x\[1\] on a device"
    with pytest.raises(ValueError, match=message):
        init(x, DoG())
    assert init(x[:1], DoG()).memory


class Scaled(NamedTuple):
    """A rule of a user, with two terms, of which one is constant; `update_memory` calls a function of Python."""

    helper: int = 0

    slots = 0
    slot_domains = ()
    memory_domains = ("[0, inf)", "[0, inf)")
    initial_slots, step, step_size = SGD.initial_slots, SGD.step, SGD.step_size

    def initial_memory(self, n, norm):
        return (norm, n)

    def totals(self, x, g, s, lr, m):
        return (abs(g) * m[0], 1)

    def update_memory(self, m, sums):
        return (m[0] + sums[0], sums[1])

    def rate_factor(self, m):
        return 1.0 / (1.0 + m[0])


class Uncompilable(NamedTuple):
    """The same rule, with an `update_memory` that only Python can run."""

    helper: int = 0

    slots = 0
    slot_domains = ()
    memory_domains = Scaled.memory_domains
    initial_slots, step, step_size = SGD.initial_slots, SGD.step, SGD.step_size
    initial_memory, totals, rate_factor = Scaled.initial_memory, Scaled.totals, Scaled.rate_factor

    def update_memory(self, m, sums):
        return tuple(np.asarray(m) + math.fsum(list(sums)))


def test_rules_of_users(rng):
    x, gradients = draw(rng, np.float64)
    (host, host_state), (device, state) = update_on_both(x, gradients, False, rule=Scaled())
    assert_same(device, host, ULPS)
    assert_same_state(state, host_state)
    assert state.memory[1] == 14
    if not SIMULATED:
        with pytest.raises(TypeError, match="^rule: update_memory or rate_factor of Uncompilable cannot be compiled"):
            init(copy_to_device(x), Uncompilable())
