"""load_model: read linear models from files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..io import archive, schema
from ..records.rules import Adagrad
from . import file_schema
from .model import FILE_KIND, LinearModel
from .model_options import check_options

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence


def load_model(path: str | os.PathLike, records: Sequence[type] = ()) -> LinearModel:
    """Read a model that `LinearModel.save` wrote.

    Parameters
    ----------
    path : str or path-like
    records : sequence of classes, optional
        User-defined record classes that the model uses: a loss, penalty, rule or schedule.

    Returns
    -------
    LinearModel

    Raises
    ------
    ValueError
        If the file is damaged or of another kind, if it uses an unknown record class, or if an array or a number in it
        does not fit the others.  The message names it.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from adagrad_nb import fit_linear, load_model
    >>> X, y = np.eye(3), np.array([-1, 1, 1])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.npz")
    ...     fit_linear(X, y).save(path)
    ...     model = load_model(path)
    >>> model.predict(X)
    array([-1,  1,  1])
    """
    meta, arrays = archive.read_archive(path, FILE_KIND)
    with archive.naming_errors(path):
        return model_from_content(meta, arrays, records)


def model_from_content(meta: dict[str, Any], arrays: dict[str, Any], records: Sequence[type] = ()) -> LinearModel:
    """Return the model with the content of a file; raise ValueError if parts of it do not fit the others."""
    if "weights_only" in meta:
        return _model_for_predictions(meta, arrays, records)
    values = schema.entry(meta, "options", dict) | {"loss": schema.entry(meta, "loss", dict)}
    options = archive.options_from_json(values, (*file_schema.OPTIONS, "loss"), arrays, records)
    numbers = file_schema.read_numbers(meta)
    check_options(**options, **numbers)
    n_features = file_schema.read_n_features(meta, arrays, options["loss"], options["lr"])
    model = LinearModel(n_features, np.dtype(file_schema.read_dtype(meta)), **options, **numbers)
    model._restore(meta, arrays)
    return model


def _model_for_predictions(meta, arrays, records):
    """Return the model with the content of a file without training state."""
    loss = archive.options_from_json({"loss": schema.entry(meta, "loss", dict)}, ("loss",), arrays, records)["loss"]
    numbers = schema.entry(meta, "numbers", dict)
    schema.check_names(numbers, ("intercept", "standardize_targets"))
    options = {"loss": loss, "penalty": None, "rule": Adagrad(), "lr": 0.0}
    options |= {name: schema.entry(numbers, name, bool) for name in numbers}
    check_options(**options)
    n_features = schema.count_entry(meta, "n_features")
    schema.check_names(arrays, ("w",), arrays)
    if arrays["w"].shape[:1] != (n_features,):
        raise ValueError(f"n_features: got {n_features}, but w has shape {arrays['w'].shape}")
    model = LinearModel(n_features, np.dtype(file_schema.read_dtype(meta)), **options)
    model._restore_weights(meta, arrays)
    return model
