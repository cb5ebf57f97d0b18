"""The best fixed weights in hindsight, with a certified bound of their distance from the optimum."""

import math
import warnings
from typing import Any, NamedTuple

import numpy as np
import scipy

from .. import _check
from .._csr import as_csr
from ..compiler.jit import compiled_for
from ..linear.model_options import check_options
from ..linear.targets import BinaryLabels, Numbers, check_sample_weight
from ..records.binary_losses import Hinge, Logistic, ModifiedHuber, Perceptron, SmoothHinge, SquaredHinge
from ..records.domains import check_domain, minimize_coordinates, minimize_linear, project, soft, strengths
from ..records.multiclass_losses import is_multi_output_loss, target_type
from ..records.penalties import Box
from ..records.regression_losses import (
    Absolute,
    EpsilonInsensitive,
    Huber,
    Poisson,
    Quantile,
    Squared,
    SquaredEpsilonInsensitive,
)
from .smoothed_losses import evaluate_losses

SMOOTH_LOSSES = (
    Logistic, SquaredHinge, SmoothHinge, ModifiedHuber, Squared, Huber, Poisson, SquaredEpsilonInsensitive,
)  # fmt: skip
SMOOTHINGS = 10.0 ** -np.arange(0, 9)  # of other losses, one after the other
# Other losses as sums of hinges: (slope, offset) -> max(slope p + offset, 0), where the functions take (loss, y).
HINGES: dict[type, Any] = {
    Hinge: lambda loss, y: [(-y, np.ones_like(y))],
    Perceptron: lambda loss, y: [(-y, np.zeros_like(y))],
    Absolute: lambda loss, y: [(np.ones_like(y), -y), (-np.ones_like(y), y)],
    EpsilonInsensitive: lambda loss, y: [
        (np.ones_like(y), -y - loss.epsilon), (-np.ones_like(y), y - loss.epsilon)
    ],
    Quantile: lambda loss, y: [
        (np.full_like(y, 1 - loss.tau), (loss.tau - 1) * y), (np.full_like(y, -loss.tau), loss.tau * y)
    ],
}  # fmt: skip
LP_VALUES = 2_000_000  # largest number of stored values of the matrix of a linear program
LP_OPTIONS = {
    "time_limit": 60.0, "primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10,
}  # fmt: skip
MAX_ITERATIONS = 20_000
POLISHED_FEATURES = 2_000  # largest number of features whose Hessian is formed
ROUNDS_BETWEEN_BOUNDS = 25
MAX_NEWTON_STEPS = 30
ROUNDING = 16 * float(np.finfo(float).eps)  # of the objective, which is part of the gap
RADIUS_FACTOR = 10.0


class Comparator(NamedTuple):
    """Fixed weights and what is known of them, as `best_fixed` returns it.

    Attributes
    ----------
    coef : ndarray of shape (n_features,)
        Weights.
    intercept : float
        Intercept, 0 without one.
    objective : float
        Weighted mean loss plus the penalty.
    gap : float
        No weights within `radius` have an objective below ``objective - gap``.
    radius : float
        Euclidean norm, intercept included, up to which the gap holds; inf if it holds for all weights of the domain.
    total : float
        Sum of the weighted losses plus the penalty times the sum of the sample weights.
    total_weight : float
        Sum of the sample weights.
    n_iter : int
        Iterations of the solver.
    """

    coef: Any
    intercept: float
    objective: float
    gap: float
    radius: float
    total: float
    total_weight: float
    n_iter: int


