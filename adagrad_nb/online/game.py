"""Online games: `play` meets a sequence of losses, one after the other, and measures the regret."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _check
from ..optim.ledger import DUAL_AVERAGING, MIRROR_DESCENT, Ledger
from ..optim.state import init
from ..optim.step import update
from ..records.domains import check_domain, contains, project
from ..records.dual_averaging import RDA, is_dual_averaging
from ..records.penalties import Box

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy.typing as npt


class Game:
    """Result of `play`.

    Attributes
    ----------
    iterates : ndarray of shape (n_rounds, n)
        Iterate of each round.
    losses : ndarray of shape (n_rounds,)
        Loss of each round at its iterate, without the penalty.
    gradients : ndarray of shape (n_rounds, n)
        Gradient of each loss at its iterate.
    ledger : Ledger
        Sums of the updates.  With a delay, its iterates are those when the gradients arrive.
    drift : float
        Sum of the differences of the linear losses and penalties between the iterates of the rounds and those of the
        ledger; 0 without a delay.
    functions : list
        The loss of each round as a function, or None for a linear loss.
    """

    def __init__(
        self, iterates: np.ndarray, losses: np.ndarray, gradients: np.ndarray, ledger: Ledger, functions: list,
        drift: float,
    ) -> None:  # fmt: skip
        self.iterates, self.losses, self.gradients = iterates, losses, gradients
        self.ledger, self.functions, self.drift = ledger, functions, drift

    def regret(self, u: npt.ArrayLike) -> float:
        """Return the composite regret against the fixed point u."""
        point = np.asarray(_check.finite_array("u", np.asarray(u, np.float64)))
        if point.shape != self.iterates.shape[1:]:
            raise ValueError(f"u: got shape {point.shape}; must be {self.iterates.shape[1:]}")
        losses = [
            g @ point if function is None else float(function(point)[0])
            for function, g in zip(self.functions, self.gradients, strict=True)
        ]
        penalties = [self.ledger.penalty_at(x) for x in self.iterates]
        return float(self.losses.sum() + np.sum(penalties) - sum(losses)) - len(losses) * self.ledger.penalty_at(point)

    def gap(self, domain: Any = None) -> float:
        """Return an upper bound of the composite regret against every point of a domain, by default that of the game.

        See `Ledger.gap`.
        """
        return self.ledger.gap(domain) + self.drift

    def certificate(self, u: npt.ArrayLike) -> float:
        """Return a bound of the composite regret against u, by theorem 5 of the Adagrad paper.

        See `Ledger.certificate`.  With a delay, the measured `drift` is added.
        """
        return self.ledger.certificate(u) + self.drift

    def __repr__(self) -> str:
        return f"Game({len(self.losses)} rounds, loss {self.losses.sum():.6g}, {self.ledger})"


def play(
    rounds: Iterable[npt.ArrayLike | Callable[[np.ndarray], Any]],
    x0: npt.ArrayLike,
    rule: Any = None,
    delay: int = 0,
    *,
    lr: npt.ArrayLike = 0.5,
    penalty: Any = None,
    domain: Any = None,
) -> Game:
    """Play an online game and return its iterates, losses and ledger of regret.

    In each round the iterate is fixed first; then its loss and gradient become known, and the rule makes an update.

    Parameters
    ----------
    rounds : array of shape (n_rounds, n), or iterable of arrays and functions
        An array g of shape (n,) is the linear loss ``g @ x``.  A function ``f(x) -> (loss, gradient)`` is convex.
    x0 : array_like of shape (n,)
        First iterate, in the domain.
    rule : rule record, default Adagrad()
    delay : int, default 0
        Number of rounds after which a gradient arrives.  The updates of the last gradients follow the last round.
    lr : float or array of shape (n,), default 0.5
        Learning rate, or a schedule, for which there is no certificate.
    penalty : penalty record, optional
        Part of each loss: None, `L1`, `L2`, `ElasticNet`, `Box` or `NonNegative`.
    domain : domain record, optional
        Set to which each iterate is projected in the metric of the preconditioner.  `L1Ball`, `L2Ball` and `Simplex`
        take no penalty.

    Returns
    -------
    Game

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import L2Ball, play
    >>> gradients = np.random.default_rng(0).normal(size=(100, 3))
    >>> game = play(gradients, np.zeros(3), domain=L2Ball(1.0))
    >>> best = -gradients.sum(0) / np.linalg.norm(gradients.sum(0))
    >>> bool(np.isclose(game.regret(best), game.gap())), bool(game.gap() < game.certificate(best))
    (True, True)
    """
    _check.count("delay", delay)
    x = np.array(_check.finite_array("x0", _check.real_array("x0", x0)), np.float64)
    if x.ndim != 1:
        raise ValueError(f"x0: got shape {x.shape}; must be a vector")
    if not hasattr(rounds, "__iter__"):
        raise TypeError(f"rounds: got {type(rounds).__name__}; must be an array of gradients, or an iterable of losses")
    state = init(x, rule, lr=lr, penalty=penalty, ledger=True)
    ledger: Any = state.ledger
    if domain is not None:
        _check_game_domain(domain, state, x)
        ledger.domain = domain
    iterates, losses, gradients, functions, drift = [], [], [], [], 0.0
    pending: collections.deque = collections.deque()

    def apply_oldest():
        nonlocal drift
        played, g = pending.popleft()
        if delay:
            drift += g @ (played - x) + ledger.penalty_at(played) - ledger.penalty_at(x)
        update(x, g, state, out=(x, state))
        if domain is not None:
            _project(domain, x, ledger)

    for t, item in enumerate(rounds):
        function = item if callable(item) else None
        loss, g = (None, item) if function is None else _evaluate(function, x, t)
        g = np.array(_check.finite_array(f"rounds[{t}]", _check.real_array(f"rounds[{t}]", g)), np.float64)
        if g.shape != x.shape:
            raise ValueError(f"rounds[{t}]: got a gradient of shape {g.shape}; must have the shape of x0, {x.shape}")
        iterates.append(x.copy())
        gradients.append(g)
        losses.append(float(g @ x) if loss is None else loss)
        functions.append(function)
        pending.append((iterates[-1], g))
        if len(pending) > delay:
            apply_oldest()
    while pending:
        apply_oldest()
    if not losses:
        raise ValueError("rounds: got none; a game needs at least one")
    return Game(np.array(iterates), np.array(losses), np.array(gradients), ledger, functions, float(drift))


def _evaluate(function, x, t):
    """Return the loss of round t at x as a number, and its gradient."""
    found = function(x.copy())
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        raise TypeError(
            f"rounds[{t}]: the function returned {_check.shorten_repr(found)}; must return (loss, gradient)"
        )
    loss = _check.finite_array(f"rounds[{t}]", _check.real_array(f"rounds[{t}]", found[0]))
    if loss.size != 1:
        raise ValueError(f"rounds[{t}]: the function returned a loss of shape {loss.shape}; must be a number")
    return float(loss.item()), found[1]


def _check_game_domain(domain, state, x):
    """Raise ValueError for a domain that does not fit the rule, the penalty or the start."""
    check_domain(domain)
    _check.penalty_shape(domain, x.size)
    if not contains(domain, x, 1e-9):
        raise ValueError(f"x0: is not in the domain {domain!r}; use project(domain, x0, ones) or another start")
    if not isinstance(domain, Box):
        if state.ledger.has_penalty:
            raise ValueError(f"domain: got {domain!r} with the penalty {state.penalty!r}; use a Box, or no penalty")
        if is_dual_averaging(state.rule) and not isinstance(state.rule, RDA):
            raise ValueError(f"domain: {type(state.rule).__name__} does not support {domain!r}; use RDA or Adagrad")


def _project(domain, x, ledger):
    """Project x in place in the metric of the preconditioner; for RDA from the point that its sums give."""
    h = ledger.arrays.preconditioner
    if isinstance(domain, Box) or ledger.kind not in (DUAL_AVERAGING, MIRROR_DESCENT):
        x[:] = project(domain, x, np.ones_like(h))
        return
    if ledger.kind == DUAL_AVERAGING:
        x[:] = -ledger.lr * np.divide(ledger.arrays.gradient_sum, h, out=np.zeros_like(h), where=h > 0)
    x[:] = project(domain, x, h)
