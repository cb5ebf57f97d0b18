"""The Adagrad family, compiled with Numba.

Minimise like SciPy: `minimize_adagrad`, `minimize_stochastic`.  Step by hand: `init`, `update`.  Learn linear models
from sparse data: `fit_linear`, `load_model`, `read_svmlight`.  What a method is made of are records: a rule,
transforms, a penalty, a schedule, an average, a loss; write your own as a NamedTuple with methods of scalars.
"""

from typing import TYPE_CHECKING

from ._device.device import has_cuda
from ._device.device_rows import DeviceRows, to_device
from ._linear.course import Progress
from ._linear.linear_model import LinearModel
from ._linear.model_file import load_model
from ._linear.stopping import EarlyStopping
from ._steps.lazy import catch_up
from .averaging import EMA, Polyak
from .dual import FTRL, RDA
from .exchange import from_optax, from_torch, to_optax, to_torch
from .gates import Accumulate, LossScale, SkipNonFinite
from .groups import GroupL2, GroupLinf
from .linear import fit_linear
from .losses import (
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
from .merging import merge
from .multiclass import OneVsRest, Softmax
from .optimize import minimize_adadelta, minimize_adagrad
from .penalties import L1, L2, Bounded, Box, ElasticNet, NonNegative, NoPenalty
from .presets import like
from .readers import Chunk, load_svmlight, read_svmlight
from .rules import Adadelta, Adagrad, MomentumAdagrad, RowAdagrad
from .schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    Exponential,
    InverseSqrt,
    InverseTime,
    Piecewise,
    Polynomial,
    Rates,
    Shift,
    WarmUp,
)
from .state import State, init, load_state
from .stochastic import minimize_stochastic
from .transforms import ClipGlobalNorm, ClipNorm, ClipValue, DecoupledDecay, Except, L2Decay, Maximize, Only, Rescale
from .update import update
from .vowpal import load_vw
from .warm import warm_up

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .estimators import AdagradClassifier, AdagradRegressor  # noqa: F401 - see __getattr__

_ESTIMATORS = ("AdagradClassifier", "AdagradRegressor")  # imported with scikit-learn, when they are asked for


def __getattr__(name):
    if name in _ESTIMATORS:
        from . import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_ESTIMATORS])


__all__ = [
    "EMA", "FTRL", "L1", "L2", "RDA", "Absolute", "Accumulate", "Adadelta", "Adagrad", "Bounded", "Box", "Chunk",
    "ClipGlobalNorm", "ClipNorm", "ClipValue", "Constant", "Cosine", "CosineRestarts", "DecoupledDecay", "DeviceRows",
    "EarlyStopping", "ElasticNet", "EpsilonInsensitive", "Except", "Exponential", "GroupL2", "GroupLinf", "Hinge",
    "Huber", "InverseSqrt", "InverseTime", "L2Decay", "LinearModel", "Logistic", "LossScale", "Maximize",
    "ModifiedHuber", "MomentumAdagrad", "NoPenalty", "NonNegative", "OneVsRest", "Only", "Perceptron", "Piecewise",
    "Poisson", "Polyak", "Polynomial", "Progress", "Quantile", "Rates", "Rescale", "RowAdagrad", "Shift",
    "SkipNonFinite", "SmoothHinge", "Softmax", "Squared", "SquaredEpsilonInsensitive", "SquaredHinge", "State",
    "WarmUp", "catch_up", "fit_linear", "from_optax", "from_torch", "has_cuda", "init", "like", "load_model",
    "load_state", "load_svmlight", "load_vw", "merge", "minimize_adadelta", "minimize_adagrad", "minimize_stochastic",
    "read_svmlight", "to_device", "to_optax", "to_torch", "update", "warm_up",
]  # fmt: skip