class _Problem:
    """Mean loss of the rows plus a penalty, on a domain."""

    def __init__(self, X, y, weight, loss, penalty, domain, intercept):
        self.X, self.y, self.weight, self.loss = X, y, weight, loss
        self.transposed = X.T.tocsr()
        self.total_weight = float(weight.sum())
        self.penalty, self.domain, self.intercept = penalty, domain, intercept
        self.n_features = X.shape[1]
        self.buffers = tuple(np.empty(X.shape[0]) for _ in range(3))
        self.kernel = compiled_for(evaluate_losses, loss)

    def losses(self, w, smoothing):
        """Return the smoothed mean loss and its gradient at w, whose last entry is the intercept if there is one."""
        scores = self.X @ w[: self.n_features]
        if self.intercept:
            scores += w[-1]
        values, slopes, points = self.buffers
        self.kernel(self.loss, self.y, scores, smoothing, values, slopes, points)
        weighted = self.weight * slopes / self.total_weight
        gradient = self.transposed @ weighted
        if self.intercept:
            gradient = np.append(gradient, weighted.sum())
        return float(self.weight @ values) / self.total_weight, gradient

    def second_derivatives(self, w):
        """Return the second derivative of the loss of each row, by central differences of the slopes."""
        scores = self.X @ w[: self.n_features] + (w[-1] if self.intercept else 0.0)
        width = 1e-6 * np.maximum(1.0, np.abs(scores))
        slopes = []
        for shifted in (scores + width, scores - width):
            values, slope, points = (np.empty_like(scores) for _ in range(3))
            self.kernel(self.loss, self.y, shifted, 0.0, values, slope, points)
            slopes.append(slope)
        return np.maximum((slopes[0] - slopes[1]) / (2 * width), 0.0)

    def penalty_value(self, w):
        """Return the penalty of the weights."""
        w = w[: self.n_features]
        return float(np.sum(self.penalty.l1 * np.abs(w)) + np.sum(self.penalty.l2 * w * w) / 2)

    def bound(self, w, smoothing):
        """Return (objective, lower bound of all objectives within the radius, radius)."""
        objective = self.objective(w)
        _, gradient = self.losses(w, smoothing)
        _, slopes, points = self.buffers
        values = np.empty_like(points)
        self.kernel(self.loss, self.y, points.copy(), 0.0, values, np.empty_like(points), np.empty_like(points))
        # The loss of a row at the score p is at least its value at the proximal point q plus slope (p - q).
        constant = float(self.weight @ (values - slopes * points)) / self.total_weight
        return (objective, *self.bound_by_tangents(w, objective, constant, gradient))

    def bound_by_tangents(self, w, objective, constant, gradient):
        """Return (lower bound, radius) for weights w, if the mean loss is at least constant + gradient·v at each v."""
        g, g_intercept = gradient[: self.n_features], float(gradient[self.n_features :].sum())
        radius = RADIUS_FACTOR * max(1.0, float(np.linalg.norm(w)))
        rest, is_global = self._penalized_minimum(g, radius)
        if self.intercept and g_intercept != 0:
            rest, is_global = rest - radius * abs(g_intercept), False
        smallest = float(np.min(self.penalty.l1))
        if not is_global and not self.intercept and smallest > 0 and not np.any(self.penalty.l2):
            # A better point has a penalty of at most this objective, because losses are not negative.
            excess = float(np.maximum(np.abs(g) - self.penalty.l1, 0.0).max())
            return max(constant - excess * objective / smallest, 0.0), math.inf
        return constant + rest, math.inf if is_global else radius

    def objective(self, w):
        """Return the mean loss plus the penalty."""
        return self.losses(w, 0.0)[0] + self.penalty_value(w)

    def _penalized_minimum(self, g, radius):
        """Return the minimum of g·v + penalty(v) over the domain, and whether the radius is not needed."""
        l1, l2, box = self.penalty
        if self.domain is not None and not isinstance(self.domain, Box):
            return minimize_linear(self.domain, g, l1), True
        if box is None and self.domain is None:
            minima = minimize_coordinates(g, l1, l2)
            is_bounded = np.isfinite(minima)
            slack = float(np.linalg.norm(np.maximum(np.abs(g) - l1, 0.0)[~is_bounded]))
            return float(minima[is_bounded].sum()) - radius * slack, slack == 0
        lower, upper = (np.broadcast_to(b, g.shape) for b in (box or self.domain))
        clipped = np.maximum(lower, -radius), np.minimum(upper, radius)
        minima = minimize_coordinates(g, l1, l2, *clipped)
        is_lower = minimize_coordinates(g, l1, l2, lower, upper) < minima
        return float(minima.sum()), not np.any(is_lower)


