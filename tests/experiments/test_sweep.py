"""Sweeps: bit-equality of each cell with a lone training, divergence, the best cell, and errors."""

import math
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal

from adagrad_nb import AROW, L1, L2, RDA, Adagrad, Chunk, InverseSqrt, Polyak, Rates, fit_linear, sweep
from adagrad_nb.experiments import sweep as module

RNG = np.random.default_rng(20110713)
X = sp.random_array((150, 8), density=0.4, rng=RNG, format="csr", data_sampler=RNG.standard_normal)
Y = X @ RNG.normal(size=8) + 0.3 > 0
NUMBERS = 100 * (X @ RNG.normal(size=8))
RATES = [0.05, 2.0, 0.4]


def assert_bit_equal(result, X, y):
    for cell in result:
        lone = fit_linear(X, y, **cell.options)
        assert_array_equal(cell.model.coef, lone.coef)
        assert cell.model.intercept == lone.intercept
        assert_array_equal(cell.model.state.slots[0][0], lone.state.slots[0][0])
        assert cell.progressive_loss == lone.progressive_loss == cell.model.progressive_loss
        assert cell.n_nonzero == np.count_nonzero(lone.coef)
        assert cell.model.n_seen == lone.n_seen


@pytest.mark.compiled_only("compares compiled kernels")
def test_cells_equal_lone_trainings_in_compiled_code():
    result = sweep(X, Y, {"lr": RATES, "penalty": [0.02, 0.05]}, seeds=(0, 3))
    assert len(result) == 12
    assert_bit_equal(result, X, Y)
    assert result[3].options == {"lr": 0.05, "penalty": L1(0.05), "shuffle": True, "rng": 3}


GRIDS = {
    "rules": {"rule": [Adagrad(), RDA()], "penalty": [L1(0.01)]},
    "schedules": {"lr": [0.1, InverseSqrt(0.5), "auto", 1.0]},
    "losses": {"loss": ["hinge", "logistic"], "passes": [1, 2]},
    "averages": {"average": [None, Polyak(10)], "penalty": [L1(0.01), L2(0.01)]},
    "batches": {"batch_size": [1, 8]},
    "scaled": {"invariant": [True]},
    "ledgers": {"ledger": [True]},
}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=list(GRIDS))
def test_cells_equal_lone_trainings(interpreted, grid):
    assert_bit_equal(sweep(X[:40], Y[:40], {"lr": RATES} | grid), X[:40], Y[:40])


def test_cells_of_numbers_equal_lone_trainings(interpreted):
    grid = {"lr": RATES, "loss": ["squared"], "standardize_targets": [False, True]}
    assert_bit_equal(sweep(X[:40], NUMBERS[:40], grid), X[:40], NUMBERS[:40])


def test_a_strength_of_zero_is_no_penalty(interpreted):
    assert sweep(X[:20], Y[:20], {"penalty": [0]}, lr=0.5)[0].options == {"lr": 0.5, "penalty": None}


def test_chunks_and_more_labels(interpreted):
    chunks = [Chunk(X[:20], Y[:20]), Chunk(X[20:40], Y[20:40])]
    assert_bit_equal(sweep(chunks, None, {"lr": RATES}), chunks, None)
    labels = np.arange(40) % 3
    for cell in sweep(X[:40], labels, {"lr": RATES}):
        assert_array_equal(cell.model.coef, fit_linear(X[:40], labels, **cell.options).coef)


def test_rates_share_a_pass(interpreted, monkeypatch):
    rates = []

    def fit(*args, lr, **options):
        rates.append(lr)
        return fit_linear(*args, lr=lr, **options)

    monkeypatch.setattr(module, "fit_linear", fit)
    monkeypatch.setattr(module, "MOST_RATES", 2)
    sweep(X[:20], Y[:20], {"penalty": [0.0, L2(0.1)], "lr": RATES})
    assert [lr.values if isinstance(lr, Rates) else lr for lr in rates] == [(0.05, 2.0), 0.4, *RATES]


def test_a_diverging_rate_has_the_loss_inf(interpreted):
    result = sweep(X[:40], NUMBERS[:40], {"lr": [1e200, 0.1]}, loss="squared", X_test=X[40:60], y_test=NUMBERS[40:60])
    bad, good = result
    assert (bad.progressive_loss, bad.test_loss, bad.n_nonzero, bad.model) == (math.inf, math.inf, 0, None)
    assert "not finite" in bad.error or "overflows" in bad.error
    assert good.error == ""
    assert result.best() is good
    with pytest.raises(ValueError, match="best: no point of the grid has a finite progressive_loss; the first error"):
        sweep(X[:40], NUMBERS[:40], {"lr": [1e200]}, loss="squared").best()


