"""Options of a linear model: checks of the values that `fit_linear` and files give."""

from __future__ import annotations

import numpy as np

from .. import _check
from ..records.global_rules import has_memory
from ..records.losses import LOSSES
from ..records.matrix_rules import has_matrices
from ..records.multiclass_losses import is_multi_output_loss
from ..records.schedules import Constant, has_several_rates
from .parameters import check_average


def check_options(loss, lr, **options):
    """Return the given options, those that are not None or "auto", after checking them."""
    if isinstance(lr, str) and lr == "auto":
        lr = None
    options |= {"loss": loss, "lr": lr}
    options = {name: value for name, value in options.items() if value is not None}
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise ValueError(f"loss: got {loss!r}; must be one of {', '.join(LOSSES)}, or a loss record")
        options["loss"] = LOSSES[loss]()
    elif loss is not None:
        needs = (
            ("loss_and_gradient", "can_learn_from", "target_type")
            if is_multi_output_loss(loss)
            else ("value", "slope", "inverse_link", "target_type")
        )
        _check.record_methods("loss", loss, needs, "Logistic()")
    if "rule" in options:
        if has_memory(options["rule"]) or has_matrices(options["rule"]):
            raise ValueError(
                f"rule: {type(options['rule']).__name__} needs all weights at each row, but a linear model reads those "
                "of the features of the row; use Adagrad(), or minimize_stochastic"
            )
        _check.record_methods("rule", options["rule"], ("slots", "initial_slots", "step", "step_size"), "Adagrad()")
    if "penalty" in options:
        _check.record_methods("penalty", options["penalty"], ("value", "prox"), "L1(1e-4)")
    for name in ("intercept", "normalized", "invariant", "standardize_targets", "ledger"):
        if name in options:
            _check.boolean(name, options[name])
    if "average" in options:
        check_average(options["average"])
    if "batch_size" in options:
        _check.positive_count("batch_size", options["batch_size"])
    if has_several_rates(lr):
        _check.record_methods("lr", lr, ("values",), "Rates()")
    elif hasattr(lr, "_fields"):
        _check.record_methods("lr", lr, ("at",), "InverseSqrt(0.5)")
    if isinstance(lr, Constant) and np.ndim(lr.lr):
        raise TypeError(f"lr: got {lr!r}; must be 'auto', a number, or a schedule record such as InverseSqrt(0.5)")
    if lr is not None and not hasattr(lr, "_fields"):
        if isinstance(lr, str) or np.ndim(lr) or callable(lr):
            raise TypeError(f"lr: got {lr!r}; must be 'auto', a number, or a schedule record such as InverseSqrt(0.5)")
        _check.in_interval("lr", lr, "[0, inf)")
    return options
