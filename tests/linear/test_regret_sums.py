"""The ledger of a linear model: its numbers against those of each row, bits, files, chunks and refusals."""

import pickle

import numpy as np
import pytest
import scipy.sparse

from adagrad_nb import (
    FTRL,
    L1,
    L2,
    RDA,
    Adagrad,
    Box,
    Chunk,
    ElasticNet,
    InverseSqrt,
    L2Ball,
    Polyak,
    best_fixed,
    fit_linear,
    load_model,
    merge,
)

N, D, LR = 120, 5, 0.5
OPTIONS = {"lr": LR, "classes": [-1, 1], "ledger": True}


@pytest.fixture
def rows(rng):
    X = rng.normal(size=(N, D)) * (rng.random((N, D)) < 0.3)
    y = np.sign(X @ rng.normal(size=D) + 0.5 * rng.normal(size=N))
    return scipy.sparse.csr_array(X), y, rng.integers(0, 3, N) * 0.5


def play_rows(X, y, weight, rule, penalty):
    """Return the iterates, gradients and penalties of each update, from the models of single rows."""
    X, model, w = X.toarray(), None, np.zeros(D + 1)
    iterates, gradients, penalties = [], [], []
    for r in np.flatnonzero(weight):
        row = np.append(X[r], 1.0)
        iterates.append(w)
        gradients.append(-y[r] / (1 + np.exp(y[r] * (row @ w))) * weight[r] * row)
        penalties.append(0.0 if penalty is None else sum(penalty.value(w[i], i) for i in range(D)))
        options = {"rule": rule, "penalty": penalty, "lr": LR, "classes": [-1, 1]} if model is None else {}
        model = fit_linear(X[r : r + 1], y[r : r + 1], sample_weight=weight[r : r + 1], model=model, **options)
        w = np.append(model.coef, model.intercept)
    return np.array(iterates), np.array(gradients), np.array(penalties)


@pytest.mark.parametrize("average", [None, Polyak()], ids=["last", "average"])
@pytest.mark.parametrize(
    ("rule", "penalty"),
    [
        (Adagrad(), None), (Adagrad(), L1(0.02)), (Adagrad(eps=0.0), ElasticNet(0.01, 0.1)), (Adagrad(), L2(0.1)),
        (Adagrad(), Box(-0.3, 0.4)), (RDA(eps=2.0), None), (RDA(eps=2.0), L1(0.02)),
    ],
    ids=lambda record: "" if record is None else type(record).__name__,
)  # fmt: skip
def test_numbers_are_those_of_each_row(rule, penalty, average, rows):
    X, y, weight = rows
    model = fit_linear(X, y, sample_weight=weight, rule=rule, penalty=penalty, average=average, **OPTIONS)
    plain = fit_linear(X, y, sample_weight=weight, rule=rule, penalty=penalty, average=average, lr=LR, classes=[-1, 1])
    np.testing.assert_array_equal(model.coef, plain.coef)
    assert model.intercept == plain.intercept
    assert plain.ledger is None
    ledger = model.ledger
    iterates, g, penalties = play_rows(*rows, rule, penalty)
    G = np.cumsum(g**2, axis=0)
    h = rule.eps + np.sqrt(np.vstack([np.zeros(D + 1), G]))
    divisor = h[:-1] if isinstance(rule, RDA) else h[1:]
    energy = np.sum(np.divide(g**2, divisor, where=g != 0, out=0 * g), axis=0)
    expected = {
        "n_rounds": len(g), "total_weight": weight.sum(), "linear_loss": np.sum(g * iterates),
        "penalty_loss": penalties.sum(), "gradient_sum": g.sum(0), "squares": G[-1], "energy": energy,
        "preconditioner": h[-1], "n_penalties": np.append(np.full(D, len(g)), 0), "start": np.zeros(D + 1),
    }  # fmt: skip
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(ledger, name), value, rtol=1e-11, atol=1e-13, err_msg=name)
    # The bounds hold for the rounds with a gradient; a penalty may move a weight between them.
    listed = np.where(g != 0, iterates, 0.0)
    assert np.all((iterates.min(0) <= ledger.lower) & (ledger.lower <= listed.min(0)))
    assert np.all((iterates.max(0) >= ledger.upper) & (ledger.upper >= listed.max(0)))
    if penalty is None:
        np.testing.assert_allclose(ledger.lower, listed.min(0), rtol=1e-11)
        np.testing.assert_allclose(ledger.upper, listed.max(0), rtol=1e-11)
    best = best_fixed(X, y, penalty=penalty, intercept=True, sample_weight=weight)
    u = np.append(best.coef, best.intercept)
    assert ledger.certificate(best) == ledger.certificate(u)
    losses = np.logaddexp(0, -y * (X @ best.coef + best.intercept)) @ weight
    at_best = 0.0 if penalty is None else sum(penalty.value(w, i) for i, w in enumerate(best.coef))
    progressive = plain.progressive_loss * weight.sum() + penalties.sum()
    assert progressive - losses - len(g) * at_best <= ledger.regret(u) + 1e-9
    assert ledger.regret(u) <= ledger.certificate(u)
    assert ledger.gap(Box(-50.0, 50.0)) >= ledger.regret(u)


