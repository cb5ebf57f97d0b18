"""Test problems with known minima, and checks of user-defined rules, losses and penalties, and of bounds of regret."""

import dis
import types
import warnings
from typing import Any, NamedTuple

import numpy as np

from . import _check
from ._legacy import has_member
from .compiler.jit import is_compiled, llvm_ir
from .linear.fit import fit_linear
from .optim.kernels import array_update
from .optim.state import init
from .optim.step import update
from .records.dual_averaging import is_dual_averaging
from .records.global_rules import has_memory
from .records.losses import has_probabilities, inverse_link, target_type
from .records.matrix_rules import has_matrices
from .records.penalties import prox, prox_k, prox_k_sum, value, value_k_sum
from .records.rules import initial_slots, step_at, takes_penalty


class Rosenbrock(NamedTuple):
    """Rosenbrock function: sum_i a (x[i+1] - x[i]**2)**2 + (1 - x[i])**2.

    The minimum is 0 at (1, …, 1).

    Parameters
    ----------
    a : float, default 100.0
        In (0, inf).

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import minimize_adagrad
    >>> from adagrad_nb.testing import Rosenbrock
    >>> res = minimize_adagrad(Rosenbrock(), np.zeros(4), lr=1.0)
    >>> bool(res.fun < 1e-4)
    True
    """

    a: float = 100.0

    domain = {"a": "(0, inf)"}

    def value_grad(self, x, g):
        two = type(self.a)(2)
        value = g[0] = x[0] - x[0]
        for i in range(x.shape[0] - 1):
            residual = x[i + 1] - x[i] * x[i]
            rest = type(self.a)(1) - x[i]
            value += self.a * residual * residual + rest * rest
            g[i] -= two * (two * self.a * residual * x[i] + rest)
            g[i + 1] = two * self.a * residual
        return value


class Quadratic(NamedTuple):
    """Separable quadratic function: sum_i curvature[i] (x[i] - minimum[i])**2 / 2.

    Parameters
    ----------
    curvature : ndarray of shape (n,)
        Second derivatives, each positive.
    minimum : ndarray of shape (n,)
        Position of the minimum.
    """

    curvature: Any
    minimum: Any

    def value_grad(self, x, g):
        value = x[0] - x[0]
        for i in range(x.shape[0]):
            g[i] = self.curvature[i] * (x[i] - self.minimum[i])
            value += g[i] * (x[i] - self.minimum[i]) / type(value)(2)
        return value


def quadratic(n: int, condition: float = 1e3) -> Quadratic:
    """Return a `Quadratic` of n variables whose curvatures increase geometrically from 1 to `condition`."""
    return Quadratic(np.geomspace(1.0, condition, n), np.linspace(-1.0, 1.0, n))


# Targets on which `check_loss` evaluates a loss, by target type.
TARGETS = {"binary": (-1.0, 1.0, 1.0), "continuous": (-1.5, 0.0, 2.0), "count": (0.0, 1.0, 4.0)}


# --- checks of user-defined records ------------------------------------------------------------------------------


def _warn_of_globals(record):
    """Warn of numbers and arrays outside the record that its methods read: compiled code keeps their first values."""
    cls = type(record)
    for name in dir(cls):
        function = getattr(cls, name)
        if not isinstance(function, types.FunctionType):
            continue
        variables = dict(function.__globals__)
        for cell_name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            variables[cell_name] = cell.cell_contents
        for instruction in dis.get_instructions(function):
            value = variables.get(instruction.argval) if instruction.opname in ("LOAD_GLOBAL", "LOAD_DEREF") else None
            if isinstance(value, (int, float, np.generic, np.ndarray)):
                warnings.warn(
                    f"{cls.__name__}.{name}: reads {instruction.argval}, which is not a field; compiled code keeps the "
                    "value of its compilation, so make it a field if it may change",
                    UserWarning,
                    stacklevel=3,
                )


