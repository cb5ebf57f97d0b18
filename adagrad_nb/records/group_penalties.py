"""Group penalties: mixed norms over the weights that a feature has in a model of several classes.

They remove whole features from a model.  In `init` and `update` the rows of a matrix take the place of the features.
`Grouped` applies them to groups of features of a model of one output, or of the entries of a vector.
A group penalty has the methods of a penalty of single coordinates (see
`penalties`), which are those of `L1` here, and these members:

``is_group = True``
    Marks the record as a group penalty.
``group_value(x, i) -> float``
    Value of the penalty for the weights x of feature i.
``group_prox(x, w, k, i)``
    Replace x by the result of k proximal steps, in place.  Each step minimises
    ``group_value(z, i) + sum of (z[l] - x[l])**2 / (2 * w[l])`` over z, where w has the step sizes of the weights.
``group_prox_step(x, w, i, threads)``
    Optional: one proximal step by several threads of a CUDA device, each of which reads and writes the weights of
    ``range(first_entry(threads), x.shape[0], entry_stride(threads))``.  `sum_over_threads` and `max_over_threads` give
    all of them the same number.  Without this method one thread calls `group_prox` for each group.
"""

import math
from typing import Any, NamedTuple

from .._check import count_groups, group_numbers, record_methods
from .._legacy import get_member
from ..compiler.jit import jitable, method, pick
from .penalties import L1

group_prox = method("group_prox")


@jitable
def _step_of_one_thread(penalty, x, w, i, threads):
    """Apply one proximal step of a penalty that has no `group_prox_step`."""
    group_prox(penalty, x, w, 1, i)


group_prox_step = method("group_prox_step", default=_step_of_one_thread)
first_entry, entry_stride = method("first_entry"), method("entry_stride")
sum_over_threads, max_over_threads = method("sum_over_threads"), method("max_over_threads")


class OneThread(NamedTuple):
    """The threads that share the weights of a feature on the host: there is one."""

    def first_entry(self):
        """Return the position of the first weight of this thread."""
        return 0

    def entry_stride(self):
        """Return the distance between two weights of this thread."""
        return 1

    def sum_over_threads(self, value):
        """Return the sum of a number over all threads."""
        return value

    def max_over_threads(self, value):
        """Return the maximum of a number over all threads."""
        return value


def is_group_penalty(penalty: Any) -> bool:
    """Return whether a penalty, or a class of penalties, is a group penalty."""
    return bool(get_member(penalty, "is_group", False))


@jitable
def _has_equal_entries(w):
    """Return whether all step sizes are equal."""
    for l in range(1, w.shape[0]):
        if w[l] != w[0]:
            return False
    return w.shape[0] > 0 and w[0] == w[0]


@jitable
def _group_l2_prox(x, w, strength, threads):
    """Apply one proximal step of the Euclidean norm in place; return whether x is non-zero afterwards.

    The minimiser is z[l] = x[l] s / (s + strength w[l]), where s = |z| solves
    sum of (x[l] / (s + strength w[l]))**2 = 1.  The inverse square root of that sum is concave in s.  So Newton's
    method converges monotonically from the left, and takes one step if all step sizes are equal
    (J. Moré, D. Sorensen, SIAM J. Sci. Stat. Comput. 4 (1983) 553-572).
    """
    first, stride = first_entry(threads), entry_stride(threads)
    scaled_square_sum = square_sum = fixed_square_sum = strength - strength
    largest_step = fixed_square_sum
    for l in range(first, x.shape[0], stride):
        square = x[l] * x[l]
        square_sum += square
        if w[l] > 0:
            scaled_square_sum += (x[l] / w[l]) * (x[l] / w[l])
            largest_step = max(largest_step, w[l])
        else:
            fixed_square_sum += square
    scaled_square_sum = sum_over_threads(threads, scaled_square_sum)
    square_sum, fixed_square_sum = sum_over_threads(threads, square_sum), sum_over_threads(threads, fixed_square_sum)
    largest_step = max_over_threads(threads, largest_step)
    if fixed_square_sum == 0 and not scaled_square_sum > strength * strength:
        for l in range(first, x.shape[0], stride):
            x[l] = fixed_square_sum
        return False
    s = max(math.sqrt(square_sum) - strength * largest_step, math.sqrt(fixed_square_sum))
    for _ in range(100):
        total = derivative = strength - strength
        for l in range(first, x.shape[0], stride):
            if x[l] != 0:
                divisor = s + strength * w[l]
                term = (x[l] / divisor) * (x[l] / divisor)
                total += term
                derivative += term / divisor
        total, derivative = sum_over_threads(threads, total), sum_over_threads(threads, derivative)
        increment = total * (math.sqrt(total) - strength / strength) / derivative
        previous = s
        s += increment
        if not s > previous:
            break
    for l in range(first, x.shape[0], stride):
        x[l] = x[l] * (s / (s + strength * w[l]))
    return True


