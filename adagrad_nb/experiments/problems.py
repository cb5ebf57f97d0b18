"""Known problems: data sets by name and checksum, and generated problems, most with a known optimum."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np
import scipy

from .. import _check
from .._csr import as_csr
from ..compiler.jit import compiled_for
from ..io.readers import load_svmlight
from ..io.source import Source
from ..io.vowpal import load_vw
from ..linear.model_options import check_options
from ..linear.targets import BinaryLabels, Numbers
from ..online.comparator import best_fixed, strengths
from ..online.smoothed_losses import evaluate_losses
from ..records.multiclass_losses import is_multi_output_loss, target_type
from ..records.penalties import L1, L2
from ..testing import Quadratic, quadratic

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples" / "data"
SUFFIXES = ("", ".xz", ".gz", ".bz2", ".zst")
MAX_NEWTON_STEPS = 100


@dataclasses.dataclass(frozen=True, eq=False)
class DataProblem:
    """Linear model of rows: the mean loss of X w plus the penalty, with w = (coef, intercept).

    Attributes
    ----------
    name, description : str
    X, y : csr_array of shape (n, n_features), ndarray of shape (n,)
        Rows to train on.  Other matrices are converted.
    X_test, y_test : csr_array, ndarray or None
        Held-out rows.
    loss : str
        Name of the loss, as in `fit_linear`.
    penalty : penalty record or None
    intercept : bool
        Whether w ends with an intercept.
    is_stream : bool
        Whether the order of the rows is part of the problem, so that they are not shuffled.
    optimum : ndarray or None
        The minimiser w, if it is known.
    optimum_value : float or None
        Mean loss of the rows plus the penalty at the optimum.
    """

    name: str
    description: str
    X: Any
    y: Any
    X_test: Any = None
    y_test: Any = None
    loss: str = "logistic"
    penalty: Any = None
    intercept: bool = True
    is_stream: bool = False
    optimum: Any = None
    optimum_value: float | None = None

    def __post_init__(self) -> None:
        for suffix in ("", "_test"):
            X, y = (getattr(self, name + suffix) for name in ("X", "y"))
            if suffix and X is None and y is None:
                continue
            X, y = as_csr(X, np.float64), np.asarray(y)
            _check.same_length(f"y{suffix}", y, X.shape[0], "row")
            object.__setattr__(self, f"X{suffix}", X)
            object.__setattr__(self, f"y{suffix}", y)

    @property
    def n_samples(self) -> int:
        """Number of rows to train on."""
        return self.X.shape[0]

    @property
    def x0(self) -> np.ndarray:
        """Weights of zero."""
        return np.zeros(self.X.shape[1] + self.intercept)

    def fun(self, x: np.ndarray, batch: Any = None) -> float:
        """Return the mean loss of the rows, or of the rows `batch`, plus the penalty."""
        return self.mean_loss(x, batch) + self.penalty_value(x)

    def mean_loss(self, x: np.ndarray, batch: Any = None) -> float:
        """Return the mean loss of the rows, or of the rows `batch`, without the penalty."""
        return self._losses(x, batch)[0]

    def jac(self, x: np.ndarray, batch: Any = None) -> np.ndarray:
        """Return the gradient of the mean loss of the rows, or of the rows `batch`, without the penalty."""
        return self._losses(x, batch)[1]

    def penalty_value(self, x: np.ndarray) -> float:
        """Return the penalty of the weights."""
        each, w = strengths(self.penalty), x[: self.X.shape[1]]
        return float(np.sum(each.l1 * np.abs(w)) + np.sum(each.l2 * w * w) / 2)

    def test_loss(self, x: np.ndarray) -> float:
        """Return the mean loss of the held-out rows."""
        if self.X_test is None:
            raise ValueError(f"test_loss: the problem {self.name!r} has no held-out rows; use fun")
        return self._evaluate(self.X_test, self.y_test, x)[0]

    def _losses(self, x, batch):
        if batch is None:
            return self._evaluate(self.X, self.y, x)
        return self._evaluate(self.X[batch], self.y[batch], x)

    def _evaluate(self, X, y, x):
        """Return the mean loss of rows, and its gradient."""
        loss = check_options(self.loss, None)["loss"]
        if is_multi_output_loss(loss) or (target_type(loss) == "binary" and np.unique(self.y).size > 2):
            raise ValueError(f"fun: the problem {self.name!r} has several classes; use fit_linear")
        labels: Any = Numbers(str(target_type(loss)))
        if target_type(loss) == "binary":
            labels = BinaryLabels.from_declared(np.unique(self.y))
        targets = np.asarray(labels.encode(y, X.shape[0], np.float64)[0], np.float64)
        x = np.asarray(x, np.float64)
        if x.shape != self.x0.shape:
            raise ValueError(f"x: got shape {x.shape}; must have shape {self.x0.shape}, with the intercept last")
        n = X.shape[1]
        scores = X @ x[:n] + (x[n] if self.intercept else 0.0)
        values, slopes, points = (np.empty(X.shape[0]) for _ in range(3))
        compiled_for(evaluate_losses, loss)(loss, targets, scores, 0.0, values, slopes, points)
        gradient = X.T @ slopes / X.shape[0]
        return float(values.mean()), np.append(gradient, slopes.mean()) if self.intercept else gradient


@dataclasses.dataclass(frozen=True, eq=False)
class FunctionProblem:
    """Function of several variables.

    Attributes
    ----------
    name, description : str
    fun, jac : callable
        ``fun(x) -> float`` and ``jac(x) -> ndarray``.
    x0 : ndarray of shape (n,)
        Start point.
    optimum : ndarray of shape (n,) or None
    optimum_value : float or None
    """

    name: str
    description: str
    fun: Any
    jac: Any
    x0: Any
    optimum: Any = None
    optimum_value: float | None = None


# --- data sets ---------------------------------------------------------------------------------------------------


class DataSet(NamedTuple):
    """Files of a data set, with the SHA-256 of their uncompressed content."""

    description: str
    reader: str
    n_features: int
    train: tuple[str, str]
    test: tuple[str, str]


DATA_SETS = {
    "a9a": DataSet(
        "census income, 32,561 rows of 123 binary features (UCI Adult, LIBSVM)", "svmlight", 123,
        ("a9a", "f5d5ffd8d865ff41328e7ee043e4b020816914ff6843ff15b98905ddbedce906"),
        ("a9a.t", "1f448a153f0320399a7e40836eb207655b0bde0f21fc941cc472193daa9f5de9"),
    ),
    "agaricus": DataSet(
        "edible and poisonous mushrooms, 6,513 rows of 126 binary features (UCI Mushroom)", "svmlight", 126,
        ("agaricus.txt.train", "915c2def06e9b44a306ad097fe8b6652c7c477d9c1e605bd2130ad20a70a8ad6"),
        ("agaricus.txt.test", "765db79391141953d890ce197fe828a621d6487fbba4de5e4d2217bd140371c0"),
    ),
    "rcv1": DataSet(
        "sample of news articles, 1,000 rows of 47,152 word weights (RCV1-v2)", "vw", 47_152,
        ("rcv1_small.dat.vw", "348d59a15f8161852b817fedd45a0a9efa5e2602ea86d9e920ba7079f633e084"),
        ("rcv1_small_test.data.vw", "c0f5f4a00497c5cec53b47c0ebb8428cc7c364d436ac10f64b5be33d90bfe293"),
    ),
    "20news": DataSet(
        "news groups by date, 11,314 rows of 173,762 word counts, 20 classes", "svmlight", 173_762,
        ("20news_bydate.train.svm", "ca490d2c09e810f6dc54a3eb9b753445d59909679569e3d500e6fd7ad1d8ed21"),
        ("20news_bydate.test.svm", "41d23c89e324f156f8e8f397b901e4fa50b75f8e34d59c800e4ffb5918ba98b3"),
    ),
}  # fmt: skip


def _load(name, folder):
    """Return the problem of a data set in a folder."""
    data = DATA_SETS[name]
    folder = EXAMPLES if folder is None else pathlib.Path(folder)
    (X, y), (X_test, y_test) = (_read(data, folder, *file) for file in (data.train, data.test))
    return DataProblem(name, data.description, X, y, X_test, y_test)


def _read(data, folder, name, checksum):
    """Return the rows and targets of a file whose checksum is right."""
    path = next((folder / (name + suffix) for suffix in SUFFIXES if (folder / (name + suffix)).exists()), None)
    if path is None:
        raise FileNotFoundError(f"folder: {folder} has no file {name}, {name}.xz or {name}.gz; pass the folder with it")
    digest = hashlib.sha256()
    for block in Source(path).read_blocks(1 << 20):
        digest.update(block)
    if digest.hexdigest() != checksum:
        raise ValueError(
            f"folder: the content of {path} has the SHA-256 {digest.hexdigest()}, not {checksum}; get the original file"
        )
    load = load_svmlight if data.reader == "svmlight" else load_vw
    return load(os.fspath(path), n_features=data.n_features)[:2]  # type: ignore[operator]


# --- generated problems ------------------------------------------------------------------------------------------

DESCRIPTIONS = {
    "quadratic": "separable quadratic function with a large condition number",
    "rosenbrock": "Rosenbrock's function, a curved valley",
    "logistic": "dense logistic regression with an L2 penalty",
    "sparse-logistic": "sparse logistic regression with an L1 penalty, with few relevant features",
    "drift": "stream of labels of a plane that turns, so that no fixed weights predict all rows",
    "text-like": "rows of words with Zipf's frequencies, of unit norm, of which some decide the label",
}


def _make_quadratic(rng, n=100, condition=1e3):
    """Return a separable quadratic function with curvatures from 1 to `condition`."""
    record = quadratic(_check.positive_count("n", n), _check_above("condition", condition, 1.0))
    fun, jac = _QuadraticValue(record), _QuadraticGradient(record)
    return FunctionProblem("quadratic", DESCRIPTIONS["quadratic"], fun, jac, np.zeros(n), record.minimum, 0.0)


class _QuadraticValue(NamedTuple):
    """Value of a quadratic function, as a function that pickles."""

    record: Quadratic

    def __call__(self, x):
        return float(np.sum(self.record.curvature * (x - self.record.minimum) ** 2)) / 2


class _QuadraticGradient(NamedTuple):
    """Gradient of a quadratic function."""

    record: Quadratic

    def __call__(self, x):
        return self.record.curvature * (x - self.record.minimum)


def _make_rosenbrock(rng, n=10):
    """Return Rosenbrock's function, a curved valley."""
    from scipy.optimize import rosen, rosen_der

    x0 = np.resize([-1.2, 1.0], _check.count("n", n, 2))
    return FunctionProblem("rosenbrock", DESCRIPTIONS["rosenbrock"], rosen, rosen_der, x0, np.ones(n), 0.0)


