"""Training and prediction on CSR rows in GPU memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _csr
from .._csr import as_csr, sum_duplicates
from ..cuda import arrays
from ..optim.device_gradients import list_workspace, sort_indices
from ..optim.device_kernels import sparse_kernels as sparse_gradient_kernels
from ..optim.state import init
from ..records.group_penalties import is_group_penalty
from ..records.rules import has_row_step
from ..records.schedules import at
from .kernels.rows import Rows, Weights
from .parameters import SingleOutput

if TYPE_CHECKING:
    import numpy.typing as npt


def row_kernels():
    """Return the CUDA kernels for one output."""
    arrays.import_cuda()
    from .kernels import cuda_rows

    return arrays.with_disk_cache(cuda_rows)


def multi_row_kernels():
    """Return the CUDA kernels for several outputs."""
    arrays.import_cuda()
    from .kernels import cuda_multi_rows

    return arrays.with_disk_cache(cuda_multi_rows)


class DeviceRows:
    """CSR rows in GPU memory; made by `to_device`.

    Attributes
    ----------
    shape : tuple
    dtype : dtype
    indptr, indices, data : device arrays
    lengths : ndarray
        Number of stored values of each row, on the host.

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
        self.indptr, self.indices, self.data = map(arrays.to_device_array, (X.indptr, X.indices, X.data))

    def require_dtype(self, dtype: np.dtype) -> DeviceRows:
        """Return the rows, which must have the precision `dtype`."""
        if self.dtype != dtype:
            raise TypeError(f"X: has dtype {self.dtype} on the device; must be {dtype}, as of to_device(X, {dtype})")
        return self

    def __getitem__(self, rows):
        raise ValueError(
            "X: rows on a device cannot be selected, as early_stopping does; hold out rows before to_device"
        )

    def decision_values(self, coef: np.ndarray, intercept: Any) -> Any:
        """Return coef·x + intercept of each row as a device array, of shape (n,) or (n, n_outputs) as `coef`."""
        if self.shape[1] > coef.shape[0]:
            raise ValueError(f"X: got {self.shape[1]} columns; the model has {coef.shape[0]} features")
        self.require_dtype(coef.dtype)
        out = arrays.empty((self.shape[0], *coef.shape[1:]), self.dtype)
        csr_arrays = (self.indptr, self.indices, self.data)
        w, flat = arrays.to_device_array(coef.reshape(-1)), arrays.flat_view(out)
        if coef.ndim == 1:
            arrays.launch_kernel(
                row_kernels().decision_values,
                out.size * row_kernels().THREADS_PER_ROW,
                *csr_arrays,
                w,
                self.dtype.type(intercept),
                out,
            )
        else:
            gpu = multi_row_kernels()
            weights = Weights(w, (), (), arrays.to_device_array(intercept), ())
            arrays.launch_kernel(
                gpu.multi_scores, flat.size, gpu.CAUGHT_UP, Rows(*csr_arrays, (), (), ()), weights, 1.0, flat, 0, 0
            )
        return out

    def __repr__(self):
        return f"DeviceRows({self.shape[0]} rows, {self.shape[1]} features, {self.dtype})"


def to_device(X: Any, dtype: npt.DTypeLike | None = None) -> DeviceRows:
    """Copy rows to a CUDA device, for `fit_linear` with ``batch_size`` and for predictions.

    Parameters
    ----------
    X : sparse matrix or array of shape (n, n_features)
        Indices must be in range and values finite.  Duplicate entries of a row are summed.
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
    Training on a device does not support normalised or importance-weight-aware updates, and group penalties.
    A batch takes memory for its stored values times the number of outputs of the model.

    Examples
    --------
    >>> import numpy as np
    >>> from adagrad_nb import fit_linear, has_cuda, to_device
    >>> X, y = np.eye(4), np.array([0, 1, 0, 1])
    >>> if has_cuda():
    ...     X = to_device(X)
    >>> model = fit_linear(X, y, lr=0.5, batch_size=2, passes=20)
    >>> model.progressive_loss > 0.5, bool(model.mean_loss(np.eye(4), y) < 0.3)
    (True, True)
    """
    X = as_csr(X, dtype)
    invalid = np.flatnonzero((X.indices < 0) | (X.indices >= X.shape[1]) | ~np.isfinite(X.data))
    if invalid.size:
        _csr.raise_for_row(X, int(np.searchsorted(X.indptr, invalid[0], "right")) - 1)
    if not X.has_canonical_format:
        X = sum_duplicates(X)
    with arrays.on_stream([]):
        return DeviceRows(X)


