"""Sums over arrays: norms of gradients, values of penalties, distances from the optimum.

The plain functions are for use in compiled loops, where they take part in the caller's compilation; the names that
begin with ``compiled_`` are for calls from Python.
"""

import math

from ...compiler.jit import LANES, bind, compiled_for, jit, lanes, pick, place, plain
from ...records.penalties import gradient_mapping, prox, value
from ...records.transforms import Chain, Rescale, needs_norm, scale_for_norm, transform_at


# Reordering lets LLVM sum in lanes: faster, and in float32 more accurate than one running sum.
@lanes
def norm(transforms, where, x, g, lr):
    """sqrt(sum_k transform(g[k])**2)"""
    total = g.dtype.type(0)
    for k in range(g.shape[0]):
        i = place(where, k)
        _, gk = transform_at(transforms, x[i], g[k], pick(lr, i), i)
        total += gk * gk
    return math.sqrt(total)


@plain
def wrong(transforms, where, x, g, lr):
    """How many of transform(g[k]) are not finite."""
    count = 0
    for k in range(g.shape[0]):
        i = place(where, k)
        _, gk = transform_at(transforms, x[i], g[k], pick(lr, i), i)
        count += not abs(gk) < type(gk)(math.inf)
    return count


@plain
def gather(transforms, x, g, lr, total, n):
    """total += transform(g), or with n > 0, the running mean total += (transform(g) - total) / n"""
    for i in range(g.shape[0]):
        _, gi = transform_at(transforms, x[i], g[i], pick(lr, i), i)
        total[i] += (gi - total[i]) / type(gi)(n) if n > 0 else gi


@plain
def penalty_value(penalty, x):
    """sum_i value(x[i], i)"""
    total = 0.0
    for i in range(x.shape[0]):
        total += value(penalty, x[i], i)
    return total


@plain
def project(penalty, x):
    """x[i] = prox(x[i]) of width 0, the nearest point where the penalty is finite"""
    for i in range(x.shape[0]):
        x[i] = prox(penalty, x[i], x.dtype.type(0), i)


@plain
def unfinished(penalty, where, x, g, gtol):
    """How many coordinates are farther than gtol from optimal, and how many gradients are not finite."""
    far, wrong = 0, 0
    for k in range(g.shape[0]):
        i = place(where, k)
        far += not gradient_mapping(penalty, x[i], g[k], i) <= gtol
        wrong += abs(g[k] - g[k]) != 0
    return far, wrong


compiled_norm = jit(norm, fastmath=LANES)
compiled_wrong = jit(wrong)
compiled_gather = jit(gather)
compiled_value = jit(penalty_value)
compiled_unfinished = jit(unfinished)
compiled_project = jit(project)


def settle(transforms, head, where, x, g, lr):
    """`transforms` with each one that looks at the whole array replaced by the factor it comes to.

    `head` is what has been settled so far; the norm that a transform sees is that of the gradient after `head`.
    """
    while isinstance(transforms, Chain):
        head = Chain(head, _settled(transforms.first, head, where, x, g, lr))
        transforms = transforms.rest
    return head


def _settled(record, head, where, x, g, lr):
    if not needs_norm(record):
        return record
    kernel = compiled_for(compiled_norm, head)
    # Compiled code hands a float32 back as a Python float, which would make the update compute in doubles.
    return Rescale(scale_for_norm(record, g.dtype.type(kernel(head, where, x, g, lr))))


@bind(settle)
def _settle(transforms, head, where, x, g, lr):
    if transforms.instance_class is not Chain:
        return lambda transforms, head, where, x, g, lr: head

    def walk(transforms, head, where, x, g, lr):
        first = _settled(transforms.first, head, where, x, g, lr)
        return settle(transforms.rest, Chain(head, first), where, x, g, lr)

    return walk


@bind(_settled)
def _settled_by_type(record, head, where, x, g, lr):
    if not needs_norm(record.instance_class):
        return lambda record, head, where, x, g, lr: record

    def rescale(record, head, where, x, g, lr):
        return Rescale(scale_for_norm(record, norm(head, where, x, g, lr)))

    return rescale
