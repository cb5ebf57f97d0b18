"""Transforms of the gradient before the step of the rule, applied in the order of the tuple.

A transform is a record with one of these methods:

``transform(x, g, lr) -> (x, g)``
    New x and g of one coordinate.
``transform_at(x, g, lr, i) -> (x, g)``
    The same for a transform that depends on the coordinate i.  Default: ``transform(x, g, lr)``.
``scale_for_norm(norm) -> float``
    Factor of the gradient, given the 2-norm of the gradient of the whole array after the transforms before this one.
``scale_for_norms(norm, x_norm) -> float``
    The same for each unit of an array, such as a column of a matrix, given the norms of its gradient and of its x.
``deviation(t) -> float``
    Standard deviation of the noise that is added to the gradient of update t.
``for_array(path) -> transform``
    The transform of the array with the name `path`, for records that select arrays by name, such as `Only`.
``for_size(n) -> transform``
    The transform of an array of n entries, for records that depend on nothing else, such as `ClipRMS`.

and these attributes, which are False by default:

``uses_global_norm``
    True if `scale_for_norm` takes the norm over the gradients of all arrays.
``decays``
    True if the transform is a weight decay.
``keeps_master``
    True if 16-bit arrays have a float32 copy in the state.

Transforms that can hold a gradient back are in `gates`.
"""

import math
from typing import Any, NamedTuple

from .._check import count, matches_any, name_patterns, record_methods
from .._legacy import get_member, has_member
from ..compiler.jit import jitable, method, pick

transform = method("transform")


@jitable
def _transform_any_coordinate(item, x, g, lr, i):
    """Apply a transform that does not depend on the coordinate."""
    return transform(item, x, g, lr)


transform_at = method("transform_at", default=_transform_any_coordinate)
scale_for_norms = method("scale_for_norms")


class Identity(NamedTuple):
    """The identity."""

    branchless = True

    def transform(self, x, g, lr):
        return x, g


class Chain(NamedTuple):
    """`first`, then `rest`: a tuple of transforms as one nested record, the form that kernels take."""

    first: Any
    rest: Any

    def transform_at(self, x, g, lr, i):
        x, g = transform_at(self.first, x, g, lr, i)
        return transform_at(self.rest, x, g, lr, i)


def chain_transforms(transforms, last=Identity()):  # noqa: B008 - a constant record
    """Return a tuple of transforms, and then `last`, as one nested record."""
    record = last
    for item in reversed(transforms):
        record = Chain(item, record)
    return record


def clip_scale(clip, norm):
    """Return min(1, bound / norm): exactly 1 within the bound, NaN if the norm is not finite."""
    if norm <= clip.bound:
        return type(norm)(1)
    return clip.bound / norm if norm < math.inf else type(norm)(math.nan)


class LimitMagnitude(NamedTuple):
    """Limit the magnitude of the gradient, so that its square does not overflow: the end of the chain of every array.

    With an infinite accumulator all later steps of a coordinate would be zero.  NaN and infinity become NaN.
    """

    limit: float

    def transform(self, x, g, lr):
        limited = self.limit if g > self.limit else -self.limit if g < -self.limit else g
        return x, limited + (g - g)


class Rescale(NamedTuple):
    """Multiply the gradient by a factor.

    Parameters
    ----------
    by : float
        Factor, finite.

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
    """Negate the gradient, so that the objective is maximised.

    Transforms after it in the tuple see the negated gradient.  A weight decay after it still shrinks x.

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
    """Clip the gradient of each array to a 2-norm of at most `bound`: g min(1, bound / norm).

    Parameters
    ----------
    bound : float
        In (0, inf).

    Notes
    -----
    A gradient within the bound is unchanged, bit for bit.  If it has a NaN or an infinity, all of it becomes NaN.  The
    norm neither overflows nor underflows with the squares.

    References
    ----------
    .. [1] R. Pascanu, T. Mikolov, Y. Bengio, "On the Difficulty of Training Recurrent Neural Networks", ICML 2013,
       algorithm 1.

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
    """Clip the gradients of all arrays by one factor, to a global 2-norm of at most `bound`.

    Parameters
    ----------
    bound : float
        In (0, inf).

    Notes
    -----
    Gradients within the bound are unchanged, bit for bit.  If one of them has a NaN or an infinity, all of them become
    NaN.  The norm neither overflows nor underflows with the squares.

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


