"""Trajectories of 200 steps against the real systems, where they are installed."""

import inspect
import warnings

import numpy as np
import pytest

from adagrad_nb import (
    SGD,
    AdaptiveClip,
    AddNoise,
    ClipGlobalNorm,
    ClipRMS,
    Cosine,
    CosineRestarts,
    Cyclic,
    DoG,
    DoWG,
    Except,
    Exponential,
    InverseTime,
    L1Ball,
    L2Ball,
    L2Decay,
    LossScale,
    OneCycle,
    Only,
    Piecewise,
    Polynomial,
    ReduceOnPlateau,
    Sequential,
    Simplex,
    SkipNonFinite,
    ZeroNaN,
    from_optax,
    from_torch,
    init,
    like,
    to_optax,
    to_torch,
    update,
)

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


def run_updates(options, dtype, n=64):
    x = start(n, dtype)
    state = init(x, **options)
    peak = np.abs(x)
    for g in gradients(n, dtype):
        update(x, g, state, out=(x, state))
        peak = np.maximum(peak, np.abs(x))
    return x, peak


def assert_same(actual, expected, ulp=4, single=1e-6):
    """4 ulp in float64, 1e-6 relative in float32, of the largest size that the coordinate had on its way."""
    actual, size = actual
    bound = ulp * np.finfo(np.float64).eps if actual.dtype == np.float64 else single
    np.testing.assert_array_less(np.abs(actual - expected) / size, bound)


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
    assert_same(run_updates(like("torch", **settings), dtype), p.detach().numpy())


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
    assert_same(run_updates(like("torch", "adadelta", **settings), dtype), p.detach().numpy(), ulp=8)


def parts(n, dtype, seed=0):
    """Complex gradients whose parts are those of `gradients`."""
    real = np.zeros(0, dtype).real.dtype
    for a, b in zip(gradients(n, real, seed), gradients(n, real, seed + 1), strict=True):
        yield (a + 1j * b).astype(dtype)


@pytest.mark.parametrize("dtype", [np.complex128, np.complex64])
@pytest.mark.parametrize("path", ["single", "foreach"])
@pytest.mark.parametrize("settings", [{}, {"lr": 0.1, "weight_decay": 0.1}], ids=str)
def test_torch_complex(settings, path, dtype):
    torch = pytest.importorskip("torch")
    real = np.zeros(0, dtype).real.dtype
    x = (start(64, real) + 1j * start(64, real)[::-1]).astype(dtype)
    p = torch.nn.Parameter(torch.from_numpy(x.copy()))
    optimizer = torch.optim.Adagrad([p], **settings, foreach=path == "foreach")
    state = init(x, **like("torch", **settings))
    peak = np.abs(x)
    for g in parts(64, dtype):
        p.grad = torch.from_numpy(g)
        optimizer.step()
        update(x, g, state, out=(x, state))
        peak = np.maximum(peak, np.abs(x))
    expected = p.detach().numpy()
    for actual, other in ((x.real, expected.real), (x.imag, expected.imag)):
        assert_same((np.ascontiguousarray(actual), peak), other)
    np.testing.assert_allclose(state.slots[0][0], optimizer.state[p]["sum"].numpy(), rtol=1e-6)


def test_torch_clips_all_arrays_by_one_norm():
    torch = pytest.importorskip("torch")
    xs = [start(n, np.float64) for n in (3, 50, 20_000)]
    ps = [torch.nn.Parameter(torch.from_numpy(x.copy())) for x in xs]
    optimizer = torch.optim.Adagrad(ps, lr=0.1, weight_decay=0.01, foreach=True)
    options = like("torch", lr=0.1, weight_decay=0.01)
    options["transforms"] = (ClipGlobalNorm(1.0), *options["transforms"])
    state = init(xs, **options)
    for gs in zip(*(gradients(x.size, np.float64, seed) for seed, x in enumerate(xs)), strict=True):
        for p, g in zip(ps, gs, strict=True):
            p.grad = torch.from_numpy(g.copy())
        torch.nn.utils.clip_grad_norm_(ps, 1.0, foreach=True)
        optimizer.step()
        update(xs, list(gs), state, out=(xs, state))
    for x, p in zip(xs, ps, strict=True):
        # PyTorch divides by norm + 1e-6, which is about 1e-13 of these norms.
        np.testing.assert_allclose(x, p.detach().numpy(), rtol=0, atol=1e-9)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_torch_sparse_rows_and_decay():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 5))
    p = torch.nn.Parameter(torch.from_numpy(x.copy()))
    optimizer = torch.optim.Adagrad([p], lr=0.1, lr_decay=0.01)
    state = init(x, **like("torch", lr=0.1, lr_decay=0.01))
    for _ in range(STEPS):
        where, values = rng.integers(0, 30, 7), rng.normal(size=(7, 5))
        p.grad = torch.sparse_coo_tensor(where[None], torch.from_numpy(values), (30, 5), check_invariants=True)
        optimizer.step()
        update(x, (where, values), state, out=(x, state))
    assert_same((x, np.abs(x) + 1), p.detach().numpy())
    refusing = torch.optim.Adagrad([p], weight_decay=0.1)
    with pytest.raises(RuntimeError, match="weight_decay option is not compatible with sparse gradients"):
        refusing.step()
    with pytest.raises(ValueError, match="sparse_decay='refuse' rejects weight decay with sparse gradients"):
        update(x, (where, values), init(x, **like("torch", weight_decay=0.1)))


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
    {"learning_rate": 0.1, "gradient_accumulation_steps": 4, "clipnorm": 2.0, "weight_decay": 0.01},
    {"learning_rate": 0.1, "gradient_accumulation_steps": 3, "use_ema": True, "ema_overwrite_frequency": 5},
]


