"""Options of an optimiser: checked once, with copies of the arrays in them."""

from typing import Any, NamedTuple

import numpy as np

from .. import _check
from .._legacy import has_member
from ..cuda import arrays
from ..records.anytime import needs_dense_gradients
from ..records.averaging import EMA
from ..records.domains import check_domain
from ..records.dual_averaging import is_dual_averaging
from ..records.gates import accumulates_gradients, is_gate
from ..records.global_rules import has_memory
from ..records.group_penalties import Grouped, is_group_penalty
from ..records.matrix_rules import has_matrices
from ..records.penalties import Box, NonNegative, NoPenalty
from ..records.rules import (
    Adagrad,
    can_accumulate_squares,
    has_proportional_step_size,
    has_row_accumulators,
    takes_penalty,
)
from ..records.schedules import Constant
from ..records.transforms import adds_noise, is_for_some_arrays, needs_unit_norms, needs_whole_array
from .external_schedules import as_schedule
from .gradients import DUPLICATES

SPARSE_DECAY = ("touched", "whole", "lazy", "refuse")


class Options(NamedTuple):
    """Arguments of `init`; `lr_scale` has one entry for each array of x."""

    rule: Any = None
    lr: Any = 0.5
    transforms: Any = ()
    penalty: Any = None
    average: Any = None
    lr_scale: Any = None
    duplicates: Any = "merge"
    sparse_decay: Any = "touched"
    domain: Any = None

    @property
    def depends_on_t(self):
        """Whether updates depend on t: by the learning rate, the rule, a gate, noise or the average."""
        has_schedule = hasattr(self.lr, "_fields") or callable(self.lr)
        is_fixed_average = self.average is None or (isinstance(self.average, EMA) and not self.average.overwrite)
        return (
            (has_schedule and not isinstance(self.lr, Constant))
            or any(has_member(self.rule, name) for name in ("step_at", "cumulative_step_size"))
            or any(is_gate(item) or adds_noise(item) for item in self.transforms)
            or not is_fixed_average
        )

    def validate(self, leaves):
        """Return the options, checked against the arrays and with defaults filled in.

        Parameters
        ----------
        leaves : list of (path, array)
            The arrays of x: ndarrays of floating-point or complex numbers, or device arrays.
        """
        if self.domain is not None:
            check_domain_and_penalty(self.domain, self.penalty)
            if isinstance(self.domain, Box):
                return self._replace(penalty=self.domain, domain=None).validate(leaves)
        rule = Adagrad() if self.rule is None else self.rule
        penalty = NoPenalty() if self.penalty is None else self.penalty
        lr, transforms = as_schedule(self.lr), self.transforms
        has_device_lr = arrays.is_device_array(lr)  # the kernels read its entries when they run
        check_rule_methods(rule)
        if hasattr(lr, "_fields"):
            _check.record_methods("lr", lr, ("at",), "InverseSqrt(1.0)")
        elif isinstance(lr, type):
            raise TypeError(f"lr: got the class {lr.__name__}; pass an instance, such as {lr.__name__}(…)")
        elif not callable(lr) and not has_device_lr:
            _check.in_interval("lr", lr, "[0, inf)")
        if hasattr(transforms, "_fields") or not isinstance(transforms, (tuple, list)):
            raise TypeError(f"transforms: got {transforms!r}; must be a tuple of records, such as (ClipNorm(1.0),)")
        for item in transforms:
            needs_no_transform = needs_whole_array(item) or is_gate(item) or is_for_some_arrays(item)
            _check.record_methods("transforms", item, () if needs_no_transform else ("transform",), "ClipNorm(1.0)")
        if self.penalty is not None:
            _check.record_methods("penalty", penalty, ("value", "prox"), "L1(1e-4)")
        if needs_dense_gradients(rule) and not isinstance(penalty, NoPenalty):
            raise ValueError(
                f"penalty: got {type(penalty).__name__}, but {type(rule).__name__} supports neither penalties nor "
                "bounds; use its rule alone with average=OnlineToBatch()"
            )
        if self.average is not None:
            _check.record_methods("average", self.average, ("weight",), "Polyak()")
        _check.one_of("duplicates", self.duplicates, DUPLICATES)
        _check.one_of("sparse_decay", self.sparse_decay, SPARSE_DECAY)
        has_rows = has_row_accumulators(rule)
        if self.duplicates == "simultaneous" and (has_rows or not can_accumulate_squares(rule)):
            raise ValueError(
                f"duplicates: 'simultaneous' sums squares before the step, which {type(rule).__name__} cannot; "
                "use Adagrad or another value of duplicates"
            )
        _check_gates(transforms)
        if has_memory(rule) or has_matrices(rule):
            _check_rule_of_arrays(rule, penalty, self.duplicates, leaves)
        elif not takes_penalty(rule) and not isinstance(penalty, (NoPenalty, Box, NonNegative)):
            raise ValueError(
                f"penalty: {type(rule).__name__} takes bounds only, because its steps begin at the start of the run; "
                f"got {type(penalty).__name__}, for which use Adagrad() or RDA()"
            )
        if has_matrices(rule):
            _check_matrix_arrays(rule, self.sparse_decay, leaves)
        if self.domain is not None:
            _check_domain_support(self, rule, leaves)
        for path, array in leaves:
            if isinstance(array, np.ndarray):
                _check_array(self, rule, has_rows, path, array)
            else:
                _check_device_array(self, rule, has_rows, path, arrays.array_spec(array))
        lr_scale = None if self.lr_scale is None else _check_lr_scale(self.lr_scale, leaves)
        copies = freeze_arrays((rule, lr, tuple(transforms), penalty, self.average, lr_scale))
        return Options(*copies, self.duplicates, self.sparse_decay, freeze_arrays(self.domain))


