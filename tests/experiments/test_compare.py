"""Comparisons: values at the evaluation points, functions of the caller, files, figures and errors."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from adagrad_nb import (
    L1,
    SGD,
    Adagrad,
    Chunk,
    DataProblem,
    compare,
    fit_linear,
    init,
    load_comparison,
    minimize_adadelta,
    minimize_adagrad,
    minimize_stochastic,
    problem,
)
from adagrad_nb.experiments.compare import Comparison
from adagrad_nb.io.archive import write_archive

WORDS = problem("text-like", n=90, n_features=30, n_relevant=10)
BOWL = problem("quadratic", n=4, condition=10.0)


def measured_on_prefixes(points, **options):
    """Return the test losses of models that were trained on so many rows."""
    classes = {"classes": np.unique(WORDS.y)}
    return [
        fit_linear([Chunk(WORDS.X[:n], WORDS.y[:n])], **options, **classes).mean_loss(WORDS.X_test, WORDS.y_test)
        for n in points
    ]


def test_linear_models_are_measured_after_each_number_of_rows(interpreted):
    result = compare(WORDS, {"plain": {"lr": 0.5}, "batches": {"lr": 0.5, "batch_size": 8}}, 60, points=4)
    assert_array_equal(result.points, [1, 4, 15, 60])
    assert_array_equal(result.values[0, 0], measured_on_prefixes([1, 4, 15, 60], lr=0.5))
    start = np.log(2)  # less than a batch
    assert result.values[1, 0] == pytest.approx(
        [start, start, *measured_on_prefixes([8, 56], lr=0.5, batch_size=8)], rel=1e-15
    )
    assert (np.diff(result.seconds) >= 0).all()


def test_gradients_are_those_of_batches(interpreted):
    result = compare(WORDS, {"a": {"lr": 0.5, "batch_size": 8}}, 5, "gradients", points=2)
    assert_array_equal(result.values[0, 0], measured_on_prefixes([8, 40], lr=0.5, batch_size=8))


def test_rows_are_shuffled_in_passes(interpreted):
    result = compare(WORDS, {"a": {"lr": 0.5}}, 150, seeds=(0, 1, 2), points=1, measure="objective")
    assert len(set(result.values[0, :, 0])) == 3
    again = compare(WORDS, {"a": {"lr": 0.5}}, 150, seeds=(2,), points=5, measure="objective")
    assert again.values[0, 0, -1] == result.values[0, 2, 0]
    model = fit_linear(WORDS.X, WORDS.y, lr=0.5, passes=3)
    expected = model.mean_loss(WORDS.X, WORDS.y)
    assert compare(WORDS, {"a": {"lr": 0.5}}, 180, points=2, measure="objective").values[0, 0, -1] == expected


def test_streams_keep_their_order(interpreted):
    stream = problem("drift", n=50, n_features=3)
    values = compare(stream, {"a": {"lr": 0.5}}, 50, seeds=(0, 1), points=1).values
    assert values[0, 0, 0] == values[0, 1, 0]


def test_functions_are_measured_after_each_number_of_gradients():
    methods = {
        "adagrad": {"lr": 0.5}, "by hand": {"driver": init, "lr": 0.5},
        "adadelta": {"driver": minimize_adadelta},
    }  # fmt: skip
    result = compare(BOWL, methods, 20, "gradients", seeds=(0, 1), points=3)
    for k, n in enumerate(result.points):
        lone = minimize_adagrad(BOWL.fun, BOWL.x0, jac=BOWL.jac, lr=0.5, maxiter=int(n), gtol=0)
        assert result.values[0, 0, k] == BOWL.fun(lone.x)
    assert result.values[1] == pytest.approx(result.values[0], rel=1e-12)
    assert (result.values[0, 0] != result.values[0, 1]).all()
    assert result.optimum_value == 0.0


def test_data_is_minimised_with_its_penalty():
    known = problem("sparse-logistic", n=60, n_features=8, n_relevant=2, density=0.5, strength=0.05)
    methods = {"full": {"driver": minimize_adagrad, "lr": 1.0}, "batches": {"driver": minimize_stochastic, "lr": 0.3}}
    full, stochastic = compare(known, methods, 6000, points=2).values[:, 0]
    assert full[0] == pytest.approx(np.log(2))
    assert full[1] - known.optimum_value < 1e-3
    assert stochastic[1] - known.optimum_value < 0.05
    assert (full >= known.optimum_value - 1e-12).all()


def test_the_intercept_has_no_penalty():
    known = problem("text-like", n=30, n_features=5, n_relevant=2)
    strong = type(known)("strong", "", known.X, np.arange(20) < 15, penalty=L1(100.0))
    values = compare(strong, {"a": {"driver": minimize_adagrad, "lr": 1.0}}, 200, "gradients", points=1).values
    assert values[0, 0, 0] == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)), abs=1e-3)


def test_functions_of_the_caller():
    counts = []

    def descend(problem, seed, record):
        x, n, has_budget = problem.x0, 0, True
        while has_budget:
            x, n = x - 0.1 * problem.jac(x), n + 3
            counts.append(n)
            has_budget = record(x, n)

    def stop_early(problem, seed, record):
        record(problem.x0 + 1.0, 2)
        return problem.optimum

    result = compare(BOWL, {"descend": descend, "early": stop_early}, 10, "gradients", points=4)
    x, values = BOWL.x0, {0: BOWL.fun(BOWL.x0)}
    for n in (3, 6, 9, 12):
        x = x - 0.1 * BOWL.jac(x)
        values[n] = BOWL.fun(x)
    assert_array_equal(result.points, [1, 2, 5, 10])
    assert result.values[0, 0].tolist() == [values[0], values[0], values[3], values[9]]
    assert counts == [3, 6, 9, 12]
    assert result.values[1, 0].tolist() == [values[0], BOWL.fun(BOWL.x0 + 1.0), 0.0, 0.0]
    assert result.best() == "early"
    with pytest.raises(ValueError, match=r"^methods\['none'\]: returned None before its budget ended"):
        compare(BOWL, {"none": lambda problem, seed, record: None}, 10, "gradients")
    for wrong in ("x", np.zeros(3)):
        with pytest.raises(ValueError, match="^record: got .*arrays of the shape of the start point"):
            compare(BOWL, {"wrong": lambda problem, seed, record, x=wrong: x}, 10, "gradients")


def test_a_budget_of_less_than_a_batch_leaves_the_start(interpreted):
    result = compare(WORDS, {"a": {"lr": 0.5, "batch_size": 99}}, 20, points=2)
    assert result.values.ravel() == pytest.approx(np.log(2))


def test_numbers_that_are_integers_are_no_labels(interpreted):
    rows = DataProblem("counts", "", [[1.0], [2.0], [0.5]], [0, 1, 1], loss="poisson")
    (value,) = compare(rows, {"a": {"lr": 0.5}}, 3, points=1).values.ravel()
    model = fit_linear(rows.X, rows.y, lr=0.5, loss="poisson")
    assert value == model.mean_loss(rows.X, rows.y)


def test_a_budget_of_seconds(interpreted):
    def descend(problem, seed, record):
        x = problem.x0
        while record(x, 0):
            x = x - 0.1 * problem.jac(x)

    methods = {"adagrad": {"lr": 0.5}, "caller": descend}
    result = compare(BOWL, methods, 0.02, "seconds", points=3)
    assert result.points == pytest.approx([2e-4, 2e-3, 2e-2])
    assert (result.seconds >= result.points).all()
    assert (result.values[:, :, -1] < BOWL.fun(BOWL.x0)).all()
    words = compare(WORDS, {"linear": {"lr": 0.5}}, 0.02, "seconds", points=3)
    assert np.isfinite(words.values).all()
    assert (words.seconds >= words.points).all()


def test_a_run_that_diverges_has_values_of_inf(interpreted):
    numbers = type(WORDS)("numbers", "", WORDS.X, 100 * WORDS.X.sum(axis=1), loss="squared")
    result = compare(numbers, {"bad": {"lr": 1e200}, "good": {"lr": 0.1}}, 60, points=3)
    assert result.values[0, 0, -1] == np.inf
    assert result.best() == "good"
    by_hand = compare(BOWL, {"bad": {"driver": init, "rule": SGD(), "lr": 1e200}}, 10, "gradients", points=2)
    assert by_hand.values[0, 0, -1] == np.inf


def example():
    values = np.array([[[3.0, 1.0], [4.0, np.inf], [5.0, 2.0]]])
    return Comparison(
        "p", "a problem", "rows", "objective", ("a",), (0, 1, 2), np.array([1.0, 9.0]), values, values / 10, 0.5,
        {"numpy": "2.0"},
    )  # fmt: skip


def test_bands_are_the_median_and_the_quartiles():
    median, low, high = example().bands("a")
    assert (median.tolist(), low.tolist(), high.tolist()) == ([4.0, 2.0], [3.0, 1.0], [5.0, np.inf])
    with pytest.raises(ValueError, match="^name: got 'b'; must be one of 'a'"):
        example().bands("b")


def test_files_pickles_and_tables(tmp_path):
    first = example()
    first.save(tmp_path / "comparison.npz")
    for copy in (load_comparison(tmp_path / "comparison.npz"), pickle.loads(pickle.dumps(first))):
        for name in ("problem", "axis", "measure", "names", "seeds", "optimum_value", "versions"):
            assert getattr(copy, name) == getattr(first, name)
        assert_array_equal(copy.table, first.table)
    assert first.table.dtype.names == ("method", "seed", "rows", "value", "seconds")
    assert first.table.value.tolist() == [3.0, 1.0, 4.0, np.inf, 5.0, 2.0]
    (tmp_path / "damaged.npz").write_bytes((tmp_path / "comparison.npz").read_bytes()[:-40])
    with pytest.raises(ValueError, match="damaged"):
        load_comparison(tmp_path / "damaged.npz")
    write_archive(tmp_path / "model.npz", "linear model", {}, {})
    with pytest.raises(ValueError, match="holds a linear model, not a comparison"):
        load_comparison(tmp_path / "model.npz")
    assert len(pytest.importorskip("pandas") and first.to_pandas()) == 6


def test_versions_are_recorded():
    result = compare(BOWL, {"a": {"lr": 0.5}}, 1, "gradients")
    assert result.versions["numpy"] == np.__version__
    assert {"python", "adagrad_nb", "scipy", "numba"} <= set(result.versions)


@pytest.mark.parametrize("optimum", [None, 0.5])
def test_the_figure(optimum, tmp_path):
    pytest.importorskip("matplotlib")
    from adagrad_nb.plots import save

    comparison = example()
    comparison.optimum_value = optimum
    figure = comparison.plot()
    (axes,) = figure.axes
    assert axes.get_ylabel() == ("objective" if optimum is None else "objective minus optimum")
    assert axes.lines[0].get_ydata().tolist() == [4.0 - (optimum or 0), 2.0 - (optimum or 0)]
    save(figure, tmp_path / "comparison.png")
    assert (tmp_path / "comparison.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((3, {"a": {}}, 10), TypeError, "^problem: got int"),
        (("none", {"a": {}}, 10), ValueError, "^name: got 'none'"),
        ((BOWL, {"a": {}}, 10), ValueError, "^axis: got 'rows', but a function has none"),
        ((WORDS, {"a": {}}, 10, "steps"), ValueError, "^axis: got 'steps'; must be one of 'rows'"),
        ((WORDS, {"a": {}}, 0), ValueError, "^budget: got 0"),
        ((WORDS, {"a": {}}, -1.0, "seconds"), ValueError, "^budget: got -1.0"),
        ((WORDS, {}, 10), TypeError, "^methods: got {}"),
        ((WORDS, {"a": Adagrad()}, 10), TypeError, r"^methods\['a'\]: got Adagrad"),
        ((WORDS, {1: {}}, 10), TypeError, "^methods: got the name 1"),
        (
            (WORDS, {"a": {"passes": 2}}, 10),
            ValueError,
            r"^methods\['a'\]: got the option 'passes', which compare",
        ),
        ((WORDS, {"a": {"driver": print}}, 10), ValueError, r"^methods\['a'\]: got the driver .*must be one of fit_"),
        ((BOWL, {"a": {"driver": fit_linear}}, 10, "gradients"), ValueError, "fit_linear needs rows, but"),
        ((WORDS, {"a": {}}, 10, "rows", ()), TypeError, "^seeds: got"),
    ],
)
def test_errors(arguments, kind, message):
    with pytest.raises(kind, match=message):
        compare(*arguments)