@pytest.mark.parametrize("settings", KERAS, ids=str)
@pytest.mark.parametrize("method", ["adagrad", "adadelta"])
def test_keras(settings, method, keras):
    name = {"adagrad": "Adagrad", "adadelta": "Adadelta"}[method]
    optimizer = getattr(keras.optimizers, name)(**settings)
    variable = keras.Variable(start(64, np.float32), dtype="float32")
    optimizer.build([variable])
    for g in gradients(64, np.float32):
        optimizer.apply([g], [variable])
    assert_same(run_updates(like("keras", method, **settings), np.float32), np.asarray(variable.value))


FTRL_OF_KERAS = [
    {},
    {"learning_rate": 0.1, "l1_regularization_strength": 0.01, "l2_regularization_strength": 0.1},
    {"learning_rate": 0.1, "l2_shrinkage_regularization_strength": 0.1, "initial_accumulator_value": 0.5},
    {"learning_rate": 0.1, "learning_rate_power": -0.3, "beta": 0.5},
    {"learning_rate": 0.1, "weight_decay": 0.1, "clipnorm": 2.0},
]


@pytest.mark.parametrize("settings", FTRL_OF_KERAS, ids=str)
def test_ftrl_of_keras(settings, keras):
    optimizer = keras.optimizers.Ftrl(**settings)
    variable = keras.Variable(start(64, np.float32), dtype="float32")
    optimizer.build([variable])
    for g in gradients(64, np.float32):
        optimizer.apply([np.clip(g, -10, 10)], [variable])
    x = start(64, np.float32)
    state = init(x, **like("keras", "ftrl", **settings))
    peak = np.abs(x)
    for g in gradients(64, np.float32):
        update(x, np.clip(g, -10, 10), state, out=(x, state))
        peak = np.maximum(peak, np.abs(x))
    # z is a difference of large sums
    assert_same((x, peak + 1e-3), np.asarray(variable.value), single=1e-4)


@pytest.fixture
def keras(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "numpy")
    module = pytest.importorskip("keras")
    if module.backend.backend() != "numpy":
        pytest.skip("Keras was imported with another backend before")
    return module


