"""fit_linear: online learning of linear models, one update for each row."""

import time
from typing import NamedTuple

import numpy as np

from . import _check
from ._kernels import linear as kernels
from .classes import are_many, of_classes
from .lane_model import ClassModel, RateModel
from .linear_model import LinearModel
from .losses import LOSSES, Logistic
from .means import checked
from .multiclass import Softmax
from .readers import Chunk
from .rules import Adagrad
from .samples import as_rows, canonical, common_dtype, dense, sample_weight, unsigned
from .schedules import Constant, Rates
from .stochastic import seed
from .stopping import watch_for

NAMED = LOSSES | {"softmax": Softmax}
SLICE = 0.05  # seconds between two returns to Python, so that Ctrl-C and callbacks work


class Progress(NamedTuple):
    """What a callback of `fit_linear` is told.

    Attributes
    ----------
    n_seen : int
        Rows gone through so far, all passes counted.
    n_recent : int
        Rows since the last call.
    progressive_loss : float
        Mean loss of the rows of the first pass, each before it was learnt.
    recent_loss : float
        Mean loss of the rows since the last call, in any pass; NaN if their weights are all zero.
    seconds : float
        Since the first row of this call of `fit_linear`; compilation is not counted.
    passes : int
        Passes that are complete.
    model : LinearModel
        The model that is being learnt: to look at, not to keep.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import fit_linear
    >>> losses = []
    >>> model = fit_linear(np.eye(2), [0, 1], passes=9, callback=lambda progress: losses.append(progress.recent_loss))
    >>> losses[0] > losses[-1]
    True
    """

    n_seen: int
    n_recent: int
    progressive_loss: float
    recent_loss: float
    seconds: float
    passes: int
    model: LinearModel


