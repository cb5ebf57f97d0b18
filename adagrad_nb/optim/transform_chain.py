"""Transforms of a step that depend on more than one coordinate: norms over arrays, noise, and gates."""

import hashlib
import math
import sys
from typing import Any, NamedTuple

import numpy as np

from ..compiler.jit import compiled_for
from ..compiler.simd import LARGEST
from ..cuda import arrays
from ..records.gates import accumulates_gradients, gradients_per_step, may_skip_steps
from ..records.transforms import (
    AddVector,
    Chain,
    Identity,
    Rescale,
    RescaleUnits,
    adds_noise,
    needs_norm,
    needs_unit_norms,
    scale_for_norm,
    uses_global_norm,
)
from . import device_leaf
from .kernels import reductions

READY, ACCUMULATED, SKIPPED = range(3)


class LeafStep(NamedTuple):
    """A step of one array, or of a group of arrays: its leaf, the array, the gradient and the learning rate."""

    leaf: Any
    x: Any
    gradient: Any
    lr: Any


def resolve_transforms(state, steps):
    """Return (status, steps, records), where records are updates whose transforms act on each coordinate by itself.

    A norm becomes a factor of the gradient.  A gate that holds the gradient back gives the status ACCUMULATED or
    SKIPPED instead of READY; then there is no update.
    """
    if not any(step.leaf.needs_reduction for step in steps):
        return READY, steps, [step.leaf.update for step in steps]
    prefixes, chains = [step.leaf.resolved_prefix for step in steps], [step.leaf.update.transforms for step in steps]
    position = 0
    while isinstance(chains[0], Chain):
        first_records = [chain.first for chain in chains]
        first = next((record for record in first_records if not isinstance(record, Identity)), first_records[0])
        if accumulates_gradients(first):
            steps = _accumulate_gradients(state, state.options.transforms[position], prefixes, steps)
            if steps is None:
                return ACCUMULATED, None, None
            prefixes, first_records = [step.leaf.resolved_prefix for step in steps], [Identity()] * len(steps)
        elif may_skip_steps(first):
            if not _check_finite(state, state.options.transforms[position], position, prefixes, steps):
                return SKIPPED, None, None
            first_records = [_unscale_record(state, first, step.leaf) for step in steps]
        elif any(needs_norm(record) for record in first_records):
            first_records = _resolve_factors(position, first_records, prefixes, steps)
        elif adds_noise(first):
            n_updates = _count_calls(state, position)
            first_records = [
                _draw_noise(record, step.leaf, n_updates) if adds_noise(record) else record
                for record, step in zip(first_records, steps, strict=True)
            ]
        elif needs_unit_norms(first):
            first_records = [
                _scale_units(position, record, prefix, step) if needs_unit_norms(record) else record
                for record, prefix, step in zip(first_records, prefixes, steps, strict=True)
            ]
        prefixes = [Chain(*pair) for pair in zip(prefixes, first_records, strict=True)]
        chains = [chain.rest for chain in chains]
        position += 1
    return (
        READY,
        steps,
        [
            step.leaf.update._replace(transforms=Chain(prefix, last))
            for step, prefix, last in zip(steps, prefixes, chains, strict=True)
        ],
    )


def _resolve_factors(position, first_records, prefixes, steps):
    """Return the transforms of one position, with those that need a norm replaced by the factor they amount to."""
    if all(step.leaf.on_device for first, step in zip(first_records, steps, strict=True) if needs_norm(first)):
        return device_leaf.resolve_factors_on_device(position, first_records, prefixes, steps)
    norms = [
        step.leaf.gradient_norm(position, prefix, step.x, step.gradient, step.lr) if needs_norm(first) else 0.0
        for first, prefix, step in zip(first_records, prefixes, steps, strict=True)
    ]
    norm_record = next(record for record in first_records if needs_norm(record))
    if uses_global_norm(norm_record):
        norms = [_global_norm(norms)] * len(norms)
    return [
        Rescale(step.leaf.precision.type(scale_for_norm(first, _cast_norm(norm, step.leaf.precision))))
        if needs_norm(first) else first
        for first, norm, step in zip(first_records, norms, steps, strict=True)
    ]  # fmt: skip


def _count_calls(state, position):
    """Return the number of times that the transform at this position has been applied before."""
    accumulates_later = any(accumulates_gradients(item) for item in state.options.transforms[position + 1 :])
    return state.n_micro_steps if accumulates_later else state.t


