"""Adagrad and its relatives, compiled with Numba.

Main functions and classes:

`minimize_adagrad`, `minimize_adadelta`, `minimize_stochastic`
    Minimise a function, with the interface of `scipy.optimize.minimize`.
`init`, `update`
    Apply one gradient at a time to arrays on the CPU or a GPU.  `like` returns the options that reproduce the optimiser
    of another library.
`fit_linear`
    Train a linear model online on sparse data: logistic regression, support vector machines, softmax and others.
    `load_svmlight` loads a file; `read_svmlight` reads it in chunks, also if it is larger than memory.  `load_model`
    loads a saved model.
`AdagradClassifier`, `AdagradRegressor`
    Train the same models as scikit-learn estimators.

The parts of a method are records: an update rule such as `Adagrad` or `FTRL`, transforms such as `ClipNorm`, a penalty
such as `L1`, a schedule such as `Cosine`, an average such as `Polyak`, and a loss such as `Logistic`.  A custom record
is a NamedTuple with methods of scalars.  The modules of `adagrad_nb.records` describe these methods.

Examples
--------
>>> import numpy as np
>>> from adagrad_nb import L1, fit_linear, minimize_adagrad
>>> res = minimize_adagrad(lambda x: np.sum((x - 1.0) ** 2), np.zeros(3), jac=lambda x: 2 * (x - 1.0))
>>> res.x.round(3)
array([1., 1., 1.])
>>> X = np.random.default_rng(0).normal(size=(1000, 5))
>>> model = fit_linear(X, X[:, 0] > 0, loss="logistic", penalty=L1(0.01))
>>> bool(np.mean(model.predict(X) == (X[:, 0] > 0)) > 0.95)
True
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from .cuda.arrays import has_cuda
from .experiments.compare import Comparison, compare, load_comparison
from .experiments.problems import DataProblem, FunctionProblem, problem
from .experiments.sweep import Cell, Sweep, sweep
from .io.arrow_reader import read_arrow, read_parquet
from .io.column_entries import Hashed, Interaction, Numeric, OneHot, Text
from .io.columns import Columns
from .io.csv_reader import read_csv
from .io.readers import Chunk, load_svmlight, read_svmlight
from .io.row_cache import CachedReader, CachedRows, read_cache, write_cache
from .io.text import load_text, read_text
from .io.vowpal import load_vw, read_vw
from .linear.checkpoint import Checkpoint
from .linear.device_trainer import DeviceRows, to_device
from .linear.early_stopping import EarlyStopping
from .linear.fit import fit_linear
from .linear.merging import merge
from .linear.model import LinearModel
from .linear.model_file import load_model
from .linear.rate_search import Candidate
from .linear.trainer import Progress
from .minimize.drivers import minimize_adadelta, minimize_adagrad, minimize_stochastic
from .online.comparator import Comparator, best_fixed
from .online.curves import RegretCurves, regret
from .online.game import Game, play
from .optim.interop import from_optax, from_torch, to_optax, to_torch
from .optim.lazy_decay import catch_up
from .optim.ledger import Ledger
from .optim.plateau import ReduceOnPlateau
from .optim.presets import like
from .optim.state import State, init, load_state
from .optim.step import update
from .records.adagrad_variants import (
    KATE,
    MADGRAD,
    SGD,
    DelayedAdagrad,
    OptimisticAdagrad,
    PowerAdagrad,
    SCAdagrad,
)
from .records.anytime import Anytime
from .records.averaging import EMA, OnlineToBatch, Polyak
from .records.coin_betting import COCOB, KT
from .records.domains import L1Ball, L2Ball, Simplex
from .records.dual_averaging import FTRL, RDA, PowerFTRL
from .records.gates import Accumulate, LossScale, SkipNonFinite
from .records.global_rules import AdagradNorm, AdagradPlusPlus, DAdaptAdagrad, DoG, DoWG, WNGrad
from .records.group_penalties import Grouped, GroupL2, GroupLinf
from .records.losses import (
    Absolute,
    EpsilonInsensitive,
    Hinge,
    Huber,
    Logistic,
    ModifiedHuber,
    Perceptron,
    Poisson,
    Quantile,
    SmoothHinge,
    Squared,
    SquaredEpsilonInsensitive,
    SquaredHinge,
)
from .records.matrix_rules import BlockAdagrad, FullMatrixAdagrad, OnlineNewtonStep, SketchedAdagrad
from .records.multiclass_losses import OneVsRest, Softmax
from .records.nonconvex_penalties import MCP, SCAD
from .records.penalties import L1, L2, Bounded, Box, ElasticNet, NonNegative, NoPenalty
from .records.row_rules import AROW, PassiveAggressive
from .records.rules import Adadelta, Adagrad, MomentumAdagrad, RowAdagrad
from .records.schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    Cyclic,
    Exponential,
    InverseSqrt,
    InverseTime,
    OneCycle,
    Piecewise,
    Polynomial,
    Rates,
    RateSearch,
    Sequential,
    Shift,
    WarmUp,
)
from .records.transforms import (
    AdaptiveClip,
    AddNoise,
    ClipGlobalNorm,
    ClipNorm,
    ClipRMS,
    ClipValue,
    DecoupledDecay,
    Except,
    L2Decay,
    MasterCopy,
    Maximize,
    Only,
    Rescale,
    ZeroNaN,
)
from .warmup import warm_up

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .linear.estimators import AdagradClassifier, AdagradRegressor  # noqa: F401 - see __getattr__

_ESTIMATORS = ("AdagradClassifier", "AdagradRegressor")  # imported on first use, because they import scikit-learn


def __getattr__(name: str) -> type:
    if name in _ESTIMATORS:
        from .linear import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    # `help` evaluates all names: without scikit-learn that of an estimator raises an error
    return sorted([*globals(), *(_ESTIMATORS if find_spec("sklearn") else ())])


__all__ = [
    "AROW", "COCOB", "EMA", "FTRL", "KATE", "KT", "L1", "L2", "MADGRAD", "MCP", "RDA", "SCAD", "SGD", "Absolute",
    "Accumulate", "Adadelta", "Adagrad", "AdagradNorm", "AdagradPlusPlus", "AdaptiveClip", "AddNoise", "Anytime",
    "BlockAdagrad", "Bounded", "Box", "CachedReader", "CachedRows", "Candidate", "Cell", "Checkpoint", "Chunk",
    "ClipGlobalNorm", "ClipNorm", "ClipRMS", "ClipValue", "Columns", "Comparator", "Comparison", "Constant", "Cosine",
    "CosineRestarts", "Cyclic", "DAdaptAdagrad", "DataProblem", "DecoupledDecay", "DelayedAdagrad", "DeviceRows", "DoG",
    "DoWG", "EarlyStopping", "ElasticNet", "EpsilonInsensitive", "Except", "Exponential", "FullMatrixAdagrad",
    "FunctionProblem", "Game", "GroupL2", "GroupLinf", "Grouped", "Hashed", "Hinge", "Huber", "Interaction",
    "InverseSqrt", "InverseTime", "L1Ball", "L2Ball", "L2Decay", "Ledger", "LinearModel", "Logistic", "LossScale",
    "MasterCopy", "Maximize", "ModifiedHuber", "MomentumAdagrad", "NoPenalty", "NonNegative", "Numeric", "OneCycle",
    "OneHot", "OneVsRest", "OnlineNewtonStep", "OnlineToBatch", "Only", "OptimisticAdagrad", "PassiveAggressive",
    "Perceptron", "Piecewise", "Poisson", "Polyak", "Polynomial", "PowerAdagrad", "PowerFTRL", "Progress", "Quantile",
    "RateSearch", "Rates", "ReduceOnPlateau", "RegretCurves", "Rescale", "RowAdagrad", "SCAdagrad", "Sequential",
    "Shift", "Simplex", "SketchedAdagrad", "SkipNonFinite", "SmoothHinge", "Softmax", "Squared",
    "SquaredEpsilonInsensitive", "SquaredHinge", "State", "Sweep", "Text", "WNGrad", "WarmUp", "ZeroNaN", "best_fixed",
    "catch_up", "compare", "fit_linear", "from_optax", "from_torch", "has_cuda", "init", "like", "load_comparison",
    "load_model", "load_state", "load_svmlight", "load_text", "load_vw", "merge", "minimize_adadelta",
    "minimize_adagrad", "minimize_stochastic", "play", "problem", "read_arrow", "read_cache", "read_csv",
    "read_parquet", "read_svmlight", "read_text", "read_vw", "regret", "sweep", "to_device", "to_optax", "to_torch",
    "update", "warm_up", "write_cache",
]  # fmt: skip
