"""fit_linear: online learning of linear models, one update for each row."""

import numpy as np

from .. import _check
from .._check import resolve_seed
from ..io.readers import Chunk
from ..records.losses import LOSSES
from ..records.multiclass_losses import is_multi_output_loss
from ..records.schedules import Constant, Rates
from .early_stopping import early_stopping_monitor
from .model import LinearModel
from .parameters import check_average
from .targets import check_class_weight
from .trainer import Trainer


def fit_linear(
    X, y=None, *, loss=None, penalty=None, rule=None, lr=None, passes=1, intercept=None, sample_weight=None,
    model=None, average=None, batch_size=None, normalized=None, invariant=None, early_stopping=None, threads=1,
    shuffle=False, rng=None, dtype=None, classes=None, class_weight=None, callback=None,
):  # fmt: skip
    """Learn a linear model from rows, one after the other.

    Each row is predicted, its loss noted, and the weights of its features are moved by Adagrad.  The objective is
    the mean loss (each row times its weight) plus the penalty.  A penalty is applied to a weight when its feature
    is next met, by a closed form: the result is that of applying it to every weight after every row.

    Parameters
    ----------
    X : sparse matrix, array of shape (n, n_features), or iterable of Chunk
        Rows.  What is not CSR is converted; indices of 32 or 64 bits.  Rows that `to_device` has uploaded are learnt
        from on the device.  From an iterable of chunks, such as ``read_svmlight(path)``, only one chunk is in memory;
        features may grow from chunk to chunk.
    y : array_like of shape (n,)
        Two labels of any kind for a binary loss, the larger one positive; more labels for many classes; finite
        numbers for regression, of at least 0 for counts.  None for chunks.
    loss : str or loss record, default "logistic"
        For two labels "logistic", "hinge", "squared_hinge", "smooth_hinge", "modified_huber" or "perceptron"; for
        more "softmax"; for numbers "squared", "huber", "absolute", "epsilon_insensitive",
        "squared_epsilon_insensitive" or "quantile"; for counts "poisson".  With more than two labels the logistic
        loss means softmax, and any other of two labels one class against the rest, as ``OneVsRest(Logistic())``
        does.  A record such as ``Quantile(0.9)`` has a parameter of its own.
    penalty : penalty record, optional
        On the weights; the intercept is never penalised.
    rule : rule record, default Adagrad()
        Composite mirror descent; or dual averaging, `RDA` and `FTRL`, or `Adadelta`.
    lr : float, schedule record, "auto" or Rates, default 0.5
        A number in [0, inf), or a record such as ``InverseSqrt(0.5)`` of the number of the update.  "auto" is
        ``Rates()``: eight rates from 0.02 to 1.5 learn side by side in the same pass, and the model is the one with
        the lowest progressive loss.
    passes : int, default 1
        Times the rows are gone through.
    intercept : bool, default True
        Whether to learn a constant, with an accumulator of its own.
    sample_weight : array_like of shape (n,), optional
        In [0, inf); multiplies the row's loss.  A row of weight 0 is passed over.
    model : LinearModel, optional
        Go on from this model, which stays as it is.  Options that are not given are its own; learning A and then B
        is bit for bit learning A and B.
    average : Polyak or False, optional
        Report the mean of the iterates after updates ``start``, ``start`` + 1, … in `coef`, `intercept` and all
        predictions of the model; exact, at the cost of the features that a row has.  The learning itself, and with it
        the progressive loss, goes on from the last iterate.  A model that goes on averages from where it is asked to;
        False ends the averaging.
    batch_size : int, default 1
        Rows for each update, which is then by the mean of their gradients at the weights before it: each row's
        gradient times its weight, divided by the number of rows.  A batch is the next so many rows of non-zero
        weight in the order of the visit; it ends with its chunk, so that the last one of a chunk may be smaller.
    early_stopping : bool or EarlyStopping, optional
        End the passes when the loss of held-out rows, or of the rows of a pass, no longer falls; `passes` is then the
        most there are.  The model of the best pass is returned, with the losses of all passes in `pass_losses`.
    threads : int, default 1
        Workers that learn at once.  In rounds, each learns its share of the rows from the same start, and what they
        made of it is merged (`merge` has the rule); a round ends with its chunk.  The result depends on this number,
        and on nothing else that differs between runs or machines.  Under a penalty a merge takes four times as long,
        and two workers were slower than one where features were many.
    shuffle : bool, default False
        Visit the rows, or the rows of each chunk, in a new random order in each pass.
    rng : int or numpy.random.Generator, optional
        For `shuffle`, and for the rows that `early_stopping` holds out.
    dtype : {float32, float64}, optional
        Precision to learn in; by default float32 for float32 data, else float64.
    classes : sequence of labels, optional
        Announce the labels where the first chunk may not hold all of them; then no others are taken.  Where more
        than two were found, not announced, one that first comes in a later chunk joins with weights of zero.
    normalized : bool, default False
        Learn in units of the largest value that each feature has had, and of the mean size of the rows, so that
        features of wildly different scales need no tuning [3]_; a value counts in the prediction of its row as at most
        16 times the largest before.  With `Adagrad`, and `L1`, bounds, or both.
    invariant : bool, default False
        Follow the slope of the loss as it changes on the way, so that no row is overshot and a row of weight 2 is
        about the row twice [4]_.  The accumulators grow by the weight of a row, not by its square.  With `Adagrad`.
        Both flags with ``rule=Adagrad(eps=0)`` are Vowpal Wabbit's default; a good rate is 0.5.
    class_weight : dict or "balanced", optional
        What the weight of a row is multiplied by for its label; a label that the dict leaves out has 1.  "balanced"
        gives every label the same total weight, at a mean of 1; for data in memory.
    callback : callable, optional
        Called with a `Progress` about 20 times a second and after 1, 2, 4, 8, … rows; a StopIteration that it
        raises ends the learning, and the model so far is returned.

    Returns
    -------
    LinearModel

    Raises
    ------
    TypeError, ValueError
        For malformed data or options: the message says what was found, in which row, and what would do.

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
        normalized=normalized, invariant=invariant,
    )  # fmt: skip
    _check.positive_count("passes", passes)
    _check.boolean("shuffle", shuffle)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback: got {callback!r}; must be callable")
    if model is not None and not isinstance(model, LinearModel):
        raise TypeError(f"model: got {type(model).__name__}; must be a LinearModel")
    chunks = _as_chunks(X, y, sample_weight, passes)
    shuffle_seed = resolve_seed(rng) if shuffle else None
    trainer = Trainer(
        model, options, dtype=dtype, classes=classes,
        class_weight=check_class_weight(class_weight, isinstance(chunks, list) and chunks is not X),
        threads=_check.positive_count("threads", threads),
        early_stopping=early_stopping_monitor(early_stopping, 0 if rng is None else shuffle_seed or resolve_seed(rng)),
        callback=callback,
    )  # fmt: skip
    for pass_index in range(passes):
        for chunk_index, chunk in enumerate(chunks):
            if not isinstance(chunk, Chunk):
                raise TypeError(f"X: the iterable gave a {type(chunk).__name__}; must give Chunk(X, y, weight)")
            shuffle_key = None if shuffle_seed is None else [shuffle_seed, pass_index, chunk_index]
            if not trainer.fit_chunk(chunk, pass_index, shuffle_key, chunk_index):
                return trainer.result()
        if not trainer.end_pass():
            break
    return trainer.result()


def _as_chunks(X, y, weight, passes):
    """The data as an iterable of chunks."""
    if isinstance(X, Chunk):
        X = [X]
    if hasattr(X, "shape") or (isinstance(X, (list, tuple)) and not any(isinstance(item, Chunk) for item in X)):
        return [Chunk(X, y, weight)]
    if not hasattr(X, "__iter__"):
        raise TypeError(f"X: got {type(X).__name__}; must be a matrix, or an iterable of Chunk(X, y, weight)")
    if y is not None or weight is not None:
        raise ValueError("y: chunks bring their own targets and weights; leave y and sample_weight out")
    if passes > 1 and iter(X) is X:
        raise ValueError(
            f"passes: got {passes}, but X is an iterator that can be gone through once; "
            "give a list of chunks, or a reader such as read_svmlight(path)"
        )
    return X


# --- options ---------------------------------------------------------------------------------------------------------


def check_options(loss, lr, **options):
    """The options that were given, not left at None, checked."""
    options |= {"loss": loss, "lr": lr}
    options = {name: value for name, value in options.items() if value is not None}
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise ValueError(f"loss: got {loss!r}; must be one of {', '.join(LOSSES)}, or a loss record")
        options["loss"] = LOSSES[loss]()
    elif loss is not None:
        needs = (
            ("loss_and_gradient", "can_learn_from", "target_type")
            if is_multi_output_loss(loss)
            else ("value", "slope", "inverse_link", "target_type")
        )
        _check.record_methods("loss", loss, needs, "Logistic()")
    for name in ("intercept", "normalized", "invariant"):
        if name in options:
            _check.boolean(name, options[name])
    if "average" in options:
        check_average(options["average"])
    if "batch_size" in options:
        _check.positive_count("batch_size", options["batch_size"])
    if isinstance(lr, str) and lr == "auto":
        lr = options["lr"] = Rates()
    if isinstance(lr, Rates):
        _check.record_methods("lr", lr, ("values",), "Rates()")
    if isinstance(lr, Constant) and np.ndim(lr.lr):
        raise TypeError(f"lr: got {lr!r}; must be a number, or a schedule record such as InverseSqrt(0.5)")
    if lr is not None and not hasattr(lr, "_fields"):
        if isinstance(lr, str) or np.ndim(lr) or callable(lr):
            raise TypeError(f"lr: got {lr!r}; must be a number, or a schedule record such as InverseSqrt(0.5)")
        _check.in_interval("lr", lr, "[0, inf)")
    return options
