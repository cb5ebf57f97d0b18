"""Presets: `like` returns the options that reproduce the optimiser of another library.

Each function ``_SYSTEM_METHOD`` has the settings and defaults of one optimiser, under the names of this package.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

from .. import _check
from ..records.adagrad_variants import MADGRAD
from ..records.averaging import EMA
from ..records.coin_betting import COCOB
from ..records.dual_averaging import FTRL, RDA, PowerFTRL
from ..records.gates import Accumulate, SkipNonFinite
from ..records.penalties import ElasticNet
from ..records.rules import Adadelta, Adagrad, MomentumAdagrad, RowAdagrad
from ..records.schedules import InverseTime
from ..records.transforms import (
    ClipGlobalNorm,
    ClipNorm,
    ClipValue,
    DecoupledDecay,
    Except,
    L2Decay,
    MasterCopy,
    Maximize,
    Only,
    Rescale,
)
from .external_schedules import DecayedRates, NumberedRates, accepts_arguments, as_schedule, shift_schedule
from .trees import walk

if TYPE_CHECKING:
    from collections.abc import Callable

# Names of settings in other libraries, and the name here.
SETTING_ALIASES = {
    "learning_rate": "lr",
    "step_size": "lr",
    "epsilon": "eps",
    "delta": "eps",
    "initial_accumulator_value": "initial_accumulator",
    "initial_gradient_squared_accumulator_value": "initial_accumulator",
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
    "learning_rate_power": "lr_power",
    "l1_regularization_strength": "l1",
    "l2_regularization_strength": "l2",
    "l2_shrinkage_regularization_strength": "l2_shrinkage",
    "l1_strength": "l1",
    "l2_strength": "l2",
    "ftrl_alpha": "lr",
    "ftrl_beta": "beta",
    "lambda_1": "l1",
    "lambda_2": "l2",
    "mask": "weight_decay_mask",
}

# Arguments of the constructors that do not change the numbers.  They are accepted and ignored.
NO_EFFECT = {
    "torch": ("foreach", "fused", "differentiable", "capturable"),
    "keras": ("name", "decay"),  # Keras 3 warns about `decay` and ignores it
    "mxnet1": ("aggregate_num", "allow_np"),
    "mxnet2": ("aggregate_num", "use_fused_step"),
    "brainpy": ("name", "train_vars"),
    "optax": ("accumulator_dtype",),
    "tensorflow": ("accum_name", "global_step", "gradient_aggregator", "linear_name", "name", "use_locking"),
}


def like(system: str, method: str = "adagrad", **settings: Any) -> dict[str, Any]:
    """Return the options that reproduce the optimiser of another library.

    Parameters
    ----------
    system : {"torch", "keras", "mxnet1", "mxnet2", "brainpy", "braintools", "optax", "tensorflow", "jax", "duchi"}
        The library.  Adadelta: "torch", "keras", "mxnet2", "brainpy", "braintools" and "optax".  FTRL: "keras",
        "tensorflow", "vw" and "xlearn".  Row-wise Adagrad: "mxnet1", "mxnet2" (GroupAdaGrad) and "fbgemm".
        AdagradDA: "tensorflow".  COCOB and MADGRAD: "optax".
    method : {"adagrad", "adadelta", "ftrl", "rowwise", "adagrad_da", "cocob", "madgrad"}, default "adagrad"
    **settings
        Under the names of this package (``lr eps initial_accumulator weight_decay lr_decay maximize rho momentum
        clip_norm clip_value rescale accumulate``) or those of the system (``learning_rate``, ``clipnorm``,
        ``initial_accumulator_value``, …).  All arguments of the system's constructor are accepted, with its defaults.
        Those that do not change the numbers are ignored: ``name``, ``foreach``, ``fused``, ``differentiable``,
        ``capturable``, ``train_vars``, ``use_fused_step``, ``aggregate_num``, ``use_locking``, …

    Returns
    -------
    dict
        Keyword arguments of `init` and `minimize_adagrad`: ``rule``, ``lr`` and ``transforms``; ``average`` if it was
        asked for; ``penalty`` for AdagradDA with ``l1`` or ``l2``; ``sparse_decay`` if the system does not decay just
        the coordinates that a sparse gradient lists.

    Raises
    ------
    ValueError
        If the system, the method or a setting is unknown, if settings exclude each other, or if a learning rate
        without a default is missing.

    Notes
    -----
    ``lr`` may be a schedule of the system: of Keras, optax or BrainPy, a ``torch.optim.lr_scheduler`` or a scheduler of
    braintools, which then takes one step after each update.  A copy is used, so the scheduler itself does not change;
    it must be new.  Schedules of the loss are refused; see `ReduceOnPlateau`.

    MXNet counts updates from 1: with "mxnet1" and "mxnet2", a schedule is evaluated at ``begin_num_update`` + 1, + 2,
    …, and so is ``lr_scheduler``.  As there, a ``learning_rate`` replaces the initial rate of the scheduler, and 0.01,
    the default of MXNet 2, does so too; ``learning_rate=None`` keeps it.

    AdagradDA of TensorFlow forgets the start at the first update; here a start other than 0 is kept until the first
    non-zero gradient.  FTRL of xLearn starts z at 1; here z starts at 0, as in the paper.

    16-bit arrays have float32 accumulators also without MXNet's ``multi_precision=True``, which adds a `MasterCopy`.

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
    given: dict[str, Any] = {}
    for name, value in settings.items():
        if name in NO_EFFECT.get(system, ()):
            continue
        setting = SETTING_ALIASES.get(name, name)
        if setting not in settings_of_system:
            aliases = {alias for alias, target in SETTING_ALIASES.items() if target in settings_of_system}
            ignored = f"; ignored are {', '.join(NO_EFFECT[system])}" if system in NO_EFFECT else ""
            raise ValueError(
                f"{name}: {system} has no such setting; it has {', '.join(sorted(settings_of_system))} "
                f"(also known as {', '.join(sorted(aliases))}){ignored}"
            )
        if setting in given:
            raise ValueError(f"{name}: got the setting twice, under two of its names")
        given[setting] = value
    missing = [name for name, item in settings_of_system.items() if item.default is item.empty and name not in given]
    if missing:
        raise ValueError(f"{missing[0]}: {system} has no default for it; pass {missing[0]}=…")
    if "lr" in given:
        given["lr"] = as_schedule(given["lr"])
    if given.get("lr", 0.0) is None and "lr_scheduler" not in settings_of_system and factory is not _optax_adadelta:
        raise ValueError(f"lr: got None; {system} needs a number or a schedule")
    _check_settings(given)
    options = factory(**given)
    return {**options, "transforms": tuple(item for item in options["transforms"] if item is not None)}


