"""One step of an optimiser: `update` takes x, a gradient and the state, and returns the new x and state.

A small contiguous vector takes a fast path.  Otherwise all arguments are checked first, then written.
"""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _check
from ..cuda import arrays
from ..records.anytime import needs_dense_gradients
from ..records.averaging import averages_before
from ..records.dual_averaging import is_dual_averaging
from . import global_memory, lazy_decay, overlap
from .device_gradients import is_sparse_gradient, prepare_sparse_gradient
from .gradients import PreparedGradient, list_whole_rows, prepare_gradient
from .kernels.array_update import ALL
from .transform_chain import READY, SKIPPED, LeafStep, grow_loss_scale, resolve_transforms
from .trees import align, list_leaves, rebuild

if TYPE_CHECKING:
    import numpy.typing as npt

    from .state import State

_NULL_CONTEXT = contextlib.nullcontext()
_may_share_memory = np.may_share_memory  # an attribute look-up takes 3 % of the time of a small update


def update(
    x: Any,
    g: Any,
    state: State,
    *,
    lr: npt.ArrayLike | None = None,
    out: tuple[Any, State] | None = None,
    check: bool = True,
) -> tuple[Any, State]:
    """Apply one gradient and return the new x and state.

    Parameters
    ----------
    x : array, device array, or nested dict, list or tuple of them
        As given to `init`.
    g : like x
        The gradient in the same containers.  The gradient of an array is dense; or a ``scipy.sparse`` matrix of its
        shape (for a vector, a row or column); or a pair ``(indices, values)``, for a matrix
        ``(row_indices, rows)``.  A sparse gradient updates only the listed coordinates, and the penalty acts only
        on these.  Duplicate indices are summed, or treated as ``init(duplicates=…)`` says.  None leaves an array of
        several unchanged: no step, no decay and no penalty.  t counts the update nevertheless.
    state : State
    lr : float or ndarray, optional
        The learning rate of this step instead of that of the state.
    out : (x, state), optional
        Write the results to these two objects and return them.  If they are the arguments themselves, no memory is
        allocated for arrays.  No two arrays of x may share memory here.  A gradient that shares memory with x is
        copied, unless it is x itself.
    check : bool, default True
        Whether to check that the indices of a sparse gradient of a device array are in range.  The check copies two
        numbers to the host, which waits for them.  With False the caller guarantees that they are in range; others
        would overwrite foreign memory.  Nothing is then copied, so a CUDA graph can capture the step.  Duplicates are
        treated as before; the list is sorted even if it is in order.  Arrays on the host are always checked.

    Returns
    -------
    x, state
        New objects, or those of `out`.

    Raises
    ------
    TypeError, ValueError
        If g does not fit x, or if two arrays of `out` share memory.  Nothing has been written then.
    FloatingPointError
        If the limit of `SkipNonFinite` is exceeded.

    Notes
    -----
    An array of 65,536 numbers or more is updated by several threads while that is quicker than one.  The environment
    variable ``NUMBA_NUM_THREADS`` limits their number.  The result has the same bits for any number of threads.  Norms,
    as of `ClipNorm`, may differ in the last bits between CPU architectures, because SIMD vectors add them up.

    The magnitude of a gradient is limited to 2^58 in float32 and 2^500 in float64, so that its square is finite.
    A gradient with NaN or infinity is applied as it is, and the accumulators become NaN, unless `SkipNonFinite` or
    `LossScale` is among the transforms.  The minimisers stop before that.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import init, update
    >>> x = np.array([1.0, 2.0, 3.0])
    >>> state = init(x, lr=0.5)
    >>> x, state = update(x, ([0, 2], [4.0, -4.0]), state)
    >>> x
    array([0.5, 2. , 3.5])
    """
    x_out, state_out = (x, state) if out is None else out
    leaf = state.fast_leaf
    if leaf is not None and lr is None and out is not None and x_out is x and state_out is state:
        if leaf.on_device:
            step = functools.partial(_step_array, state)
            if leaf.step_in_place(x, g, state.n_updates, state.rule_memory, step):
                state.n_updates += 1
                return out
        elif _is_kernel_ready(x, g, leaf):
            leaf.apply_dense(leaf.update, ALL, x, g, leaf.constant_lr, state.n_updates)
            state.n_updates += 1
            return out
    leaves = state.leaves
    is_single = len(leaves) == 1
    targets = [x] if is_single and not isinstance(x, (dict, list, tuple)) else list_leaves(x)
    if len(targets) != len(leaves):
        raise ValueError(f"x: got {len(targets)} arrays; the state was made for {len(leaves)}")
    gradients = [g] if is_single and targets[0] is x else align(x, g, "g")
    if state.changes_with_t:
        _check_capture(state, targets)
    lr = _resolve_lr(state, lr)
    if (
        out is not None
        and x_out is x
        and state_out is state
        and state.array_groups
        and not np.ndim(lr)
        and state.options.sparse_decay != "lazy"
    ):
        group = state.array_groups[0]
        if len(group.members) == len(leaves) and group.can_pack(targets, gradients):
            group.check_distinct(targets, leaves)
            with arrays.on_stream([targets[0], gradients[0]]) if group.leaf.on_device else _NULL_CONTEXT:
                gradient, rate = group.pack(targets, gradients), group.leaf.cast_lr(lr)
                _apply_leaf_steps(state, targets, [LeafStep(group.leaf, group.x, gradient, rate)])
            return out
    if not state.has_device_arrays:
        return _update_arrays(x, state, targets, gradients, lr, (x_out, state_out), out is None, check)
    with arrays.on_stream(arrays.device_arrays_in([targets, gradients])):
        return _update_arrays(x, state, targets, gradients, lr, (x_out, state_out), out is None, check)