def _solve_by_coordinates(problem, w, smoothing, tol):
    """Minimise by L-BFGS-B; an L1 penalty is linear in the positive and the negative parts of the weights."""
    l1, l2, box = problem.penalty
    d, n = problem.n_features, w.size
    box = box or problem.domain
    split = np.any(np.asarray(l1) > 0)

    def objective(parts):
        v = parts[:n].copy()
        if split:
            v[:d] -= parts[n:]
        value, gradient = problem.losses(v, smoothing)
        value += float(np.sum(l2 * v[:d] ** 2)) / 2
        gradient[:d] += l2 * v[:d]
        if split:
            value += float(np.sum(l1 * (parts[:d] + parts[n:])))
            gradient = np.concatenate([gradient, -gradient[:d]])
            gradient[:d] += l1
            gradient[n:] += l1
        return value, gradient

    start = np.concatenate([np.maximum(w[:d], 0), w[d:], np.maximum(-w[:d], 0)]) if split else w
    lower, upper = np.full(start.size, -np.inf), np.full(start.size, np.inf)
    if split:
        lower[:d] = lower[n:] = 0.0
    if box is not None:
        low, high = (np.broadcast_to(bound, d) for bound in (box.lower, box.upper))
        if split:
            lower[:d], upper[:d] = np.maximum(low, 0), np.maximum(high, 0)
            lower[n:], upper[n:] = np.maximum(-high, 0), np.maximum(-low, 0)
        else:
            lower[:d], upper[:d] = low, high
    result = scipy.optimize.minimize(
        objective, np.clip(start, lower, upper), jac=True, method="L-BFGS-B",
        bounds=scipy.optimize.Bounds(lower, upper),
        options={"maxiter": MAX_ITERATIONS, "maxfun": 2 * MAX_ITERATIONS, "ftol": 0.0, "gtol": tol, "maxcor": 30},
    )  # fmt: skip
    v = result.x[:n].copy()
    if split:
        v[:d] -= result.x[n:]
    return v, result.nit


def _polish(problem, w, tol):
    """Minimise a smooth loss further by Newton's method, over the weights that are not at a kink or a bound."""
    l1, l2, box = problem.penalty
    d, box = problem.n_features, box or problem.domain
    free = np.ones(w.size, bool)
    free[:d] = (w[:d] != 0) | (np.broadcast_to(l1, d) == 0)
    if box is not None:
        free[:d] &= (w[:d] > box.lower) & (w[:d] < box.upper)
    if not 0 < free.sum() <= POLISHED_FEATURES:
        return w
    columns = problem.X[:, np.flatnonzero(free[:d])]
    if problem.intercept:
        columns = scipy.sparse.hstack([columns, np.ones((columns.shape[0], 1))], format="csr")
    curvature = np.append(np.broadcast_to(l2, d), 0.0)[: w.size][free]

    def gradient_at(v):
        gradient = problem.losses(v, 0.0)[1]
        gradient[:d] += l2 * v[:d] + l1 * np.sign(v[:d])
        return gradient[free]

    gradient = gradient_at(w)
    for _ in range(MAX_NEWTON_STEPS):
        if np.linalg.norm(gradient) <= tol:
            break
        second = problem.weight * problem.second_derivatives(w) / problem.total_weight
        hessian = (columns.T @ columns.multiply(second[:, None])).toarray() + np.diag(curvature)
        hessian[np.diag_indices_from(hessian)] += 1e-14 * max(hessian.trace(), 1e-300)
        direction = np.zeros_like(w)
        direction[free] = -np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        for size in (1.0, 0.5, 0.25, 0.1):
            new = w + size * direction
            stays = np.all((np.sign(new) == np.sign(w))[:d][np.broadcast_to(l1, d) > 0])
            stays = stays and (box is None or np.all((new[:d] >= box.lower) & (new[:d] <= box.upper)))
            new_gradient = gradient_at(new)
            if stays and np.linalg.norm(new_gradient) < np.linalg.norm(gradient):
                break
        else:
            break
        w, gradient = new, new_gradient
    return w


def _solve_by_projections(problem, w, smoothing, tol):
    """Minimise by accelerated proximal gradient steps with restarts (Beck and Teboulle 2009)."""
    l1, l2, _ = problem.penalty
    d, ones = problem.n_features, np.ones(problem.n_features)

    def step(v, gradient, size):
        z = v - size * gradient
        z[:d] = project(problem.domain, soft(z[:d], size * l1) / (1 + size * l2), ones)
        return z

    w = step(w, np.zeros_like(w), 0.0)
    momentum_point, t, inverse_size = w.copy(), 1.0, 1e-3
    for k in range(MAX_ITERATIONS):
        value, gradient = problem.losses(momentum_point, smoothing)
        while True:
            new = step(momentum_point, gradient, 1 / inverse_size)
            change = new - momentum_point
            new_value, _ = problem.losses(new, smoothing)
            if new_value <= value + gradient @ change + inverse_size / 2 * (change @ change) + 1e-15 * abs(value):
                break
            inverse_size *= 2
        if k % ROUNDS_BETWEEN_BOUNDS == 0:
            objective, lower, _ = problem.bound(new, smoothing)
            if objective - lower <= tol:
                return new, k
        if (momentum_point - new) @ (new - w) > 0:  # the momentum points uphill
            t = 1.0
        t_new = (1 + math.sqrt(1 + 4 * t * t)) / 2
        momentum_point = new + (t - 1) / t_new * (new - w)
        w, t, inverse_size = new, t_new, inverse_size * 0.9
    return w, MAX_ITERATIONS


