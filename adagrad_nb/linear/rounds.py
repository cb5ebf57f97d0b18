"""Rounds of learners that train on partitions of the rows, in one process or in many, and the merge of their changes.

In a round each learner trains on its share of the rows from the same model (`learn_share`).  Its result is a `Change`:
sums over learners, from which the merged model follows.  `add_changes` adds changes in the order of the learners,
`merge_change` computes the merged model at the coordinates that changed, and `apply_merged` returns that model.  The
formulas are those of `kernels.merging`, as for threads.  `plan_rounds` decides which rows a learner gets.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy

from .. import _csr
from .._csr import as_unsigned, sum_duplicates
from ..compiler.jit import compiled_for
from ..io.readers import Chunk
from . import dispatch
from .kernels import merging as kernels
from .kernels.lazy import time_at
from .kernels.rows import Rows
from .kernels.workers import count_round_rows
from .targets import encode_chunk
from .trainer import Trainer, check_finite

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .model import LinearModel

FAN_IN = 8  # changes that one node of the tree adds
SAMPLE_ROWS = 1024  # of a round; with 128, as between threads, a blend of 46 learners of 600 rows is at times far off
MIN_ROUND_VALUES = 2**20  # by default: training on them takes 5 ms, about as long as the messages of a round
MAX_ROUND_GROWTH = 64  # by default: with more, the learners of 2^24 features would begin after too many rows


class Partition(NamedTuple):
    """Rows that stay together, and their name in error messages.

    `columns` is the mapping of a data frame, or None.  `order` are the numbers of shuffled rows, or None.
    """

    name: str
    X: Any
    y: Any
    weight: Any = None
    columns: Any = None
    order: Any = None

    def row_number(self, row: int) -> int:
        """Return the number of a row before the rows were shuffled."""
        return row if self.order is None else int(self.order[row])


class Share(NamedTuple):
    """Rows first, …, end - 1 of a partition."""

    partition: int
    first: int
    end: int


class Round(NamedTuple):
    """The shares of the learners of one round, in the order of the partitions."""

    pass_index: int
    shares: tuple[Share, ...]

    @property
    def n_rows(self) -> int:
        """Number of rows of all shares."""
        return sum(share.end - share.first for share in self.shares)


class Change(NamedTuple):
    """What one or several learners changed in a round.  All but the counters are sums or lists over the learners.

    Attributes
    ----------
    columns : ndarray of unsigned integers, or None
        Coordinates that changed, in increasing order; None for all.
    growth, terms : ndarray of shape (n_slots, n) and (n_terms, n)
        Growth of the accumulators, and the terms of `kernels.merging`, of these coordinates.
    n_updates, bias, bias_s : ndarray of shape (n_learners,), (n_learners, 1) and (n_slots, n_learners, 1)
        Number of updates, intercept and its accumulators of each learner.
    n_seen : int
    loss_sums : ndarray of shape (2,)
        Losses of the rows before their updates, and weights.
    sample : Rows
        Some of the rows, for the blend.
    n_sent : int
        Bytes of the changes of the learners and of their sums.
    """

    columns: Any
    growth: Any
    terms: Any
    n_updates: Any
    bias: Any
    bias_s: Any
    n_seen: int
    loss_sums: Any
    sample: Any
    n_sent: int

    @property
    def n_bytes(self) -> int:
        """Number of bytes of the arrays."""
        return _count_bytes(self)


class Merged(NamedTuple):
    """The merged model after a round, at the coordinates that changed.

    `columns`, `bias` and `bias_s` are as in `Change`, for one model; `w` and `s` are the weights and accumulators.
    `loss_sums` are those of the rows of the round.
    """

    columns: Any
    w: Any
    s: Any
    bias: Any
    bias_s: Any
    t: int
    n_seen: int
    loss_sums: Any
    is_first_pass: bool
    n_sent: int

    @property
    def n_bytes(self) -> int:
        """Number of bytes of the arrays."""
        return _count_bytes(self)


def _count_bytes(record):
    return sum(array.nbytes for array in _arrays(record))


def _arrays(value):
    """Yield the arrays in nested tuples."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from _arrays(part)


# --- plan ------------------------------------------------------------------------------------------------------------


