"""fit_linear: rounds of training on the partitions of a Dask cluster."""

from __future__ import annotations

import collections
import os
import time
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy

from .. import _check
from ..io import archive, schema
from ..io.readers import read_svmlight
from ..linear import dispatch, rounds
from ..linear.checkpoint import check_same_options
from ..linear.model import LinearModel, continue_from
from ..linear.model_file import model_from_content
from ..linear.model_options import check_options
from ..linear.named_rows import common_columns
from ..linear.targets import BinaryLabels, check_class_weight
from ..linear.trainer import check_finite, new_model
from ..records.losses import LOSSES, target_type
from . import worker
from .partitions import MANY_LABELS, check_client, partitions_of, summarize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from ..linear.rounds import Round

FILE_KIND = "distributed training checkpoint"
IN_FLIGHT = 3  # rounds that are submitted before the first of them is finished, so that no worker waits for the client
MAX_ROWS = 2**62  # of a round: there is no limit
MANY_ROUNDS = 256  # between two complete models


class RoundProgress(NamedTuple):
    """State of the training that `fit_linear` passes to its callback after each round.

    Attributes
    ----------
    n_rounds : int
        Number of rounds so far.
    n_seen : int
        Number of rows so far, over all passes.
    progressive_loss : float
        Mean loss of the rows of the first pass, each before a learner is trained on it.
    recent_loss : float
        Mean loss of the rows of this round, in any pass.
    seconds : float
        Time since the start of the first round.
    passes : int
        Number of complete passes.
    n_learners : int
        Number of partitions that gave rows in this round.
    bytes_sent : int
        Bytes of the changes of all learners, and of their sums in the tree, in this round.
    bytes_merged : int
        Bytes of the merged coordinates, which each worker gets once.
    """

    n_rounds: int
    n_seen: int
    progressive_loss: float
    recent_loss: float
    seconds: float
    passes: int
    n_learners: int
    bytes_sent: int
    bytes_merged: int


