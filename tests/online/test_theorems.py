"""Known answers: theorem 5 and lemma 4 of the Adagrad paper, online-to-batch conversion, and the regret on a9a."""

import pathlib

import numba
import numpy as np
import pytest

from adagrad_nb import Adagrad, OnlineToBatch, best_fixed, fit_linear, init, load_svmlight, play, update

DATA = pathlib.Path(__file__).parents[2] / "examples" / "data"
N_GAMES, T = 10_000, 30


def test_theorem_5_holds_for_ten_thousand_adversaries(rng):
    """One coordinate and lr = 1/2 in plain NumPy; the gradients have many scales, and some depend on the iterate."""
    lr, x, G, S, z, second = 0.5, *np.zeros((5, N_GAMES))
    far, u = np.zeros((T, N_GAMES)), rng.normal(size=N_GAMES) * 10.0 ** rng.uniform(-2, 2, N_GAMES)
    is_adaptive = rng.random(N_GAMES) < 0.5
    for t in range(T):
        g = rng.standard_cauchy(N_GAMES) * 10.0 ** rng.uniform(-3, 3, N_GAMES)
        g = np.where(is_adaptive, np.abs(g) * np.where(x > u, 1.0, -1.0), g)
        far[t], S, z, G = (x - u) ** 2, S + g * x, z + g, G + g * g
        second += g * g / np.sqrt(G)
        x = x - lr * g / np.sqrt(G)
    excess = S - z * u - (np.sqrt(G) * far.max(0) / (2 * lr) + lr / 2 * second)  # the certificate
    assert np.all(excess <= 1e-9 * (np.sqrt(G) * far.max(0) + np.abs(S)))
    assert np.all(second <= 2 * np.sqrt(G) * (1 + 1e-12))  # lemma 4: so theorem 5 is not smaller
    assert np.any(S - z * u > 0.25 * np.sqrt(G) * far.max(0) / (2 * lr))  # the bound is not vacuous


def test_ledger_is_within_theorem_5(rng):
    for scale in (1e-3, 1.0, 1e3):
        gradients = scale * rng.standard_cauchy((50, 4))
        ledger = play(gradients, np.zeros(4), Adagrad(eps=0.0), lr=0.5).ledger
        u = rng.normal(size=4)
        roots, far = np.sqrt(ledger.squares), np.maximum(np.abs(u - ledger.lower), np.abs(u - ledger.upper))
        theorem = far.max() ** 2 * roots.sum() / (2 * 0.5) + 0.5 * roots.sum()
        assert ledger.regret(u) <= ledger.certificate(u) <= theorem
        assert np.all(ledger.energy <= 2 * roots)  # lemma 4


@pytest.mark.parametrize(("gradients", "share"), [([1.0] * 100, 0.929), ([3.0], 0.5), ([1e9] + [1.0] * 99, 0.5)])
def test_lemma_4(gradients, share):
    """The sum of g² / ||g_1:t|| is at most twice ||g_1:T||: 18.59 of 20 for 100 equal gradients."""
    ledger = play(np.array(gradients)[:, None], np.zeros(1), Adagrad(eps=0.0)).ledger
    assert ledger.energy[0] / (2 * np.sqrt(ledger.squares[0])) == pytest.approx(share, abs=1e-3)


def test_the_mean_of_the_iterates_is_within_regret_over_rounds():
    """Online-to-batch conversion for f(x) = |x - 1|: f(mean) - f(1) <= regret against 1 over T, for T = 1, …, 10."""
    x = np.zeros(1)
    state = init(x, Adagrad(eps=0.0), lr=0.7, average=OnlineToBatch(), ledger=True)
    for n_rounds in range(1, 11):
        update(x, np.sign(x - 1), state, out=(x, state))
        excess = abs(state.means[0][0] - 1)
        assert excess <= state.ledger.regret(np.ones(1)) / n_rounds + 1e-15
        assert excess <= state.ledger.certificate(np.ones(1)) / n_rounds + 1e-15


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="learns from all of a9a")
def test_a9a():
    X, y = load_svmlight(DATA / "a9a.xz")
    model, best = fit_linear(X, y, lr=0.5, intercept=False, ledger=True), best_fixed(X, y, tol=1e-2)
    assert 0 <= best.total - 10504.8529 <= min(0.1, best.gap * 32561)  # the optimum is 10504.8529
    ledger, regret = model.ledger, model.progressive_loss * 32561 - best.total
    assert regret == pytest.approx(580.5, abs=0.1)
    assert regret <= ledger.regret(best) <= ledger.certificate(best)
    assert ledger.energy.sum() / 4 == pytest.approx(821.4, abs=0.1)  # the second term of the certificate
    assert np.sqrt(ledger.squares).sum() / 2 == pytest.approx(850.1, abs=0.1)  # that of theorem 5
