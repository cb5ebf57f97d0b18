"""merge: combine linear models that were trained separately into one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy

from .._csr import as_csr, as_unsigned, sum_duplicates
from ..io.readers import Chunk
from . import dispatch, rounds
from .kernels.lazy import SummedRates
from .kernels.rows import Rows
from .model import LinearModel, check_trainable, options_equal
from .named_rows import common_columns
from .targets import BinaryLabels, MulticlassLabels, check_sample_weight

if TYPE_CHECKING:
    from collections.abc import Iterable

MERGE_RULES = ("average", "sum", "blend")
_SHARED_OPTIONS = (
    "dtype", "loss", "has_intercept", "batch_size", "normalized", "invariant", "average", "rule", "lr", "penalty",
)  # fmt: skip


def merge(
    models: Iterable[LinearModel],
    start: LinearModel | None = None,
    *,
    rule: str = "average",
    sample: Chunk | None = None,
) -> LinearModel:
    r"""Merge linear models that were trained on different rows, from the same start, into one model.

    Let training move weight :math:`w_0` and accumulator :math:`G_0` to :math:`(w_k, G_k)` in model k.  The
    accumulators and counters are added: :math:`G = G_0 + \sum_k (G_k - G_0)`.  The weight changes by

    * "average": :math:`\sum_k a_k (w_k - w_0)` with :math:`a_k = (G_k - G_0) / (G - G_0)`.  This is safe.  A weight
      that only one model changed keeps its value.
    * "sum": :math:`\sum_k c_k (w_k - w_0)`, where :math:`c_k` is the ratio of the step sizes at G and at :math:`G_k`.
      This is as large a change as one model makes on all rows if features are rare, and too large if all models changed
      the same weights for the same reason.
    * "blend": the average plus b times the difference between sum and average, with the b in [0, 0.9] that minimises
      the loss of `sample`.

    With dual averaging (`RDA`, `FTRL`) the weights follow from the accumulators, and `rule` has no effect.

    Parameters
    ----------
    models : sequence of LinearModel
        Models with the same options, trained from `start`.
    start : LinearModel, optional
        The model from which all of them continued; by default an untrained model.
    rule : {"average", "sum", "blend"}, default "average"
    sample : Chunk, optional
        Rows for "blend".  A few hundred representative rows are enough.

    Returns
    -------
    LinearModel
        A new model, from which training can continue.

    Raises
    ------
    TypeError, ValueError
        For models with different options, for models that were not trained from `start`, for rules whose
        accumulators do not add up, for group penalties, and for several learning rates: train with one rate such as
        ``lr=0.5``.

    Notes
    -----
    With several classes, each class is merged by itself, and the blend has one b for all.  The merged model has the
    classes of all models.

    Without a penalty "average" and "sum" are associative up to rounding: merging in groups gives the same result as
    merging all models at once.  With a penalty groups differ slightly, because the average weights the steps of the
    penalty like those of the losses.  "blend" depends on the grouping.

    References
    ----------
    .. [1] A. Agarwal, O. Chapelle, M. Dudík, J. Langford, "A Reliable Effective Terascale Linear Learning System",
       JMLR 15 (2014) 1111-1133, equation 2.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import fit_linear, merge
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(600, 20))
    >>> y = X @ rng.normal(size=20) > 0
    >>> parts = [fit_linear(X[k::3], y[k::3], lr=0.5) for k in range(3)]
    >>> merged = merge(parts)
    >>> merged.n_seen, all(merged.mean_loss(X, y) < part.mean_loss(X, y) for part in parts)
    (600, True)
    """
    models = list(models)
    if rule not in MERGE_RULES:
        raise ValueError(f"rule: got {rule!r}; must be one of {', '.join(MERGE_RULES)}")
    if (sample is not None) != (rule == "blend"):
        raise ValueError(
            f"sample: got {type(sample).__name__} for rule={rule!r}; give rows for 'blend', and only there"
        )
    if not models:
        raise ValueError("models: got none; there is nothing to merge")
    for k, model in enumerate(models):
        if not isinstance(model, LinearModel):
            raise TypeError(f"models: got {type(model).__name__} at index {k}; must be a LinearModel")
        check_trainable(model, "models")
        dispatch.check_mergeable("models", model.parameters)
        if model.standardize_targets:
            raise ValueError(
                f"models: got standardize_targets=True at index {k}, with a scale of its own; standardise y before "
                "training, or use standardize_targets=False"
            )
    if start is None:
        start = _untrained_copy(models[0], min(model.n_features for model in models))
    elif not isinstance(start, LinearModel):
        raise TypeError(f"start: got {type(start).__name__}; must be a LinearModel")
    for k, model in enumerate(models):
        _check_same_options(model, start, k)
    columns = common_columns("models", [start, *models])
    merged = _merge_models(models, start, rule, sample)
    merged.columns = columns
    return merged


def _untrained_copy(model, n_features):
    """Return an untrained model with the same options."""
    state = model.parameters.state
    return LinearModel(
        n_features, model.dtype, model.loss, state.rule, state.lr, state.penalty, model.has_intercept,
        average=model.average, batch_size=model.batch_size, normalized=model.normalized, invariant=model.invariant,
    )  # fmt: skip


def _check_same_options(model, start, k):
    """Raise ValueError for a model that cannot have been trained from `start`."""
    for name in _SHARED_OPTIONS:
        mine, theirs = (getattr(one if hasattr(one, name) else one.parameters.state, name) for one in (model, start))
        if not options_equal(mine, theirs):
            raise ValueError(
                f"models: at index {k} {name} is {mine}, but the start or the first model has {theirs}; "
                "they must be equal"
            )
    if model.parameters.t < start.parameters.t or model.n_seen < start.n_seen or model.n_features < start.n_features:
        raise ValueError(
            f"models: at index {k} has seen {model.n_seen} rows and {model.n_features} features, its start "
            f"{start.n_seen} and {start.n_features}; it was not trained from that start"
        )


def _merge_models(models, start, rule, sample):
    """Return the merged model: the models are learners of one round that began with `start`."""
    new = start.copy()
    new._set_target(_joint_target([start, *models]))
    n = max(model.n_features for model in models)
    new.parameters.resize(n)
    if new.parameters.n_outputs == 0:  # no model has seen a class
        return new
    no_rows = _sample_rows(Chunk(scipy.sparse.csr_array((0, n)), np.empty(0), None), new)
    rows = no_rows if sample is None else _sample_rows(sample, new)
    total = None
    for model in models:
        change = rounds.change_between(new, _aligned(model, new), None, model.loss_sums - start.loss_sums, no_rows)
        total = change if total is None else rounds.add_changes([total, change], n)
    return rounds.apply_merged(new, rounds.merge_change(new, total._replace(sample=rows), rule=rule))


def _aligned(model, start):
    """Return the model with the features, the labels and the times of the start: itself, or a copy."""
    parameters, time_shift = model.parameters, 0.0
    lazy = start.parameters.spec(parameters.t - start.parameters.t).lazy
    if isinstance(lazy, SummedRates):  # models may sum learning rates from other updates
        time_shift = lazy.time_at(parameters.t) - parameters.rate_sums()[0]
    if time_shift == 0 and (model.n_features, model.target) == (start.n_features, start.target):
        return model
    trained = model.copy()
    trained._set_target(start.target)
    trained.parameters.resize(start.n_features)
    if time_shift:
        trained.parameters.last_update += time_shift
    return trained


def _sample_rows(sample, model):
    """Return checked rows for the kernels."""
    if not isinstance(sample, Chunk):
        raise TypeError(f"sample: got {type(sample).__name__}; must be Chunk(X, y, weight)")
    n = model.decision_function(sample.X).shape[0]  # checks the rows
    X = sum_duplicates(as_csr(sample.X, model.dtype))
    y = model.target.encode_known(sample.y, n, model.dtype)
    weight = check_sample_weight(sample.weight, n, model.dtype)
    return Rows(X.indptr, as_unsigned(X.indices), X.data, y, weight, np.arange(n))


def _joint_target(models):
    """Return the target that all models agree on."""
    joint = models[0].target
    if isinstance(joint, MulticlassLabels):
        return _joint_classes(models)
    if not isinstance(joint, BinaryLabels):
        return joint
    for k, model in enumerate(models[1:]):
        pairs = list(zip(joint, model.target, strict=True))
        if any(None not in pair and pair[0] != pair[1] for pair in pairs):
            raise ValueError(f"models: at index {k} has the labels {list(model.target)}, others have {list(joint)}")
        joint = BinaryLabels(*(theirs if mine is None else mine for mine, theirs in pairs))
    return joint


def _joint_classes(models):
    """Return the labels of all models, which are at most those that were declared."""
    targets = [model.target for model in models]
    joint = next((target for target in targets if target.is_fixed), targets[0])
    for k, target in enumerate(targets):
        try:
            joint = joint.extended(np.asarray(target.classes))
        except (ValueError, TypeError):
            name = f"models: at index {k - 1}" if k else "start:"
            raise ValueError(
                f"{name} has the labels {list(target.classes)[:20]}, others have {list(joint.classes)[:20]}"
            ) from None
    return joint