def test_chunks_files_and_continuation(rows, tmp_path):
    X, y, weight = rows
    whole = fit_linear(X, y, sample_weight=weight, penalty=L1(0.02), **OPTIONS).ledger
    part = fit_linear([Chunk(X[:40, :3], y[:40], weight[:40])], penalty=L1(0.02), **OPTIONS)
    part.save(tmp_path / "model.npz")
    rest = X[40:].copy()
    narrow = X.toarray()
    narrow[:40, 3:] = 0
    whole = fit_linear(narrow, y, sample_weight=weight, penalty=L1(0.02), **OPTIONS).ledger
    for model in (part, load_model(tmp_path / "model.npz"), pickle.loads(pickle.dumps(part)), part.copy()):
        again = fit_linear(rest, y[40:], sample_weight=weight[40:], model=model).ledger
        assert again.n_rounds == whole.n_rounds
        for name in ("gradient_sum", "squares", "lower", "upper", "energy", "preconditioner"):
            np.testing.assert_array_equal(getattr(again, name), getattr(whole, name), err_msg=name)
        assert again.linear_loss == pytest.approx(whole.linear_loss, rel=1e-13)
        assert again.penalty_loss == pytest.approx(whole.penalty_loss, rel=1e-13)
    without = fit_linear(rest, y[40:], sample_weight=weight[40:], model=part, ledger=False)
    assert without.ledger is None
    np.testing.assert_array_equal(without.coef, fit_linear(rest, y[40:], sample_weight=weight[40:], model=part).coef)


def test_models_without_intercept(rows):
    X, y, _ = rows
    ledger = fit_linear(X, y, intercept=False, rule=Adagrad(eps=0.0), **OPTIONS).ledger
    assert ledger.start.size == D
    best = best_fixed(X, y, domain=L2Ball(2.0))
    assert ledger.regret(best) <= min(ledger.certificate(best), ledger.gap(L2Ball(2.0)))


REFUSALS = [
    ({"lr": None}, "ledger: needs a fixed learning rate; pass lr=0.5"),
    ({"lr": InverseSqrt(0.5)}, "ledger: does not support lr=InverseSqrt"),
    ({"rule": FTRL()}, "ledger: does not support the rule FTRL"),
    ({"batch_size": 2}, "ledger: does not support batch_size=2"),
    ({"normalized": True}, "ledger: does not support normalized=True"),
    ({"rule": RDA(eps=1.0), "penalty": L2(0.1)}, "ledger: does not support L2 with RDA"),
    ({"threads": 2}, "does not support a ledger of regret"),
    ({"ledger": 1}, "ledger: got 1"),
]


@pytest.mark.parametrize(("options", "message"), REFUSALS, ids=lambda value: value if isinstance(value, str) else "")
def test_refusals(options, message, rows):
    with pytest.raises((TypeError, ValueError), match=message):
        fit_linear(rows[0], rows[1], **OPTIONS | options)


def test_refusals_of_models(rows):
    X, y, _ = rows
    model = fit_linear(X, y, **OPTIONS)
    with pytest.raises(ValueError, match="ledger: does not support several classes"):
        fit_linear(X, np.arange(N) % 3, lr=LR, ledger=True)
    with pytest.raises(ValueError, match="ledger: got True, but the model has none of its first rows"):
        fit_linear(X, y, model=fit_linear(X, y, lr=LR), ledger=True)
    with pytest.raises(ValueError, match="lr: got 0.25, but the model has a ledger for another value"):
        fit_linear(X, y, model=model, lr=0.25)
    with pytest.raises(ValueError, match="models: does not support a ledger"):
        merge([model, model])