def _update_arrays(x, state, targets, gradients, lr, out, is_new, check):
    """Check all arguments, then write: `update` for lists of arrays and gradients."""
    leaves, (x_out, state_out) = state.leaves, out
    rates = [leaf.constant_lr if lr is state.options.lr else leaf.cast_lr(lr) for leaf in leaves]
    is_missing = [gradient is None for gradient in gradients]
    if all(is_missing) and is_missing:
        raise ValueError("g: is None for all arrays; call update only if there is a gradient")
    gradients = [_prepare_gradient(state, *each, check) for each in zip(leaves, targets, gradients, strict=True)]
    lazy_decay.check_rates(state, gradients, rates)
    if state.rule_memory:
        global_memory.check_gradients(state, gradients)
    if is_new:
        state_out = state.copy()
        targets = [leaf.copy_iterate(target) for leaf, target in zip(leaves, targets, strict=True)]
        x_out = rebuild(x, iter(targets))
    else:
        sources, targets = targets, _check_out(x, state, targets, x_out, state_out)
        gradients, rates = overlap.copy_shared(gradients, rates, targets)
        if x_out is not x or state_out is not state:
            _copy_to_out(x, state, sources, targets, x_out, state_out)
    lazy_decay.apply_missed_decay(state_out, targets, gradients)
    if _apply_leaf_steps(state_out, targets, _make_leaf_steps(state_out, targets, gradients, rates)):
        lazy_decay.record_decay(state_out, gradients, rates, is_missing)
    return x_out, state_out


def _apply_leaf_steps(state, targets, steps):
    """Update the arrays and the state in place; return whether a gate let the gradients pass.

    Only `SkipNonFinite` can raise an error.
    """
    status, resolved, records = resolve_transforms(state, steps)
    if status == SKIPPED:
        return False
    is_averaged = state.options.average is not None and (status == READY or state.counts_micro_steps)
    is_before = is_averaged and averages_before(state.options.average)
    if is_before:
        for leaf, x, _, _ in steps:
            leaf.update_average(x, state.t)
    if status == READY:
        if state.rule_memory:
            resolved = global_memory.scale_rates(state, resolved, records)
        domain = state.options.domain
        for (leaf, x, gradient, lr), record in zip(resolved, records, strict=True):
            if leaf.has_matrices:
                leaf.apply_matrices(x, gradient, record, lr, domain)
                continue
            if state.ledger is None:
                leaf.apply_gradient(x, gradient, record, lr, state.t)
            else:
                state.ledger.apply_gradient(leaf, x, gradient, record, lr, state.t)
            if domain is not None:
                leaf.project(x, domain)
        grow_loss_scale(state, state.options.transforms)
    if is_averaged and not is_before:
        for leaf, x, _, _ in steps:
            leaf.update_average(x, state.t)
    for group in state.array_groups:
        if any(step.x is group.x for step in steps):
            group.unpack([targets[i] for i in group.members])
    state.n_micro_steps += 1
    state.n_updates += status == READY
    return status == READY


