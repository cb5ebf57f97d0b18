"""Presets of `like`: names, defaults and order of operations, compared with the formulas of each system."""

import numpy as np
import pytest

from adagrad_nb import (
    EMA,
    Accumulate,
    Adadelta,
    Adagrad,
    ClipGlobalNorm,
    ClipNorm,
    ClipValue,
    DecoupledDecay,
    Except,
    Exponential,
    InverseTime,
    L2Decay,
    Maximize,
    Piecewise,
    Polynomial,
    Shift,
    init,
    like,
    minimize_adagrad,
    update,
)

STEPS = 60


def apply_updates(options, x, gradients):
    state = init(x, **options)
    for g in gradients:
        x, state = update(x, g, state)
    return x


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(STEPS, 40)) * 10.0 ** rng.uniform(-6, 3, 40)
    gradients[rng.random(gradients.shape) < 0.2] = 0
    return rng.normal(size=40), gradients


# Each step follows the source in its docstring; `t` counts from 0, and `s` holds the accumulators.


def brainpy(x, g, s, t, lr=0.1, wd=0.01, eps=1e-6):
    """BrainPy 2.8.2, brainpy.optim.Adagrad.update: decay is not multiplied by lr and does not enter G."""
    s["G"] = s.get("G", 0) + g**2
    return (1 - wd) * x - lr * g / np.sqrt(s["G"] + eps)


def mxnet1(x, g, s, t, lr=0.1, wd=0.01, eps=1e-7, rescale=0.5, clip=2.0):
    """MXNet 1.9.1, mx.optimizer.AdaGrad.update, dense: rescale, clip, then p += (d + p wd) (-lr)."""
    g = np.clip(g * rescale, -clip, clip)
    s["G"] = s.get("G", 0) + g**2
    return x + (g / np.sqrt(s["G"] + eps) + x * wd) * -lr


def mxnet2(x, g, s, t, lr=0.1, wd=0.01, eps=1e-6, rescale=0.5, clip=2.0):
    """MXNet 2.0, mx.optimizer.AdaGrad.step: rescale, clip, then the decay enters the gradient."""
    g = np.clip(g * rescale, -clip, clip) + wd * x
    s["G"] = s.get("G", 0) + g**2
    return x - lr * (g / (np.sqrt(s["G"]) + eps))


def tensorflow(x, g, s, t, lr=0.1, eps=1e-7):
    """TensorFlow, ApplyAdagradV2: p -= (g lr) / (sqrt(G) + eps), accumulators from 0.1."""
    s["G"] = s.get("G", 0.1) + g**2
    return x - g * lr / (np.sqrt(s["G"]) + eps)


def duchi(x, g, s, t, lr=0.1, delta=0.5):
    """Duchi, Hazan, Singer 2011, figure 1, diagonal, composite mirror descent without a regulariser."""
    s["G"] = s.get("G", 0) + g**2
    return x - lr * g / (delta + np.sqrt(s["G"]))


def braintools(x, g, s, t, lr=0.1, wd=0.01, eps=1e-10, lr_decay=0.05, norm=5.0, value=1.0):
    """braintools 0.3.0: clip_by_global_norm, clip, add_decayed_weights, scale_by_rss, 1 / (1 + t lr_decay)."""
    size = np.linalg.norm(g)
    g = np.clip(g if size < norm else g / size * norm, -value, value) + wd * x
    s["G"] = s.get("G", 0) + g**2
    scaled = np.where(s["G"] > 0, g / np.sqrt(np.where(s["G"] > 0, s["G"] + eps, 1)), 0)
    return x - lr * scaled / (1 + t * lr_decay)


def brainpy_adadelta(x, g, s, t, lr=0.7, wd=0.01, eps=1e-6, rho=0.95):
    """BrainPy 2.8.2, brainpy.optim.Adadelta.update."""
    s["E"] = rho * s.get("E", 0) + (1 - rho) * g**2
    step = g * np.sqrt(s.get("D", 0) + eps) / np.sqrt(s["E"] + eps)
    s["D"] = rho * s.get("D", 0) + (1 - rho) * step**2
    return (1 - wd) * x - lr * step


