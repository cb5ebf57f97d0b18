"""Rows of data that live on a CUDA device: uploaded once, learnt from and predicted there."""

import numpy as np

from .. import _csr
from .._csr import as_csr, sum_duplicates
from ..cuda import arrays as device
from ..optim.device_gradients import list_workspace, sort_indices
from ..optim.device_gradients import sparse_kernels as list_loops
from ..optim.state import init
from ..records.group_penalties import is_group_penalty
from ..records.schedules import at
from .kernels.rows import Rows, Weights
from .parameters import SingleOutput


def row_kernels():
    """The CUDA loops of linear models."""
    device.import_cuda()
    from .kernels import cuda_rows

    return cuda_rows


def multi_row_kernels():
    """The CUDA loops of linear models of several lanes."""
    device.import_cuda()
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
        self.indptr, self.indices, self.data = map(device.to_device_array, (X.indptr, X.indices, X.data))

    def require_dtype(self, dtype):
        """The same rows, which must have that precision."""
        if self.dtype != dtype:
            raise TypeError(f"X: is of {self.dtype} on the device, but {dtype} is wanted; upload to_device(X, {dtype})")
        return self

    def __getitem__(self, rows):
        raise ValueError(
            "X: rows on a device cannot be picked out, as early_stopping would; hold out rows before to_device"
        )

    def decision_values(self, coef, intercept):
        """coef·x + intercept of each row, as a device array; of each lane, if coef has a row of lanes per feature."""
        if self.shape[1] > coef.shape[0]:
            raise ValueError(f"X: got {self.shape[1]} columns; the model has {coef.shape[0]} features")
        self.require_dtype(coef.dtype)
        out = device.empty((self.shape[0], *coef.shape[1:]), self.dtype)
        arrays, w, flat = (
            (self.indptr, self.indices, self.data),
            device.to_device_array(coef.reshape(-1)),
            device.flat_view(out),
        )
        if coef.ndim == 1:
            device.launch_kernel(
                row_kernels().decision_values,
                out.size * row_kernels().THREADS_PER_ROW,
                *arrays,
                w,
                self.dtype.type(intercept),
                out,
            )
        else:
            gpu = multi_row_kernels()
            weights = Weights(w, (), (), device.to_device_array(intercept), ())
            device.launch_kernel(
                gpu.multi_scores, flat.size, gpu.CAUGHT_UP, Rows(*arrays, (), (), ()), weights, 1.0, flat, 0, 0
            )
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
    X = as_csr(X, dtype)
    wrong = np.flatnonzero((X.indices < 0) | (X.indices >= X.shape[1]) | ~np.isfinite(X.data))
    if wrong.size:
        _csr.raise_for_row(X, int(np.searchsorted(X.indptr, wrong[0], "right")) - 1)
    if not X.has_canonical_format:
        X = sum_duplicates(X)
    with device.on_stream([]):
        return DeviceRows(X)


def _check_device(model):
    """Only what the loops of the device can do."""
    if model.average:
        raise ValueError(
            f"average: got {model.average}, which training on a device does not support; use average=False"
        )
    if is_group_penalty(model.parameters.state.penalty):
        raise ValueError(
            f"penalty: got {model.parameters.state.penalty!r}, a group penalty, which training on a device does not "
            "support; use L1 there, or train on the host"
        )
    if model.normalized or model.invariant:
        raise ValueError(
            "normalized: training on a device supports neither normalized=True nor invariant=True; use False"
        )


def _upload_flat(arrays):
    """Copies on the device of an array, or of a tuple of them, in one dimension."""
    return tuple(map(_upload_flat, arrays)) if isinstance(arrays, tuple) else device.to_device_array(arrays.reshape(-1))


