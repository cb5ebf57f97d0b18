"""Comparison of methods on one problem, at the same budgets and evaluation points, over several seeds."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _check
from ..io.archive import naming_errors, read_archive, write_archive
from ..io.schema import ArrayField, check_array, check_names, entry
from ..linear.fit import fit_linear
from ..minimize.drivers import minimize_adadelta, minimize_adagrad, minimize_stochastic
from ..online.tables import data_frame, record_array
from ..optim.state import init
from ..plots import plot_comparison
from .problems import DataProblem, FunctionProblem
from .problems import problem as known_problem
from .runs import Recorder, run_linear, run_minimizer, start_point
from .sweep import check_seeds

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

FILE_KIND = "comparison"
AXES = ("rows", "seconds", "gradients")
FIRST_SECONDS = 0.01  # of the budget: the first evaluation point
# Packages whose versions are recorded: those that every run needs, and others if they are loaded.
_PACKAGES = ("adagrad_nb", "numpy", "scipy", "numba", "llvmlite")
_OTHER_PACKAGES = ("torch", "jax", "optax", "keras", "tensorflow", "sklearn", "river", "vowpalwabbit")
_DISTRIBUTIONS = {"sklearn": "scikit-learn"}


class Comparison:
    """Result of `compare`.

    Attributes
    ----------
    problem, description : str
        Name and description of the problem.
    axis : {"rows", "seconds", "gradients"}
        Unit of the budget.
    measure : {"objective", "test_loss"}
        The measured values: the mean loss of the training rows plus the penalty, or the function; or the mean loss of
        the held-out rows.
    names : tuple of str
        Names of the methods.
    seeds : tuple of int
    points : ndarray of shape (n_points,)
        Evaluation points in units of `axis`.
    values : ndarray of shape (n_methods, n_seeds, n_points)
        Value at each point; inf after a divergence.
    seconds : ndarray of shape (n_methods, n_seeds, n_points)
        Time of the method up to each point, without compilation and evaluation.
    optimum_value : float or None
        Smallest objective, if it is known.
    versions : dict of str
        Versions of Python and of packages.
    """

    def __init__(
        self,
        problem: str,
        description: str,
        axis: str,
        measure: str,
        names: tuple[str, ...],
        seeds: tuple[int, ...],
        points: np.ndarray,
        values: np.ndarray,
        seconds: np.ndarray,
        optimum_value: float | None,
        versions: dict[str, str],
    ) -> None:
        self.problem, self.description, self.axis, self.measure = problem, description, axis, measure
        self.names, self.seeds, self.points = names, seeds, points
        self.values, self.seconds, self.optimum_value, self.versions = values, seconds, optimum_value, versions

    def __repr__(self) -> str:
        return f"Comparison({self.problem}: {', '.join(self.names)}; {len(self.seeds)} seeds)"

    def bands(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the median over the seeds and the two quartiles of a method, each of shape (n_points,)."""
        _check.one_of("name", name, self.names)
        values = self.values[self.names.index(name)]
        # "lower" and "higher" do not interpolate, so that an inf does not become NaN
        low = np.quantile(values, 0.25, axis=0, method="lower")
        high = np.quantile(values, 0.75, axis=0, method="higher")
        return np.quantile(values, 0.5, axis=0, method="lower"), low, high

    def best(self) -> str:
        """Return the name of the method with the lowest median at the end."""
        return min(self.names, key=lambda name: self.bands(name)[0][-1])

    @property
    def table(self) -> np.recarray:
        """Record array with one row for each method, seed and point."""
        grid = np.meshgrid(np.array(self.names), np.array(self.seeds), self.points, indexing="ij")
        columns = dict(zip(("method", "seed", self.axis), grid, strict=True)) | {"value": self.values}
        if self.axis != "seconds":
            columns["seconds"] = self.seconds
        return record_array({name: column.ravel() for name, column in columns.items()})

    def to_pandas(self) -> Any:
        """Return `table` as a `pandas.DataFrame`; pandas must be installed."""
        return data_frame(self.table)

    def plot(self) -> Any:
        """Return a `matplotlib.figure.Figure` of the medians and quartiles; matplotlib must be installed."""
        return plot_comparison(self)

    def save(self, path: str | os.PathLike) -> None:
        """Write the comparison to a file, without pickle; `load_comparison` reads it.

        Parameters
        ----------
        path : str or path-like
            File name.  The file is replaced atomically.
        """
        names = ("problem", "description", "axis", "measure", "optimum_value", "versions")
        meta = {name: getattr(self, name) for name in names} | {"names": list(self.names), "seeds": list(self.seeds)}
        arrays = {name: np.asarray(getattr(self, name), np.float64) for name in ("points", "values", "seconds")}
        write_archive(path, FILE_KIND, meta, arrays)


