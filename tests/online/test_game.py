"""Online games: iterates, losses, regret and certificates, with domains, delays and functions as losses."""

import pickle

import numpy as np
import pytest

from adagrad_nb import FTRL, L1, RDA, Adagrad, Box, InverseSqrt, L1Ball, L2Ball, Simplex, init, play, update
from adagrad_nb.records.domains import contains, project

N, D, LR = 60, 3, 0.4


@pytest.fixture
def gradients(rng):
    return rng.normal(size=(N, D)) + 0.2


def squared_error(target):
    """Return the loss |x - target|² / 2 with its gradient."""
    return lambda x: ((x - target) @ (x - target) / 2, x - target)


def test_a_game_of_linear_losses_equals_updates(gradients):
    game = play(gradients, np.ones(D), lr=LR)
    x, state = np.ones(D), init(np.ones(D), lr=LR)
    for t, g in enumerate(gradients):
        np.testing.assert_array_equal(game.iterates[t], x)
        assert game.losses[t] == g @ x
        x, state = update(x, g, state)
    u = np.array([0.5, -1.0, 2.0])
    assert game.regret(u) == pytest.approx(np.sum(gradients * (game.iterates - u)), rel=1e-12)
    assert game.regret(u) == pytest.approx(game.ledger.regret(u), rel=1e-12)
    assert game.regret(u) <= game.certificate(u)
    again = pickle.loads(pickle.dumps(game))
    assert again.certificate(u) == game.certificate(u)
    assert "60 rounds" in repr(game)


@pytest.mark.parametrize("rule", [Adagrad(eps=0.0), RDA(), RDA(eps=1.0)], ids=str)
def test_the_iterates_of_a_domain_are_those_of_a_state(rule, gradients):
    gradients[:30, 0] = gradients[:20, 1] = 0  # coordinates that are free for some rounds
    domain, x = Simplex(1.0), np.full(D, 1 / D)
    game, state = play(gradients, x, rule, lr=LR, domain=domain), init(x, rule, lr=LR, domain=domain)
    for t, g in enumerate(gradients):
        np.testing.assert_allclose(game.iterates[t], x, rtol=1e-12, atol=1e-13)
        x, state = update(x, g, state)


def test_functions_as_losses(rng):
    targets = rng.normal(size=(N, D))
    game = play(map(squared_error, targets), np.zeros(D), lr=LR, penalty=L1(0.1))
    u = targets.mean(0)
    losses = [((x - a) @ (x - a) - (u - a) @ (u - a)) / 2 for x, a in zip(game.iterates, targets, strict=True)]
    penalties = 0.1 * (np.abs(game.iterates).sum() - N * np.abs(u).sum())
    assert game.regret(u) == pytest.approx(sum(losses) + penalties, rel=1e-10)
    assert game.regret(u) <= game.ledger.regret(u) <= game.certificate(u)


DOMAINS = (L1Ball(0.8), L2Ball(0.8), Simplex(0.8), Box(-0.3, 0.5))


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: type(domain).__name__)
@pytest.mark.parametrize("rule", [Adagrad(), RDA(eps=4.0)], ids=lambda rule: type(rule).__name__)
def test_domains(rule, domain, gradients, rng):
    start = project(domain, np.zeros(D), np.ones(D))
    game = play(gradients, start, rule, lr=LR, domain=domain)
    x, G, z = start, np.zeros(D), np.zeros(D)
    for t, g in enumerate(gradients):
        np.testing.assert_allclose(game.iterates[t], x, rtol=0, atol=1e-9)
        assert contains(domain, game.iterates[t], 1e-9)
        G, z = G + g * g, z + g
        h = rule.eps + np.sqrt(G)
        x = project(domain, -LR * z / h if isinstance(rule, RDA) else x - LR * g / h, h)
    points = [project(domain, p, np.ones(D)) for p in 5 * rng.normal(size=(50, D))]
    assert max(map(game.regret, points)) <= game.gap() + 1e-9
    for u in points:
        assert game.regret(u) <= game.certificate(u)


@pytest.mark.parametrize("delay", [1, 7, 100])
def test_delays(delay, gradients):
    game = play(gradients, np.zeros(D), lr=LR, delay=delay, penalty=L1(0.1))
    x, state = np.zeros(D), init(np.zeros(D), lr=LR, penalty=L1(0.1))
    for t in range(N):
        np.testing.assert_array_equal(game.iterates[t], x)
        if t >= delay:
            x, state = update(x, gradients[t - delay], state)
    assert game.ledger.n_rounds == N  # the last gradients arrive after the last round
    for u in (np.zeros(D), np.ones(D), -np.ones(D)):
        linear = np.sum(gradients * (game.iterates - u))
        penalties = 0.1 * (np.abs(game.iterates).sum() - N * np.abs(u).sum())
        assert game.regret(u) == pytest.approx(linear + penalties, rel=1e-10)
        assert game.regret(u) == pytest.approx(game.ledger.regret(u) + game.drift, rel=1e-9)
        assert game.regret(u) <= min(game.certificate(u), game.gap(L2Ball(2.0)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rounds": []}, "rounds: got none"),
        ({"rounds": [np.ones(2)]}, r"rounds\[0\]: got a gradient of shape \(2,\)"),
        ({"rounds": [np.array([1.0, np.nan, 0.0])]}, r"rounds\[0\]: got nan at index 1"),
        ({"x0": np.ones((3, 1))}, r"x0: got shape \(3, 1\)"),
        ({"x0": np.ones(3), "domain": L2Ball(1.0)}, r"x0: is not in the domain"),
        ({"domain": L2Ball(1.0), "penalty": L1(0.1)}, "domain: got L2Ball.*with the penalty"),
        ({"domain": L2Ball(1.0), "rule": FTRL()}, "FTRL does not support"),
        ({"domain": 1.0}, "domain: got 1.0"),
        ({"delay": -1}, "delay: got -1"),
        ({"x0": np.ones(3) + 1j}, "x0: got dtype complex128"),
        ({"domain": Box([-1.0, -1.0], 1.0)}, r"Box.lower: got shape \(2,\)"),
        ({"rounds": None}, "rounds: got NoneType; must be an array of gradients"),
        ({"rounds": np.ones((2, 3)) + 1j}, r"rounds\[0\]: got dtype complex128"),
        ({"rounds": [lambda x: 1.0]}, r"rounds\[0\]: the function returned 1.0; must return \(loss, gradient\)"),
        ({"rounds": [lambda x: (x, x)]}, r"rounds\[0\]: the function returned a loss of shape \(3,\)"),
        ({"rounds": [lambda x: ("a", x)]}, r"rounds\[0\]: got dtype <U1"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        play(**{"rounds": np.ones((2, 3)), "x0": np.zeros(3)} | arguments)


def test_certificates_that_do_not_exist(gradients):
    with pytest.raises(ValueError, match="u: is not in the domain"):
        play(gradients, np.zeros(D), domain=L2Ball(1.0)).certificate(np.ones(D))
    with pytest.raises(ValueError, match="RDA must start at the projection of 0 onto Simplex"):
        play(gradients, np.eye(D)[0], RDA(eps=1.0), domain=Simplex(1.0)).certificate(np.eye(D)[0])
    game = play(gradients, np.zeros(D), lr=InverseSqrt(0.5))
    with pytest.raises(ValueError, match="the learning rate changes"):
        game.certificate(np.zeros(D))
    with pytest.raises(ValueError, match=r"u: got shape \(2,\)"):
        game.regret(np.zeros(2))
