"""Reductions over an array: gradient norms, counts of non-finite entries, penalty values and optimality.

Compiled loops call the plain functions, which are compiled with their caller.  Python calls the ones named
``compiled_*``.
"""

import math

from ...compiler.jit import (
    INTERNAL,
    REASSOCIATE,
    add_tuples,
    bind,
    compiled_for,
    coordinate_of,
    jit,
    jitable,
    load,
    pick,
    reassociating,
)
from ...compiler.simd import is_accurate_norm, rescale_norm
from ...records.global_rules import totals
from ...records.penalties import gradient_mapping, prox, value
from ...records.transforms import Chain, Rescale, needs_norm, scale_for_norm, transform_at


# Reassociation lets LLVM sum in SIMD lanes, which is faster than one running sum and in float32 more accurate.
@reassociating
def norm(transforms, where, x, g, lr):
    """sqrt(sum_k transform(g[k])**2); see `scaled_norm` if the squares may overflow or underflow"""
    total = g.dtype.type(0)
    for k in range(g.shape[0]):
        i = coordinate_of(where, k)
        _, gk = transform_at(transforms, x[i], g[k], pick(lr, i), i)
        total += gk * gk
    return math.sqrt(total)


@jitable
def scaled_norm(transforms, where, x, g, lr):
    """sqrt(sum_k transform(g[k])**2), with the squares divided by the largest one"""
    largest = _largest_magnitude(transforms, where, x, g, lr)
    if not 0 < largest < math.inf:
        return largest
    return rescale_norm(largest, _sum_scaled_squares(transforms, where, x, g, lr, largest))


@jitable
def _largest_magnitude(transforms, where, x, g, lr):
    """max_k abs(transform(g[k])), or NaN if one is NaN"""
    largest = g.dtype.type(0)
    for k in range(g.shape[0]):
        i = coordinate_of(where, k)
        _, gk = transform_at(transforms, x[i], g[k], pick(lr, i), i)
        if gk != gk:
            return gk
        largest = max(largest, abs(gk))
    return largest


@reassociating
def _sum_scaled_squares(transforms, where, x, g, lr, scale):
    """sum_k (transform(g[k]) / scale)**2"""
    total = g.dtype.type(0)
    for k in range(g.shape[0]):
        i = coordinate_of(where, k)
        _, gk = transform_at(transforms, x[i], g[k], pick(lr, i), i)
        total += (gk / scale) * (gk / scale)
    return total


@jitable
def count_nonfinite(transforms, where, x, g, lr):
    """Return the number of transform(g[k]) that are not finite."""
    count = 0
    for k in range(g.shape[0]):
        i = coordinate_of(where, k)
        _, gk = transform_at(transforms, x[i], g[k], pick(lr, i), i)
        count += not abs(gk) < type(gk)(math.inf)
    return count


@jitable
def accumulate_gradient(transforms, x, g, lr, total, n):
    """total += transform(g); if n > 0, the running mean total += (transform(g) - total) / n"""
    for i in range(g.shape[0]):
        _, gi = transform_at(transforms, x[i], g[i], pick(lr, i), i)
        total[i] += (gi - total[i]) / type(gi)(n) if n > 0 else gi


@jitable
def penalty_value(penalty, x):
    """sum_i value(x[i], i)"""
    total = 0.0
    for i in range(x.shape[0]):
        total += value(penalty, x[i], i)
    return total


@jitable
def project_onto_domain(penalty, x):
    """x[i] = prox(x[i]) with step size 0: the nearest point where the penalty is finite"""
    for i in range(x.shape[0]):
        x[i] = prox(penalty, x[i], x.dtype.type(0), i)


@jitable
def count_unconverged(penalty, where, x, g, gtol):
    """Return the number of coordinates that violate optimality by more than gtol, and of non-finite gradients."""
    n_unconverged, n_nonfinite = 0, 0
    for k in range(g.shape[0]):
        i = coordinate_of(where, k)
        n_unconverged += not gradient_mapping(penalty, x[i], g[k], i) <= gtol
        n_nonfinite += abs(g[k] - g[k]) != 0
    return n_unconverged, n_nonfinite