def check_rule(rule: Any) -> None:
    """Check a user-defined rule, interpreted and compiled, in float32 and float64.

    Parameters
    ----------
    rule : rule record

    Raises
    ------
    AssertionError, TypeError, ValueError
        If a method is missing or returns a wrong result, if compiled and interpreted steps differ, if float32 code
        computes in double precision, if a zero gradient at the start changes x, or if a step does not start from x and
        `takes_penalty` is not False.

    Examples
    --------
    >>> from adagrad_nb import Adagrad
    >>> from adagrad_nb.testing import check_rule
    >>> check_rule(Adagrad())
    """
    _warn_of_globals(rule)
    name = type(rule).__name__
    if has_memory(rule) or has_matrices(rule):
        raise TypeError(f"rule: a step of {name} depends on all coordinates; check_rule takes rules of one coordinate")
    dtype: Any
    for dtype in (np.float32, np.float64):
        x = np.linspace(-2, 2, 9).astype(dtype)
        state = init(x, rule, lr=0.1)
        leaf = state.leaves[0]
        slots_at_start = tuple(dtype(value) for value in initial_slots(rule))
        if len(slots_at_start) != rule.slots:
            raise ValueError(f"{name}.initial_slots: returned {len(slots_at_start)} values; slots is {rule.slots}")
        x_new, slots = leaf.update.rule.step(dtype(1), dtype(0), slots_at_start, dtype(0.1))
        if len(slots) != rule.slots:
            raise ValueError(f"{name}.step: returned {len(slots)} accumulators; slots is {rule.slots}")
        if x_new != 1:
            raise AssertionError(f"{name}.step: a zero gradient at the start changes x = 1 to {x_new}")
        expected = x.copy()
        for t, g in enumerate((np.cos(x), np.sin(x))):
            g = g.astype(dtype)
            accumulators = tuple(slot.copy() for slot in leaf.flat_slots)
            for i in range(x.size):
                scalars = tuple(slot[i] for slot in accumulators)
                expected[i], _ = step_at(leaf.update.rule, expected[i], g[i], scalars, dtype(0.1), t)
            update(x, g, state, out=(x, state))
            np.testing.assert_allclose(
                x,
                expected,
                rtol=64 * np.finfo(dtype).eps,
                err_msg=f"{name}: compiled and interpreted steps differ",
            )
        _assert_single_precision(name, leaf, x)
        _assert_penalties_act(name, leaf, dtype)


def _assert_penalties_act(name, leaf, dtype):
    """Raise AssertionError if the steps of a rule forget x, with the change that a proximal step has made."""
    rule = leaf.update.rule
    if not takes_penalty(rule) or is_dual_averaging(rule):
        return
    s = tuple(slot[0] for slot in leaf.flat_slots)
    low, high = (step_at(rule, dtype(x), dtype(0.5), s, dtype(0.1), 2)[0] for x in (1, 2))
    if abs(high - low) < 0.5:
        raise AssertionError(
            f"{name}.step: does not start from x, so a penalty would have no effect; set takes_penalty = False, or "
            "write the methods of dual averaging (see records.dual_averaging)"
        )


def _assert_single_precision(name, leaf, x):
    """Raise AssertionError if float32 code computes in double precision."""
    if x.dtype != np.float32 or not is_compiled(array_update.serial):
        return
    if " fpext float" in llvm_ir(
        array_update.serial, leaf.update, array_update.ALL, x, x, leaf.flat_slots, leaf.constant_lr, 0
    ):
        raise AssertionError(
            f"{name}: its float32 code computes in double precision; avoid literals such as 1.0 and 2, "
            "and store constants in fields"
        )


