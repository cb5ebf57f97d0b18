"""Arrays on a device give what arrays of the host give; in the simulator, so that it can be tried everywhere."""

import os
import warnings

import numpy as np
import pytest

if os.environ.get("NUMBA_ENABLE_CUDASIM") != "1":
    pytest.skip("the simulator of CUDA needs NUMBA_ENABLE_CUDASIM=1 when Python starts", allow_module_level=True)

from adagrad_nb import (
    FTRL,
    L1,
    L2,
    RDA,
    Adagrad,
    Bounded,
    Box,
    ClipNorm,
    ClipValue,
    Constant,
    DecoupledDecay,
    ElasticNet,
    InverseSqrt,
    L2Decay,
    NonNegative,
    Polyak,
    Rescale,
    has_cuda,
    init,
    update,
)  # fmt: skip
from adagrad_nb.device import cuda, is_device, kernels

RULES = [Adagrad(), Adagrad(1e-6, inside=True), Adagrad(0.0, initial_accumulator=0.1), RDA(1e-6), FTRL(0.5, 0.1, 0.2)]
TRANSFORMS = {"raw": (), "elementwise": (Rescale(1.5), ClipValue(1.2), L2Decay(0.3), DecoupledDecay(0.2))}
PENALTIES = {
    "none": None, "l1": L1(0.2), "l2": L2(0.2), "elastic": ElasticNet(0.2, 0.3), "box": Box(-0.4, 0.7),
    "nonnegative": NonNegative(), "bounded": Bounded(L1(0.2), -0.4, 0.7),
}  # fmt: skip