def test_keras_schedules_equal_the_schedule_records(keras):
    expected = keras.optimizers.schedules
    pairs = [
        (expected.ExponentialDecay(0.5, 7, 0.9), Exponential(0.5, 0.9, 7)),
        (expected.ExponentialDecay(0.5, 7, 0.9, staircase=True), Exponential(0.5, 0.9, 7, staircase=True)),
        (expected.InverseTimeDecay(0.5, 7, 0.3), InverseTime(0.5, 0.3, 7)),
        (expected.InverseTimeDecay(0.5, 7, 0.3, staircase=True), InverseTime(0.5, 0.3, 7, staircase=True)),
        (expected.PolynomialDecay(0.5, 20, 0.01, 2.0), Polynomial(0.5, 20, 0.01, 2.0)),
        (expected.PolynomialDecay(0.5, 20, 0.01, 1.0, cycle=True), Polynomial(0.5, 20, 0.01, 1.0, cycle=True)),
        (expected.PiecewiseConstantDecay([5, 9], [0.5, 0.2, 0.1]), Piecewise((6, 10), (0.5, 0.2, 0.1))),
        (expected.CosineDecay(0.5, 20, alpha=0.1), Cosine(0.5, 20, 0.05)),
        (expected.CosineDecayRestarts(0.5, 10, 2.0, 0.8, 0.1), CosineRestarts(0.5, 10, 2.0, 0.8, 0.05)),
        (expected.CosineDecayRestarts(0.5, 10, 1.0, 0.8, 0.1), CosineRestarts(0.5, 10, 1.0, 0.8, 0.05)),
        (
            expected.CosineDecay(0.1, 50, 0.0, warmup_target=0.5, warmup_steps=10),
            Sequential(Polynomial(0.1, 10, 0.5), 10, Cosine(0.5, 50)),
        ),
    ]
    for schedule, ours in pairs:
        rates = [float(schedule(t)) for t in range(80)]
        np.testing.assert_allclose([ours.at(t) for t in range(80)], rates, rtol=1e-5, atol=1e-7)


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step")
def test_torch_schedules_equal_the_schedule_records():
    torch = pytest.importorskip("torch")
    schedulers = torch.optim.lr_scheduler
    pairs = [
        (lambda o: schedulers.StepLR(o, 7, 0.3), Exponential(0.5, 0.3, 7, staircase=True)),
        (lambda o: schedulers.MultiStepLR(o, [5, 9], 0.1), Piecewise((5, 9), (0.5, 0.05, 0.005))),
        (lambda o: schedulers.ExponentialLR(o, 0.9), Exponential(0.5, 0.9)),
        (lambda o: schedulers.PolynomialLR(o, 20, 2.0), Polynomial(0.5, 20, power=2.0)),
        (lambda o: schedulers.CosineAnnealingWarmRestarts(o, 10, 2, 0.01), CosineRestarts(0.5, 10, 2.0, final=0.01)),
        (lambda o: schedulers.CosineAnnealingLR(o, 10, 0.01), Cosine(0.5, 10, 0.01, cycle=True)),
        (lambda o: schedulers.CyclicLR(o, 0.1, 0.5, 7, 4, cycle_momentum=False), Cyclic(0.1, 0.5, 7, 4)),
        (
            lambda o: schedulers.CyclicLR(o, 0.1, 0.5, 7, mode="triangular2", cycle_momentum=False),
            Cyclic(0.1, 0.5, 7, 7, shrink=0.5),
        ),
        (
            lambda o: schedulers.CyclicLR(o, 0.1, 0.5, 7, mode="exp_range", gamma=0.98, cycle_momentum=False),
            Cyclic(0.1, 0.5, 7, 7, decay=0.98),
        ),
        (
            lambda o: schedulers.OneCycleLR(o, 0.5, total_steps=61, cycle_momentum=False),
            OneCycle(0.5, 60, rise=(0.3 * 61 - 1) / 60),
        ),
        (
            lambda o: schedulers.OneCycleLR(
                o, 0.5, total_steps=61, pct_start=0.5, anneal_strategy="linear", cycle_momentum=False
            ),
            OneCycle(0.5, 60, rise=(0.5 * 61 - 1) / 60, linear=True),
        ),
        (
            lambda o: schedulers.SequentialLR(
                o, [schedulers.LinearLR(o, 0.2, 1.0, 20), schedulers.ExponentialLR(o, 0.9)], milestones=[20]
            ),
            Sequential(Polynomial(0.1, 20, 0.5), 20, Exponential(0.5, 0.9)),
        ),
    ]
    for make, ours in pairs:
        optimizer = torch.optim.Adagrad([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
        schedule, rates = make(optimizer), []
        for _ in range(60):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        np.testing.assert_allclose([ours.at(t) for t in range(60)], rates, rtol=1e-9, atol=1e-15)


def test_optax_schedules_equal_the_schedule_records():
    optax = pytest.importorskip("optax")
    pairs = [
        (optax.cosine_decay_schedule(0.5, 50, 0.1, exponent=2.5), Cosine(0.5, 50, 0.05, power=2.5)),
        (optax.exponential_decay(0.5, 10, 1.3, end_value=0.9), Exponential(0.5, 1.3, 10, final=0.9)),
        (optax.exponential_decay(0.5, 10, 0.7, end_value=0.2), Exponential(0.5, 0.7, 10, final=0.2)),
        (optax.polynomial_schedule(0.1, 0.5, 2.0, 50), Polynomial(0.1, 50, 0.5, 2.0)),
        (optax.cosine_onecycle_schedule(50, 0.5), OneCycle(0.5, 50)),
        (
            optax.warmup_cosine_decay_schedule(0.1, 0.5, 10, 60, 0.05),
            Sequential(Polynomial(0.1, 10, 0.5), 10, Cosine(0.5, 50, 0.05)),
        ),
    ]
    for schedule, ours in pairs:
        rates = [float(schedule(t)) for t in range(80)]
        np.testing.assert_allclose([ours.at(t) for t in range(80)], rates, rtol=1e-5, atol=1e-7)


def test_keras_schedules_count_micro_steps(keras):
    schedule = keras.optimizers.schedules.InverseTimeDecay(0.5, 1, 0.1)
    optimizer = keras.optimizers.Adagrad(schedule, gradient_accumulation_steps=3)
    variable = keras.Variable(start(64, np.float32), dtype="float32")
    optimizer.build([variable])
    for g in gradients(64, np.float32):
        optimizer.apply([g], [variable])
    options = like("keras", learning_rate=InverseTime(0.5, 0.1), gradient_accumulation_steps=3)
    assert_same(run_updates(options, np.float32), np.asarray(variable.value))


def test_keras_scales_the_loss_and_skips(keras):
    inner = keras.optimizers.Adagrad(0.1, clipnorm=3.0)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=1024.0, dynamic_growth_steps=30)
    variable = keras.Variable(start(64, np.float32), dtype="float32")
    optimizer.build([variable])
    options = like("keras", learning_rate=0.1, clipnorm=3.0)
    options["transforms"] = (LossScale(initial=1024.0, every=30), *options["transforms"])
    x = start(64, np.float32)
    state = init(x, **options)
    for step, g in enumerate(gradients(64, np.float32)):
        g = g * np.float32(state.scale)
        if step % 37 == 5:
            g[3] = np.inf
        assert float(np.asarray(optimizer.dynamic_scale)) == state.scale
        optimizer.apply([g], [variable])
        update(x, g, state, out=(x, state))
    assert state.t < STEPS
    assert_same((x, np.abs(x) + 1), np.asarray(variable.value))


def test_keras_decays_all_but_the_arrays_that_are_named(keras):
    names = ("kernel", "bias")
    variables = [keras.Variable(start(8, np.float32), dtype="float32", name=name) for name in names]
    optimizer = keras.optimizers.Adagrad(0.1, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.build(variables)
    x = {name: start(8, np.float32) for name in names}
    options = like("keras", learning_rate=0.1, weight_decay=0.1, exclude_from_weight_decay=["bias"])
    assert any(isinstance(item, Except) for item in options["transforms"])
    state = init(x, **options)
    for g in gradients(8, np.float32):
        optimizer.apply([g, g], variables)
        update(x, {"kernel": g, "bias": g}, state, out=(x, state))
    for name, variable in zip(names, variables, strict=True):
        assert_same((x[name], np.abs(x[name]) + 1), np.asarray(variable.value))
    assert not np.allclose(x["kernel"], x["bias"])


def test_keras_and_torch_skip_arrays_without_gradient(keras):
    torch = pytest.importorskip("torch")
    first = start(8, np.float32)
    variables = [keras.Variable(first, dtype="float32") for _ in range(2)]
    schedule = keras.optimizers.schedules.InverseTimeDecay(0.5, 1, 0.1)
    ours = {"keras": like("keras", learning_rate=schedule, weight_decay=0.1, clipnorm=2.0), "torch": like("torch")}
    optimizer = keras.optimizers.Adagrad(schedule, weight_decay=0.1, clipnorm=2.0)
    optimizer.build(variables)
    ps = [torch.nn.Parameter(torch.from_numpy(first.copy())) for _ in range(2)]
    torch_optimizer = torch.optim.Adagrad(ps)
    states = {name: init([first, first], **options) for name, options in ours.items()}
    xs = {name: [first, first] for name in ours}
    for t, g in enumerate(list(gradients(8, np.float32))[60:90]):
        given = [None if t % 3 == 0 else g, g]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns about each missing gradient
            optimizer.apply(given, variables)
        for p, each in zip(ps, given, strict=True):
            p.grad = None if each is None else torch.from_numpy(each)
        torch_optimizer.step()
        for name, state in states.items():
            xs[name], states[name] = update(xs[name], given, state)
    for k in range(2):
        assert_same((xs["keras"][k], np.abs(first) + 1), np.asarray(variables[k].value))
        assert_same((xs["torch"][k], np.abs(first) + 1), ps[k].detach().numpy())


@pytest.mark.parametrize("dtype", [np.complex128, np.complex64])
def test_optax_complex(dtype):
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    x = (start(64, np.float64) + 1j * start(64, np.float64)[::-1]).astype(dtype)
    with jax.enable_x64(dtype == np.complex128):
        optimizer = optax.adagrad(0.1)
        expected = jax.numpy.asarray(x)
        optax_state = optimizer.init(expected)
        step = jax.jit(optimizer.update)
        state = init(x, **like("optax", lr=0.1))
        for g in parts(64, dtype):
            change, optax_state = step(jax.numpy.asarray(g), optax_state, expected)
            expected = optax.apply_updates(expected, change)
            update(x, g, state, out=(x, state))
        np.testing.assert_allclose(
            from_optax(init(x, **like("optax", lr=0.1)), optax_state, x).slots[0][0], state.slots[0][0], 1e-6
        )
    expected = np.asarray(expected)
    for actual, other in ((x.real, expected.real), (x.imag, expected.imag)):
        assert_same((np.ascontiguousarray(actual), np.abs(x) + 1), other)


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_optax_multi_steps(mean, dtype):
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    with jax.enable_x64(dtype == np.float64):
        inner = optax.adagrad(lambda t: 0.5 / (1 + 0.1 * t))
        optimizer = optax.MultiSteps(inner, 4, use_grad_mean=mean, accumulator_dtype=dtype)
        x = run_optax(jax, optimizer, dtype)
    options = like("optax", lr=InverseTime(0.5, 0.1), every_k_schedule=4, use_grad_mean=mean)
    assert_same(run_updates(options, dtype), x)


def test_optax_multi_steps_of_varying_length():
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")

    def every(step):
        return 1 + step // 10 % 3

    with jax.enable_x64(True):
        inner = optax.adagrad(lambda t: 0.5 / (1 + 0.1 * t))
        x = run_optax(jax, optax.MultiSteps(inner, every, accumulator_dtype=np.float64), np.float64)
    assert_same(run_updates(like("optax", lr=InverseTime(0.5, 0.1), every_k_schedule=every), np.float64), x)


def test_optax_skips_non_finite_gradients():
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    poisoned = [g.copy() for g in gradients(64, np.float64)]
    for g in poisoned[::9]:
        g[5] = np.nan
    with jax.enable_x64(True):
        optimizer = optax.apply_if_finite(optax.adagrad(0.1), max_consecutive_errors=3)
        expected = jax.numpy.asarray(start(64, np.float64))
        optax_state, step = optimizer.init(expected), jax.jit(optimizer.update)
        for g in poisoned:
            change, optax_state = step(jax.numpy.asarray(g), optax_state, expected)
            expected = optax.apply_updates(expected, change)
        expected = np.asarray(expected)
    x = start(64, np.float64)
    state = init(x, **{**like("optax", lr=0.1), "transforms": (SkipNonFinite(limit=3),)})
    for g in poisoned:
        update(x, g, state, out=(x, state))
    assert_same((x, np.abs(x) + 1), expected)


BRAINTOOLS = [
    ("adagrad", {}),
    ("adagrad", {"lr": 0.1, "lr_decay": 0.05, "weight_decay": 0.1, "initial_accumulator_value": 0.3}),
    ("adagrad", {"lr": 0.1, "grad_clip_norm": 3.0, "grad_clip_value": 0.5}),
    ("adadelta", {}),
    ("adadelta", {"lr": 0.3, "rho": 0.5, "weight_decay": 0.1, "grad_clip_norm": 3.0}),
]


@pytest.mark.parametrize(("method", "settings"), BRAINTOOLS, ids=str)
def test_braintools(method, settings):
    braintools, brainstate = pytest.importorskip("braintools"), pytest.importorskip("brainstate")
    jax = pytest.importorskip("jax")
    name = {"adagrad": "Adagrad", "adadelta": "Adadelta"}[method]
    with jax.enable_x64(True):
        parameter = brainstate.ParamState(jax.numpy.asarray(start(64, np.float64)))
        optimizer = getattr(braintools.optim, name)(**settings)
        optimizer.register_trainable_weights({"w": parameter})
        for g in gradients(64, np.float64):
            optimizer.update({"w": jax.numpy.asarray(g)})
        x = np.asarray(parameter.value)
    # The factor 1 / (1 + t lr_decay) is rounded to float32 there.
    single = 1e-6 if settings.get("lr_decay") else None
    actual, peak = run_updates(like("braintools", method, **settings), np.float64)
    if single is None:
        assert_same((actual, peak), x, ulp=8 if method == "adadelta" else 4)
    else:
        np.testing.assert_array_less(np.abs(actual - x) / peak, single)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("settings", [{}, {"initial_accumulator_value": 0.0}, {"eps": 1e-2}], ids=str)
def test_optax(settings, dtype):
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    with jax.enable_x64(dtype == np.float64):
        x = run_optax(jax, optax.adagrad(0.1, **settings), dtype)
    assert_same(run_updates(like("optax", learning_rate=0.1, **settings), dtype), x)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("settings", [{}, {"rho": 0.5, "weight_decay": 0.1}], ids=str)
def test_optax_adadelta(settings, dtype):
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    with jax.enable_x64(dtype == np.float64):
        x = run_optax(jax, optax.adadelta(0.5, **settings), dtype)
    assert_same(run_updates(like("optax", "adadelta", lr=0.5, **settings), dtype), x)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("madgrad", {"learning_rate": 0.1}),
        ("madgrad", {"learning_rate": 0.1, "momentum": 0.5, "eps": 1e-3, "weight_decay": 0.01}),
        ("cocob", {}),
        ("cocob", {"learning_rate": 0.5, "alpha": 10.0, "eps": 1e-3, "weight_decay": 0.1}),
    ],
    ids=str,
)
def test_optax_contrib(method, settings, dtype):
    jax, contrib = pytest.importorskip("jax"), pytest.importorskip("optax.contrib")
    if not hasattr(contrib, method):
        pytest.skip(f"this version of optax has no {method}")
    with jax.enable_x64(dtype == np.float64):
        x = run_optax(jax, getattr(contrib, method)(**settings), dtype)
    actual, peak = run_updates(like("optax", method, **settings), dtype)
    if method == "cocob" and dtype == np.float64:
        assert_same((actual, peak), x)
    else:  # optax rounds the root of the count in MADGRAD to float32
        np.testing.assert_array_less(np.abs(actual - x) / peak, 1e-5)


