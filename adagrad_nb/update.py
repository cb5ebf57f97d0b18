"""One step: x, g, state -> x, state."""

import math

import numpy as np

from . import _check, device
from ._kernels.coordinate import factor
from ._kernels.dense import ALL, compiled_blend
from .averaging import overwrites
from .gradients import operand
from .transforms import Chain, Rescale
from .trees import align, rebuild, walk


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
        summed first.
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

    Notes
    -----
    A gradient that is not finite is applied as it is and poisons the accumulators, as in every system; the
    drivers stop before that happens.

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
    targets = [x] if single and not isinstance(x, (dict, list, tuple)) else [leaf for _, leaf in walk(x)]
    gradients = [g] if single and targets[0] is x else list(align(x, g, "g"))
    if len(targets) != len(leaves):
        raise ValueError(f"x: got {len(targets)} arrays; the state was made for {len(leaves)}")
    # Everything is checked before anything is written.
    steps = [
        _operand(leaf, target, gradient) for leaf, target, gradient in zip(leaves, targets, gradients, strict=True)
    ]
    if lr is not None:
        _check.interval("lr", lr, "[0, inf)")
    rate = state.rate(state.t) if lr is None else lr
    rates = [leaf.rate(rate) if leaf.fixed is None or lr is not None else leaf.fixed for leaf in leaves]
    records = _settled(leaves, targets, steps, rates)
    if out is None:
        state_out = state.copy()
        targets = [_duplicate(leaf, target) for leaf, target in zip(leaves, targets, strict=True)]
        x_out = rebuild(x, iter(targets))
    elif x_out is not x or state_out is not state:
        targets = _transfer(x, state, targets, x_out, state_out)
    else:
        for leaf, target in zip(leaves, targets, strict=True):
            _writable(leaf, target)
    for leaf, target, step, record, rate in zip(state_out.leaves, targets, steps, records, rates, strict=True):
        _apply(leaf, target, step, record, rate, state.t)
    if state_out.average is not None:
        share = state_out.share()
        for leaf, target in zip(state_out.leaves, targets, strict=True):
            _blend(leaf, target, share)
            if overwrites(state_out.average, state_out.t):
                _overwrite(leaf, target)
    state_out.t += 1
    return x_out, state_out


def _is_quick(x, g, leaf):
    """Whether x and g are vectors just as the kernel takes them: the short way of `update` for small arrays."""
    return (
        leaf is not None
        and type(x) is np.ndarray
        and type(g) is np.ndarray
        and x.shape == leaf.shape == g.shape
        and x.dtype == leaf.dtype == g.dtype
        and x.flags.carray
        and g.flags.carray
    )


def _operand(leaf, x, g):
    """(where, values, width) of the gradient of one array."""
    if _is_quick(x, g, leaf):
        return ALL, (g if g.ndim == 1 else g.reshape(-1)), 1
    if leaf.on_device:
        if not device.is_device(x) or tuple(x.shape) != tuple(leaf.shape) or x.dtype != leaf.dtype:
            raise ValueError(
                f"{leaf.path}: the state was made for a device array of shape {leaf.shape} and dtype {leaf.dtype}"
            )
        if not device.is_device(g) or tuple(g.shape) != tuple(leaf.shape) or g.dtype != leaf.dtype:
            raise TypeError(
                f"g: the gradient of a device array must be a device array of shape {leaf.shape} and dtype {leaf.dtype}"
            )
        if leaf.whole:
            raise ValueError("transforms: a transform that needs the norm does not work on a device array yet")
        return ALL, g, 1
    if device.is_device(x) or device.is_device(g):
        raise TypeError(f"{leaf.path}: the state was made for an array of the host; copy x and g there")
    if not isinstance(x, np.ndarray):
        x = _check.floating(leaf.path, x)
    if x.shape != leaf.shape or x.dtype != leaf.dtype:
        if x.shape == leaf.shape and x.dtype.kind in "iu":
            x = x.astype(leaf.dtype)
        else:
            raise ValueError(
                f"{leaf.path}: got {x.dtype} of shape {x.shape}; the state was made for {leaf.dtype} of {leaf.shape}"
            )
    return operand(g, x, "g" + leaf.path[1:])


def _duplicate(leaf, x):
    return device.copy(x) if leaf.on_device else np.array(x, leaf.dtype, order="C")


def _writable(leaf, x):
    if leaf.on_device:
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
                device.view(target).copy_to_device(device.view(source))
            else:
                target[...] = source
    if state_out is not state:
        state_out.assign(state)
    return targets


def _settled(leaves, targets, steps, rates):
    """The records of each array's update, with the transforms that look at whole arrays replaced by their factors."""
    if not leaves or not leaves[0].whole:
        return [leaf.update for leaf in leaves]
    heads, chains = [leaf.head for leaf in leaves], [leaf.update.transforms for leaf in leaves]
    position = 0
    while isinstance(chains[0], Chain):
        firsts = [record.first for record in chains]
        if hasattr(firsts[0], "factor"):
            norms = [_norm(position, *parts) for parts in zip(leaves, heads, targets, steps, rates, strict=True)]
            if getattr(firsts[0], "together", False):
                norms = [math.hypot(*norms)] * len(norms)
            firsts = [
                Rescale(leaf.dtype.type(factor(first, leaf.dtype.type(norm))))
                for leaf, first, norm in zip(leaves, firsts, norms, strict=True)
            ]
        heads = [Chain(*pair) for pair in zip(heads, firsts, strict=True)]
        chains = [record.rest for record in chains]
        position += 1
    return [leaf.update._replace(transforms=head) for leaf, head in zip(leaves, heads, strict=True)]


def _norm(position, leaf, head, x, step, lr):
    """The 2-norm of a gradient after the transforms of `head`."""
    where, values, width = step
    if width > 1:
        where = (where[:, None] * width + np.arange(width)).reshape(-1)
    return leaf.norm(position, head, where, _flat(x), values, lr)


def _flat(x):
    """A vector of the content of x: a view, where x is contiguous."""
    return x if x.ndim == 1 and x.flags.c_contiguous else np.ascontiguousarray(x).reshape(-1)


def _apply(leaf, x, step, records, lr, t):
    where, values, width = step
    if leaf.on_device:
        size = leaf.size
        kernel = device.kernels().dense
        device.launch(kernel, size, records, device.view(x), device.view(values), leaf.flat, lr, t)
        return
    flat = _flat(x)
    if width > 1:
        leaf.rows(records, where, flat, values, leaf.flat, lr, t)
    else:
        leaf.move(records, where, flat, values, lr, t)
    if not x.flags.c_contiguous:
        x[...] = flat.reshape(x.shape)


def _blend(leaf, x, share):
    if leaf.on_device:
        device.launch(device.kernels().blend, leaf.size, device.view(leaf.mean), device.view(x), leaf.dtype.type(share))
    else:
        compiled_blend(_flat(leaf.mean), _flat(x), leaf.dtype.type(share))


def _overwrite(leaf, x):
    """x = mean"""
    if leaf.on_device:
        device.view(x).copy_to_device(device.view(leaf.mean))
    else:
        x[...] = leaf.mean
