"""like(): names, defaults, order of operations, and the systems that cannot be installed, by their formulas."""

import numpy as np
import pytest

from adagrad_nb import (
    EMA,
    Adadelta,
    Adagrad,
    ClipGlobalNorm,
    ClipNorm,
    ClipValue,
    DecoupledDecay,
    InverseTime,
    L2Decay,
    Piecewise,
    Rescale,
    Shift,
    init,
    like,
    minimize_adagrad,
    update,
)

STEPS = 60


def ours(options, x, gradients):
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


# Each step is written from the source that is named; `t` counts from 0, `s` holds the accumulators.


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


@pytest.mark.parametrize(("formula", "system", "method", "settings"), FORMULAS, ids=lambda item: str(item)[:24])
def test_trajectories_follow_the_formula_of_the_system(formula, system, method, settings, problem):
    x, gradients = problem
    expected, s = x.copy(), {}
    for t, g in enumerate(gradients):
        expected = formula(expected, g, s, t)
    np.testing.assert_allclose(ours(like(system, method, **settings), x, gradients), expected, rtol=1e-12, atol=1e-14)


def test_mxnet_counts_from_one():
    halving = Piecewise((1,), (1.0, 0.5))
    assert like("mxnet2", lr=halving)["lr"] == Shift(halving, 1)
    assert like("torch", lr=halving)["lr"] == halving


@pytest.mark.parametrize(
    ("system", "settings", "expected"),
    [
        ("torch", {}, {"rule": Adagrad(1e-10), "lr": 0.01, "transforms": ()}),
        (
            "torch",
            {"lr_decay": 0.1, "maximize": True, "weight_decay": 0.2},
            {"rule": Adagrad(1e-10), "lr": InverseTime(0.01, 0.1), "transforms": (Rescale(-1.0), L2Decay(0.2))},
        ),
        ("keras", {}, {"rule": Adagrad(1e-7, True, 0.1), "lr": 0.001, "transforms": ()}),
        (
            "keras",
            {"clipvalue": 0.5, "weight_decay": 0.1, "use_ema": True},
            {
                "rule": Adagrad(1e-7, True, 0.1),
                "lr": 0.001,
                "transforms": (ClipValue(0.5), DecoupledDecay(0.1)),
                "average": EMA(0.99),
            },
        ),
        (
            "braintools",
            {"grad_clip_norm": 2.0, "clip_value": 1.0},
            {"rule": Adagrad(1e-10, True), "lr": 0.01, "transforms": (ClipGlobalNorm(2.0), ClipValue(1.0))},
        ),
        ("optax", {"lr": 0.3}, {"rule": Adagrad(1e-7, True, 0.1), "lr": 0.3, "transforms": ()}),
    ],
    ids=str,
)
def test_options_are_those_of_the_system(system, settings, expected):
    assert like(system, **settings) == expected


def test_our_names_and_theirs_mean_the_same():
    assert like("keras", lr=0.1, eps=1e-3, initial_accumulator=0.5, clip_norm=1.0) == like(
        "keras", learning_rate=0.1, epsilon=1e-3, initial_accumulator_value=0.5, clipnorm=1.0
    )
    assert like("torch", "adadelta", rho=0.5)["rule"] == Adadelta(0.5, 1e-6)


def test_options_fit_every_driver():
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
        (("torch", "adam"), {}, "adagrad, adadelta"),
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
def test_what_is_wrong_is_said(arguments, settings, part):
    with pytest.raises(ValueError) as caught:
        like(*arguments, **settings)
    assert part in str(caught.value)


@pytest.mark.parametrize("rho", [-0.1, 1.0, float("nan")])
def test_rho_is_in_its_range(rho):
    with pytest.raises(ValueError, match=r"Adadelta\.rho"):
        init(np.ones(2), **like("torch", "adadelta", rho=rho))