def run_optax(jax, optimizer, dtype):
    import optax

    x = jax.numpy.asarray(start(64, dtype))
    state = optimizer.init(x)
    step = jax.jit(optimizer.update)
    for g in gradients(64, dtype):
        change, state = step(jax.numpy.asarray(g), state, x)
        x = optax.apply_updates(x, change)
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
    assert_same(run_updates(like("jax", step_size=0.1, momentum=momentum), dtype), x)


TRANSFORMS = [
    ("clip_by_block_rms", (0.3,), ClipRMS(0.3)),
    ("adaptive_grad_clip", (0.05,), AdaptiveClip(0.05)),
    ("adaptive_grad_clip", (0.05, 0.1), AdaptiveClip(0.05, 0.1)),
    ("zero_nans", (), ZeroNaN()),
]


@pytest.mark.parametrize(("name", "arguments", "record"), TRANSFORMS, ids=str)
@pytest.mark.parametrize("shape", [(24,), (6, 4), (2, 3, 4), (2, 2, 3, 2)], ids=str)
def test_transforms_of_optax(name, arguments, record, shape):
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape) * 10.0 ** rng.uniform(-3, 1, shape[-1])
    state = init(x, **(like("optax", lr=0.1) | {"transforms": (record,)}))
    with jax.enable_x64(True):
        optimizer = optax.chain(getattr(optax, name)(*arguments), optax.adagrad(0.1))
        expected = jax.numpy.asarray(x)
        optax_state, step = optimizer.init(expected), jax.jit(optimizer.update)
        for _ in range(20):
            g = rng.normal(size=shape) * 10.0 ** rng.uniform(-3, 3, shape[-1])
            if name == "zero_nans":
                g[rng.random(shape) < 0.2] = np.nan
            change, optax_state = step(jax.numpy.asarray(g), optax_state, expected)
            expected = optax.apply_updates(expected, change)
            x, state = update(x, g, state)
        np.testing.assert_allclose(x, np.asarray(expected), rtol=1e-12, atol=1e-13)


