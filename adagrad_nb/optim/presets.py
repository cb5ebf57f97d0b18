"""Presets: `like` returns the options that reproduce the optimiser of another library.

Each function ``_SYSTEM_METHOD`` has the settings and defaults of one optimiser, under the names of this package.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from .. import _check
from ..records.averaging import EMA
from ..records.gates import Accumulate
from ..records.rules import Adadelta, Adagrad, MomentumAdagrad, RowAdagrad
from ..records.schedules import InverseTime, Shift
from ..records.transforms import ClipGlobalNorm, ClipNorm, ClipValue, DecoupledDecay, Except, L2Decay, Maximize, Rescale

if TYPE_CHECKING:
    from collections.abc import Callable

# Names of settings in other libraries, and the name here.
SETTING_ALIASES = {
    "learning_rate": "lr",
    "step_size": "lr",
    "epsilon": "eps",
    "delta": "eps",
    "initial_accumulator_value": "initial_accumulator",
    "wd": "weight_decay",
    "clipnorm": "clip_norm",
    "global_clipnorm": "clip_global_norm",
    "grad_clip_norm": "clip_global_norm",
    "clipvalue": "clip_value",
    "clip_gradient": "clip_value",
    "grad_clip_value": "clip_value",
    "rescale_grad": "rescale",
    "max_gradient": "clip_value",
    "gradient_accumulation_steps": "accumulate",
    "every_k_schedule": "accumulate",
    "exclude_from_weight_decay": "exclude",
}


def like(system: str, method: str = "adagrad", **settings: Any) -> dict[str, Any]:
    """Return the options that reproduce the optimiser of another library.

    Parameters
    ----------
    system : {"torch", "keras", "mxnet1", "mxnet2", "brainpy", "braintools", "optax", "tensorflow", "jax", "duchi"}
        The library.  Adadelta: "torch", "keras", "mxnet2", "brainpy", "braintools" and "optax".  Row-wise Adagrad:
        "mxnet1", "mxnet2" (GroupAdaGrad) and "fbgemm".
    method : {"adagrad", "adadelta", "rowwise"}, default "adagrad"
    **settings
        Under the names of this package (``lr eps initial_accumulator weight_decay lr_decay maximize rho momentum
        clip_norm clip_value rescale accumulate``) or those of the system (``learning_rate``, ``clipnorm``,
        ``initial_accumulator_value``, …).  The defaults are those of the system.

    Returns
    -------
    dict
        Keyword arguments of `init` and `minimize_adagrad`: ``rule``, ``lr`` and ``transforms``; ``average`` if it was
        asked for; ``sparse_decay`` if the system does not decay just the coordinates that a sparse gradient lists.

    Raises
    ------
    ValueError
        If the system, the method or a setting is unknown, if settings exclude each other, or if a learning rate
        without a default is missing.

    Notes
    -----
    MXNet counts updates from 1: with "mxnet1" and "mxnet2", a schedule is evaluated at 1, 2, 3, …  Its
    FactorScheduler has decayed (n - 1) // step times at update n, so its schedule counts from 0:
    ``like("mxnet1") | {"lr": Exponential(lr, factor, step, staircase=True, final=stop_factor_lr)}``.

    Examples
    --------
    >>> from adagrad_nb import like
    >>> like("keras", learning_rate=0.01, clipnorm=1.0)["rule"]
    Adagrad(eps=1e-07, inside=True, initial_accumulator=0.1, guarded=False, modulus=False)
    """
    systems = _SYSTEMS.get(method)
    if systems is None:
        raise ValueError(f"method: got {method!r}; must be one of {', '.join(_SYSTEMS)}")
    if system not in systems:
        raise ValueError(f"system: got {system!r}; for {method} it must be one of {', '.join(systems)}")
    factory = systems[system]
    settings_of_system = inspect.signature(factory).parameters
    given = {}
    for name, value in settings.items():
        setting = SETTING_ALIASES.get(name, name)
        if setting not in settings_of_system:
            aliases = {alias for alias, target in SETTING_ALIASES.items() if target in settings_of_system}
            raise ValueError(
                f"{name}: {system} has no such setting; it has {', '.join(sorted(settings_of_system))} "
                f"(also known as {', '.join(sorted(aliases))})"
            )
        if setting in given:
            raise ValueError(f"{name}: got the setting twice, under two of its names")
        given[setting] = value
    missing = [name for name, item in settings_of_system.items() if item.default is item.empty and name not in given]
    if missing:
        raise ValueError(f"{missing[0]}: {system} has no default for it; pass {missing[0]}=…")
    _check_settings(given)
    options = factory(**given)
    return {**options, "transforms": tuple(item for item in options["transforms"] if item is not None)}


def _check_settings(given):
    """Check settings that become fields of another name, so that messages have the name that the caller used."""
    for name in ("lr", "eps", "initial_accumulator", "lr_decay"):
        if name in given and not hasattr(given[name], "_fields") and not callable(given[name]):
            _check.in_interval(name, given[name], "[0, inf)")
    for name in ("weight_decay", "clip_norm", "clip_value", "clip_global_norm", "loss_scale_factor"):
        if given.get(name) is not None:
            _check.in_interval(name, given[name], "[0, inf)" if name == "weight_decay" else "(0, inf)")
    if given.get("accumulate") is not None:
        _check.positive_count("accumulate", given["accumulate"])
    for name in ("maximize", "use_ema", "use_grad_mean"):
        if name in given:
            _check.boolean(name, given[name])
    for name in ("rho", "momentum", "ema_momentum"):
        if name in given:
            _check.in_interval(name, given[name], "[0, 1)")


def _transform_if_set(record, value):
    """Return a transform, or None if its setting is None or zero."""
    return record(value) if value else None


# --- Adagrad -----------------------------------------------------------------------------------------------------


def _torch_adagrad(lr=0.01, lr_decay=0.0, weight_decay=0.0, initial_accumulator=0.0, eps=1e-10, maximize=False):
    # The decay is added after the gradient is negated, so it shrinks x also if the objective is maximised.
    return {
        "rule": Adagrad(eps, False, initial_accumulator),
        "lr": InverseTime(lr, lr_decay) if lr_decay else lr,
        "transforms": (Maximize() if maximize else None, _transform_if_set(L2Decay, weight_decay)),
        "sparse_decay": "refuse",
    }


def _keras_adagrad(
    lr=0.001, initial_accumulator=0.1, eps=1e-7, weight_decay=None, clip_norm=None, clip_value=None,
    clip_global_norm=None, use_ema=False, ema_momentum=0.99, ema_overwrite_frequency=None, loss_scale_factor=None,
    accumulate=None, exclude=None,
):  # fmt: skip
    if sum(clip is not None for clip in (clip_norm, clip_value, clip_global_norm)) > 1:
        raise ValueError("clipnorm: Keras takes only one of clipnorm, clipvalue and global_clipnorm")
    options = {
        "rule": Adagrad(eps, True, initial_accumulator),
        "lr": lr,
        "transforms": (
            None if loss_scale_factor is None else Rescale(1.0 / loss_scale_factor),
            None if accumulate is None else Accumulate(accumulate, "mean", "micro-steps"),
            _transform_if_set(ClipNorm, clip_norm),
            _transform_if_set(ClipGlobalNorm, clip_global_norm),
            _transform_if_set(ClipValue, clip_value),
            _exclude_arrays(_transform_if_set(DecoupledDecay, weight_decay), exclude),
        ),
        "sparse_decay": "whole",
    }
    return options | ({"average": EMA(ema_momentum, ema_overwrite_frequency or 0)} if use_ema else {})


def _exclude_arrays(decay, exclude):
    """Return a decay that excludes the arrays whose path matches a pattern."""
    if decay is None or not exclude:
        return decay
    return Except(decay, exclude if isinstance(exclude, str) else tuple(exclude))


def _mxnet1_adagrad(lr=0.01, eps=1e-7, weight_decay=0.0, rescale=1.0, clip_value=None):
    return {
        "rule": Adagrad(eps, True),
        "lr": _count_from_one(lr),
        "transforms": (*_mxnet_gradient(rescale, clip_value), _transform_if_set(DecoupledDecay, weight_decay)),
        "sparse_decay": "refuse",
    }


def _mxnet2_adagrad(lr=0.01, eps=1e-6, weight_decay=0.0, rescale=1.0, clip_value=None):
    return {
        "rule": Adagrad(eps, False),
        "lr": _count_from_one(lr),
        "transforms": (*_mxnet_gradient(rescale, clip_value), _transform_if_set(L2Decay, weight_decay)),
        "sparse_decay": "refuse",
    }


def _mxnet_gradient(rescale, clip_value):
    """Return the transforms of the gradient that all optimisers of MXNet have."""
    return (Rescale(float(rescale)) if rescale != 1 else None, _transform_if_set(ClipValue, clip_value))


def _count_from_one(lr):
    """Return a schedule that is evaluated at t + 1, since MXNet counts updates from 1."""
    return Shift(lr, 1) if hasattr(lr, "_fields") else lr


def _brainpy_adagrad(lr, weight_decay=None, eps=1e-6):
    decay = None if not weight_decay else DecoupledDecay(weight_decay, times_lr=False)
    return {"rule": Adagrad(eps, True), "lr": lr, "transforms": (decay,)}


def _braintools_adagrad(
    lr=0.01, lr_decay=0.0, weight_decay=0.0, initial_accumulator=0.0, eps=1e-10, clip_global_norm=None, clip_value=None
):
    # The docstring has eps outside the square root, the code has it inside.
    return {
        "rule": Adagrad(eps, True, initial_accumulator, guarded=True, modulus=True),
        "lr": InverseTime(lr, lr_decay) if lr_decay else lr,
        "transforms": _braintools_gradient(clip_global_norm, clip_value, weight_decay),
    }


def _braintools_gradient(clip_global_norm, clip_value, weight_decay):
    """Return the transforms of the gradient that all optimisers of braintools have."""
    clips = (_transform_if_set(ClipGlobalNorm, clip_global_norm), _transform_if_set(ClipValue, clip_value))
    return (*clips, _transform_if_set(L2Decay, weight_decay))


def _optax_adagrad(lr, initial_accumulator=0.1, eps=1e-7, accumulate=None, use_grad_mean=True):
    rule = Adagrad(eps, True, initial_accumulator, guarded=True, modulus=True)
    return {"rule": rule, "lr": lr, "transforms": (_multi_steps(accumulate, use_grad_mean),)}


def _multi_steps(every, mean):
    """Return the accumulation of optax.MultiSteps, or None."""
    return None if every is None else Accumulate(every, "running mean" if mean else "sum")


def _tensorflow_adagrad(lr=0.001, initial_accumulator=0.1, eps=1e-7):
    return {"rule": Adagrad(eps, False, initial_accumulator), "lr": lr, "transforms": ()}


def _jax_adagrad(lr, momentum=0.9):
    return {"rule": MomentumAdagrad(momentum), "lr": lr, "transforms": ()}


def _duchi_adagrad(lr, eps=0.0):
    return {"rule": Adagrad(eps, False), "lr": lr, "transforms": ()}


# --- Adadelta ----------------------------------------------------------------------------------------------------


def _torch_adadelta(lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0, maximize=False):
    return {**_torch_adagrad(lr, 0.0, weight_decay, maximize=maximize), "rule": Adadelta(rho, eps)}


def _keras_adadelta(
    lr=0.001, rho=0.95, eps=1e-7, weight_decay=None, clip_norm=None, clip_value=None, clip_global_norm=None,
    use_ema=False, ema_momentum=0.99, ema_overwrite_frequency=None, loss_scale_factor=None, accumulate=None,
    exclude=None,
):  # fmt: skip
    options = _keras_adagrad(
        lr, 0.0, eps, weight_decay, clip_norm, clip_value, clip_global_norm, use_ema, ema_momentum,
        ema_overwrite_frequency, loss_scale_factor, accumulate, exclude,
    )  # fmt: skip
    return {**options, "rule": Adadelta(rho, eps)}


def _mxnet2_adadelta(lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0, rescale=1.0, clip_value=None):
    return {**_mxnet2_adagrad(lr, eps, weight_decay, rescale, clip_value), "rule": Adadelta(rho, eps)}


def _brainpy_adadelta(lr=1.0, weight_decay=None, eps=1e-6, rho=0.95):
    return {**_brainpy_adagrad(lr, weight_decay, eps), "rule": Adadelta(rho, eps)}


def _braintools_adadelta(lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0, clip_global_norm=None, clip_value=None):
    transforms = _braintools_gradient(clip_global_norm, clip_value, weight_decay)
    return {"rule": Adadelta(rho, eps), "lr": lr, "transforms": transforms}


def _optax_adadelta(lr, rho=0.9, eps=1e-6, weight_decay=0.0, accumulate=None, use_grad_mean=True):
    # Without a learning rate optax takes ascent steps; here lr is required.
    transforms = (_multi_steps(accumulate, use_grad_mean), _transform_if_set(L2Decay, weight_decay))
    return {"rule": Adadelta(rho, eps), "lr": lr, "transforms": transforms}


# --- one accumulator per row -------------------------------------------------------------------------------------


def _mxnet1_rowwise(lr=0.01, eps=1e-5, rescale=1.0, clip_value=None):
    return {
        "rule": RowAdagrad(eps, True),
        "lr": _count_from_one(lr),
        "transforms": _mxnet_gradient(rescale, clip_value),
    }


def _mxnet2_rowwise(lr=0.01, eps=1e-6, rescale=1.0, clip_value=None):
    return {
        "rule": RowAdagrad(eps, False),
        "lr": _count_from_one(lr),
        "transforms": _mxnet_gradient(rescale, clip_value),
    }


def _fbgemm_rowwise(lr=0.01, eps=1e-8, weight_decay=0.0, weight_decay_mode="none", clip_value=None):
    modes = {"none": lambda strength: None, "l2": L2Decay, "decouple": DecoupledDecay}
    decay = modes[_check.one_of("weight_decay_mode", weight_decay_mode, tuple(modes))]
    transforms = (_transform_if_set(ClipValue, clip_value), _transform_if_set(decay, weight_decay))
    return {"rule": RowAdagrad(eps, False), "lr": lr, "transforms": transforms}


_SYSTEMS: dict[str, dict[str, Callable[..., dict[str, Any]]]] = {
    "adagrad": {
        "torch": _torch_adagrad,
        "keras": _keras_adagrad,
        "mxnet1": _mxnet1_adagrad,
        "mxnet2": _mxnet2_adagrad,
        "brainpy": _brainpy_adagrad,
        "braintools": _braintools_adagrad,
        "optax": _optax_adagrad,
        "tensorflow": _tensorflow_adagrad,
        "jax": _jax_adagrad,
        "duchi": _duchi_adagrad,
    },
    "adadelta": {
        "torch": _torch_adadelta,
        "keras": _keras_adadelta,
        "mxnet2": _mxnet2_adadelta,
        "brainpy": _brainpy_adadelta,
        "braintools": _braintools_adadelta,
        "optax": _optax_adadelta,
    },
    "rowwise": {"mxnet1": _mxnet1_rowwise, "mxnet2": _mxnet2_rowwise, "fbgemm": _fbgemm_rowwise},
}
