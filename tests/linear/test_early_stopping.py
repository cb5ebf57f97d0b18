"""Early stopping: the loss that is looked at is the one that is promised, and the best model is the one returned."""

import numpy as np
import pytest
import scipy.sparse as sp
from linear_problems import WEIGHT, X, Y, fit_plain, model_values, with_value
from numpy.testing import assert_allclose, assert_array_equal

from adagrad_nb import Chunk, EarlyStopping, Polyak, fit_linear
from adagrad_nb.linear.early_stopping import EarlyStoppingMonitor

RECENT = EarlyStopping("recent", n_iter_no_change=3, tol=0.01)


def validation_rows(n, position=0, seed=0, fraction=0.25, weight=None):
    monitor = EarlyStoppingMonitor(EarlyStopping(validation_fraction=fraction), seed)
    return monitor.validation_rows(np.ones(n) if weight is None else weight, position)


@pytest.mark.parametrize("average", [None, Polyak()])
def test_held_out_rows_are_not_learnt_and_give_the_validation_loss(average):
    validation = validation_rows(40, weight=WEIGHT)
    assert validation.size == 8  # 0.25 of 30, rounded up or down
    training = np.setdiff1d(np.arange(40), validation)
    options = {"sample_weight": WEIGHT, "average": average}
    stopping = EarlyStopping(validation_fraction=0.25, n_iter_no_change=4, tol=0.01)
    model = fit_plain(X, Y, passes=60, early_stopping=stopping, **options)
    by_hand, losses, best = None, [], None
    for _ in range(len(model.pass_losses)):
        by_hand = fit_plain(X[training], Y[training], sample_weight=WEIGHT[training], model=by_hand, average=average)
        losses.append(by_hand.mean_loss(X[validation], Y[validation], WEIGHT[validation]))
        best = by_hand if losses[-1] == min(losses) else best
    assert_allclose(model.pass_losses, losses, rtol=1e-13)
    assert_array_equal(model.coef, best.coef)
    assert model.intercept == best.intercept
    assert model.state.t == best.state.t
    assert 4 < len(losses) < 60  # it did stop


def test_patience_and_tolerance():
    """It stops when `n_iter_no_change` passes in a row were no more than `tol` below the best before them."""
    for tol, patience in ((0.0, 1), (0.01, 2), (0.05, 3), (1.0, 4)):
        stopping = EarlyStopping("recent", n_iter_no_change=patience, tol=tol)
        losses = fit_linear(X, Y, passes=400, early_stopping=stopping, lr=0.5).pass_losses
        lowest, n_bad_passes, stop = np.inf, 0, None
        for number, loss in enumerate(losses, 1):
            n_bad_passes = 0 if loss < lowest - tol else n_bad_passes + 1
            lowest = min(lowest, loss)
            if n_bad_passes == patience:
                stop = number
                break
        assert stop == len(losses) or (stop is None and len(losses) == 400)
    assert len(losses) == 5  # the first pass counts as an improvement on nothing


def test_recent_is_the_loss_of_the_rows_of_a_pass_before_they_are_learnt():
    reported = []
    model = fit_linear(
        X, Y, passes=50, early_stopping=RECENT, sample_weight=WEIGHT,
        callback=lambda p: reported.append((p.passes, p.recent_loss, p.n_recent)), lr=0.5,
    )  # fmt: skip
    assert model.pass_losses[0] == pytest.approx(
        fit_linear(X, Y, sample_weight=WEIGHT, lr=0.5).progressive_loss, rel=1e-15
    )
    twice = fit_linear(sp.vstack([X, X], format="csr"), np.r_[Y, Y], sample_weight=np.r_[WEIGHT, WEIGHT], lr=0.5)
    assert sum(model.pass_losses[:2]) / 2 == pytest.approx(twice.progressive_loss, rel=1e-12)
    assert 3 < len(model.pass_losses) < 50
    assert model.n_seen == 40 * (1 + int(np.argmin(model.pass_losses)))


def test_chunks_hold_out_their_own_rows():
    chunks = [Chunk(X[:24], Y[:24]), Chunk(X[24:], Y[24:])]
    stopping = EarlyStopping(validation_fraction=0.25, n_iter_no_change=100)
    model = fit_linear(chunks, passes=2, early_stopping=stopping, lr=0.5)
    by_hand, losses = None, []
    for _ in range(2):
        total = 0.0
        for position, chunk in enumerate(chunks):
            validation = validation_rows(chunk.X.shape[0], position)
            training = np.setdiff1d(np.arange(chunk.X.shape[0]), validation)
            by_hand = fit_plain(chunk.X[training], chunk.y[training], model=by_hand)
            total += validation.size * by_hand.mean_loss(chunk.X[validation], chunk.y[validation])
        losses.append(total / 10)
    assert_allclose(model.pass_losses, losses, rtol=1e-13)