def _check_capture(state, targets):
    """Raise RuntimeError if an update that depends on t is captured into a CUDA graph, which would repeat one t."""
    if any(arrays.is_capturing(x) for x in targets if arrays.is_device_array(x)):
        raise RuntimeError(
            f"update: a captured CUDA graph would repeat the update t = {state.t}, but the learning rate, the rule, a "
            "transform, the average or the lazy decay depends on t; call update outside the capture. Instead of a "
            "schedule, give lr as a device array with one element, and write to it"
        )


def _step_array(state, x, gradient, t):
    """Apply the gradient of update t to the only array of a state without gates, average and domain."""
    leaf = state.leaves[0]
    _, [step], [record] = resolve_transforms(state, [LeafStep(leaf, x, gradient, leaf.constant_lr)])
    if state.rule_memory:
        [step] = global_memory.scale_rates(state, [step], [record])
    leaf.apply_gradient(x, step.gradient, record, step.lr, t)


def _resolve_lr(state, lr):
    """Return the learning rate of this step."""
    if lr is not None:
        return lr if arrays.is_device_array(lr) else _check.in_interval("lr", lr, "[0, inf)")
    return state.lr_at(state.schedule_step)


def _make_leaf_steps(state, targets, gradients, rates):
    """Return a `LeafStep` for each array, and one for each group of small arrays with dense gradients."""
    steps = [LeafStep(*arguments) for arguments in zip(state.leaves, targets, gradients, rates, strict=True)]
    for group in state.array_groups:
        group_steps = [steps[i] for i in group.members]
        if _can_step_as_group(group, group_steps):
            gradient = group.pack([step.x for step in group_steps], [step.gradient.values for step in group_steps])
            steps.append(LeafStep(group.leaf, group.x, gradient, group_steps[0].lr))
            for i in group.members:
                steps[i] = None
    return [step for step in steps if step is not None]


def _can_step_as_group(group, steps):
    """Return whether all gradients of a group are dense and of the layout that its kernels take."""
    if getattr(steps[0].lr, "ndim", 0) or any(step.gradient.where is not ALL for step in steps):
        return False
    if group.leaf.on_device:
        return all(step.gradient.values.dtype == group.leaf.dtype and arrays.is_contiguous(step.x) for step in steps)
    return all(step.x.flags.c_contiguous for step in steps)


def _is_kernel_ready(x, g, leaf):
    """Return whether x and g have the type, shape, dtype and layout of the kernel: the fast path of `update`.

    `leaf` is that of a real array of 32 or 64 bits.  x and g must be the same array or disjoint.  Two arrays without a
    base own their memory.
    """
    return (
        type(x) is np.ndarray
        and type(g) is np.ndarray
        and x.shape == leaf.shape == g.shape
        and x.dtype == leaf.precision == g.dtype
        and x.flags.carray
        and g.flags.carray
        and (g.base is None is x.base or x is g or not _may_share_memory(x, g))
    )


def _prepare_gradient(state, leaf, x, g, check):
    """Check the array and its gradient; return the gradient in the form that the kernels take.

    For None this is a sparse gradient that lists no coordinate.
    """
    if g is None:
        where, values = np.empty(0, np.int64), np.empty(0, leaf.precision)
        if leaf.on_device:
            where, values = arrays.to_device_array(where), arrays.to_device_array(values)
        return PreparedGradient(where, values)
    if leaf.on_device:
        return _densify_if_needed(state, leaf, _prepare_device_gradient(state, leaf, x, g, check))
    if leaf.dtype == leaf.precision and _is_kernel_ready(x, g, leaf):
        return PreparedGradient(ALL, g if g.ndim == 1 else g.reshape(-1))
    leaf.check_iterate(x)
    if arrays.is_device_array(g):
        raise TypeError(f"g{leaf.path[1:]}: is on a device, but {leaf.path} is on the host; copy g to the host")
    is_complex = leaf.dtype.kind == "c"
    dtype = leaf.dtype if is_complex else leaf.precision
    if needs_dense_gradients(state.rule):
        _check_dense(state.rule, leaf, g)
    gradient = prepare_gradient(g, leaf.shape, dtype, "g" + leaf.path[1:], state.options.duplicates)
    gradient = _densify_if_needed(state, leaf, gradient)
    return gradient.as_real(leaf.precision) if is_complex else gradient