class GroupL2(NamedTuple):
    r"""Group lasso penalty :math:`\lambda \sum_i \|w_i\|_2`, where :math:`w_i` are the weights of feature i.

    All weights of a feature become zero together.

    Parameters
    ----------
    strength : float or ndarray of shape (n_features,)
        :math:`\lambda` in [0, inf).

    Notes
    -----
    Adagrad's step sizes differ from class to class.  Then k proximal steps have no closed form: the k missed steps of a
    feature are applied one by one, until its weights are zero.  With `RDA` and `FTRL` the penalties of all updates act
    in one proximal step, which takes the same time for any k.  With ``average`` the missed iterates are summed one by
    one.

    References
    ----------
    .. [1] J. Duchi, E. Hazan, Y. Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
       Optimization", JMLR 12 (2011) 2121-2159, sections 5.3 and 5.5.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import GroupL2, fit_linear
    >>> X = np.random.default_rng(0).normal(size=(1000, 5))
    >>> y = X[:, :2] @ np.array([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]])  # three classes, by two of the features
    >>> model = fit_linear(X, y.argmax(axis=1), penalty=GroupL2(0.1), lr=0.1, passes=5)
    >>> np.abs(model.coef).max(axis=0).round(1)
    array([1.2, 1.1, 0. , 0. , 0. ])
    """

    strength: float | Any

    is_group = True
    domain = {"strength": "[0, inf)"}

    value = L1.value
    prox = L1.prox
    prox_k = L1.prox_k

    def group_value(self, x, i):
        total = x[0] - x[0]
        for l in range(x.shape[0]):
            total += x[l] * x[l]
        return pick(self.strength, i) * math.sqrt(total)

    def group_prox(self, x, w, k, i):
        strength = pick(self.strength, i)
        if strength == 0 or k == 0:
            return
        if _has_equal_entries(w):  # k steps equal one step of k times the size
            strength *= type(strength)(k)
            k = 1
        for _ in range(k):
            if not _group_l2_prox(x, w, strength, OneThread()):
                return

    def group_prox_step(self, x, w, i, threads):
        strength = pick(self.strength, i)
        if strength > 0:
            _group_l2_prox(x, w, strength, threads)


@jitable
def _group_linf_prox(x, w, strength, threads):
    """Apply one proximal step of the maximum norm in place."""
    first, stride = first_entry(threads), entry_stride(threads)
    zero = strength - strength
    fixed_level = zero  # weights with a step size of zero are not clipped
    for l in range(first, x.shape[0], stride):
        if not w[l] > 0:
            fixed_level = max(fixed_level, abs(x[l]))
    fixed_level = max_over_threads(threads, fixed_level)
    # The sum is convex and decreases with the level, so Newton's method converges monotonically from zero.
    level = zero
    for _ in range(x.shape[0] + 1):
        weighted_sum = inverse_step_sum = zero
        for l in range(first, x.shape[0], stride):
            if abs(x[l]) > level and w[l] > 0:
                weighted_sum += abs(x[l]) / w[l]
                inverse_step_sum += type(strength)(1) / w[l]
        weighted_sum = sum_over_threads(threads, weighted_sum)
        inverse_step_sum = sum_over_threads(threads, inverse_step_sum)
        if not weighted_sum - strength > level * inverse_step_sum:
            break
        previous = level
        level = (weighted_sum - strength) / inverse_step_sum
        if not level > previous:  # by rounding; the level would stay for as many iterations as there are weights
            break
    level = max(level, fixed_level)
    for l in range(first, x.shape[0], stride):
        if abs(x[l]) > level:
            x[l] = math.copysign(level, x[l]) if level > 0 else zero