def mxnet2_adadelta(x, g, s, t, lr=0.7, wd=0.01, eps=1e-6, rho=0.9, rescale=0.5, clip=2.0):
    """MXNet 2.0, mx.optimizer.AdaDelta.step."""
    g = np.clip(g * rescale, -clip, clip) + wd * x
    s["E"] = rho * s.get("E", 0) + (1 - rho) * g**2
    step = np.sqrt(s.get("D", 0) + eps) / np.sqrt(s["E"] + eps) * g
    s["D"] = rho * s.get("D", 0) + (1 - rho) * step**2
    return x - lr * step


FORMULAS = [
    (brainpy, "brainpy", "adagrad", {"lr": 0.1, "weight_decay": 0.01}),
    (mxnet1, "mxnet1", "adagrad", {"learning_rate": 0.1, "wd": 0.01, "rescale_grad": 0.5, "clip_gradient": 2.0}),
    (mxnet2, "mxnet2", "adagrad", {"learning_rate": 0.1, "wd": 0.01, "rescale_grad": 0.5, "clip_gradient": 2.0}),
    (tensorflow, "tensorflow", "adagrad", {"learning_rate": 0.1}),
    (duchi, "duchi", "adagrad", {"lr": 0.1, "delta": 0.5}),
    (
        braintools,
        "braintools",
        "adagrad",
        {"lr": 0.1, "weight_decay": 0.01, "lr_decay": 0.05, "grad_clip_norm": 5.0, "grad_clip_value": 1.0},
    ),
    (brainpy_adadelta, "brainpy", "adadelta", {"lr": 0.7, "weight_decay": 0.01}),
    (
        mxnet2_adadelta,
        "mxnet2",
        "adadelta",
        {"learning_rate": 0.7, "wd": 0.01, "rescale_grad": 0.5, "clip_gradient": 2.0},
    ),
]


@pytest.mark.parametrize(
    ("formula", "system", "method", "settings"), FORMULAS, ids=lambda item: getattr(item, "__name__", str(item)[:24])
)
def test_iterates_follow_the_formula_of_the_system(formula, system, method, settings, problem):
    x, gradients = problem
    expected, s = x.copy(), {}
    for t, g in enumerate(gradients):
        expected = formula(expected, g, s, t)
    np.testing.assert_allclose(
        apply_updates(like(system, method, **settings), x, gradients), expected, rtol=1e-12, atol=1e-14
    )


def test_mxnet_counts_from_one():
    halving = Piecewise((1,), (1.0, 0.5))
    assert like("mxnet2", lr=halving)["lr"] == Shift(halving, 1)
    assert like("torch", lr=halving)["lr"] == halving


@pytest.mark.parametrize(
    ("system", "settings", "expected"),
    [
        ("torch", {}, {"rule": Adagrad(1e-10), "lr": 0.01, "transforms": (), "sparse_decay": "refuse"}),
        (
            "torch",
            {"lr_decay": 0.1, "maximize": True, "weight_decay": 0.2},
            {
                "rule": Adagrad(1e-10),
                "lr": InverseTime(0.01, 0.1),
                "transforms": (Maximize(), L2Decay(0.2)),
                "sparse_decay": "refuse",
            },
        ),
        (
            "keras",
            {},
            {"rule": Adagrad(1e-7, True, 0.1), "lr": 0.001, "transforms": (), "sparse_decay": "whole"},
        ),
        (
            "keras",
            {"clipvalue": 0.5, "weight_decay": 0.1, "use_ema": True},
            {
                "rule": Adagrad(1e-7, True, 0.1),
                "lr": 0.001,
                "transforms": (ClipValue(0.5), DecoupledDecay(0.1)),
                "average": EMA(0.99),
                "sparse_decay": "whole",
            },
        ),
        (
            "keras",
            {
                "gradient_accumulation_steps": 4,
                "clipnorm": 1.0,
                "weight_decay": 0.1,
                "exclude_from_weight_decay": ["b"],
            },
            {
                "rule": Adagrad(1e-7, True, 0.1),
                "lr": 0.001,
                "transforms": (
                    Accumulate(4, "mean", "micro-steps"),
                    ClipNorm(1.0),
                    Except(DecoupledDecay(0.1), ("b",)),
                ),
                "sparse_decay": "whole",
            },
        ),
        (
            "braintools",
            {"grad_clip_norm": 2.0, "clip_value": 1.0},
            {
                "rule": Adagrad(1e-10, True, guarded=True, modulus=True),
                "lr": 0.01,
                "transforms": (ClipGlobalNorm(2.0), ClipValue(1.0)),
            },
        ),
        (
            "optax",
            {"lr": 0.3, "every_k_schedule": 2, "use_grad_mean": False},
            {
                "rule": Adagrad(1e-7, True, 0.1, guarded=True, modulus=True),
                "lr": 0.3,
                "transforms": (Accumulate(2, "sum"),),
            },
        ),
    ],
    ids=str,
)
def test_options_are_those_of_the_system(system, settings, expected):
    assert like(system, **settings) == expected


