"""fit_linear: online training of linear models, by default with one update for each row."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _check
from .._check import resolve_seed
from ..io.arrow import is_table
from ..io.readers import Chunk, ReadingInterrupted
from ..records.losses import LOSSES
from .checkpoint import Checkpoint, Checkpointer, as_checkpoint
from .early_stopping import early_stopping_monitor
from .model import LinearModel
from .model_options import check_options
from .named_rows import named_chunk
from .targets import LateLabelError, check_class_weight, is_multiclass
from .trainer import Trainer

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from ..records.averaging import OnlineToBatch, Polyak
    from .early_stopping import EarlyStopping
    from .trainer import Progress


def fit_linear(
    X: Any,
    y: npt.ArrayLike | None = None,
    *,
    loss: str | tuple[Any, ...] | None = None,
    penalty: tuple[Any, ...] | None = None,
    rule: tuple[Any, ...] | None = None,
    lr: float | str | tuple[Any, ...] | None = "auto",
    passes: int = 1,
    intercept: bool | None = None,
    sample_weight: npt.ArrayLike | None = None,
    model: LinearModel | None = None,
    average: Polyak | OnlineToBatch | bool | None = None,
    batch_size: int | None = None,
    normalized: bool | None = None,
    invariant: bool | None = None,
    standardize_targets: bool | None = None,
    ledger: bool | None = None,
    early_stopping: bool | EarlyStopping | None = None,
    threads: int = 1,
    shuffle: bool = False,
    rng: int | np.random.Generator | None = None,
    dtype: npt.DTypeLike | None = None,
    classes: Sequence[Any] | None = None,
    class_weight: dict[Any, float] | str | None = None,
    callback: Callable[[Progress], Any] | None = None,
    checkpoint: Checkpoint | str | os.PathLike | None = None,
    resume: str | os.PathLike | None = None,
) -> LinearModel:
    """Train a linear model online, one row after another.

    The loss of each row is recorded before the model is trained on it.  Then the weights of its features are updated
    by Adagrad.  The objective is the mean loss, each row times its weight, plus the penalty.  Penalties are applied
    lazily in closed form, with the same result as applying them to every weight after every row.

    Parameters
    ----------
    X : sparse matrix, array of shape (n, n_features), or iterable of Chunk
        The rows.  Other formats, and data frames of numbers and booleans, are converted to CSR; indices may have 32
        or 64 bits.  The columns of data frames with strings or categories become features as in `read_arrow`, and
        categories that the model lacks become new features.  Rows from `to_device` are trained on the device.  Of an
        iterable of chunks, such as ``read_svmlight(path)``, only one chunk is in memory at a time.  Later chunks may
        have more features.
    y : array_like of shape (n,)
        Two labels of any kind for a binary loss, the larger one positive; more labels for several classes; finite
        numbers for regression, non-negative for counts.  None for chunks.
    loss : str or loss record, default "logistic"
        For two labels "logistic", "hinge", "squared_hinge", "smooth_hinge", "modified_huber" or "perceptron"; for
        more labels "softmax"; for numbers "squared", "huber", "absolute", "epsilon_insensitive",
        "squared_epsilon_insensitive" or "quantile"; for counts "poisson".  With more than two labels, the logistic
        loss becomes softmax, and other binary losses are trained one versus rest, as with ``OneVsRest(Logistic())``.
        A record such as ``Quantile(0.9)`` has parameters of its own.
    penalty : penalty record, optional
        Penalty on the weights.  The intercept is never penalised.  `GroupL2` and `GroupLinf` are for more than two
        classes, `Grouped` is for two classes or numbers.
    rule : rule record, default Adagrad(), or Adagrad(eps=0) with a search or `standardize_targets`
        Update rule: `Adagrad` and its variants, dual averaging (`RDA`, `FTRL`), or `Adadelta`.
        `PassiveAggressive` and `AROW` have no learning rate; their default loss is "hinge".
    lr : float, schedule record, "auto", RateSearch or Rates, default "auto"
        Learning rate.  "auto" searches for it in the same pass, as ``RateSearch()``: it trains eight models with
        learning rates from 0.025 to 3.2, with steps that do not depend on the units of the columns, and removes the
        worse half after 4,096, 16,384 and 65,536 updates.  The progressive loss is that of the model that was the best
        one before each row.  With several classes each model has weights for all of them.  Fewer models are trained
        if their weights and accumulators would exceed 2^27 numbers.  For rules other than `Adagrad`, and for batches,
        the steps are plain.  A number in [0, inf), or a record such as ``InverseSqrt(0.5)`` of the update number, is
        the learning rate of plain steps.

        With group penalties, `threads`, `normalized`, `invariant` or rows on a device, "auto" is 0.5, or 0.1 for
        numbers.  ``Rates()`` compares several rates with plain steps.  With `model`, "auto" is the learning rate of
        that model.
    passes : int, default 1
        Number of passes over the rows.
    intercept : bool, default True
        Whether to train an intercept, which has its own accumulator.
    sample_weight : array_like of shape (n,), optional
        Factors in [0, inf) of the losses of the rows.  A row of weight 0 is skipped.  A search counts a row of weight
        2 as two rows, so weights should be 1 on average.
    model : LinearModel, optional
        Model to continue from; it is not changed.  Options that are not given are those of the model.  Training on
        A and then on B is bit-equal to training on A and B in one call.  The model is copied: 0.1 s for 2²⁴ features.
        For single rows use `partial_fit` of `AdagradClassifier` or `AdagradRegressor`, which trains in place.
    average : Polyak, OnlineToBatch or False, optional
        Report the mean of the iterates after updates ``start``, ``start`` + 1, … in `coef`, `intercept` and
        predictions.  `OnlineToBatch` takes the iterates before these updates, which predicted the rows.  The mean is
        exact, and updating it costs time only for the features of a row.  Training and the progressive loss use the
        last iterate.  When training continues from a model, averaging begins at the given start, and False ends it.
    batch_size : int, default 1
        Number of rows for each update.  The update uses the sum of the gradients at the weights before it, each
        times its sample weight, divided by the number of rows.  A batch holds the next rows of non-zero weight in
        the order of the pass.  It ends with its chunk and, with `threads`, with the rows of a worker, so it may be
        smaller.
    early_stopping : bool or EarlyStopping, optional
        End training when the loss of held-out rows, or of the rows of a pass, stops decreasing.  `passes` is then
        the maximum.  The result is the model of the best pass; `pass_losses` has the losses of all passes.
    threads : int, default 1
        Number of workers that train at once.  In each round, every worker trains on its share of the rows from the
        same weights, and the results are merged as by `merge`.  A round ends with its chunk.  The result depends on
        this number, and not on the machine or the timing.  With a penalty a merge takes four times as long, and two
        workers were slower than one on data with many features.
    shuffle : bool, default False
        Whether each pass visits the rows, or the rows of each chunk, in a new random order.
    rng : int or numpy.random.Generator, optional
        Seed or generator for `shuffle` and for the rows that `early_stopping` holds out.
    dtype : {float32, float64}, optional
        Precision of the model; by default float32 for float32 data, else float64.
    classes : sequence of labels, optional
        All labels, if the first chunk may lack some.  Other labels are then an error.  Without it, a label that
        first occurs in a later chunk is added with zero weights if there are more than two labels.  If the first
        chunks have one or two, all labels are read, and training begins again.
    normalized : bool, default False
        Scale each feature by its largest absolute value so far, and the learning rate by the mean norm of the
        scaled rows [3]_.  Features of very different scales then need no tuning.  A value counts in the prediction
        of its row as at most 16 times the largest value before.  Supports `Adagrad` with `L1`, bounds, or both.
    invariant : bool, default False
        Use importance-weight-aware updates, which integrate the change of the slope during the update [4]_.  An
        update does not overshoot its target, and a row of weight 2 counts as two rows.  The accumulators grow by
        the weight of a row, not by its square.  Supports `Adagrad`.  With `normalized`, `invariant`, ``lr=0.5``
        and ``rule=Adagrad(eps=0)`` the updates are those of Vowpal Wabbit's defaults.
    standardize_targets : bool, default True for losses of the residual with ``lr="auto"``, else False
        Train as if each target were (y - a) / s, where a is the first target and s is the standard deviation of the
        targets so far, or their mean absolute deviation for losses that grow linearly.  The learning rate is then in
        units of s, and the intercept starts at a.  `coef`, `intercept`, losses and the strength of penalties are in
        the units of y.  The scale is estimated before rows 2, 4, 8, … of all passes together; the weights do not
        change before row 2.  Only for losses of the residual p - y, which are all losses for numbers of this package;
        a custom one has an attribute ``is_residual = True``.  The first row has the progressive loss of the
        prediction 0.  An outlier among the first targets delays training, even with a robust loss.
    ledger : bool, default False
        Keep sums over the updates, from which the regret, its bounds and certificates follow; see `LinearModel.ledger`.
        Needs a fixed learning rate, such as ``lr=0.5``, and two labels or numbers.  Supports `Adagrad` and `RDA`, with
        `L1`, bounds or, for `Adagrad`, `L2` and `ElasticNet`.  A continued model keeps its ledger; False drops it.
    class_weight : dict or "balanced", optional
        Factor of the sample weights for each label; labels that the dict lacks have the factor 1.  "balanced"
        gives every label the same total weight, with a mean factor of 1; it requires data in memory.
    callback : callable, optional
        Called with a `Progress` about 20 times a second and after 1, 2, 4, 8, … rows.  If it raises StopIteration,
        training ends and the model so far is returned.  With `checkpoint`, it ends after the present chunk.
    checkpoint : path or Checkpoint, optional
        File to which the state of the training is saved about once a minute; see `Checkpoint`.
    resume : path, optional
        File of `checkpoint` from which an interrupted training goes on, with the same data and arguments.  The rows
        before it are read again, but not trained on.  The result is bit-equal to that of the uninterrupted training.
        Seeds are those of the file; `rng` has no effect.

    Returns
    -------
    LinearModel

    Raises
    ------
    TypeError, ValueError
        For invalid data or options.  The message gives the argument, the value, the row and the remedy.

    Warns
    -----
    UserWarning
        If a constant predicts the rows of the first pass better than the model did, for 1,000 rows or more.

    References
    ----------
    .. [1] J. Duchi, E. Hazan, Y. Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
       Optimization", JMLR 12 (2011) 2121-2159, sections 1 and 5.
    .. [2] A. Blum, A. Kalai, J. Langford, "Beating the hold-out: bounds for k-fold and progressive
       cross-validation", COLT 1999.
    .. [3] S. Ross, P. Mineiro, J. Langford, "Normalized Online Learning", UAI 2013, algorithm 2.
    .. [4] N. Karampatziakis, J. Langford, "Online Importance Weight Aware Updates", UAI 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import fit_linear
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(1000, 3))
    >>> y = X @ [1.0, -2.0, 3.0] > 0
    >>> model = fit_linear(X, y)
    >>> model.progressive_loss < 0.25, bool(np.mean(model.predict(X) == y) > 0.97)
    (True, True)
    """
    options = check_options(
        loss, lr, penalty=penalty, rule=rule, intercept=intercept, average=average, batch_size=batch_size,
        normalized=normalized, invariant=invariant, standardize_targets=standardize_targets, ledger=ledger,
    )  # fmt: skip
    _check.positive_count("passes", passes)
    _check.boolean("shuffle", shuffle)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback: got {callback!r}; must be callable")
    if model is not None and not isinstance(model, LinearModel):
        raise TypeError(f"model: got {type(model).__name__}; must be a LinearModel")
    chunks = _as_chunks(X, y, sample_weight, passes, None if model is None else model.columns, dtype)
    shuffle_seed = resolve_seed(rng) if shuffle else None
    class_weight = check_class_weight(class_weight, isinstance(chunks, list) and chunks is not X)
    _check.positive_count("threads", threads)
    validation_seed = 0 if rng is None else shuffle_seed or resolve_seed(rng)
    settings = {
        "passes": passes, "shuffle": shuffle, "threads": threads, "early_stopping": repr(early_stopping),
        "classes": repr(classes), "class_weight": repr(class_weight),
    }  # fmt: skip

    def train(labels):
        trainer = Trainer(
            model, options, dtype=dtype, classes=labels, class_weight=class_weight, threads=threads,
            early_stopping=early_stopping_monitor(early_stopping, validation_seed), callback=callback,
        )  # fmt: skip
        checkpointer = Checkpointer(as_checkpoint(checkpoint), trainer, settings, shuffle_seed)
        if resume is not None:
            checkpointer.resume(resume, options if dtype is None else options | {"dtype": np.dtype(dtype)})
        return _train_passes(chunks, passes, trainer, checkpointer)

    try:
        return train(classes)
    except LateLabelError:
        if model is not None or resume is not None or classes is not None:
            raise
        labels = _read_labels(chunks, options.get("loss"))
        if labels is None:
            raise
    warnings.warn(
        f"fit_linear: the first rows lack some of the {len(labels)} labels, so training began again; pass classes=[…] "
        "to save the time",
        UserWarning,
        stacklevel=2,
    )
    return train(labels)


def _train_passes(chunks, passes, trainer, checkpointer):
    """Train on the chunks in several passes; return the model."""
    shuffle_seed = checkpointer.shuffle_seed
    for pass_index in range(checkpointer.pass_index, passes):
        iterator, chunk_index = iter(chunks), -1
        while True:
            try:
                chunk = next(iterator, None)
            except ReadingInterrupted:
                if trainer.model is None:
                    raise
                checkpointer.end_reading(pass_index, chunk_index + 1)
                return trainer.result()
            if chunk is None:
                break
            chunk_index += 1
            if not isinstance(chunk, Chunk):
                raise TypeError(f"X: the iterable yields a {type(chunk).__name__}; must yield Chunk(X, y, weight)")
            if checkpointer.skips(chunk, pass_index, chunk_index):
                continue
            shuffle_key = None if shuffle_seed is None else [shuffle_seed, pass_index, chunk_index]
            should_continue = trainer.fit_chunk(chunk, pass_index, shuffle_key, chunk_index)
            checkpointer.end_chunk(chunk, pass_index, chunk_index, is_last=not should_continue)
            if not should_continue:
                return trainer.result()
        checkpointer.end_pass(pass_index)
        if not trainer.end_pass():
            break
    return trainer.result()


def _read_labels(chunks, loss):
    """Return all labels of chunks that can be read again, or None if they can not or the loss does not take them."""
    if iter(chunks) is chunks:
        return None
    read = getattr(chunks, "read_labels", None) or (lambda: (chunk.y for chunk in chunks))
    try:
        labels = sorted({label for y in read() for label in np.unique(y).tolist()})
    except (ValueError, TypeError):  # a stream; labels of several kinds
        return None
    if len(labels) > 2 and not is_multiclass(LOSSES["logistic"]() if loss is None else loss, None, labels):
        return None
    return labels if len(labels) > 1 else None


def _as_chunks(X, y, weight, passes, columns, dtype):
    """Return the data as an iterable of chunks; tables are mapped to features by the `columns` of the model."""
    if isinstance(X, Chunk):
        X = [X]
    if y is not None and is_table(X):
        return [named_chunk(X, y, weight, columns, dtype)]
    if hasattr(X, "shape") or (isinstance(X, (list, tuple)) and not any(isinstance(item, Chunk) for item in X)):
        return [Chunk(X, y, weight)]
    if not hasattr(X, "__iter__"):
        raise TypeError(f"X: got {type(X).__name__}; must be a matrix, or an iterable of Chunk(X, y, weight)")
    if y is not None or weight is not None:
        raise ValueError("y: chunks contain targets and weights; leave y and sample_weight out")
    if passes > 1 and iter(X) is X:
        raise ValueError(
            f"passes: got {passes}, but X is an iterator, which allows one pass; "
            "use a list of chunks, or a reader such as read_svmlight(path)"
        )
    return X
