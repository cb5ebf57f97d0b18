"""Models with several lanes of weights, learnt in the same pass: a lane for each class, or for each learning rate."""

import numpy as np

from . import _check, archive, samples
from ._jit import cast, compiled_for
from ._kernels import lanes, linear
from ._kernels.coordinate import Update
from ._vector import WIDTH
from .classes import Classes, of_classes
from .linear_model import LinearModel
from .losses import has_probabilities, link
from .multiclass import OneVsRest, Rivals, Softmax
from .penalties import NoPenalty
from .samples import Labels, as_rows, unsigned
from .schedules import Constant, Rates
from .state import init
from .transforms import Identity

LINE = 64  # bytes of a cache line


class LaneModel(LinearModel):
    """What all models of several lanes share: one table with the weights and accumulators of a feature side by side.

    ``_table[i, 0]`` are the weights of feature i and ``_table[i, 1 + k]`` its accumulators of kind k, a lane each; the
    lanes are filled up to whole vectors.
    """

    average, batch_size = False, 1

    def __init__(self, n_features, dtype, loss, rule, lr, penalty, intercept, rates):
        self.pass_losses: list = []
        self.loss, self.has_intercept, self.n_seen = loss, intercept, 0
        self._rates = np.array(rates, np.float64)
        step = lr.schedule if isinstance(lr, Rates) else lr
        blank = np.broadcast_to(dtype.type(0), n_features)
        self._state = init(blank, rule, lr=step, penalty=penalty)
        self._bias_state = init(blank[:1] if n_features else np.zeros(1, dtype), rule, lr=step)
        self._state.lr = self._bias_state.lr = lr
        self._table = self._blank(n_features, self._rates.size)
        self._bias_table = self._blank(1, self._rates.size)
        self._last = np.zeros(n_features, np.int64) if self._is_lazy() else ()
        self._release()

    # --- tables ------------------------------------------------------------------------------------------------

    def _blank(self, n, lanes_):
        """A table of n features that nothing has been learnt about; each feature begins a cache line, if it can."""
        rule, dtype = self._state.rule, self._state.leaves[0].dtype
        fill = rule.fill()
        shape = (n, 1 + len(fill), -(-lanes_ // WIDTH) * WIDTH)
        room = np.zeros(int(np.prod(shape)) + LINE // dtype.itemsize, dtype)
        skip = -room.ctypes.data % LINE // dtype.itemsize
        table = room[skip : skip + int(np.prod(shape))].reshape(shape)
        for k, value in enumerate(fill):
            if value:
                table[:, 1 + k] = value
        return table

    def _release(self):
        """Leave no accumulators in the states: they are in the tables."""
        for state in (self._state, self._bias_state):
            leaf = state.leaves[0]
            leaf.slots = leaf.flat = ()

    def _moved(self, table, n, places=None):
        """The table with room for n features, its lanes at these places among those of now."""
        new = self._blank(n, self._rates.size)
        if places is None:
            new[: table.shape[0]] = table
        else:
            new[: table.shape[0], :, places] = table[:, :, : len(places)]
        return new

    @property
    def state(self):
        """Options, accumulators of the weights of shape (n_features, lanes), and the count of the updates."""
        return self._shown(self._state, self._table)

    @property
    def bias_state(self):
        """The same of the intercepts."""
        return self._shown(self._bias_state, self._bias_table)

    def _shown(self, state, table):
        state.leaves[0].slots = tuple(table[:, 1 + k, : self._rates.size] for k in range(table.shape[1] - 1))
        return state

    # --- learning ----------------------------------------------------------------------------------------------

    def copy(self):
        """The same model with arrays of its own."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        self._release()
        new._state, new._bias_state = self._state.copy(), self._bias_state.copy()
        new.tally, new._rates = self.tally.copy(), self._rates.copy()
        new._table = self._moved(self._table, self.n_features)
        new._bias_table = self._moved(self._bias_table, 1)
        new._last = self._last if isinstance(self._last, tuple) else self._last.copy()
        new.pass_losses = list(self.pass_losses)
        return new

    def replaced(self, **options):
        """A copy that goes on with other options."""
        new = self.copy()
        alone(self.WHAT, options.get("average", False), options.get("batch_size", 1))
        new.loss = options.get("loss", self.loss)
        new._table[:, 0] = self._settled()
        kept = {name: getattr(self._state, name) for name in ("rule", "lr", "penalty")}
        kept |= {name: options[name] for name in kept if name in options}
        fresh = type(self)(self.n_features, self.dtype, new.loss, intercept=self.has_intercept, **kept)
        if fresh._table.shape[1] != self._table.shape[1]:
            raise ValueError(
                f"rule: {type(kept['rule']).__name__} has {fresh._table.shape[1] - 1} accumulators, but the model was "
                f"begun with {self._table.shape[1] - 1}"
            )
        new._state, new._bias_state = fresh._state, fresh._bias_state
        new._state.t = new._bias_state.t = self._state.t
        new._last = np.full(new.n_features, new._state.t, np.int64) if new._is_lazy() else ()
        return new

    def grow(self, n_features):
        """Make room for more features, in place; only while learning."""
        extra = n_features - self.n_features
        if extra <= 0:
            return
        _check.penalty_shape(self._state.penalty, n_features)
        self._table = self._moved(self._table, n_features)
        if not isinstance(self._last, tuple):
            self._last = np.concatenate([self._last, np.zeros(extra, np.int64)])

    def recipe(self):
        """The records of the compiled loop."""
        state, dtype = self._state, self.dtype
        schedule = cast(state.lr.schedule, np.float64) if isinstance(state.lr, Rates) else state.schedule()
        update = cast(Update(state.rule, Identity(), state.penalty), dtype)
        free = update._replace(penalty=NoPenalty())
        lapse = linear.Closed() if isinstance(schedule, Constant) else linear.Stepwise()
        return linear.Recipe(cast(self._rows_loss(), dtype), update, free, schedule, lapse, int(self.has_intercept))

    def weights(self, n_features=None):
        """The arrays of the compiled loop, which refuses indices from `n_features` on."""
        table, bias = self._table[:n_features], self._bias_table
        accumulators = tuple(table[:, k] for k in range(1, table.shape[1]))
        bias_accumulators = tuple(bias[:, k] for k in range(1, table.shape[1]))
        return linear.Weights(table[:, 0], accumulators, self._last, bias[:, 0], bias_accumulators)

    def loop(self, X, recipe):
        """The compiled loop and its buffers."""
        return compiled_for(lanes.learn, recipe), self._room(unsigned(X.indices).dtype)

    def _room(self, indices):
        """What the compiled loops need for one row."""
        wide, dtype = self._table.shape[2], self.dtype
        p, z, losses, lr = (self._blank(1, wide)[:, 0] for _ in range(4))
        widths = np.zeros(self._rates.size, dtype)
        origin, unit = np.zeros(1, indices), np.ones(1, dtype)
        return lanes.LaneBuffers(p, z, losses, lr, self._rates, widths, origin, unit)

    def is_finite(self):
        """Whether no weight that predicts is infinite or NaN."""
        return bool(np.isfinite(self._table[:, 0, self._told]).all() and np.isfinite(self.intercept).all())

    # --- reading -----------------------------------------------------------------------------------------------

    @property
    def dtype(self):
        """float32 or float64."""
        return self._table.dtype

    @property
    def n_features(self):
        """Columns seen so far."""
        return self._table.shape[0]

    def _settled(self):
        """Weights of shape (n_features, lanes), with the penalty of every update so far."""
        weights = self.weights()
        out = np.zeros_like(weights.w)
        if isinstance(self._last, tuple):
            out[:] = weights.w
        else:
            recipe = self.recipe()
            compiled_for(lanes.settled, recipe)(recipe, weights, self._room(np.uint32), self._state.t, out)
        return out

    def _content(self):
        """What a file holds of the lanes: arrays and what JSON can say."""
        used = self._rates.size
        arrays = {"table": self._table[:, :, :used], "bias": self._bias_table[:, :, :used], "tally": self.tally}
        if not isinstance(self._last, tuple):
            arrays["last"] = self._last
        return arrays

    def _restore(self, meta, arrays):
        """Take over what a file holds."""
        self._table = self._blank(arrays["table"].shape[0], self._rates.size)
        for table, name in ((self._table, "table"), (self._bias_table, "bias")):
            table[:, :, : self._rates.size] = arrays[name]
        self._last, self.tally = arrays.get("last", ()), arrays["tally"]
        self._state.t = self._bias_state.t = meta["t"]
        self.n_seen = meta["n_seen"]

    def save(self, path):
        """Write the whole model, its state included, so that learning can go on where it stopped.

        Parameters
        ----------
        path : str or path-like
            Replaced in one move: it holds the old file or all of the new one.
        """
        arrays = self._content()
        options = {name: getattr(self._state, name) for name in ("rule", "lr", "penalty")}
        meta = {
            "lanes": type(self).__name__,
            "options": {name: archive.encode(value, arrays) for name, value in options.items()},
            "loss": archive.encode(self.loss, arrays),
            "labels": [label.item() if isinstance(label, np.generic) else label for label in self._names()],
            "intercept": self.has_intercept,
            "t": self._state.t,
            "n_seen": self.n_seen,
        }
        archive.write(path, self.KIND, meta, arrays)


def alone(what, average, batch_size):
    """Refuse what only models of one lane do."""
    if average:
        raise ValueError(f"average: got {average!r}; a model of {what} reports its last iterate, leave average out")
    if batch_size != 1:
        raise ValueError(f"batch_size: got {batch_size}; a model of {what} learns row by row, leave batch_size out")


class ClassModel(LaneModel):
    """A linear model of many classes: a lane of weights for each.

    A `LinearModel` whose `coef` has the shape (n_classes, n_features) and whose `intercept` the shape (n_classes,).
    """

    WHAT = "many classes"

    def __init__(self, n_features, dtype, loss, rule, lr, penalty, intercept, average=False, batch_size=1):
        alone(self.WHAT, average, batch_size)
        if isinstance(lr, Rates):
            raise ValueError(
                "lr: 'auto' tries rates side by side for two classes or numbers, not for many classes; "
                "give a number such as 0.5"
            )
        self.labels, self.tally = Classes(), np.zeros(2)
        super().__init__(n_features, dtype, loss, rule, lr, penalty, intercept, np.zeros(0))

    def meant(self, options):
        """Options of a call that goes on, as this model has them."""
        return options | {"loss": of_classes(options["loss"])} if "loss" in options else options

    @property
    def _told(self):
        return slice(None)

    def _rows_loss(self):
        return self.loss

    def _names(self):
        return [self.labels.closed, *self.labels.names]

    def announce(self, classes):
        """Take in labels told beforehand."""
        self.admit(self.labels.announced(classes))

    def targets(self, y, n):
        """(positions of the labels, labels) of a chunk of n rows."""
        y = samples.labels_of(y, n)
        labels = self.labels.seen(y)
        return labels.positions(y), labels

    def admit(self, labels):
        """Make room for more classes, in place: a new one begins with weights of zero."""
        if labels == self.labels:
            return
        old, self.labels = self.labels.names, labels
        places = [labels.names.index(name) for name in old]
        self._rates = np.ones(len(labels.names))
        self._table = self._moved(self._table, self.n_features, places)
        self._bias_table = self._moved(self._bias_table, 1, places)

    @property
    def coef(self):
        """Weights of shape (n_classes, n_features), with the penalty of every update so far."""
        return np.ascontiguousarray(self._settled()[:, : self._rates.size].T)

    @property
    def intercept(self):
        """The intercepts, of shape (n_classes,)."""
        return self._bias_table[0, 0, : self._rates.size].copy()

    @property
    def classes(self):
        """The labels in increasing order."""
        return self.labels.complete()

    def decision_function(self, X):
        """Return coef·x + intercept of each class for each row.

        Parameters
        ----------
        X : sparse matrix or array of shape (n, n_features)
            A sparse matrix may have fewer columns; the missing ones are zero.

        Returns
        -------
        ndarray of shape (n, n_classes)

        Raises
        ------
        ValueError
            For more columns than the model has, indices out of range, or values that are not finite.
        """
        X = as_rows(X, self.dtype)
        self.check_columns(X)
        w = self._settled()[: X.shape[1]]
        out = np.empty((X.shape[0], w.shape[1]), self.dtype)
        row = lanes.margins(X.indptr, unsigned(X.indices), X.data, w, self._bias_table[:, 0], out)
        if row < X.shape[0]:
            _check.row_of(X, row)
        return out[:, : self._rates.size]

    def predict(self, X):
        """Return the label predicted for each row: that of the largest decision.

        Parameters
        ----------
        X : sparse matrix or array of shape (n, n_features)

        Returns
        -------
        ndarray of shape (n,)
        """
        return self.classes[np.argmax(self.decision_function(X), axis=1)]

    @property
    def has_probabilities(self):
        """Whether the loss gives the probability of each class."""
        if isinstance(self.loss, OneVsRest):
            return has_probabilities(self.loss.loss)
        return isinstance(self.loss, Softmax)

    def predict_proba(self, X):
        """Return the probability of each class for each row.

        Parameters
        ----------
        X : sparse matrix or array of shape (n, n_features)

        Returns
        -------
        ndarray of shape (n, n_classes)
            Columns in the order of `classes`.  One against the rest, the probabilities of the binary problems are
            divided by their sum.

        Raises
        ------
        AttributeError
            If the loss has no probabilities.
        """
        if not self.has_probabilities:
            raise AttributeError(
                f"predict_proba: the loss {self.loss!r} has no probabilities; use decision_function, "
                "or learn with 'softmax'"
            )
        return self.linked(self.decision_function(X))

    def linked(self, margin):
        """Return the probabilities that the rows of a decision function stand for."""
        if isinstance(self.loss, Softmax):
            share = np.exp(margin - margin.max(axis=1, keepdims=True))
        else:
            flat = [link(self.loss.loss, p) for p in margin.ravel().tolist()]
            share = np.array(flat, self.dtype).reshape(margin.shape)
            share[share.sum(axis=1) == 0] = 1  # no class claims the row
        return share / share.sum(axis=1, keepdims=True)

    def loss_of_margins(self, y, margin, sample_weight=None):
        """Return the mean loss of the decision function `margin` where `y` is true."""
        margin = np.ascontiguousarray(margin, np.float64)
        y = self.labels.positions(samples.labels_of(y, margin.shape[0]))
        sample_weight = samples.sample_weight(sample_weight, y.size, np.float64)
        out = np.empty(y.size)
        loss = cast(self.loss, np.float64)
        compiled_for(lanes.losses, loss)(loss, y, margin, np.empty_like(margin[0]), out)
        return float(np.average(out, weights=sample_weight))


class RateModel(LaneModel):
    """A linear model that tries several learning rates: a lane for each, of which the best is the model.

    A `LinearModel` whose `coef`, `intercept`, predictions and `progressive_loss` are those of the rate with the lowest
    progressive loss so far.

    Attributes
    ----------
    rates : ndarray of shape (n_rates,)
    rate : float
        The best of them.
    progressive_losses : ndarray of shape (n_rates,)
        Of all rates; inf where the weights became infinite.
    """

    WHAT = "several rates"

    def __init__(self, n_features, dtype, loss, rule, lr, penalty, intercept, average=False, batch_size=1):
        alone(self.WHAT, average, batch_size)
        if not isinstance(lr, Rates):
            raise ValueError(f"lr: got {lr!r}, but the model was begun with several rates; leave lr out, or 'auto'")
        if getattr(penalty, "grouped", False):
            raise ValueError(
                f"penalty: got {penalty!r}, whose groups are the classes of a feature; with several rates each lane is "
                "a model of its own, take L1 or a single rate"
            )
        self.labels, self.tally = Labels(), np.zeros(len(lr.values) + 1)
        super().__init__(n_features, dtype, loss, rule, lr, penalty, intercept, lr.values)

    def meant(self, options):
        """Options of a call that goes on, as this model has them."""
        return options

    @property
    def _told(self):
        return self.best

    def _rows_loss(self):
        return Rivals(self.loss)

    def _names(self):
        return self.labels

    def replaced(self, **options):
        new = super().replaced(**options)
        if len(new._state.lr.values) != self._rates.size:
            raise ValueError(
                f"lr: got {len(new._state.lr.values)} rates, but the model was begun with {self._rates.size}; "
                "each rate has weights of its own"
            )
        new._rates = np.array(new._state.lr.values, np.float64)
        return new

    @property
    def rates(self):
        """The learning rates, or what they are multiplied with by the schedule."""
        return self._rates.copy()

    @property
    def progressive_losses(self):
        """Mean loss of each row before it was learnt, over the first pass, of every rate."""
        return self.tally[:-1] / self.tally[-1] if self.tally[-1] else np.full(self._rates.size, np.nan)

    @property
    def best(self):
        """Which rate has the lowest progressive loss."""
        return int(np.argmin(self.tally[:-1]))

    @property
    def rate(self):
        """The learning rate with the lowest progressive loss."""
        return float(self._rates[self.best])

    @property
    def progressive_loss(self):
        """Mean loss of each row before it was learnt, over the first pass; NaN before the first row."""
        return float(self.progressive_losses[self.best])

    def told(self, tally):
        """(sum of losses, sum of weights) of the best rate in a tally."""
        return tally[self.best], tally[-1]

    @property
    def coef(self):
        """Weights of shape (n_features,), with the penalty of every update so far."""
        return np.ascontiguousarray(self._settled()[:, self.best])

    @property
    def intercept(self):
        """The intercept as a float."""
        return float(self._bias_table[0, 0, self.best])


def revived(meta, arrays, loss, options):
    """The model of a file that `LaneModel.save` wrote."""
    table = arrays["table"]
    kind = {"ClassModel": ClassModel, "RateModel": RateModel}[meta["lanes"]]
    model = kind(table.shape[0], table.dtype, loss, intercept=meta["intercept"], **options)
    if kind is ClassModel:
        closed, *names = meta["labels"]
        model.admit(Classes(tuple(names), closed))
    else:
        model.labels = Labels(*meta["labels"])
    model._restore(meta, arrays)
    return model
