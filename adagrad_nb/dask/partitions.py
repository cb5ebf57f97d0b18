"""Partitions of the rows: made of Dask arrays, data frames, bags of `Chunk`, or files that the workers read."""

from __future__ import annotations

import glob
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import _csr
from ..io.readers import Chunk, read_svmlight, stack_chunks
from ..linear.named_rows import is_numeric, named_chunk
from ..linear.rounds import Partition
from ..linear.targets import as_labels

if TYPE_CHECKING:
    from collections.abc import Callable

INSTALL = "adagrad_nb.dask needs Dask: pip install 'adagrad_nb[dask]'"
MANY_LABELS = 10_000  # more are probably numbers


class Summary(NamedTuple):
    """Numbers of a partition, from which the rounds are planned.

    `labels` are the labels in increasing order, or the first of them if there are more than `MANY_LABELS`; None if the
    targets are numbers.
    """

    n_rows: int
    n_values: int
    n_features: int
    dtype: Any
    labels: Any
    columns: Any


def import_dask() -> Any:
    """Return the module `dask` with the parts that this package needs."""
    try:
        import dask
        import dask.array
        import distributed  # noqa: F401
    except ImportError as error:
        raise ImportError(INSTALL) from error
    return dask


def partitions_of(
    X: Any, y: Any, weight: Any, dtype: Any, reader: Callable[..., Any], options: dict, seed: int | None = None
) -> list:
    """Return the data as a list of delayed partitions, with their rows shuffled if there is a seed.

    Raises
    ------
    TypeError, ValueError
        For data of another kind, or targets with other partitions than X.
    """
    dask = import_dask()
    parts = _delayed_partitions(dask, X, y, weight, dtype, reader, options)
    if seed is not None:
        parts = [dask.delayed(shuffle_rows)(part, [seed, k]) for k, part in enumerate(parts)]
    return parts


def _delayed_partitions(dask, X, y, weight, dtype, reader, options):
    if is_file_names(X):
        _require_no_targets(y, weight, "files")
        paths = list_files(X)
        return [dask.delayed(load_file)(path, dtype, reader, options) for path in paths]
    if is_bag(X):
        _require_no_targets(y, weight, "chunks")
        return [dask.delayed(load_chunks)(f"partition {k}", part, dtype) for k, part in enumerate(X.to_delayed(False))]
    blocks = blocks_of(X)
    if y is None:
        raise ValueError("y: got None; must have one target for each row of X, unless X is files or chunks")
    targets, weights = _aligned("y", y, X, len(blocks)), _aligned("sample_weight", weight, X, len(blocks))
    return [
        dask.delayed(load_block)(f"partition {k}", *parts, dtype)
        for k, parts in enumerate(zip(blocks, targets, weights, strict=True))
    ]


def is_file_names(X: Any) -> bool:
    """Return whether X is a file name or pattern, or a list of them."""
    names = X if isinstance(X, (list, tuple)) else [X]
    return bool(names) and all(isinstance(name, (str, os.PathLike)) for name in names)


def is_collection(X: Any) -> bool:
    """Return whether X is a Dask collection or names of files."""
    return hasattr(X, "to_delayed") or is_file_names(X)


def check_client(client: Any) -> None:
    """Raise TypeError or ValueError unless the argument is a synchronous client."""
    import_dask()
    from distributed import Client

    if not isinstance(client, Client):
        raise TypeError(
            f"client: got {type(client).__name__}; must be a distributed.Client, such as Client(LocalCluster())"
        )
    if client.asynchronous:
        raise ValueError("client: is asynchronous; use a synchronous one, Client(…, asynchronous=False)")


def current_client() -> Any:
    """Return the current client of the process."""
    import_dask()
    from distributed import get_client

    try:
        return get_client()
    except ValueError:
        raise ValueError(
            "client: there is no current client; create one, as by Client(LocalCluster()), or set the attribute client"
        ) from None


def is_bag(X: Any) -> bool:
    """Return whether X is a Dask bag."""
    return type(X).__name__ == "Bag" and hasattr(X, "to_delayed")


def _is_frame(X):
    return hasattr(X, "to_delayed") and hasattr(X, "divisions")


def blocks_of(X: Any) -> list:
    """Return the delayed blocks of rows of a Dask array or data frame."""
    if _is_frame(X):
        return list(X.to_delayed())
    if not hasattr(X, "to_delayed") or not hasattr(X, "numblocks"):
        raise TypeError(
            f"X: got {type(X).__name__}; must be a Dask array or data frame, a bag of Chunk, or file names; for rows "
            "in memory use adagrad_nb.fit_linear, or dask.array.from_array(X, chunks=…)"
        )
    if X.ndim != 2:
        raise ValueError(f"X: got {X.ndim} dimensions; must have two, rows and columns")
    if X.numblocks[1] > 1:
        X = X.rechunk({1: -1})
    return list(X.to_delayed().ravel())