def load_comparison(path: str | os.PathLike) -> Comparison:
    """Read a file that `Comparison.save` wrote.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If the file is damaged or not a comparison.
    """
    meta, arrays = read_archive(path, FILE_KIND)
    with naming_errors(path):
        texts = [entry(meta, name, str) for name in ("problem", "description", "axis", "measure")]
        _check.one_of("axis", texts[2], AXES)
        names, seeds = tuple(entry(meta, "names", list)), tuple(entry(meta, "seeds", list))
        versions, optimum_value = entry(meta, "versions", dict), meta.get("optimum_value")
        if not all(isinstance(name, str) for name in (*names, *versions, *versions.values())):
            raise ValueError("names and versions must be strings")
        if not all(isinstance(seed, int) for seed in seeds) or not isinstance(optimum_value, float | None):
            raise ValueError("seeds must be integers, and optimum_value a number or null")
        check_names(arrays, ("points", "values", "seconds"))
        n_points = arrays["points"].size
        shape = (len(names), len(seeds), n_points)
        for name, expected in (("points", (n_points,)), ("values", shape), ("seconds", shape)):
            check_array(name, arrays[name], ArrayField(expected, np.dtype(np.float64), None))
    problem, description, axis, measure = texts
    return Comparison(
        problem, description, axis, measure, names, seeds, arrays["points"], arrays["values"], arrays["seconds"],
        optimum_value, versions,
    )  # fmt: skip


def compare(
    problem: DataProblem | FunctionProblem | str,
    methods: dict[str, dict[str, Any] | Callable],
    budget: float,
    axis: str = "rows",
    seeds: Sequence[int] = (0,),
    *,
    points: int = 20,
    measure: str | None = None,
) -> Comparison:
    """Run methods on one problem with the same budget, and measure all of them at the same points.

    Parameters
    ----------
    problem : DataProblem, FunctionProblem or str
        A problem, or the name of one of `problem`.
    methods : dict
        Names of methods, and for each its options or a function.

        Options are those of `fit_linear` for data, and of `minimize_adagrad` for a function.  The option ``driver``
        selects another function: `fit_linear`, `minimize_adagrad`, `minimize_adadelta`, `minimize_stochastic` or
        `init`, whose state `update` steps by hand.  Weights of data that are minimised have the intercept last.

        A function is called as ``method(problem, seed, record)``.  It calls ``record(x, count)`` after each update,
        with the number of rows or gradients so far, until that returns False, or it returns its final x.
    budget : float
        Number of rows, seconds or gradients of each run.
    axis : {"rows", "seconds", "gradients"}, default "rows"
        Unit of the budget.  A gradient is that of an update: of a row, of a batch, or of all rows.  Seconds exclude
        compilation and evaluation.
    seeds : sequence of int, default (0,)
        Of the order of the rows, where 0 is the given one; or, for a function, of noise that is added to the start
        point, where 0 is none.
    points : int, default 20
        Largest number of evaluation points.  They increase geometrically up to the budget.
    measure : {"objective", "test_loss"}, optional
        By default "test_loss" if the problem has held-out rows, else "objective".

    Returns
    -------
    Comparison

    Raises
    ------
    TypeError, ValueError
        For invalid methods and budgets.  A run that diverges has values of inf.

    Examples
    --------
    >>> from adagrad_nb import SGD, Adagrad, compare, problem
    >>> methods = {"Adagrad": {"rule": Adagrad(), "lr": 1.0}, "SGD": {"rule": SGD(), "lr": 1e-3}}
    >>> result = compare("quadratic", methods, 300, axis="gradients", points=5)
    >>> result.best(), result.values.shape
    ('Adagrad', (2, 1, 5))
    """
    problem = known_problem(problem) if isinstance(problem, str) else problem
    if not isinstance(problem, (DataProblem, FunctionProblem)):
        raise TypeError(f"problem: got {type(problem).__name__}; must be a problem, or the name of one")
    _check.one_of("axis", axis, AXES)
    if axis == "rows" and isinstance(problem, FunctionProblem):
        raise ValueError("axis: got 'rows', but a function has none; use 'gradients' or 'seconds'")
    runs = _check_methods(problem, methods)
    seeds = check_seeds(seeds)
    at = _evaluation_points(axis, budget, _check.positive_count("points", points))
    has_test = getattr(problem, "X_test", None) is not None
    measure = ("test_loss" if has_test else "objective") if measure is None else measure
    _check.one_of("measure", measure, ("objective", "test_loss") if has_test else ("objective",))
    values, seconds = np.empty((2, len(runs), len(seeds), at.size))
    for m, (name, run) in enumerate(runs.items()):
        for k, seed in enumerate(seeds):
            recorder = Recorder(axis, at, _Measure(problem, measure), start_point(problem, seed))
            result = run(problem, seed, recorder)
            if recorder.has_budget:
                if result is None:
                    raise ValueError(
                        f"methods[{name!r}]: returned None before its budget ended; call record after each update, or "
                        "return the final x"
                    )
                recorder.finish(result)
            values[m, k], seconds[m, k] = recorder.values, recorder.seconds
    optimum = problem.optimum_value if measure == "objective" else None
    return Comparison(
        problem.name, problem.description, axis, measure, tuple(runs), tuple(seeds), at, values, seconds, optimum,
        _versions(),
    )  # fmt: skip


