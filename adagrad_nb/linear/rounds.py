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
from ..records.multiclass_losses import is_multi_output_loss
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
        Features with weights or accumulators that changed, in increasing order; None for all.
    growth, terms : ndarray of shape (n_slots, n_outputs, n) and (n_terms, n_outputs, n)
        Growth of the accumulators, and the terms of `kernels.merging`, of these features.
    n_updates : ndarray of shape (n_learners,)
        Number of updates of each learner.
    bias, bias_s : ndarray of shape (n_learners, n_outputs) and (n_slots, n_learners, n_outputs)
        Intercepts of each learner, and their accumulators.
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
    """The merged model after a round, at the features that changed.

    `columns`, `bias` and `bias_s` are as in `Change`, for one model.  `w` and `s` are the weights, of shape
    (n_outputs, n), and the accumulators.
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
    return change_between(model, trained, X, loss_sums, sample)


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


def change_between(start: LinearModel, trained: LinearModel, X: Any, loss_sums: Any, sample: Rows) -> Change:
    """Return the change of a learner that was trained on the rows X, or on unknown rows if X is None."""
    old, new = start.parameters, trained.parameters
    olds, news = old.output_arrays(), new.output_arrays()
    n_slots, n_updates = len(news[0].s), new.t - old.t
    spec = _without_loss(old.spec(n_updates))
    columns = _changed_columns(olds, news, X)
    n_terms = kernels.count_terms(old.state.rule, not isinstance(old.last_update, tuple))
    size, dense = columns.size, new.n_features
    itemsize = new.dtype.itemsize * (n_slots + n_terms) * len(news)
    is_dense = size * (itemsize + columns.itemsize) >= dense * itemsize
    if X is None:  # a change that is not sent: all features are faster than a quarter of them
        is_dense = size * 4 >= dense
    if is_dense:
        columns = _all_columns(dense)
    growth, terms = (np.empty((n, len(news), columns.size), new.dtype) for n in (n_slots, n_terms))
    kernel = compiled_for(kernels.sum_changes, spec)
    for c, (before, after) in enumerate(zip(olds, news, strict=True)):
        kernel(spec, before, after, columns, (old.t, n_updates), tuple(growth[:, c]), tuple(terms[:, c]))
    bias, bias_s = np.concatenate([arrays.bias for arrays in news]), _bias_slots(news)
    change = Change(
        None if is_dense else columns, growth, terms, np.array([n_updates]), bias[None], bias_s[:, None],
        trained.n_seen - start.n_seen, loss_sums, sample, 0,
    )  # fmt: skip
    return change._replace(n_sent=change.n_bytes)


def _without_loss(spec):
    """Return a spec for kernels that do not read the loss, which are then compiled once for all losses."""
    return spec._replace(loss=())


def _bias_slots(outputs):
    """Return a copy of the accumulators of the intercepts, of shape (n_slots, n_outputs)."""
    return np.stack([np.concatenate(slots) for slots in zip(*(arrays.bias_s for arrays in outputs), strict=True)])


def _changed_columns(olds, news, X):
    """Return the features with a weight or accumulator that changed, or those of the rows if that is faster."""
    n_features = news[0].w.size
    if X is not None and X.nnz * 8 < n_features:
        changed = np.unique(X.indices)
    else:
        is_changed = np.zeros(n_features, bool)
        if X is not None and len(news) > 1:  # to compare 20 outputs takes as long as all else
            is_changed[X.indices] = True
        else:
            for old, new in zip(olds, news, strict=True):
                for a, b in zip((new.w, *new.s), (old.w, *old.s), strict=True):
                    is_changed |= a != b
        changed = np.flatnonzero(is_changed)
    return as_unsigned(changed.astype(np.int32 if n_features < 2**31 else np.int64))


# --- merge -----------------------------------------------------------------------------------------------------------


def add_changes(changes: Sequence[Change], n_features: int) -> Change:
    """Return the sum of changes, in their order."""
    first = changes[0]
    if len(changes) == 1:
        return first
    columns = _union([change.columns for change in changes], n_features)
    all_columns = _all_columns(n_features) if columns is None else columns
    n = all_columns.size
    growth, terms = (np.zeros((*part.shape[:2], n), part.dtype) for part in (first.growth, first.terms))
    for change in changes:
        for values, totals in ((change.growth, growth), (change.terms, terms)):
            if change.columns is None or change.columns.size == n:
                totals += values
            else:
                kernels.add_at_columns(all_columns, change.columns, _as_rows(values), _as_rows(totals))
    total = Change(
        columns, growth, terms, np.concatenate([change.n_updates for change in changes]),
        np.concatenate([change.bias for change in changes]),
        np.concatenate([change.bias_s for change in changes], axis=1),
        sum(change.n_seen for change in changes), sum(change.loss_sums for change in changes),
        _stack_samples([change.sample for change in changes]), sum(change.n_sent for change in changes),
    )  # fmt: skip
    return total._replace(n_sent=total.n_sent + total.n_bytes)


def _as_rows(array):
    """Return a view with one row for each slot or term of each output."""
    return array.reshape(array.shape[0] * array.shape[1], array.shape[2])


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
    """Return the merged model at the features that changed; `rule` is as in `merge`.

    The merge of a coordinate does not depend on others, so that each output is merged by itself.  The blend has one b
    for all outputs.
    """
    parameters, outputs = model.parameters, model.parameters.output_arrays()
    n, dtype, t = int(change.n_updates.sum()), parameters.dtype, parameters.t
    change = _with_columns(change, change.sample.indices, model.n_features)
    columns = _all_columns(model.n_features) if change.columns is None else change.columns
    bias_s, s = _bias_slots(outputs), change.growth.copy()
    full_spec = parameters.spec(n)
    spec = _without_loss(full_spec)
    ends, bias_ends = np.empty((2, len(outputs), columns.size), dtype), np.empty((len(outputs), 2), dtype)
    scores = np.empty((2, change.sample.y.size + 2, len(outputs)), dtype)
    results = [
        kernels.WorkerResults(
            (), (), (), change.bias[:, c : c + 1], tuple(change.bias_s[..., c : c + 1]), change.n_updates,
            ends[0, c], ends[1, c], tuple(s[:, c]), bias_ends[c], scores[..., c],
        )
        for c in range(len(outputs))
    ]  # fmt: skip
    finish = compiled_for(kernels.finish_sums, spec)
    for c, (weights, result) in enumerate(zip(outputs, results, strict=True)):
        weights = weights._replace(bias_s=tuple(bias_s[:, c : c + 1]))
        finish(spec, weights, result, columns, tuple(change.terms[:, c]), t)
    b = 1 if rule == "sum" else 0
    if rule == "blend" and change.n_updates.size > 1:
        rows = change.sample
        if change.columns is not None:
            rows = rows._replace(indices=np.searchsorted(columns, rows.indices).astype(columns.dtype))
        for result in results:
            kernels.predict_rows(rows, result)
        of_all = results[0]._replace(sample_scores=scores) if is_multi_output_loss(model.loss) else results[0]
        b = compiled_for(kernels.choose_blend, full_spec)(full_spec, rows, of_all)
    blend = compiled_for(kernels.blend_columns, spec)
    for result in results:
        blend(spec, result, columns, dtype.type(b))
    bias = bias_ends[:, 0] + dtype.type(b) * bias_ends[:, 1]
    return Merged(
        change.columns, ends[0], s, bias, bias_s, t + n, model.n_seen + change.n_seen, change.loss_sums, is_first_pass,
        change.n_sent,
    )  # fmt: skip


def _all_columns(n_features):
    return as_unsigned(np.arange(n_features, dtype=np.int32 if n_features < 2**31 else np.int64))


def _with_columns(change, columns, n_features):
    """Return a change with entries for other features too, which did not change."""
    if change.columns is None:
        return change
    union = _union([change.columns, columns.astype(change.columns.dtype)], n_features)
    if union.size == change.columns.size:
        return change
    at = np.searchsorted(union, change.columns)
    growth, terms = (np.zeros((*part.shape[:2], union.size), part.dtype) for part in (change.growth, change.terms))
    growth[..., at], terms[..., at] = change.growth, change.terms
    return change._replace(columns=union, growth=growth, terms=terms)


def apply_merged(model: LinearModel, merged: Merged) -> LinearModel:
    """Return the merged model after a round that began with `model`, which does not change."""
    new = model.copy()
    parameters, n = new.parameters, merged.t - model.parameters.t
    lazy = parameters.spec(n).lazy
    at = slice(None) if merged.columns is None else merged.columns
    for c, arrays in enumerate(parameters.output_arrays()):
        arrays.w[at], arrays.bias[:] = merged.w[c], merged.bias[c]
        for k, (slot, bias_slot) in enumerate(zip(arrays.s, arrays.bias_s, strict=True)):
            slot[at], bias_slot[:] = merged.s[k, c], merged.bias_s[k, c]
    if not isinstance(parameters.last_update, tuple):
        parameters.last_update[at] = time_at(lazy, merged.t)
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