def _densify_if_needed(state, leaf, gradient):
    """Return the gradient, dense if the array has weight decay and ``sparse_decay="whole"``, of whole rows if "lazy".

    It is dense, too, for dual averaging in a domain: the projection of an earlier update is not in the accumulators.
    """
    if gradient.where is not ALL and state.options.domain is not None and is_dual_averaging(state.options.rule):
        return PreparedGradient(ALL, leaf.to_dense(gradient))
    if gradient.where is ALL or state.options.sparse_decay == "touched" or not leaf.decays:
        return gradient
    if state.options.sparse_decay == "refuse":
        raise ValueError(
            f"g{leaf.path[1:]}: is sparse, and sparse_decay='refuse' rejects weight decay with sparse gradients; "
            "pass a dense array, or choose sparse_decay='touched', 'whole' or 'lazy'"
        )
    if state.options.sparse_decay == "whole":
        return PreparedGradient(ALL, leaf.to_dense(gradient))
    # Each entry of a row has the decay of this update, as `record_decay` assumes.
    return list_whole_rows(gradient, leaf.decayed_row_size // leaf.reals_per_entry, leaf.size)


def _check_dense(rule, leaf, g):
    """Raise ValueError for a sparse gradient of a rule that changes all coordinates."""
    if is_sparse_gradient(g):
        raise ValueError(
            f"g{leaf.path[1:]}: is sparse, but each update of {type(rule).__name__} changes all coordinates; pass a "
            "dense array"
        )


def _prepare_device_gradient(state, leaf, x, g, check):
    """Check a device array and its gradient; return the gradient in the form that the CUDA kernels take."""
    leaf.check_iterate(x)
    if needs_dense_gradients(state.rule):
        _check_dense(state.rule, leaf, g)
    if is_sparse_gradient(g):
        return prepare_sparse_gradient(leaf, g, state.options.duplicates, "g" + leaf.path[1:], check)
    spec = arrays.array_spec(g) if arrays.is_device_array(g) else None
    if spec is None or spec.shape != leaf.shape or spec.dtype not in (leaf.dtype, np.float16, "bfloat16"):
        raise TypeError(
            f"g: the gradient of a device array must be a device array of shape {leaf.shape} and dtype {leaf.dtype}, "
            "float16 or bfloat16, or a sparse one"
        )
    return PreparedGradient(ALL, arrays.flat_view(g, "g" + leaf.path[1:]))


def _check_writable(leaf, x):
    """Check that an array of `out` can be written in place."""
    if leaf.on_device:
        if not arrays.is_writable(x):
            raise ValueError(f"out: {leaf.path} is an immutable array; call update without out")
        return
    if not isinstance(x, np.ndarray) or not x.flags.writeable or x.dtype != leaf.dtype:
        raise ValueError(f"out: {leaf.path} must be a writable array of {leaf.dtype}; call update without out")
    overlap.check_iterate(x, leaf)


def _check_out(x, state, sources, x_out, state_out):
    """Return the arrays of `out`, checked."""
    if state_out is not state and _layout(state_out) != _layout(state):
        raise ValueError("out: its state was made for arrays of other shapes or dtypes")
    targets = sources
    if x_out is not x:
        targets = list(align(x, x_out, "out")) if isinstance(x, (dict, list, tuple)) else [x_out]
    for leaf, target in zip(state_out.leaves, targets, strict=True):
        _check_writable(leaf, target)
        if targets is not sources and tuple(target.shape) != leaf.shape:
            raise ValueError(f"out: {leaf.path} has shape {target.shape}; must have {leaf.shape}")
    if len(targets) > 1:
        overlap.check_distinct(targets, state_out.leaves)
    return targets


def _layout(state):
    return [(leaf.shape, leaf.dtype) for leaf in state.leaves]


def _copy_to_out(x, state, sources, targets, x_out, state_out):
    """Copy x and state to the objects of `out`."""
    if x_out is not x:
        sources = overlap.copy_shared_sources(sources, targets)
        for leaf, target, source in zip(state_out.leaves, targets, sources, strict=True):
            if leaf.on_device:
                arrays.copy_into(target, source)
            else:
                target[...] = source
    if state_out is not state:
        state_out.copy_from(state)
