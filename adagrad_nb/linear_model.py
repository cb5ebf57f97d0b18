"""LinearModel: what `fit_linear` returns, with all it takes to predict, to go on, and to come back from a file."""

import numpy as np

from . import _check, archive, samples, sweeps
from ._jit import cast, compiled_for
from ._kernels import linear as kernels
from ._kernels.coordinate import Update
from .losses import has_probabilities, link, value
from .means import Mean
from .penalties import Bounded, Box, NonNegative, NoPenalty
from .samples import Labels, as_rows, targets, unsigned
from .schedules import Constant, Rates
from .state import init
from .transforms import Identity


class LinearModel:
    """A linear model and the state of its learning; made by `fit_linear` or `load_model`, never changed.

    Attributes
    ----------
    coef : ndarray of shape (n_features,), or (n_classes, n_features) for more than two classes
        Weights, with the penalty applied up to the last row; of a model that averages their mean over the updates.
    intercept : float, or ndarray of shape (n_classes,)
        0.0 where none was asked for.
    classes : ndarray of shape (n_classes,) or None
        The labels in increasing order, of two the second one positive; None for regression.
    progressive_loss : float
        Mean loss, by sample weight, of each row before the model learnt from it, over the first pass.
    n_seen : int
        Rows learnt from, all passes counted.
    n_features : int
    pass_losses : list of float
        With early stopping, the loss that was looked at after each pass; not kept in files.
    state : State
        Options and accumulators of the weights; ``state.t`` counts the updates.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import fit_linear
    >>> model = fit_linear(np.array([[1.0, 0.0], [0.0, 1.0]]), ["no", "yes"], passes=20)
    >>> model.coef.shape, model.n_seen, model.classes.tolist()
    ((2,), 40, ['no', 'yes'])
    >>> model.predict(np.array([[0.0, 2.0]])).tolist()
    ['yes']
    """

    KIND = "linear model"  # of a file

    def __init__(self, n_features, dtype, loss, rule, lr, penalty, intercept, average=False, batch_size=1):
        w = np.zeros(n_features, dtype)
        self.loss = loss
        self.has_intercept = intercept
        self.batch_size = batch_size
        self.state = init(w, rule, lr=lr, penalty=penalty)
        bias = np.zeros(1, dtype)
        self.bias_state = init(bias, rule, lr=lr)
        self.labels = Labels()
        self.tally = np.zeros(2)
        self.n_seen = 0
        self.pass_losses = []
        self._raw, self._bias = w, bias
        self._mean = Mean(average, n_features, 0) if average else None
        self._last = np.zeros(n_features, np.int64) if self._is_lazy() or average else ()

    def _is_lazy(self):
        """Whether the penalty moves a coordinate that no gradient touches."""
        penalty = self.state.penalty
        if isinstance(penalty, (NonNegative, NoPenalty)):
            return False
        if isinstance(penalty, (Box, Bounded)) or not hasattr(penalty, "strength"):
            return True
        return bool(np.any(np.asarray(penalty.strength) != 0))

    # --- learning ----------------------------------------------------------------------------------------------

    def copy(self):
        """The same model with arrays of its own."""
        new = object.__new__(LinearModel)
        new.__dict__.update(self.__dict__)
        new.state, new.bias_state = self.state.copy(), self.bias_state.copy()
        new.tally = self.tally.copy()
        new._raw, new._bias = self._raw.copy(), self._bias.copy()
        new._last = self._last if isinstance(self._last, tuple) else self._last.copy()
        new._mean = None if self._mean is None else self._mean.copy()
        return new

    def replaced(self, **options):
        """A copy that goes on with other options."""
        if isinstance(options.get("lr"), Rates):
            raise ValueError("lr: several rates, but the model was begun with one; begin with them, or leave lr out")
        new = self.copy()
        if "loss" in options:
            new.loss = options.pop("loss")
        new.batch_size = options.pop("batch_size", self.batch_size)
        average = options.pop("average", self.average)
        if options:
            if new._mean is not None:
                new._mean.total = self._mean.totals(self.recipe(), self.weights(), self.state.t)
            new._raw = self._settled()
            new.state = new.state.replaced(new._raw, **options)
            options.pop("penalty", None)
            new.bias_state = new.bias_state.replaced(new._bias, **options)
            new._last = ()
        if average != self.average:
            new._mean = Mean(average, new.n_features, new.state.t) if average else None
        if not (new._is_lazy() or average):
            new._last = ()
        elif isinstance(new._last, tuple):
            new._last = np.full(new.n_features, new.state.t, np.int64)
        return new

    def grow(self, n_features):
        """Make room for more features, in place; only while learning."""
        extra = n_features - self.n_features
        if extra <= 0:
            return
        _check.penalty_shape(self.state.penalty, n_features)
        leaf = self.state.leaves[0]
        fill = [leaf.dtype.type(value) for value in self.state.rule.fill()]
        leaf.hold(tuple(_padded(slot, extra, value) for slot, value in zip(leaf.slots, fill, strict=True)))
        leaf.shape, leaf.size = (n_features,), n_features
        self._raw = _padded(self._raw, extra, 0)
        if not isinstance(self._last, tuple):
            # The penalty leaves a zero weight where it is, unless it is a bound away from zero.
            self._last = _padded(self._last, extra, 0)
        if self._mean is not None:
            self._mean.grow(extra)

    def recipe(self):
        """The records of the compiled loop."""
        leaf = self.state.leaves[0]
        schedule = self.state.schedule()
        free = cast(Update(self.state.rule, Identity(), NoPenalty()), leaf.dtype)
        closed = isinstance(schedule, Constant) or not self._is_lazy()
        lapse = kernels.Closed() if closed else kernels.Stepwise()
        return kernels.Recipe(cast(self.loss, leaf.dtype), leaf.update, free, schedule, lapse, int(self.has_intercept))

    def weights(self, n_features=None):
        """The arrays of the compiled loop, which refuses indices from `n_features` on."""
        last = self._last if self._mean is None else self._mean.trail(self._last, n_features)
        return kernels.Weights(
            self._raw[:n_features], self.state.leaves[0].flat, last, self._bias, self.bias_state.leaves[0].flat
        )

    def loop(self, X, recipe):
        """The compiled loop and the room it needs."""
        return (sweeps.row_by_row if self.batch_size == 1 else sweeps.in_batches)(self, X, recipe)

    def meant(self, options):
        """Options of a call that goes on, as this model has them."""
        return options

    def announce(self, classes):
        """Take in labels told beforehand."""
        if self.loss.labels != "binary":
            raise ValueError(f"classes: the loss {type(self.loss).__name__} takes numbers; leave classes out")
        self.labels = self.labels.announced(classes)

    def targets(self, y, n):
        """(y as the loss takes it, labels) of a chunk of n rows."""
        return targets(y, n, self.loss, self.labels, self.dtype)

    def admit(self, labels):
        """Know these labels, in place."""
        self.labels = labels

    def told(self, tally):
        """(sum of losses, sum of weights) in a tally."""
        return tally

    def is_finite(self):
        """Whether no weight is infinite or NaN."""
        return bool(np.isfinite(self.weights().w).all() and np.isfinite(self._bias).all())

    # --- reading -----------------------------------------------------------------------------------------------

    @property
    def dtype(self):
        """float32 or float64."""
        return self._raw.dtype

    @property
    def n_features(self):
        """Columns seen so far."""
        return self._raw.size

    @property
    def average(self):
        """How the iterates are averaged, or False."""
        return False if self._mean is None else self._mean.average

    def _settled(self):
        """The iterate, with the penalty of every update so far."""
        if not self._is_lazy():
            return self._raw.copy()
        recipe = self.recipe()
        out = np.empty_like(self._raw)
        compiled_for(kernels.settled, recipe)(recipe, self.weights(), self.state.t, out)
        return out

    @property
    def coef(self):
        """Weights of shape (n_features,), with the penalty of every update so far."""
        t = self.state.t
        if self._mean is None or not self._mean.count(t):
            return self._settled()
        return (self._mean.totals(self.recipe(), self.weights(), t) / self._mean.count(t)).astype(self.dtype)

    @property
    def intercept(self):
        """The intercept as a float."""
        count = 0 if self._mean is None else self._mean.count(self.state.t)
        return float(self.dtype.type(self._mean.bias_total[0] / count) if count else self._bias[0])

    @property
    def classes(self):
        """The two labels, or None for a loss of numbers."""
        return self.labels.complete() if self.loss.labels == "binary" else None

    @property
    def has_probabilities(self):
        """Whether the loss gives the probability of each label, as the logistic loss does and the hinge does not."""
        return has_probabilities(self.loss)

    @property
    def progressive_loss(self):
        """Mean loss of each row before it was learnt, over the first pass; NaN before the first row."""
        return float(self.tally[0] / self.tally[1]) if self.tally[1] else float("nan")

    def check_columns(self, X):
        """Refuse rows with more columns than there are weights."""
        if X.shape[1] > self.n_features:
            raise ValueError(
                f"X: got {X.shape[1]} columns; the model has {self.n_features} features. "
                f"Drop the others with X[:, :{self.n_features}]"
            )

    def decision_function(self, X):
        """Return coef·x + intercept for each row.

        Parameters
        ----------
        X : sparse matrix or array of shape (n, n_features)
            A sparse matrix may have fewer columns; the missing ones are zero.

        Returns
        -------
        ndarray of shape (n,)

        Raises
        ------
        ValueError
            For more columns than the model has, indices out of range, or values that are not finite.
        """
        X = as_rows(X, self.dtype)
        self.check_columns(X)
        out, bias = np.empty(X.shape[0], self.dtype), self.dtype.type(self.intercept)
        row = kernels.margins(X.indptr, unsigned(X.indices), X.data, self.coef[: X.shape[1]], bias, out)
        if row < X.shape[0]:
            _check.row_of(X, row)
        return out

    def predict(self, X):
        """Return the label, or the number, predicted for each row.

        Parameters
        ----------
        X : sparse matrix or array of shape (n, n_features)

        Returns
        -------
        ndarray of shape (n,)
        """
        margin = self.decision_function(X)
        if self.classes is None:
            return self.linked(margin)
        return self.classes[(margin > 0).astype(np.intp)]

    def predict_proba(self, X):
        """Return the probability of each label for each row.

        Parameters
        ----------
        X : sparse matrix or array of shape (n, n_features)

        Returns
        -------
        ndarray of shape (n, 2)
            Columns in the order of `classes`.

        Raises
        ------
        AttributeError
            If the loss has no probabilities.
        """
        if self.classes is None:
            raise AttributeError(f"predict_proba: the loss {type(self.loss).__name__} predicts numbers; use predict")
        if not self.has_probabilities:
            raise AttributeError(
                f"predict_proba: the loss {type(self.loss).__name__} has no probabilities; use decision_function, "
                "or learn with 'logistic' or 'modified_huber'"
            )
        positive = self.linked(self.decision_function(X))
        return np.column_stack([1 - positive, positive])

    def linked(self, margin):
        """Return what each entry of a decision function says about y: a probability, or the number predicted."""
        return np.array([link(self.loss, p) for p in margin.tolist()], self.dtype)

    def loss_of_margins(self, y, margin, sample_weight=None):
        """Return the mean loss of the decision function `margin` where `y` is true."""
        y, _ = targets(y, margin.size, self.loss, self.labels, np.float64)
        sample_weight = samples.sample_weight(sample_weight, margin.size, np.float64)
        losses = [value(self.loss, target, p) for target, p in zip(y.tolist(), margin.tolist(), strict=True)]
        return float(np.average(losses, weights=sample_weight))

    def mean_loss(self, X, y, sample_weight=None):
        """Return the mean loss of the model on data, without the penalty.

        Parameters
        ----------
        X : sparse matrix or array of shape (n, n_features)
        y : array_like of shape (n,)
        sample_weight : array_like of shape (n,), optional

        Returns
        -------
        float
        """
        return self.loss_of_margins(y, self.decision_function(X), sample_weight)

    def __repr__(self):
        return (
            f"LinearModel({type(self.loss).__name__}, {self.n_features} features, {self.dtype}, "
            f"n_seen={self.n_seen}, progressive_loss={self.progressive_loss:.4f})"
        )

    # --- files -------------------------------------------------------------------------------------------------

    def save(self, path):
        """Write the whole model, its state included, so that learning can go on where it stopped.

        Parameters
        ----------
        path : str or path-like
            Replaced in one move: it holds the old file or all of the new one.
        """
        arrays = {"w": self._raw, "bias": self._bias, "tally": self.tally}
        if not isinstance(self._last, tuple):
            arrays["last"] = self._last
        if self._mean is not None:
            arrays |= {"total": self._mean.total, "bias_total": self._mean.bias_total}
        for name, state in (("slot", self.state), ("bias_slot", self.bias_state)):
            arrays |= {f"{name}{k}": slot for k, slot in enumerate(state.slots[0])}
        options = {name: getattr(self.state, name) for name in ("rule", "lr", "penalty")}
        meta = {
            "options": {name: archive.encode(value, arrays) for name, value in options.items()},
            "loss": archive.encode(self.loss, arrays),
            "labels": [label.item() if isinstance(label, np.generic) else label for label in self.labels],
            "intercept": self.has_intercept,
            "batch_size": self.batch_size,
            "average": archive.encode(self.average, arrays),
            "since": 0 if self._mean is None else self._mean.since,
            "t": self.state.t,
            "n_seen": self.n_seen,
        }
        archive.write(path, self.KIND, meta, arrays)


