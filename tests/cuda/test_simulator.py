"""Updates of device arrays equal those of host arrays; runs in the CUDA simulator or on a device."""

import numpy as np
import pytest
from host_device import SIMULATED, assert_same, copy_to_device, copy_to_host, update_on_both

from adagrad_nb import (
    EMA,
    L1,
    L2,
    RDA,
    Accumulate,
    Adadelta,
    Adagrad,
    AddNoise,
    Bounded,
    Box,
    ClipGlobalNorm,
    ClipNorm,
    ClipRMS,
    ClipValue,
    Constant,
    DecoupledDecay,
    ElasticNet,
    InverseSqrt,
    L2Decay,
    LossScale,
    Maximize,
    MomentumAdagrad,
    NonNegative,
    Only,
    Polyak,
    Rescale,
    RowAdagrad,
    SkipNonFinite,
    ZeroNaN,
    has_cuda,
    init,
    update,
)
from adagrad_nb.cuda import arrays as devices
from adagrad_nb.cuda.arrays import import_primitives, is_device_array

RULES = [
    Adagrad(), Adagrad(1e-6, inside=True), Adagrad(0.0, initial_accumulator=0.1), Adagrad(guarded=True),
    MomentumAdagrad(0.5), Adadelta(), RowAdagrad(),
]  # fmt: skip
TRANSFORMS = {
    "raw": (), "elementwise": (Rescale(1.5), ClipValue(1.2), L2Decay(0.3), DecoupledDecay(0.2)),
    "norm": (Maximize(), ClipNorm(0.5), L2Decay(0.3)), "global": (ClipGlobalNorm(0.5), ClipNorm(0.3)),
}  # fmt: skip
ULPS = {"norm": 8, "global": 8}  # sums are taken in another order
PENALTIES = {
    "none": None, "l1": L1(0.2), "l2": L2(0.2), "elastic": ElasticNet(0.2, 0.3), "box": Box(-0.4, 0.7),
    "nonnegative": NonNegative(), "bounded": Bounded(L1(0.2), -0.4, 0.7),
}  # fmt: skip


@pytest.fixture
def case(dtype, rng):
    """Return a point and three gradients with a zero; there are more coordinates than threads in a block."""
    gradients = rng.normal(size=(3, 7)).astype(dtype)
    gradients[:, 2] = 0
    return rng.normal(size=7).astype(dtype), gradients


def test_the_simulator_is_a_device():
    assert has_cuda()
    assert is_device_array(copy_to_device(np.ones(2)))
    assert not is_device_array(np.ones(2))


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("transforms", TRANSFORMS)
def test_matrix(transforms, penalty, case):
    x, gradients = case
    options = {"transforms": TRANSFORMS[transforms], "penalty": PENALTIES[penalty]}
    ulps = ULPS.get(transforms, 0)
    # Sums need barriers, which are slow in the simulator; so all rules are tested with norms only without a penalty.
    rules = RULES[:1] if transforms in ULPS and penalty != "none" else RULES
    for rule, in_place in [*((rule, False) for rule in rules), (RULES[0], True)]:
        (host, host_state), (device, state) = update_on_both(x, gradients, in_place, rule=rule, **options)
        assert_same(device, host, ulps)
        assert_same(state.slots[0], host_state.slots[0], ulps)
        assert state.t == host_state.t == 3


@pytest.mark.parametrize("block", [8, 256])
def test_more_than_one_block(block, dtype, rng, monkeypatch):
    if SIMULATED:
        monkeypatch.setattr(import_primitives(), "BLOCK_SIZE", block)
    n = 2 * block + 3
    x, g = rng.normal(size=n).astype(dtype), rng.normal(size=n).astype(dtype)
    (host, _), (device, _) = update_on_both(x, [g], False)
    assert_same(device, host)