def best_fixed(
    X: Any,
    y: Any,
    loss: Any = "logistic",
    penalty: Any = None,
    domain: Any = None,
    tol: float = 1e-6,
    *,
    intercept: bool = False,
    sample_weight: Any = None,
    classes: Any = None,
) -> Comparator:
    r"""Return the best fixed weights in hindsight, with a certified gap.

    The weights minimise the weighted mean loss plus the penalty over a domain.  The gap is a bound of the duality gap:
    each loss is replaced by a tangent, and the sum is minimised exactly.  It holds whatever the solver did.

    Parameters
    ----------
    X : sparse matrix or array of shape (n_rows, n_features)
        Rows.
    y : array of shape (n_rows,)
        Two labels, or numbers for a loss of regression.
    loss : str or loss record, default "logistic"
        A convex loss of one output, whose values are not negative.
    penalty : penalty record, optional
        None, `L1`, `L2`, `ElasticNet`, `Box` or `NonNegative`.  The intercept is not penalised.
    domain : domain record, optional
        `L1Ball`, `L2Ball`, `Simplex` or `Box`, for the weights without the intercept.  Default: all weights.
    tol : float, default 1e-6
        Largest gap, as a fraction of the objective at zero, in (0, 1).  A `RuntimeWarning` says if the gap is larger.
    intercept : bool, default False
        Whether to fit an intercept.
    sample_weight : array of shape (n_rows,), optional
        Weights of the rows, in [0, inf).  Default: 1.
    classes : list of two labels, optional
        Labels, of which the second is positive.  Default: the labels of y in increasing order.

    Returns
    -------
    Comparator
        Its `gap` holds for all weights if the penalty is strongly convex, or `L1` without an intercept, or if the
        domain is bounded.  Otherwise it holds within the norm `radius`, ten times that of the weights.

    Notes
    -----
    Losses with kinks, such as the hinge loss, make a linear program if they have no penalty or `L1`, no domain, and at
    most 2 million stored values; HiGHS solves it (2 to 4 s on the 32,561 rows of a9a).  Otherwise they are replaced by
    Moreau envelopes of decreasing smoothing, whose gap is then about 1e-4 to 1e-2 of the objective.  Weights that are
    not in a ball or simplex are found by L-BFGS-B and, for smooth losses, Newton's method; the others by accelerated
    proximal gradient steps.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import L1, best_fixed
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> best = best_fixed(X, X[:, 0] > 0.1, penalty=L1(0.1))
    >>> best.coef.round(3), best.gap < 1e-6
    (array([1.917, 0.   , 0.   ]), True)
    """
    _check.in_interval("tol", tol, "(0, 1)")
    _check.boolean("intercept", intercept)
    loss = check_options(loss, None)["loss"]
    if is_multi_output_loss(loss):
        raise TypeError(f"loss: got {loss!r}, a loss of several outputs; use a loss of one output, such as 'logistic'")
    if domain is not None:
        check_domain(domain)
    each = strengths(penalty)
    if domain is not None and (each.box is not None or (np.any(each.l2) and not isinstance(domain, Box))):
        raise ValueError(
            f"penalty: got {penalty!r} with the domain {domain!r}; use L1 or no penalty, or L2 with a Box domain"
        )
    if domain is not None and np.ndim(each.l1) and not isinstance(domain, Box):
        raise ValueError("penalty: got strengths per feature with a domain; use one strength, or Box as the domain")
    X = as_csr(X, np.float64)
    for record in (penalty, domain):
        if record is not None:
            _check.penalty_shape(record, X.shape[1])
    labels: Any = Numbers(str(target_type(loss)))
    if target_type(loss) == "binary":
        labels = BinaryLabels() if classes is None else BinaryLabels.from_declared(classes)
    y, _ = labels.encode(y, X.shape[0], np.float64)
    weight = check_sample_weight(sample_weight, X.shape[0], np.dtype(np.float64))
    if not weight.sum() > 0:
        raise ValueError("X: has no row with a positive weight; a comparator needs at least one")
    problem = _Problem(X, y, weight, loss, each, domain, intercept)
    return _minimize(problem, tol)