def test_masked_of_optax():
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    rng = np.random.default_rng(0)
    x = {"w": rng.normal(size=8), "b": rng.normal(size=8)}
    record = Only(ClipRMS(0.1), lambda path: path == "x['w']")
    state = init(x, **(like("optax", lr=0.1) | {"transforms": (record,)}))
    with jax.enable_x64(True):
        optimizer = optax.chain(optax.masked(optax.clip_by_block_rms(0.1), {"w": True, "b": False}), optax.adagrad(0.1))
        expected = {key: jax.numpy.asarray(array) for key, array in x.items()}
        optax_state = optimizer.init(expected)
        for _ in range(10):
            g = {"w": rng.normal(size=8), "b": rng.normal(size=8)}
            change, optax_state = optimizer.update(jax.tree.map(jax.numpy.asarray, g), optax_state, expected)
            expected = optax.apply_updates(expected, change)
            x, state = update(x, g, state)
        for key in x:
            np.testing.assert_allclose(x[key], np.asarray(expected[key]), rtol=1e-12, atol=1e-13)


def test_the_noise_of_optax_has_the_same_deviation():
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    transform = optax.add_noise(0.04, 0.55, jax.random.key(0))
    zero = jax.numpy.zeros(50_000)
    state = transform.init(zero)
    for t in range(4):
        sample, state = transform.update(zero, state)
        assert float(np.std(np.asarray(sample))) == pytest.approx(AddNoise(0.04, 0.55).deviation(t), rel=0.02)


