"""Tasks of the workers: training on a share, adding changes, merging them; and the models that a worker keeps.

A task of a round needs the present model.  Its arguments are a complete model of an earlier round and the merged
coordinates of the rounds since then, each of which a worker gets once.  A worker keeps the last model of each training,
so that it applies only the last of them.
"""

from __future__ import annotations

import itertools
import operator
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from ..linear import rounds
from ..linear.model import LinearModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..linear.rounds import Change, Merged, Partition, Share

MANY_RUNS = 4  # whose models a worker keeps
_models: dict[str, tuple[int, LinearModel]] = {}  # {training: (number of rounds, model)}
_lock = threading.Lock()


class RoundSummary(NamedTuple):
    """Counters after a round."""

    n_seen: int
    loss_sums: Any
    is_first_pass: bool
    bytes_sent: int
    bytes_merged: int


def model_at(run: str, number: int, complete: LinearModel, since: Sequence[Merged]) -> LinearModel:
    """Return the model after so many rounds of a training, from its own model if that is late enough."""
    with _lock:
        own, model = _models.get(run, (-1, complete))
    if not number - len(since) < own <= number:
        own, model = number - len(since), complete
    for merged in since[len(since) - (number - own) :]:
        model = rounds.apply_merged(model, merged)
    with _lock:
        if _models.get(run, (-1, complete))[0] < number:
            _models[run] = number, model
            for old in list(_models)[:-MANY_RUNS]:
                del _models[old]
    return model


def forget(run: str) -> None:
    """Remove the model of a training."""
    with _lock:
        _models.pop(run, None)


def learn(
    partitions: Sequence[Partition],
    version: tuple,
    shares: Sequence[Share],
    pass_index: int,
    n_rows: int,
    class_weight: Any,
) -> list[Change]:
    """Return the changes of learners in a round of `n_rows` rows; `version` are the arguments of `model_at`."""
    model = model_at(*version)
    return [
        rounds.learn_share(model, partition, share, pass_index, n_rows, class_weight)
        for partition, share in zip(partitions, shares, strict=True)
    ]


def add(changes: Sequence[list[Change]], n_features: int) -> list[Change]:
    """Return the sum of changes in their order, as a list of one."""
    return [rounds.add_changes(list(itertools.chain(*changes)), n_features)]


def merge(
    changes: Sequence[list[Change]], order: Sequence[int], n_features: int, version: tuple, is_first_pass: bool
) -> Merged:
    """Return the merged coordinates of a round; `order` are the positions of the changes in the tree."""
    model, ordered = model_at(*version), list(itertools.chain(*changes))
    if len(order) == len(ordered):
        ordered = [change for _, change in sorted(zip(order, ordered, strict=True), key=operator.itemgetter(0))]
    return rounds.merge_change(model, rounds.add_in_tree(ordered, n_features), is_first_pass)


def complete(model: LinearModel, merged: Sequence[Merged]) -> LinearModel:
    """Return a copy of the complete model after further rounds."""
    model = model if merged else model.copy()
    for part in merged:
        model = rounds.apply_merged(model, part)
    return model


def summarize(merged: Merged) -> RoundSummary:
    """Return the counters of a round."""
    return RoundSummary(merged.n_seen, merged.loss_sums, merged.is_first_pass, merged.n_sent, merged.n_bytes)


def create(n_features: int, dtype: Any, options: dict, target: Any) -> LinearModel:
    """Return an untrained model.  As the result of a task, it is not sent, and it is made anew if it is lost."""
    model = LinearModel(n_features, dtype, **options)
    model._set_target(target)
    return model
