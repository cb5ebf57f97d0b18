"""predict: predictions for the rows of Dask collections and files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy

from .. import _check
from ..io.readers import read_svmlight
from ..linear.model import LinearModel
from .partitions import blocks_of, check_client, import_dask, is_bag, is_file_names, list_files

if TYPE_CHECKING:
    from collections.abc import Callable

METHODS = ("predict", "predict_proba", "decision_function")


def predict(
    client: Any,
    model: LinearModel,
    X: Any,
    *,
    method: str = "predict",
    reader: Callable[..., Any] = read_svmlight,
    reader_options: dict[str, Any] | None = None,
) -> Any:
    """Return the predictions of a model for the rows of a Dask collection, as a Dask array.

    Parameters
    ----------
    client : distributed.Client
        Client of the cluster.  The model is a part of the graph of the result.
    model : LinearModel
    X : Dask array or data frame, Dask bag of Chunk, file name or pattern, or list of them
        As in `fit_linear`.
    method : {"predict", "predict_proba", "decision_function"}, default "predict"
        Method of the model.
    reader, reader_options
        As in `fit_linear`.

    Returns
    -------
    dask.array.Array of shape (n,), or (n, n_classes)
        With the partitions of X; it is computed when it is needed.  Its length is unknown before that for data frames,
        bags and files.
    """
    dask = import_dask()
    if not isinstance(model, LinearModel):
        raise TypeError(f"model: got {type(model).__name__}; must be a LinearModel")
    _check.one_of("method", method, METHODS)
    check_client(client)
    sent = dask.delayed(model, traverse=False)  # a scattered model would be lost with its last future
    like = getattr(model, method)(scipy.sparse.csr_array((1, model.n_features), dtype=model.dtype))
    if is_file_names(X):
        options = reader_options or {}
        parts = [dask.delayed(_predict_file)(sent, path, method, reader, options) for path in list_files(X)]
        sizes = [np.nan] * len(parts)
    elif is_bag(X):
        parts = [dask.delayed(_predict_chunks)(sent, part, method) for part in X.to_delayed(False)]
        sizes = [np.nan] * len(parts)
    else:
        blocks = blocks_of(X)
        parts = [dask.delayed(_predict_rows)(sent, block, method) for block in blocks]
        sizes = X.chunks[0] if hasattr(X, "chunks") else [np.nan] * len(parts)
    return dask.array.concatenate(
        [
            dask.array.from_delayed(part, (size, *like.shape[1:]), like.dtype)
            for part, size in zip(parts, sizes, strict=True)
        ],
        allow_unknown_chunksizes=True,
    )


def _predict_rows(model, X, method):
    return getattr(model, method)(X)


def _predict_chunks(model, chunks, method):
    no_rows = scipy.sparse.csr_array((0, model.n_features), dtype=model.dtype)  # a partition may have no chunks
    return np.concatenate([getattr(model, method)(X) for X in (no_rows, *(chunk.X for chunk in chunks))])


def _predict_file(model, path, method, reader, options):
    if reader is read_svmlight:  # features that the model lacks would be an error
        options = {"n_features": model.n_features} | options
    return _predict_chunks(model, reader(path, **options), method)