def check_rule_methods(rule):
    """Raise unless a rule is a record with the methods of its kind."""
    if has_matrices(rule):
        _check.record_methods("rule", rule, ("slots", "initial_slots", "slot_shapes", "peak_size"), "Adagrad()")
        return
    _check.record_methods("rule", rule, ("slots", "initial_slots", "step", "step_size"), "Adagrad()")
    if has_memory(rule):
        _check.record_methods(
            "rule", rule, ("initial_memory", "memory_domains", "update_memory", "rate_factor"), "DoG()"
        )


def _check_matrix_arrays(rule, sparse_decay, leaves):
    """Raise unless the arrays are of float32 or float64, and their matrices fit in memory."""
    name = type(rule).__name__
    if sparse_decay == "lazy":
        raise ValueError(
            f"sparse_decay: 'lazy' delays the decay of rows, but {name} steps with all of x; use 'touched'"
        )
    for path, array in leaves:
        if array.dtype not in (np.float32, np.float64):
            raise ValueError(
                f"rule: {name} takes arrays of float32 or float64, but {path} is {array.dtype}; convert it"
            )
    sizes = {path: rule.peak_size(array.size) * array.dtype.itemsize for path, array in leaves}
    path = max(sizes, key=sizes.get, default="x")
    _check.fits_in_memory(
        f"rule: a step of {name} for {len(sizes)} arrays, of which {path} is the largest,", sum(sizes.values()),
        "use BlockAdagrad(block_size) or SketchedAdagrad(rank) with a smaller number, or Adagrad()",
    )  # fmt: skip


def _check_rule_of_arrays(rule, penalty, duplicates, leaves):
    """Raise for options that no rule supports whose step of a coordinate depends on the others."""
    name = type(rule).__name__
    on_host = [path for path, array in leaves if isinstance(array, np.ndarray)]
    on_device = [path for path, array in leaves if not isinstance(array, np.ndarray)]
    if on_device and has_matrices(rule):
        raise ValueError(f"rule: {name} does not support device arrays, as {on_device[0]} is; copy x and g to the host")
    if on_device and on_host:
        raise ValueError(
            f"rule: {name} has sums over all arrays, but {on_host[0]} is on the host and {on_device[0]} on a device; "
            "copy all arrays to one of them"
        )
    if duplicates == "sequential":
        raise ValueError(f"duplicates: 'sequential' steps by one coordinate, {name} by all of x; use 'merge'")
    if not takes_penalty(rule) and not isinstance(penalty, NoPenalty):
        raise ValueError(f"penalty: {name} takes no penalty or bounds, but got {type(penalty).__name__}; use RDA()")