class GroupLinf(NamedTuple):
    r"""Mixed-norm penalty :math:`\lambda \sum_i \|w_i\|_\infty`, where :math:`w_i` are the weights of feature i.

    All weights of a feature become zero together.  The largest weights of a feature become equal in magnitude.

    Parameters
    ----------
    strength : float or ndarray of shape (n_features,)
        :math:`\lambda` in [0, inf).

    Notes
    -----
    A proximal step clips the weights to :math:`[-\tau, \tau]`, where :math:`\tau` solves
    :math:`\sum_l [|x_l| - \tau]_+ / w_l = \lambda` with the step sizes :math:`w_l`.  k steps equal one step of strength
    :math:`k \lambda`.

    References
    ----------
    .. [1] J. Duchi, E. Hazan, Y. Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
       Optimization", JMLR 12 (2011) 2121-2159, sections 5.4 and 5.5.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import GroupLinf
    >>> x = np.array([3.0, -2.0, 0.5])
    >>> GroupLinf(2.0).group_prox(x, np.ones(3), 1, 0)
    >>> x
    array([ 1.5, -1.5,  0.5])
    """

    strength: float | Any

    is_group = True
    domain = {"strength": "[0, inf)"}

    value = L1.value
    prox = L1.prox
    prox_k = L1.prox_k

    def group_value(self, x, i):
        top = abs(x[0])
        for l in range(1, x.shape[0]):
            top = max(top, abs(x[l]))
        return pick(self.strength, i) * top

    def group_prox(self, x, w, k, i):
        strength = pick(self.strength, i)
        if strength == 0 or k == 0:
            return
        _group_linf_prox(x, w, strength * type(strength)(k), OneThread())

    def group_prox_step(self, x, w, i, threads):
        strength = pick(self.strength, i)
        if strength > 0:
            _group_linf_prox(x, w, strength, threads)


class Grouped(NamedTuple):
    r"""A group penalty of groups of features, such as the categories of a column: :math:`\sum_j \varphi(w_{(j)})`.

    All weights of a group become zero together.  It is for `fit_linear` with two classes or numbers, and for vectors in
    `init` and `update`.

    Parameters
    ----------
    penalty : GroupL2 or GroupLinf
        :math:`\varphi`.  An array of strengths has an entry for each group.
    groups : array_like of int, shape (n_features,)
        Number of the group of each feature, from 0 on.  A model has as many features as there are entries.  For the
        rows of a table, `Columns.groups` has the number of the column of each feature.

    Notes
    -----
    Each update acts on all groups.  In `fit_linear` the steps that a group missed are applied when a row has one of its
    features, so a stored value takes as much time as its group has features.  A sparse gradient in `update` acts on the
    groups of the coordinates that it lists.

    References
    ----------
    .. [1] M. Yuan, Y. Lin, "Model Selection and Estimation in Regression with Grouped Variables", J. R. Statist. Soc. B
       68 (2006) 49-67.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import RDA, GroupL2, Grouped, fit_linear
    >>> X = np.random.default_rng(0).normal(size=(1000, 6))
    >>> y = X[:, 0] - X[:, 1] > 0
    >>> penalty = Grouped(GroupL2(0.1), [0, 0, 1, 1, 2, 2])
    >>> fit_linear(X, y, penalty=penalty, rule=RDA(), lr=0.5).coef.round(1)
    array([ 1.3, -1.3,  0. ,  0. ,  0. ,  0. ])
    """

    penalty: Any
    groups: tuple | Any

    is_group = True

    @property
    def n_groups(self):
        """Number of groups: the largest number and one more."""
        return count_groups(self.groups)

    def check(self):
        record_methods("Grouped.penalty", self.penalty, ("group_value", "group_prox"), "GroupL2(1e-4)")
        group_numbers("Grouped.groups", self.groups)

    def value(self, x, i):
        return x - x  # that of a group is not a sum over its weights

    def prox(self, x, w, i):
        return x  # the groups are treated together, after the steps of all their weights