def put(tree):
    """A copy of arrays on the device."""
    if isinstance(tree, dict):
        return {key: put(leaf) for key, leaf in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(put(leaf) for leaf in tree)
    return cuda().to_device(tree)


def get(tree):
    """A copy of arrays on the host."""
    if isinstance(tree, dict):
        return {key: get(leaf) for key, leaf in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(get(leaf) for leaf in tree)
    return tree.copy_to_host()


def same(device, host):
    """The same bits in the same shapes."""
    device = get(device)
    np.testing.assert_equal(device, host)
    if isinstance(host, np.ndarray):
        assert (device.dtype, device.shape) == (host.dtype, host.shape)


def both(x, gradients, place, **options):
    """The same updates on the host and on the device; return what each ends with."""
    ends = []
    for bring in (lambda tree: tree, put):
        y, state = bring(x), init(bring(x), **options)
        if place and bring is not put:
            y = x.copy()
        for g in gradients:
            out = (y, state) if place else None
            moved = update(y, bring(g), state, out=out)
            if place:
                assert moved[0] is y
                assert moved[1] is state
            y, state = moved
        ends.append((y, state))
    return ends


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Each thread of the simulator is a thread of Python: not 256 of them for seven coordinates."""
    monkeypatch.setattr(kernels(), "BLOCK", 8)


@pytest.fixture
def case(dtype, rng):
    """A point and three gradients with a zero in them; more coordinates than threads in a block."""
    gradients = rng.normal(size=(3, 7)).astype(dtype)
    gradients[:, 2] = 0
    return rng.normal(size=7).astype(dtype), gradients


def test_the_simulator_is_a_device():
    assert has_cuda()
    assert is_device(put(np.ones(2)))
    assert not is_device(np.ones(2))


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("transforms", TRANSFORMS)
def test_matrix(transforms, penalty, case):
    x, gradients = case
    options = {"transforms": TRANSFORMS[transforms], "penalty": PENALTIES[penalty]}
    for rule, place in [*((rule, False) for rule in RULES), (RULES[0], True)]:
        (host, host_state), (device, state) = both(x, gradients, place, rule=rule, **options)
        same(device, host)
        same(state.slots[0][0], host_state.slots[0][0])
        assert state.t == host_state.t == 3


@pytest.mark.parametrize("block", [8, 256])
def test_more_than_one_block(block, dtype, rng, monkeypatch):
    monkeypatch.setattr(kernels(), "BLOCK", block)
    n = 2 * block + 3
    x, g = rng.normal(size=n).astype(dtype), rng.normal(size=n).astype(dtype)
    (host, _), (device, _) = both(x, [g], False)
    same(device, host)


@pytest.mark.parametrize("shape", [(2, 3), (1,), (2, 1, 2)])
def test_shapes(shape, dtype, rng):
    x, g = rng.normal(size=shape).astype(dtype), rng.normal(size=shape).astype(dtype)
    for place in (False, True):
        (host, host_state), (device, state) = both(x, [g, g], place, average=Polyak())
        same(device, host)
        same(state.slots[0][0], host_state.slots[0][0])
        same(state.means[0], host_state.means[0])


def test_new_arrays_leave_the_old_ones(case):
    x, gradients = case
    old = put(x)
    state = init(old, average=Polyak())
    moved, after = update(old, put(gradients[0]), state)
    same(old, x)
    assert not get(state.slots[0][0]).any()
    assert state.t == 0
    assert (get(moved) != x).any()
    assert get(after.slots[0][0]).any()
    same(state.means[0], x)


def test_other_arrays_named_by_out(case):
    x, gradients = case
    expected, _ = update(x, gradients[0], init(x))
    out = put(np.zeros_like(x)), init(put(x), lr=9.0)
    source = put(x)
    moved, _ = update(source, put(gradients[0]), init(source), out=out)
    assert moved is out[0]
    same(moved, expected)
    same(source, x)


def test_trees(dtype, rng):
    x = {"w": rng.normal(size=(2, 2)).astype(dtype), "b": [rng.normal(size=3).astype(dtype)]}
    g = {"w": np.ones((2, 2), dtype), "b": [np.full(3, 2, dtype)]}
    (host, _), (device, _) = both(x, [g, g], False)
    same(device, host)


def test_a_tree_on_both_sides(dtype):
    x = [np.ones(3, dtype), put(np.ones(3, dtype))]
    moved, _ = update(x, [np.full(3, 2, dtype), put(np.full(3, 2, dtype))], init(x))
    same(moved[1], moved[0])


@pytest.mark.parametrize("lr", [0.25, InverseSqrt(0.5), lambda t: 0.5 / (1 + t)], ids=["number", "record", "callable"])
def test_rates(lr, case):
    x, gradients = case
    (host, _), (device, _) = both(x, gradients, False, lr=lr)
    same(device, host)


@pytest.mark.parametrize("lr", [np.linspace(0.1, 0.7, 7), Constant(np.linspace(0.1, 0.7, 7))], ids=["array", "record"])
def test_a_rate_per_coordinate(lr, case):
    x, gradients = case
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # arrays of the host are copied to the device for each launch
        (host, _), (device, _) = both(x, gradients, False, lr=lr)
    same(device, host)


def test_strengths_per_coordinate(case):
    x, gradients = case
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (host, _), (device, _) = both(x, gradients, False, penalty=L1(np.linspace(0.0, 0.6, 7)))
    same(device, host)


@pytest.mark.parametrize("start", [0, 2])
def test_average(start, case):
    x, gradients = case
    for place in (False, True):
        (_, host), (_, device) = both(x, gradients, place, average=Polyak(start))
        same(device.means[0], host.means[0])


def test_another_rate_for_one_step(case):
    x, gradients = case
    device, _ = update(put(x), put(gradients[0]), init(put(x)), lr=0.1)
    same(device, update(x, gradients[0], init(x), lr=0.1)[0])


def test_gradients_that_are_refused(case):
    x, gradients = case
    device = put(x)
    state = init(device)
    other = np.float64 if x.dtype == np.float32 else np.float32
    for g in (gradients[0], put(gradients[0][:3]), put(gradients[0].astype(other)), ([0], [1.0]), None):
        with pytest.raises(TypeError, match=r"^g: the gradient of a device array must be a device array of shape"):
            update(device, g, state, out=(device, state))
    same(device, x)
    assert state.t == 0
    with pytest.raises((TypeError, ValueError)):
        update(x, put(gradients[0]), init(x))


def test_x_that_is_refused(case):
    x, gradients = case
    state = init(put(x))
    for wrong in (x, put(x[:3])):
        with pytest.raises(ValueError, match=r"^x: the state was made for a device array of shape"):
            update(wrong, put(gradients[0]), state)
    other = put(x.astype(np.float64 if x.dtype == np.float32 else np.float32))
    with pytest.raises((TypeError, ValueError), match=r"^x"):
        update(other, put(gradients[0]), state)


@pytest.mark.parametrize("kind", [np.float16, np.int64, np.complex128])
def test_device_arrays_of_other_kinds_are_refused(kind):
    with pytest.raises(TypeError, match=r"^x: got dtype .*; must be float32 or float64"):
        init(put(np.ones(3, kind)))


def test_norms_are_refused(case):
    x, gradients = case
    with pytest.raises(ValueError, match=r"^transforms: a transform that needs the norm does not work on a device"):
        update(put(x), put(gradients[0]), init(put(x), transforms=(ClipNorm(1.0),)))


def test_not_a_number_poisons_its_coordinate_alone(case):
    x, gradients = case
    g = gradients[0].copy()
    g[4] = np.nan
    with np.errstate(all="ignore"):
        device, state = update(put(x), put(g), init(put(x), penalty=L1(0.1)))
    np.testing.assert_array_equal(np.isnan(get(device)), np.arange(7) == 4)
    np.testing.assert_array_equal(np.isnan(get(state.slots[0][0])), np.arange(7) == 4)