def _make_logistic(rng, n=1000, n_features=20, strength=0.01):
    """Return dense logistic regression, with the optimum by Newton's method in extended precision."""
    X = rng.normal(size=(_check.positive_count("n", n), _check.positive_count("n_features", n_features)))
    y = rng.uniform(size=n) < scipy.special.expit(X @ rng.normal(size=n_features))
    penalty = L2(_check_above("strength", strength, 0.0))  # type: ignore[call-arg]
    w, value = _newton(X, np.where(y, 1.0, -1.0), strength)
    return DataProblem(
        "logistic", DESCRIPTIONS["logistic"], as_csr(X, np.float64), y, penalty=penalty, intercept=False,
        optimum=w, optimum_value=value,
    )  # fmt: skip


def _newton(X, y, strength):
    """Return the minimiser of the mean logistic loss plus strength |w|² / 2, and its value, to double precision."""
    X, y, strength = X.astype(np.longdouble), y.astype(np.longdouble), np.longdouble(strength)
    w = np.zeros(X.shape[1], np.longdouble)
    smallest = np.inf
    for _ in range(MAX_NEWTON_STEPS):
        rest = 1 / (1 + np.exp(y * (X @ w)))
        gradient = strength * w - X.T @ (y * rest) / y.size
        size = float(np.abs(gradient).max())
        if size >= smallest and size < 1e-15:
            break
        smallest = min(size, smallest)
        hessian = np.asarray((X.T * (rest * (1 - rest))) @ X / y.size + strength * np.eye(w.size), np.float64)
        w = w - np.linalg.solve(hessian, np.asarray(gradient, np.float64))
    value = np.log1p(np.exp(-y * (X @ w))).mean() + strength * (w @ w) / 2
    return w.astype(np.float64), float(value)


