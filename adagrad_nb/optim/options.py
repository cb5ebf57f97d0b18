"""The options of an optimiser: checked once, with arrays of their own."""

from typing import Any, NamedTuple

import numpy as np

from .. import _check
from ..cuda import arrays
from ..records.gates import accumulates_gradients, is_gate
from ..records.penalties import NoPenalty
from ..records.rules import Adagrad, can_accumulate_squares, has_row_accumulators
from ..records.transforms import is_for_some_arrays, needs_norm
from .gradients import DUPLICATES

SPARSE_DECAY = ("touched", "whole", "lazy", "refuse")


class Options(NamedTuple):
    """What a state was made with; `lr_scale` has one entry for each array of x."""

    rule: Any = None
    lr: Any = 0.5
    transforms: Any = ()
    penalty: Any = None
    average: Any = None
    lr_scale: Any = None
    duplicates: Any = "merge"
    sparse_decay: Any = "touched"

    def validate(self, leaves):
        """The same options, sound and complete for arrays given as (path, array)."""
        rule = Adagrad() if self.rule is None else self.rule
        _check.record_methods("rule", rule, ("slots", "initial_slots", "step", "step_size"), "Adagrad()")
        check_learning_rate(self.lr)
        _check_transforms(self.transforms)
        _check.one_of("duplicates", self.duplicates, DUPLICATES)
        _check.one_of("sparse_decay", self.sparse_decay, SPARSE_DECAY)
        if self.duplicates == "simultaneous" and (not can_accumulate_squares(rule) or has_row_accumulators(rule)):
            raise ValueError(
                f"duplicates: 'simultaneous' adds squares before it steps, which {type(rule).__name__} cannot; "
                "take Adagrad or another choice"
            )
        if self.penalty is not None:
            _check.record_methods("penalty", self.penalty, ("value", "prox"), "L1(1e-4)")
        if self.average is not None:
            _check.record_methods("average", self.average, ("weight",), "Polyak()")
        for path, leaf in leaves:
            self._check_leaf(path, leaf, rule)
        lr_scale = None if self.lr_scale is None else _check_lr_scale(self.lr_scale, leaves)
        copied = _copy_arrays(
            (rule, self.lr, tuple(self.transforms), NoPenalty() if self.penalty is None else self.penalty)
        )
        return Options(*copied, self.average, lr_scale, self.duplicates, self.sparse_decay)

    def _check_leaf(self, path, leaf, rule):
        on_device = arrays.is_device_array(leaf)
        array = arrays.array_spec(leaf) if on_device else _check.parameter_array(path, leaf)
        if on_device and array.dtype not in (np.float32, np.float64):
            raise TypeError(
                f"{path}: got dtype {array.dtype}; must be float32 or float64 on a device, where gradients may be "
                "of 16 bits, and complex numbers two real ones"
            )
        if on_device and self.sparse_decay == "lazy":
            raise ValueError("sparse_decay: 'lazy' does not work on a device; take 'touched' or 'whole'")
        if self.penalty is not None:
            _check.penalty_shape(self.penalty, array.size * (2 if array.dtype.kind == "c" else 1))
        if has_row_accumulators(rule) and array.ndim == 0:
            raise ValueError(f"{path}: is a single number; {type(rule).__name__} takes arrays with rows")
        shared = has_row_accumulators(rule) or (getattr(rule, "modulus", False) and array.dtype.kind == "c")
        if shared and self.duplicates == "simultaneous":
            raise ValueError("duplicates: 'simultaneous' needs one accumulator for each entry; take 'merge'")
        for item in self.transforms:
            for one in (item, getattr(item, "inner", None)):
                strength = getattr(one, "strength", None)
                if np.ndim(strength) and np.shape(strength) != array.shape and not is_for_some_arrays(item):
                    raise ValueError(
                        f"{type(one).__name__}.strength: got shape {np.shape(strength)}; must be a number or have the "
                        f"shape of {path}, {array.shape}. For one array of several, wrap it in Only(…, name)"
                    )


def _check_transforms(transforms):
    if hasattr(transforms, "_fields") or not isinstance(transforms, (tuple, list)):
        raise TypeError(f"transforms: got {transforms!r}; must be a tuple of records, such as (ClipNorm(1.0),)")
    for item in transforms:
        needs_no_transform = needs_norm(item) or is_gate(item) or is_for_some_arrays(item)
        _check.record_methods("transforms", item, () if needs_no_transform else ("transform",), "ClipNorm(1.0)")
    for kind in {type(item) for item in transforms if is_gate(item)}:
        if sum(type(item) is kind for item in transforms) > 1:
            raise ValueError(f"transforms: {kind.__name__} stands there more than once; one is enough")
    accumulating = [position for position, item in enumerate(transforms) if accumulates_gradients(item)]
    if accumulating and any(_updates_iterate(item) for item in transforms[: accumulating[0]]):
        raise ValueError("transforms: a DecoupledDecay before Accumulate would act on gradients; put it after")


def _updates_iterate(item):
    return hasattr(getattr(item, "inner", item), "times_lr")


def _check_lr_scale(given, leaves):
    """One factor of the learning rate for each array, numbers or arrays of its shape."""
    scales = []
    for scale, (path, array) in zip(given, leaves, strict=True):
        name = f"lr_scale{path[1:]}"
        scale = np.array(_check.in_interval(name, scale, "[0, inf)"), np.float64)
        if scale.shape not in ((), tuple(array.shape)):
            raise ValueError(f"{name}: got shape {scale.shape}; must be a number or have the shape of {path}")
        scales.append(scale)
    return tuple(scales)


def _copy_arrays(option):
    """The same option with arrays of its own: what is changed outside later has not been checked."""
    if hasattr(option, "_fields"):
        return type(option)(*(_copy_arrays(field) for field in option))
    if isinstance(option, tuple):
        return tuple(_copy_arrays(item) for item in option)
    return np.array(option) if isinstance(option, (np.ndarray, list)) else option


def check_learning_rate(lr):
    """A number or array in [0, inf), a schedule record, or a function of t."""
    if arrays.is_device_array(lr):
        return  # what it holds is for the kernels to see
    if hasattr(lr, "_fields"):
        _check.record_methods("lr", lr, ("at",), "InverseSqrt(1.0)")
    elif not callable(lr):
        _check.in_interval("lr", lr, "[0, inf)")
    elif isinstance(lr, type):
        raise TypeError(f"lr: got the class {lr.__name__}; pass an instance, such as {lr.__name__}(…)")