def check_loss(loss: Any) -> None:
    """Check a user-defined loss.

    The slope must be the derivative of the value, or at a kink lie between the one-sided derivatives.  Inverse links
    that are probabilities must lie in [0, 1].  Then a model is trained on three rows.

    Parameters
    ----------
    loss : loss record

    Raises
    ------
    AssertionError
        If a check fails; the message has the target and the prediction.

    Examples
    --------
    >>> from adagrad_nb import Logistic
    >>> from adagrad_nb.testing import check_loss
    >>> check_loss(Logistic())
    """
    _warn_of_globals(loss)
    name, h = type(loss).__name__, 1e-6
    kind = target_type(loss)
    if kind not in TARGETS:
        raise AssertionError(f"{name}.target_type: got {kind!r}; must be one of {', '.join(TARGETS)}")
    for y in TARGETS[kind]:
        for p in (-3.0, -1.0, -0.4, 0.0, 0.3, 1.0, 5.0):
            slope, at = loss.slope(y, p), loss.value(y, p)
            sides = sorted([(at - loss.value(y, p - h)) / h, (loss.value(y, p + h) - at) / h])
            slack = 1e-5 * max(abs(slope), 1)
            if not sides[0] - slack <= slope <= sides[1] + slack:
                raise AssertionError(
                    f"{name}.slope: got {slope} at y={y}, p={p}; must be in [{sides[0]}, {sides[1]}], "
                    "between the one-sided derivatives of value"
                )
            if has_probabilities(loss) and not 0 <= inverse_link(loss, p) <= 1:
                raise AssertionError(
                    f"{name}.inverse_link: got {inverse_link(loss, p)} at p={p}; must be a probability, "
                    "or set probabilities = False"
                )
    model = fit_linear(np.eye(3), np.array(TARGETS[kind]), loss=loss, lr=0.5)
    if not np.isfinite(model.progressive_loss):
        raise AssertionError(f"{name}: got the loss {model.progressive_loss} on three rows; must be finite")


def check_penalty(penalty: Any, size: int = 5) -> None:
    """Check a user-defined penalty.

    `prox` must be the minimiser, `prox_k` the result of k steps, `prox_k_sum` the sum of their iterates, and
    `value_k_sum` the sum of the values there.

    Parameters
    ----------
    penalty : penalty record
    size : int, default 5
        Number of coordinates, which is the length of arrays in the penalty.

    Raises
    ------
    AssertionError
        If a check fails; the message has the point.

    Examples
    --------
    >>> from adagrad_nb import ElasticNet
    >>> from adagrad_nb.testing import check_penalty
    >>> check_penalty(ElasticNet(0.1, 0.2))
    """
    _warn_of_globals(penalty)
    name = type(penalty).__name__
    for i in range(size):
        for x in (-2.0, -0.05, 0.0, 0.3, 4.0):
            for w in (0.1, 1.5):
                z = prox(penalty, x, w, i)
                near = [z + d for d in (-1e-3, -1e-5, 1e-5, 1e-3)]
                at_prox = value(penalty, z, i) + (z - x) ** 2 / (2 * w)
                best = min(value(penalty, n, i) + (n - x) ** 2 / (2 * w) for n in near)
                if not at_prox <= best + 1e-12:
                    raise AssertionError(f"{name}.prox: got {z} at x={x}, w={w}, i={i}; this is not the minimiser")
                after_steps, iterate_sum, value_sum = x, 0.0, 0.0
                for _ in range(3):
                    after_steps = prox(penalty, after_steps, w, i)
                    iterate_sum += after_steps
                    value_sum += value(penalty, after_steps, i)
                if not abs(value_k_sum(penalty, x, w, 3, i) - value_sum) <= 1e-12 * max(abs(value_sum), 1):
                    raise AssertionError(
                        f"{name}.value_k_sum: differs from the values at 3 steps at x={x}, w={w}, i={i}"
                    )
                if not abs(prox_k_sum(penalty, x, w, 3, i) - iterate_sum) <= 1e-12 * max(abs(iterate_sum), 1):
                    raise AssertionError(f"{name}.prox_k_sum: differs from the sum of 3 steps at x={x}, w={w}, i={i}")
                if not abs(prox_k(penalty, x, w, 3, i) - after_steps) <= 1e-12 * max(abs(after_steps), 1):
                    raise AssertionError(f"{name}.prox_k: differs from 3 steps of prox at x={x}, w={w}, i={i}")