def test_settings_under_either_name_are_the_same():
    assert like("keras", lr=0.1, eps=1e-3, initial_accumulator=0.5, clip_norm=1.0) == like(
        "keras", learning_rate=0.1, epsilon=1e-3, initial_accumulator_value=0.5, clipnorm=1.0
    )
    assert like("torch", "adadelta", rho=0.5)["rule"] == Adadelta(0.5, 1e-6)


def test_options_fit_the_minimisers():
    def fun(x):
        return 0.5 * x @ x

    res = minimize_adagrad(fun, np.ones(3), jac=lambda x: x, maxiter=500, **like("keras", lr=0.5, clipnorm=1.0))
    assert res.fun < 0.1
    assert res.state.transforms == (ClipNorm(1.0),)


@pytest.mark.parametrize(
    ("arguments", "settings", "part"),
    [
        (("tourch",), {}, "torch, keras, mxnet1"),
        (("jax", "adadelta"), {"lr": 1.0}, "torch, keras, mxnet2, brainpy, braintools, optax"),
        (("torch", "adam"), {}, "adagrad, adadelta, rowwise"),
        (("torch", "rowwise"), {}, "mxnet1, mxnet2, fbgemm"),
        (
            ("fbgemm", "rowwise"),
            {"weight_decay_mode": "l3"},
            "weight_decay_mode: got 'l3'; must be one of 'none', 'l2'",
        ),
        (("keras",), {"gradient_accumulation_steps": 0}, "accumulate: got 0; must be an integer of at least 1"),
        (("optax",), {"lr": 0.1, "every_k_schedule": 1.5}, "accumulate: got 1.5"),
        (("keras",), {"use_ema": True, "ema_momentum": 1.0}, "ema_momentum: got 1.0; must be a number in [0, 1)"),
        (("keras",), {"clipnorm": float("nan")}, "clip_norm: got nan"),
        (("keras",), {"loss_scale_factor": 0.0}, "loss_scale_factor: got 0.0"),
        (("mxnet2",), {"clip_gradient": 0.0}, "clip_value: got 0.0"),
        (("mxnet1",), {"wd": float("nan")}, "weight_decay: got nan"),
        (("jax",), {"lr": 0.1, "momentum": -0.1}, "momentum: got -0.1"),
        (("torch",), {"lr_decay": -0.1}, "lr_decay: got -0.1"),
        (("torch",), {"initial_accumulator_value": -0.1}, "initial_accumulator: got -0.1"),
        (("optax", "adadelta"), {"lr": 0.1, "rho": 1.0}, "rho: got 1.0; must be a number in [0, 1)"),
        (("torch",), {"clipnorm": 1.0}, "clipnorm: torch has no such setting"),
        (("keras",), {"clipnorm": 1.0, "clipvalue": 1.0}, "only one of"),
        (("keras",), {"clipnorm": 1.0, "global_clipnorm": 1.0}, "only one of"),
        (("keras",), {"lr": 0.1, "learning_rate": 0.1}, "twice"),
        (("optax",), {}, "lr: optax has no default"),
        (("torch",), {"lr": -1.0}, "lr: got -1.0"),
        (("torch",), {"lr": float("nan")}, "lr: got nan"),
        (("torch",), {"eps": -1e-3}, "eps: got -0.001"),
        (("torch",), {"weight_decay": -0.1}, "weight_decay: got -0.1"),
        (("keras",), {"clipnorm": 0.0}, "clip_norm: got 0.0"),
        (("keras",), {"clipvalue": -1.0}, "clip_value: got -1.0"),
    ],
    ids=str,
)
def test_errors_name_the_setting(arguments, settings, part):
    with pytest.raises(ValueError) as raised:
        like(*arguments, **settings)
    assert part in str(raised.value)