def check_domain_and_penalty(domain, penalty):
    """Raise unless `domain` is a domain record and there is no penalty beside it."""
    check_domain(domain)
    if penalty is not None and not isinstance(penalty, NoPenalty):
        raise ValueError(
            f"domain: got {type(domain).__name__} and the penalty {type(penalty).__name__}; leave one of them out. "
            "A penalty within bounds is Bounded(penalty, lower, upper)"
        )


def _check_domain_support(options, rule, leaves):
    """Raise ValueError if the points of a domain are not the arrays of x, or if the rule has no metric."""
    name, rule_name = type(options.domain).__name__, type(rule).__name__
    if len(leaves) != 1:
        raise ValueError(f"domain: {name} constrains one array, but x has {len(leaves)}; make a state for each array")
    path, array = leaves[0]
    if not isinstance(array, np.ndarray):
        raise ValueError(f"domain: {name} does not support device arrays, as {path} is; copy x and g to the host")
    if array.dtype not in (np.float32, np.float64):
        raise ValueError(f"domain: {name} takes arrays of float32 or float64, but {path} is {array.dtype}; convert it")
    if array.size == 0:
        raise ValueError(f"domain: {name} constrains the entries of {path}, which has none; leave the domain out")
    if options.duplicates == "sequential":
        raise ValueError(f"duplicates: 'sequential' makes several steps; with {name} use 'merge'")
    if options.sparse_decay == "lazy":
        raise ValueError(f"sparse_decay: 'lazy' delays the decay of rows, but {name} needs all of x; use 'touched'")
    if has_matrices(rule):
        classes = getattr(rule, "supported_domains", ())
        if not isinstance(options.domain, classes):
            names = " or ".join(cls.__name__ for cls in classes) or "no domain"
            raise ValueError(f"domain: got {name}, but {rule_name} takes {names}; use another rule, such as Adagrad()")
    elif not has_proportional_step_size(rule) and not is_dual_averaging(rule):
        raise ValueError(
            f"domain: {name} needs the preconditioner of the rule, which {rule_name} lacks; use Adagrad() or RDA()"
        )
    for field in ("l1", "l2", "shrinkage"):
        if getattr(rule, field, 0.0) > 0:
            raise ValueError(f"domain: {name} takes no penalty, but {rule_name}.{field} is positive; set it to 0")


def check_group_penalty(penalty, duplicates, leaves):
    """Raise ValueError for a group penalty of arrays that have no rows of real numbers."""
    if not is_group_penalty(penalty):
        return
    name, is_of_vector = type(penalty).__name__, isinstance(penalty, Grouped)
    for path, array in leaves:
        if is_of_vector and array.ndim != 1:
            raise ValueError(
                f"penalty: Grouped penalises groups of the entries of a vector, but {path} has shape {array.shape}; "
                f"use {type(penalty.penalty).__name__} for the rows of a matrix"
            )
        if array.ndim < 2 and not is_of_vector:
            raise ValueError(
                f"penalty: {name} penalises the rows of a matrix, but {path} has shape {array.shape}; "
                "use L1, or an x of shape (n_groups, group_size) with init and update, in a state of its own"
            )
        if isinstance(array, np.ndarray) and array.dtype.kind == "c":  # a device array is refused later
            raise ValueError(
                f"penalty: {name} does not support complex arrays, as {path} is; pass the real and imaginary parts as "
                "one array of real numbers"
            )
    if duplicates == "sequential":
        raise ValueError(
            f"duplicates: 'sequential' makes a step for each of the gradients of a row, which {name} does not support; "
            "use 'merge'"
        )


