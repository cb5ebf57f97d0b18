"""Targets: labels and sample weights."""

import math

import numpy as np
import pytest
from linear_problems import WEIGHT, X, Y, assert_same_model, model_values
from numpy.testing import assert_allclose, assert_array_equal

from adagrad_nb import (
    L1,
    Adagrad,
    Checkpoint,
    Chunk,
    fit_linear,
    load_model,
)

# --- weights -------------------------------------------------------------------------------------------------------


def test_rows_of_weight_zero_are_passed_over():
    is_used = WEIGHT > 0
    assert 0 < is_used.sum() < 40
    # The first row of weight zero could not be learnt from.
    non_finite = X.copy()
    row = next(r for r in range(40) if not is_used[r] and non_finite.indptr[r] < non_finite.indptr[r + 1])
    non_finite.data[non_finite.indptr[row]] = np.nan
    model = fit_linear(non_finite, Y, sample_weight=WEIGHT, penalty=L1(0.02), lr=0.5)
    used_rows = fit_linear(X[is_used], Y[is_used], sample_weight=WEIGHT[is_used], penalty=L1(0.02), lr=0.5)
    assert_array_equal(model.coef, used_rows.coef)
    assert model.intercept == used_rows.intercept
    assert model.progressive_loss == used_rows.progressive_loss
    assert model.state.t == used_rows.state.t == is_used.sum()
    untrained = fit_linear(X, Y, sample_weight=np.zeros(40), lr=0.5)
    assert not untrained.coef.any()
    assert math.isnan(untrained.progressive_loss)


def test_weights_multiply_the_loss():
    """Adagrad forgets a common factor of all gradients; the mean loss is a mean by weight."""
    once = fit_linear(X, Y, rule=Adagrad(eps=0.0), lr=0.5)
    scaled = fit_linear(X, Y, rule=Adagrad(eps=0.0), sample_weight=np.full(40, 4.0), lr=0.5)
    assert_allclose(scaled.coef, once.coef, rtol=1e-12)
    assert_allclose(scaled.state.slots[0][0], 16 * once.state.slots[0][0], rtol=1e-12)
    assert_allclose(scaled.progressive_loss, once.progressive_loss, rtol=1e-12)
    for kind in (bool, np.int32, np.float32):
        weight = (WEIGHT > 0).astype(kind)
        assert_same_model(
            fit_linear(X, Y, sample_weight=weight, lr=0.5), fit_linear(X, Y, sample_weight=weight.astype(float), lr=0.5)
        )


# --- labels --------------------------------------------------------------------------------------------------------

PAIRS = {
    "signs": np.array([-1, 1]),
    "floats": np.array([-1.0, 1.0]),
    "bits": np.array([0, 1]),
    "others": np.array([3, 7], np.uint8),
    "booleans": np.array([False, True]),
    "strings": np.array(["no", "yes"]),
    "objects": np.array(["no", "yes"], object),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_labels(pair, tmp_path):
    """Any two labels, the larger one positive; they come back as they were, also from a file."""
    y = pair[(Y > 0).astype(int)]
    model = fit_linear(X, y, lr=0.5)
    assert_array_equal(model.coef, fit_linear(X, Y, lr=0.5).coef)
    assert_array_equal(model.classes, pair)
    kind = pair.dtype.kind
    assert model.classes.dtype.kind == {"O": "U", "u": "i"}.get(kind, kind)
    assert_array_equal(model.predict(X), np.where(model.decision_function(X) > 0, pair[1], pair[0]))
    model.save(tmp_path / "model")
    assert_array_equal(load_model(tmp_path / "model").predict(X), model.predict(X))
    assert_same_model(fit_linear(X, y.tolist(), lr=0.5), model)


@pytest.mark.parametrize(
    ("first", "second"), [(1, -1), (1, 0), (0, 1), (-1, 1), (True, False), (False, True), (1.0, -1.0), (0, 5)]
)
def test_a_first_chunk_with_a_single_label(first, second):
    """1 is the positive label, 0 and -1 are negative ones; the other side is learnt when it comes."""
    pair = sorted((first, second))
    y = np.array([first] * 10 + [second, first] * 15)
    model = fit_linear([Chunk(X[:10], y[:10]), Chunk(X[10:], y[10:])], lr=0.5)
    assert_array_equal(model.classes, pair)
    assert_array_equal(model.coef, fit_linear(X, y, lr=0.5).coef)


@pytest.mark.parametrize(
    ("label", "pair"), [(1, [-1, 1]), (-1, [-1, 1]), (0, [0, 1]), (True, [False, True]), (False, [False, True])]
)
def test_one_label_only(label, pair):
    model = fit_linear(X, [label] * 40, lr=0.5)
    assert_array_equal(model.classes, pair)
    assert model.classes.dtype == np.asarray(pair).dtype
    assert_array_equal(model.predict(X), [label] * 40)


def test_declared_labels():
    y = np.array(["b"] * 10 + ["a", "b"] * 15)
    model = fit_linear([Chunk(X[:10], y[:10]), Chunk(X[10:], y[10:])], classes=["b", "a"], lr=0.5)
    assert_array_equal(model.classes, ["a", "b"])
    assert_same_model(model, fit_linear(X, y, lr=0.5))
    first = fit_linear(X[:10], y[:10], classes=("a", "b"), lr=0.5)
    assert_same_model(fit_linear(X[10:], y[10:], model=first), model)
    assert_same_model(fit_linear(X[10:], y[10:], model=first, classes=["a", "b"]), model)
    with pytest.raises(ValueError, match=r"^classes: got \['a', 'c'\], but the model has \['a', 'b'\]"):
        fit_linear(X[10:], y[10:], model=first, classes=["a", "c"])
    half = fit_linear(X[:10], [1] * 10, lr=0.5)
    assert_array_equal(fit_linear(X[:10], [1] * 10, model=half, classes=[1, -7]).classes, [-7, 1])
    with pytest.raises(ValueError, match=r"^classes: "):
        fit_linear(X[:10], [1] * 10, model=half, classes=[1, 7])  # rows of 1 were learnt as positive


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0.0, 1.0, 2.5] * 13 + [0.0], r"^y: got 3 labels, \[0.0, 1.0, 2.5\]; a binary loss takes two"),
        (["a"] * 40, r"^y: has the single label 'a'; pass classes="),
        ([3] * 40, r"^y: has the single label 3; pass classes="),
    ],
)
def test_labels_that_are_rejected(y, message):
    with pytest.raises(ValueError, match=message):
        fit_linear(X, y, lr=0.5)