@pytest.mark.parametrize("shape", [(2, 3), (1,), (2, 1, 2)])
def test_shapes(shape, dtype, rng):
    x, g = rng.normal(size=shape).astype(dtype), rng.normal(size=shape).astype(dtype)
    for in_place in (False, True):
        (host, host_state), (device, state) = update_on_both(x, [g, g], in_place, average=Polyak())
        assert_same(device, host)
        assert_same(state.slots[0][0], host_state.slots[0][0])
        assert_same(state.means[0], host_state.means[0])


def test_new_arrays_leave_the_old_ones_unchanged(case):
    x, gradients = case
    old = copy_to_device(x)
    state = init(old, average=Polyak())
    updated, after = update(old, copy_to_device(gradients[0]), state)
    assert_same(old, x)
    assert not copy_to_host(state.slots[0][0]).any()
    assert state.t == 0
    assert (copy_to_host(updated) != x).any()
    assert copy_to_host(after.slots[0][0]).any()
    assert_same(state.means[0], x)


def test_out_with_other_arrays(case):
    x, gradients = case
    expected, _ = update(x, gradients[0], init(x))
    out = copy_to_device(np.zeros_like(x)), init(copy_to_device(x), lr=9.0)
    source = copy_to_device(x)
    updated, _ = update(source, copy_to_device(gradients[0]), init(source), out=out)
    assert updated is out[0]
    assert_same(updated, expected)
    assert_same(source, x)


def test_trees(dtype, rng):
    x = {"w": rng.normal(size=(2, 2)).astype(dtype), "b": [rng.normal(size=3).astype(dtype)]}
    g = {"w": np.ones((2, 2), dtype), "b": [np.full(3, 2, dtype)]}
    (host, _), (device, _) = update_on_both(x, [g, g], False)
    assert_same(device, host)


def test_a_tree_of_host_and_device_arrays(dtype):
    x = [np.ones(3, dtype), copy_to_device(np.ones(3, dtype))]
    updated, _ = update(x, [np.full(3, 2, dtype), copy_to_device(np.full(3, 2, dtype))], init(x))
    assert_same(updated[1], updated[0])


@pytest.mark.parametrize("lr", [0.25, InverseSqrt(0.5), lambda t: 0.5 / (1 + t)], ids=["number", "record", "callable"])
def test_learning_rates(lr, case):
    x, gradients = case
    (host, _), (device, _) = update_on_both(x, gradients, False, lr=lr)
    assert_same(device, host)


@pytest.mark.parametrize("lr", [np.linspace(0.1, 0.7, 7), Constant(np.linspace(0.1, 0.7, 7))], ids=["array", "record"])
def test_learning_rate_per_coordinate(lr, case):
    x, gradients = case
    (host, _), (device, _) = update_on_both(x, gradients, False, lr=lr)
    assert_same(device, host)


def test_strengths_per_coordinate(case):
    x, gradients = case
    decay = (L2Decay(np.linspace(0.0, 0.3, 7)),)
    (host, _), (device, _) = update_on_both(x, gradients, False, penalty=L1(np.linspace(0.0, 0.6, 7)), transforms=decay)
    assert_same(device, host)


@pytest.mark.parametrize("start", [0, 2])
def test_average(start, case):
    x, gradients = case
    for in_place in (False, True):
        (_, host), (_, device) = update_on_both(x, gradients, in_place, average=Polyak(start))
        assert_same(device.means[0], host.means[0])


def test_learning_rate_of_one_step(case):
    x, gradients = case
    device, _ = update(copy_to_device(x), copy_to_device(gradients[0]), init(copy_to_device(x)), lr=0.1)
    assert_same(device, update(x, gradients[0], init(x), lr=0.1)[0])


def test_rejected_gradients(case):
    x, gradients = case
    device = copy_to_device(x)
    state = init(device)
    other = np.float64 if x.dtype == np.float32 else np.float32
    for g in (gradients[0], copy_to_device(gradients[0][:3]), copy_to_device(gradients[0].astype(other)), 3.0):
        with pytest.raises(TypeError, match=r"^g: the gradient of a device array must be a device array of shape"):
            update(device, g, state, out=(device, state))
    assert_same(device, x)
    assert state.t == 0
    with pytest.raises((TypeError, ValueError)):
        update(x, copy_to_device(gradients[0]), init(x))


