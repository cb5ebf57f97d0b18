"""Updates that need a device: streams, captured graphs, and sizes that take the simulator too long."""

import numpy as np
import pytest
from host_device import assert_same, copy_to_device, copy_to_host, update_on_both

from adagrad_nb import (
    Adagrad,
    AdagradNorm,
    AdaptiveClip,
    ClipGlobalNorm,
    DecoupledDecay,
    DoG,
    GroupL2,
    GroupLinf,
    InverseSqrt,
    L2Decay,
    MomentumAdagrad,
    RowAdagrad,
    init,
    update,
)
from adagrad_nb.cuda.arrays import import_cuda
from adagrad_nb.optim.device_gradients import sort_indices
from adagrad_nb.optim.gradients import DUPLICATES


@pytest.fixture
def torch():
    """Return PyTorch, if it has a device."""
    module = pytest.importorskip("torch")
    if not module.cuda.is_available():
        pytest.skip("PyTorch has no CUDA device")
    return module


def normal(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


# --- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("duplicates", DUPLICATES)
@pytest.mark.parametrize("width", [0, 3])
def test_long_lists_of_indices(width, duplicates, rng):
    """Several blocks of threads sort."""
    shape = (width,) if width else ()
    x, where = normal(rng, 700, *shape), rng.integers(0, 700, 3000)
    g = [(where.astype(kind), normal(rng, where.size, *shape)) for kind in (np.int64, np.int32)]
    options = {"duplicates": duplicates, "transforms": (L2Decay(0.1),), "lr": 0.01}
    (host, host_state), (device, state) = update_on_both(x, g, True, **options)
    assert_same(device, host, 64)
    assert_same(state.slots[0], host_state.slots[0], 64)


@pytest.mark.parametrize(("m", "n"), [(1024, 2**33), (1025, 1), (1025, 70_000), (5000, 300)])
def test_the_sort_of_long_lists(m, n, rng):
    where = rng.integers(0, n, m)
    leaf = init(copy_to_device(np.zeros(3))).leaves[0]
    sorted_, order = sort_indices(leaf, copy_to_device(where), n)
    np.testing.assert_array_equal(copy_to_host(order), np.argsort(where, kind="stable"))
    np.testing.assert_array_equal(copy_to_host(sorted_), np.sort(where))


@pytest.mark.parametrize("shape", [(5, 257), (3, 700), (2, 2000), (400, 3)])
def test_wide_rows_and_many_rows(shape, rng):
    x, where = normal(rng, *shape), rng.integers(0, shape[0], 9)
    gradients = [normal(rng, *shape), (where, normal(rng, where.size, shape[1]))]
    (host, host_state), (device, state) = update_on_both(x, gradients, True, rule=RowAdagrad())
    assert_same(device, host, 64)
    assert_same(state.slots[0], host_state.slots[0], 64)


@pytest.mark.parametrize(
    "options",
    [
        {"penalty": GroupL2(2.0)},
        {"penalty": GroupLinf(100.0)},
        {"transforms": (AdaptiveClip(0.1),)},
        {"transforms": (DecoupledDecay(0.1),), "sparse_decay": "lazy"},
    ],
    ids=["l2", "linf", "units", "decay"],
)
@pytest.mark.parametrize("shape", [(3, 1500), (500, 5)])
def test_groups_and_units_of_large_matrices(shape, options, rng):
    x, where = normal(rng, *shape), np.array([2, 0, 2])
    gradients = [normal(rng, *shape), (where, normal(rng, where.size, shape[1]))]
    (host, host_state), (device, state) = update_on_both(x, 2 * gradients, True, **options)
    assert_same(device, host, 64)
    assert_same(state.slots[0], host_state.slots[0], 64)
    again = update_on_both(x, 2 * gradients, True, **options)[1][0]
    np.testing.assert_array_equal(copy_to_host(again), copy_to_host(device))


@pytest.mark.parametrize("rule", [Adagrad(), MomentumAdagrad()])
def test_many_long_arrays(rule, rng):
    """An array has several blocks of threads."""
    x, g = ([normal(rng, n) for n in (9000, 1, 5001, 1024, 4096)] for _ in range(2))
    (host, _), (device, _) = update_on_both(x, [g, g], True, rule=rule, transforms=(ClipGlobalNorm(0.5),), lr=0.1)
    assert_same(device, host, 64)


@pytest.mark.parametrize("offset", [0, 1, 2, 4])
def test_slices(offset, rng):
    """A slice that does not begin at a multiple of 128 bits."""
    x, g = normal(rng, 1100), normal(rng, 1100)
    device, host = copy_to_device(x)[offset:], x[offset:].copy()
    state, host_state = init(device), init(host)
    for _ in range(2):
        update(device, copy_to_device(g)[offset:], state, out=(device, state))
        update(host, g[offset:], host_state, out=(host, host_state))
    assert_same(device, host)


# --- streams ---------------------------------------------------------------------------------------------------------


def test_arrays_on_two_streams(rng):
    """Neither array is ready when `update` is called."""
    cuda = import_cuda()
    x, g = normal(rng, 10**5), normal(rng, 10**5)
    streams = cuda.stream(), cuda.stream()
    device_x, device_g = (cuda.to_device(array, stream=on) for array, on in zip((x, g), streams, strict=True))
    state, host_state = init(device_x), init(x)
    for _ in range(3):
        update(device_x, device_g, state, out=(device_x, state))
        update(x, g, host_state, out=(x, host_state))
    for stream in streams:
        stream.synchronize()
    assert_same(device_x, x)


def test_the_current_stream_of_pytorch(torch, rng):
    """The accumulators are filled on the stream of x, which does not wait for the default stream."""
    x, g, stream = normal(rng, 10**6), normal(rng, 10**6), torch.cuda.Stream()
    rounds = 3
    for _ in range(rounds):
        with torch.cuda.stream(torch.cuda.default_stream()):
            torch.cuda._sleep(10**8)  # clock cycles, while the default stream would not fill anything
        with torch.cuda.stream(stream):
            tensor, gradient = (torch.from_numpy(array).cuda(non_blocking=True) for array in (x, g))
            state = init(tensor)
            update(tensor, gradient, state, out=(tensor, state))
            result = tensor.cpu().numpy()
        host, _ = update(x, g, init(x))
        np.testing.assert_allclose(result, host, rtol=1e-6, atol=1e-6)


def test_gradients_in_new_tensors(torch, rng):
    x, host_x = [], []
    for n in (3, 500, 2000):
        host_x.append(normal(rng, n))
        x.append(torch.from_numpy(host_x[-1]).cuda())
    state, host_state = init(x), init(host_x)
    for _ in range(4):
        g = [normal(rng, array.size) for array in host_x]
        update(x, [torch.from_numpy(array).cuda() for array in g], state, out=(x, state))
        update(host_x, g, host_state, out=(host_x, host_state))
    for tensor, host in zip(x, host_x, strict=True):
        np.testing.assert_allclose(tensor.cpu().numpy(), host, rtol=1e-5, atol=1e-6)


# --- captured graphs -------------------------------------------------------------------------------------------------


def capture(torch, step):
    """Make two steps, then capture one; return the graph."""
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        step()
        step()
    stream.synchronize()
    with torch.cuda.graph(graph, stream=stream):
        step()
    return graph


@pytest.mark.parametrize("sizes", [(1000,), (1000, 3, 5000)], ids=str)
@pytest.mark.parametrize(
    ("rule", "transforms"),
    [
        (Adagrad(), ()),
        (Adagrad(), (ClipGlobalNorm(0.5),)),
        (Adagrad(), (AdaptiveClip(0.3),)),
        (DoG(0.5), (ClipGlobalNorm(0.5),)),
        (AdagradNorm(0.1), ()),
    ],
    ids=["raw", "clip", "units", "distance", "norm"],
)
def test_replays_of_a_captured_step(rule, transforms, sizes, torch, rng):
    """Replays see new gradients and learning rates in the same memory."""
    host_x, host_g = ([normal(rng, n) for n in sizes] for _ in range(2))
    x, g = ([torch.from_numpy(array).cuda() for array in group] for group in (host_x, host_g))
    rate = torch.full((1,), 0.25, device="cuda")
    state, host_state = (init(y, rule, lr=lr, transforms=transforms) for y, lr in ((x, rate), (host_x, 0.25)))
    graph = capture(torch, lambda: update(x, g, state, out=(x, state)))
    update(host_x, host_g, host_state, out=(host_x, host_state))
    update(host_x, host_g, host_state, out=(host_x, host_state))
    for lr in (0.5, 0.125):
        host_g = [normal(rng, n) for n in sizes]
        for tensor, array in zip(g, host_g, strict=True):
            tensor.copy_(torch.from_numpy(array))
        rate.fill_(lr)
        graph.replay()
        update(host_x, host_g, host_state, lr=lr, out=(host_x, host_state))
    torch.cuda.synchronize()
    for tensor, host in zip(x, host_x, strict=True):
        np.testing.assert_allclose(tensor.cpu().numpy(), host, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(state.memory, host_state.memory, rtol=1e-5)


@pytest.mark.parametrize("duplicates", DUPLICATES)
def test_replays_of_a_captured_sparse_step(duplicates, torch, rng):
    """Replays sort new indices in the same memory."""
    host_x, where, values = normal(rng, 2000), rng.integers(0, 2000, 3000), normal(rng, 3000)
    x, indices, numbers = (torch.from_numpy(array).cuda() for array in (host_x, where, values))
    state, host_state = (init(array, lr=0.1, duplicates=duplicates) for array in (x, host_x))
    graph = capture(torch, lambda: update(x, (indices, numbers), state, out=(x, state), check=False))
    for _ in range(2):
        update(host_x, (where, values), host_state, out=(host_x, host_state))
    where, values = rng.integers(0, 2000, 3000), normal(rng, 3000)
    indices.copy_(torch.from_numpy(where))
    numbers.copy_(torch.from_numpy(values))
    graph.replay()
    update(host_x, (where, values), host_state, out=(host_x, host_state))
    torch.cuda.synchronize()
    np.testing.assert_allclose(x.cpu().numpy(), host_x, rtol=1e-5, atol=1e-5)


def test_a_captured_step_equals_an_eager_one(torch, rng):
    x, g = (torch.from_numpy(normal(rng, 10**5)).cuda() for _ in range(2))
    y = x.clone()
    state, eager = init(x), init(y)
    graph = capture(torch, lambda: update(x, g, state, out=(x, state)))
    graph.replay()
    for _ in range(3):
        update(y, g, eager, out=(y, eager))
    assert torch.equal(x, y)


def test_a_schedule_is_not_captured(torch):
    x = torch.ones(8, device="cuda")
    state = init(x, lr=InverseSqrt(0.1))
    with pytest.raises(
        RuntimeError, match=r"^update: a captured CUDA graph would repeat the update t = 2, but the lea"
    ):
        capture(torch, lambda: update(x, x, state, out=(x, state)))


# --- determinism -----------------------------------------------------------------------------------------------------


def test_the_same_bits_twice(rng):
    x, where, values = normal(rng, 5000), rng.integers(0, 1000, 3000), normal(rng, 3000)
    results = []
    for _ in range(2):
        device, g = copy_to_device(x), copy_to_device((where, values))
        state = init(device, transforms=(ClipGlobalNorm(1.0),))
        update(device, g, state, out=(device, state))
        results.append(copy_to_host(device))
    np.testing.assert_array_equal(*results)
