"""Curves of regret: losses and comparators written out, certificates, and refusals."""

import pickle

import numpy as np
import pytest

from adagrad_nb import L2, Adagrad, Rates, best_fixed, fit_linear, plots, regret

N = 60


@pytest.fixture
def rows(rng):
    X = rng.normal(size=(N, 3))
    return X, np.sign(X @ [1.0, -1.0, 0.5] + rng.normal(size=N))


def test_curves_are_those_of_prefixes(rows):
    X, y = rows
    models = {"L2": {"lr": 0.5, "penalty": L2(0.05)}, "rates": {"lr": 0.25, "rule": Adagrad(eps=0.0)}}
    curves = regret(X, y, models)
    assert curves.rows.tolist() == [1, 2, 4, 8, 16, 32, 60]
    for m, options in enumerate(models.values()):
        for k, end in ((5, 32), (6, 60)):
            model = fit_linear(X[:end], y[:end], intercept=False, ledger=True, classes=[-1, 1], **options)
            best = best_fixed(X[:end], y[:end], penalty=options.get("penalty"))
            total = model.progressive_loss * end + model.ledger.penalty_loss
            assert curves.losses[m, k] == pytest.approx(total, rel=1e-12)
            assert curves.best[m, k] == pytest.approx(best.total, rel=1e-12)
            assert curves.regret[m, k] == pytest.approx(total - best.total, rel=1e-9)
            assert curves.certificates[m, k] == pytest.approx(model.ledger.certificate(best), rel=1e-9)
            assert curves.regret[m, k] <= curves.certificates[m, k]
    again = pickle.loads(pickle.dumps(curves))
    np.testing.assert_array_equal(again.regret, curves.regret)
    pytest.importorskip("pandas")
    frame = curves.to_pandas()
    assert frame.shape == (14, 7)
    assert frame["regret"].iloc[-1] == curves.regret[1, -1]
    pytest.importorskip("matplotlib")
    axes = plots.plot_regret(curves).axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["L2", "rates"]


@pytest.mark.parametrize(
    ("models", "at", "message"),
    [
        ({}, "powers", "models: must be a dict"),
        ({"a": {"loss": "hinge"}}, "powers", r"models\['a'\]: unknown option 'loss'; the options are average"),
        ({"a": {"shuffle": True}}, "powers", r"models\['a'\]: unknown option 'shuffle'"),
        ({"a": {"lr": Rates()}}, "powers", r"models\['a'\]: got Rates.*; make a model for each learning rate"),
        (
            {"a": {"penalty": L2(0.1)}},
            "powers",
            r"models\['a'\]: a penalty needs a ledger, which does not support lr='a",
        ),
        (
            {"a": {"lr": 0.5, "batch_size": 2, "penalty": L2(0.1)}},
            "powers",
            "a ledger, which does not support batch_size=2",
        ),
        ({"a": {"lr": 0.5}}, [3, 2], r"at: got \[3, 2\]; must be increasing"),
        ({"a": {"lr": 0.5}}, "squares", "at: got 'squares'"),
        ({"a": {"lr": 0.5}}, [N + 1], "at: got 61"),
        ({"a": {"lr": 0.5}}, N, "at: got 60; must be 'powers' or increasing numbers"),
    ],
    ids=str,
)
def test_refusals(models, at, message, rows):
    with pytest.raises((TypeError, ValueError), match=message):
        regret(*rows, models, at)


def test_refusals_of_targets_and_losses(rows):
    X, y = rows
    with pytest.raises(ValueError, match=r"^y: got the labels \[0, 1, 2\]; must have two"):
        regret(X, np.arange(N) % 3, {"a": {"lr": 0.5}})
    with pytest.raises(ValueError, match=r"^y: got the labels \[\]; must have two"):
        regret(X[:0], y[:0], {"a": {"lr": 0.5}})
    with pytest.raises(TypeError, match="^loss: got Softmax.*use a loss of one output"):
        regret(X, y, {"a": {"lr": 0.5}}, loss="softmax")


def test_models_without_a_ledger(rows):
    options = {"batch": {"lr": 0.5, "batch_size": 7}, "normalized": {"lr": 0.5, "normalized": True}}
    curves = regret(*rows, options, [N])
    for m, name in enumerate(options):
        model = fit_linear(*rows, intercept=False, **options[name])
        assert curves.losses[m, 0] == pytest.approx(model.progressive_loss * N, rel=1e-12)
    assert np.isnan(curves.certificates).all()