# --- schedules and constructors of the systems --------------------------------------------------------------------

N_RATES = 1000


def rates_of(options, n=N_RATES):
    """Return the learning rates of the first n updates."""
    state = init(np.zeros(1), **options)
    return [float(state.lr_at(t)) for t in range(n)]


TORCH_SCHEDULERS = {
    "step": lambda s, o: s.StepLR(o, 70, 0.3),
    "multi-step": lambda s, o: s.MultiStepLR(o, [5, 90, 400], 0.1),
    "multiplicative": lambda s, o: s.MultiplicativeLR(o, lambda epoch: 0.99),
    "lambda": lambda s, o: s.LambdaLR(o, lambda epoch: 1 / (1 + epoch)),
    "constant": lambda s, o: s.ConstantLR(o, 0.3, 50),
    "linear": lambda s, o: s.LinearLR(o, 0.1, 1.0, 300),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.99),
    "polynomial": lambda s, o: s.PolynomialLR(o, 700, 2.0),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, 90, 0.01),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 10, 2, 0.01),
    "cyclic": lambda s, o: s.CyclicLR(o, 0.01, 0.5, 70, 50, mode="exp_range", gamma=0.999, cycle_momentum=False),
    "cyclic, own shape": lambda s, o: s.CyclicLR(o, 0.01, 0.5, 70, scale_fn=lambda x: 0.5, cycle_momentum=False),
    "one cycle": lambda s, o: s.OneCycleLR(o, 0.5, total_steps=N_RATES + 1, cycle_momentum=False),
    "three phases": lambda s, o: s.OneCycleLR(
        o, 0.5, total_steps=N_RATES + 1, cycle_momentum=False, three_phase=True, anneal_strategy="linear"
    ),
    "chained": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 20), s.ExponentialLR(o, 0.99)]),
    "sequential": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, 1.0, 20), s.CosineAnnealingLR(o, 900)], milestones=[20]
    ),
}


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step", "ignore:To get the last learning rate")
@pytest.mark.parametrize("name", TORCH_SCHEDULERS)
@pytest.mark.parametrize("as_tensor", [False, True])
def test_schedulers_of_torch(name, as_tensor):
    torch = pytest.importorskip("torch")

    def make():
        lr = torch.tensor(0.5, dtype=torch.float64) if as_tensor else 0.5
        optimizer = torch.optim.Adagrad([torch.nn.Parameter(torch.zeros(1000))], lr=lr)
        return optimizer, TORCH_SCHEDULERS[name](torch.optim.lr_scheduler, optimizer)

    optimizer, scheduler = make()
    given_optimizer, given = make()
    state_before = str(given.state_dict()), str(given_optimizer.state_dict())
    options = like("torch", lr=given)
    actual = rates_of(options)
    assert (str(given.state_dict()), str(given_optimizer.state_dict())) == state_before
    expected = []
    for _ in range(N_RATES):
        expected.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    assert actual == expected
    with pytest.raises(ValueError, match="has already taken 1000 steps"):
        like("torch", lr=scheduler)


def test_a_scheduler_of_torch_drives_a_run():
    torch = pytest.importorskip("torch")
    p = torch.nn.Parameter(torch.from_numpy(start(64, np.float64)))
    optimizer = torch.optim.Adagrad([p], lr=0.5, lr_decay=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 90)
    options = like("torch", lr=scheduler, lr_decay=0.01)
    for g in gradients(64, np.float64):
        p.grad = torch.from_numpy(g)
        optimizer.step()
        scheduler.step()
    assert_same(run_updates(options, np.float64), p.detach().numpy())