def _check_settings(given):
    """Check settings that become fields of another name, so that messages have the name that the caller used."""
    for name in ("lr", "eps", "initial_accumulator", "lr_decay", "decay"):
        value = given.get(name)
        if value is not None and not hasattr(value, "_fields") and not callable(value):
            _check.in_interval(name, value, "[0, inf)")
    for name in ("weight_decay", "clip_norm", "clip_value", "clip_global_norm", "loss_scale_factor"):
        if given.get(name) is not None:
            _check.in_interval(name, given[name], "[0, inf)" if name == "weight_decay" else "(0, inf)")
    if isinstance(given.get("accumulate"), (bool, int, float)):
        _check.positive_count("accumulate", given["accumulate"])
    if "begin_num_update" in given:
        _check.count("begin_num_update", given["begin_num_update"])
    for name in ("maximize", "use_ema", "use_grad_mean", "multi_precision"):
        if name in given:
            _check.boolean(name, given[name])
    for name in ("l1", "l2", "l2_shrinkage", "beta"):
        if name in given:
            _check.in_interval(name, given[name], "[0, inf)")
    if "lr_power" in given:
        _check.in_interval("lr_power", given["lr_power"], "(-inf, 0]")
    for name in ("rho", "momentum", "ema_momentum"):
        if name in given:
            _check.in_interval(name, given[name], "[0, 1)")


def _transform_if_set(record, value):
    """Return a transform, or None if its setting is None or zero."""
    return record(value) if value else None


# --- Adagrad -----------------------------------------------------------------------------------------------------


def _decayed_rate(lr, decay):
    """Return lr / (1 + decay t), where lr is a number or a schedule."""
    if not decay:
        return lr
    return DecayedRates(lr, decay) if hasattr(lr, "_fields") or callable(lr) else InverseTime(lr, decay)