def _make_sparse_logistic(rng, n=2000, n_features=500, n_relevant=20, density=0.05, strength=5e-3):
    """Return sparse logistic regression with an L1 penalty, solved to a relative gap of 1e-9."""
    _check.positive_count("n", n), _check.positive_count("n_features", n_features)
    n_relevant = _check.count("n_relevant", n_relevant, 0, n_features)
    _check.in_interval("density", density, "(0, 1]")
    X = scipy.sparse.random_array((n, n_features), density=density, rng=rng, format="csr")
    X.data[:] = rng.normal(size=X.data.size)
    coef = np.zeros(n_features)
    coef[rng.choice(n_features, n_relevant, replace=False)] = 3 * rng.normal(size=n_relevant)
    y = rng.uniform(size=n) < scipy.special.expit(X @ coef)
    penalty = L1(_check_above("strength", strength, 0.0))  # type: ignore[call-arg]
    best = best_fixed(X, y, loss="logistic", penalty=penalty, intercept=False, tol=1e-9)
    return DataProblem(
        "sparse-logistic", DESCRIPTIONS["sparse-logistic"], X, y, penalty=penalty, intercept=False,
        optimum=best.coef, optimum_value=best.objective,
    )  # fmt: skip


def _make_drift(rng, n=5000, n_features=20, turns=1.0):
    """Return labels of a plane that makes so many `turns` during the stream."""
    _check.positive_count("n", n), _check.count("n_features", n_features, 2)
    X = rng.normal(size=(n, n_features))
    first, second = np.linalg.qr(rng.normal(size=(n_features, 2)))[0].T
    angle = 2 * np.pi * _check.in_interval("turns", turns, "[0, inf)") * np.arange(n) / n
    scores = np.cos(angle) * (X @ first) + np.sin(angle) * (X @ second)
    y = rng.uniform(size=n) < scipy.special.expit(5 * scores)
    return DataProblem("drift", DESCRIPTIONS["drift"], as_csr(X, np.float64), y, intercept=False, is_stream=True)


