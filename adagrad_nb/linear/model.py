"""LinearModel: what `fit_linear` returns, with all it takes to predict, to go on, and to come back from a file."""

import numpy as np

from .. import _check, _csr
from .._csr import as_csr, as_unsigned
from ..compiler.jit import cast, compiled_for
from ..cuda.arrays import is_device_array, to_host
from ..io import archive
from ..optim.state import init
from ..records.coordinate import Update
from ..records.dual_averaging import is_dual_averaging
from ..records.losses import has_probabilities, inverse_link, target_type, value
from ..records.penalties import NoPenalty
from ..records.rules import initial_slots, unpenalized
from ..records.schedules import Rates
from ..records.transforms import Identity
from . import targets
from .dispatch import sweep
from .kernels import rows as kernels
from .kernels.lazy import Anew, Averaged, Prompt, lapse_of, moves_untouched, must_note
from .parameters import FeatureScaling, IterateSums, interleave
from .targets import BinaryLabels, encode_targets


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

    FILE_KIND = "linear model"  # of a file
    is_single_output = True  # one weight for each feature
    _kernels = kernels  # loops over all weights

    def __init__(
        self, n_features, dtype, loss, rule, lr, penalty, intercept, average=False, batch_size=1, normalized=False,
        invariant=False,
    ):  # fmt: skip
        dtype = np.dtype(dtype)
        self._weights, self._bias = np.broadcast_to(dtype.type(0), n_features), np.zeros(1, dtype)
        self.loss, self.has_intercept, self.batch_size = loss, intercept, batch_size
        self._state = init(self._weights, rule, lr=lr, penalty=penalty)
        self._bias_state = init(self._bias, rule, lr=lr)
        self.labels, self.loss_sums = BinaryLabels(), np.zeros(2)
        self.n_seen, self.pass_losses = 0, []
        self.scaling = FeatureScaling(n_features, dtype, normalized, invariant)
        self._iterate_sums = IterateSums(average, n_features, 0) if average else None
        initial_slot_values = (
            np.broadcast_to(dtype.type(initial), n_features) for initial in initial_slots(self._state.rule)
        )
        self._allocate(self._weights, initial_slot_values, self._initial_last_update())
        self._check_options()

    def _allocate(self, w, slots, last_update, n_features=None):
        """Have copies of what is known of each feature, side by side, with room for so many features."""
        last_updates = () if isinstance(last_update, tuple) else (last_update,)
        scales = (self.scaling.max_abs,) if self.normalized else ()
        self._weights, *columns = interleave((w, *slots, *last_updates, *scales), n_features or w.size)
        if scales:
            self.scaling.max_abs = columns.pop()
        self._last_update = columns.pop() if last_updates else ()
        leaf = self._state.leaves[0]
        leaf.slots = leaf.flat_slots = tuple(columns)

    def _initial_last_update(self):
        """For each coordinate that it is current now, where that must be known; else ()."""
        lazy = must_note(self._state.rule, self._state.penalty)
        if not lazy and not self.average:
            return ()
        return np.broadcast_to(
            self.scaling.summed_step_sizes if lazy and self.normalized else self._state.t, self.n_features
        )

    def _check_options(self):
        """Refuse options that do not go together."""
        penalty = self._state.penalty
        self.scaling.check_compatible(self._state.rule, penalty)
        if self.scaling and self.batch_size > 1:
            raise ValueError(
                f"batch_size: got {self.batch_size}, but {self.scaling.option_name} steps are by one row; leave "
                f"batch_size out, or {self.scaling.option_name}=False"
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
        new.loss_sums, new.scaling = self.loss_sums.copy(), self.scaling.copy()
        new._iterate_sums = None if self._iterate_sums is None else self._iterate_sums.copy()
        new._copy_weights()
        return new

    def _copy_weights(self):
        """Have weights, accumulators and notes of one's own, which were those of another model."""
        self._state, self._bias_state = self._state.copy(without_slots=True), self._bias_state.copy()
        self._bias = self._bias.copy()
        self._allocate(self._weights, self._state.slots[0], self._last_update)

    def _with_options(self, **options):
        """A copy that goes on with other options."""
        if isinstance(options.get("lr"), Rates):
            raise ValueError("lr: several rates, but the model was begun with one; begin with them, or leave lr out")
        new = self.copy()
        new.loss = options.pop("loss", self.loss)
        new.batch_size = options.pop("batch_size", self.batch_size)
        new.scaling.invariant = options.pop("invariant", self.invariant)
        average = options.pop("average", self.average)
        if options:
            if new._iterate_sums is not None:
                new._iterate_sums.sums = self._catch_up_sums()
            new._weights = self._catch_up_all()
            new._state = new._state._with_options(new._weights, **options)
            options.pop("penalty", None)
            new._bias_state = new._bias_state._with_options(new._bias, **options)
            new._last_update = ()
            if is_dual_averaging(new._state.rule):
                new._weights = new._catch_up_all(Anew(0))
        if average != self.average:
            new._iterate_sums = IterateSums(average, new.n_features, new._state.t) if average else None
        if isinstance(new._last_update, tuple) or not (average or must_note(new._state.rule, new._state.penalty)):
            new._last_update = new._initial_last_update()
        new._allocate(new._weights, new._state.slots[0], new._last_update)
        new._check_options()
        return new

    def _grow(self, n_features):
        """Make room for more features, in place; only while learning."""
        n_new = n_features - self.n_features
        if n_new <= 0:
            return
        _check.penalty_shape(self._state.penalty, n_features)
        # The penalty leaves a zero weight where it is, unless it is a bound away from zero: the notes begin with zero.
        leaf, n_old = self._state.leaves[0], self.n_features
        self._allocate(self._weights, leaf.slots, self._last_update, n_features)
        for slot, initial in zip(leaf.slots, initial_slots(self._state.rule), strict=True):
            slot[n_old:] = initial
        leaf.shape, leaf.size = (n_features,), n_features
        if self._iterate_sums is not None:
            self._iterate_sums.add_features(n_new)

    def _spec(self):
        """The records of the compiled loop."""
        state, schedule = self._state, self._kernel_schedule()
        rule = unpenalized(state.rule)
        lazy = lapse_of(state.rule, state.penalty, schedule, self.normalized)
        spec = kernels.Recipe(
            cast(self._row_loss(), self.dtype), state.leaves[0].update,
            cast(Update(rule, Identity(), NoPenalty()), self.dtype), schedule,
            lazy if self._iterate_sums is None else Averaged(lazy), int(self.has_intercept),
        )  # fmt: skip
        return self.scaling.scaled_spec(spec) if self.scaling else spec

    def _row_loss(self):
        """The loss of a row."""
        return self.loss

    def _kernel_schedule(self):
        """The rate as a record."""
        return self._state.schedule()

    def _kernel_arrays(self, n_features=None):
        """The arrays of the compiled loop, which refuses indices from `n_features` on."""
        slots, bias_slots = self._state.leaves[0].flat_slots, self._bias_state.leaves[0].flat_slots
        return kernels.Weights(self._weights[:n_features], slots, self._lazy_state(n_features), self._bias, bias_slots)

    def _lazy_state(self, n_features=None):
        """What the lapse has noted."""
        return (
            self._last_update
            if self._iterate_sums is None
            else self._iterate_sums.as_lazy_record(self._last_update, n_features)
        )

    def _choose_kernel(self, X, spec, workers):
        """The compiled loop for rows, and its room."""
        return sweep(self, X, spec, workers)

    def _resolve_options(self, options):
        """Options of a call that goes on, as this model has them."""
        return options

    def _declare_classes(self, classes):
        """Take in labels told beforehand."""
        if target_type(self.loss) != "binary":
            raise ValueError(f"classes: the loss {type(self.loss).__name__} takes numbers; leave classes out")
        self.labels = self.labels.declared(classes)

    def _encode_targets(self, y, n):
        """(y as the loss takes it, labels) of a chunk of n rows."""
        return targets.encode_targets(y, n, self.loss, self.labels, self.dtype)

    def _set_labels(self, labels):
        """Know these labels, in place."""
        self.labels = labels

    def _loss_totals(self, loss_sums):
        """(sum of losses, sum of weights) in loss sums."""
        return loss_sums

    def is_finite(self):
        """Whether no weight is infinite or NaN."""
        return _check.is_finite(self._weights) and _check.is_finite(self._bias)

    # --- reading -----------------------------------------------------------------------------------------------

    @property
    def dtype(self):
        """float32 or float64."""
        return self._weights.dtype

    @property
    def n_features(self):
        """Columns seen so far."""
        return self._weights.size

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
        return False if self._iterate_sums is None else self._iterate_sums.average

    @property
    def normalized(self):
        """Whether steps are in units of the largest value of each feature."""
        return self.scaling.normalized

    @property
    def invariant(self):
        """Whether steps follow the slope as it changes."""
        return self.scaling.invariant

    @property
    def _n_averaged(self):
        """How many iterates there are to report the mean of."""
        return 0 if self._iterate_sums is None else self._iterate_sums.count_iterates(self._state.t)

    def _catch_up_all(self, lazy=None):
        """The iterates, with the penalty of every update so far."""
        spec, weights = self._spec(), self._kernel_arrays()
        if lazy is not None:
            spec = spec._replace(lapse=lazy)
        elif isinstance(getattr(spec.lapse, "lapse", spec.lapse), Prompt):
            return weights.w.copy()
        out = np.zeros_like(weights.w)
        compiled_for(self._kernels.settled, spec)(spec, weights, *self._catch_up_workspace(), self._state.t, out)
        return out

    def _catch_up_sums(self):
        """The sum of the iterates of each weight."""
        spec, out = self._spec(), np.empty_like(self._iterate_sums.sums)
        compiled_for(self._kernels.iterate_sums, spec)(
            spec, self._kernel_arrays(), *self._catch_up_workspace(), self._state.t, out
        )
        return out

    def _catch_up_workspace(self):
        """The room that loops over all weights need, if any."""
        return ()

    @property
    def coef(self):
        """Weights of shape (n_features,), with the penalty of every update so far."""
        return (
            (self._catch_up_sums() / self._n_averaged).astype(self.dtype) if self._n_averaged else self._catch_up_all()
        )

    @property
    def intercept(self):
        """The intercept as a float."""
        n_averaged = self._n_averaged
        return float(self.dtype.type(self._iterate_sums.bias_sums[0] / n_averaged) if n_averaged else self._bias[0])

    @property
    def classes(self):
        """The two labels, or None for a loss of numbers."""
        return self.labels.to_array() if target_type(self.loss) == "binary" else None

    @property
    def progressive_loss(self):
        """Mean loss of each row before it was learnt, over the first pass; NaN before the first row."""
        return float(self.loss_sums[0] / self.loss_sums[1]) if self.loss_sums[1] else float("nan")

    def __repr__(self):
        return (
            f"LinearModel({type(self.loss).__name__}, {self.n_features} features, {self.dtype}, "
            f"n_seen={self.n_seen}, progressive_loss={self.progressive_loss:.4f})"
        )

    # --- files -------------------------------------------------------------------------------------------------

    def _labels_to_json(self):
        """The labels as a list."""
        return list(self.labels)

    def _labels_from_json(self, labels):
        """Take over the labels of a list."""
        self.labels = BinaryLabels(*labels)

    def _to_arrays(self):
        """The weights and their accumulators, as arrays of a file."""
        arrays = {"w": self._weights, "bias": self._bias}
        for name, state in (("slot", self._state), ("bias_slot", self._bias_state)):
            arrays |= {f"{name}{k}": slot for k, slot in enumerate(state.slots[0])}
        return arrays

    def _from_arrays(self, arrays):
        """Take over the weights, accumulators and notes of a file."""
        self._bias = arrays["bias"]
        slots, bias_slots = (
            tuple(arrays[f"{name}{k}"] for k in range(len(self._state.slots[0]))) for name in ("slot", "bias_slot")
        )
        self._bias_state.leaves[0].set_slots(bias_slots)
        self._allocate(arrays["w"], slots, arrays.get("last", ()))

    # --- predictions -------------------------------------------------------------------------------------------

    @property
    def has_probabilities(self):
        """Whether the loss gives the probability of each label, as the logistic loss does and the hinge does not."""
        return has_probabilities(self.loss)

    def _check_columns(self, X):
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
        if hasattr(X, "decision_values"):  # rows on a device
            return X.decision_values(*self._reported_weights())
        X = as_csr(X, self.dtype)
        self._check_columns(X)
        with np.errstate(over="ignore", invalid="ignore"):  # as in compiled code; such rows are refused by their number
            out, row = self._decision_values(X.indptr, as_unsigned(X.indices), X.data, X.shape)
        if row < X.shape[0]:
            _csr.raise_for_row(X, row)
        return out

    def _reported_weights(self):
        """The weights and the intercept that predict."""
        return self.coef, self.intercept

    def _decision_values(self, indptr, indices, data, shape):
        """(decisions, number of the first row that has none) of rows."""
        coef, intercept = self._reported_weights()
        out = np.empty(shape[0], self.dtype)
        return out, kernels.decision_values(indptr, indices, data, coef[: shape[1]], self.dtype.type(intercept), out)

    def _host_scores(self, X):
        """The decision function on the host."""
        scores = self.decision_function(X)
        return to_host(scores) if is_device_array(scores) else scores

    def predict(self, X):
        """Return the label, or the number, predicted for each row.

        Parameters
        ----------
        X : sparse matrix or array of shape (n, n_features)

        Returns
        -------
        ndarray of shape (n,)
        """
        scores = self._host_scores(X)
        if self.classes is None:
            return self.predict_from_scores(scores)
        return self.classes[(scores > 0).astype(np.intp)]

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
        positive = self.predict_from_scores(self._host_scores(X))
        return np.column_stack([1 - positive, positive])

    def predict_from_scores(self, scores):
        """Return what each entry of a decision function says about y: a probability, or the number predicted."""
        return np.array([inverse_link(self.loss, p) for p in scores.tolist()], self.dtype)

    def loss_of_scores(self, y, scores, sample_weight=None):
        """Return the mean loss of the decision function `scores` where `y` is true."""
        y, _ = encode_targets(y, scores.size, self.loss, self.labels, np.float64)
        sample_weight = targets.check_sample_weight(sample_weight, scores.size, np.float64)
        losses = [value(self.loss, target, p) for target, p in zip(y.tolist(), scores.tolist(), strict=True)]
        return float(np.average(losses, weights=sample_weight))

    linked = property(lambda self: self.predict_from_scores)  # the name in earlier releases
    loss_of_margins = property(lambda self: self.loss_of_scores)  # the name in earlier releases

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
        return self.loss_of_scores(y, self._host_scores(X), sample_weight)

    # --- files -------------------------------------------------------------------------------------------------

    def save(self, path):
        """Write the whole model, its state included, so that learning can go on where it stopped.

        Parameters
        ----------
        path : str or path-like
            Replaced in one move: it holds the old file or all of the new one.
        """
        arrays = {"tally": self.loss_sums} | self._to_arrays()
        if not isinstance(self._last_update, tuple):
            arrays["last"] = self._last_update
        if self._iterate_sums is not None:
            arrays |= {"total": self._iterate_sums.sums, "bias_total": self._iterate_sums.bias_sums}
        if self.normalized:
            arrays |= {"largest": self.scaling.max_abs, "totals": self.scaling.running_sums}
        options = {name: getattr(self._state, name) for name in ("rule", "lr", "penalty")} | {"average": self.average}
        labels = self._labels_to_json()
        meta = {
            "kind": type(self).__name__,
            "options": {name: archive.to_json(value, arrays) for name, value in options.items()},
            "numbers": {name: getattr(self, name) for name in ("batch_size", "normalized", "invariant")}
            | {"intercept": self.has_intercept},
            "loss": archive.to_json(self.loss, arrays),
            "labels": [label.item() if isinstance(label, np.generic) else label for label in labels],
            "n_features": self.n_features,
            "dtype": self.dtype.name,
            "since": 0 if self._iterate_sums is None else self._iterate_sums.first_update,
            "t": self._state.t,
            "n_seen": self.n_seen,
        }
        archive.write_archive(path, self.FILE_KIND, meta, arrays)

    def _restore(self, meta, arrays):
        """Take over what a file holds."""
        self._labels_from_json(meta["labels"])
        self.loss_sums, self.n_seen = arrays["tally"], meta["n_seen"]
        if self.normalized:
            self.scaling.max_abs, self.scaling.running_sums = arrays["largest"], arrays["totals"]
        self._from_arrays(arrays)
        if self._iterate_sums is not None:
            self._iterate_sums.first_update = meta["since"]
            self._iterate_sums.sums, self._iterate_sums.bias_sums = arrays["total"], arrays["bias_total"]
        self._state.t = self._bias_state.t = meta["t"]


def continue_from(model, options, dtype):
    """A copy of the model, with the options that differ from its own."""
    options = model._resolve_options(options)
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
    changed = {name: options[name] for name in own if name in options and not options_equal(options[name], own[name])}
    return model._with_options(**changed) if changed else model.copy()


def options_equal(a, b):
    """Whether two options are equal; records may hold arrays."""
    if type(a) is not type(b) and (isinstance(a, tuple) or isinstance(b, tuple)):
        return False
    if isinstance(a, tuple):
        return len(a) == len(b) and all(options_equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(np.array_equal(a, b))