class ClipRMS(NamedTuple):
    """Clip the gradient of each array to a root mean square of at most `bound`, by one factor.

    Parameters
    ----------
    bound : float
        In (0, inf).

    Notes
    -----
    For an array of n entries this is ``ClipNorm(bound * sqrt(n))``.  Entries that a sparse gradient does not list count
    as zeros.

    References
    ----------
    .. [1] N. Shazeer, M. Stern, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost", ICML 2018, section 6;
       optax, ``clip_by_block_rms``.

    Examples
    --------
    >>> from adagrad_nb import ClipRMS
    >>> ClipRMS(0.5).for_size(16)
    ClipNorm(bound=2.0)
    """

    bound: float

    domain = {"bound": "(0, inf)"}

    def for_size(self, n):
        """Return the transform of an array of n entries."""
        return ClipNorm(self.bound * math.sqrt(n))


class AdaptiveClip(NamedTuple):
    r"""Adaptive gradient clipping: clip the gradient of each unit to a multiple of the norm of its parameters.

    .. math:: g_u \leftarrow g_u \min\left(1, \frac{\mathrm{ratio} \cdot \max(\|x_u\|, \epsilon)}{\|g_u\|}\right)

    A unit u is the whole of a vector, a column of a matrix, the entries ``x[:, j, k]`` of an array with three axes, and
    a filter ``x[:, :, :, k]`` of one with four axes.

    Parameters
    ----------
    ratio : float, default 0.01
        In (0, inf).
    eps : float, default 1e-3
        :math:`\epsilon` in (0, inf), so that a unit of zeros can move.

    Notes
    -----
    Units are those of optax, ``adaptive_grad_clip``.  A sparse gradient counts as a dense one with zeros.

    References
    ----------
    .. [1] A. Brock et al., "High-Performance Large-Scale Image Recognition Without Normalization", ICML 2021, eq. 3.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import AdaptiveClip, init, update
    >>> x = np.array([[3.0, 0.3], [4.0, 0.4]])
    >>> state = init(x, transforms=(AdaptiveClip(0.1),))
    >>> _, state = update(x, np.ones((2, 2)), state)
    >>> state.slots[0][0].round(6)                    # squares of the gradients, whose norms are 0.5 and 0.05
    array([[0.125  , 0.00125],
           [0.125  , 0.00125]])
    """

    ratio: float = 0.01
    eps: float = 1e-3

    domain = {"ratio": "(0, inf)", "eps": "(0, inf)"}

    def scale_for_norms(self, norm, x_norm):
        """Return the factor of the gradient of a unit with these norms."""
        limit = self.ratio * (self.eps if x_norm < self.eps else x_norm)
        if norm <= limit:
            return type(norm)(1)
        return limit / norm if norm < math.inf else type(norm)(math.nan)


class AddNoise(NamedTuple):
    r"""Add independent normal noise with variance :math:`\eta / (1 + t)^\gamma` to the gradient of update t.

    Parameters
    ----------
    variance : float
        :math:`\eta` in [0, inf).
    decay : float, default 0.55
        :math:`\gamma` in [0, inf).
    seed : int, default 0
        In [0, 2**63).

    Notes
    -----
    The noise depends on the seed, the update and the name and the size of the array, and on nothing else.  A run that
    is resumed from a file has the same noise.

    References
    ----------
    .. [1] A. Neelakantan et al., "Adding Gradient Noise Improves Learning for Very Deep Networks", arXiv:1511.06807
       (2015), section 3; optax, ``add_noise``.

    Examples
    --------
    >>> from adagrad_nb import AddNoise
    >>> AddNoise(0.04, decay=0.5).deviation(15)
    0.1
    """

    variance: float
    decay: float = 0.55
    seed: int = 0

    domain = {"variance": "[0, inf)", "decay": "[0, inf)"}

    def check(self):
        count("AddNoise.seed", self.seed)

    def deviation(self, t):
        """Return the standard deviation in update t."""
        return math.sqrt(self.variance / (1.0 + t) ** self.decay)


class AddVector(NamedTuple):
    """Add a vector with one entry for each coordinate to the gradient: the noise of one update."""

    values: Any

    def transform_at(self, x, g, lr, i):
        return x, g + pick(self.values, i)


class RescaleUnits(NamedTuple):
    """Multiply the gradient of coordinate i by by[i % n], where n is the number of factors."""

    by: Any

    def transform_at(self, x, g, lr, i):
        return x, g * self.by[i % self.by.shape[0]]


class ZeroNaN(NamedTuple):
    """Replace NaN in the gradient by zero; infinity stays.

    Examples
    --------
    >>> from adagrad_nb import ZeroNaN
    >>> ZeroNaN().transform(1.0, float("nan"), 0.1)
    (1.0, 0.0)
    """

    def transform(self, x, g, lr):
        return x, (g if g == g else type(g)(0))


