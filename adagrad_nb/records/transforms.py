"""Transforms: what happens to a gradient before the rule sees it, in the order of the tuple.

A transform is a record with ``transform(x, g, lr) -> (x, g)`` for one coordinate; ``transform_at(x, g, lr, i)``
besides, if it differs from coordinate to coordinate.  One that looks at the whole array has ``scale_for_norm(norm)``
instead: the number that the gradient is multiplied with, given its 2-norm at that place in the order; with
``uses_global_norm = True``, the 2-norm of the gradients of all arrays.  `Only` and `Except` choose arrays by their
names: their ``for_array(path)`` returns the transform of the array of that name.
"""

import math
from typing import Any, NamedTuple

from .._check import matches_any, name_patterns, record_methods
from .._legacy import get_member, has_member
from ..compiler.jit import jitable, method, pick

transform = method("transform")


@jitable
def _transform_any_coordinate(item, x, g, lr, i):
    """A transform that is the same at every coordinate."""
    return transform(item, x, g, lr)


transform_at = method("transform_at", default=_transform_any_coordinate)


class Identity(NamedTuple):
    """The transform that changes nothing; the end of every chain."""

    branchless = True

    def transform(self, x, g, lr):
        return x, g


class Chain(NamedTuple):
    """`first`, then `rest`: how a tuple of transforms enters a kernel, as one record."""

    first: Any
    rest: Any

    def transform_at(self, x, g, lr, i):
        x, g = transform_at(self.first, x, g, lr, i)
        return transform_at(self.rest, x, g, lr, i)


def chain_transforms(transforms):
    """Fold a tuple of transforms into one record."""
    record = Identity()
    for item in reversed(transforms):
        record = Chain(item, record)
    return record


def clip_scale(clip, norm):
    """The factor that brings a norm to at most the bound; 1 to the last bit within it, NaN where there is no norm."""
    if norm <= clip.bound:
        return type(norm)(1)
    return clip.bound / norm if norm < math.inf else type(norm)(math.nan)


class Rescale(NamedTuple):
    """Multiply the gradient by a factor.

    Parameters
    ----------
    by : float
        Finite.

    Examples
    --------
    >>> from adagrad_nb import Rescale
    >>> Rescale(0.5).transform(1.0, 4.0, 0.1)
    (1.0, 2.0)
    """

    by: float

    domain = {"by": "(-inf, inf)"}

    def transform(self, x, g, lr):
        return x, g * self.by


class Maximize(NamedTuple):
    """Turn the sign of the gradient, so that the objective is maximised.

    What stands after it in the tuple sees the turned gradient: a decay still shrinks x.

    Examples
    --------
    >>> from adagrad_nb import Maximize
    >>> Maximize().transform(1.0, 4.0, 0.1)
    (1.0, -4.0)
    """

    def transform(self, x, g, lr):
        return x, -g


class ClipValue(NamedTuple):
    """Clip each component of the gradient to [-bound, bound].

    Parameters
    ----------
    bound : float
        In (0, inf).

    Examples
    --------
    >>> from adagrad_nb import ClipValue
    >>> ClipValue(1.0).transform(0.0, -3.0, 0.1)
    (0.0, -1.0)
    """

    bound: float

    domain = {"bound": "(0, inf)"}

    def transform(self, x, g, lr):
        return x, (self.bound if g > self.bound else (-self.bound if g < -self.bound else g))


class ClipNorm(NamedTuple):
    """Shrink the gradient of each array to a 2-norm of at most `bound`.

    Parameters
    ----------
    bound : float
        In (0, inf).

    Notes
    -----
    A gradient within the bound is untouched to the last bit.  A NaN or infinity in it, or squares whose sum
    overflows, make all of it NaN.

    Examples
    --------
    >>> from adagrad_nb import ClipNorm
    >>> ClipNorm(1.0).scale_for_norm(4.0), ClipNorm(1.0).scale_for_norm(0.5)
    (0.25, 1.0)
    """

    bound: float

    domain = {"bound": "(0, inf)"}

    scale_for_norm = clip_scale


class ClipGlobalNorm(NamedTuple):
    """Shrink the gradients of all arrays by one factor, to a common 2-norm of at most `bound`.

    Parameters
    ----------
    bound : float
        In (0, inf).

    Notes
    -----
    Gradients within the bound are untouched to the last bit.  A NaN or infinity in one, or squares whose sum
    overflows, make all of them NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import ClipGlobalNorm, init, update
    >>> x = [np.zeros(1), np.zeros(1)]
    >>> state = init(x, lr=1.0, transforms=(ClipGlobalNorm(1.0),))
    >>> x, state = update(x, [np.array([3.0]), np.array([4.0])], state)
    >>> [float(slots[0][0].round(2)) for slots in state.slots]
    [0.36, 0.64]
    """

    bound: float

    uses_global_norm = True
    domain = {"bound": "(0, inf)"}

    scale_for_norm = clip_scale


