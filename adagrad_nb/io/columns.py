"""Columns: the mapping from the columns of a table to the features of a model."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _check
from . import arrow
from .column_encoder import ColumnEncoder
from .column_entries import HASHED_KINDS, KIND_NAMES, KINDS, Interaction, Numeric, OneHot, check_entries

if TYPE_CHECKING:
    import numpy.typing as npt
    import scipy

MAX_BITS = 30
SHOWN_CATEGORIES = 4


@dataclasses.dataclass(frozen=True, repr=False)
class Columns:
    """Mapping from the columns of a table to features.

    The readers find it, or take it from the user.  It does not change: `with_features` returns a new one.

    Parameters
    ----------
    entries : tuple
        Entries: `Numeric`, `OneHot`, `Hashed`, `Text` and `Interaction` records.
    bits : int, default 18
        There are ``2**bits`` hashed features, which all hashed, text and interaction entries share.  They come first.
    signed : bool, default False
        Whether the sign of a hashed value depends on its hash, so that collisions cancel on average.
    features : tuple of (name, category or None), optional
        The other features, in the order of their numbers: None for the numbers of a column.  By default those of the
        numeric columns.  Categories are added by readers.

    Attributes
    ----------
    names : tuple of str
        Names of the columns that the mapping needs.
    n_features : int
        Number of features.
    groups : ndarray of int, shape (n_features,)
        Number of the column of each feature, for the penalty `Grouped`.  Hashed features are a group each.
    feature_names : tuple of str
        Names of the features, such as ``age``, ``workclass=Private`` and ``hash[7]``.

    Examples
    --------
    >>> from adagrad_nb import Columns, Numeric, OneHot
    >>> columns = Columns((Numeric("age"), OneHot("job")), features=(("age", None), ("job", "cook")))
    >>> columns.feature_names
    ('age', 'job=cook')
    >>> print(columns)
    2 columns, 2 features
    age  numeric
    job  one-hot  1 category: cook
    """

    entries: tuple = ()
    bits: int = 18
    signed: bool = False
    features: tuple = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "entries", check_entries(self.entries))
        _check.count("bits", self.bits, 1, MAX_BITS)
        _check.boolean("signed", self.signed)
        numeric = tuple((entry.name, None) for entry in self.entries if isinstance(entry, Numeric))
        features = tuple(self.features) or numeric
        if len(set(features)) < len(features):
            raise ValueError("features: a feature occurs twice")
        if set(numeric) - set(features):
            raise ValueError("features: lacks a numeric column of the entries")
        kinds = {entry.name: type(entry) for entry in self.entries if not isinstance(entry, Interaction)}
        for name, category in features:
            if kinds.get(name) not in (Numeric, OneHot) or (category is None) != ((name, category) in numeric):
                raise ValueError(f"features: got {(name, category)!r}, which is not of a numeric or one-hot entry")
        object.__setattr__(self, "features", features)

    @functools.cached_property
    def names(self) -> tuple:
        """Names of the columns that the mapping needs."""
        return tuple(entry.name for entry in self.entries if not isinstance(entry, Interaction))

    @property
    def n_hashed(self) -> int:
        """Number of hashed features."""
        return 2**self.bits if any(isinstance(entry, HASHED_KINDS) for entry in self.entries) else 0

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.n_hashed + len(self.features)

    @property
    def feature_names(self) -> tuple:
        """Names of the features."""
        return tuple(self.feature_name(k) for k in range(self.n_features))

    @property
    def groups(self) -> np.ndarray:
        """Number of the column of each feature, for the penalty `Grouped`; hashed features are a group each."""
        numbers = {name: k for k, name in enumerate(dict.fromkeys(name for name, _ in self.features))}
        named = [self.n_hashed + numbers[name] for name, _ in self.features]
        return np.concatenate([np.arange(self.n_hashed), np.array(named, np.int64)])

    def feature_name(self, index: int) -> str:
        """Return the name of feature number `index`."""
        if index < self.n_hashed:
            return f"hash[{index}]"
        name, category = self.features[index - self.n_hashed]
        return name if category is None else f"{name}={category}"

    @functools.cached_property
    def _encoder(self):
        return self.new_encoder()

    def new_encoder(self) -> ColumnEncoder:
        """Return an encoder of batches, to which categories can be added."""
        return ColumnEncoder(self.entries, self.n_hashed, self.signed, self.features)

    def with_features(self, features: Any) -> Columns:
        """Return a mapping with other features."""
        return dataclasses.replace(self, features=tuple(features))

    def first(self, n_features: int) -> Columns:
        """Return the mapping to the first `n_features` features, or itself if it has no more."""
        n_named = max(n_features - self.n_hashed, 0)
        return self if n_named >= len(self.features) else self.with_features(self.features[:n_named])

    def is_extension_of(self, other: Columns) -> bool:
        """Return whether all features of another mapping have the same numbers in this one."""
        same = (self.entries, self.n_hashed, self.signed) == (other.entries, other.n_hashed, other.signed)
        return same and self.features[: len(other.features)] == other.features

    def transform(self, table: Any, *, dtype: npt.DTypeLike = np.float64) -> scipy.sparse.csr_array:
        """Return the rows of a table as features.

        Columns are matched by name, in any order.  Further columns are ignored.  Categories without a feature are
        ignored, too.

        Parameters
        ----------
        table : data frame, Arrow table, or mapping of columns
            Any object with ``__arrow_c_stream__``, such as a data frame of pandas or polars, or a dict of lists.
        dtype : {numpy.float64, numpy.float32}
            Data type of the result.

        Returns
        -------
        scipy.sparse.csr_array, shape (n_rows, n_features)

        Raises
        ------
        ValueError
            If a column is missing, occurs twice, or has values that its entry does not take.
        ImportError
            If pyarrow is not installed.

        Examples
        --------
        >>> from adagrad_nb import Columns, Numeric, OneHot
        >>> columns = Columns((Numeric("age"), OneHot("job")), features=(("age", None), ("job", "cook")))
        >>> columns.transform({"job": ["cook", "judge"], "age": [30, 40]}).toarray()
        array([[30.,  1.],
               [40.,  0.]])
        """
        data = arrow.as_table(table, "Columns.transform")
        if hasattr(data, "read_all"):
            data = data.read_all()
        data = data.combine_chunks()
        batch = {name: _single_array(data, name) for name in matching_columns("table", data.schema.names, self.names)}
        return self._encoder.encode(batch, data.num_rows, np.dtype(dtype), add_categories=False)

    def hashed_names(self, table: Any) -> dict:
        """Return the names that a table hashes to each feature, as a dict from feature numbers to sorted lists.

        Lists with more than one name are collisions.

        Parameters
        ----------
        table : data frame, Arrow table, or mapping of columns
            As in `transform`.

        Returns
        -------
        dict of int to list of str
        """
        data = arrow.as_table(table, "Columns.hashed_names")
        if hasattr(data, "read_all"):
            data = data.read_all()
        data = data.combine_chunks()
        batch = {name: _single_array(data, name) for name in matching_columns("table", data.schema.names, self.names)}
        return {index: sorted(names) for index, names in self._encoder.hashed_names(batch, data.num_rows).items()}

    # --- text ------------------------------------------------------------------------------------------------------

    def to_json(self) -> dict:
        """Return the mapping as JSON data."""
        entries = [{"kind": KIND_NAMES[type(entry)], **entry._asdict()} for entry in self.entries]
        position = {name: k for k, name in enumerate(self.names)}
        features = [[position[name], category] for name, category in self.features]
        return {"entries": entries, "bits": self.bits, "signed": self.signed, "features": features}

    @classmethod
    def from_json(cls, data: Any) -> Columns:
        """Return the mapping of JSON data; raise ValueError if it is not that of a mapping."""
        try:
            entries = tuple(_entry_from_json(dict(item)) for item in data["entries"])
            names = [entry.name for entry in entries if not isinstance(entry, Interaction)]
            features = tuple((names[_position(k, names)], _category(category)) for k, category in data["features"])
            if set(data) != {"entries", "bits", "signed", "features"}:
                raise ValueError(f"got the fields {sorted(data)}")
            return cls(entries, data["bits"], data["signed"], features)
        except (TypeError, KeyError, IndexError, AttributeError, ValueError) as error:
            raise ValueError(f"columns: the description of the columns is damaged ({error})") from None

    def __repr__(self) -> str:
        return f"Columns({len(self.names)} columns, {self.n_features} features)"

    def __str__(self) -> str:
        rows = [_describe(entry, self.features) for entry in self.entries]
        widths = [max(map(len, part)) for part in list(zip(*rows, strict=True))[:2]]
        lines = [f"{a:{widths[0]}}  {b:{widths[1]}}  {c}".rstrip() for a, b, c in rows] if rows else []
        hashed = f", of which {self.n_hashed} hashed" if self.n_hashed else ""
        return "\n".join([f"{len(self.names)} columns, {self.n_features} features{hashed}", *lines])


def matching_columns(what, names, wanted):
    """Return the names of the columns that are wanted; raise if one is missing or occurs twice."""
    for name in wanted:
        if name not in names:
            others = ", ".join(repr(other) for other in names[:10])
            raise ValueError(f"{what}: has no column {name!r}, which the model needs; the columns are {others}")
        if names.count(name) > 1:
            raise ValueError(f"{what}: the column {name!r} occurs {names.count(name)} times; rename or drop the others")
    return wanted


def _single_array(table, name):
    """Return a column of a table as one array."""
    pa = arrow.import_pyarrow("Columns")
    column = table.column(name)
    column = pa.chunked_array([arrow.without_views(part) for part in column.chunks]) if column.num_chunks else column
    if column.num_chunks == 1:
        return column.chunk(0)
    return column.combine_chunks() if column.num_chunks else pa.array([], column.type)


def _describe(entry, features):
    """Return three words that describe an entry."""
    kind = KIND_NAMES[type(entry)].replace("_", "-")
    if isinstance(entry, Interaction):
        return "*".join(entry.names), kind, ""
    if not isinstance(entry, OneHot):
        notes = []
        if isinstance(entry, Numeric):
            notes += [f"minus {entry.offset:g}"] if entry.offset else []
            notes += [f"divided by {entry.scale:g}"] if entry.scale != 1 else []
        if any(name == entry.name and category is not None for name, category in features):
            notes.append("with missing values")
        return entry.name, kind, ", ".join(notes)
    categories = [category for name, category in features if name == entry.name]
    shown = ", ".join(categories[:SHOWN_CATEGORIES]) + (", …" if len(categories) > SHOWN_CATEGORIES else "")
    count = f"{len(categories)} categor{'y' if len(categories) == 1 else 'ies'}"
    return entry.name, kind, f"{count}: {shown}" if categories else count


def _entry_from_json(item):
    cls = KINDS[item.pop("kind")]
    if isinstance(item.get("names"), list):
        item["names"] = tuple(item["names"])
    return cls(**item)


def _position(k, names):
    if not isinstance(k, int) or isinstance(k, bool) or not 0 <= k < len(names):
        raise ValueError(f"got the column number {k!r}")
    return k


def _category(category):
    if category is not None and not isinstance(category, str):
        raise ValueError(f"got the category {category!r}")
    return category
