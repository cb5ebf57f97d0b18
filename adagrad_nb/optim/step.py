"""One step: x, g, state -> x, state."""

import contextlib

import numpy as np

from .. import _check
from ..cuda import arrays
from . import lazy_decay
from .device_gradients import is_listed, listing
from .gradients import Operand, operand
from .kernels.array_update import ALL
from .transform_chain import READY, SKIPPED, Job, grow, settle
from .trees import align, rebuild
from .trees import leaves as leaves_of

_NOTHING = contextlib.nullcontext()


def update(x, g, state, *, lr=None, out=None):
    """Move x by one gradient.

    Parameters
    ----------
    x : array, device array, or nested dict, list or tuple of them
        As given to `init`.
    g : like x
        The gradient: of the same containers, each array dense; or a ``scipy.sparse`` matrix of its shape (for a
        vector, a row or column); or a pair ``(indices, values)``, for a matrix ``(row_indices, rows)``.  Of a
        sparse gradient only the listed coordinates move, by the penalty's step too; what is listed twice is
        summed first, unless `init` was told otherwise.
    state : State
    lr : float or ndarray, optional
        Another learning rate for this step only.
    out : (x, state), optional
        Write there and return the same two objects, without allocating: usually the arguments themselves.

    Returns
    -------
    x, state
        New ones, or those of `out`.

    Raises
    ------
    TypeError, ValueError
        If g does not fit x; then nothing has been written.
    FloatingPointError
        If `SkipNonFinite` has met its limit.

    Notes
    -----
    A gradient that is not finite is applied as it is and poisons the accumulators, as in every system, unless one of
    the transforms is `SkipNonFinite` or `LossScale`; the drivers stop before that happens.

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
    if lr is None and out is not None and x_out is x and state_out is state and _is_quick(x, g, state.quick):
        leaf = state.quick
        leaf.move(leaf.update, ALL, x, g, leaf.fixed, state.t)
        state.t += 1
        return out
    leaves = state.leaves
    single = len(leaves) == 1
    targets = [x] if single and not isinstance(x, (dict, list, tuple)) else leaves_of(x)
    if len(targets) != len(leaves):
        raise ValueError(f"x: got {len(targets)} arrays; the state was made for {len(leaves)}")
    gradients = [g] if single and targets[0] is x else align(x, g, "g")
    lr = _rate(state, lr)
    in_place = out is not None and x_out is x and state_out is state
    bundle = state.bundles[0] if state.bundles and in_place else None
    whole = bundle is not None and len(bundle.members) == len(leaves) and not np.ndim(lr)
    if whole and bundle.fits(targets, gradients):
        with arrays.ordered([targets[0], gradients[0]]) if bundle.leaf.on_device else _NOTHING:
            gradient, rate = bundle.gather(targets, gradients), bundle.leaf.rate(lr)
            _perform(state, targets, [Job(bundle.leaf, bundle.x, gradient, rate)])
        return out
    if not state.has_device_arrays:
        return _step(x, state, targets, gradients, lr, (x_out, state_out), out is None)
    with arrays.ordered(arrays.among([targets, gradients])):
        return _step(x, state, targets, gradients, lr, (x_out, state_out), out is None)


def _step(x, state, targets, gradients, lr, out, is_new):
    """As `update`, for lists of arrays and gradients."""
    leaves, (x_out, state_out) = state.leaves, out
    rates = [leaf.fixed if lr is state.lr else leaf.rate(lr) for leaf in leaves]
    # Everything is checked before anything is written.
    gradients = [_operand(state, *each) for each in zip(leaves, targets, gradients, strict=True)]
    lazy_decay.check(state, gradients, rates)
    if is_new:
        state_out = state.copy()
        targets = [leaf.duplicate(target) for leaf, target in zip(leaves, targets, strict=True)]
        x_out = rebuild(x, iter(targets))
    elif x_out is not x or state_out is not state:
        targets = _transfer(x, state, targets, x_out, state_out)
    else:
        for leaf, target in zip(leaves, targets, strict=True):
            _writable(leaf, target)
    lazy_decay.brought_up(state_out, targets, gradients)
    if _perform(state_out, targets, _jobs(state_out, targets, gradients, rates)):
        lazy_decay.note(state_out, gradients, rates)
    return x_out, state_out


def _perform(state, targets, jobs):
    """Move the arrays and the state in place; return whether there was a step.  Only `SkipNonFinite` can raise."""
    status, settled, records = settle(state, jobs)
    if status == SKIPPED:
        return False
    if status == READY:
        for (leaf, x, gradient, lr), record in zip(settled, records, strict=True):
            leaf.apply(x, gradient, record, lr, state.t)
        grow(state, state.transforms)
    if state.average is not None and (status == READY or state.clocked):
        for leaf, x, _, _ in jobs:
            leaf.blend(x, state.t)
    for bundle in state.bundles:
        if any(job.x is bundle.x for job in jobs):
            bundle.scatter([targets[i] for i in bundle.members])
    state.arrived += 1
    state.t += status == READY
    return status == READY


def _rate(state, lr):
    """The learning rate of this step."""
    if lr is not None:
        return lr if arrays.is_device(lr) else _check.interval("lr", lr, "[0, inf)")
    return state.rate(state.clock)


def _jobs(state, targets, gradients, rates):
    """What is to be done, array by array; bundles, where all their gradients are dense, count as one array."""
    jobs = [Job(*each) for each in zip(state.leaves, targets, gradients, rates, strict=True)]
    for bundle in state.bundles:
        mine = [jobs[i] for i in bundle.members]
        if _together(bundle, mine):
            gradient = bundle.gather([job.x for job in mine], [job.gradient.values for job in mine])
            jobs.append(Job(bundle.leaf, bundle.x, gradient, mine[0].lr))
            for i in bundle.members:
                jobs[i] = None
    return [job for job in jobs if job is not None]


def _together(bundle, jobs):
    """Whether all the gradients of a bundle are dense, and as its kernel takes them."""
    if getattr(jobs[0].lr, "ndim", 0) or any(job.gradient.where is not ALL for job in jobs):
        return False
    if bundle.leaf.on_device:
        return all(job.gradient.values.dtype == bundle.leaf.dtype and arrays.is_packed(job.x) for job in jobs)
    return all(job.x.flags.c_contiguous for job in jobs)


def _is_quick(x, g, leaf):
    """Whether x and g are arrays just as the kernel takes them: the short way of `update` for small arrays."""
    return (
        leaf is not None
        and type(x) is np.ndarray
        and type(g) is np.ndarray
        and x.shape == leaf.shape == g.shape
        and x.dtype == leaf.precision == g.dtype
        and x.flags.carray
        and g.flags.carray
    )


def _operand(state, leaf, x, g):
    """The gradient of one array as the kernels take it."""
    if _is_quick(x, g, leaf):
        return Operand(ALL, g if g.ndim == 1 else g.reshape(-1))
    if leaf.on_device:
        return _dense_if_asked(state, leaf, _on_device(state, leaf, x, g))
    if arrays.is_device(x) or arrays.is_device(g):
        raise TypeError(f"{leaf.path}: the state was made for an array of the host; copy x and g there")
    if not isinstance(x, np.ndarray):
        x = _check.parameter(leaf.path, x)
    if x.shape != leaf.shape or (x.dtype != leaf.dtype and x.dtype.kind not in "iu"):
        raise ValueError(
            f"{leaf.path}: got {x.dtype} of shape {x.shape}; the state was made for {leaf.dtype} of {leaf.shape}"
        )
    complex_ = leaf.dtype.kind == "c"
    gradient = operand(g, leaf.shape, leaf.dtype if complex_ else leaf.precision, "g" + leaf.path[1:], state.duplicates)
    gradient = _dense_if_asked(state, leaf, gradient)
    return gradient.parts(leaf.precision) if complex_ else gradient


def _dense_if_asked(state, leaf, gradient):
    """The gradient of an array that decays, as `sparse_decay` says."""
    if gradient.where is ALL or state.sparse_decay == "touched" or not leaf.decays:
        return gradient
    if state.sparse_decay == "refuse":
        raise ValueError(
            f"g{leaf.path[1:]}: is sparse, and weight decay with sparse gradients is refused as asked; "
            "give a dense array, or choose sparse_decay='touched', 'whole' or 'lazy'"
        )
    return Operand(ALL, leaf.full(gradient)) if state.sparse_decay == "whole" else gradient


def _on_device(state, leaf, x, g):
    form = arrays.form(x) if arrays.is_device(x) else None
    if form is None or (form.shape, form.dtype) != (leaf.shape, leaf.dtype):
        raise ValueError(f"{leaf.path}: the state was made for a device array of shape {leaf.shape} and {leaf.dtype}")
    if is_listed(g):
        return listing(leaf, g, state.duplicates, "g" + leaf.path[1:])
    form = arrays.form(g) if arrays.is_device(g) else None
    if form is None or form.shape != leaf.shape or form.dtype not in (leaf.dtype, np.float16, "bfloat16"):
        raise TypeError(
            f"g: the gradient of a device array must be a device array of shape {leaf.shape} and dtype {leaf.dtype}, "
            "float16 or bfloat16, or a sparse one"
        )
    return Operand(ALL, arrays.view(g, "g" + leaf.path[1:]))


def _writable(leaf, x):
    if leaf.on_device:
        if not arrays.is_writable(x):
            raise ValueError(f"out: {leaf.path} is an array that cannot be changed; call update without out")
        return
    if not isinstance(x, np.ndarray) or not x.flags.writeable or x.dtype != leaf.dtype:
        raise ValueError(f"out: {leaf.path} must be a writable array of {leaf.dtype}; call update without out")


def _transfer(x, state, sources, x_out, state_out):
    """Bring other objects named by `out` to where x and state are."""
    if [(leaf.shape, leaf.dtype) for leaf in state_out.leaves] != [(leaf.shape, leaf.dtype) for leaf in state.leaves]:
        raise ValueError("out: its state was made for arrays of other shapes or dtypes")
    targets = list(align(x, x_out, "out")) if isinstance(x, (dict, list, tuple)) else [x_out]
    for leaf, target in zip(state_out.leaves, targets, strict=True):
        _writable(leaf, target)
        if tuple(target.shape) != tuple(leaf.shape):
            raise ValueError(f"out: {leaf.path} has shape {target.shape}; must have {leaf.shape}")
    if x_out is not x:
        for leaf, target, source in zip(state_out.leaves, targets, sources, strict=True):
            if leaf.on_device:
                arrays.assign(target, source)
            else:
                target[...] = source
    if state_out is not state:
        state_out.assign(state)
    return targets
