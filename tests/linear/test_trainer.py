"""Trainer: order of the rows, progressive loss, callbacks and time slices."""

import math
from typing import NamedTuple

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from linear_problems import WEIGHT, X, Y, assert_same_model, data, fit_plain, interpreting, split_rows
from numpy.testing import assert_allclose, assert_array_equal

from adagrad_nb import (
    L1,
    InverseSqrt,
    fit_linear,
)
from adagrad_nb.linear import trainer

# --- order ---------------------------------------------------------------------------------------------------------


def test_passes_are_repeated_rows():
    """Two passes visit what twice the rows visit; only the first counts in the progressive loss."""
    twice = fit_linear(sp.vstack([X, X], format="csr"), np.r_[Y, Y], lr=0.5)
    passes = fit_linear(X, Y, passes=2, lr=0.5)
    assert_array_equal(passes.coef, twice.coef)
    assert passes.n_seen == passes.state.t == twice.n_seen == 80
    assert passes.progressive_loss == fit_linear(X, Y, lr=0.5).progressive_loss != twice.progressive_loss


def test_shuffle():
    repeated = fit_linear(X, Y, shuffle=True, rng=3, lr=0.5)
    assert_same_model(fit_linear(X, Y, shuffle=True, rng=3, lr=0.5), repeated)
    seeds = [fit_linear(X, Y, shuffle=True, rng=seed, lr=0.5).coef.tobytes() for seed in range(5)]
    assert len({*seeds, fit_linear(X, Y, lr=0.5).coef.tobytes()}) == 6
    assert_same_model(fit_linear(X, Y, shuffle=False, rng=3, lr=0.5), fit_linear(X, Y, lr=0.5))
    generator = np.random.default_rng(1)
    first, second = (fit_linear(X, Y, shuffle=True, rng=generator, lr=0.5) for _ in range(2))
    assert first.coef.tobytes() != second.coef.tobytes()
    assert_same_model(fit_linear(X, Y, shuffle=True, rng=np.random.default_rng(1), lr=0.5), first)


def test_shuffle_visits_each_row_once_in_each_pass_in_a_new_order():
    class Listener(NamedTuple):
        """The prediction never matters: the weights tell the order."""

        target_type = "continuous"

        def value(self, y, p):
            recorded.append(int(y))
            return 0.0

        def slope(self, y, p):
            return 0.0

        def inverse_link(self, p):
            return p

    recorded = []
    with interpreting():
        fit_linear(split_rows(X, np.arange(40.0), 25), loss=Listener(), passes=2, shuffle=True, rng=0, lr=0.5)
    parts = recorded[:25], recorded[25:40], recorded[40:65], recorded[65:]
    expected = list(range(25)), list(range(25, 40))
    assert [sorted(part) for part in parts] == [*expected, *expected]
    assert len({tuple(part) for part in (*parts, *map(tuple, expected))}) == 6


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("rows", [1, 7, 10**6])
def test_slices_do_not_change_bits(rows, monkeypatch):
    """The results do not depend on how often the loop returns to Python."""
    options = {"penalty": L1(0.02), "lr": InverseSqrt(0.5), "passes": 2, "shuffle": True, "rng": 0}
    one_call = fit_plain(X, Y, **options)
    stops = []
    monkeypatch.setattr(trainer, "_rows_to_power_of_two", lambda n: rows)
    sliced = fit_plain(X, Y, callback=lambda p: stops.append(p.n_seen), **options)
    assert_same_model(sliced, one_call)
    assert len(stops) == 2 * math.ceil(40 / rows)


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_the_slice_length_does_not_change_bits(seconds, monkeypatch):
    parts = [data(seed=seed) for seed in range(60)]
    X, y = sp.vstack([part[0] for part in parts], format="csr"), np.concatenate([part[1] for part in parts])
    one_call = fit_linear(X, y, lr=0.5)
    monkeypatch.setattr(trainer, "SLICE_SECONDS", seconds)
    stops = []
    assert_same_model(fit_linear(X, y, callback=lambda p: stops.append(p.n_seen), lr=0.5), one_call)
    assert (max(np.diff(stops)) < 512) == (seconds == 0.0)


# --- progress --------------------------------------------------------------------------------------------------------


