"""Examples: the sparsity of text classification on little data, and the regret of custom rules."""

import importlib.util

import numpy as np
import pytest

from adagrad_nb import InverseSqrt, fit_linear, problem
from adagrad_nb.experiments.problems import EXAMPLES


def words(n, n_features):
    """Return rows of words, and labels that a tenth of the words decides."""
    X = problem("text-like", n=3 * n // 2, n_features=n_features, n_words=20, n_relevant=5).X
    coef = np.zeros(n_features)
    coef[1::10] = np.random.default_rng(0).normal(size=coef[1::10].size)
    scores = X @ coef
    return X, scores > np.median(scores)


def load(name):
    specification = importlib.util.spec_from_file_location(name, EXAMPLES.parent / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def example():
    return load("sparsity_table")


def test_dual_averaging_is_sparser_than_splitting(interpreted, example):
    X, y = words(600, 200)
    task = X[:400], y[:400], X[400:], y[400:]
    grids = example.methods(rates=(0.3, 1.0), plain_rates=(10.0,), strengths=(1e-4, 1e-3))
    results = example.measure(task, {name: grids[name] for name in ("RDA", "FB", "AdaGrad-RDA", "AdaGrad-FB")})
    dual, splitting = results["AdaGrad-RDA"], results["AdaGrad-FB"]
    assert dual.proportion < 0.8 * splitting.proportion
    assert dual.error < splitting.error + 0.03
    assert max(dual.error, splitting.error) < 0.25
    assert all(0 <= found.proportion <= 1 for found in results.values())


def test_plain_dual_averaging_has_the_solution_of_its_paper(interpreted, example):
    X = np.random.default_rng(0).normal(size=(12, 3))
    y = X[:, 0] > 0
    model = fit_linear(X, y, rule=example.PlainRDA(), lr=InverseSqrt(0.5), penalty=example.L1(0.05), intercept=False)
    total, sign = np.zeros(3), np.where(y, 1.0, -1.0)
    w = np.zeros(3)
    for t in range(12):
        total -= sign[t] * X[t] / (1 + np.exp(sign[t] * (X[t] @ w)))
        # argmin of total w / t + 0.05 |w| + w² / (2 · 0.5 √t), per update
        w = -0.5 * np.sqrt(t + 1) * np.sign(total) * np.maximum(np.abs(total) / (t + 1) - 0.05, 0)
    assert model.coef == pytest.approx(w)


def test_the_sparsest_of_the_best_is_chosen(interpreted, example):
    X, y = words(200, 100)
    assert example.choose(X, y, {"lr": [1.0], "penalty": [1e-9, 1e-3, 10.0]})["penalty"] == example.L1(1e-3)


def test_rows_have_unit_norm(example):
    X = example.unit_rows(problem("text-like", n=30, n_features=20).X)
    assert np.linalg.norm(X.toarray(), axis=1) == pytest.approx(np.ones(20))


def test_the_picture(example, tmp_path):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    axes = figure.subplots()
    example.draw_sparsity(axes, {"RDA": (0.1, 0.2), "FB": (0.3, 0.2)}, "task")
    assert [text.get_text() for text in axes.texts] == [" RDA", " FB"]
    example.save(figure, tmp_path / "sparsity.png")
    assert (tmp_path / "sparsity.png").stat().st_size > 5000


def test_the_regret_of_custom_rules(interpreted, capsys):
    load("custom_rule_regret").main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["LargestGradient", "Descent", "RMSProp"]
    assert all(line.endswith("the regret is below its bound against all adversaries") for line in lines[:2])
    assert "the preconditioner decreased, so this bound has no proof" in lines[2]