# --- bounds of regret --------------------------------------------------------------------------------------------

# Adversaries: gradient of round t at the iterate x, all of whose signs and sizes a bound must survive.
ADVERSARIES = {
    "against": lambda t, x, rng: np.where(x != 0, np.sign(x), 1.0),
    "growing": lambda t, x, rng: 1.2**t * rng.choice([-1.0, 1.0], x.size),
    "heavy": lambda t, x, rng: rng.standard_cauchy(x.size),
    "sparse": lambda t, x, rng: rng.normal(size=x.size) * (rng.random(x.size) < 0.5 ** np.arange(x.size)),
    "drift": lambda t, x, rng: np.sign(x - 0.1 * t),
}


def check_regret(
    rule: Any,
    adversaries: Any = tuple(ADVERSARIES),
    *,
    lr: float = 0.5,
    n_rounds: int = 100,
    size: int = 3,
    rng: int = 0,
) -> None:
    """Check that the regret of a rule against linear losses stays below its bound, after each round.

    Each adversary chooses gradients, some of them by the iterate.  The regret is compared with the bound at the point
    where it exceeds the bound most.  The bound is that of `Ledger.certificate`, which needs a preconditioner that does
    not decrease.  A rule with another bound has the method ``regret_bound(ledger, u) -> float``.

    Parameters
    ----------
    rule : rule record
    adversaries : sequence of {"against", "growing", "heavy", "sparse", "drift"} or functions, default all of them
        "against" has the signs of the iterate, "growing" grows by a fifth each round, "heavy" is of the Cauchy
        distribution, "sparse" has rare coordinates, and the minimum of "drift" moves away.  A function takes
        (t, x, rng) and returns the gradient.
    lr : float, default 0.5
    n_rounds : int, default 100
    size : int, default 3
        Number of coordinates.
    rng : int, default 0
        Seed of the adversaries.

    Raises
    ------
    AssertionError
        With the adversary, the round, the regret and the bound.

    Examples
    --------
    >>> from adagrad_nb import Adagrad
    >>> from adagrad_nb.testing import check_regret
    >>> check_regret(Adagrad())
    """
    for adversary in adversaries:
        name = adversary if isinstance(adversary, str) else getattr(adversary, "__name__", repr(adversary))
        if isinstance(adversary, str):
            _check.one_of("adversaries", adversary, tuple(ADVERSARIES))
        choose = ADVERSARIES[adversary] if isinstance(adversary, str) else adversary
        generator, x = np.random.default_rng(rng), np.zeros(size)
        state = init(x, rule, lr=lr, ledger=True)
        for t in range(n_rounds):
            update(x, np.asarray(choose(t, x.copy(), generator), np.float64), state, out=(x, state))
            _assert_bounded(rule, state.ledger, f"adversary {name!r}, round {t}")


def _assert_bounded(rule, ledger, where):
    """Raise AssertionError if the regret of a ledger exceeds the bound of the rule, or if that has no proof."""
    has_own_bound = has_member(rule, "regret_bound")
    points = [ledger.worst_point()]
    if has_own_bound:
        points += [np.zeros(ledger.shape), -np.sign(ledger.gradient_sum)]
    for u in points:
        regret = ledger.regret(u)
        bound = float(rule.regret_bound(ledger, u)) if has_own_bound else ledger.bound(u)
        found = f"{type(rule).__name__}: {where}: the regret against {u} is {regret:.6g}, the bound {bound:.6g}"
        rounding = 1e-9 * np.sum(np.sqrt(ledger.squares * ledger.n_rounds) * (np.abs(u) + np.abs(ledger.lower)))
        if not (regret <= bound + rounding and np.isfinite(bound)):
            raise AssertionError(found)
        if ledger.n_decreases and not has_own_bound:
            raise AssertionError(
                f"{found}; but the preconditioner decreased, so this bound has no proof; define regret_bound(ledger, u)"
            )