def fit_linear(
    X, y=None, *, loss=None, penalty=None, rule=None, lr=None, passes=1, intercept=None, sample_weight=None,
    model=None, average=None, batch_size=None, early_stopping=None, shuffle=False, rng=None, dtype=None, classes=None,
    callback=None,
):  # fmt: skip
    """Learn a linear model from rows, one after the other.

    Each row is predicted, its loss noted, and the weights of its features are moved by Adagrad.  The objective is
    the mean loss (each row times its weight) plus the penalty.  A penalty is applied to a weight when its feature
    is next met, by a closed form: the result is that of applying it to every weight after every row.

    Parameters
    ----------
    X : sparse matrix, array of shape (n, n_features), or iterable of Chunk
        Rows.  What is not CSR is converted; indices of 32 or 64 bits.  From an iterable of chunks, such as
        ``read_svmlight(path)``, only one chunk is in memory; features may grow from chunk to chunk.
    y : array_like of shape (n,)
        Two labels of any kind for a binary loss, the larger one positive; more labels for many classes; finite
        numbers for regression, of at least 0 for counts.  None for chunks.
    loss : str or loss record, default "logistic"
        For labels "logistic", "hinge", "squared_hinge", "smooth_hinge", "modified_huber" or "perceptron"; for
        numbers "squared", "huber", "absolute", "epsilon_insensitive", "squared_epsilon_insensitive" or "quantile";
        for counts "poisson".  A record such as ``Quantile(0.9)`` has a parameter of its own.  With more than two
        labels "logistic" means "softmax", and any other of the first one class against the rest, as
        ``OneVsRest(Logistic())`` does.
    penalty : penalty record, optional
        On the weights; the intercept is never penalised.
    rule : rule record, default Adagrad()
    lr : float, schedule record, "auto" or Rates, default 0.5
        A number in [0, inf), or a record such as ``InverseSqrt(0.5)`` of the number of the update.  "auto" is
        ``Rates()``: eight rates from 0.02 to 2 learn side by side in the same pass, and the model is the one with
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
    shuffle : bool, default False
        Visit the rows, or the rows of each chunk, in a new random order in each pass.
    rng : int or numpy.random.Generator, optional
        For `shuffle`, and for the rows that `early_stopping` holds out.
    dtype : {float32, float64}, optional
        Precision to learn in; by default float32 for float32 data, else float64.
    classes : sequence of labels, optional
        Announce the labels where the first chunk may not hold all of them; then no others are taken.  Where more
        than two were found, not announced, one that first comes in a later chunk joins with weights of zero.
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
    options = _options(loss, penalty, rule, lr, intercept, average, batch_size)
    _check.positive_count("passes", passes)
    _check.boolean("shuffle", shuffle)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback: got {callback!r}; must be callable")
    if model is not None and not isinstance(model, LinearModel):
        raise TypeError(f"model: got {type(model).__name__}; must be a LinearModel")
    chunks = _chunks(X, y, sample_weight, passes)
    course = Course(model, options, dtype, classes, callback)
    order_seed = seed(rng) if shuffle else None
    course.watch = watch_for(early_stopping, 0 if rng is None else order_seed or seed(rng))
    for number in range(passes):
        for position, chunk in enumerate(chunks):
            if not isinstance(chunk, Chunk):
                raise TypeError(f"X: the iterable gave a {type(chunk).__name__}; must give Chunk(X, y, weight)")
            key = None if order_seed is None else [order_seed, number, position]
            if not course.learn(chunk, number, key, position):
                return course.result()
        if not course.passed():
            break
    return course.result()


class Course:
    """One call of `fit_linear`: the model it makes and what its callback has been told."""

    def __init__(self, model, options, dtype, classes, callback):
        self.callback, self.dtype, self.classes, self.options = callback, dtype, classes, options
        self.model = None if model is None else self._announced(_going_on(model, model.meant(options), dtype))
        self.start = None  # of the clock
        self.told = 0.0 if model is None else model.tally.copy()
        self.told_rows = 0 if model is None else model.n_seen
        self.later = None if model is None else np.zeros_like(model.tally)  # of later passes, which the loss leaves out
        self.passes = 0
        self.rows = 1024  # of a slice
        self.watch = None
        self.passed_total = self.told  # the tally before this pass

    def learn(self, chunk, number, key, position):
        """Learn from a chunk; return whether to go on."""
        dtype = common_dtype(chunk.X, self.dtype) if self.model is None else self.model.dtype
        X = as_rows(chunk.X, dtype)
        n = X.shape[0]
        if self.model is None:
            self.model = self._new(X.shape[1], dtype, chunk.y)
            self.later = np.zeros_like(self.model.tally)
        model = self.model
        weight = sample_weight(chunk.weight, n, dtype)
        y, labels = model.targets(chunk.y, n)
        order = np.arange(n) if key is None else np.random.default_rng(key).permutation(n)
        model.admit(labels)
        model.grow(X.shape[1])
        held = None if self.watch is None else self.watch.held(n, position)
        if held is not None and held.size:
            order = order[~np.isin(order, held)]
        goes_on = self._sweep(X, y, weight, order, model.tally if number == 0 else self.later)
        if held is not None and held.size:
            self.watch.score(model, X, chunk.y, weight, held)
        return goes_on

    def passed(self):
        """Note that a pass is complete; return whether to go on."""
        self.passes += 1
        if self.watch is None or self.model is None:
            return True
        total = self.model.tally + self.later
        loss, weight = self.model.told(total - self.passed_total)
        self.passed_total = total
        return not self.watch.is_over(self.model, float(loss / weight) if weight else float("nan"))

    def result(self):
        """The model that has been learnt."""
        model = self.model
        if model is None:
            raise ValueError("X: got no chunks; there is nothing to learn from")
        # A row that meets a weight that is not finite is refused, but the last rows are met by none.
        if not model.is_finite():
            raise ValueError(
                "X: the last rows give weights that are not finite; the values, the targets or the learning rate are "
                "too large, scale X and y or take a smaller lr"
            )
        if self.watch is not None and self.watch.best is not None:
            model = self.watch.best
            model.pass_losses = self.watch.losses
        return model

    def _new(self, n_features, dtype, y):
        defaults = {"loss": Logistic(), "rule": Adagrad(), "lr": 0.5, "penalty": None, "intercept": True}
        options = defaults | self.options
        kind = RateModel if isinstance(options["lr"], Rates) else LinearModel
        if are_many(options["loss"], y, self.classes):
            kind, options["loss"] = ClassModel, of_classes(options["loss"])
        return self._announced(kind(n_features, dtype, **options))

    def _announced(self, model):
        if self.classes is not None:
            model.announce(self.classes)
        return model

    def _sweep(self, X, y, weight, order, tally):
        model, position = self.model, 0
        rows = kernels.Rows(X.indptr, unsigned(X.indices), X.data, y, weight, order)
        weights = model.weights(X.shape[1])
        recipe = model.recipe()
        learn, room = model.loop(X, recipe)
        if self.start is None:
            learn(recipe, rows, weights, room, tally, model.state.t, 0, 0)  # no rows: this only compiles
            self.start = time.perf_counter()
        while position < order.size:
            stop = min(position + self.rows, order.size, position + _until_power(model.n_seen))
            begin = time.perf_counter()
            before, t = position, model.state.t
            position, status, t = learn(recipe, rows, weights, room, tally, t, position, stop)
            model.state.t = model.bias_state.t = t
            model.n_seen += position - before
            if status == kernels.UNSORTED:
                X = canonical(X)
                rows = rows._replace(indptr=X.indptr, indices=unsigned(X.indices), data=X.data)
                continue
            if status != kernels.DONE:
                _check.row_of(X, order[position])
            self._pace(position - before, time.perf_counter() - begin)
            if self.callback is not None and not self._tell():
                return False
        return True

    def _pace(self, rows, seconds):
        """Make the next slice take about the time between two returns to Python."""
        if seconds < SLICE / 2 and rows == self.rows:
            self.rows *= 2
        elif seconds > SLICE:
            self.rows = max(self.rows // 2, 1)

    def _tell(self):
        model = self.model
        total = model.tally + self.later
        loss, weight = model.told(total - self.told)
        self.told = total
        rows, self.told_rows = model.n_seen - self.told_rows, model.n_seen
        recent = float(loss / weight) if weight else float("nan")
        seconds = time.perf_counter() - self.start
        try:
            self.callback(Progress(model.n_seen, rows, model.progressive_loss, recent, seconds, self.passes, model))
        except StopIteration:
            return False
        return True


def _until_power(n):
    """Rows from n to the next power of two."""
    return (1 << int(n).bit_length()) - int(n)


def _options(loss, penalty, rule, lr, intercept, average, batch_size):
    """The options that were given, checked."""
    given = {
        "loss": loss, "penalty": penalty, "rule": rule, "lr": lr, "intercept": intercept, "average": average,
        "batch_size": batch_size,
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value is not None}
    if isinstance(loss, str):
        if loss not in NAMED:
            raise ValueError(f"loss: got {loss!r}; must be one of {', '.join(NAMED)}, or a loss record")
        given["loss"] = NAMED[loss]()
    elif loss is not None:
        needs = ("gradient", "sound", "labels") if hasattr(loss, "gradient") else ("value", "slope", "link", "labels")
        _check.record("loss", loss, needs, "Logistic()")
    if intercept is not None:
        _check.boolean("intercept", intercept)
    if average is not None:
        checked(average)
    if batch_size is not None:
        _check.positive_count("batch_size", batch_size)
    if isinstance(lr, str) and lr == "auto":
        lr = given["lr"] = Rates()
    if isinstance(lr, Rates):
        _check.record("lr", lr, ("values",), "Rates()")
    if isinstance(lr, Constant) and np.ndim(lr.lr):
        raise TypeError(f"lr: got {lr!r}; must be a number, or a schedule record such as InverseSqrt(0.5)")
    if lr is not None and not hasattr(lr, "_fields"):
        if isinstance(lr, str) or np.ndim(lr) or callable(lr):
            raise TypeError(f"lr: got {lr!r}; must be a number, or a schedule record such as InverseSqrt(0.5)")
        _check.interval("lr", lr, "[0, inf)")
    return given


def _chunks(X, y, weight, passes):
    """The data as an iterable of chunks."""
    if isinstance(X, Chunk):
        X = [X]
    if hasattr(X, "shape") or (isinstance(X, (list, tuple)) and not any(isinstance(item, Chunk) for item in X)):
        return [Chunk(X if hasattr(X, "shape") else dense(X), y, weight)]
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


def _going_on(model, options, dtype):
    """A copy of the model, with the options that differ from its own."""
    if dtype is not None and np.dtype(dtype) != model.dtype:
        raise ValueError(f"dtype: got {np.dtype(dtype)}, but the model is {model.dtype}")
    if options.get("intercept", model.has_intercept) != model.has_intercept:
        raise ValueError(f"intercept: got {options['intercept']}, but the model was begun with {model.has_intercept}")
    own = {"loss": model.loss, "penalty": model.state.penalty, "rule": model.state.rule, "lr": model.state.lr}
    own |= {"average": model.average, "batch_size": model.batch_size}
    changed = {name: options[name] for name in own if name in options and not _same(options[name], own[name])}
    return model.replaced(**changed) if changed else model.copy()


def _same(a, b):
    """Whether two options are equal; records may hold arrays."""
    if type(a) is not type(b) and (isinstance(a, tuple) or isinstance(b, tuple)):
        return False
    if isinstance(a, tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return bool(np.array_equal(a, b))
