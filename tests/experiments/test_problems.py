"""Known problems: optima, gradients, data sets and their checksums, and errors."""

import lzma
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from adagrad_nb import DataProblem, fit_linear, problem
from adagrad_nb.experiments.problems import EXAMPLES, GENERATORS

SMALL = {
    "quadratic": {"n": 5}, "rosenbrock": {"n": 4}, "logistic": {"n": 60, "n_features": 4},
    "sparse-logistic": {"n": 80, "n_features": 10, "n_relevant": 3, "density": 0.5},
    "drift": {"n": 50, "n_features": 3}, "text-like": {"n": 60, "n_features": 50, "n_relevant": 10},
}  # fmt: skip


def penalty_value(known, x):
    return known.penalty_value(x) if hasattr(known, "penalty") else 0.0


@pytest.mark.parametrize("name", GENERATORS)
def test_gradients_and_optima(name):
    known = problem(name, **SMALL[name])
    x, step = known.x0 + 0.1, 1e-6
    for k, slope in enumerate(known.jac(x)):
        up, down = x.copy(), x.copy()
        up[k] += step
        down[k] -= step
        difference = known.fun(up) - penalty_value(known, up) - (known.fun(down) - penalty_value(known, down))
        assert slope == pytest.approx(difference / (2 * step), rel=1e-4, abs=1e-7)
    if known.optimum is None:
        return
    assert known.fun(known.optimum) == pytest.approx(known.optimum_value, abs=1e-15)
    for direction in np.random.default_rng(0).normal(size=(20, known.x0.size)):
        assert known.fun(known.optimum + 1e-3 * direction) > known.optimum_value


def test_the_optimum_of_logistic_has_double_precision():
    known = problem("logistic", **SMALL["logistic"])
    gradient = known.jac(known.optimum) + known.penalty.strength * known.optimum
    assert np.abs(gradient).max() < 1e-15


def test_the_optimum_of_sparse_logistic_is_sparse():
    known = problem("sparse-logistic", **SMALL["sparse-logistic"] | {"strength": 0.05})
    zero = known.optimum == 0
    gradient = known.jac(known.optimum)
    assert 0 < zero.sum() < zero.size
    assert np.abs(gradient[zero]).max() <= known.penalty.strength
    assert_allclose(gradient[~zero], -known.penalty.strength * np.sign(known.optimum[~zero]), atol=1e-5)


def test_batches_and_held_out_rows():
    known = problem("text-like", **SMALL["text-like"])
    x = np.random.default_rng(0).normal(size=known.x0.size)
    parts = [known.fun(x, np.arange(start, start + 20)) for start in (0, 20)]
    assert np.mean(parts) == pytest.approx(known.fun(x))
    assert known.X_test.shape == (20, 50)
    assert known.test_loss(x) != known.fun(x)
    with pytest.raises(ValueError, match="^test_loss: the problem 'logistic' has no held-out rows"):
        problem("logistic", **SMALL["logistic"]).test_loss(np.zeros(4))
    with pytest.raises(ValueError, match=r"^x: got shape \(2,\); must have shape"):
        known.fun(np.zeros(2))
    with pytest.raises(ValueError, match=r"^y_test: got shape \(1,\); must have shape \(2,\)"):
        DataProblem("a", "b", np.eye(2), [0, 1], np.eye(2), [0])


def test_the_loss_is_that_of_models(interpreted):
    known = problem("text-like", **SMALL["text-like"])
    model = fit_linear(known.X, known.y, lr=0.5)
    x = np.append(model.coef, model.intercept)
    assert known.fun(x) == pytest.approx(model.mean_loss(known.X, known.y))
    assert known.test_loss(x) == pytest.approx(model.mean_loss(known.X_test, known.y_test))


@pytest.mark.parametrize("name", GENERATORS)
def test_seeds_and_pickles(name):
    first, second, other = (problem(name, seed=seed, **SMALL[name]) for seed in (1, 1, 2))
    x = first.x0 + 0.3
    assert first.fun(x) == second.fun(x) == pickle.loads(pickle.dumps(first)).fun(x)
    assert name in ("quadratic", "rosenbrock") or first.fun(x) != other.fun(x)


def test_the_plane_of_a_stream_turns():
    known = problem("drift", n=4000, turns=0.5)
    X, sign = known.X.toarray(), np.where(known.y, 1.0, -1.0)
    early, late = (X[rows].T @ sign[rows] for rows in (slice(0, 400), slice(3600, 4000)))
    assert known.is_stream
    assert early @ late / np.linalg.norm(early) / np.linalg.norm(late) < -0.5


@pytest.mark.compiled_only("the readers take seconds in pure Python")
def test_the_folder_and_the_checksums(tmp_path):
    with pytest.raises(FileNotFoundError, match="^folder: .* has no file agaricus.txt.train, agaricus.txt.train.xz"):
        problem("agaricus", tmp_path)
    for name in ("agaricus.txt.train", "agaricus.txt.test"):
        (tmp_path / name).write_bytes(lzma.decompress((EXAMPLES / f"{name}.xz").read_bytes()))
    copy, known = problem("agaricus", tmp_path), problem("agaricus")
    assert_array_equal(copy.y, known.y)
    assert (known.X.shape, known.X_test.shape) == ((6513, 126), (1611, 126))
    assert known.fun(known.x0) == pytest.approx(np.log(2))
    changed = (tmp_path / "agaricus.txt.test").read_bytes().replace(b"1 ", b"0 ", 1)
    (tmp_path / "agaricus.txt.test").write_bytes(changed)
    with pytest.raises(ValueError, match="^folder: the content of .*agaricus.txt.test has the SHA-256 .*, not 765db"):
        problem("agaricus", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (["mnist"], {}, "^name: got 'mnist'; must be one of 'a9a', "),
        (["a9a"], {"n": 3}, "^n: the data set 'a9a' has no settings"),
        (["drift", "data"], {}, "^folder: got 'data', but 'drift' is generated"),
        (["drift"], {"strength": 1.0}, "^strength: is no setting of 'drift'; must be one of n, n_features, turns"),
        (["logistic"], {"n": 0}, "^n: got 0"),
        (["logistic"], {"strength": 0.0}, "^strength: got 0.0"),
        (["sparse-logistic"], {"n_relevant": 501}, "^n_relevant: got 501; must be at most 500"),
    ],
)
def test_errors(arguments, settings, message):
    with pytest.raises(ValueError, match=message):
        problem(*arguments, **settings)