def _check_parameter_groups(params):
    """Raise if parameters come in groups, which may have settings of their own."""
    if isinstance(params, (list, tuple)) and any(isinstance(item, dict) for item in params):
        raise ValueError(
            "params: got parameter groups; pass the parameters as x to init, their learning rates as lr_scale, and "
            "their weight decay as Only(L2Decay(…), name)"
        )


def _torch_adagrad(
    lr=0.01, lr_decay=0.0, weight_decay=0.0, initial_accumulator=0.0, eps=1e-10, maximize=False, params=None
):
    _check_parameter_groups(params)
    # The decay is added after the gradient is negated, so it shrinks x also if the objective is maximised.
    return {
        "rule": Adagrad(eps, False, initial_accumulator),
        "lr": _decayed_rate(lr, lr_decay),
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
        "lr": _call_without_arguments(lr),
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


def _call_without_arguments(lr):
    """Return a learning rate; a function without arguments, which Keras accepts, as a function of t."""
    if hasattr(lr, "_fields") or not callable(lr) or accepts_arguments(lr, 0):
        return lr
    return lambda t: float(lr())


def _exclude_arrays(decay, exclude):
    """Return a decay that excludes the arrays whose path matches a pattern."""
    if decay is None or not exclude:
        return decay
    return Except(decay, exclude if isinstance(exclude, str) else tuple(exclude))


def _mxnet1_adagrad(
    lr=None, eps=1e-7, weight_decay=0.0, rescale=1.0, clip_value=None, lr_scheduler=None, begin_num_update=0,
    multi_precision=False, param_idx2name=None, param_dict=None, sym=None,
):  # fmt: skip
    # Version 1 does not decay parameters whose name is known and has neither of these ends.
    names = {i: name for i, name in (param_idx2name or {}).items() if not name.endswith(("_weight", "_gamma"))}
    factors = dict.fromkeys(names, 0.0)
    return {
        "rule": Adagrad(eps, True),
        "lr": _mxnet_rate(lr, lr_scheduler, begin_num_update),
        "transforms": (
            MasterCopy() if multi_precision else None,
            *_mxnet_gradient(rescale, clip_value),
            *_mxnet_decays(DecoupledDecay, weight_decay, factors, param_idx2name, param_dict, sym),
        ),
        "sparse_decay": "refuse",
    }


def _mxnet2_adagrad(
    lr=0.01, eps=1e-6, weight_decay=0.0, rescale=1.0, clip_value=None, lr_scheduler=None, begin_num_update=0,
    multi_precision=False, param_idx2name=None, param_dict=None, sym=None,
):  # fmt: skip
    return {
        "rule": Adagrad(eps, False),
        "lr": _mxnet_rate(lr, lr_scheduler, begin_num_update),
        "transforms": (
            MasterCopy() if multi_precision else None,
            *_mxnet_gradient(rescale, clip_value),
            *_mxnet_decays(L2Decay, weight_decay, {}, param_idx2name, param_dict, sym),
        ),
        "sparse_decay": "refuse",
    }


def _mxnet_gradient(rescale, clip_value):
    """Return the transforms of the gradient that all optimisers of MXNet have."""
    return (Rescale(float(rescale)) if rescale != 1 else None, _transform_if_set(ClipValue, clip_value))


def _mxnet_rate(lr, lr_scheduler, begin_num_update):
    """Return the learning rate of an optimiser of MXNet, which counts updates from `begin_num_update` + 1 on."""
    first = begin_num_update + 1
    if lr_scheduler is None:
        return 0.01 if lr is None else shift_schedule(lr, first)
    if hasattr(lr_scheduler, "_fields"):
        return shift_schedule(lr_scheduler, first)
    if not callable(lr_scheduler):
        raise TypeError(f"lr_scheduler: got {lr_scheduler!r}; must be a function of the number of updates")
    return NumberedRates(lr_scheduler, first, base_lr=lr)


def _mxnet_decays(record, weight_decay, factors, param_idx2name, param_dict, sym):
    """Return the weight decay of all arrays, with a factor for some: that of their name or of their parameter."""
    names = dict(param_idx2name or {})
    factors = dict(factors)
    if sym is not None:
        attributes = sym.attr_dict()
        for i, name in names.items():
            _check_rate_factor(f"sym: {name}", float(attributes.get(name, {}).get("__lr_mult__", 1.0)))
            if "__wd_mult__" in attributes.get(name, {}):
                factors[i] = float(attributes[name]["__wd_mult__"])
    for i, parameter in (param_dict or {}).items():
        _check_rate_factor(f"param_dict[{i!r}]", parameter.lr_mult)
        factors[i], names[i] = float(parameter.wd_mult), parameter.name
    if not weight_decay:
        return ()
    patterns: dict[float, tuple] = {}
    for i, factor in factors.items():
        if factor != 1:
            patterns[factor] = (*patterns.get(factor, ()), _array_pattern(i, names.get(i)))
    if not patterns:
        return (record(weight_decay),)
    others = Except(record(weight_decay), tuple(pattern for group in patterns.values() for pattern in group))
    scaled = (Only(record(weight_decay * factor), group) for factor, group in patterns.items() if factor)
    return (others, *scaled)


def _check_rate_factor(name, factor):
    """Raise if a parameter has a factor of its learning rate."""
    if factor != 1:
        raise ValueError(f"{name}: has lr_mult={factor}; pass factors of the learning rate to init as lr_scale=…")


def _array_pattern(i, name):
    """Return the regular expression of the array with this index in a list, or with this key in a dict."""
    keys = [repr(i)] if name is None else [repr(i), repr(name)]
    single = "|^x$" if i == 0 else ""
    return "|".join(rf"^x\[{re.escape(key)}\]$" for key in keys) + single


def _brainpy_adagrad(lr, weight_decay=None, eps=1e-6):
    decay = None if not weight_decay else DecoupledDecay(weight_decay, times_lr=False)
    return {"rule": Adagrad(eps, True), "lr": lr, "transforms": (decay,)}


def _braintools_adagrad(
    lr=0.01, lr_decay=0.0, weight_decay=0.0, initial_accumulator=0.0, eps=1e-10, clip_global_norm=None, clip_value=None
):
    # The docstring has eps outside the square root, the code has it inside.
    return {
        "rule": Adagrad(eps, True, initial_accumulator, guarded=True, modulus=True),
        "lr": _decayed_rate(lr, lr_decay),
        "transforms": _braintools_gradient(clip_global_norm, clip_value, weight_decay),
    }


def _braintools_gradient(clip_global_norm, clip_value, weight_decay):
    """Return the transforms of the gradient that all optimisers of braintools have."""
    clips = (_transform_if_set(ClipGlobalNorm, clip_global_norm), _transform_if_set(ClipValue, clip_value))
    return (*clips, _transform_if_set(L2Decay, weight_decay))


def _optax_adagrad(
    lr, initial_accumulator=0.1, eps=1e-7, accumulate=None, use_grad_mean=True, should_skip_update_fn=None
):
    rule = Adagrad(eps, True, initial_accumulator, guarded=True, modulus=True)
    return {"rule": rule, "lr": lr, "transforms": _multi_steps(accumulate, use_grad_mean, should_skip_update_fn)}


def _multi_steps(every, mean, should_skip):
    """Return the gates of optax.MultiSteps."""
    if should_skip is not None and getattr(should_skip, "__name__", "") != "skip_not_finite":
        raise ValueError(
            f"should_skip_update_fn: got {should_skip!r}; must be None or optax.skip_not_finite.  Call update only for "
            "the gradients that are not to be skipped"
        )
    accumulation = None if every is None else Accumulate(every, "running mean" if mean else "sum")
    return (None if should_skip is None else SkipNonFinite(), accumulation)


def _tensorflow_adagrad(
    lr=0.001, initial_accumulator=0.1, eps=1e-7, clip_value=None, clip_norm=None, clip_global_norm=None, decay=0.0,
    gradient_transformers=None,
):  # fmt: skip
    if clip_norm is not None and clip_global_norm is not None:
        raise ValueError("clipnorm: TensorFlow takes only one of clipnorm and global_clipnorm")
    if gradient_transformers:
        raise ValueError("gradient_transformers: must be empty; transform the gradient before update")
    return {
        "rule": Adagrad(eps, False, initial_accumulator),
        "lr": _decayed_rate(_call_without_arguments(lr), decay),
        "transforms": (
            _transform_if_set(ClipValue, clip_value),
            _transform_if_set(ClipNorm, clip_norm),
            _transform_if_set(ClipGlobalNorm, clip_global_norm),
        ),
    }


def _jax_adagrad(lr, momentum=0.9):
    return {"rule": MomentumAdagrad(momentum), "lr": lr, "transforms": ()}


def _duchi_adagrad(lr, eps=0.0):
    return {"rule": Adagrad(eps, False), "lr": lr, "transforms": ()}


# --- Adadelta ----------------------------------------------------------------------------------------------------


def _torch_adadelta(lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0, maximize=False, params=None):
    return {**_torch_adagrad(lr, 0.0, weight_decay, maximize=maximize, params=params), "rule": Adadelta(rho, eps)}


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


def _mxnet2_adadelta(
    lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0, rescale=1.0, clip_value=None, lr_scheduler=None, begin_num_update=0,
    multi_precision=False, param_idx2name=None, param_dict=None, sym=None,
):  # fmt: skip
    options = _mxnet2_adagrad(
        lr, eps, weight_decay, rescale, clip_value, lr_scheduler, begin_num_update, multi_precision, param_idx2name,
        param_dict, sym,
    )  # fmt: skip
    return {**options, "rule": Adadelta(rho, eps)}


def _brainpy_adadelta(lr=1.0, weight_decay=None, eps=1e-6, rho=0.95):
    return {**_brainpy_adagrad(lr, weight_decay, eps), "rule": Adadelta(rho, eps)}


def _braintools_adadelta(lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0, clip_global_norm=None, clip_value=None):
    transforms = _braintools_gradient(clip_global_norm, clip_value, weight_decay)
    return {"rule": Adadelta(rho, eps), "lr": lr, "transforms": transforms}


def _optax_adadelta(
    lr, rho=0.9, eps=1e-6, weight_decay=0.0, accumulate=None, use_grad_mean=True, should_skip_update_fn=None,
    weight_decay_mask=None,
):  # fmt: skip
    if lr is None:
        raise ValueError("lr: got None, with which optax.adadelta moves up the gradient; pass learning_rate=1.0")
    decay = _select_arrays(_transform_if_set(L2Decay, weight_decay), weight_decay_mask)
    transforms = (*_multi_steps(accumulate, use_grad_mean, should_skip_update_fn), decay)
    return {"rule": Adadelta(rho, eps), "lr": lr, "transforms": transforms}


def _select_arrays(record, mask):
    """Return a transform for the arrays, or containers of arrays, of a tree whose entry in the mask is true."""
    if record is None or mask is None:
        return record
    if callable(mask):
        raise TypeError("weight_decay_mask: got a function; pass the tree of booleans that it returns for x")
    entries = walk(mask)
    for path, is_selected in entries:
        _check.boolean(f"weight_decay_mask{path[1:]}", is_selected)
    patterns = tuple(f"^{re.escape(path)}(?![^\\[])" for path, is_selected in entries if is_selected)
    return Only(record, patterns) if patterns else None


# --- FTRL --------------------------------------------------------------------------------------------------------


def _ftrl_rule(lr, lr_power, initial_accumulator, l1, l2, l2_shrinkage, beta):
    """Return the rule of TensorFlow's FTRL: z is divided by the learning rate there, and L2 has a factor of 2."""
    if hasattr(lr, "_fields") or callable(lr):
        raise ValueError(
            "lr: FTRL of TensorFlow and Keras is reproduced with a constant learning rate only; pass a number"
        )
    fields = (beta, l1, 2.0 * l2, initial_accumulator, 2.0 * l2_shrinkage, False)
    return FTRL(*fields) if lr_power == -0.5 else PowerFTRL(-lr_power, *fields)


def _keras_ftrl(
    lr=0.001, lr_power=-0.5, initial_accumulator=0.1, l1=0.0, l2=0.0, l2_shrinkage=0.0, beta=0.0, weight_decay=None,
    clip_norm=None, clip_value=None, clip_global_norm=None, use_ema=False, ema_momentum=0.99,
    ema_overwrite_frequency=None, loss_scale_factor=None, accumulate=None, exclude=None,
):  # fmt: skip
    options = _keras_adagrad(
        lr, 0.0, 0.0, weight_decay, clip_norm, clip_value, clip_global_norm, use_ema, ema_momentum,
        ema_overwrite_frequency, loss_scale_factor, accumulate, exclude,
    )  # fmt: skip
    return {**options, "rule": _ftrl_rule(options["lr"], lr_power, initial_accumulator, l1, l2, l2_shrinkage, beta)}


def _tensorflow_ftrl(
    lr=0.001, lr_power=-0.5, initial_accumulator=0.1, l1=0.0, l2=0.0, l2_shrinkage=0.0, beta=0.0, clip_value=None,
    clip_norm=None, clip_global_norm=None, decay=0.0, gradient_transformers=None,
):  # fmt: skip
    options = _tensorflow_adagrad(lr, 0.0, 0.0, clip_value, clip_norm, clip_global_norm, decay, gradient_transformers)
    return {**options, "rule": _ftrl_rule(options["lr"], lr_power, initial_accumulator, l1, l2, l2_shrinkage, beta)}


def _vw_ftrl(lr=0.5, beta=1.0, l1=0.0, l2=0.0):
    return {"rule": FTRL(beta, l1, l2), "lr": lr, "transforms": ()}


def _xlearn_ftrl(alpha=0.3, beta=1.0, l1=1e-5, l2=2e-5, lr=None):
    # The L2 penalty is in the gradient and in the solution.
    rule = FTRL(beta, l1, l2, initial_accumulator=1.0)
    rate = alpha if lr is None else lr
    return {"rule": rule, "lr": rate, "transforms": (_transform_if_set(L2Decay, l2),)}


# --- dual averaging, coin betting ----------------------------------------------------------------------------------


def _tensorflow_adagrad_da(lr, initial_accumulator=0.1, l1=0.0, l2=0.0):
    options = {"rule": RDA(0.0, initial_accumulator), "lr": lr, "transforms": ()}
    return options | ({"penalty": ElasticNet(l1, l2)} if l1 or l2 else {})


def _optax_cocob(lr=1.0, alpha=100.0, eps=1e-8, weight_decay=0.0, weight_decay_mask=None):
    if hasattr(lr, "_fields") or callable(lr):
        raise ValueError("lr: a schedule scales the gradients of optax.contrib.cocob; pass a number")
    decay = _select_arrays(_transform_if_set(L2Decay, weight_decay), weight_decay_mask)
    return {"rule": COCOB(alpha, eps), "lr": 1.0, "transforms": (decay, None if lr == 1 else Rescale(float(lr)))}


def _optax_madgrad(lr, momentum=0.9, weight_decay=0.0, eps=1e-6):
    return {"rule": MADGRAD(momentum, eps), "lr": lr, "transforms": (_transform_if_set(L2Decay, weight_decay),)}


# --- one accumulator per row -------------------------------------------------------------------------------------


def _mxnet1_rowwise(
    lr=None, eps=1e-5, rescale=1.0, clip_value=None, lr_scheduler=None, begin_num_update=0, multi_precision=False,
    param_idx2name=None, param_dict=None, sym=None, weight_decay=0.0,
):  # fmt: skip
    options = _mxnet1_adagrad(
        lr, eps, 0.0, rescale, clip_value, lr_scheduler, begin_num_update, multi_precision, param_idx2name, param_dict,
        sym,
    )  # fmt: skip
    return _row_options(options, RowAdagrad(eps, True), weight_decay)


def _mxnet2_rowwise(
    lr=0.01, eps=1e-6, rescale=1.0, clip_value=None, lr_scheduler=None, begin_num_update=0, multi_precision=False,
    param_idx2name=None, param_dict=None, sym=None, weight_decay=0.0,
):  # fmt: skip
    options = _mxnet2_adagrad(
        lr, eps, 0.0, rescale, clip_value, lr_scheduler, begin_num_update, multi_precision, param_idx2name, param_dict,
        sym,
    )  # fmt: skip
    return _row_options(options, RowAdagrad(eps, False), weight_decay)


def _row_options(options, rule, weight_decay):
    """Return the options of GroupAdaGrad, which has no weight decay."""
    if weight_decay:
        raise ValueError(f"weight_decay: got {weight_decay}; GroupAdaGrad of MXNet has no weight decay")
    return {"rule": rule, "lr": options["lr"], "transforms": options["transforms"]}


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
    "ftrl": {"keras": _keras_ftrl, "tensorflow": _tensorflow_ftrl, "vw": _vw_ftrl, "xlearn": _xlearn_ftrl},
    "adagrad_da": {"tensorflow": _tensorflow_adagrad_da},
    "cocob": {"optax": _optax_cocob},
    "madgrad": {"optax": _optax_madgrad},
    "rowwise": {"mxnet1": _mxnet1_rowwise, "mxnet2": _mxnet2_rowwise, "fbgemm": _fbgemm_rowwise},
}