def _is_linear_program(problem):
    """Return whether the problem is a linear program of moderate size: hinges, with L1 or without a penalty."""
    is_plain = problem.domain is None and problem.penalty.box is None and not np.any(problem.penalty.l2)
    return is_plain and type(problem.loss) in HINGES and problem.X.nnz <= LP_VALUES


def _solve_linear_program(problem):
    """Return (weights, objective, lower bound, radius, iterations) of a sum of hinges, or None.

    The dual has one variable in [0, 1] for each hinge, and says that the gradient of the losses is at most l1 in
    magnitude.  Its variables give tangents of the losses, so the bound holds whatever the solver did.
    """
    share = problem.weight / problem.total_weight
    parts = HINGES[type(problem.loss)](problem.loss, problem.y)
    gradients = scipy.sparse.hstack([problem.transposed.multiply(share * slope).tocsc() for slope, _ in parts])
    offsets = np.concatenate([share * offset for _, offset in parts])
    d, l1 = problem.n_features, np.broadcast_to(problem.penalty.l1, problem.n_features)
    equality = {}
    if problem.intercept:
        sums = np.concatenate([share * slope for slope, _ in parts])
        equality = {"A_eq": scipy.sparse.csr_array(sums[None]), "b_eq": [0.0]}
    found = scipy.optimize.linprog(
        -offsets, A_ub=scipy.sparse.vstack([gradients, -gradients]), b_ub=np.concatenate([l1, l1]), bounds=(0, 1),
        method="highs", options=LP_OPTIONS, **equality,
    )  # fmt: skip
    if found.status != 0:
        return None
    w = found.ineqlin.marginals[:d] - found.ineqlin.marginals[d:]
    if problem.intercept:
        w = np.append(w, found.eqlin.marginals)
    tangents = np.clip(found.x, 0.0, 1.0)
    gradient = gradients @ tangents
    if problem.intercept:
        gradient = np.append(gradient, sums @ tangents)
    objective = problem.objective(w)
    lower, radius = problem.bound_by_tangents(w, objective, float(offsets @ tangents), gradient)
    return w, objective, lower, radius, int(found.nit)


def _minimize(problem, tol):
    """Solve a problem to a relative gap of `tol`, and warn if it is larger."""
    w = np.zeros(problem.n_features + problem.intercept)
    at_zero = problem.losses(w, 0.0)[0]
    scale, found = max(at_zero, np.finfo(float).tiny), None
    if at_zero == 0 and problem.domain is None and problem.penalty.box is None:
        found = w, 0.0, 0.0, math.inf, 0  # losses are not negative
    elif _is_linear_program(problem):
        found = _solve_linear_program(problem)
    w, objective, lower, radius, n_iter = found or _minimize_by_smoothing(problem, w, tol, scale)
    gap = max(objective - lower, 0.0) + ROUNDING * abs(objective)
    if gap > tol * scale:
        warnings.warn(
            f"best_fixed: the gap is {gap:.3g}, which exceeds tol times the objective at zero, {tol * scale:.3g}; "
            "use a larger tol, or a penalty",
            RuntimeWarning,
            stacklevel=3,
        )
    d = problem.n_features
    return Comparator(
        w[:d],
        float(w[d:].sum()),
        objective,
        gap,
        radius,
        objective * problem.total_weight,
        problem.total_weight,
        n_iter,
    )


def _minimize_by_smoothing(problem, w, tol, scale):
    """Return (weights, objective, lower bound, radius, iterations) of the smoothing with the smallest gap."""
    separable = problem.domain is None or isinstance(problem.domain, Box)
    solve = _solve_by_coordinates if separable else _solve_by_projections
    best, n_iter = None, 0
    for smoothing in (0.0,) if isinstance(problem.loss, SMOOTH_LOSSES) else SMOOTHINGS:
        w, n_steps = solve(problem, w, smoothing, tol * scale / (100 if separable else 2))
        n_iter += n_steps
        if separable and smoothing == 0:
            w = _polish(problem, w, tol * scale / 1000)
        objective, lower, radius = problem.bound(w, smoothing)
        if best is None or objective - lower < best[1] - best[2]:
            best = w, objective, lower, radius
        if best[1] - best[2] <= tol * scale:
            break
    return *best, n_iter