class L2Decay(NamedTuple):
    """g + strength x: weight decay that enters the accumulators, as PyTorch's `weight_decay`.

    Parameters
    ----------
    strength : float or ndarray of the shape of x
        In [0, inf).

    Examples
    --------
    >>> from adagrad_nb import L2Decay
    >>> L2Decay(0.5).transform(2.0, 1.0, 0.1)
    (2.0, 2.0)
    """

    strength: float | Any

    decays = True
    domain = {"strength": "[0, inf)"}

    def transform(self, x, g, lr):
        return x, g + self.strength * x

    def transform_at(self, x, g, lr, i):
        return x, g + pick(self.strength, i) * x


class DecoupledDecay(NamedTuple):
    """x - lr strength x before the step: weight decay that the accumulators do not see, as Keras' `weight_decay`.

    Parameters
    ----------
    strength : float or ndarray of the shape of x
        In [0, inf).
    times_lr : bool, default True
        False leaves lr out of it, as BrainPy does.

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter, "Decoupled Weight Decay Regularization", ICLR 2019.

    Examples
    --------
    >>> from adagrad_nb import DecoupledDecay
    >>> DecoupledDecay(0.5).transform(2.0, 1.0, 0.5)
    (1.5, 1.0)
    """

    strength: float | Any
    times_lr: bool = True

    decays = True
    domain = {"strength": "[0, inf)", "times_lr": "bool"}

    def transform(self, x, g, lr):
        decay = x * self.strength
        return (x - decay * lr if self.times_lr else x - decay), g

    def transform_at(self, x, g, lr, i):
        decay = x * pick(self.strength, i)
        return (x - decay * lr if self.times_lr else x - decay), g


class Only(NamedTuple):
    """A transform for the arrays whose name matches.

    Parameters
    ----------
    inner : transform record
    match : str or tuple of str
        Regular expressions, one of which is to be found in the name.  Names read like the expression that gets the
        array: ``x['layer1']['bias']``, ``x[0]``.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import L2Decay, Only, init, update
    >>> x = {"weight": np.ones(1), "bias": np.ones(1)}
    >>> state = init(x, lr=0.5, transforms=(Only(L2Decay(0.1), "weight"),))
    >>> zero = {"weight": np.zeros(1), "bias": np.zeros(1)}
    >>> update(x, zero, state)[0]
    {'weight': array([0.5]), 'bias': array([1.])}
    """

    inner: Any
    match: Any

    def check(self):
        _check_array_choice(self)

    def for_array(self, path):
        """The transform of the array of that name."""
        return self.inner if matches_any(self.match, path) else Identity()


class Except(NamedTuple):
    """A transform for the arrays whose name does not match.

    Parameters
    ----------
    inner : transform record
    match : str or tuple of str
        Regular expressions, as of `Only`.

    Examples
    --------
    >>> from adagrad_nb import DecoupledDecay, Except
    >>> Except(DecoupledDecay(0.01), ("bias", "norm")).for_array("x['bias']")
    Identity()
    """

    inner: Any
    match: Any

    def check(self):
        _check_array_choice(self)

    def for_array(self, path):
        """The transform of the array of that name."""
        return Identity() if matches_any(self.match, path) else self.inner


def _check_array_choice(choice):
    name = type(choice).__name__
    inner = choice.inner
    record_methods(f"{name}.inner", inner, () if needs_norm(inner) else ("transform",), "L2Decay(1e-4)")
    name_patterns(f"{name}.match", choice.match)


def for_array(item, path):
    """Return the transform that `item` is for the array of that name."""
    choose = get_member(item, "for_array")
    return item if choose is None else choose(path)


scale_for_norm = method("scale_for_norm")


def is_for_some_arrays(transform):
    """Return whether a transform chooses arrays by their names."""
    return has_member(transform, "for_array")


def needs_norm(transform):
    """Return whether a transform, or class of transforms, takes the norm of the gradient."""
    return has_member(transform, "scale_for_norm")


def uses_global_norm(transform):
    """Return whether a transform that takes a norm takes that of the gradients of all arrays."""
    return bool(get_member(transform, "uses_global_norm", False))


def is_weight_decay(transform):
    """Return whether a transform shrinks x, or adds x times a strength to the gradient."""
    return has_member(transform, "decays")