def add_in_any_order(a, b):
    """Return the elementwise sum of two tuples; a loop of such sums may be reordered."""
    return add_tuples(a, b)


@bind(add_in_any_order, jit_options=INTERNAL | {"fastmath": REASSOCIATE})
def _add_in_any_order_by_type(a, b):
    if len(a) == 1:
        return lambda a, b: (a[0] + b[0],)
    return lambda a, b: (a[0] + b[0],) + add_in_any_order(a[1:], b[1:])


@jitable
def _totals_at(update, where, x, g, s, lr, m, k):
    """Return the terms of gradient entry k in the sums of a rule with memory m."""
    i = coordinate_of(where, k)
    rate = pick(lr, i)
    _, gk = transform_at(update.transforms, x[i], g[k], rate, i)
    return totals(update.rule, x[i], gk, load(s, i), rate, m)


@jit
def sum_totals(update, where, x, g, s, lr, m):
    """Return the sums of totals(x[i], g[k], s[i]) over the entries of a gradient, of which there is at least one."""
    sums = _totals_at(update, where, x, g, s, lr, m, 0)
    for k in range(1, g.shape[0]):
        sums = add_in_any_order(sums, _totals_at(update, where, x, g, s, lr, m, k))
    return sums


compiled_norm = jit(norm, fastmath=REASSOCIATE)
compiled_scaled_norm = jit(scaled_norm)
compiled_count_nonfinite = jit(count_nonfinite)
compiled_accumulate_gradient = jit(accumulate_gradient)
compiled_penalty_value = jit(penalty_value)
compiled_count_unconverged = jit(count_unconverged)
compiled_project_onto_domain = jit(project_onto_domain)


def resolve_norms(transforms, resolved_prefix, where, x, g, lr):
    """Return `resolved_prefix` extended by `transforms`, in which numbers replace the transforms that need a norm.

    The norm that a transform sees is that of the gradient after the transforms before it.
    """
    while isinstance(transforms, Chain):
        resolved_prefix = Chain(resolved_prefix, _resolve_norm(transforms.first, resolved_prefix, where, x, g, lr))
        transforms = transforms.rest
    return Chain(resolved_prefix, transforms)


def _resolve_norm(record, resolved_prefix, where, x, g, lr):
    """Return a transform, or the `Rescale` that it amounts to if it needs a norm."""
    if not needs_norm(record):
        return record
    # Compiled code returns a float32 as a Python float, with which the update would compute in double precision.
    size = g.dtype.type(compiled_for(compiled_norm, resolved_prefix)(resolved_prefix, where, x, g, lr))
    if not is_accurate_norm(size):
        size = g.dtype.type(compiled_for(compiled_scaled_norm, resolved_prefix)(resolved_prefix, where, x, g, lr))
    return Rescale(scale_for_norm(record, size))


@bind(resolve_norms)
def _resolve_norms_by_type(transforms, resolved_prefix, where, x, g, lr):
    if transforms.instance_class is not Chain:
        return lambda transforms, resolved_prefix, where, x, g, lr: Chain(resolved_prefix, transforms)

    def resolve_chain(transforms, resolved_prefix, where, x, g, lr):
        first = _resolve_norm(transforms.first, resolved_prefix, where, x, g, lr)
        return resolve_norms(transforms.rest, Chain(resolved_prefix, first), where, x, g, lr)

    return resolve_chain


@bind(_resolve_norm)
def _resolve_norm_by_type(record, resolved_prefix, where, x, g, lr):
    if not needs_norm(record.instance_class):
        return lambda record, resolved_prefix, where, x, g, lr: record

    def resolve_record(record, resolved_prefix, where, x, g, lr):
        size = norm(resolved_prefix, where, x, g, lr)
        if not is_accurate_norm(size):
            size = scaled_norm(resolved_prefix, where, x, g, lr)
        return Rescale(scale_for_norm(record, size))

    return resolve_record