def fit_linear(
    client: Any,
    X: Any,
    y: Any = None,
    *,
    sample_weight: Any = None,
    loss: str | tuple[Any, ...] | None = None,
    penalty: tuple[Any, ...] | None = None,
    rule: tuple[Any, ...] | None = None,
    lr: float | str | tuple[Any, ...] | None = "auto",
    passes: int = 1,
    intercept: bool | None = None,
    model: LinearModel | None = None,
    batch_size: int | None = None,
    invariant: bool | None = None,
    dtype: npt.DTypeLike | None = None,
    classes: Sequence[Any] | None = None,
    class_weight: dict[Any, float] | None = None,
    shuffle: bool = False,
    rng: int | np.random.Generator | None = None,
    round_growth: int | None = None,
    callback: Callable[[RoundProgress], Any] | None = None,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_rounds: int = 10,
    resume: str | os.PathLike | None = None,
    reader: Callable[..., Any] = read_svmlight,
    reader_options: dict[str, Any] | None = None,
) -> LinearModel:
    """Train a linear model on the partitions of a Dask collection, in rounds.

    In each round every partition trains on its share of the rows from the same model, and the results are merged with
    the blend of `merge`.  At first one partition trains at a time.  The result depends on the rows, the partitions and
    the options.  It does not depend on the number of workers, their timing, or workers that are lost.

    Parameters
    ----------
    client : distributed.Client
        Client of the cluster, synchronous.
    X : Dask array or data frame, Dask bag of Chunk, file name or pattern, or list of them
        The rows.  Blocks of arrays are dense or `scipy.sparse`; an array is rechunked to blocks of whole rows.  Data
        frames have columns of numbers.  Each file is one partition, which a worker reads with `reader`.  Partitions are
        kept in the memory of the workers, as CSR matrices.
    y, sample_weight : Dask array or series, or array_like if the sizes of the blocks of X are known
        Targets, and weights of the rows, with the partitions of X.  None for bags and files.
    loss, penalty, rule, lr, intercept, batch_size, invariant, dtype, classes, class_weight
        As in `adagrad_nb.fit_linear`, for labels or numbers.  The rule must have accumulators that add up, such as
        `Adagrad`, `RDA` and `FTRL`, and the penalty is of single weights.  "auto" is 0.5, or 0.1 for numbers, whose
        scale should be about 1.  Without `classes` the labels are those of all partitions.
    passes : int, default 1
        Number of passes over the rows.
    model : LinearModel, optional
        Model to continue from; it is not changed.
    shuffle : bool, default False
        Whether the rows of each partition are shuffled, once before the first pass.
    rng : int or numpy.random.Generator, optional
        Seed or generator for `shuffle`.  A shuffled training needs a seed to be resumed.
    round_growth : int, optional
        A round has as many rows as a `round_growth`-th of the updates so far.  By default four times the number of
        partitions, at least 10 and at most 64, and the rounds begin when each has a million values, because the
        messages of a shorter round take longer than its training.  A smaller number makes longer rounds: less is sent,
        and the loss is higher.
    callback : callable, optional
        Called with a `RoundProgress` after each round.  If it raises StopIteration, training ends and the merged model
        of this round is returned.
    checkpoint : path, optional
        File to which the client saves the merged model, replaced atomically.
    checkpoint_rounds : int, default 10
        Number of rounds between two checkpoints.  The last round is saved too, and so is an interrupted training.
    resume : path, optional
        File of `checkpoint` from which training goes on, with the same rows, partitions and arguments.  The result is
        bit-equal to that of the uninterrupted training.
    reader : callable, default read_svmlight
        Function of a file name that returns an iterable of `Chunk`.  Workers must be able to import it.
    reader_options : dict, optional
        Keyword arguments of `reader`.

    Returns
    -------
    LinearModel

    Raises
    ------
    TypeError, ValueError
        For invalid data or options.  For a malformed row the message names the partition or file, and the row.

    See Also
    --------
    adagrad_nb.fit_linear : Training on one machine.  It trains on some million rows a second.

    References
    ----------
    .. [1] A. Agarwal, O. Chapelle, M. Dudík, J. Langford, "A Reliable Effective Terascale Linear Learning System",
       JMLR 15 (2014) 1111-1133.
    """
    check_client(client)
    options = check_options(
        loss, lr, penalty=penalty, rule=rule, intercept=intercept, batch_size=batch_size, invariant=invariant
    )
    _check.positive_count("passes", passes)
    _check.positive_count("checkpoint_rounds", checkpoint_rounds)
    if round_growth is not None:
        _check.positive_count("round_growth", round_growth)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback: got {callback!r}; must be callable")
    if model is not None and not isinstance(model, LinearModel):
        raise TypeError(f"model: got {type(model).__name__}; must be a LinearModel")
    class_weight = check_class_weight(class_weight, False)
    if checkpoint is not None and not os.path.isdir(os.path.dirname(os.path.abspath(checkpoint))):
        raise FileNotFoundError(
            f"checkpoint: the directory of {os.fspath(checkpoint)!r} does not exist; create it first"
        )
    if checkpoint is not None and os.path.isdir(checkpoint):
        raise IsADirectoryError(f"checkpoint: {os.fspath(checkpoint)!r} is a directory; pass the name of a file")
    if model is not None:
        dtype = model.dtype if dtype is None else dtype
    _check.boolean("shuffle", shuffle)
    seed = _check.resolve_seed(rng) if shuffle else None
    partitions = client.compute(partitions_of(X, y, sample_weight, dtype, reader, reader_options or {}, seed))
    loss_record = options.get("loss", LOSSES["logistic"]() if model is None else model.loss)
    is_numbers = target_type(loss_record) in ("continuous", "count")
    summaries = client.gather(client.map(summarize, partitions, is_numbers=is_numbers, pure=False))
    start, start_task = _start_model(model, summaries, options, dtype, classes, is_numbers)
    sizes = [summary.n_rows for summary in summaries]
    settings = {"sizes": sizes, "passes": passes, "round_growth": round_growth, "class_weight": repr(class_weight)}
    settings |= {"rng": seed, "n_features": start.n_features, "dtype": start.dtype.name}
    n_done, t = 0, start.parameters.t
    if resume is not None:
        new = start
        start, n_done, t = _read_checkpoint(resume, settings, options)
        if target_type(start.loss) != target_type(new.loss):
            raise ValueError(f"loss: got {new.loss!r}, but the training began with {start.loss!r}; pass this")
        if start.target != new.target and _shown(start) == _shown(new):
            raise ValueError("classes: is given in one of the two calls only; resume with the same arguments")
        if start.target != new.target:
            raise ValueError(
                f"y: has the labels {_shown(new)}, but the training began with {_shown(start)}; resume with the same "
                "data and arguments"
            )
        start.columns, start_task = new.columns, None
    plan = plan_of(sizes, passes, sum(summary.n_values for summary in summaries), start, round_growth, t)
    file = None if checkpoint is None else _CheckpointFile(checkpoint, checkpoint_rounds, settings | {"t": t})
    run = _Run(client, partitions, start, start_task, class_weight, n_done)
    try:
        return run.train(plan, callback, file)
    finally:
        run.close()


