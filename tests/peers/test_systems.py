"""Trajectories of 200 steps against the real systems, where they are installed."""

import numpy as np
import pytest

from adagrad_nb import InverseTime, L2Decay, from_optax, from_torch, init, like, to_optax, to_torch, update

STEPS = 200


def gradients(n, dtype, seed=0):
    """Random gradients of magnitudes from 1e-12 to 1e6, with zeros and coordinates that are zero for long."""
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(-12, 6, n)
    for step in range(STEPS):
        g = rng.normal(size=n) * scale
        g[rng.random(n) < 0.2] = 0
        if step < 50:
            g[: n // 4] = 0
        g[-1] = 0
        yield g.astype(dtype)


def start(n, dtype):
    return np.random.default_rng(1).normal(size=n).astype(dtype)


def ours(options, dtype, n=64):
    x = start(n, dtype)
    state = init(x, **options)
    peak = np.abs(x)
    for g in gradients(n, dtype):
        update(x, g, state, out=(x, state))
        peak = np.maximum(peak, np.abs(x))
    return x, peak


def assert_same(mine, theirs, ulp=4, single=1e-6):
    """4 ulp in float64, 1e-6 relative in float32, of the largest size that the coordinate had on its way."""
    mine, size = mine
    bound = ulp * np.finfo(np.float64).eps if mine.dtype == np.float64 else single
    np.testing.assert_array_less(np.abs(mine - theirs) / size, bound)


TORCH = [
    {},
    {"lr": 0.1, "lr_decay": 0.05},
    {"lr": 0.1, "weight_decay": 0.1},
    {"lr": 0.1, "weight_decay": 0.1, "maximize": True},
    {"lr": 0.5, "initial_accumulator_value": 0.3, "eps": 1e-3},
]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("path", ["single", "foreach", "fused"])
@pytest.mark.parametrize("settings", TORCH, ids=str)
def test_torch(settings, path, dtype):
    torch = pytest.importorskip("torch")
    p = torch.nn.Parameter(torch.from_numpy(start(64, dtype)))
    flags = {"single": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}[path]
    optimizer = torch.optim.Adagrad([p], **settings, **flags)
    for g in gradients(64, dtype):
        p.grad = torch.from_numpy(g)
        optimizer.step()
    assert_same(ours(like("torch", **settings), dtype), p.detach().numpy())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("settings", [{}, {"rho": 0.5, "lr": 0.3}, {"weight_decay": 0.1}, {"maximize": True}], ids=str)
def test_torch_adadelta(settings, dtype):
    torch = pytest.importorskip("torch")
    p = torch.nn.Parameter(torch.from_numpy(start(64, dtype)))
    optimizer = torch.optim.Adadelta([p], **settings)
    for g in gradients(64, dtype):
        p.grad = torch.from_numpy(g)
        optimizer.step()
    # PyTorch contracts multiplications and additions; what that rounds once less, the running means carry on.
    assert_same(ours(like("torch", "adadelta", **settings), dtype), p.detach().numpy(), ulp=8)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_torch_sparse_with_duplicates():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    p = torch.nn.Parameter(torch.from_numpy(start(50, np.float64)))
    optimizer = torch.optim.Adagrad([p], lr=0.1)
    x = start(50, np.float64)
    state = init(x, **like("torch", lr=0.1))
    for _ in range(STEPS):
        where, values = rng.integers(0, 50, 12), rng.normal(size=12)
        p.grad = torch.sparse_coo_tensor(where[None], torch.from_numpy(values), (50,), check_invariants=True)
        optimizer.step()
        update(x, (where, values), state, out=(x, state))
    assert_same((x, np.abs(x) + 1), p.detach().numpy())


KERAS = [
    {},
    {"learning_rate": 0.1, "weight_decay": 0.1},
    {"learning_rate": 0.1, "clipnorm": 2.0},
    {"clipvalue": 0.5},
    {"learning_rate": 0.1, "global_clipnorm": 3.0, "loss_scale_factor": 8.0},
    {"learning_rate": 0.1, "use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 7},
]


@pytest.mark.parametrize("settings", KERAS, ids=str)
@pytest.mark.parametrize("method", ["adagrad", "adadelta"])
def test_keras(settings, method, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "numpy")
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "numpy":
        pytest.skip("Keras was imported with another backend before")
    name = {"adagrad": "Adagrad", "adadelta": "Adadelta"}[method]
    optimizer = getattr(keras.optimizers, name)(**settings)
    variable = keras.Variable(start(64, np.float32), dtype="float32")
    optimizer.build([variable])
    for g in gradients(64, np.float32):
        optimizer.apply([g], [variable])
    # Keras rounds 1 - momentum to float32 before it uses it, and each overwriting feeds that back.
    single = 2e-6 if "use_ema" in settings else 1e-6
    assert_same(ours(like("keras", method, **settings), np.float32), np.asarray(variable.value), single=single)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("settings", [{}, {"initial_accumulator_value": 0.0}, {"eps": 1e-2}], ids=str)
def test_optax(settings, dtype):
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    with jax.enable_x64(dtype == np.float64):
        x = run_optax(jax, optax.adagrad(0.1, **settings), dtype)
    assert_same(ours(like("optax", learning_rate=0.1, **settings), dtype), x)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("settings", [{}, {"rho": 0.5, "weight_decay": 0.1}], ids=str)
def test_optax_adadelta(settings, dtype):
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    with jax.enable_x64(dtype == np.float64):
        x = run_optax(jax, optax.adadelta(0.5, **settings), dtype)
    assert_same(ours(like("optax", "adadelta", lr=0.5, **settings), dtype), x)


def run_optax(jax, optimizer, dtype):
    import optax

    x = jax.numpy.asarray(start(64, dtype))
    state = optimizer.init(x)
    step = jax.jit(optimizer.update)
    for g in gradients(64, dtype):
        move, state = step(jax.numpy.asarray(g), state, x)
        x = optax.apply_updates(x, move)
    return np.asarray(x)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_jax_example(momentum, dtype):
    jax = pytest.importorskip("jax")
    from jax.example_libraries import optimizers

    with jax.enable_x64(dtype == np.float64):
        first, step, params = optimizers.adagrad(0.1, momentum)
        state, step = first(jax.numpy.asarray(start(64, dtype))), jax.jit(step)
        for t, g in enumerate(gradients(64, dtype)):
            state = step(t, jax.numpy.asarray(g), state)
        x = np.asarray(params(state))
    assert_same(ours(like("jax", step_size=0.1, momentum=momentum), dtype), x)


# --- a run that moves over in the middle ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["adagrad", "adadelta"])
@pytest.mark.parametrize("settings", [{"lr": 0.1}, {"lr": 0.1, "weight_decay": 0.1}], ids=str)
def test_a_run_of_torch_goes_on_here_and_back(method, settings):
    torch = pytest.importorskip("torch")
    if method == "adagrad":
        settings = {**settings, "lr_decay": 0.01}
    kind = {"adagrad": torch.optim.Adagrad, "adadelta": torch.optim.Adadelta}[method]

    def stepped(p, optimizer, gradients):
        for g in gradients:
            p.grad = torch.from_numpy(g)
            optimizer.step()

    gs = list(gradients(64, np.float64))
    p = torch.nn.Parameter(torch.from_numpy(start(64, np.float64)))
    optimizer = kind([p], **settings)
    stepped(p, optimizer, gs[:70])
    x = p.detach().numpy().copy()
    state = from_torch(init(x, **like("torch", method, **settings)), optimizer.state_dict())
    assert state.t == 70
    for g in gs[70:140]:
        update(x, g, state, out=(x, state))
    # and back again for the rest
    q = torch.nn.Parameter(torch.from_numpy(x.copy()))
    back = kind([q], **settings)
    entries = {i: {k: torch.as_tensor(v) for k, v in entry.items()} for i, entry in to_torch(state).items()}
    back.load_state_dict({"state": entries, "param_groups": back.state_dict()["param_groups"]})
    stepped(q, back, gs[140:])
    stepped(p, optimizer, gs[70:])
    assert_same((q.detach().numpy(), np.abs(start(64, np.float64)) + 1), p.detach().numpy(), ulp=8)


@pytest.mark.parametrize("method", ["adagrad", "adadelta"])
def test_a_run_of_optax_goes_on_here_and_back(method):
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    make = {"adagrad": optax.adagrad, "adadelta": optax.adadelta}[method]
    gs = list(gradients(64, np.float64))
    with jax.enable_x64(True):
        optimizer = optax.chain(optax.add_decayed_weights(0.1), make(lambda t: 0.1 / (1 + 0.01 * t)))
        step = jax.jit(optimizer.update)

        def stepped(x, state, gradients):
            for g in gradients:
                move, state = step({"w": jax.numpy.asarray(g)}, state, x)
                x = optax.apply_updates(x, move)
            return x, state

        first = {"w": jax.numpy.asarray(start(64, np.float64))}
        middle, at_middle = stepped(first, optimizer.init(first), gs[:70])
        end, _ = stepped(middle, at_middle, gs[70:])
        options = like("optax", method, lr=InverseTime(0.1, 0.01))
        options["transforms"] = (L2Decay(0.1),)
        x = {"w": np.array(middle["w"])}
        state = from_optax(init(x, **options), at_middle, x)
        assert state.t == 70
        for g in gs[70:140]:
            update(x, {"w": g}, state, out=(x, state))
        again = optax.tree_utils.tree_set(at_middle, **to_optax(state, x), count=jax.numpy.asarray(140))
        last, _ = stepped({"w": jax.numpy.asarray(x["w"])}, again, gs[140:])
    assert_same((np.asarray(last["w"]), np.abs(start(64, np.float64)) + 1), np.asarray(end["w"]), ulp=8)