def _aligned(name, values, X, n_blocks):
    """Return the delayed blocks of targets or weights, one for each block of X."""
    if values is None:
        return [None] * n_blocks
    if not hasattr(values, "to_delayed"):
        sizes = None if _is_frame(X) else X.chunks[0]
        if sizes is None or any(np.isnan(sizes)):
            raise TypeError(f"{name}: got {type(values).__name__}; must be a Dask collection with the partitions of X")
        values = np.asarray(values)
        if values.shape != (sum(sizes),):
            raise ValueError(f"{name}: got shape {values.shape}; must be ({sum(sizes)},), one entry for each row of X")
        return np.split(values, np.cumsum(sizes)[:-1])
    if hasattr(values, "numblocks"):
        if values.ndim != 1:
            raise ValueError(f"{name}: got {values.ndim} dimensions; must have one")
        own = getattr(X, "chunks", ((np.nan,),))[0]
        known = not any(np.isnan(size) for size in (*own, *values.chunks[0]))
        if known and sum(own) != sum(values.chunks[0]):
            raise ValueError(f"{name}: got {sum(values.chunks[0])} entries; X has {sum(own)} rows")
        if known and own != values.chunks[0]:
            values = values.rechunk((own,))
    blocks = list(np.ravel(np.asarray(values.to_delayed(), dtype=object)))
    if len(blocks) != n_blocks:
        raise ValueError(f"{name}: got {len(blocks)} partitions; X has {n_blocks}, and both must have the same")
    return blocks


def _require_no_targets(y, weight, what):
    if y is not None or weight is not None:
        raise ValueError(f"y: {what} contain targets and weights; leave y and sample_weight out")


def list_files(X: Any) -> list[str]:
    """Return the names of the files in order; a pattern stands for the files that match it."""
    names = []
    for name in map(os.fspath, X if isinstance(X, (list, tuple)) else [X]):
        found = sorted(glob.glob(name)) if glob.has_magic(name) and not os.path.exists(name) else [name]
        if not found:
            raise FileNotFoundError(f"X: no file matches {name!r}")
        names += found
    return names


# --- tasks -----------------------------------------------------------------------------------------------------------


def load_block(name: str, X: Any, y: Any, weight: Any, dtype: Any) -> Partition:
    """Return a block of an array or of a data frame as a partition."""
    try:
        chunk = named_chunk(X, y, weight, None, dtype)
        columns = getattr(chunk, "columns", None)
        if columns is not None and not is_numeric(columns):
            raise ValueError(
                "X: has columns of strings or categories, whose values may differ between partitions; encode them "
                "first, as by X.map_partitions(columns.transform) with columns=Columns(…)"
            )
        return _partition(name, [chunk], dtype)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{name}: {error}") from None


def load_chunks(name: str, chunks: Any, dtype: Any) -> Partition:
    """Return chunks as a partition."""
    chunks = list(chunks)
    try:
        for chunk in chunks:
            if not isinstance(chunk, Chunk):
                raise TypeError(f"X: the bag contains a {type(chunk).__name__}; must contain Chunk(X, y, weight)")
        return _partition(name, chunks, dtype)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{name}: {error}") from None


def load_file(path: str, dtype: Any, reader: Callable[..., Any], options: dict) -> Partition:
    """Return the rows of a file as a partition; errors of the reader name the file and the line."""
    if dtype is not None and reader is read_svmlight:
        options = {"dtype": dtype} | options
    return _partition(path, list(reader(path, **options)), dtype)


def _partition(name, chunks, dtype):
    if not chunks:
        return Partition(name, _csr.as_csr(np.empty((0, 0)), dtype), np.empty(0), None)
    columns = getattr(chunks[-1], "columns", None)
    chunks = [Chunk(_csr.as_csr(chunk.X, dtype), np.asarray(chunk.y), chunk.weight) for chunk in chunks]
    for chunk in chunks:
        for part, values in (("y", chunk.y), ("sample_weight", chunk.weight)):
            if values is not None and np.shape(values) != chunk.X.shape[:1]:
                raise ValueError(f"{part}: got shape {np.shape(values)}; X has {chunk.X.shape[0]} rows")
    weights = [np.ones(chunk.X.shape[0]) if chunk.weight is None else np.asarray(chunk.weight) for chunk in chunks]
    weight = None if all(chunk.weight is None for chunk in chunks) else np.concatenate(weights)
    if len(chunks) == 1:
        X, y = chunks[0].X, chunks[0].y
    else:
        X, y = stack_chunks(name, chunks, max(chunk.X.shape[1] for chunk in chunks))
    return Partition(name, X, y, weight, columns)


def shuffle_rows(partition: Partition, seed: Any) -> Partition:
    """Return a partition with its rows in a random order."""
    order = np.random.default_rng(seed).permutation(partition.X.shape[0])
    weight = None if partition.weight is None else partition.weight[order]
    return partition._replace(X=partition.X[order], y=partition.y[order], weight=weight, order=order)


def summarize(partition: Partition, is_numbers: bool) -> Summary:
    """Return the numbers of a partition; raise for targets that are no labels."""
    X, y, labels = partition.X, partition.y, None
    if not is_numbers and y.size:
        y = y if partition.order is None else y[np.argsort(partition.order)]  # errors have the index before shuffling
        try:
            labels = np.unique(as_labels(y, y.size))[: MANY_LABELS + 1].tolist()
        except (ValueError, TypeError) as error:
            raise type(error)(f"{partition.name}: {error}") from None
    return Summary(X.shape[0], int(X.indptr[-1]), X.shape[1], X.dtype, labels, partition.columns)