def _draw_noise(record, leaf, t):
    """Return the transform that adds the noise of update t to the gradient of an array."""
    name = int.from_bytes(hashlib.blake2b(leaf.path.encode(), digest_size=8).digest(), "little")
    # The counter is in the upper words, since a draw increases the lower ones.
    generator = np.random.Generator(np.random.Philox(key=[record.seed, name], counter=[0, 0, t, 0]))
    values = generator.standard_normal(leaf.size * leaf.reals_per_entry, leaf.precision)
    values *= leaf.precision.type(record.deviation(t))
    return AddVector(arrays.to_device_array(values) if leaf.on_device else values)


def _scale_units(position, record, prefix, step):
    """Return the transform that multiplies the gradient of each unit of an array by a factor."""
    leaf = step.leaf
    n_units = leaf.reals_per_entry * _count_units(leaf.shape)
    if leaf.on_device:
        return leaf.scale_units(position, record, n_units, prefix, step.x, step.gradient, step.lr)
    x, g = leaf.iterate_vector(step.x), np.zeros(leaf.size * leaf.reals_per_entry, leaf.precision)
    kernel = compiled_for(reductions.compiled_accumulate_gradient, prefix)
    kernel(prefix, x, step.gradient.to_dense(g.size), step.lr, g, 0)
    norms, x_norms = (_unit_norms(vector.reshape(-1, n_units), leaf.reals_per_entry) for vector in (g, x))
    factors = [record.scale_for_norms(*pair) for pair in zip(norms.tolist(), x_norms.tolist(), strict=True)]
    return RescaleUnits(np.repeat(np.array(factors, leaf.precision), leaf.reals_per_entry))


def _count_units(shape):
    """Return the number of units of an array, that of optax: its entries without those of the axes of the inputs."""
    if sum(n > 1 for n in shape) <= 1:
        return 1
    return max(math.prod(shape[3:] if len(shape) == 4 else shape[1:]), 1)


def _unit_norms(matrix, n_parts):
    """Return the norm of each group of `n_parts` columns in double precision, without overflow of squares."""
    largest = np.abs(matrix).max(axis=0, initial=0.0)
    scale = np.where((largest > 0) & (largest < np.inf), largest, 1).astype(matrix.dtype)
    squares = np.square(matrix / scale).sum(axis=0, dtype=np.float64)
    norms = np.sqrt(squares) * scale
    return norms if n_parts == 1 else np.hypot(norms[::2], norms[1::2])


def _global_norm(norms):
    """Return the 2-norm of norms: the largest number if they are finite and it is not."""
    norm = math.hypot(*norms)
    return sys.float_info.max if math.isinf(norm) and all(map(math.isfinite, norms)) else norm


def _cast_norm(norm, precision):
    """Return a norm in a precision: its largest number if the norm is finite and larger."""
    if norm > 1e38 and math.isfinite(norm):
        norm = min(norm, float(LARGEST[precision.type]))
    return precision.type(norm)


def _accumulate_gradients(state, gate, prefixes, steps):
    """Add the gradients to the sums; return steps with the sums as gradients if the gate is complete, else None."""
    every = gradients_per_step(gate, state.t)
    state.n_pending += 1
    for prefix, step in zip(prefixes, steps, strict=True):
        step.leaf.accumulate_gradient(
            prefix, step.x, step.gradient, step.lr, state.n_pending if gate.kind == "running mean" else 0
        )
    if state.n_pending < every:
        return None
    state.n_pending = 0
    by = every if gate.kind == "mean" else 1
    return [step._replace(gradient=step.leaf.pop_accumulated(by)) for step in steps]


def _check_finite(state, gate, position, prefixes, steps):
    """Return whether all gradients are finite, and update the counters of the gate."""
    is_finite = not any(
        step.leaf.count_nonfinite(position, prefix, step.x, step.gradient, step.lr)
        for prefix, step in zip(prefixes, steps, strict=True)
    )
    if hasattr(gate, "limit"):
        if not is_finite and 0 < gate.limit <= state.n_skipped:
            raise FloatingPointError(
                f"g: got {state.n_skipped + 1} gradients in a row that are not finite; SkipNonFinite.limit is "
                f"{gate.limit}. Check the loss, or use a smaller lr"
            )
        state.n_skipped = 0 if is_finite else state.n_skipped + 1
        return is_finite
    state.n_good_steps = state.n_good_steps + 1 if is_finite else 0
    if not is_finite:
        state.scale *= gate.shrink
    return is_finite


def _unscale_record(state, gate, leaf):
    """Return the transform that a gate applies to finite gradients: `LossScale` divides by its scale."""
    return Identity() if hasattr(gate, "limit") else Rescale(leaf.precision.type(1.0 / state.scale))


def grow_loss_scale(state, transforms):
    """Raise the scale of the loss after enough consecutive updates with finite gradients."""
    for gate in transforms:
        if hasattr(gate, "grow") and state.n_good_steps >= gate.every:
            state.scale, state.n_good_steps = state.scale * gate.grow, 0
