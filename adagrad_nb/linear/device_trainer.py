"""Rows of data that live on a CUDA device: uploaded once, learnt from and predicted there."""

import time

import numpy as np

from .. import _csr
from .._csr import as_rows, canonical, common_dtype
from ..cuda import arrays as device
from ..optim.device_gradients import loops as list_loops
from ..optim.device_gradients import room, sort
from ..optim.state import init
from ..records.group_penalties import is_group_penalty
from ..records.schedules import at
from .kernels.rows import Rows, Weights


def loops():
    """The CUDA loops of linear models."""
    device.cuda()
    from .kernels import cuda_rows

    return cuda_rows


def lane_loops():
    """The CUDA loops of linear models of several lanes."""
    device.cuda()
    from .kernels import cuda_multi_rows

    return cuda_multi_rows


class DeviceRows:
    """Compressed sparse rows on a CUDA device; made by `to_device`.

    Attributes
    ----------
    shape : tuple
    dtype : dtype
    indptr, indices, data : device arrays
    lengths : ndarray
        Stored values of each row, on the host.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import has_cuda, to_device
    >>> if has_cuda():
    ...     assert to_device(np.eye(3)).lengths.tolist() == [1, 1, 1]
    """

    def __init__(self, X):
        self.shape, self.dtype = X.shape, X.dtype
        self.lengths = np.diff(X.indptr)
        self.indptr, self.indices, self.data = map(device.put, (X.indptr, X.indices, X.data))

    def of_dtype(self, dtype):
        """The same rows, which must have that precision."""
        if self.dtype != dtype:
            raise TypeError(f"X: is of {self.dtype} on the device, but {dtype} is wanted; upload to_device(X, {dtype})")
        return self

    def __getitem__(self, rows):
        raise ValueError(
            "X: rows on a device cannot be picked out, as early_stopping would; hold out rows before to_device"
        )

    def margins(self, coef, intercept):
        """coef·x + intercept of each row, as a device array; of each lane, if coef has a row of lanes per feature."""
        if self.shape[1] > coef.shape[0]:
            raise ValueError(f"X: got {self.shape[1]} columns; the model has {coef.shape[0]} features")
        self.of_dtype(coef.dtype)
        out = device.empty((self.shape[0], *coef.shape[1:]), self.dtype)
        arrays, w, flat = (self.indptr, self.indices, self.data), device.put(coef.reshape(-1)), device.view(out)
        if coef.ndim == 1:
            device.launch(loops().margins, out.size * loops().LANES, *arrays, w, self.dtype.type(intercept), out)
        else:
            gpu = lane_loops()
            weights = Weights(w, (), (), device.put(intercept), ())
            device.launch(gpu.decide, flat.size, gpu.SETTLED, Rows(*arrays, (), (), ()), weights, 1.0, flat, 0, 0)
        return out

    def __repr__(self):
        return f"DeviceRows({self.shape[0]} rows, {self.shape[1]} features, {self.dtype})"


def to_device(X, dtype=None):
    """Upload rows to a CUDA device, once, for `fit_linear` with ``batch_size`` and for predictions.

    Parameters
    ----------
    X : sparse matrix or array of shape (n, n_features)
        Checked here: indices in range, values finite; what is listed twice in a row is summed.
    dtype : {float32, float64}, optional
        By default float32 for float32 data, else float64.

    Returns
    -------
    DeviceRows

    Raises
    ------
    ImportError
        Without numba-cuda; the message names the extra to install.

    Notes
    -----
    Learning there keeps no average, takes neither normalised nor invariant steps, and no penalty on the classes of a
    feature together.  A batch needs room for its stored values times the classes, or the rates, of the model.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import fit_linear, has_cuda, to_device
    >>> X, y = np.eye(4), np.array([0, 1, 0, 1])
    >>> if has_cuda():
    ...     X = to_device(X)
    >>> model = fit_linear(X, y, batch_size=2, passes=20)
    >>> model.progressive_loss > 0.5, bool(model.mean_loss(np.eye(4), y) < 0.3)
    (True, True)
    """
    X = as_rows(X, common_dtype(X, dtype))
    wrong = np.flatnonzero((X.indices < 0) | (X.indices >= X.shape[1]) | ~np.isfinite(X.data))
    if wrong.size:
        _csr.row_of(X, int(np.searchsorted(X.indptr, wrong[0], "right")) - 1)
    if not X.has_canonical_format:
        X = canonical(X)
    with device.ordered([]):
        return DeviceRows(X)