@pytest.mark.parametrize("rho", [-0.1, 1.0, float("nan")])
def test_rho_outside_its_range_is_rejected(rho):
    with pytest.raises(ValueError, match=r"rho: got "):
        like("torch", "adadelta", rho=rho)
    with pytest.raises(ValueError, match=r"Adadelta\.rho"):
        init(np.ones(2), Adadelta(rho))


# --- row accumulators ----------------------------------------------------------------------------------------------


def group1(x, g, h, lr=0.1, eps=1e-5):
    """MXNet 1.9.1, contrib GroupAdaGrad: history of shape (rows, 1), eps inside the root."""
    h = h + np.mean(g**2, axis=1, keepdims=True)
    return x - lr * g / np.sqrt(h + eps), h


def group2(x, g, h, lr=0.1, eps=1e-6):
    """MXNet 2.0, GroupAdaGrad: eps outside the root."""
    h = h + np.mean(g**2, axis=1, keepdims=True)
    return x - lr * (g / (np.sqrt(h) + eps)), h


def table(x, g, h, lr=0.1, eps=1e-8, wd=0.05):
    """FBGEMM, rowwise_adagrad with WeightDecayMode.L2: the decay enters the statistic and the step."""
    gradient = g + wd * x
    h = h + np.mean(gradient**2, axis=1, keepdims=True)
    m = lr / (np.sqrt(h) + eps)
    return (1 - m * wd) * x - m * g, h


def decoupled(x, g, h, lr=0.1, eps=1e-8, wd=0.05):
    """FBGEMM, rowwise_adagrad with WeightDecayMode.DECOUPLE."""
    h = h + np.mean(g**2, axis=1, keepdims=True)
    return (1 - lr * wd) * x - lr / (np.sqrt(h) + eps) * g, h


@pytest.mark.parametrize(
    ("formula", "system", "settings"),
    [
        (group1, "mxnet1", {}),
        (group2, "mxnet2", {}),
        (table, "fbgemm", {"weight_decay": 0.05, "weight_decay_mode": "l2"}),
        (decoupled, "fbgemm", {"weight_decay": 0.05, "weight_decay_mode": "decouple"}),
    ],
    ids=lambda item: getattr(item, "__name__", None),
)
def test_row_wise_systems(formula, system, settings, rng):
    x = rng.normal(size=(8, 5))
    expected, h = x.copy(), np.zeros((8, 1))
    state = init(x, **like(system, "rowwise", lr=0.1, **settings))
    for step in range(STEPS):
        g = rng.normal(size=x.shape) * 10.0 ** rng.uniform(-6, 3, (8, 1))
        expected, h = formula(expected, g, h)
        x, state = update(x, g if step % 2 else (np.arange(8), g), state)
    np.testing.assert_allclose(x, expected, rtol=1e-12, atol=1e-14)


def test_the_factor_scheduler_of_mxnet():
    """MXNet, FactorScheduler: while num_update > count + step: count += step, base_lr *= factor, down to a floor."""
    base, count, step, factor, floor = 0.5, 0, 4, 0.6, 0.1
    apply_updates = Exponential(0.5, factor, step, staircase=True, final=floor)
    for num_update in range(1, 40):
        while num_update > count + step:
            count += step
            base = max(base * factor, floor)
        assert apply_updates.at(num_update - 1) == pytest.approx(base, rel=1e-14)


def test_the_polynomial_scheduler_of_mxnet():
    """MXNet, PolyScheduler: final_lr + (base_lr - final_lr) (1 - num_update / max_update)**pwr, num_update from 1."""
    apply_updates = like("mxnet2", lr=Polynomial(0.5, 20, 0.01, 2.0))["lr"]
    for num_update in range(1, 30):
        expected = 0.01 + (0.5 - 0.01) * (1 - min(num_update, 20) / 20) ** 2
        assert apply_updates.at(num_update - 1) == pytest.approx(expected, rel=1e-14)
