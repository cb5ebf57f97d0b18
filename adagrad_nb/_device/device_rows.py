"""Rows of data that live on a CUDA device: uploaded once, learnt from and predicted there."""

import time

import numpy as np

from .. import _check
from .._kernels.linear import Rows, Weights
from .._linear.samples import as_rows, canonical, common_dtype
from ..state import init
from . import device
from .listing import loops as list_loops
from .listing import room, sort


def loops():
    """The CUDA loops of linear models."""
    device.cuda()
    from .._kernels import gpu_linear

    return gpu_linear


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
    >>> from adagrad_nb import DeviceRows
    >>> DeviceRows.__name__
    'DeviceRows'
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
        """coef·x + intercept of each row, as a device array."""
        if self.shape[1] > coef.size:
            raise ValueError(f"X: got {self.shape[1]} columns; the model has {coef.size} features")
        self.of_dtype(coef.dtype)
        out = device.empty(self.shape[0], self.dtype)
        arrays = self.indptr, self.indices, self.data, device.put(coef)
        device.launch(loops().margins, out.size * loops().LANES, *arrays, self.dtype.type(intercept), out)
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
        _check.row_of(X, int(np.searchsorted(X.indptr, wrong[0], "right")) - 1)
    if not X.has_canonical_format:
        X = canonical(X)
    with device.ordered([]):
        return DeviceRows(X)


def _check_device(model):
    """Only what the loops of the device can do."""
    if model.average:
        raise ValueError("average: is not kept on a device; learn there without it")
    if hasattr(model, "lanes"):
        raise ValueError("loss: a device learns two classes or numbers at one rate; learn more classes on the host")
    if model.normalized or model.invariant:
        raise ValueError("normalized: scaled and invariant steps are not made on a device; learn there without them")


class Learner:
    """A model's weights on the device while they learn from a chunk."""

    def __init__(self, model, X, y, weight, order):
        _check_device(model)
        self.model, self.X, leaf = model, X, model.state.leaves[0]
        self.kept = np.flatnonzero(weight[order] != 0)  # rows of no weight take no place in a batch
        visited = order[self.kept]
        self.recipe = device.upload(model.recipe())
        self.rows = Rows(X.indptr, X.indices, X.data, *map(device.put, (y, weight, visited)))
        self.host = model.weights()
        self.weights = Weights(*(device.upload(part) for part in self.host))
        self.leaf = init(self.weights.w, model.state.rule).leaves[0]
        self.precision = leaf.precision
        self.starts = np.concatenate([[0], np.cumsum(X.lengths[visited], dtype=np.int64)])
        self.device_starts = device.put(self.starts)
        self.sums, self.refused = device.full(2, 0, np.float64), device.full(1, 2**62, np.int64)
        self.order = order

    def batch(self, number):
        """Learn from a batch; return the position in the order of the visit after it."""
        gpu, lists, model = loops(), list_loops(), self.model
        size, t = model.batch_size, model.state.t
        first = number * size
        count = min(size, self.kept.size - first)
        z, losses = (room(self.leaf, name, count, self.precision) for name in ("z", "losses"))
        stored = int(self.starts[first + count] - self.starts[first])
        where = room(self.leaf, "where", stored)
        g = room(self.leaf, "g", stored, self.precision)
        entries = gpu.Entries(z, losses, where, g, self.device_starts, self.refused)
        device.launch(gpu.slopes, count * gpu.LANES, self.recipe, self.rows, self.weights, entries, t, first, count)
        lr, share = self.precision.type(model.state.rate(t)), self.precision.type(count)
        if stored:
            columns, places = sort(self.leaf, where)
            sums, heads = room(self.leaf, "sums", stored, self.precision), room(self.leaf, "heads", stored)
            device.launch(lists.runs, stored, columns, places, g, 1, sums)
            device.launch(lists.merge, stored, columns, sums, 1, 0, heads)
            device.launch(gpu.learn, stored, self.recipe, self.weights, heads, sums, share, lr, t)
        if model.has_intercept:
            device.launch_blocks(gpu.learn_bias, 1, self.recipe, self.weights, z, share, lr, t)
        device.launch_blocks(gpu.tally, 1, self.rows, losses, first, self.sums)
        model.state.t = model.bias_state.t = t + 1
        return int(self.kept[first + count - 1]) + 1

    def take_stock(self, tally):
        """Add the losses to the tally; an error if a prediction was not finite.  Three numbers are copied."""
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
                array[...] = device.fetch(other)


def sweep(course, X, y, weight, order, tally, until_power):
    """Go through the rows of a chunk on the device; return whether to go on.  As `Course` does on the host."""
    model = course.model
    with device.ordered([]):
        learner = Learner(model, X, y, weight, order)
        course.start = time.perf_counter() if course.start is None else course.start
        batches, number, position = -(-learner.kept.size // model.batch_size), 0, 0
        while position < order.size:
            stop = min(position + course.rows, order.size, position + until_power(model.n_seen))
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