def _check_device(model):
    """Raise ValueError for options that training on a device does not support."""
    if is_group_penalty(model.parameters.state.penalty):
        raise ValueError(
            f"penalty: got {model.parameters.state.penalty!r}, a group penalty, which training on a device does not "
            "support; use L1 there, or train on the host"
        )
    if model.is_searching:
        raise ValueError("lr: training on a device does not support a search over learning rates; use one rate")
    rule = model.parameters.state.rule
    if has_row_step(rule):
        raise ValueError(f"rule: training on a device does not support {type(rule).__name__}; use Adagrad(…)")
    if model.normalized or model.invariant:
        option = "normalized" if model.normalized else "invariant"
        raise ValueError(
            f"{option}: got True, which makes one update for each row; training on a device makes one for each batch, "
            "use False"
        )


def _upload_flat(values):
    """Return flat copies on the device of an array, or of the arrays of a tuple or record; numbers stay unchanged."""
    if isinstance(values, tuple):
        copies = map(_upload_flat, values)
        return type(values)(*copies) if hasattr(values, "_fields") else tuple(copies)
    return arrays.to_device_array(values.reshape(-1)) if isinstance(values, np.ndarray) else values


def _download(values, copies):
    """Write copies on the device to the arrays of a tuple or record."""
    for value, copy in zip(values, copies, strict=True):
        if isinstance(value, tuple):
            _download(value, copy)
        elif isinstance(value, np.ndarray):
            value[...] = arrays.to_host(copy).reshape(value.shape)


class DeviceTrainer:
    """Weights of a model with one output on the device, in training on one chunk."""

    n_outputs = 1  # weights of a feature

    def __init__(self, model, X, y, weight, order):
        _check_device(model)
        self.model, self.X = model, X
        self.active_rows = np.flatnonzero(weight[order] != 0)  # batches skip rows of weight zero
        visited = order[self.active_rows]
        spec = model.parameters.spec(order.size)
        self._spec, self.schedule = arrays.to_device_record(spec), spec.schedule
        self.rows = Rows(X.indptr, X.indices, X.data, *map(arrays.to_device_array, (y, weight, visited)))
        self.host_arrays = self._trained_arrays()
        self.weights = _upload_flat(self.host_arrays)
        self.leaf = init(self.weights.bias, model.parameters.state.rule).leaves[0]  # only its workspace is used
        self.precision = self.leaf.precision
        self.value_offsets = np.concatenate([[0], np.cumsum(X.lengths[visited], dtype=np.int64)])
        self.device_offsets = arrays.to_device_array(self.value_offsets)
        self.batch_sums = arrays.full(model.loss_sums.size, 0, np.float64)
        self.bad_row = arrays.full(1, 2**62, np.int64)
        self.order = order

    def _trained_arrays(self):
        """Return the arrays that training changes, on the host."""
        return self.model.parameters.kernel_arrays()

    def _list_workspace(self, name, size, dtype=None):
        """Return workspace for `size` numbers, by default of the precision of the weights."""
        return list_workspace(self.leaf, name, size, dtype or self.precision)

    def learn_batch(self, number):
        """Train on a batch; return the position in the order after it."""
        gpu, sparse, model, n_outputs = row_kernels(), sparse_gradient_kernels(), self.model, self.n_outputs
        size, t = model.batch_size, model.parameters.t
        first = number * size
        count = min(size, self.active_rows.size - first)
        stored = int(self.value_offsets[first + count] - self.value_offsets[first])
        columns = self._list_workspace("columns", stored, np.int64)
        z, losses, g = self._compute_slopes(columns, first, count, t)
        lr, n_rows = self._device_rate(at(self.schedule, t) * 1.0), self.precision.type(count)
        if stored:
            sorted_columns, positions = sort_indices(self.leaf, columns, model.n_features)
            sums, merged = (
                self._list_workspace("sums", stored * n_outputs),
                self._list_workspace("merged", stored, np.int64),
            )
            arrays.launch_kernel(sparse.sum_runs, stored * n_outputs, sorted_columns, positions, g, n_outputs, sums)
            arrays.launch_kernel(sparse.merge_runs, stored * n_outputs, sorted_columns, sums, n_outputs, 0, merged)
            self._update_features(merged, sums, n_rows, lr, t)
        if model.has_intercept:
            arrays.launch_blocks(gpu.learn_bias, n_outputs, self._spec, self.weights, z, n_rows, lr, t)
        arrays.launch_blocks(gpu.add_losses, self.batch_sums.size, self.rows, losses, first, self.batch_sums)
        model.parameters.t = t + 1
        return int(self.active_rows[first + count - 1]) + 1

    def _compute_slopes(self, columns, first, count, t):
        """Return slopes and losses of rows, and the gradients of their stored values, whose columns it writes."""
        gpu = row_kernels()
        z, losses, g = (
            self._list_workspace("z", count),
            self._list_workspace("losses", count),
            self._list_workspace("g", columns.size),
        )
        entries = gpu.DeviceBatch(z, losses, columns, g, self.device_offsets, self.bad_row)
        arrays.launch_kernel(
            gpu.row_slopes, count * gpu.THREADS_PER_ROW, self._spec, self.rows, self.weights, entries, t, first, count
        )
        return z, losses, g

    def _device_rate(self, lr):
        """Return the learning rate as the kernels take it."""
        return self.precision.type(lr)

    def _update_features(self, columns, g, n_rows, lr, t):
        """Update the listed features."""
        arrays.launch_kernel(
            row_kernels().cuda_learn, columns.size, self._spec, self.weights, columns, g, n_rows, lr, t
        )

    def collect_losses(self, loss_sums):
        """Add the losses to the loss sums; raise ValueError if a prediction was not finite."""
        loss_sums += arrays.to_host(self.batch_sums)
        arrays.fill(self.batch_sums, 0)
        bad_row = int(arrays.to_host(self.bad_row)[0])
        if bad_row < 2**62:
            raise ValueError(
                f"X: row {self.order[self.active_rows[bad_row]]} gives a prediction that is not finite; the values or "
                "the learning rate are too large, scale X or use a smaller lr"
            )

    def copy_to_host(self):
        """Copy the trained arrays to the model on the host."""
        _download(self.host_arrays, self.weights)


