"""Sweep of `fit_linear` over a grid of options; the learning rates of a cell are trained in one pass."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _check
from .._csr import DivergenceError
from ..io.readers import Chunk
from ..linear.device_trainer import DeviceRows
from ..linear.fit import fit_linear
from ..linear.model_options import check_options
from ..linear.targets import is_multiclass
from ..online.tables import as_column, data_frame, is_number, record_array
from ..records.losses import Logistic
from ..records.multiclass_losses import is_multi_output_loss
from ..records.penalties import L1, has_additive_prox
from ..records.rules import has_row_step
from ..records.schedules import Rates

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from ..linear.model import LinearModel

MOST_RATES = 16  # trained in one pass, the largest number of SIMD lanes
MOST_NUMBERS = 2**27  # of the weights and accumulators that are trained in one pass
# Options that the arguments of `sweep` replace, and options of one training that a cell cannot repeat.
_EXCLUDED = {
    "X": "it is an argument of sweep", "y": "it is an argument of sweep", "shuffle": "use seeds", "rng": "use seeds",
    "sample_weight": "it is an argument of sweep", "model": "cells train new models", "callback": "use fit_linear",
    "checkpoint": "use fit_linear", "resume": "use fit_linear",
}  # fmt: skip
_OPTIONS = tuple(name for name in inspect.signature(fit_linear).parameters if name not in _EXCLUDED)
# With these options several rates are not trained in one pass, or not with the bits of one rate.
_SINGLE_RATE_OPTIONS = ("normalized", "invariant", "standardize_targets", "early_stopping", "ledger")


@dataclasses.dataclass(frozen=True, eq=False)
class Cell:
    """One training of a sweep.

    Attributes
    ----------
    options : dict
        Arguments of `fit_linear`: ``fit_linear(X, y, **cell.options)`` trains the same model, bit for bit.
    point : dict
        Values of the axes of the grid, as they were given.
    seed : int
        Order of the rows.
    progressive_loss : float
        Progressive loss; inf if the training diverged.
    n_nonzero : int
        Number of non-zero weights; 0 if the training diverged.
    test_loss : float
        Mean loss of the held-out rows; NaN without them, and inf if the training diverged.
    error : str
        Message of the error of a training that diverged, else empty.
    """

    options: dict[str, Any]
    point: dict[str, Any]
    seed: int
    progressive_loss: float
    n_nonzero: int
    test_loss: float
    error: str
    _trained: tuple[LinearModel, int | None] | None = dataclasses.field(repr=False)  # and the index of the rate

    @property
    def model(self) -> LinearModel | None:
        """Model of the cell; None if the training diverged, or with ``keep_models=False``."""
        if self._trained is None:
            return None
        model, index = self._trained
        return model if index is None else model.single_rate(index)


class Sweep:
    """Result of `sweep`: a sequence of `Cell`, in the order of the grid, with the seeds last.

    Attributes
    ----------
    cells : list of Cell
    axes : tuple of str
        Names of the options in the grid.
    has_test : bool
        Whether the cells have held-out losses.
    """

    def __init__(self, cells: list[Cell], axes: tuple[str, ...], has_test: bool) -> None:
        self.cells, self.axes, self.has_test = cells, axes, has_test

    def __len__(self) -> int:
        return len(self.cells)

    def __iter__(self) -> Iterator[Cell]:
        return iter(self.cells)

    def __getitem__(self, index: int) -> Cell:
        return self.cells[index]

    def __repr__(self) -> str:
        return f"Sweep({len(self)} cells over {', '.join((*self.axes, 'seed'))})"

    @property
    def table(self) -> np.recarray:
        """Record array with one row for each cell: the axes, the seed, the losses and the number of non-zero weights.

        An axis of numbers is a column of floats; another one is a column of strings.
        """
        columns = {name: as_column([cell.point[name] for cell in self.cells]) for name in self.axes}
        measures = ("seed", "progressive_loss", "n_nonzero") + (("test_loss",) if self.has_test else ())
        columns |= {name: np.array([getattr(cell, name) for cell in self.cells]) for name in measures}
        return record_array(columns)

    def best(self, by: str | None = None) -> Cell:
        """Return the cell of the point with the lowest mean loss over the seeds; of its seeds, the one of lowest loss.

        Parameters
        ----------
        by : {"progressive_loss", "test_loss"}, optional
            The loss, by default "test_loss" if there are held-out rows, else "progressive_loss".

        Returns
        -------
        Cell

        Raises
        ------
        ValueError
            If all trainings diverged.
        """
        by = ("test_loss" if self.has_test else "progressive_loss") if by is None else by
        _check.one_of("by", by, ("progressive_loss", "test_loss") if self.has_test else ("progressive_loss",))
        losses = np.array([getattr(cell, by) for cell in self.cells])
        n_seeds = len({cell.seed for cell in self.cells})
        means = losses.reshape(-1, n_seeds).mean(axis=1)
        if np.isnan(means).all() or not np.nanmin(means) < math.inf:
            raise ValueError(f"best: no point of the grid has a finite {by}; the first error is: {self[0].error}")
        first = int(np.nanargmin(means)) * n_seeds
        return self.cells[first + int(np.argmin(losses[first : first + n_seeds]))]

    def to_pandas(self) -> Any:
        """Return `table` as a `pandas.DataFrame`; pandas must be installed."""
        return data_frame(self.table)


def sweep(
    X: Any,
    y: npt.ArrayLike | None,
    grid: dict[str, Sequence[Any]],
    seeds: Sequence[int] = (0,),
    *,
    X_test: Any = None,
    y_test: npt.ArrayLike | None = None,
    sample_weight: npt.ArrayLike | None = None,
    keep_models: bool = True,
    **options: Any,
) -> Sweep:
    """Train linear models for all combinations of options.

    Learning rates that are numbers are trained together in one pass, up to 16 at a time, if no other option prevents
    it.  The model of each cell is bit-equal to that of ``fit_linear(X, y, **cell.options)``.

    Parameters
    ----------
    X : sparse matrix, array, or iterable of Chunk
        Rows as in `fit_linear`.  An iterator, which allows one pass, is an error.
    y : array_like of shape (n,) or None
        Targets; None for chunks.
    grid : dict of sequences
        Values of options of `fit_linear` by name, such as ``{"lr": [0.1, 0.5], "penalty": [None, L1(1e-4)]}``.  A
        number as penalty is the strength of `L1`.
    seeds : sequence of int, default (0,)
        Orders of the rows.  0 is the given order; another seed is that of ``fit_linear(shuffle=True, rng=seed)``.
    X_test, y_test : optional
        Held-out rows, whose mean loss is computed for each cell.
    sample_weight : array_like of shape (n,), optional
        As in `fit_linear`.
    keep_models : bool, default True
        Whether the cells keep their models.
    **options
        Other options of `fit_linear`, the same for all cells.

    Returns
    -------
    Sweep

    Raises
    ------
    TypeError, ValueError
        For invalid data or options.  A training that diverges raises no error: its cell has the loss inf.

    Notes
    -----
    Rates share a pass with two labels or numbers, and no penalty or one whose proximal steps add, such as `L1`.  The
    closed form of other penalties takes most of the time, and is not faster for several rates.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import sweep
    >>> X = np.random.default_rng(0).normal(size=(500, 4))
    >>> y = X[:, 0] > 0
    >>> result = sweep(X, y, {"lr": [0.01, 0.1, 1.0], "penalty": [0.0, 0.01]})
    >>> len(result), result.best().point
    (6, {'lr': 1.0, 'penalty': 0.0})
    """
    axes, points = _check_grid(grid, options)
    grid = {name: list(grid[name]) for name in axes}
    seeds = check_seeds(seeds)
    if (X_test is None) != (y_test is None):
        missing = "X_test" if X_test is None else "y_test"
        raise ValueError(f"{missing}: got None; give both X_test and y_test, or neither")
    _check.boolean("keep_models", keep_models)
    values = [{name: grid[name][k] for name, k in zip(axes, point, strict=True)} for point in points]
    settings = [_as_options(options | value) for value in values]
    for setting in settings:
        check_options(**{name: setting.get(name) for name in ("loss", "lr", *_CHECKED)})
    data = _Data(X, y, sample_weight, X_test, y_test, keep_models)
    groups = _groups(settings, points, axes, data)
    found: dict[tuple[int, int], Cell] = {}
    for seed in seeds:
        order = {} if seed == 0 else {"shuffle": True, "rng": seed}
        for group in groups:
            results = data.train([settings[k] | order for k in group])
            for k, (option, measures) in zip(group, results, strict=True):
                found[k, seed] = Cell(option, values[k], seed, *measures)
    cells = [found[k, seed] for k in range(len(points)) for seed in seeds]
    return Sweep(cells, axes, X_test is not None)


_CHECKED = (
    "penalty", "rule", "intercept", "average", "batch_size", "normalized", "invariant", "standardize_targets",
)  # fmt: skip


class _Data:
    """Data of a sweep, and the training of cells on it."""

    def __init__(self, X, y, weight, X_test, y_test, keep_models):
        self.is_rows = hasattr(X, "shape") or isinstance(X, (list, tuple, Chunk))
        if not self.is_rows and hasattr(X, "__iter__") and iter(X) is X:
            raise ValueError("X: got an iterator, which allows one pass; use a list of chunks, or a reader")
        self.X, self.y, self.weight, self.keep_models = X, y, weight, keep_models
        self.X_test, self.y_test = X_test, y_test

    def first(self):
        """Return the matrix and the targets of the first chunk."""
        X = self.X
        if self.y is not None:
            return X, self.y
        chunk = X if isinstance(X, Chunk) else next(iter(X), None)
        return (None, None) if not isinstance(chunk, Chunk) else (chunk.X, chunk.y)

    def train(self, settings):
        """Return (options, measures) of each setting; several settings differ in their learning rates only."""
        if len(settings) > 1:
            together = settings[0] | {"lr": Rates(tuple(float(setting["lr"]) for setting in settings))}
            try:
                several = self._fit(together)
            except DivergenceError:  # of all rates, or of a gradient that overflows: each cell has an error of its own
                return [result for setting in settings for result in self.train([setting])]
            losses = several.progressive_losses
            weights, bias = several.parameters.reported_weights(), several.parameters.reported_bias()
            is_finite = np.isfinite(weights).all(axis=0) & np.isfinite(bias[0])
            counts = np.count_nonzero(weights, axis=0)
            return [
                (setting, self._measure(several, k, float(losses[k]), int(counts[k])))
                if math.isfinite(losses[k]) and is_finite[k]
                else self._single(setting)
                for k, setting in enumerate(settings)
            ]
        return [self._single(settings[0])]

    def _single(self, setting):
        try:
            model = self._fit(setting)
        except DivergenceError as error:
            return setting, (math.inf, 0, math.nan if self.X_test is None else math.inf, str(error), None)
        return setting, self._measure(model, None, model.progressive_loss, int(np.count_nonzero(model.coef)))

    def _fit(self, setting):
        with warnings.catch_warnings():  # a grid contains learning rates that do not suit the data
            warnings.filterwarnings("ignore", "fit_linear: the progressive loss", UserWarning)
            return fit_linear(self.X, self.y, sample_weight=self.weight, **setting)

    def _measure(self, model, index, loss, n_nonzero):
        """Return the measures of a model, or of one of its learning rates, as the last fields of a `Cell`."""
        test_loss = math.nan
        if self.X_test is not None:
            single = model if index is None else model.single_rate(index)
            test_loss = single.mean_loss(self.X_test, self.y_test)
        return loss, n_nonzero, test_loss, "", (model, index) if self.keep_models else None


def _groups(settings, points, axes, data):
    """Return lists of positions of settings that are trained in one pass; `points` are those of the grid."""
    groups: dict[Any, list[int]] = {}
    X, y = data.first()
    most = _most_rates(X)
    for k, (setting, point) in enumerate(zip(settings, points, strict=True)):
        can_share = "lr" in axes and _can_share(setting, X, y)
        key = tuple(position for name, position in zip(axes, point, strict=True) if name != "lr") if can_share else k
        groups.setdefault(key, []).append(k)
    return [group[start : start + most] for group in groups.values() for start in range(0, len(group), most)]


def _most_rates(X):
    """Return how many learning rates may be trained in one pass."""
    n_features = X.shape[1] if hasattr(X, "shape") and len(X.shape) == 2 else 1
    return max(min(MOST_RATES, MOST_NUMBERS // (2 * max(n_features, 1))), 1)


def _can_share(setting, X, y):
    """Return whether the rates of settings like this one are trained in one pass, with the bits of single rates."""
    lr, penalty = setting.get("lr"), setting.get("penalty")
    if not is_number(lr) or y is None or isinstance(X, DeviceRows):
        return False
    if any(setting.get(name) for name in _SINGLE_RATE_OPTIONS):
        return False
    if setting.get("threads", 1) != 1:
        return False
    if (penalty is not None and not has_additive_prox(penalty)) or has_row_step(setting.get("rule")):
        return False
    loss = check_options(setting.get("loss"), None).get("loss", Logistic())
    return not is_multi_output_loss(loss) and not is_multiclass(loss, y, setting.get("classes"))


def _check_grid(grid, options):
    """Return the names of the axes, and the points of the grid as positions on the axes."""
    if not isinstance(grid, dict) or not grid:
        raise TypeError(f"grid: got {_check.shorten_repr(grid)}; must be a dict such as {{'lr': [0.1, 0.5]}}")
    for source, names in (("grid", grid), ("sweep", options)):
        for name in names:
            if name in _EXCLUDED:
                raise ValueError(f"{source}: got the option {name!r}; {_EXCLUDED[name]}")
            if name not in _OPTIONS:
                raise TypeError(f"{source}: got the unknown option {name!r}; must be one of {', '.join(_OPTIONS)}")
    for name, values in grid.items():
        if name in options:
            raise ValueError(f"{name}: is an axis of the grid and an option of all cells; give it once")
        is_list = isinstance(values, (list, tuple, range)) or np.ndim(values) == 1
        if not is_list or hasattr(values, "_fields"):
            raise TypeError(f"grid[{name!r}]: got {_check.shorten_repr(values)}; must be a list of values")
        if len(values) == 0:
            raise ValueError(f"grid[{name!r}]: is empty; give it a value or leave it out")
    rates = [float(lr) for lr in grid.get("lr", ()) if is_number(lr)]
    if len(set(rates)) < len(rates):
        raise ValueError(f"grid['lr']: got {grid['lr']}; the learning rates must be different")
    return tuple(grid), list(itertools.product(*(range(len(values)) for values in grid.values())))


def check_seeds(seeds: Sequence[int]) -> list[int]:
    """Return a list of seeds; raise if it is empty or repeats one."""
    if np.ndim(seeds) != 1 or np.size(seeds) == 0:
        raise TypeError(f"seeds: got {seeds!r}; must be a list of integers such as (0, 1, 2)")
    seeds = [_check.count("seeds", seed) for seed in seeds]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds: got {seeds}; must be different")
    return seeds


def _as_options(options):
    """Return options in which a number as penalty is replaced by `L1` of this strength, and 0 by no penalty."""
    penalty = options.get("penalty")
    if not is_number(penalty):
        return options
    _check.in_interval("penalty", penalty, "[0, inf)")
    return options | {"penalty": L1(float(penalty)) if penalty else None}  # type: ignore[call-arg]