def test_errors_of_the_data_are_raised(interpreted):
    bad = X[:40].toarray()
    bad[3, 2] = np.nan
    with pytest.raises(ValueError, match="X: got nan in row 3, column 2; must be finite"):
        sweep(bad, Y[:40], {"lr": RATES})


def test_best_takes_the_mean_over_seeds():
    def cell(lr, seed, loss, test):
        return module.Cell({}, {"lr": lr}, seed, loss, 1, test, "", None)

    cells = [cell(0.1, 0, 0.1, 0.5), cell(0.1, 1, 0.9, 0.5), cell(0.2, 0, 0.3, 0.6), cell(0.2, 1, 0.2, 0.6)]
    result = module.Sweep(cells, ("lr",), True)
    assert result.best("progressive_loss") is cells[3]
    assert result.best() is cells[0]
    with pytest.raises(ValueError, match="by: got 'loss'"):
        result.best("loss")


def test_table_data_frame_and_pickle(interpreted):
    result = sweep(X[:40], Y[:40], {"lr": [0.1, 0.5], "rule": [Adagrad()]}, seeds=(0, 1), X_test=X[40:], y_test=Y[40:])
    names = ("lr", "rule", "seed", "progressive_loss", "n_nonzero", "test_loss")
    assert result.table.dtype.names == names
    assert result.table.lr.tolist() == [0.1, 0.1, 0.5, 0.5]
    assert result.table.seed.tolist() == [0, 1, 0, 1]
    assert result.table.rule[0] == repr(Adagrad())
    assert result[1].test_loss == result[1].model.mean_loss(X[40:], Y[40:])
    copy = pickle.loads(pickle.dumps(result))
    assert_array_equal(copy.table, result.table)
    assert_array_equal(copy[2].model.coef, result[2].model.coef)
    frame = pytest.importorskip("pandas") and result.to_pandas()
    assert (tuple(frame.columns), len(frame)) == (names, 4)
    assert sweep(X[:40], Y[:40], {"lr": [0.1]}, keep_models=False)[0].model is None


@pytest.mark.parametrize(
    ("grid", "options", "kind", "message"),
    [
        ([0.1], {}, TypeError, r"^grid: got \[0.1\]; must be a dict"),
        ({}, {}, TypeError, "^grid: got {}"),
        ({"rate": [0.1]}, {}, TypeError, "^grid: got the unknown option 'rate'; must be one of loss, "),
        ({"lr": [0.1]}, {"callback": print}, ValueError, "^sweep: got the option 'callback'; use fit_linear"),
        ({"rng": [1]}, {}, ValueError, "^grid: got the option 'rng'; use seeds"),
        ({"lr": 0.1}, {}, TypeError, r"^grid\['lr'\]: got 0.1; must be a list"),
        ({"lr": []}, {}, ValueError, r"^grid\['lr'\]: is empty"),
        ({"lr": [0.5, 0.5]}, {}, ValueError, r"^grid\['lr'\]: got .* must be different"),
        ({"lr": [0.5]}, {"lr": 0.1}, ValueError, "^lr: is an axis of the grid and an option"),
        ({"lr": [-1.0]}, {}, ValueError, "^lr: got -1.0"),
        ({"lr": [0.5, 0.1]}, {"rule": AROW()}, ValueError, "^lr: got 0.5, but the rule AROW has no learning rate"),
        ({"penalty": [-1.0]}, {}, ValueError, "^penalty: got -1.0"),
        ({"lr": np.array(0.5)}, {}, TypeError, r"^grid\['lr'\]: got array\(0.5\); must be a list"),
        ({"lr": {0.1, 0.5}}, {}, TypeError, r"^grid\['lr'\]: got {.*; must be a list"),
        ({"lr": [0.5]}, {"seeds": 3}, TypeError, "^seeds: got 3; must be a list"),
        ({"lr": [0.5]}, {"seeds": {1, 2}}, TypeError, "^seeds: got {1, 2}; must be a list"),
        ({"lr": [0.5]}, {"seeds": (1, 1)}, ValueError, "^seeds: got .* must be different"),
        ({"lr": [0.5]}, {"X_test": X}, ValueError, "^y_test: got None; give both"),
    ],
)
def test_errors(grid, options, kind, message):
    with pytest.raises(kind, match=message):
        sweep(X, Y, grid, **options)


def test_an_iterator_is_an_error():
    with pytest.raises(ValueError, match="^X: got an iterator, which allows one pass"):
        sweep(iter([Chunk(X, Y)]), None, {"lr": [0.1]})