def _make_text_like(rng, n=3000, n_features=10_000, n_words=60, n_relevant=200):
    """Return rows of words with Zipf's frequencies; a third of them is held out."""
    _check.count("n", n, 3), _check.count("n_features", n_features, 2), _check.positive_count("n_words", n_words)
    frequency = 1 / np.arange(1, n_features + 1)
    words = rng.choice(n_features, size=(n, n_words), p=frequency / frequency.sum())
    X = scipy.sparse.csr_array(
        (np.ones(words.size), words.ravel(), np.arange(0, words.size + 1, n_words)), shape=(n, n_features)
    )
    X.sum_duplicates()
    X.data = 1 + np.log(X.data)
    X = as_csr(scipy.sparse.diags_array(1 / scipy.sparse.linalg.norm(X, axis=1)) @ X, np.float64)
    coef = np.zeros(n_features)
    coef[:: max(n_features // _check.positive_count("n_relevant", n_relevant), 1)] = 1.0
    coef *= 12 * rng.normal(size=n_features)
    scores = X @ coef
    y = rng.uniform(size=n) < scipy.special.expit(scores - np.median(scores))
    end = n - n // 3
    return DataProblem("text-like", DESCRIPTIONS["text-like"], X[:end], y[:end], X[end:], y[end:])


GENERATORS = {
    "quadratic": _make_quadratic, "rosenbrock": _make_rosenbrock, "logistic": _make_logistic,
    "sparse-logistic": _make_sparse_logistic, "drift": _make_drift, "text-like": _make_text_like,
}  # fmt: skip


def _check_above(name, value, low):
    return float(_check.in_interval(name, value, f"({low}, inf)"))


def problem(
    name: str, folder: str | os.PathLike | None = None, *, seed: int = 0, **settings: Any
) -> DataProblem | FunctionProblem:
    """Return a known problem.

    Parameters
    ----------
    name : str
        A data set: "a9a", "agaricus", "rcv1" or "20news".  Or a generated problem: "quadratic", "rosenbrock",
        "logistic", "sparse-logistic", "drift" or "text-like".
    folder : path, optional
        Folder with the files of a data set, compressed or not, whose checksums are compared.  By default
        ``examples/data`` of the repository, if the package runs from there.
    seed : int, default 0
        Seed of a generated problem.
    **settings
        Sizes of a generated problem: ``n``; ``condition`` of "quadratic"; ``n_features`` and ``strength`` of the
        penalty; ``n_relevant``, ``density``, ``turns`` and ``n_words``.

    Returns
    -------
    DataProblem or FunctionProblem

    Raises
    ------
    FileNotFoundError
        If the folder lacks a file.
    ValueError
        For an unknown name or setting, or a file with other content.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import minimize_adagrad, problem
    >>> valley = problem("rosenbrock", n=4)
    >>> res = minimize_adagrad(valley.fun, valley.x0, jac=valley.jac, lr=1.0, maxiter=20_000)
    >>> bool(np.allclose(res.x, valley.optimum, atol=1e-2))
    True
    """
    _check.one_of("name", name, (*DATA_SETS, *GENERATORS))
    if name in DATA_SETS:
        if settings:
            raise ValueError(f"{next(iter(settings))}: the data set {name!r} has no settings; leave it out")
        return _load(name, folder)
    if folder is not None:
        raise ValueError(f"folder: got {folder!r}, but {name!r} is generated; leave folder out")
    known = list(inspect.signature(GENERATORS[name]).parameters)[1:]
    for setting in settings:
        if setting not in known:
            raise ValueError(f"{setting}: is no setting of {name!r}; must be one of {', '.join(known)}")
    return GENERATORS[name](np.random.default_rng(_check.count("seed", seed)), **settings)