def _check_device(model):
    """Only what the loops of the device can do."""
    if model.average:
        raise ValueError("average: is not kept on a device; learn there without it")
    if not model.is_single and is_group_penalty(model._state.penalty):
        raise ValueError(
            f"penalty: got {model._state.penalty!r}, which takes all classes of a feature together; on a device each "
            "moves by itself: take L1 there, or learn on the host"
        )
    if model.normalized or model.invariant:
        raise ValueError("normalized: scaled and invariant steps are not made on a device; learn there without them")


def _flat(arrays):
    """Copies on the device of an array, or of a tuple of them, in one dimension."""
    return tuple(map(_flat, arrays)) if isinstance(arrays, tuple) else device.put(arrays.reshape(-1))


class Learner:
    """The weights of a model on the device while they learn from a chunk, one for each feature."""

    lanes = 1  # weights of a feature

    def __init__(self, model, X, y, weight, order):
        _check_device(model)
        self.model, self.X = model, X
        self.kept = np.flatnonzero(weight[order] != 0)  # rows of no weight take no place in a batch
        visited = order[self.kept]
        recipe = model.recipe()
        self.recipe, self.schedule = device.upload(recipe), recipe.schedule
        self.rows = Rows(X.indptr, X.indices, X.data, *map(device.put, (y, weight, visited)))
        self.host = self._arrays()
        self.weights = Weights(*map(_flat, self.host))
        self.leaf = init(self.weights.bias, model._state.rule).leaves[0]  # whose room is used, not what it accumulates
        self.precision = self.leaf.precision
        self.starts = np.concatenate([[0], np.cumsum(X.lengths[visited], dtype=np.int64)])
        self.device_starts = device.put(self.starts)
        self.sums = device.full(model.tally.size, 0, np.float64)
        self.refused = device.full(1, 2**62, np.int64)
        self.order = order

    def _arrays(self):
        """What is learnt, on the host."""
        return self.model.weights()

    def _room(self, name, size, dtype=None):
        """Memory for a list, by default of numbers of the precision of the weights."""
        return room(self.leaf, name, size, dtype or self.precision)

    def batch(self, number):
        """Learn from a batch; return the position in the order of the visit after it."""
        gpu, lists, model, lanes = loops(), list_loops(), self.model, self.lanes
        size, t = model.batch_size, model._state.t
        first = number * size
        count = min(size, self.kept.size - first)
        stored = int(self.starts[first + count] - self.starts[first])
        where = self._room("where", stored, np.int64)
        z, losses, g = self._slopes(where, first, count, t)
        lr, share = self._rate(at(self.schedule, t) * 1.0), self.precision.type(count)
        if stored:
            columns, places = sort(self.leaf, where)
            sums, heads = self._room("sums", stored * lanes), self._room("heads", stored, np.int64)
            device.launch(lists.runs, stored * lanes, columns, places, g, lanes, sums)
            device.launch(lists.merge, stored * lanes, columns, sums, lanes, 0, heads)
            self._move(heads, sums, share, lr, t)
        if model.has_intercept:
            device.launch_blocks(gpu.learn_bias, lanes, self.recipe, self.weights, z, share, lr, t)
        device.launch_blocks(gpu.tally, self.sums.size, self.rows, losses, first, self.sums)
        model._state.t = model._bias_state.t = t + 1
        return int(self.kept[first + count - 1]) + 1

    def _slopes(self, where, first, count, t):
        """Predict rows; return their slopes and losses, and the gradients of the stored values, of columns `where`."""
        gpu = loops()
        z, losses, g = self._room("z", count), self._room("losses", count), self._room("g", where.size)
        entries = gpu.Entries(z, losses, where, g, self.device_starts, self.refused)
        device.launch(gpu.slopes, count * gpu.LANES, self.recipe, self.rows, self.weights, entries, t, first, count)
        return z, losses, g

    def _rate(self, lr):
        """The learning rate as the loops take it."""
        return self.precision.type(lr)

    def _move(self, where, g, share, lr, t):
        """Move the features that are listed."""
        device.launch(loops().learn, where.size, self.recipe, self.weights, where, g, share, lr, t)

    def take_stock(self, tally):
        """Add the losses to the tally; an error if a prediction was not finite.  Only the sums are copied."""
        tally += device.fetch(self.sums)
        device.fill(self.sums, 0)
        refused = int(device.fetch(self.refused)[0])
        if refused < 2**62:
            raise ValueError(
                f"X: row {self.order[self.kept[refused]]} gives a prediction that is not finite; the values or the "
                "learning rate are too large, scale X or take a smaller lr"
            )

    def bring_back(self):
        """Copy what has been learnt to the model on the host."""
        for host, here in zip(self.host, self.weights, strict=True):
            pairs = zip(host, here, strict=True) if isinstance(host, tuple) else [(host, here)]
            for array, other in pairs:
                array[...] = device.fetch(other).reshape(array.shape)