def test_held_out_rows_are_the_same_in_every_pass_and_depend_on_the_seed():
    options = {"passes": 30, "early_stopping": EarlyStopping(validation_fraction=0.3, n_iter_no_change=2)}
    first, repeated = (fit_plain(X, Y, rng=5, shuffle=True, **options) for _ in range(2))
    assert model_values(first) == model_values(repeated)
    other_seed = fit_plain(X, Y, rng=6, shuffle=True, **options)
    assert model_values(first) != model_values(other_seed)
    assert model_values(fit_plain(X, Y, **options)) == model_values(fit_plain(X, Y, **options))
    assert not np.array_equal(validation_rows(40, seed=1), validation_rows(40, seed=2))
    sizes = [validation_rows(7, position, fraction=0.1).size for position in range(400)]
    assert set(sizes) == {0, 1}
    assert 0.06 * 2800 < sum(sizes) < 0.14 * 2800  # chunks too small for one row each give a row now and then


def test_true_and_false():
    assert model_values(fit_linear(X, Y, passes=4, early_stopping=False, lr=0.5)) == model_values(
        fit_linear(X, Y, passes=4, lr=0.5)
    )
    assert fit_linear(X, Y, passes=4, lr=0.5).pass_losses == []
    with_true = fit_linear(X, Y, passes=4, early_stopping=True, lr=0.5)
    assert model_values(with_true) == model_values(fit_linear(X, Y, passes=4, early_stopping=EarlyStopping(), lr=0.5))
    assert len(with_true.pass_losses) == 4
    assert model_values(fit_linear(X, Y, early_stopping=RECENT, lr=0.5)) == model_values(fit_linear(X, Y, lr=0.5))


def test_a_callback_that_stops_gets_the_best_model_so_far():
    def stop(progress):
        if progress.passes == 3:
            raise StopIteration

    model = fit_linear(X, Y, passes=50, early_stopping=RECENT, callback=stop, lr=0.5)
    assert model_values(model) == model_values(fit_linear(X, Y, passes=3, early_stopping=RECENT, lr=0.5))


def test_a_held_out_row_that_is_malformed_is_named():
    row = next(int(r) for r in validation_rows(40) if X.indptr[r] < X.indptr[r + 1])
    stopping = EarlyStopping(validation_fraction=0.25)
    for name, value, message in (("data", np.nan, "got nan in row"), ("indices", 99, "column index 99 in row")):
        bad = X.copy()
        setattr(bad, name, with_value(getattr(bad, name), X.indptr[row], value))
        with pytest.raises(ValueError, match=f"^X: {message} {row}"):
            fit_linear(bad, Y, early_stopping=stopping, lr=0.5)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (5, TypeError, "^early_stopping: got 5; must be True, False or EarlyStopping"),
        (EarlyStopping("test"), ValueError, "^EarlyStopping.monitor: got 'test'; must be one of held-out, recent"),
        (
            EarlyStopping(validation_fraction=1.0),
            ValueError,
            r"^EarlyStopping.validation_fraction: got 1.0; .* \(0, 1\)",
        ),
        (EarlyStopping(n_iter_no_change=0), ValueError, "^EarlyStopping.n_iter_no_change: got 0"),
        (EarlyStopping(tol=-1.0), ValueError, r"^EarlyStopping.tol: got -1.0"),
    ],
)
def test_rejected_arguments(given, error, message):
    with pytest.raises(error, match=message):
        fit_linear(X, Y, early_stopping=given, lr=0.5)


def test_no_held_out_rows():
    with pytest.raises(ValueError, match=r"^early_stopping: no held-out row has a positive weight"):
        fit_linear(X[:2], [1, -1], early_stopping=True, sample_weight=[0, 0], lr=0.5)
    with pytest.raises(ValueError, match=r"^early_stopping: no held-out row has a positive weight"):
        fit_linear(X[:1], [1], early_stopping=EarlyStopping(validation_fraction=0.01), lr=0.5)


def test_all_rows_are_held_out():
    for n, weight in ((2, [1.0, 1.0]), (3, [1.0, 0.0, 1.0]), (1, [1.0])):
        with pytest.raises(ValueError, match=r"^early_stopping: validation_fraction=0.999 holds out all rows of pos"):
            fit_linear(
                X[:n],
                [1, -1, 1][:n],
                early_stopping=EarlyStopping(validation_fraction=0.999),
                sample_weight=weight,
                lr=0.5,
            )


def test_rows_of_weight_zero_are_not_held_out():
    weight = np.where(np.arange(40) % 8 == 0, 2.0, 0.0)
    for seed in range(20):
        monitor = EarlyStoppingMonitor(EarlyStopping(validation_fraction=0.3), seed)
        rows = monitor.validation_rows(weight, 0)
        assert 1 <= rows.size <= 2
        assert np.all(weight[rows] > 0)
        assert_array_equal(rows, np.sort(rows))
    few = fit_linear(X, Y, sample_weight=weight, passes=20, early_stopping=True, rng=0, lr=0.5)
    assert np.isfinite(few.pass_losses).all()
    assert few.n_seen % 39 == 0  # one of the five rows is held out
    assert EarlyStoppingMonitor(EarlyStopping(), 0).validation_rows(np.ones(3), 0).size == 1  # as in scikit-learn