def test_a_third_label_in_a_later_chunk():
    first = fit_linear(X[:20], Y[:20], lr=0.5)
    before = model_values(first)
    for label in (0.0, 7.0):
        with pytest.raises(ValueError, match=r"^y: got 3 labels"):
            fit_linear(X[20:], [label] * 20, model=first)
    assert model_values(first) == before
    one = fit_linear(X[:20], [1] * 20, lr=0.5)
    with pytest.raises(ValueError, match=r"^y: got label 2 after training on rows with 1 only; pass classes="):
        fit_linear(X[20:], [1, 2] * 10, model=one)


# --- labels that first occur after the first chunk -----------------------------------------------------------------


def chunks_of(y):
    return [Chunk(X[start : start + 10], np.array(y[start : start + 10])) for start in range(0, 40, 10)]


@pytest.mark.parametrize(
    "y",
    [
        ["a", "b"] * 10 + ["a", "b", "c", "d"] * 5,
        ["a"] * 20 + ["b", "a"] * 10,
        [3.0] * 10 + [3.0, 1.0, 2.0] * 10,
    ],
    ids=["two, then more", "one, then two", "one, then three"],
)
def test_training_begins_again_for_late_labels(y, tmp_path):
    chunks, labels = chunks_of(y), sorted(set(y))
    with pytest.warns(UserWarning, match=rf"the first rows lack some of the {len(labels)} labels, so training began"):
        model = fit_linear(chunks, passes=2, shuffle=True, rng=3, checkpoint=Checkpoint(tmp_path / "c", rows=1))
    expected = fit_linear(chunks, passes=2, shuffle=True, rng=3, classes=labels)
    assert_array_equal(model.classes, labels)
    for result in (model, fit_linear(chunks, passes=2, shuffle=True, resume=tmp_path / "c")):
        assert_array_equal(result.coef, expected.coef)
        assert (result.progressive_loss, result.n_seen) == (expected.progressive_loss, expected.n_seen)


def test_late_labels_that_training_cannot_take():
    late = chunks_of(["a", "b"] * 10 + ["a", "b", "c", "d"] * 5)
    with pytest.raises(ValueError, match=r"^y: got 4 labels, .*; a binary loss takes two"):
        fit_linear(iter(late))  # which can be read once
    with pytest.raises(ValueError, match=r"^y: got 4 labels"):
        fit_linear(late, model=fit_linear(late[0].X, late[0].y, lr=0.5))
    with pytest.raises(ValueError, match=r"^y: got 3 labels"):
        fit_linear(chunks_of([0.0, 1.0] * 10 + [0.5] * 20))  # numbers
    with pytest.raises(ValueError, match=r"^y: has the single label 'a'"):
        fit_linear(chunks_of(["a"] * 40))
