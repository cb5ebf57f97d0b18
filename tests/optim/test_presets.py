"""Presets of `like`: names, defaults and order of operations, compared with the formulas of each system."""

import numpy as np
import pytest

from adagrad_nb import (
    EMA,
    FTRL,
    RDA,
    Accumulate,
    Adadelta,
    Adagrad,
    ClipGlobalNorm,
    ClipNorm,
    ClipValue,
    DecoupledDecay,
    Except,
    Exponential,
    InverseSqrt,
    InverseTime,
    L2Decay,
    Maximize,
    Only,
    Piecewise,
    Polynomial,
    Rescale,
    Shift,
    SkipNonFinite,
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


def xlearn_ftrl(x, g, s, t, alpha=0.5, beta=0.7, lambda_1=0.02, lambda_2=0.1):
    """xLearn 0.4.4, LinearScore::calc_grad_ftrl, with z from 0 instead of 1."""
    g = lambda_2 * x + g
    old, s["n"] = s.get("n", 1.0), s.get("n", 1.0) + g**2
    s["z"] = s.get("z", 0) + g - (np.sqrt(s["n"]) - np.sqrt(old)) / alpha * x
    solution = (np.sign(s["z"]) * lambda_1 - s["z"]) / ((beta + np.sqrt(s["n"])) / alpha + lambda_2)
    return np.where(np.abs(s["z"]) <= lambda_1, 0.0, solution)


def tensorflow_adagrad_da(x, g, s, t, lr=0.5, l1=0.02, l2=0.1, first=0.3):
    """TensorFlow, ApplyAdagradDA, where global_step counts from 1."""
    s["ga"], s["gg"] = s.get("ga", 0) + g, s.get("gg", first) + g**2
    shrunk = np.sign(s["ga"]) * np.maximum(np.abs(s["ga"]) - l1 * (t + 1), 0)
    return -lr * shrunk / (l2 * (t + 1) * lr + np.sqrt(s["gg"]))


FROM_ZERO = [
    (xlearn_ftrl, "xlearn", "ftrl", {"alpha": 0.5, "beta": 0.7, "lambda_1": 0.02, "lambda_2": 0.1}),
    (
        tensorflow_adagrad_da,
        "tensorflow",
        "adagrad_da",
        {
            "learning_rate": 0.5,
            "initial_gradient_squared_accumulator_value": 0.3,
            "l1_regularization_strength": 0.02,
            "l2_regularization_strength": 0.1,
            "global_step": None,
        },
    ),
]


@pytest.mark.parametrize(("formula", "system", "method", "settings"), FROM_ZERO, ids=["xlearn", "tensorflow"])
def test_iterates_from_zero_follow_the_formula_of_the_system(formula, system, method, settings, problem):
    _, gradients = problem
    gradients = np.clip(gradients, -10, 10)
    x, s = np.zeros(40), {}
    for t, g in enumerate(gradients):
        x = formula(x, g, s, t)
    assert 0 < np.count_nonzero(x) < x.size
    actual = apply_updates(like(system, method, **settings), np.zeros(40), gradients)
    np.testing.assert_allclose(actual, x, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(actual == 0, x == 0)


def test_ftrl_of_vowpal_wabbit_and_defaults():
    assert like("vw", "ftrl") == {"rule": FTRL(1.0), "lr": 0.5, "transforms": ()}
    assert like("vw", "ftrl", ftrl_alpha=0.1, ftrl_beta=0.5, l1=0.1)["rule"] == FTRL(0.5, 0.1)
    assert like("xlearn", "ftrl", lr=0.1)["lr"] == 0.1
    assert like("tensorflow", "adagrad_da", lr=0.1) == {"rule": RDA(0.0, 0.1), "lr": 0.1, "transforms": ()}
    assert like("optax", "cocob", learning_rate=0.5)["transforms"] == (Rescale(0.5),)
    with pytest.raises(ValueError, match="^lr: a schedule scales the gradients"):
        like("optax", "cocob", learning_rate=InverseSqrt(1.0))


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
        (("torch", "adam"), {}, "adagrad, adadelta, ftrl, "),
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


# --- all arguments of the constructors ------------------------------------------------------------------------------

KERAS = {
    "learning_rate": 0.01, "weight_decay": None, "clipnorm": None, "clipvalue": None,
    "global_clipnorm": None, "use_ema": False, "ema_momentum": 0.99, "ema_overwrite_frequency": None,
    "loss_scale_factor": None, "gradient_accumulation_steps": None, "name": "adagrad", "decay": 1e-6,
}  # fmt: skip
MXNET = {
    "rescale_grad": 1.0, "param_idx2name": None, "wd": 0.0, "clip_gradient": None, "learning_rate": 0.01,
    "lr_scheduler": None, "sym": None, "begin_num_update": 0, "multi_precision": False, "param_dict": None,
    "aggregate_num": 4,
}  # fmt: skip
CALLS = [
    ("torch", "adagrad", {
        "params": [np.ones(3)], "lr": 1e-2, "lr_decay": 0, "weight_decay": 0, "initial_accumulator_value": 0,
        "eps": 1e-10, "foreach": True, "maximize": False, "differentiable": False, "fused": None,
    }),
    ("torch", "adadelta", {
        "params": iter([np.ones(3)]), "lr": 1.0, "rho": 0.9, "eps": 1e-6, "weight_decay": 0, "foreach": None,
        "capturable": True, "maximize": False, "differentiable": False,
    }),
    ("keras", "adagrad", {**KERAS, "epsilon": 1e-7, "initial_accumulator_value": 0.1}),
    ("keras", "adadelta", {**KERAS, "epsilon": 1e-7, "rho": 0.95}),
    ("mxnet1", "adagrad", {**MXNET, "eps": 1e-7, "allow_np": False}),
    ("mxnet1", "rowwise", {**MXNET, "eps": 1e-5}),
    ("mxnet2", "adagrad", {**MXNET, "epsilon": 1e-6, "use_fused_step": True}),
    ("mxnet2", "adadelta", {**MXNET, "rho": 0.9, "epsilon": 1e-6, "use_fused_step": False}),
    ("mxnet2", "rowwise", {**MXNET, "epsilon": 1e-6, "use_fused_step": False}),
    ("brainpy", "adagrad", {
        "lr": 0.01, "train_vars": {"w": np.ones(3)}, "weight_decay": None, "epsilon": 1e-6, "name": "a",
    }),
    ("brainpy", "adadelta", {
        "lr": 1.0, "train_vars": None, "weight_decay": None, "epsilon": 1e-6, "rho": 0.95, "name": None,
    }),
    ("braintools", "adagrad", {
        "lr": 1e-2, "lr_decay": 0.0, "weight_decay": 0.0, "initial_accumulator_value": 0.0, "eps": 1e-10,
        "grad_clip_norm": None, "grad_clip_value": None,
    }),
    ("braintools", "adadelta", {
        "lr": 1.0, "rho": 0.9, "eps": 1e-6, "weight_decay": 0.0, "grad_clip_norm": None, "grad_clip_value": None,
    }),
    ("optax", "adagrad", {
        "learning_rate": 0.1, "initial_accumulator_value": 0.1, "eps": 1e-7, "every_k_schedule": 1,
        "use_grad_mean": True, "should_skip_update_fn": None, "accumulator_dtype": np.float32,
    }),
    ("optax", "adadelta", {
        "learning_rate": 1.0, "rho": 0.9, "eps": 1e-6, "weight_decay": 0.0, "weight_decay_mask": None,
    }),
    ("tensorflow", "adagrad", {
        "learning_rate": 0.001, "initial_accumulator_value": 0.1, "epsilon": 1e-7, "name": "Adagrad",
        "clipnorm": None, "clipvalue": None, "global_clipnorm": None, "decay": 0.0, "use_locking": False,
        "gradient_aggregator": None, "gradient_transformers": None,
    }),
    ("keras", "ftrl", {
        **KERAS, "learning_rate_power": -0.5, "initial_accumulator_value": 0.1, "l1_regularization_strength": 0.0,
        "l2_regularization_strength": 0.0, "l2_shrinkage_regularization_strength": 0.0, "beta": 0.0,
    }),
    ("tensorflow", "ftrl", {
        "learning_rate": 0.001, "learning_rate_power": -0.5, "initial_accumulator_value": 0.1,
        "l1_regularization_strength": 0.0, "l2_regularization_strength": 0.0, "use_locking": False, "name": "Ftrl",
        "l2_shrinkage_regularization_strength": 0.0, "beta": 0.0, "clipnorm": None, "accum_name": None,
        "linear_name": None,
    }),
    ("jax", "adagrad", {"step_size": 0.1, "momentum": 0.9}),
    ("duchi", "adagrad", {"lr": 0.1, "delta": 0.0}),
]  # fmt: skip


@pytest.mark.parametrize(("system", "method", "settings"), CALLS, ids=lambda item: item if type(item) is str else "")
def test_all_arguments_of_the_constructor_are_accepted(system, method, settings):
    options = like(system, method, **settings)
    assert init(np.ones((2, 2)), **options).t == 0
    rates = {name: value for name, value in settings.items() if name in ("lr", "learning_rate", "step_size")}
    defaults = like(system, method, **rates)
    assert {**options, "transforms": ()} == {**defaults, "transforms": ()}


def test_parameters_of_torch_are_not_consumed_and_groups_are_refused():
    parameters = iter([1, 2])
    like("torch", params=parameters, lr=0.1)
    assert next(parameters) == 1
    with pytest.raises(ValueError, match=r"^params: got parameter groups; pass .* as lr_scale"):
        like("torch", params=[{"params": [np.ones(2)], "lr": 0.1}])


class FactorScheduler:
    """MXNet's FactorScheduler: calls change it, and it cannot go back."""

    def __init__(self, step, factor, base_lr=0.01, stop_factor_lr=1e-8):
        self.step_length, self.factor, self.base_lr, self.floor, self.count = step, factor, base_lr, stop_factor_lr, 0

    def __call__(self, num_update):
        while num_update > self.count + self.step_length:
            self.count += self.step_length
            self.base_lr = max(self.base_lr * self.factor, self.floor)
        return self.base_lr


@pytest.mark.parametrize(
    ("system", "settings", "base"),
    [
        ("mxnet1", {}, 0.7),
        ("mxnet1", {"learning_rate": 0.3}, 0.3),
        ("mxnet2", {}, 0.01),
        ("mxnet2", {"learning_rate": None}, 0.7),
        ("mxnet2", {"learning_rate": 0.3}, 0.3),
    ],
    ids=str,
)
@pytest.mark.parametrize("begin", [0, 5])
def test_schedulers_of_mxnet(system, settings, base, begin):
    scheduler = FactorScheduler(4, 0.5, 0.7)
    lr = like(system, lr_scheduler=scheduler, begin_num_update=begin, **settings)["lr"]
    assert (scheduler.count, scheduler.base_lr) == (0, 0.7)
    expected = FactorScheduler(4, 0.5, base)
    rates = [expected(begin + t + 1) for t in range(30)]
    assert [lr(t) for t in range(30)] == rates
    assert [lr(t) for t in (20, 3, 29)] == [rates[t] for t in (20, 3, 29)]
    assert scheduler.count == 0


def test_mxnet_counts_all_schedules_from_its_first_update():
    assert like("mxnet2", lr=InverseSqrt(1.0), begin_num_update=6)["lr"] == Shift(InverseSqrt(1.0), 7)
    assert like("mxnet1", lr_scheduler=InverseSqrt(1.0))["lr"] == Shift(InverseSqrt(1.0), 1)
    lr = like("mxnet1", lr=lambda n: 1.0 / n)["lr"]
    assert [lr(t) for t in range(3)] == [1.0, 1.0 / 2, 1.0 / 3]
    assert like("mxnet1")["lr"] == like("mxnet2", learning_rate=None)["lr"] == 0.01


class Parameter:
    """gluon.Parameter: the attributes that an optimiser reads."""

    def __init__(self, name, lr_mult=1.0, wd_mult=1.0):
        self.name, self.lr_mult, self.wd_mult = name, lr_mult, wd_mult


def decayed(options, x):
    """Return the relative decay of each array in a step with zero gradients, in units of lr."""
    zero = {key: np.zeros(1) for key in x} if isinstance(x, dict) else [np.zeros(1) for _ in x]
    new, _ = update(x, zero, init(x, **options))
    keys = x if isinstance(x, dict) else range(len(x))
    return [round(float(1 - new[key][0]) / 0.5, 12) for key in keys]


def test_mxnet_decays_by_the_names_of_the_parameters():
    names = {0: "fc_weight", 1: "fc_bias", 2: "bn_gamma"}
    ones = [np.ones(1), np.ones(1), np.ones(1)]
    options = like("mxnet1", learning_rate=0.5, wd=0.1, param_idx2name=names)
    assert decayed(options, ones) == [0.1, 0.0, 0.1]
    assert decayed(options, dict(zip(names.values(), ones, strict=True))) == [0.1, 0.0, 0.1]
    parameters = {0: Parameter("a"), 1: Parameter("b", wd_mult=0.5), 2: Parameter("c", wd_mult=0.0)}
    options = like("mxnet1", learning_rate=0.5, wd=0.1, param_idx2name=names, param_dict=parameters)
    assert decayed(options, ones) == [0.1, 0.05, 0.0]
    assert like("mxnet2", wd=0.1, param_idx2name=names)["transforms"] == (L2Decay(0.1),)
    decays = like("mxnet2", wd=0.1, param_dict=parameters)["transforms"]
    assert [type(item) for item in decays] == [Except, Only]
    with pytest.raises(ValueError, match=r"^param_dict\[3\]: has lr_mult=2\.0; pass .* lr_scale"):
        like("mxnet1", param_dict={3: Parameter("d", lr_mult=2.0)})


def test_multi_precision_of_mxnet(problem):
    """MXNet updates a float32 copy of a float16 weight, and casts it to the weight."""
    x, gradients = problem
    x, g = x.astype(np.float16), gradients.astype(np.float16)
    state = init(x, **like("mxnet2", learning_rate=1e-3, multi_precision=True))
    master, history = x.astype(np.float32), np.zeros(40, np.float32)
    for gradient in g:
        gradient = gradient.astype(np.float32)
        history += gradient**2
        master -= np.float32(1e-3) * (gradient / (np.sqrt(history) + np.float32(1e-6)))
        x, state = update(x, gradient, state)
        np.testing.assert_allclose(x.astype(float), master.astype(np.float16).astype(float), rtol=1.1e-3)
    np.testing.assert_allclose(state.leaves[0].master, master, rtol=1e-5)


def test_a_weight_decay_mask_selects_arrays():
    x = {"layer1": {"w": np.ones(1), "b": np.ones(1)}, "layer10": np.ones(1), "layer": np.ones(1)}
    mask = {"layer1": True, "layer10": False, "layer": {"w": True}}
    decay = like("optax", "adadelta", lr=1.0, weight_decay=0.1, weight_decay_mask=mask)["transforms"][0]
    chosen = {
        path: decay.for_array(path) == L2Decay(0.1)
        for path in ("x['layer1']['w']", "x['layer1']['b']", "x['layer10']", "x['layer']['w']", "x['layer']")
    }
    assert list(chosen.values()) == [True, True, False, True, False]
    assert init(x, **like("optax", "adadelta", lr=1.0, weight_decay=0.1, weight_decay_mask=mask)).t == 0


def skip_not_finite():
    """Stand for the function of optax of this name."""


@pytest.mark.parametrize(
    ("arguments", "settings", "error", "part"),
    [
        (
            ("optax", "adadelta"),
            {"learning_rate": None},
            ValueError,
            "lr: got None, with which optax.adadelta moves up",
        ),
        (("optax",), {"lr": 0.1, "should_skip_update_fn": len}, ValueError, "should_skip_update_fn: got <built-in"),
        (
            ("optax", "adadelta"),
            {"lr": 0.1, "weight_decay": 0.1, "weight_decay_mask": len},
            TypeError,
            "weight_decay_mask: got a function",
        ),
        (("torch",), {"lr": None}, ValueError, "lr: got None; torch needs a number or a schedule"),
        (("mxnet1",), {"lr_scheduler": 3}, TypeError, "lr_scheduler: got 3; must be a function"),
        (("mxnet1",), {"begin_num_update": -1}, ValueError, "begin_num_update: got -1"),
        (("mxnet1", "rowwise"), {"wd": 0.1}, ValueError, "weight_decay: got 0.1; GroupAdaGrad"),
        (("tensorflow",), {"clipnorm": 1.0, "global_clipnorm": 1.0}, ValueError, "only one of"),
        (("keras", "ftrl"), {"lr": InverseSqrt(0.1)}, ValueError, "lr: FTRL of TensorFlow and Keras"),
        (
            ("keras", "ftrl"),
            {"learning_rate_power": 0.5},
            ValueError,
            "lr_power: got 0.5; must be a number in (-inf, 0]",
        ),
        (("keras", "ftrl"), {"l1": -0.5}, ValueError, "l1: got -0.5"),
        (("tensorflow",), {"gradient_transformers": [len]}, ValueError, "gradient_transformers: must be empty"),
    ],
    ids=str,
)
def test_errors_of_the_arguments(arguments, settings, error, part):
    with pytest.raises(error) as raised:
        like(*arguments, **settings)
    assert part in str(raised.value)


def test_other_arguments_with_an_effect():
    gates = like("optax", lr=0.1, every_k_schedule=2, should_skip_update_fn=skip_not_finite)["transforms"]
    assert gates == (SkipNonFinite(), Accumulate(2, "running mean"))
    clips = like("tensorflow", clipvalue=0.5, clipnorm=2.0)["transforms"]
    assert clips == (ClipValue(0.5), ClipNorm(2.0))
    assert like("tensorflow", lr=0.5, decay=0.1)["lr"] == InverseTime(0.5, 0.1)
    lr = like("torch", lr=lambda t: 0.5**t, lr_decay=0.1)["lr"]
    assert [lr(t) for t in range(4)] == [0.5**t / (1 + 0.1 * t) for t in range(4)]
    lr = like("torch", lr=Piecewise((1,), (1.0, 0.5)), lr_decay=0.1)["lr"]
    assert [lr(t) for t in range(3)] == [1.0, 0.5 / 1.1, 0.5 / 1.2]
    assert like("keras", learning_rate=lambda: 0.25)["lr"](7) == 0.25


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
