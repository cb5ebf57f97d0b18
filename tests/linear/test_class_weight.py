"""Class weights are sample weights by label; what a callback may count."""

import numpy as np
import pytest
from linear_problems import WEIGHT, X, Y, fit_plain, model_values

from adagrad_nb import L1, Chunk, fit_linear
from adagrad_nb.callbacks import History

NAMES = np.where(Y > 0, "yes", "no")
FACTORS = np.where(Y > 0, 3.0, 0.5)


@pytest.mark.parametrize(
    "y", [Y, NAMES, NAMES.astype(object), Y > 0, np.where(Y > 0, 7, 3)], ids=lambda y: y.dtype.name
)
def test_class_weights_are_sample_weights(y):
    negative, positive = np.unique(y).tolist()
    by_class = {negative: 0.5, positive: 3.0}
    plain = model_values(fit_linear(X, y, sample_weight=FACTORS, lr=0.5))
    assert model_values(fit_linear(X, y, class_weight=by_class, lr=0.5)) == plain
    assert model_values(fit_linear(X, y.tolist(), class_weight=by_class, lr=0.5)) == plain
    both = model_values(fit_linear(X, y, sample_weight=WEIGHT, class_weight=by_class, lr=0.5))
    assert both == model_values(fit_linear(X, y, sample_weight=WEIGHT * FACTORS, lr=0.5))
    one_label = model_values(fit_linear(X, y, class_weight={positive: 3.0}, lr=0.5))
    assert one_label == model_values(fit_linear(X, y, sample_weight=np.where(Y > 0, 3.0, 1.0), lr=0.5))
    assert one_label != model_values(fit_linear(X, y, lr=0.5))


def test_class_weights_of_chunks():
    chunks = [Chunk(X[:9], NAMES[:9]), Chunk(X[9:], NAMES[9:], FACTORS[9:])]
    weighted = fit_linear(chunks, class_weight={"yes": 2.0}, classes=["no", "yes"], lr=0.5)
    weight = np.r_[np.ones(9), FACTORS[9:]] * np.where(Y > 0, 2.0, 1.0)
    assert model_values(weighted) == model_values(fit_linear(X, NAMES, sample_weight=weight, lr=0.5))


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_balanced_gives_labels_the_same_total(weight):
    rows = np.ones(40) if weight is None else weight
    totals = {sign: rows[sign == Y].sum() for sign in (-1, 1)}
    assert totals[-1] != totals[1]
    factors = np.array([rows.sum() / (2 * totals[sign]) for sign in Y])
    balanced = fit_linear(X, Y, class_weight="balanced", sample_weight=weight, lr=0.5)
    by_hand = fit_linear(X, Y, sample_weight=rows * factors, lr=0.5)
    np.testing.assert_allclose(balanced.coef, by_hand.coef, rtol=1e-12)
    assert (rows * factors)[Y > 0].sum() == pytest.approx((rows * factors)[Y < 0].sum())
    assert fit_linear(X, np.ones(40), class_weight="balanced", lr=0.5).n_seen == 40


def test_class_weights_and_early_stopping_and_batches():
    options = {"passes": 3, "early_stopping": True, "batch_size": 4, "threads": 2}
    weighted = fit_plain(X, NAMES, class_weight={"yes": 3.0, "no": 0.5}, **options)
    assert model_values(weighted) == model_values(fit_plain(X, NAMES, sample_weight=FACTORS, **options))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"class_weight": "equal"}, ValueError, "^class_weight: got 'equal'; must be 'balanced', a dict, or None"),
        ({"class_weight": 3.0}, TypeError, "^class_weight: got 3.0; must be 'balanced', a dict, or None"),
        ({"class_weight": {1: -1.0}}, ValueError, r"^class_weight\[1\]: got -1.0; must be a number in \[0, inf\)"),
        ({"class_weight": {1: [1.0]}}, TypeError, r"^class_weight\[1\]: got \[1.0\]; must be a number"),
        (
            {"class_weight": {"yes": 1.0}},
            ValueError,
            r"^class_weight: got the label 'yes'; the labels are \[-1.0, 1.0\]",
        ),
        ({"class_weight": {1: 1.0}, "loss": "squared"}, ValueError, "^class_weight: the loss Squared takes numbers"),
    ],
)
def test_class_weights_that_are_rejected(options, error, message):
    with pytest.raises(error, match=message):
        fit_plain(X, Y, **options)


def test_balanced_needs_the_data_in_memory():
    with pytest.raises(ValueError, match="^class_weight: 'balanced' needs all labels at once"):
        fit_linear([Chunk(X, Y)], class_weight="balanced", lr=0.5)


def test_callbacks_may_count_weights_that_are_not_zero():
    history, counts = History(nonzero=True), []
    model = fit_linear(X, Y, penalty=L1(0.05), callback=history, lr=0.5)
    fit_linear(X, Y, penalty=L1(0.05), callback=lambda progress: counts.append(progress.n_nonzero), lr=0.5)
    assert history.nonzero == counts
    assert counts[-1] == np.count_nonzero(model.coef) < 9
    plain = History()
    fit_linear(X, Y, callback=plain, lr=0.5)
    assert plain.nonzero == []
