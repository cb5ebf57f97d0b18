"""load_model: read linear models from files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..io import archive
from .model import FILE_KIND, LinearModel

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
        If the file is damaged or of another kind, or if it uses an unknown record class.

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
    options = {name: archive.from_json(value, arrays, records) for name, value in meta["options"].items()}
    loss = archive.from_json(meta["loss"], arrays, records)
    model = LinearModel(meta["n_features"], np.dtype(meta["dtype"]), loss, **options, **meta["numbers"])
    model._restore(meta, arrays)
    return model