_MINIMIZERS = (minimize_adagrad, minimize_adadelta, minimize_stochastic, init)
_DRIVERS = {function.__name__: function for function in (fit_linear, *_MINIMIZERS)}
_OWN_OPTIONS = (
    "X", "y", "sample_weight", "passes", "model", "early_stopping", "shuffle", "rng", "callback", "checkpoint",
    "resume", "fun", "x0", "jac", "n_samples", "epochs", "maxiter", "gtol", "tol", "state",
)  # fmt: skip


def _check_methods(problem, methods):
    """Return functions ``run(problem, seed, recorder)`` by name."""
    if not isinstance(methods, dict) or not methods:
        raise TypeError(f"methods: got {_check.shorten_repr(methods)}; must be a dict from names to options")
    runs = {}
    for name, method in methods.items():
        where = f"methods[{name!r}]"
        if not isinstance(name, str):
            raise TypeError(f"methods: got the name {name!r}; must be a string")
        if callable(method):
            runs[name] = method
            continue
        if not isinstance(method, dict):
            raise TypeError(f"{where}: got {_check.shorten_repr(method)}; must be a dict of options, or a function")
        options = dict(method)
        is_data = isinstance(problem, DataProblem)
        driver = options.pop("driver", fit_linear if is_data else minimize_adagrad)
        if driver not in _DRIVERS.values():
            raise ValueError(f"{where}: got the driver {driver!r}; must be one of {', '.join(_DRIVERS)}")
        if driver in (fit_linear, minimize_stochastic) and not is_data:
            raise ValueError(f"{where}: {driver.__name__} needs rows, but the problem is a function")
        for option in options:
            if option in _OWN_OPTIONS:
                raise ValueError(f"{where}: got the option {option!r}, which compare sets itself; leave it out")
        runs[name] = _Run(driver, options)
    return runs


class _Run:
    """Run of a function of this package with its options."""

    def __init__(self, driver, options):
        self.driver, self.options = driver, options

    def __call__(self, problem, seed, recorder):
        if self.driver is fit_linear:
            run_linear(problem, self.options, recorder, seed)
        else:
            run_minimizer(problem, self.driver, self.options, recorder, seed)


class _Measure:
    """Value of weights or of a model."""

    def __init__(self, problem, measure):
        self.problem, self.of_test = problem, measure == "test_loss"

    def __call__(self, x):
        problem = self.problem
        if hasattr(x, "decision_function"):
            if self.of_test:
                return x.mean_loss(problem.X_test, problem.y_test)
            return x.mean_loss(problem.X, problem.y) + problem.penalty_value(x.coef)
        if np.shape(x) != np.shape(problem.x0) or np.asarray(x).dtype.kind not in "fiu":
            raise ValueError(
                f"record: got {_check.shorten_repr(x)}; a method must record and return linear models, or arrays of "
                f"the shape of the start point, {np.shape(problem.x0)}"
            )
        return problem.test_loss(x) if self.of_test else float(problem.fun(x))


def _evaluation_points(axis, budget, n_points):
    """Return increasing points up to the budget."""
    if axis == "seconds":
        budget = float(_check.in_interval("budget", budget, "(0, inf)"))
        return np.geomspace(budget * FIRST_SECONDS, budget, n_points) if n_points > 1 else np.array([budget])
    budget = _check.positive_count("budget", budget)
    return np.unique(np.geomspace(1, budget, n_points).round()) if n_points > 1 else np.array([float(budget)])


def _versions():
    """Return the versions of Python and of packages that are installed, or loaded if no run needs them."""
    names = [*_PACKAGES, *(name for name in _OTHER_PACKAGES if name in sys.modules)]
    versions = {"python": platform.python_version()}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(_DISTRIBUTIONS.get(name, name))
        except importlib.metadata.PackageNotFoundError:  # run from a checkout
            versions[name] = "unknown"
    return versions