def _check_gates(transforms):
    """Check that each gate is given once, and that none that accumulates comes after a decay."""
    kinds = [type(item) for item in transforms if is_gate(item)]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise ValueError(f"transforms: got {kind.__name__} {kinds.count(kind)} times; give it once")
    accumulating = [position for position, item in enumerate(transforms) if accumulates_gradients(item)]
    if accumulating and any(_updates_iterate(item) for item in transforms[: accumulating[0]]):
        raise ValueError(
            "transforms: a DecoupledDecay before Accumulate would decay gradients; put it after Accumulate"
        )


def _updates_iterate(item):
    """Return whether a transform changes x itself."""
    return hasattr(getattr(item, "inner", item), "times_lr")


def _check_array(options, rule, has_rows, path, array):
    """Check the options against the shape and dtype of an array, or of the spec of a device array."""
    is_complex = array.dtype.kind == "c"
    if options.penalty is not None:
        is_group = is_group_penalty(options.penalty) and array.ndim > 1
        _check.penalty_shape(options.penalty, array.shape[0] if is_group else array.size * (2 if is_complex else 1))
    if has_rows and array.ndim == 0:
        raise ValueError(f"{path}: is a single number; {type(rule).__name__} takes arrays with rows")
    if options.duplicates == "simultaneous" and is_complex and getattr(rule, "modulus", False):
        raise ValueError("duplicates: 'simultaneous' needs one accumulator for each real number; use 'merge'")
    for item in options.transforms:
        if needs_unit_norms(getattr(item, "inner", item)) and len(array.shape) > 4:
            raise ValueError(f"{path}: has {len(array.shape)} axes; AdaptiveClip takes arrays of at most four")
        if is_for_some_arrays(item):
            continue
        for record in (item, getattr(item, "inner", None)):
            strength = getattr(record, "strength", None)
            if np.ndim(strength) and np.shape(strength) != array.shape:
                raise ValueError(
                    f"{type(record).__name__}.strength: got shape {np.shape(strength)}; must be a number or have the "
                    f"shape of {path}, {array.shape}. For one array of several, wrap it in Only(…, name)"
                )


def _check_device_array(options, rule, has_rows, path, spec):
    """Check the options against the shape and dtype of a device array."""
    if spec.dtype not in (np.float32, np.float64):
        raise TypeError(
            f"{path}: got dtype {spec.dtype}; must be float32 or float64 on a device. Gradients may have 16 bits; "
            "pass a complex array as its real and imaginary parts"
        )
    _check_array(options, rule, has_rows, path, spec)


def _check_lr_scale(given, leaves):
    """Return the factor of the learning rate of each array: a number or an array of its shape."""
    scales = []
    for scale, (path, array) in zip(given, leaves, strict=True):
        name = f"lr_scale{path[1:]}"
        scale = np.array(_check.in_interval(name, scale, "[0, inf)"), np.float64)
        if scale.shape not in ((), tuple(array.shape)):
            raise ValueError(f"{name}: got shape {scale.shape}; must be a number or have the shape of {path}")
        scales.append(scale)
    return tuple(scales)


def freeze_arrays(option):
    """Return an option with read-only copies of its arrays: the checks of their entries stay valid."""
    if hasattr(option, "_fields"):
        return type(option)(*(freeze_arrays(field) for field in option))
    if isinstance(option, tuple):
        return tuple(freeze_arrays(item) for item in option)
    if not isinstance(option, (np.ndarray, list)):
        return option
    array = np.array(option)
    array.flags.writeable = False
    return array


def is_same_option(a, b):
    """Return whether two options are equal, of equal types; arrays by their entries."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(is_same_option, a, b))
    if isinstance(a, (np.ndarray, float, int)) and isinstance(b, (np.ndarray, float, int)):
        return np.array_equal(a, b)
    return bool(a is b or (type(a) is type(b) and a == b))