class LaneLearner(Learner):
    """The same of several lanes, classes or rates: the weights of a feature are side by side, in flat arrays."""

    def __init__(self, model, X, y, weight, order):
        self.lanes, self.now = model.factors.size, None
        super().__init__(model, X, y, weight, order)
        self.factors = device.put(model.factors)

    def _arrays(self):
        w, s, last, bias, bias_s = self.model.weights()
        w, bias = w[:, : self.lanes], bias[:, : self.lanes]  # the others only fill up vectors
        s, bias_s = (tuple(array[:, : self.lanes] for array in arrays) for arrays in (s, bias_s))
        return Weights(w, s, last, bias, bias_s)

    def _slopes(self, where, first, count, t):
        gpu, lanes = lane_loops(), self.lanes
        p, z = (self._room(name, count * lanes) for name in ("p", "z"))
        losses = self._room("losses", count * (self.sums.size - 1), np.float64)
        g = list_loops().Outer(z, self._room("owner", where.size, np.int32), self._room("x", where.size))
        device.launch(gpu.decide, p.size, self.recipe, self.rows, self.weights, self.factors, p, t, first)
        device.launch(gpu.score, count, self.recipe, self.rows, p, z, losses, self.refused, lanes, first)
        device.launch(gpu.gather, count * gpu.LANES, self.rows, g, where, self.device_starts, first, count)
        return z, losses, g

    def _rate(self, lr):
        if lr != self.now:
            self.now, self.rates = lr, device.put((self.model.factors * lr).astype(self.precision))
        return self.rates

    def _move(self, where, g, share, lr, t):
        gpu = lane_loops()
        device.launch(gpu.learn, g.size, self.recipe, self.weights, self.factors, where, g, share, lr, t)
        if not isinstance(self.weights.last, tuple):
            device.launch(gpu.note, where.size, self.recipe, self.weights.last, where, t + 1)


def sweep(course, X, y, weight, order, tally):
    """Go through the rows of a chunk on the device; return whether to go on.  As `Course` does on the host."""
    model = course.model
    with device.ordered([]):
        learner = (Learner if model.is_single else LaneLearner)(model, X, y, weight, order)
        course.start = time.perf_counter() if course.start is None else course.start
        batches, number, position = -(-learner.kept.size // model.batch_size), 0, 0
        while position < order.size:
            stop = course.slice_end(position, order.size)
            begin, before = time.perf_counter(), position
            while position < stop and number < batches:
                position, number = learner.batch(number), number + 1
            position = order.size if number == batches else position
            model.n_seen += position - before
            learner.take_stock(tally)
            course._pace(position - before, time.perf_counter() - begin)
            if course.callback is not None:
                learner.bring_back()
                if not course._tell():
                    return False
        learner.bring_back()
    return True