class MultiOutputDeviceTrainer(DeviceTrainer):
    """Weights of a model with several outputs on the device; those of a feature are adjacent in flat arrays."""

    def __init__(self, model, X, y, weight, order):
        self.n_outputs, self.current_rate = model.parameters.rate_factors.size, None
        super().__init__(model, X, y, weight, order)
        self.rate_factors = arrays.to_device_array(model.parameters.rate_factors)

    def _trained_arrays(self):
        w, s, last_update, bias, bias_s = self.model.parameters.kernel_arrays()
        w, bias = w[:, : self.n_outputs], bias[:, : self.n_outputs]  # without the padding
        s, bias_s = (tuple(array[:, : self.n_outputs] for array in slots) for slots in (s, bias_s))
        return Weights(w, s, last_update, bias, bias_s)

    def _compute_slopes(self, columns, first, count, t):
        gpu, n_outputs = multi_row_kernels(), self.n_outputs
        p, z = (self._list_workspace(name, count * n_outputs) for name in ("p", "z"))
        losses = self._list_workspace("losses", count * (self.batch_sums.size - 1), np.float64)
        g = sparse_gradient_kernels().OuterProductGradient(
            z, self._list_workspace("owner", columns.size, np.int32), self._list_workspace("x", columns.size)
        )
        arrays.launch_kernel(
            gpu.multi_scores, p.size, self._spec, self.rows, self.weights, self.rate_factors, p, t, first
        )
        arrays.launch_kernel(
            gpu.multi_losses_and_slopes, count, self._spec, self.rows, p, z, losses, self.bad_row, n_outputs, first
        )
        arrays.launch_kernel(
            gpu.expand_rows, count * gpu.THREADS_PER_ROW, self.rows, g, columns, self.device_offsets, first, count
        )
        return z, losses, g

    def _device_rate(self, lr):
        if lr != self.current_rate:
            self.current_rate, self.output_rates = (
                lr,
                arrays.to_device_array((self.model.parameters.rate_factors * lr).astype(self.precision)),
            )
        return self.output_rates

    def _update_features(self, columns, g, n_rows, lr, t):
        gpu = multi_row_kernels()
        arrays.launch_kernel(
            gpu.cuda_learn_multi, g.size, self._spec, self.weights, self.rate_factors, columns, g, n_rows, lr, t
        )
        last_update = self.weights.last_update  # an array, or arrays with those of an average; () without lazy updates
        if not isinstance(last_update, tuple) or last_update:
            arrays.launch_kernel(gpu.set_last_updates, columns.size, self._spec, last_update, columns, t + 1)


def learn_on_device(trainer, X, y, weight, order, loss_sums):
    """Train on the rows of a chunk on the device; return whether to continue."""
    model = trainer.model
    kind = DeviceTrainer if isinstance(model.parameters, SingleOutput) else MultiOutputDeviceTrainer
    with arrays.on_stream([]):
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