def load_model(path, records=()):
    """Read a model that `LinearModel.save` wrote.

    Parameters
    ----------
    path : str or path-like
    records : sequence of classes, optional
        Records of your own that the model uses: a loss, penalty, rule or schedule.

    Returns
    -------
    LinearModel

    Raises
    ------
    ValueError
        If the file is damaged, of another kind, or uses a record that is not known.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from adagrad_nb import fit_linear, load_model
    >>> X, y = np.eye(3), np.array([-1, 1, 1])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.npz")
    ...     fit_linear(X, y).save(path)
    ...     model = load_model(path)
    >>> model.predict(X)
    array([-1,  1,  1])
    """
    meta, arrays = archive.read(path, LinearModel.KIND)
    options = {name: archive.decode(value, arrays, records) for name, value in meta["options"].items()}
    loss = archive.decode(meta["loss"], arrays, records)
    if "lanes" in meta:
        from .lane_model import revived

        return revived(meta, arrays, loss, options)
    w = arrays["w"]
    model = LinearModel(w.size, w.dtype, loss, options["rule"], options["lr"], options["penalty"], meta["intercept"])
    model._raw, model._bias, model.tally = w, arrays["bias"], arrays["tally"]
    model._last = arrays.get("last", ())
    model.batch_size = meta.get("batch_size", 1)
    average = archive.decode(meta.get("average", False), arrays, records)
    if average:
        model._mean = Mean(average, w.size, meta["since"])
        model._mean.total, model._mean.bias_total = arrays["total"], arrays["bias_total"]
    for name, state in (("slot", model.state), ("bias_slot", model.bias_state)):
        leaf = state.leaves[0]
        leaf.hold(tuple(arrays[f"{name}{k}"] for k in range(len(leaf.slots))))
        state.t = meta["t"]
    model.labels = Labels(*meta["labels"])
    model.n_seen = meta["n_seen"]
    return model


def _padded(array, extra, value):
    return np.concatenate([array, np.full(extra, value, array.dtype)])