def test_progressive_loss():
    """The mean, by weight, of each row's loss before it was learnt from."""
    total, weights = 0.0, 0.0
    for r in range(40):
        model = fit_linear(X[:r], Y[:r], sample_weight=WEIGHT[:r], lr=0.5)
        total += WEIGHT[r] * reference.logistic(Y[r], float(model.decision_function(X[[r]])[0]))
        weights += WEIGHT[r]
    model = fit_linear(X, Y, sample_weight=WEIGHT, lr=0.5)
    assert_allclose(model.progressive_loss, total / weights, rtol=1e-12)
    reported = []
    fit_linear(X, Y, sample_weight=WEIGHT, callback=reported.append, lr=0.5)
    assert sum(p.recent_weight for p in reported) == WEIGHT.sum()
    assert_allclose(sum(p.recent_loss * p.recent_weight for p in reported if p.recent_weight), total, rtol=1e-12)
    assert isinstance(model.progressive_loss, float)


def test_callback():
    reported = []
    model = fit_linear(X, Y, passes=2, callback=reported.append, lr=0.5)
    stops = [p.n_seen for p in reported]
    assert stops == sorted(set(stops))
    assert {1, 2, 4, 8, 16, 32, 40, 64, 80} <= set(stops)
    assert len(reported) < 15
    assert all(p.model is model for p in reported)
    assert [p.n_recent for p in reported] == np.diff([0, *stops]).tolist()
    assert [p.passes for p in reported] == [int(n > 40) for n in stops]
    assert [p.recent_weight for p in reported] == [p.n_recent for p in reported]
    seconds = [p.seconds for p in reported]
    assert 0 <= seconds[0]
    assert seconds == sorted(seconds)
    for p in reported:
        if p.n_seen <= 40:
            part = fit_linear(X[: p.n_seen], Y[: p.n_seen], lr=0.5)
            assert_allclose(p.progressive_loss, part.progressive_loss, rtol=1e-12)
        else:
            assert p.progressive_loss == model.progressive_loss
    # recent_loss: the sums add up to those of the rows passed, in either pass
    spans = np.diff([0, *stops])
    recent = np.array([p.recent_loss for p in reported])
    first = np.array(stops) <= 40
    assert_allclose(spans[first] @ recent[first], 40 * model.progressive_loss, rtol=1e-12)
    second = fit_linear(X, Y, model=fit_linear(X, Y, lr=0.5)).loss_sums[0] - fit_linear(X, Y, lr=0.5).loss_sums[0]
    assert_allclose(spans[~first] @ recent[~first], second, rtol=1e-12)


def test_callback_of_a_resumed_model():
    """`recent_loss` is of the rows of this call alone."""
    first, reported = fit_linear(X[:20], Y[:20], lr=0.5), []
    model = fit_linear(X[20:], Y[20:], model=first, callback=reported.append)
    assert reported[0].n_seen == 32
    before = first.progressive_loss * 20
    after = reported[0].progressive_loss * 32
    assert_allclose(reported[0].recent_loss, (after - before) / 12, rtol=1e-12)
    assert reported[-1].progressive_loss == model.progressive_loss


def test_callback_that_stops():
    def stop(progress):
        if progress.n_seen == 8:
            raise StopIteration

    model = fit_linear(X, Y, passes=3, callback=stop, lr=0.5)
    assert_same_model(model, fit_linear(X[:8], Y[:8], lr=0.5))
    assert_same_model(fit_linear(X[8:], Y[8:], model=model), fit_linear(X, Y, lr=0.5))


def test_callback_that_fails():
    def fail(progress):
        raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        fit_linear(X, Y, callback=fail, lr=0.5)


# --- memory of the caller ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 3])
def test_callbacks_may_change_the_row_boundaries(batch_size):
    """The kernels have allocated workspace for the longest row."""
    n, width = 4000, 4
    X = sp.csr_array((np.ones(n * width), np.arange(n * width, dtype=np.int32), np.arange(0, n * width + 1, width)))
    y = np.arange(n) % 2
    expected = fit_linear(X, y, batch_size=batch_size, lr=0.5)
    for Z in (X.copy(), sp.csr_matrix(X)):

        def spoil(progress, Z=Z):
            Z.indptr[1:] = Z.nnz
            Z.indptr[:-1] = 0

        assert_same_model(fit_linear(Z, y, batch_size=batch_size, callback=spoil, lr=0.5), expected)