def test_rejected_x(case):
    x, gradients = case
    state = init(copy_to_device(x))
    for invalid in (x, copy_to_device(x[:3])):
        with pytest.raises(ValueError, match=r"^x: the state was made for a device array of shape"):
            update(invalid, copy_to_device(gradients[0]), state)
    for out in (None, (x, state)):
        with pytest.raises(ValueError, match=r"^x: the state was made for a device array of shape"):
            update(x, gradients[0], state, out=out)
    other = copy_to_device(x.astype(np.float64 if x.dtype == np.float32 else np.float32))
    with pytest.raises((TypeError, ValueError), match=r"^x"):
        update(other, copy_to_device(gradients[0]), state)


@pytest.mark.parametrize("kind", [np.float16, np.int64, np.complex128])
def test_device_arrays_of_other_dtypes_are_rejected(kind):
    with pytest.raises(TypeError, match=r"^x: got dtype .*; must be float32 or float64"):
        init(copy_to_device(np.ones(3, kind)))


def test_nan_affects_its_coordinate_only(case):
    x, gradients = case
    g = gradients[0].copy()
    g[4] = np.nan
    with np.errstate(all="ignore"):
        device, state = update(copy_to_device(x), copy_to_device(g), init(copy_to_device(x), penalty=L1(0.1)))
    np.testing.assert_array_equal(np.isnan(copy_to_host(device)), np.arange(7) == 4)
    np.testing.assert_array_equal(np.isnan(copy_to_host(state.slots[0][0])), np.arange(7) == 4)


# --- norms, gates, rows --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"transforms": (ClipGlobalNorm(0.5),)}, {"rule": RowAdagrad()}], ids=str)
def test_an_array_without_gradient_is_unchanged(options, dtype, rng):
    x = [rng.normal(size=(3, 2)).astype(dtype), rng.normal(size=5).astype(dtype)]
    host, _ = update(x, [None, x[1]], init(x, **options))
    on_device = copy_to_device(x)
    device, _ = update(on_device, [None, on_device[1]], init(on_device, **options))
    assert_same(device, host, ulps=8)