def test_a_scheduler_of_the_loss_is_refused():
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.Adagrad([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    with pytest.raises(ValueError, match="lr: ReduceLROnPlateau depends on the loss"):
        like("torch", lr=torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"patience": 2, "factor": 0.5, "cooldown": 3},
        {"patience": 1, "threshold": 0.1, "min_lr": 0.05, "factor": 0.7},
        {"patience": 0, "threshold_mode": "abs", "threshold": 0.01, "eps": 0.01, "factor": 0.9},
        {"mode": "max", "patience": 1, "factor": 0.8},
        {"mode": "max", "patience": 1, "factor": 0.8, "threshold_mode": "abs", "threshold": 0.05},
    ],
    ids=str,
)
def test_reduce_on_plateau_of_torch(settings):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.Adagrad([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **settings)
    renamed = {name: value for name, value in settings.items() if name not in ("mode", "threshold_mode")}
    is_relative, is_max = settings.get("threshold_mode") != "abs", settings.get("mode") == "max"
    lr = ReduceOnPlateau(0.5, relative=is_relative, maximize=is_max, **renamed)
    rng = np.random.default_rng(0)
    for step in range(200):
        loss = float(np.exp(-step / 40) + rng.normal() * 0.05)
        scheduler.step(loss)
        assert lr.observe(loss) == optimizer.param_groups[0]["lr"]
    assert lr.lr < 0.5


def test_schedules_of_keras(keras):
    schedules = keras.optimizers.schedules
    for schedule in [
        schedules.ExponentialDecay(0.5, 7, 0.9, staircase=True),
        schedules.InverseTimeDecay(0.5, 7, 0.3),
        schedules.PolynomialDecay(0.5, 200, 0.01, 2.0, cycle=True),
        schedules.PiecewiseConstantDecay([5, 900], [0.5, 0.2, 0.1]),
        schedules.CosineDecay(0.1, 500, alpha=0.1, warmup_target=0.5, warmup_steps=100),
        schedules.CosineDecayRestarts(0.5, 100, 2.0, 0.8, 0.1),
    ]:
        expected = [float(schedule(step)) for step in range(N_RATES)]
        assert rates_of(like("keras", learning_rate=schedule)) == expected
    assert rates_of(like("keras", learning_rate=lambda: 0.25), 3) == [0.25] * 3


def test_schedules_of_keras_drive_a_run(keras):
    schedule = keras.optimizers.schedules.CosineDecay(0.5, 150)
    optimizer = keras.optimizers.Adagrad(schedule, gradient_accumulation_steps=3)
    variable = keras.Variable(start(64, np.float32), dtype="float32")
    optimizer.build([variable])
    for g in gradients(64, np.float32):
        optimizer.apply([g], [variable])
    options = like("keras", learning_rate=schedule, gradient_accumulation_steps=3)
    assert_same(run_updates(options, np.float32), np.asarray(variable.value))


def test_schedules_of_optax():
    optax = pytest.importorskip("optax")
    for schedule in [
        optax.constant_schedule(0.3),
        optax.cosine_decay_schedule(0.5, 900, 0.1, exponent=2.0),
        optax.warmup_cosine_decay_schedule(0.0, 0.5, 100, 900, 0.01),
        optax.exponential_decay(0.5, 50, 0.9, transition_begin=10, staircase=True),
        optax.polynomial_schedule(0.1, 0.5, 2.0, 300, 20),
        optax.piecewise_constant_schedule(0.5, {100: 0.1, 500: 0.5}),
        optax.cosine_onecycle_schedule(900, 0.5),
        optax.linear_onecycle_schedule(900, 0.5),
        optax.join_schedules([optax.linear_schedule(0.0, 0.5, 50), optax.constant_schedule(0.2)], [50]),
    ]:
        lr = like("optax", learning_rate=schedule)["lr"]
        assert lr is schedule
        assert rates_of({"lr": lr}, 3) == [float(schedule(count)) for count in range(3)]
    schedule = optax.warmup_cosine_decay_schedule(0.0, 0.5, 100, 900, 0.01)
    expected = np.asarray(schedule(np.arange(N_RATES)))
    np.testing.assert_allclose(rates_of(like("optax", learning_rate=schedule)), expected, rtol=1e-5, atol=1e-7)


def test_schedulers_of_braintools():
    optim = pytest.importorskip("braintools").optim
    for make, n in [
        (lambda: optim.StepLR(0.5, 70, 0.3), 200),
        (lambda: optim.CosineAnnealingLR(0.5, 10, 0.01), 30),
        # each step of this one is compiled, in a tenth of a second
        (lambda: optim.SequentialLR([optim.LinearLR(0.5, 0.1, 1.0, 5), optim.ExponentialLR(0.5, 0.99)], [5]), 10),
    ]:
        given, scheduler = make(), make()
        actual = rates_of(like("braintools", lr=given), n)
        assert float(given.get_last_lr()[0]) == actual[0]
        expected = []
        for _ in range(n):
            expected.append(float(scheduler.get_last_lr()[0]))
            scheduler.step()
        assert actual == expected
        with pytest.raises(ValueError, match=f"has already taken {n} steps"):
            like("braintools", lr=scheduler)


CONSTRUCTORS = [
    ("torch", "adagrad", "torch.optim", "Adagrad"),
    ("torch", "adadelta", "torch.optim", "Adadelta"),
    ("keras", "adagrad", "keras.optimizers", "Adagrad"),
    ("keras", "adadelta", "keras.optimizers", "Adadelta"),
    ("keras", "ftrl", "keras.optimizers", "Ftrl"),
    ("optax", "adagrad", "optax", "adagrad"),
    ("optax", "adadelta", "optax", "adadelta"),
    ("optax", "cocob", "optax.contrib", "cocob"),
    ("optax", "madgrad", "optax.contrib", "madgrad"),
    ("jax", "adagrad", "jax.example_libraries.optimizers", "adagrad"),
    ("braintools", "adagrad", "braintools.optim", "Adagrad"),
    ("braintools", "adadelta", "braintools.optim", "Adadelta"),
]


@pytest.mark.parametrize(("system", "method", "module", "name"), CONSTRUCTORS, ids=lambda item: item)
def test_all_arguments_of_the_constructor_are_accepted(system, method, module, name, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "numpy")
    constructor = getattr(pytest.importorskip(module), name)
    settings = {}
    for argument in inspect.signature(constructor).parameters.values():
        if argument.kind not in (argument.VAR_KEYWORD, argument.VAR_POSITIONAL):
            settings[argument.name] = None if argument.default is argument.empty else argument.default
    for rate in ("learning_rate", "step_size"):
        if settings.get(rate, 0) is None:
            settings[rate] = 0.1
    options = like(system, method, **settings)
    rates = {name: value for name, value in settings.items() if name in ("lr", "learning_rate", "step_size")}
    assert options == like(system, method, **rates)


# --- a run that moves over in the middle ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["adagrad", "adadelta"])
@pytest.mark.parametrize("settings", [{"lr": 0.1}, {"lr": 0.1, "weight_decay": 0.1}], ids=str)
def test_a_run_of_torch_resumes_here_and_in_torch(method, settings):
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
    resumed_optimizer = kind([q], **settings)
    torch_state = {i: {k: torch.as_tensor(v) for k, v in entry.items()} for i, entry in to_torch(state).items()}
    resumed_optimizer.load_state_dict(
        {"state": torch_state, "param_groups": resumed_optimizer.state_dict()["param_groups"]}
    )
    stepped(q, resumed_optimizer, gs[140:])
    stepped(p, optimizer, gs[70:])
    assert_same((q.detach().numpy(), np.abs(start(64, np.float64)) + 1), p.detach().numpy(), ulp=8)


@pytest.mark.parametrize("method", ["adagrad", "adadelta"])
def test_a_run_of_optax_resumes_here_and_in_optax(method):
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    make = {"adagrad": optax.adagrad, "adadelta": optax.adadelta}[method]
    gs = list(gradients(64, np.float64))
    with jax.enable_x64(True):
        optimizer = optax.chain(optax.add_decayed_weights(0.1), make(lambda t: 0.1 / (1 + 0.01 * t)))
        step = jax.jit(optimizer.update)

        def stepped(x, state, gradients):
            for g in gradients:
                change, state = step({"w": jax.numpy.asarray(g)}, state, x)
                x = optax.apply_updates(x, change)
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
        resumed_state = optax.tree_utils.tree_set(at_middle, **to_optax(state, x), count=jax.numpy.asarray(140))
        last, _ = stepped({"w": jax.numpy.asarray(x["w"])}, resumed_state, gs[140:])
    assert_same((np.asarray(last["w"]), np.abs(start(64, np.float64)) + 1), np.asarray(end["w"]), ulp=8)


@pytest.mark.parametrize(
    ("domain", "name"), [(L1Ball(0.7), "projection_l1_ball"), (L2Ball(0.7), "projection_l2_ball"),
                         (Simplex(0.7), "projection_simplex")],
)  # fmt: skip
def test_optax_projections(domain, name):
    """Projections of optax are Euclidean: those of a rule without accumulators."""
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    with jax.enable_x64(True):
        for k, g in zip(range(20), gradients(40, np.float64), strict=False):
            x = start(40, np.float64) * 10.0 ** (k % 5 - 2)
            expected = getattr(optax.projections, name)(jax.numpy.asarray(x - 0.5 * g), 0.7)
            new, _ = update(x, g, init(x, SGD(), lr=0.5, domain=domain))
            np.testing.assert_allclose(new, expected, rtol=1e-9, atol=1e-12 * (1 + np.abs(g).max()))


@pytest.mark.parametrize("name", ["dog", "dog with a distance", "dowg"])
def test_optax_learning_rates_from_distances(name):
    """optax.contrib keeps one distance for the whole tree."""
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    contrib = pytest.importorskip("optax.contrib")
    optimizer, rule = {
        "dog": (contrib.dog(1.0), DoG()),
        "dog with a distance": (contrib.dog(0.5, ("distance", 1e-3), 1e-6), DoG(1e-3, 1e-6, relative=False)),
        "dowg": (contrib.dowg(1.0), DoWG()),
    }[name]
    x = {"w": start(48, np.float64), "b": start(16, np.float64)}
    state = init(x, rule, lr=0.5 if name == "dog with a distance" else 1.0)
    with jax.enable_x64(True):
        expected = jax.tree.map(jax.numpy.asarray, x)
        optax_state, step = optimizer.init(expected), jax.jit(optimizer.update)
        for g in gradients(64, np.float64):
            tree = {"w": g[:48] * 1e-3, "b": g[48:] * 1e-3}
            change, optax_state = step(jax.tree.map(jax.numpy.asarray, tree), optax_state, expected)
            expected = optax.apply_updates(expected, change)
            x, state = update(x, tree, state)
            for key in x:
                size = np.abs(start(64, np.float64)).max() + np.abs(x[key])
                # The two sum squares in another order, and DoWG squares the distance: its errors are twice as large.
                assert_same((x[key], size), np.asarray(expected[key]), ulp=8 if name == "dowg" else 4)