class L2Decay(NamedTuple):
    """Weight decay as L2 regularisation: g + strength x.

    The decay enters the accumulators of the rule, as PyTorch's `weight_decay`.

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
    """Decoupled weight decay: x - lr strength x before the step.

    The decay does not enter the accumulators of the rule, as Keras' `weight_decay`.

    Parameters
    ----------
    strength : float or ndarray of the shape of x
        In [0, inf).
    times_lr : bool, default True
        Whether the decay is multiplied by the learning rate.  BrainPy does not multiply it.

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


class MasterCopy(NamedTuple):
    """Keep a float32 copy of each 16-bit array in the state, which the updates change; x is the rounded copy.

    It has no effect on other arrays, and its position among the transforms does not matter.

    Notes
    -----
    The copy is made of x at the first update.  Later changes of x by the caller are overwritten.  Without it, x is
    rounded after each update, so changes of less than half a unit in the last place are lost.

    References
    ----------
    .. [1] P. Micikevicius et al., "Mixed Precision Training", ICLR 2018, section 3.1; MXNet, ``multi_precision``.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import MasterCopy, init, update
    >>> for transforms in ((), (MasterCopy(),)):
    ...     x = np.ones(1, np.float16)
    ...     state = init(x, lr=1e-4, transforms=transforms)
    ...     for _ in range(100):
    ...         x, state = update(x, np.ones(1), state)
    ...     print(x)
    [1.]
    [0.998]
    """

    keeps_master = True

    def transform(self, x, g, lr):
        return x, g


class Only(NamedTuple):
    """A transform for the arrays whose names match.

    Parameters
    ----------
    inner : transform record
    match : str, tuple of str or callable
        Regular expressions; a name matches if one of them is found in it.  The name of an array is the expression for
        it, such as ``x['layer1']['bias']`` or ``x[0]``.  Or a function of the name that returns whether it matches.

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
        """Return the transform of the array of this name."""
        return self.inner if matches_any(self.match, path) else Identity()


class Except(NamedTuple):
    """A transform for the arrays whose names do not match.

    Parameters
    ----------
    inner : transform record
    match : str, tuple of str or callable
        Regular expressions or a function, as for `Only`.

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
        """Return the transform of the array of this name."""
        return Identity() if matches_any(self.match, path) else self.inner


def _check_array_choice(choice):
    name = type(choice).__name__
    inner = choice.inner
    record_methods(f"{name}.inner", inner, () if needs_whole_array(inner) else ("transform",), "L2Decay(1e-4)")
    name_patterns(f"{name}.match", choice.match)


def for_array(item: Any, path: str, size: int = 1) -> Any:
    """Return the transform that `item` applies to the array of this name and number of entries."""
    choose = get_member(item, "for_array")
    item = item if choose is None else choose(path)
    fit = get_member(item, "for_size")
    return item if fit is None else fit(size)


scale_for_norm = method("scale_for_norm")


def is_for_some_arrays(transform: Any) -> bool:
    """Return whether a transform selects arrays by name."""
    return has_member(transform, "for_array")


def needs_norm(transform: Any) -> bool:
    """Return whether a transform, or a class of transforms, needs the norm of the gradient."""
    return has_member(transform, "scale_for_norm")


def needs_unit_norms(transform: Any) -> bool:
    """Return whether a transform needs the norms of the units of an array."""
    return has_member(transform, "scale_for_norms")


def adds_noise(transform: Any) -> bool:
    """Return whether a transform adds noise to the gradient."""
    return has_member(transform, "deviation")


def needs_whole_array(transform: Any) -> bool:
    """Return whether a transform is defined by the whole array instead of one coordinate."""
    return (
        needs_norm(transform)
        or needs_unit_norms(transform)
        or adds_noise(transform)
        or has_member(transform, "for_size")
    )


def needs_python(transform: Any) -> bool:
    """Return whether compiled loops cannot apply a transform, or the transform that it applies to some arrays."""
    inner = getattr(transform, "inner", transform)
    return needs_unit_norms(inner) or adds_noise(inner)


def keeps_master(transform: Any) -> bool:
    """Return whether a transform asks for a float32 copy of 16-bit arrays."""
    return has_member(transform, "keeps_master")


def list_transforms(chain: Any) -> list[Any]:
    """Return the transforms of a `Chain`."""
    items = []
    while isinstance(chain, Chain):
        items.append(chain.first)
        chain = chain.rest
    return items


def uses_global_norm(transform: Any) -> bool:
    """Return whether a transform needs the norm over the gradients of all arrays."""
    return bool(get_member(transform, "uses_global_norm", False))


def is_weight_decay(transform: Any) -> bool:
    """Return whether a transform is a weight decay, coupled or decoupled."""
    return has_member(transform, "decays")