def test_noise_root_mean_squares_and_nan(dtype, rng):
    transforms = (ZeroNaN(), AddNoise(0.04, seed=3), ClipRMS(0.3), Only(AddNoise(0.1), "1"))
    x = [rng.normal(size=size).astype(dtype) for size in (7, 300)]
    g = [rng.normal(size=size).astype(dtype) for size in (7, 300)]
    g[0][2] = np.nan
    host, host_state = update(x, g, init(x, transforms=transforms))
    host, _ = update(host, g, host_state)
    device, device_state = update(copy_to_device(x), copy_to_device(g), init(copy_to_device(x), transforms=transforms))
    device, _ = update(device, copy_to_device(g), device_state)
    assert_same(device, host, ulps=8)


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize("power", [-0.75, 0.6, 0.99], ids=["small", "large", "largest"])
@pytest.mark.parametrize("record", [ClipNorm, ClipGlobalNorm])
@pytest.mark.parametrize("sizes", [(7,), (3, 600), (700,)], ids=str)
def test_norms_whose_squares_overflow_or_underflow(record, power, sizes, dtype, rng):
    """One array or several in one launch, of one block of threads or more, one of them with zeros."""
    scale = float(np.finfo(dtype).max) ** power
    x = [rng.normal(size=size).astype(dtype) for size in sizes]
    g = [(rng.uniform(0.5, 1.0, size) * scale).astype(dtype) for size in sizes]
    g[-1][: sizes[-1] // 2] = 0
    options = {"transforms": (record(scale / 4 if power < 0 else 0.25), Rescale(1 / scale if power < 0 else 1.0))}
    host, _ = update(x, g, init(x, **options))
    device, _ = update(copy_to_device(x), copy_to_device(g), init(copy_to_device(x), **options))
    assert all(np.isfinite(array).all() and np.any(array != before) for array, before in zip(host, x, strict=True))
    assert_same(device, host, ulps=8)


@pytest.mark.parametrize("transforms", [(ClipGlobalNorm(0.7),), (ClipNorm(0.7),), (Only(ClipGlobalNorm(0.7), "w"),)])
def test_norms_over_a_tree(transforms, dtype, rng):
    x = {"w": rng.normal(size=(5, 9)).astype(dtype), "b": [rng.normal(size=3).astype(dtype)]}
    g = {"w": rng.normal(size=(5, 9)).astype(dtype), "b": [rng.normal(size=3).astype(dtype)]}
    for in_place in (False, True):
        start = {"w": x["w"].copy(), "b": [x["b"][0].copy()]}
        host, host_state = start, init(start, transforms=transforms)
        device, state = copy_to_device(x), init(copy_to_device(x), transforms=transforms)
        for _ in range(2):
            host, host_state = update(host, g, host_state)
            device, state = update(device, copy_to_device(g), state, out=(device, state) if in_place else None)
        assert_same(device, host, 8)
        assert_same(state.slots, host_state.slots, 16)


def test_a_norm_over_float32_and_float64(rng):
    x = [rng.normal(size=5).astype(np.float32), rng.normal(size=4)]
    g = [rng.normal(size=5).astype(np.float32), rng.normal(size=4)]
    host, _ = update(x, g, init(x, transforms=(ClipGlobalNorm(0.1),)))
    device, _ = update(copy_to_device(x), copy_to_device(g), init(copy_to_device(x), transforms=(ClipGlobalNorm(0.1),)))
    assert_same(device[0], host[0], 8)
    np.testing.assert_allclose(copy_to_host(device[1]), host[1], rtol=1e-6)


def test_a_norm_over_host_and_device(dtype, rng):
    w, b = rng.normal(size=(2, 4)).astype(dtype)
    options = {"transforms": (ClipGlobalNorm(0.3),)}
    host, _ = update([w, b], [b, w], init([w, b], **options))
    mixed, _ = update([w, copy_to_device(b)], [b, copy_to_device(w)], init([w, copy_to_device(b)], **options))
    np.testing.assert_allclose(mixed[0], host[0], rtol=1e-5)
    assert_same(mixed[1], host[1], 8)


def test_clipping_copies_nothing_to_the_host(case, monkeypatch):
    x, gradients = case
    y, g = copy_to_device(x), copy_to_device(gradients[0])
    state = init(y, transforms=(ClipGlobalNorm(0.5), ClipNorm(0.1)), average=Polyak())
    update(y, g, state, out=(y, state))

    def fail(*args):
        raise AssertionError("something was copied or allocated")

    for name in ("to_host", "to_device_array", "empty"):
        monkeypatch.setattr(devices, name, fail)
    update(y, g, state, out=(y, state))
    monkeypatch.undo()
    expected = update(*update(x, gradients[0], init(x, transforms=state.transforms))[:1], gradients[0],
                      update(x, gradients[0], init(x, transforms=state.transforms))[1])[0]  # fmt: skip
    assert_same(y, expected, 8)


def test_learning_rate_in_device_memory(case):
    x, gradients = case
    rate = copy_to_device(np.full(1, 0.25, x.dtype))
    y = copy_to_device(x)
    state = init(y, lr=rate, transforms=(DecoupledDecay(0.1),))
    update(y, copy_to_device(gradients[0]), state, out=(y, state))
    rate.copy_to_device(np.full(1, 0.5, x.dtype))
    update(y, copy_to_device(gradients[1]), state, out=(y, state))
    host, host_state = update(x, gradients[0], init(x, lr=0.25, transforms=state.transforms))
    assert_same(y, update(host, gradients[1], host_state, lr=0.5)[0])
    once, _ = update(
        copy_to_device(x),
        copy_to_device(gradients[0]),
        init(copy_to_device(x)),
        lr=copy_to_device(np.linspace(0.1, 0.7, 7).astype(x.dtype)),
    )
    assert_same(once, update(x, gradients[0], init(x), lr=np.linspace(0.1, 0.7, 7))[0])
    for invalid in (copy_to_device(np.ones(2, x.dtype)), copy_to_device(np.ones(1, np.int64))):
        with pytest.raises(ValueError, match=r"^lr: got a device array of"):
            update(y, copy_to_device(gradients[0]), state, lr=invalid)


@pytest.mark.parametrize("kind", ["mean", "sum", "running mean"])
def test_accumulate(kind, case):
    x, gradients = case
    options = {"transforms": (ClipValue(0.8), Accumulate(3, kind), L2Decay(0.1)), "average": Polyak()}
    for in_place in (False, True):
        (host, host_state), (device, state) = update_on_both(
            x, [*gradients, *gradients[:2], gradients[0]], in_place, **options
        )
        assert_same(device, host)
        assert_same(state.means[0], host_state.means[0])
        assert (state.t, state.micro) == (host_state.t, host_state.micro) == (2, 6)


@pytest.mark.filterwarnings("ignore:.*invalid value:RuntimeWarning")
def test_gates(case):
    x, gradients = case
    bad = gradients[1].copy()
    bad[5] = np.inf
    for gate in (SkipNonFinite(), LossScale(initial=8.0, every=2)):
        results = update_on_both(
            x, [gradients[0], bad, gradients[2], gradients[0]], False, transforms=(gate, ClipNorm(1.0))
        )
        (host, host_state), (device, state) = results
        assert_same(device, host, 8)
        assert state.counts == host_state.counts
        assert state.t == 3


def test_overwriting_average(case):
    x, gradients = case
    for in_place in (False, True):
        (host, host_state), (device, state) = update_on_both(x, gradients, in_place, average=EMA(0.75, overwrite=2))
        assert_same(device, host)
        assert_same(state.means[0], host_state.means[0])


@pytest.mark.parametrize("shape", [(3, 5), (2, 11), (4, 1), (2, 3, 4)])
@pytest.mark.parametrize("transforms", TRANSFORMS)
def test_row_accumulators(transforms, shape, dtype, rng):
    x = rng.normal(size=shape).astype(dtype)
    gradients = rng.normal(size=(2, *shape)).astype(dtype)
    gradients[:, 0] = 0
    options = {"transforms": TRANSFORMS[transforms], "penalty": L1(0.05), "lr": 0.3}
    (host, host_state), (device, state) = update_on_both(x, gradients, False, rule=RowAdagrad(), **options)
    assert_same(device, host, 16)
    assert_same(state.slots[0], host_state.slots[0], 16)


def test_gradients_of_half_precision(dtype, rng):
    x, g = rng.normal(size=9).astype(dtype), rng.normal(size=9).astype(np.float16)
    state = init(copy_to_device(x), transforms=(ClipNorm(0.5),))
    device, state = update(copy_to_device(x), copy_to_device(g), state)
    host, host_state = update(x, g.astype(dtype), init(x, transforms=(ClipNorm(0.5),)))
    assert_same(device, host, 8)
    assert_same(state.slots[0][0], host_state.slots[0][0], 8)
    assert state.slots[0][0].dtype == dtype


def test_bits_of_bfloat16(rng):
    """The bfloat16 numbers of PyTorch are passed as 16-bit integers."""
    from adagrad_nb.cuda.memory import load_as

    numbers = rng.normal(size=9).astype(np.float32)
    bits = (numbers.view(np.uint32) >> 16).astype(np.uint16)
    truncated = (bits.astype(np.uint32) << 16).view(np.float32)
    for kind in (np.uint16, np.int16):
        stored = bits.view(kind)
        assert [load_as(stored, k, numbers) for k in range(9)] == truncated.tolist()


def test_four_entries_per_thread_equal_single_entries(dtype, rng, monkeypatch):
    for n in (1, 3, 4, 7, 64):
        x, g = rng.normal(size=(2, n)).astype(dtype)
        monkeypatch.setattr(devices, "is_aligned", lambda *arrays: True)
        vectorized, _ = update(copy_to_device(x), copy_to_device(g), init(copy_to_device(x), penalty=L1(0.1)))
        monkeypatch.setattr(devices, "is_aligned", lambda *arrays: False)
        single, _ = update(copy_to_device(x), copy_to_device(g), init(copy_to_device(x), penalty=L1(0.1)))
        assert_same(vectorized, copy_to_host(single))
        assert_same(single, update(x, g, init(x, penalty=L1(0.1)))[0])


@pytest.mark.parametrize("transforms", [(), (ClipNorm(0.5), ClipValue(0.4))])
def test_steps_in_place(transforms, dtype, rng):
    """Repeated steps take new arrays, arrays of another alignment, a gradient that overlaps x, and the next t."""
    blocks, gradients = (copy_to_device(rng.normal(size=(3, 13)).astype(dtype)) for _ in range(2))
    options = {"rule": RDA(), "transforms": transforms, "lr": 0.3}
    state = init(blocks[0][:9], **options)
    expected = init(copy_to_host(blocks[0])[:9], **options)
    for k in range(6):
        x, g = blocks[k % 3][k % 2 : k % 2 + 9], gradients[k % 3][k // 3 : k // 3 + 9]
        if k == 4:
            g = blocks[k % 3][3:12]
        if k == 5:
            g = x
        y, expected = update(copy_to_host(x), copy_to_host(g), expected)
        update(x, g, state, out=(x, state))
        assert_same(x, y, 8)
    assert_same(state.slots, expected.slots, 8)
    assert state.t == 6
    copied = state.copy()
    x, g = blocks[0][:9], gradients[0][:9]
    y, expected = update(copy_to_host(x), copy_to_host(g), expected)
    update(x, g, copied, out=(x, copied))
    assert_same(x, y, 8)
    assert state.t == 6


def test_row_steps_in_place(dtype, rng):
    """Repeated steps with shared accumulators take new gradients, also x itself, which is copied."""
    x, *gradients = rng.normal(size=(4, 3, 5)).astype(dtype)
    device = copy_to_device(x)
    state, expected = init(device, RowAdagrad()), init(x, RowAdagrad())
    for g in gradients:
        update(device, copy_to_device(g), state, out=(device, state))
        x, expected = update(x, g, expected)
    update(device, device, state, out=(device, state))
    x, expected = update(x, x, expected)
    assert_same(device, x, 16)
    assert_same(state.slots[0], expected.slots[0], 16)


def test_steps_of_many_arrays_in_place(dtype, rng):
    """Repeated steps take the same lists, new gradients and other arrays."""
    x, *g = [[rng.normal(size=shape).astype(dtype) for shape in SHAPES] for _ in range(4)]
    state, expected = init(copy_to_device(x)), init(x)
    y, others = copy_to_device(x), copy_to_device(g)
    for k in (0, 0, 1, 2, 2):
        if k == 2:
            y = copy_to_device(copy_to_host(y))
        update(y, others[k], state, out=(y, state))
        x, expected = update(x, g[k], expected)
        assert_same(y, x, 8)
    with pytest.raises((TypeError, ValueError), match="g"):
        update(y, [others[0][0], *others[0][:3]], state, out=(y, state))
    pair = copy_to_device([x[0], x[0]])
    state = init(pair)
    for _ in range(2):
        update(pair, pair, state, out=(pair, state))
    with pytest.raises(ValueError, match=r"x\[0\] and x\[1\]: share memory"):
        update([pair[0], pair[0]], pair, state, out=([pair[0], pair[0]], state))
    twice = [pair[0], pair[0]]
    with pytest.raises(ValueError, match=r"x\[0\] and x\[1\]: share memory"):
        update(twice, pair, state, out=(twice, state))


def test_arrays_with_gaps_are_rejected():
    matrix = copy_to_device(np.asfortranarray(np.ones((2, 3))))
    y = copy_to_device(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"^g: got a device array that is not C-contiguous"):
        update(y, matrix, init(y))


# --- many arrays in one launch -------------------------------------------------------------------------------------

SHAPES = [(3,), (2, 5), (1,), (7, 1)]


@pytest.fixture
def launched(monkeypatch):
    """Return the names of the kernels that are launched."""
    names = []

    def record_launches(name):
        original = getattr(devices, name)

        def recording(kernel, *args):
            names.append(kernel.__name__)
            original(kernel, *args)

        monkeypatch.setattr(devices, name, recording)

    record_launches("launch_kernel")
    record_launches("launch_blocks")
    return names


@pytest.mark.parametrize("transforms", TRANSFORMS)
@pytest.mark.parametrize("rule", RULES[:-1:2])
def test_many_arrays(transforms, rule, dtype, rng, monkeypatch, launched):
    from adagrad_nb.optim.device_kernels import multi_tensor_kernels

    if SIMULATED:
        monkeypatch.setattr(multi_tensor_kernels(), "ENTRIES_PER_BLOCK", 4)
    # Compiled kernels hold the constant: there an array of more entries has several blocks.
    shapes = SHAPES if SIMULATED else [*SHAPES, (2 * multi_tensor_kernels().ENTRIES_PER_BLOCK + 3,)]
    x = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    g = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    options = {"rule": rule, "transforms": TRANSFORMS[transforms], "average": EMA(0.5, overwrite=2), "penalty": L1(0.1)}
    for in_place in (False, True):
        y, host = [array.copy() for array in x], init(x, **options)
        z, state = copy_to_device(x), init(copy_to_device(x), **options)
        for _ in range(3):
            y, host = update(y, g, host)
            z, state = update(z, copy_to_device(g), state, out=(z, state) if in_place else None)
        ulps = ULPS.get(transforms, 0)
        assert_same(z, y, ulps)
        assert_same(state.slots, host.slots, 2 * ulps)
        assert_same(state.means, host.means, ulps)
    is_per_array = any(type(item) is ClipNorm for item in TRANSFORMS[transforms])
    assert ("multi_update" in launched) != is_per_array
    assert ("dense_vec4" in launched or "dense" in launched) == is_per_array


def test_many_arrays_with_one_norm_and_a_gate(dtype, rng, launched):
    x = [rng.normal(size=shape).astype(dtype) for shape in SHAPES]
    g = [rng.normal(size=shape).astype(dtype) for shape in SHAPES]
    options = {"transforms": (SkipNonFinite(), ClipGlobalNorm(0.5))}
    y, _ = update(x, g, init(x, **options))
    z, rate = copy_to_device(x), copy_to_device(np.full(1, 0.5, dtype))
    state = init(z, lr=rate, **options)
    update(z, copy_to_device(g), state, out=(z, state))
    assert_same(z, y, 8)
    assert (
        launched.count("multi_update")
        == launched.count("multi_sum_squares")
        == launched.count("multi_count_nonfinite")
        == 1
    )


def test_many_arrays_with_gradients_of_half_precision(dtype, rng):
    x = [rng.normal(size=4).astype(dtype) for _ in range(3)]
    g = [rng.normal(size=4).astype(np.float16) for _ in range(3)]
    device, _ = update(copy_to_device(x), copy_to_device(g), init(copy_to_device(x)))
    assert_same(device, update(x, [array.astype(dtype) for array in g], init(x))[0])


def test_many_arrays_of_other_shapes_are_rejected(dtype):
    x = copy_to_device([np.ones(3, dtype), np.ones(4, dtype)])
    state = init(x)
    for invalid in ([x[0], copy_to_device(np.ones(5, dtype))], [x[0], np.ones(4, dtype)]):
        with pytest.raises((TypeError, ValueError)):
            update(x, invalid, state, out=(x, state))
        with pytest.raises((TypeError, ValueError)):
            update(invalid, x, state, out=(invalid, state))
    assert_same(x, [np.ones(3, dtype), np.ones(4, dtype)])
    assert state.t == 0