class DeviceTrainer:
    """The weights of a model on the device while they learn from a chunk, one for each feature."""

    n_outputs = 1  # weights of a feature

    def __init__(self, model, X, y, weight, order):
        _check_device(model)
        self.model, self.X = model, X
        self.active_rows = np.flatnonzero(weight[order] != 0)  # rows of no weight take no place in a batch
        visited = order[self.active_rows]
        spec = model.parameters.spec()
        self._spec, self.schedule = device.to_device_record(spec), spec.schedule
        self.rows = Rows(X.indptr, X.indices, X.data, *map(device.to_device_array, (y, weight, visited)))
        self.host_arrays = self._learnt_arrays()
        self.weights = Weights(*map(_upload_flat, self.host_arrays))
        self.leaf = init(self.weights.bias, model.parameters.state.rule).leaves[
            0
        ]  # whose room is used, not what it accumulates
        self.precision = self.leaf.precision
        self.value_offsets = np.concatenate([[0], np.cumsum(X.lengths[visited], dtype=np.int64)])
        self.device_offsets = device.to_device_array(self.value_offsets)
        self.batch_sums = device.full(model.loss_sums.size, 0, np.float64)
        self.bad_row = device.full(1, 2**62, np.int64)
        self.order = order

    def _learnt_arrays(self):
        """What is learnt, on the host."""
        return self.model.parameters.kernel_arrays()

    def _list_workspace(self, name, size, dtype=None):
        """Memory for a list, by default of numbers of the precision of the weights."""
        return list_workspace(self.leaf, name, size, dtype or self.precision)

    def learn_batch(self, number):
        """Learn from a batch; return the position in the order of the visit after it."""
        gpu, lists, model, n_outputs = row_kernels(), list_loops(), self.model, self.n_outputs
        size, t = model.batch_size, model.parameters.t
        first = number * size
        count = min(size, self.active_rows.size - first)
        stored = int(self.value_offsets[first + count] - self.value_offsets[first])
        where = self._list_workspace("where", stored, np.int64)
        z, losses, g = self._compute_slopes(where, first, count, t)
        lr, share = self._device_rate(at(self.schedule, t) * 1.0), self.precision.type(count)
        if stored:
            columns, places = sort_indices(self.leaf, where)
            sums, heads = (
                self._list_workspace("sums", stored * n_outputs),
                self._list_workspace("heads", stored, np.int64),
            )
            device.launch_kernel(lists.sum_runs, stored * n_outputs, columns, places, g, n_outputs, sums)
            device.launch_kernel(lists.merge_runs, stored * n_outputs, columns, sums, n_outputs, 0, heads)
            self._update_features(heads, sums, share, lr, t)
        if model.has_intercept:
            device.launch_blocks(gpu.learn_bias, n_outputs, self._spec, self.weights, z, share, lr, t)
        device.launch_blocks(gpu.add_losses, self.batch_sums.size, self.rows, losses, first, self.batch_sums)
        model.parameters.t = t + 1
        return int(self.active_rows[first + count - 1]) + 1

    def _compute_slopes(self, where, first, count, t):
        """Predict rows; return their slopes and losses, and the gradients of the stored values, of columns `where`."""
        gpu = row_kernels()
        z, losses, g = (
            self._list_workspace("z", count),
            self._list_workspace("losses", count),
            self._list_workspace("g", where.size),
        )
        entries = gpu.DeviceBatch(z, losses, where, g, self.device_offsets, self.bad_row)
        device.launch_kernel(
            gpu.row_slopes, count * gpu.THREADS_PER_ROW, self._spec, self.rows, self.weights, entries, t, first, count
        )
        return z, losses, g

    def _device_rate(self, lr):
        """The learning rate as the loops take it."""
        return self.precision.type(lr)

    def _update_features(self, where, g, share, lr, t):
        """Move the features that are listed."""
        device.launch_kernel(row_kernels().cuda_learn, where.size, self._spec, self.weights, where, g, share, lr, t)

    def collect_losses(self, loss_sums):
        """Add the losses to the sums; an error if a prediction was not finite.  Only the sums are copied."""
        loss_sums += device.to_host(self.batch_sums)
        device.fill(self.batch_sums, 0)
        bad_row = int(device.to_host(self.bad_row)[0])
        if bad_row < 2**62:
            raise ValueError(
                f"X: row {self.order[self.active_rows[bad_row]]} gives a prediction that is not finite; the values or "
                "the learning rate are too large, scale X or take a smaller lr"
            )

    def copy_to_host(self):
        """Copy what has been learnt to the model on the host."""
        for host, here in zip(self.host_arrays, self.weights, strict=True):
            pairs = zip(host, here, strict=True) if isinstance(host, tuple) else [(host, here)]
            for array, other in pairs:
                array[...] = device.to_host(other).reshape(array.shape)


