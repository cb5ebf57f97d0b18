"""The transforms of a step that look at more than one coordinate: norms over arrays, and gates."""

import math
from typing import Any, NamedTuple

from ..records.gates import accumulates_gradients, may_skip_steps
from ..records.transforms import Chain, Identity, Rescale, needs_norm, scale_for_norm, uses_global_norm
from . import device_leaf

READY, GATHERED, SKIPPED = range(3)


class Job(NamedTuple):
    """What one array, or a bundle of them, is to do in a step."""

    leaf: Any
    x: Any
    gradient: Any
    lr: Any


def settle(state, jobs):
    """Return (status, jobs, records): the update of each job with all its transforms those of one coordinate.

    Unless the status is READY, a gate keeps the gradients back and there is no step.
    """
    if not any(job.leaf.whole for job in jobs):
        return READY, jobs, [job.leaf.update for job in jobs]
    heads, chains = [job.leaf.head for job in jobs], [job.leaf.update.transforms for job in jobs]
    position = 0
    while isinstance(chains[0], Chain):
        firsts = [chain.first for chain in chains]
        first = next((record for record in firsts if not isinstance(record, Identity)), firsts[0])
        if accumulates_gradients(first):
            jobs = _gathered(state, state.transforms[position], heads, jobs)
            if jobs is None:
                return GATHERED, None, None
            heads, firsts = [job.leaf.head for job in jobs], [Identity()] * len(jobs)
        elif may_skip_steps(first):
            if not _passes(state, state.transforms[position], position, heads, jobs):
                return SKIPPED, None, None
            firsts = [_unscaled(state, first, job.leaf) for job in jobs]
        elif any(needs_norm(record) for record in firsts):
            firsts = _factors(position, firsts, heads, jobs)
        heads = [Chain(*pair) for pair in zip(heads, firsts, strict=True)]
        chains = [chain.rest for chain in chains]
        position += 1
    return READY, jobs, [job.leaf.update._replace(transforms=head) for job, head in zip(jobs, heads, strict=True)]


def _factors(position, firsts, heads, jobs):
    """Each record that looks at the whole array, replaced by the factor it comes to."""
    if all(job.leaf.on_device for first, job in zip(firsts, jobs, strict=True) if needs_norm(first)):
        return device_leaf.factors(position, firsts, heads, jobs)
    norms = [
        job.leaf.norm(position, head, job.x, job.gradient, job.lr) if needs_norm(first) else 0.0
        for first, head, job in zip(firsts, heads, jobs, strict=True)
    ]
    whole = next(record for record in firsts if needs_norm(record))
    if uses_global_norm(whole):
        norms = [math.hypot(*norms)] * len(norms)
    return [
        Rescale(job.leaf.precision.type(scale_for_norm(first, job.leaf.precision.type(norm))))
        if needs_norm(first) else first
        for first, norm, job in zip(firsts, norms, jobs, strict=True)
    ]  # fmt: skip


def _gathered(state, gate, heads, jobs):
    """The jobs with what has been gathered for their gradients, or None while more is to come."""
    state.pending += 1
    for head, job in zip(heads, jobs, strict=True):
        job.leaf.gather(head, job.x, job.gradient, job.lr, state.pending if gate.kind == "running mean" else 0)
    if state.pending < gate.every:
        return None
    state.pending = 0
    by = gate.every if gate.kind == "mean" else 1
    return [job._replace(gradient=job.leaf.released(by)) for job in jobs]


def _passes(state, gate, position, heads, jobs):
    """Whether the gradients are finite; the state takes note."""
    good = not any(
        job.leaf.wrong(position, head, job.x, job.gradient, job.lr) for head, job in zip(heads, jobs, strict=True)
    )
    if hasattr(gate, "limit"):
        if not good and 0 < gate.limit <= state.skipped:
            raise FloatingPointError(
                f"g: not finite for the {state.skipped + 1}th time in a row; SkipNonFinite.limit is {gate.limit}. "
                "Look at the loss, or take a smaller lr"
            )
        state.skipped = 0 if good else state.skipped + 1
        return good
    state.good = state.good + 1 if good else 0
    if not good:
        state.scale *= gate.shrink
    return good


def _unscaled(state, gate, leaf):
    """What a gate that lets a gradient pass does to it."""
    return Identity() if hasattr(gate, "limit") else Rescale(leaf.precision.type(1.0 / state.scale))


def grow(state, transforms):
    """Raise the scale of the loss after enough good steps; the step that was the last of them had the old one."""
    for gate in transforms:
        if hasattr(gate, "grow") and state.good >= gate.every:
            state.scale, state.good = state.scale * gate.grow, 0
