"""LinearModel: what `fit_linear` returns, with all it takes to predict, to go on, and to come back from a file."""

import numpy as np

from .. import _check, _csr
from .._csr import as_rows, unsigned
from ..compiler.jit import cast, compiled_for
from ..cuda.arrays import fetch, is_device
from ..io import archive
from ..optim.state import init
from ..records.coordinate import Update
from ..records.dual_averaging import is_dual_averaging
from ..records.losses import has_probabilities, inverse_link, target_type, value
from ..records.penalties import NoPenalty
from ..records.rules import initial_slots, unpenalized
from ..records.schedules import Rates
from ..records.transforms import Identity
from . import targets as samples
from .dispatch import sweep
from .kernels import rows as kernels
from .kernels.lazy import Anew, Averaged, Prompt, lapse_of, moves_untouched, must_note
from .parameters import Mean, Scaling, side_by_side
from .targets import Labels, targets


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
    normalized, invariant : bool
        Whether the steps are.
    n_features : int
    pass_losses : list of float
        With early stopping, the loss that was looked at after each pass; not kept in files.
    state, bias_state : State
        Options and accumulators of the weights, and of the intercept; ``state.t`` counts the updates.  A copy: to step
        with it changes nothing here.

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
    is_single = True  # one weight for each feature
    kernels = kernels  # loops over all weights

    def __init__(
        self, n_features, dtype, loss, rule, lr, penalty, intercept, average=False, batch_size=1, normalized=False,
        invariant=False,
    ):  # fmt: skip
        dtype = np.dtype(dtype)
        self._raw, self._bias = np.broadcast_to(dtype.type(0), n_features), np.zeros(1, dtype)
        self.loss, self.has_intercept, self.batch_size = loss, intercept, batch_size
        self._state = init(self._raw, rule, lr=lr, penalty=penalty)
        self._bias_state = init(self._bias, rule, lr=lr)
        self.labels, self.tally = Labels(), np.zeros(2)
        self.n_seen, self.pass_losses = 0, []
        self.scaling = Scaling(n_features, dtype, normalized, invariant)
        self._mean = Mean(average, n_features, 0) if average else None
        blank = (np.broadcast_to(dtype.type(initial), n_features) for initial in initial_slots(self._state.rule))
        self._lay_out(self._raw, blank, self._up_to_date())
        self._check_options()

    def _lay_out(self, w, slots, last, n_features=None):
        """Have copies of what is known of each feature, side by side, with room for so many features."""
        notes = () if isinstance(last, tuple) else (last,)
        scales = (self.scaling.largest,) if self.normalized else ()
        self._raw, *rest = side_by_side((w, *slots, *notes, *scales), n_features or w.size)
        if scales:
            self.scaling.largest = rest.pop()
        self._last = rest.pop() if notes else ()
        leaf = self._state.leaves[0]
        leaf.slots = leaf.flat = tuple(rest)

    def _up_to_date(self):
        """For each coordinate that it is current now, where that must be known; else ()."""
        lazy = must_note(self._state.rule, self._state.penalty)
        if not lazy and not self.average:
            return ()
        return np.broadcast_to(self.scaling.clock if lazy and self.normalized else self._state.t, self.n_features)

    def _check_options(self):
        """Refuse options that do not go together."""
        penalty = self._state.penalty
        self.scaling.check(self._state.rule, penalty)
        if self.scaling and self.batch_size > 1:
            raise ValueError(
                f"batch_size: got {self.batch_size}, but {self.scaling.name} steps are by one row; leave batch_size "
                f"out, or {self.scaling.name}=False"
            )
        if self.average and self.normalized and moves_untouched(penalty):
            raise ValueError(
                f"average: the iterates of normalised steps have no sum in closed form under the penalty "
                f"{type(penalty).__name__}; leave average or penalty out, or normalized=False"
            )

    # --- learning ----------------------------------------------------------------------------------------------

    def copy(self):
        """The same model with arrays of its own."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        new.tally, new.scaling = self.tally.copy(), self.scaling.copy()
        new._mean = None if self._mean is None else self._mean.copy()
        new._copy_weights()
        return new

    def _copy_weights(self):
        """Have weights, accumulators and notes of one's own, which were those of another model."""
        self._state, self._bias_state = self._state.copy(bare=True), self._bias_state.copy()
        self._bias = self._bias.copy()
        self._lay_out(self._raw, self._state.slots[0], self._last)

    def replaced(self, **options):
        """A copy that goes on with other options."""
        if isinstance(options.get("lr"), Rates):
            raise ValueError("lr: several rates, but the model was begun with one; begin with them, or leave lr out")
        new = self.copy()
        new.loss = options.pop("loss", self.loss)
        new.batch_size = options.pop("batch_size", self.batch_size)
        new.scaling.invariant = options.pop("invariant", self.invariant)
        average = options.pop("average", self.average)
        if options:
            if new._mean is not None:
                new._mean.total = self._totals()
            new._raw = self._settled()
            new._state = new._state.replaced(new._raw, **options)
            options.pop("penalty", None)
            new._bias_state = new._bias_state.replaced(new._bias, **options)
            new._last = ()
            if is_dual_averaging(new._state.rule):
                new._raw = new._settled(Anew(0))
        if average != self.average:
            new._mean = Mean(average, new.n_features, new._state.t) if average else None
        if isinstance(new._last, tuple) or not (average or must_note(new._state.rule, new._state.penalty)):
            new._last = new._up_to_date()
        new._lay_out(new._raw, new._state.slots[0], new._last)
        new._check_options()
        return new

    def grow(self, n_features):
        """Make room for more features, in place; only while learning."""
        extra = n_features - self.n_features
        if extra <= 0:
            return
        _check.penalty_shape(self._state.penalty, n_features)
        # The penalty leaves a zero weight where it is, unless it is a bound away from zero: the notes begin with zero.
        leaf, seen = self._state.leaves[0], self.n_features
        self._lay_out(self._raw, leaf.slots, self._last, n_features)
        for slot, initial in zip(leaf.slots, initial_slots(self._state.rule), strict=True):
            slot[seen:] = initial
        leaf.shape, leaf.size = (n_features,), n_features
        if self._mean is not None:
            self._mean.grow(extra)

    def recipe(self):
        """The records of the compiled loop."""
        state, schedule = self._state, self._schedule()
        rule = unpenalized(state.rule)
        lapse = lapse_of(state.rule, state.penalty, schedule, self.normalized)
        recipe = kernels.Recipe(
            cast(self._row_loss(), self.dtype), state.leaves[0].update,
            cast(Update(rule, Identity(), NoPenalty()), self.dtype), schedule,
            lapse if self._mean is None else Averaged(lapse), int(self.has_intercept),
        )  # fmt: skip
        return self.scaling.recipe(recipe) if self.scaling else recipe

    def _row_loss(self):
        """The loss of a row."""
        return self.loss

    def _schedule(self):
        """The rate as a record."""
        return self._state.schedule()

    def weights(self, n_features=None):
        """The arrays of the compiled loop, which refuses indices from `n_features` on."""
        slots, bias_slots = self._state.leaves[0].flat, self._bias_state.leaves[0].flat
        return kernels.Weights(self._raw[:n_features], slots, self._notes(n_features), self._bias, bias_slots)

    def _notes(self, n_features=None):
        """What the lapse has noted."""
        return self._last if self._mean is None else self._mean.trail(self._last, n_features)

    def loop(self, X, recipe, workers):
        """The compiled loop for rows, and its room."""
        return sweep(self, X, recipe, workers)

    def meant(self, options):
        """Options of a call that goes on, as this model has them."""
        return options

    def announce(self, classes):
        """Take in labels told beforehand."""
        if target_type(self.loss) != "binary":
            raise ValueError(f"classes: the loss {type(self.loss).__name__} takes numbers; leave classes out")
        self.labels = self.labels.announced(classes)

    def targets(self, y, n):
        """(y as the loss takes it, labels) of a chunk of n rows."""
        return samples.targets(y, n, self.loss, self.labels, self.dtype)

    def admit(self, labels):
        """Know these labels, in place."""
        self.labels = labels

    def told(self, tally):
        """(sum of losses, sum of weights) in a tally."""
        return tally

    def is_finite(self):
        """Whether no weight is infinite or NaN."""
        return _check.is_finite(self._raw) and _check.is_finite(self._bias)

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
    def state(self):
        """Options, accumulators and the count of updates; of the weights."""
        return self._state.copy()

    @property
    def bias_state(self):
        """The same of the intercept."""
        return self._bias_state.copy()

    @property
    def average(self):
        """How the iterates are averaged, or False."""
        return False if self._mean is None else self._mean.average

    @property
    def normalized(self):
        """Whether steps are in units of the largest value of each feature."""
        return self.scaling.normalized

    @property
    def invariant(self):
        """Whether steps follow the slope as it changes."""
        return self.scaling.invariant

    @property
    def _averaged(self):
        """How many iterates there are to report the mean of."""
        return 0 if self._mean is None else self._mean.count(self._state.t)

    def _settled(self, lapse=None):
        """The iterates, with the penalty of every update so far."""
        recipe, weights = self.recipe(), self.weights()
        if lapse is not None:
            recipe = recipe._replace(lapse=lapse)
        elif isinstance(getattr(recipe.lapse, "lapse", recipe.lapse), Prompt):
            return weights.w.copy()
        out = np.zeros_like(weights.w)
        compiled_for(self.kernels.settled, recipe)(recipe, weights, *self._spare(), self._state.t, out)
        return out

    def _totals(self):
        """The sum of the iterates of each weight."""
        recipe, out = self.recipe(), np.empty_like(self._mean.total)
        compiled_for(self.kernels.totals, recipe)(recipe, self.weights(), *self._spare(), self._state.t, out)
        return out

    def _spare(self):
        """The room that loops over all weights need, if any."""
        return ()

    @property
    def coef(self):
        """Weights of shape (n_features,), with the penalty of every update so far."""
        return (self._totals() / self._averaged).astype(self.dtype) if self._averaged else self._settled()

    @property
    def intercept(self):
        """The intercept as a float."""
        mean = self._averaged
        return float(self.dtype.type(self._mean.bias_total[0] / mean) if mean else self._bias[0])

    @property
    def classes(self):
        """The two labels, or None for a loss of numbers."""
        return self.labels.complete() if target_type(self.loss) == "binary" else None

    @property
    def progressive_loss(self):
        """Mean loss of each row before it was learnt, over the first pass; NaN before the first row."""
        return float(self.tally[0] / self.tally[1]) if self.tally[1] else float("nan")

    def __repr__(self):
        return (
            f"LinearModel({type(self.loss).__name__}, {self.n_features} features, {self.dtype}, "
            f"n_seen={self.n_seen}, progressive_loss={self.progressive_loss:.4f})"
        )

    # --- files -------------------------------------------------------------------------------------------------

    def _names(self):
        """The labels as a list."""
        return list(self.labels)

    def _name(self, names):
        """Take over the labels of a list."""
        self.labels = Labels(*names)

    def _tables(self):
        """The weights and their accumulators, as arrays of a file."""
        arrays = {"w": self._raw, "bias": self._bias}
        for name, state in (("slot", self._state), ("bias_slot", self._bias_state)):
            arrays |= {f"{name}{k}": slot for k, slot in enumerate(state.slots[0])}
        return arrays

    def _hold(self, arrays):
        """Take over the weights, accumulators and notes of a file."""
        self._bias = arrays["bias"]
        slots, bias_slots = (
            tuple(arrays[f"{name}{k}"] for k in range(len(self._state.slots[0]))) for name in ("slot", "bias_slot")
        )
        self._bias_state.leaves[0].hold(bias_slots)
        self._lay_out(arrays["w"], slots, arrays.get("last", ()))

    # --- predictions -------------------------------------------------------------------------------------------

    @property
    def has_probabilities(self):
        """Whether the loss gives the probability of each label, as the logistic loss does and the hinge does not."""
        return has_probabilities(self.loss)

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
        ndarray of shape (n,), or (n, n_classes) for many classes
            For rows on a device, a device array.

        Raises
        ------
        ValueError
            For more columns than the model has, indices out of range, or values that are not finite.
        """
        if hasattr(X, "margins"):  # rows on a device
            return X.margins(*self._told_weights())
        X = as_rows(X, self.dtype)
        self.check_columns(X)
        with np.errstate(over="ignore", invalid="ignore"):  # as in compiled code; such rows are refused by their number
            out, row = self._decide(X.indptr, unsigned(X.indices), X.data, X.shape)
        if row < X.shape[0]:
            _csr.row_of(X, row)
        return out

    def _told_weights(self):
        """The weights and the intercept that predict."""
        return self.coef, self.intercept

    def _decide(self, indptr, indices, data, shape):
        """(decisions, number of the first row that has none) of rows."""
        coef, intercept = self._told_weights()
        out = np.empty(shape[0], self.dtype)
        return out, kernels.margins(indptr, indices, data, coef[: shape[1]], self.dtype.type(intercept), out)

    def _margin(self, X):
        """The decision function on the host."""
        margin = self.decision_function(X)
        return fetch(margin) if is_device(margin) else margin

    def predict(self, X):
        """Return the label, or the number, predicted for each row.

        Parameters
        ----------
        X : sparse matrix or array of shape (n, n_features)

        Returns
        -------
        ndarray of shape (n,)
        """
        margin = self._margin(X)
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
        positive = self.linked(self._margin(X))
        return np.column_stack([1 - positive, positive])

    def linked(self, margin):
        """Return what each entry of a decision function says about y: a probability, or the number predicted."""
        return np.array([inverse_link(self.loss, p) for p in margin.tolist()], self.dtype)

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
        return self.loss_of_margins(y, self._margin(X), sample_weight)

    # --- files -------------------------------------------------------------------------------------------------

    def save(self, path):
        """Write the whole model, its state included, so that learning can go on where it stopped.

        Parameters
        ----------
        path : str or path-like
            Replaced in one move: it holds the old file or all of the new one.
        """
        arrays = {"tally": self.tally} | self._tables()
        if not isinstance(self._last, tuple):
            arrays["last"] = self._last
        if self._mean is not None:
            arrays |= {"total": self._mean.total, "bias_total": self._mean.bias_total}
        if self.normalized:
            arrays |= {"largest": self.scaling.largest, "totals": self.scaling.totals}
        options = {name: getattr(self._state, name) for name in ("rule", "lr", "penalty")} | {"average": self.average}
        names = self._names()
        meta = {
            "kind": type(self).__name__,
            "options": {name: archive.encode(value, arrays) for name, value in options.items()},
            "numbers": {name: getattr(self, name) for name in ("batch_size", "normalized", "invariant")}
            | {"intercept": self.has_intercept},
            "loss": archive.encode(self.loss, arrays),
            "labels": [label.item() if isinstance(label, np.generic) else label for label in names],
            "n_features": self.n_features,
            "dtype": self.dtype.name,
            "since": 0 if self._mean is None else self._mean.since,
            "t": self._state.t,
            "n_seen": self.n_seen,
        }
        archive.write(path, self.KIND, meta, arrays)

    def restore(self, meta, arrays):
        """Take over what a file holds."""
        self._name(meta["labels"])
        self.tally, self.n_seen = arrays["tally"], meta["n_seen"]
        if self.normalized:
            self.scaling.largest, self.scaling.totals = arrays["largest"], arrays["totals"]
        self._hold(arrays)
        if self._mean is not None:
            self._mean.since = meta["since"]
            self._mean.total, self._mean.bias_total = arrays["total"], arrays["bias_total"]
        self._state.t = self._bias_state.t = meta["t"]


def going_on(model, options, dtype):
    """A copy of the model, with the options that differ from its own."""
    options = model.meant(options)
    if dtype is not None and np.dtype(dtype) != model.dtype:
        raise ValueError(f"dtype: got {np.dtype(dtype)}, but the model is {model.dtype}")
    if options.get("intercept", model.has_intercept) != model.has_intercept:
        raise ValueError(f"intercept: got {options['intercept']}, but the model was begun with {model.has_intercept}")
    if options.get("normalized", model.normalized) != model.normalized:
        raise ValueError(
            f"normalized: got {options['normalized']}, but the model was begun with {model.normalized}, and what its "
            "accumulators mean depends on that; begin a new one"
        )
    own = {name: getattr(model._state, name) for name in ("penalty", "rule", "lr")}
    own |= {name: getattr(model, name) for name in ("loss", "average", "batch_size", "invariant")}
    changed = {name: options[name] for name in own if name in options and not same(options[name], own[name])}
    return model.replaced(**changed) if changed else model.copy()


def same(a, b):
    """Whether two options are equal; records may hold arrays."""
    if type(a) is not type(b) and (isinstance(a, tuple) or isinstance(b, tuple)):
        return False
    if isinstance(a, tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(np.array_equal(a, b))