class MultiOutputDeviceTrainer(DeviceTrainer):
    """The same of several lanes, classes or rates: the weights of a feature are side by side, in flat arrays."""

    def __init__(self, model, X, y, weight, order):
        self.n_outputs, self.current_rate = model.parameters.rate_factors.size, None
        super().__init__(model, X, y, weight, order)
        self.rate_factors = device.to_device_array(model.parameters.rate_factors)

    def _learnt_arrays(self):
        w, s, last_update, bias, bias_s = self.model.parameters.kernel_arrays()
        w, bias = w[:, : self.n_outputs], bias[:, : self.n_outputs]  # the others only fill up vectors
        s, bias_s = (tuple(array[:, : self.n_outputs] for array in arrays) for arrays in (s, bias_s))
        return Weights(w, s, last_update, bias, bias_s)

    def _compute_slopes(self, where, first, count, t):
        gpu, n_outputs = multi_row_kernels(), self.n_outputs
        p, z = (self._list_workspace(name, count * n_outputs) for name in ("p", "z"))
        losses = self._list_workspace("losses", count * (self.batch_sums.size - 1), np.float64)
        g = list_loops().OuterProductGradient(
            z, self._list_workspace("owner", where.size, np.int32), self._list_workspace("x", where.size)
        )
        device.launch_kernel(
            gpu.multi_scores, p.size, self._spec, self.rows, self.weights, self.rate_factors, p, t, first
        )
        device.launch_kernel(
            gpu.multi_losses_and_slopes, count, self._spec, self.rows, p, z, losses, self.bad_row, n_outputs, first
        )
        device.launch_kernel(
            gpu.expand_rows, count * gpu.THREADS_PER_ROW, self.rows, g, where, self.device_offsets, first, count
        )
        return z, losses, g

    def _device_rate(self, lr):
        if lr != self.current_rate:
            self.current_rate, self.output_rates = (
                lr,
                device.to_device_array((self.model.parameters.rate_factors * lr).astype(self.precision)),
            )
        return self.output_rates

    def _update_features(self, where, g, share, lr, t):
        gpu = multi_row_kernels()
        device.launch_kernel(
            gpu.cuda_learn_multi, g.size, self._spec, self.weights, self.rate_factors, where, g, share, lr, t
        )
        if not isinstance(self.weights.last_update, tuple):
            device.launch_kernel(gpu.set_last_updates, where.size, self._spec, self.weights.last_update, where, t + 1)


def learn_on_device(trainer, X, y, weight, order, loss_sums):
    """Train on the rows of a chunk on the device; return whether to continue."""
    model = trainer.model
    kind = DeviceTrainer if isinstance(model.parameters, SingleOutput) else MultiOutputDeviceTrainer
    with device.on_stream([]):
        learner = kind(model, X, y, weight, order)
        trainer.start_clock()
        n_batches, number = -(-learner.active_rows.size // model.batch_size), 0

        def learn_slice(position, stop):
            nonlocal number
            before = position
            while position < stop and number < n_batches:
                position, number = learner.learn_batch(number), number + 1
            position = order.size if number == n_batches else position
            model.n_seen += position - before
            learner.collect_losses(loss_sums)
            return position

        should_continue = trainer.run_slices(order.size, learn_slice, learner.copy_to_host)
        if should_continue:
            learner.copy_to_host()
        return should_continue
