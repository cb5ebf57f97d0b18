"""The options of `fit_linear`: what may be given, and which of them a model that goes on has already."""

import numpy as np

from .. import _check
from ..losses import LOSSES
from ..schedules import Constant, Rates
from .means import checked


def given(loss, lr, **options):
    """The options that were given, not left at None, checked."""
    options |= {"loss": loss, "lr": lr}
    options = {name: value for name, value in options.items() if value is not None}
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise ValueError(f"loss: got {loss!r}; must be one of {', '.join(LOSSES)}, or a loss record")
        options["loss"] = LOSSES[loss]()
    elif loss is not None:
        needs = ("gradient", "sound", "labels") if hasattr(loss, "gradient") else ("value", "slope", "link", "labels")
        _check.record("loss", loss, needs, "Logistic()")
    for name in ("intercept", "normalized", "invariant"):
        if name in options:
            _check.boolean(name, options[name])
    if "average" in options:
        checked(options["average"])
    if "batch_size" in options:
        _check.positive_count("batch_size", options["batch_size"])
    if isinstance(lr, str) and lr == "auto":
        lr = options["lr"] = Rates()
    if isinstance(lr, Rates):
        _check.record("lr", lr, ("values",), "Rates()")
    if isinstance(lr, Constant) and np.ndim(lr.lr):
        raise TypeError(f"lr: got {lr!r}; must be a number, or a schedule record such as InverseSqrt(0.5)")
    if lr is not None and not hasattr(lr, "_fields"):
        if isinstance(lr, str) or np.ndim(lr) or callable(lr):
            raise TypeError(f"lr: got {lr!r}; must be a number, or a schedule record such as InverseSqrt(0.5)")
        _check.interval("lr", lr, "[0, inf)")
    return options


def going_on(model, options, dtype):
    """A copy of the model, with the options that differ from its own."""
    options = model.meant(options)
    if dtype is not None and np.dtype(dtype) != model.dtype:
        raise ValueError(f"dtype: got {np.dtype(dtype)}, but the model is {model.dtype}")
    if options.get("intercept", model.has_intercept) != model.has_intercept:
        raise ValueError(f"intercept: got {options['intercept']}, but the model was begun with {model.has_intercept}")
    if options.get("normalized", model.normalized) != model.normalized:
        raise ValueError(
            f"normalized: got {options['normalized']}, but the model was begun with {model.normalized}, and what its "
            "accumulators mean depends on that; begin a new one"
        )
    own = {name: getattr(model._state, name) for name in ("penalty", "rule", "lr")}
    own |= {name: getattr(model, name) for name in ("loss", "average", "batch_size", "invariant")}
    changed = {name: options[name] for name in own if name in options and not same(options[name], own[name])}
    return model.replaced(**changed) if changed else model.copy()


def same(a, b):
    """Whether two options are equal; records may hold arrays."""
    if type(a) is not type(b) and (isinstance(a, tuple) or isinstance(b, tuple)):
        return False
    if isinstance(a, tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(np.array_equal(a, b))
