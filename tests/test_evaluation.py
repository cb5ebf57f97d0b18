"""Evaluation of predictions: calibration error, precision and recall, and the figure of an evaluation."""

import math

import numpy as np
import pytest

from adagrad_nb import fit_linear
from adagrad_nb.metrics import calibration_error, precision_recall

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 3))


def test_calibration_error():
    probability = np.array([0.1, 0.2, 0.8, 0.9])
    y = np.array([False, True, True, True])
    assert calibration_error(y, probability, bins=2) == pytest.approx((abs(0.15 - 0.5) + abs(0.85 - 1)) / 2)
    assert calibration_error(y, probability, bins=100) == pytest.approx((0.1 + 0.8 + 0.2 + 0.1) / 4)
    assert math.isnan(calibration_error([], np.empty(0)))


def test_a_calibrated_forecast_has_a_small_error():
    probability = RNG.uniform(size=20_000)
    y = RNG.uniform(size=probability.size) < probability
    assert calibration_error(y, probability) < 0.02 < calibration_error(y, probability**2)


def test_precision_and_recall():
    y, predicted = RNG.uniform(size=100) < 0.4, RNG.uniform(size=100) < 0.6
    sklearn = pytest.importorskip("sklearn.metrics")
    expected = sklearn.precision_score(y, predicted), sklearn.recall_score(y, predicted)
    assert precision_recall(y, predicted) == pytest.approx(expected)
    assert np.isnan(precision_recall([True], [False])[0])
    assert np.isnan(precision_recall([False], [True])[1])


@pytest.mark.parametrize(
    ("y", "loss", "titles"),
    [
        (X[:, 0] > 0, "logistic", ["Test: ROC curve", "Test: calibration, ten quantile bins"]),
        (X[:, 0] > 0, "hinge", ["Test: ROC curve", "Test: decision values"]),
        (np.argmax(X, axis=1), "softmax", ["Test: classes"]),
        (X[:, 0], "squared", ["Test: predicted against true targets"]),
    ],
    ids=["binary", "hinge", "softmax", "squared"],
)
def test_the_figure_of_an_evaluation(y, loss, titles, tmp_path):
    pytest.importorskip("matplotlib")
    from adagrad_nb.plots import plot_evaluation, save

    model = fit_linear(X, y, loss=loss, lr=0.5)
    figure = plot_evaluation(model, y, model.decision_function(X))
    assert [axes.get_title(loc="left")[: len(title)] for axes, title in zip(figure.axes, titles, strict=True)] == titles
    save(figure, tmp_path / "evaluation.png")
    assert (tmp_path / "evaluation.png").stat().st_size > 5000