def plan_rounds(
    sizes: Sequence[int],
    passes: int,
    n_serial: int,
    round_growth: float,
    max_rows: float,
    batch_size: int = 1,
    t: int = 0,
    serial_rows: int = 1,
) -> Iterator[Round]:
    """Yield the rounds of training on partitions with `sizes` rows after t updates.

    The first `n_serial` updates are made by one learner at a time, in the order of the partitions.  Each gives an equal
    number of rows, but at least `serial_rows`, so that all have rows left for the rounds.  Then a round has as many
    rows as a `round_growth`-th of the updates so far, at most `max_rows`, and each partition gives rows in
    proportion to those that it has left.  A round ends with its pass.
    """
    for pass_index in range(passes):
        begun = [0] * len(sizes)
        while t < n_serial and sum(begun) < sum(sizes):
            n_left = sum(size > n for size, n in zip(sizes, begun, strict=True))
            longest = max(-(-(n_serial - t) * batch_size // n_left), serial_rows)
            for k, size in enumerate(sizes):
                n = min(size - begun[k], longest, max(n_serial - t, 0) * batch_size)
                if n:
                    yield Round(pass_index, (Share(k, begun[k], begun[k] + n),))
                    begun[k], t = begun[k] + n, t + -(-n // batch_size)
        rest = [size - n for size, n in zip(sizes, begun, strict=True)]
        position, n_rows = 0, sum(rest)
        while position < n_rows:
            end = min(position + int(count_round_rows(t, round_growth, max_rows)) * batch_size, n_rows)
            ends = ((n * position // n_rows, n * end // n_rows) for n in rest)
            shares = tuple(Share(k, begun[k] + a, begun[k] + b) for k, (a, b) in enumerate(ends) if b > a)
            if shares:
                yield Round(pass_index, shares)
            position, t = end, t + max(end - position, 1) // batch_size


def default_round_growth(n_partitions: int) -> int:
    """Return the divisor of the updates so far that gives the rows of a round.

    More learners change the same weights more at once.  With a tenth of the updates a round, 16 learners had a test
    loss 3 % above that of one on 1.6 million rows of text, and 1 % with a 40th.
    """
    return min(max(dispatch.ROUND_GROWTH, 4 * n_partitions), MAX_ROUND_GROWTH)


def count_shortest_rows(n_rows: int, n_values: int) -> int:
    """Return the number of rows that have `MIN_ROUND_VALUES` values."""
    return math.ceil(MIN_ROUND_VALUES * n_rows / max(n_values, 1))


# --- one learner -----------------------------------------------------------------------------------------------------


def learn_share(
    model: LinearModel,
    partition: Partition,
    share: Share,
    pass_index: int,
    n_round_rows: int,
    class_weight: Any = None,
) -> Change:
    """Train on a share of a partition, from `model`, which does not change; return the change.

    Raises
    ------
    ValueError, TypeError
        For invalid rows; the message names the partition and the row in it.
    """
    first, end = share.first, share.end
    X = _slice_rows(partition.X, first, end)
    y = partition.y[first:end]
    weight = None if partition.weight is None else partition.weight[first:end]
    trained, chunk = model.copy(), Chunk(X, y, weight)
    trained.parameters.resize(max(X.shape[1], model.n_features))
    trained.expects_known_rows = pass_index > 0
    trainer = Trainer(
        trained, {}, dtype=None, classes=None, class_weight=class_weight, threads=1, early_stopping=None,
        callback=None, is_in_place=True,
    )  # fmt: skip
    trainer.baseline = None
    before = trained.loss_sums.copy()
    try:
        trainer.fit_chunk(chunk, 0, None, 0)
        check_finite(trained)
        sample = _sample_rows(chunk, model, class_weight, n_round_rows)
    except _csr.RowError as error:
        raise _named(partition.name, error.renumbered(partition.row_number(first + error.row))) from None
    except (ValueError, TypeError) as error:
        raise _named(partition.name, error) from None
    loss_sums = trained.loss_sums - before + trainer.later_sums
    return _change_between(model, trained, X, loss_sums, sample)


def _named(name, error):
    """Return the same error with the name of the partition."""
    return type(error)(f"{name}: {error}")


def _slice_rows(X, first, end):
    """Return rows of a CSR matrix that share its arrays."""
    a, b = X.indptr[first], X.indptr[end]
    parts = X.data[a:b], X.indices[a:b], X.indptr[first : end + 1] - a
    return scipy.sparse.csr_array(parts, shape=(end - first, X.shape[1]))


def _sample_rows(chunk, model, class_weight, n_round_rows):
    """Return about the share of this chunk in `SAMPLE_ROWS` rows of a round."""
    stride = max(1, n_round_rows // SAMPLE_ROWS)
    rows = np.arange(0, chunk.X.shape[0] if chunk.X.shape[0] < n_round_rows else 0, stride)  # a merge of one needs none
    X = sum_duplicates(chunk.X[rows].astype(model.dtype))
    weight = None if chunk.weight is None else chunk.weight[rows]
    y, weight, _ = encode_chunk(Chunk(X, np.asarray(chunk.y)[rows], weight), rows.size, model, class_weight)
    return Rows(X.indptr, as_unsigned(X.indices), X.data, y, weight, np.arange(rows.size))


def _change_between(start, trained, X, loss_sums, sample):
    """Return the change of a learner."""
    old, new = start.parameters, trained.parameters
    n_slots, n_updates = len(new.state.slots[0]), new.t - old.t
    spec = old.spec(n_updates)
    columns = _changed_columns(old, new, X)
    n_terms = kernels.count_terms(old.state.rule, not isinstance(old.last_update, tuple))
    size, dense = columns.size, new.n_features
    itemsize = new.dtype.itemsize * (n_slots + n_terms)
    is_dense = size * (itemsize + columns.itemsize) >= dense * itemsize
    if is_dense:
        columns = _all_columns(dense)
    growth, terms = (np.empty((n, columns.size), new.dtype) for n in (n_slots, n_terms))
    compiled_for(kernels.sum_changes, spec)(
        spec, old.kernel_arrays(), new.kernel_arrays(), columns, (old.t, n_updates), tuple(growth), tuple(terms)
    )
    bias_s = np.stack(new.bias_state.slots[0])
    change = Change(
        None if is_dense else columns, growth, terms, np.array([n_updates]), new.bias.reshape(1, 1).copy(),
        bias_s.reshape(n_slots, 1, 1), trained.n_seen - start.n_seen, loss_sums, sample, 0,
    )  # fmt: skip
    return change._replace(n_sent=change.n_bytes)


def _changed_columns(old, new, X):
    """Return the coordinates whose weight or accumulators changed, or those of the rows if these are few."""
    if X.nnz * 8 < new.n_features:
        changed = np.unique(X.indices)
    else:
        is_changed = new.weights != old.weights
        for a, b in zip(new.state.slots[0], old.state.slots[0], strict=True):
            is_changed |= a != b
        changed = np.flatnonzero(is_changed)
    return as_unsigned(changed.astype(np.int32 if new.n_features < 2**31 else np.int64))


# --- merge -----------------------------------------------------------------------------------------------------------


def add_changes(changes: Sequence[Change], n_features: int) -> Change:
    """Return the sum of changes, in their order."""
    first = changes[0]
    if len(changes) == 1:
        return first
    columns = _union([change.columns for change in changes], n_features)
    all_columns = _all_columns(n_features) if columns is None else columns
    n = all_columns.size
    growth, terms = (np.zeros((part.shape[0], n), part.dtype) for part in (first.growth, first.terms))
    for change in changes:
        for values, totals in ((change.growth, growth), (change.terms, terms)):
            if change.columns is None or change.columns.size == n:
                totals += values
            else:
                kernels.add_at_columns(all_columns, change.columns, values, totals)
    total = Change(
        columns, growth, terms, np.concatenate([change.n_updates for change in changes]),
        np.concatenate([change.bias for change in changes]),
        np.concatenate([change.bias_s for change in changes], axis=1),
        sum(change.n_seen for change in changes), sum(change.loss_sums for change in changes),
        _stack_samples([change.sample for change in changes]), sum(change.n_sent for change in changes),
    )  # fmt: skip
    return total._replace(n_sent=total.n_sent + total.n_bytes)


def add_in_tree(changes: Sequence[Change], n_features: int) -> Change:
    """Return the sum of changes in the order of the tree, as nodes in other processes compute it."""
    while len(changes) > 1:
        changes = [add_changes(part, n_features) for part in in_groups(changes)]
    return changes[0]


def in_groups(items: Sequence) -> list:
    """Return groups of `FAN_IN` neighbours, the children of the nodes of one level of the tree."""
    return [items[k : k + FAN_IN] for k in range(0, len(items), FAN_IN)]


def _union(lists, n_features):
    """Return the union of sorted lists of columns; None stands for all."""
    if any(columns is None for columns in lists):
        return None
    if sum(columns.size for columns in lists) * 8 < n_features:
        return np.unique(np.concatenate(lists))
    is_member = np.zeros(n_features, bool)
    for columns in lists:
        is_member[columns] = True
    return np.flatnonzero(is_member).astype(lists[0].dtype)


def _stack_samples(samples):
    """Return the rows of several samples."""
    offsets = itertools.accumulate((int(sample.indptr[-1]) for sample in samples), initial=0)
    indptr = np.concatenate([[0], *(s.indptr[1:] + offset for s, offset in zip(samples, offsets, strict=False))])
    y, weight = (np.concatenate([getattr(sample, name) for sample in samples]) for name in ("y", "weight"))
    indices, data = (np.concatenate([getattr(sample, name) for sample in samples]) for name in ("indices", "data"))
    return Rows(indptr.astype(samples[0].indptr.dtype), indices, data, y, weight, np.arange(y.size))


def merge_change(model: LinearModel, change: Change, is_first_pass: bool = True, rule: str = "blend") -> Merged:
    """Return the merged model at the coordinates that changed; `rule` is as in `merge`."""
    parameters = model.parameters
    n, dtype, t = int(change.n_updates.sum()), parameters.dtype, parameters.t
    change = _with_columns(change, change.sample.indices, model.n_features)
    columns = _all_columns(model.n_features) if change.columns is None else change.columns
    spec, weights = parameters.spec(n), parameters.kernel_arrays()
    weights = weights._replace(bias_s=tuple(slot.copy() for slot in weights.bias_s))
    count = change.sample.y.size
    results = dispatch.allocate_worker_results(parameters, columns.size, 0, count)._replace(
        growth=tuple(change.growth.copy()), n_updates=change.n_updates, bias=change.bias, bias_s=tuple(change.bias_s)
    )
    compiled_for(kernels.finish_sums, spec)(spec, weights, results, columns, tuple(change.terms), t)
    b = 1 if rule == "sum" else 0
    if rule == "blend" and change.n_updates.size > 1:
        rows = change.sample
        if change.columns is not None:
            rows = rows._replace(indices=np.searchsorted(columns, rows.indices).astype(columns.dtype))
        b = compiled_for(kernels.choose_blend, spec)(spec, rows, results, count)
    compiled_for(kernels.blend_columns, spec)(spec, results, columns, dtype.type(b))
    bias = results.bias_ends[:1] + dtype.type(b) * results.bias_ends[1]
    return Merged(
        change.columns, results.average, np.stack(results.growth), bias, np.stack(weights.bias_s), t + n,
        model.n_seen + change.n_seen, change.loss_sums, is_first_pass, change.n_sent,
    )  # fmt: skip


def _all_columns(n_features):
    return as_unsigned(np.arange(n_features, dtype=np.int32 if n_features < 2**31 else np.int64))


def _with_columns(change, columns, n_features):
    """Return a change with entries for other coordinates too, which did not change."""
    if change.columns is None:
        return change
    union = _union([change.columns, columns.astype(change.columns.dtype)], n_features)
    if union.size == change.columns.size:
        return change
    at = np.searchsorted(union, change.columns)
    growth, terms = (np.zeros((part.shape[0], union.size), part.dtype) for part in (change.growth, change.terms))
    growth[:, at], terms[:, at] = change.growth, change.terms
    return change._replace(columns=union, growth=growth, terms=terms)


def apply_merged(model: LinearModel, merged: Merged) -> LinearModel:
    """Return the merged model after a round that began with `model`, which does not change."""
    new = model.copy()
    parameters, n = new.parameters, merged.t - model.parameters.t
    lazy = parameters.spec(n).lazy
    at = slice(None) if merged.columns is None else merged.columns
    parameters.weights[at] = merged.w
    for slots, values in ((parameters.state.slots[0], merged.s), (parameters.bias_state.slots[0], merged.bias_s)):
        for slot, value in zip(slots, values, strict=True):
            slot[at if values is merged.s else slice(None)] = value
    if not isinstance(parameters.last_update, tuple):
        parameters.last_update[at] = time_at(lazy, merged.t)
    parameters.bias[:] = merged.bias
    parameters.t, new.n_seen = merged.t, merged.n_seen
    if merged.is_first_pass:
        new.loss_sums += merged.loss_sums
    return new


def train_round(model: LinearModel, partitions: Sequence[Partition], plan: Round, **options: Any) -> LinearModel:
    """Return the model after a round, with all learners in this process: the same bits as in many processes."""
    n_rows = plan.n_rows
    changes = [
        learn_share(model, partitions[share.partition], share, plan.pass_index, n_rows, **options)
        for share in plan.shares
    ]
    change = add_in_tree(changes, model.n_features)
    return apply_merged(model, merge_change(model, change, plan.pass_index == 0))