def plan_of(
    sizes: Sequence[int], passes: int, n_values: int, model: LinearModel, round_growth: int | None, t: int = 0
) -> Iterator[Round]:
    """Yield the rounds of training from a model on partitions with `sizes` rows and `n_values` values."""
    growth = rounds.default_round_growth(sum(size > 0 for size in sizes)) if round_growth is None else round_growth
    covering_rows = dispatch.count_covering_rows(sum(sizes), model.n_features, n_values)
    n_serial = dispatch.count_serial_updates(covering_rows, growth)
    shortest = rounds.count_shortest_rows(sum(sizes), n_values)
    if round_growth is None:
        n_serial = max(n_serial, growth * shortest // model.batch_size)
    return rounds.plan_rounds(sizes, passes, n_serial, growth, MAX_ROWS, model.batch_size, t, shortest)


def _start_model(model, summaries, options, dtype, classes, is_numbers):
    """Return the model to start from, and the arguments of the task that creates it, or None."""
    summaries = [summary for summary in summaries if summary.n_rows]
    if not summaries:
        raise ValueError("X: has no rows; there is nothing to learn from")
    n_features = max(summary.n_features for summary in summaries)
    labels = None if is_numbers else _all_labels(model, summaries, classes)
    if model is not None:
        start, task = continue_from(model, options, dtype), None
        start.parameters.resize(n_features)
    else:
        X = scipy.sparse.csr_array((0, n_features), dtype=summaries[0].dtype if dtype is None else dtype)
        options = {"standardize_targets": False} | options
        start = new_model(X, np.empty(0), labels, options, n_workers=2)
    dispatch.check_mergeable("X", start.parameters)
    if start.standardize_targets:
        raise ValueError(
            "model: has standardize_targets=True, with a scale of its own; train a new model on targets of scale 1"
        )
    if labels is not None:
        _set_labels(start, labels, classes is not None)
    columns = [summary for summary in summaries if summary.columns is not None]
    if columns:
        start.columns = common_columns("X", [*columns, *([] if start.columns is None else [start])])
    if model is None:
        state = start.parameters.state
        own = {name: getattr(state, name) for name in ("rule", "lr", "penalty")}
        own |= {name: getattr(start, name) for name in ("loss", "batch_size", "normalized", "invariant")}
        task = (n_features, start.dtype, own | {"intercept": start.has_intercept}, start.target)
    return start, task


def _all_labels(model, summaries, classes):
    """Return the labels of all partitions and of the model, or those that are declared."""
    if classes is not None:
        return classes
    labels = {label for summary in summaries for label in summary.labels}
    labels |= set(() if model is None else model.target.known_labels() or ())
    if len({isinstance(label, str) for label in labels}) > 1:
        raise TypeError("y: got numbers and strings; labels must be of one kind")
    labels = sorted(labels)
    if len(labels) > MANY_LABELS:
        raise ValueError(
            f"y: got more than {MANY_LABELS} labels, {labels[:5]}, …; use a loss for numbers such as 'squared', or "
            "fewer classes"
        )
    return labels


def _set_labels(model, labels, is_declared):
    """Set the labels of all partitions, or those that are declared."""
    if is_declared or (isinstance(model.target, BinaryLabels) and len(labels) == 2):
        model._declare_classes(labels)
    elif labels:
        model._set_target(model.target.extended(np.asarray(labels)))


def _shown(model):
    """Return the labels of a model for an error message."""
    return None if model.classes is None else model.classes[:20].tolist()


class _Run:
    """One call of `fit_linear`: its futures on the cluster.

    Versions are numbers of rounds.  A version is a complete model and the results of the rounds since then, which are
    arguments of the tasks of the next round.  Each worker gets each of them once.  Dask computes them again if they
    are lost with a worker.
    """

    def __init__(self, client, partitions, start, start_task, class_weight, n_done):
        self.client, self.partitions, self.class_weight = client, partitions, class_weight
        self.start, self.run = start, uuid.uuid4().hex
        if start_task is None:
            first = client.scatter(start, broadcast=True, hash=False)
        else:
            first = self._submit("create", n_done, worker.create, *start_task)
        self.number = n_done  # of rounds that are submitted
        self.completes = {n_done: first}  # {version: complete model}
        self.merged = {}  # {version: result of the round}
        self.pending = collections.deque()
        self.n_rounds = self.n_saved = n_done  # finished, and saved
        self.bytes_since = 0
        self.n_threads, self.groups = None, []  # of the workers, and those of `_group_partitions` for them

    def train(self, plan, callback, checkpoint):
        """Train in the rounds of the plan after those that are done; return the model."""
        start_time, loss_sums = time.perf_counter(), self.start.loss_sums.copy()
        for _ in range(self.n_rounds):
            next(plan, None)
        try:
            while True:
                while len(self.pending) < IN_FLIGHT and (following := next(plan, None)) is not None:
                    self._submit_round(following)
                if not self.pending:
                    break
                finished, future = self.pending[0]
                summary = future.result()
                self.pending.popleft()
                self._finish_round(summary)
                if summary.is_first_pass:
                    loss_sums += summary.loss_sums
                if callback is not None:
                    callback(_progress(summary, self.n_rounds, loss_sums, finished, time.perf_counter() - start_time))
                if checkpoint is not None and self.n_rounds - self.n_saved >= checkpoint.rounds:
                    self._save(checkpoint)
        except StopIteration:
            pass
        finally:
            self._release_unfinished()
            if checkpoint is not None and self.n_rounds > self.n_saved:
                self._save(checkpoint)
        return self._model()

    def _submit(self, name, version, function, *args):
        """Submit a task; tasks are not pure, because their keys are those of the round."""
        return self.client.submit(function, *args, key=f"adagrad-{name}-{self.run}-{version}", pure=False)

    def _submit_round(self, following):
        """Submit the tasks of a round: learners, the tree of their sums, and the merge."""
        base = max(self.completes)
        since = [self.merged[version] for version in range(base + 1, self.number + 1)]
        version = self.run, self.number, self.completes[base], since
        self.number += 1
        shares = {share.partition: share for share in following.shares}
        groups = [[k] for k in shares] if len(shares) == 1 else self._group_partitions()
        groups = [own for group in groups if (own := [k for k in group if k in shares])]
        nodes = [
            self._submit(
                f"learn-{group[0]}", self.number, worker.learn, [self.partitions[k] for k in group], version,
                [shares[k] for k in group], following.pass_index, following.n_rows, self.class_weight,
            )
            for group in groups
        ]  # fmt: skip
        level = 0
        while len(nodes) > rounds.FAN_IN:
            nodes = [
                self._submit(f"add-{level}-{k}", self.number, worker.add, group, self.start.n_features)
                for k, group in enumerate(rounds.in_groups(nodes))
            ]
            level += 1
        order = [] if level else [k for group in groups for k in group]
        merged = self._submit(
            "merge", self.number, worker.merge, nodes, order, self.start.n_features, version, following.pass_index == 0
        )
        self.merged[self.number] = merged
        self.pending.append((following, self._submit("summary", self.number, worker.summarize, merged)))

    def _group_partitions(self):
        """Return groups of partitions whose learners are one task: those of a worker thread.

        With more than `FAN_IN` threads each partition has its own task, which Dask can move between workers, and so has
        each sum of the tree.  With fewer threads, messages between such tasks would take longer than the training.
        """
        n_threads = self.client.nthreads()
        if n_threads != self.n_threads:
            self.n_threads, self.groups = n_threads, [[k] for k in range(len(self.partitions))]
            if sum(n_threads.values()) <= rounds.FAN_IN:
                self.groups = self._place_groups()
        return self.groups

    def _place_groups(self):
        """Return the partitions in the memory of each worker, divided between its threads."""
        places, own = self.client.who_has(self.partitions), collections.defaultdict(list)
        for k, partition in enumerate(self.partitions):
            workers = places.get(partition.key) or self.n_threads
            own[min(workers, key=lambda name: (len(own[name]), name))].append(k)
        groups = []
        for name, numbers in own.items():
            n = self.n_threads.get(name, 1)
            groups += [numbers[i::n] for i in range(n) if numbers[i::n]]
        return groups

    def _finish_round(self, summary):
        """Count a finished round; complete the model when the results since the last one exceed its size."""
        self.n_rounds += 1
        base = self._base()
        self.completes = {version: future for version, future in self.completes.items() if version >= base}
        self.merged = {version: future for version, future in self.merged.items() if version > base}
        self.bytes_since += summary.bytes_merged
        outputs, last = self.start.parameters.output_arrays(), max(self.completes)
        size = len(outputs) * (1 + len(outputs[0].s)) * outputs[0].w.size * outputs[0].w.itemsize
        if last < self.number and (self.bytes_since > 2 * size or self.number - last > MANY_ROUNDS):
            parts = [self.merged[version] for version in range(last + 1, self.number + 1)]
            self.completes[self.number] = self._submit(
                "complete", self.number, worker.complete, self.completes[last], parts
            )
            self.bytes_since = 0

    def _base(self):
        """Return the last version of a complete model whose round is finished."""
        return max(version for version in self.completes if version <= self.n_rounds)

    def _model(self):
        """Return the model after the rounds that are finished."""
        base = self._base()
        parts = [self.merged[version] for version in range(base + 1, self.n_rounds + 1)]
        model = worker.complete(*self.client.gather([self.completes[base], parts]))
        model.columns = self.start.columns
        check_finite(model)
        return model

    def _save(self, checkpoint):
        """Write a checkpoint."""
        checkpoint.write(self._model(), self.n_rounds)
        self.n_saved = self.n_rounds

    def _release_unfinished(self):
        """Release the futures of rounds that are not finished, so that Dask cancels their tasks."""
        self.pending.clear()
        for kept in (self.completes, self.merged):
            for version in [version for version in kept if version > self.n_rounds]:
                del kept[version]

    def close(self):
        """Remove the models from the workers."""
        self.client.run(worker.forget, self.run, on_error="ignore")


def _progress(summary, n_rounds, loss_sums, finished, seconds):
    loss, weight = summary.loss_sums
    return RoundProgress(
        n_rounds, summary.n_seen, float(loss_sums[0] / loss_sums[1]) if loss_sums[1] else float("nan"),
        float(loss / weight) if weight else float("nan"), seconds, finished.pass_index, len(finished.shares),
        summary.bytes_sent, summary.bytes_merged,
    )  # fmt: skip


class _CheckpointFile(NamedTuple):
    """Checkpoints of a call: the file, the rounds between two of them, and the arguments that must be the same."""

    path: Any
    rounds: int
    settings: dict

    def write(self, model, n_rounds):
        """Replace the file by the model after so many rounds."""
        meta, arrays = model._to_content()
        archive.write_archive(
            self.path, FILE_KIND, {"settings": self.settings, "n_rounds": n_rounds, "model": meta}, arrays
        )


def _read_checkpoint(path, settings, options):
    """Return (model, number of rounds, number of updates before the first round) of a checkpoint."""
    meta, arrays = archive.read_archive(path, FILE_KIND)
    with archive.naming_errors(path):
        saved = schema.entry(meta, "settings", dict)
        for name, value in settings.items():
            if saved.get(name) != value:
                what = "the rows or partitions" if name == "sizes" else name
                raise ValueError(
                    f"{what}: differ from those of the checkpoint; resume with the same data and arguments"
                    if name == "sizes"
                    else f"{name}: got {value}, but the training began with {saved.get(name)}; pass this"
                )
        model = model_from_content(schema.entry(meta, "model", dict), arrays)
        check_same_options(model, options)
        return model, schema.count_entry(meta, "n_rounds"), schema.count_entry(saved, "t")
