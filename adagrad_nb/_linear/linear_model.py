"""LinearModel: what `fit_linear` returns, with all it takes to predict, to go on, and to come back from a file."""

import numpy as np

from .. import _check
from .._jit import cast, compiled_for
from .._kernels import linear as kernels
from .._kernels.coordinate import Update
from .._kernels.lapses import Anew, Prompt
from .._kernels.trail import Averaged
from ..penalties import NoPenalty
from ..schedules import Rates
from ..state import init
from ..transforms import Identity
from . import samples
from .arrears import finds_anew, lapse_of, moves_untouched, must_note
from .decisions import Decisions
from .means import Mean
from .samples import Labels
from .scaling import Scaling
from .storage import Storage
from .sweeps import sweep
from .tables import side_by_side


class LinearModel(Decisions, Storage):
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
        blank = (np.broadcast_to(dtype.type(value), n_features) for value in self._state.rule.fill())
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
            if finds_anew(new._state.rule):
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
        for slot, value in zip(leaf.slots, self._state.rule.fill(), strict=True):
            slot[seen:] = value
        leaf.shape, leaf.size = (n_features,), n_features
        if self._mean is not None:
            self._mean.grow(extra)

    def recipe(self):
        """The records of the compiled loop."""
        state, schedule = self._state, self._schedule()
        rule = state.rule.free() if hasattr(state.rule, "free") else state.rule
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
        if self.loss.labels != "binary":
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
        return self.labels.complete() if self.loss.labels == "binary" else None

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
