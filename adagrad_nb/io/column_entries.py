"""Entries of a mapping from columns to features: numeric, one-hot, hashed, text and interaction."""

from typing import Any, NamedTuple

from .. import _check

MISSING = "(missing)"  # the category of missing values
OTHER = "(other)"  # the category of values that are first seen when a column has all its categories


class Numeric(NamedTuple):
    """Column of numbers, with one feature.

    Its value is (number - `offset`) / `scale`.  Where the number is missing, the value is 0, and a second feature
    ``NAME=(missing)`` has the value 1.

    Parameters
    ----------
    name : str
        Name of the column.
    offset : float, default 0.0
        Number with the value 0, such as the mean of the column.
    scale : float, default 1.0
        Difference from it with the value 1, such as the standard deviation.
    """

    name: str
    offset: float = 0.0
    scale: float = 1.0


class OneHot(NamedTuple):
    """Column of categories, with one feature ``NAME=CATEGORY`` for each.

    Values are strings without the blanks around them.  Missing values are the category ``(missing)``.

    Parameters
    ----------
    name : str
        Name of the column.
    max_categories : int, default 10,000
        Number of categories with a feature of their own.  Values that are first seen later share ``NAME=(other)``.
    """

    name: str
    max_categories: int = 10_000


class Hashed(NamedTuple):
    """Column of categories, whose names ``NAME=CATEGORY`` are hashed to a feature number.

    Parameters
    ----------
    name : str
        Name of the column.
    """

    name: str


class Text(NamedTuple):
    """Column of text.  The names ``NAME=WORD`` are hashed to a feature number; values are numbers of occurrences.

    A word is a sequence of letters, digits and underscores.

    Parameters
    ----------
    name : str
        Name of the column.
    ngrams : int, default 1
        Largest number of consecutive words that are a feature, such as ``NAME=FIRST SECOND``.
    lowercase : bool, default True
        Whether letters are converted to lower case.
    """

    name: str
    ngrams: int = 1
    lowercase: bool = True


class Interaction(NamedTuple):
    """Product of columns, whose names ``NAME=CATEGORY*NAME=CATEGORY`` are hashed to a feature number.

    A numeric column contributes its name and its value.

    Parameters
    ----------
    names : tuple of str
        Names of two or more numeric, one-hot or hashed columns.
    """

    names: tuple


KINDS: dict[str, type] = {
    "numeric": Numeric, "one_hot": OneHot, "hashed": Hashed, "text": Text, "interaction": Interaction,
}  # fmt: skip
KIND_NAMES = {cls: kind for kind, cls in KINDS.items()}
HASHED_KINDS = (Hashed, Text, Interaction)
MAX_NGRAMS = 8


def check_entries(entries: Any) -> tuple:
    """Return entries as a tuple; raise unless they are entries of different columns with valid options."""
    if not isinstance(entries, (tuple, list)):
        raise TypeError(f"columns: got {_check.shorten_repr(entries)}; must be a tuple of entries such as OneHot('a')")
    kinds: dict[str, type] = {}
    for entry in entries:
        _check_entry(entry)
        if not isinstance(entry, Interaction):
            if entry.name in kinds:
                raise ValueError(f"columns: {entry.name!r} occurs twice; a column has one entry, and any interactions")
            kinds[entry.name] = type(entry)
    for entry in entries:
        if isinstance(entry, Interaction):
            for name in entry.names:
                if kinds.get(name, Text) is Text:
                    raise ValueError(
                        f"interactions: got {name!r}; must be a numeric, one-hot or hashed column, such as "
                        f"{[k for k, kind in kinds.items() if kind is not Text][:5]}"
                    )
    return tuple(entries)


def _check_entry(entry):
    if type(entry) not in KIND_NAMES:
        words = ", ".join(cls.__name__ for cls in KIND_NAMES)
        raise TypeError(f"columns: got {_check.shorten_repr(entry)}; entries are records of the types {words}")
    if isinstance(entry, Interaction):
        if not isinstance(entry.names, tuple) or len(entry.names) < 2 or not all(isinstance(n, str) for n in entry[0]):
            raise ValueError(f"interactions: got {_check.shorten_repr(entry.names)}; must be a tuple of column names")
        return
    if not isinstance(entry.name, str):
        raise TypeError(f"columns: got the name {_check.shorten_repr(entry.name)}; must be a string")
    if isinstance(entry, Numeric):
        _check.in_interval(f"offset of {entry.name}", entry.offset, "(-inf, inf)")
        _check.in_interval(f"scale of {entry.name}", entry.scale, "(0, inf)")
    if isinstance(entry, OneHot):
        _check.positive_count("max_categories", entry.max_categories)
    if isinstance(entry, Text):
        _check.positive_count("ngrams", entry.ngrams)
        _check.count("ngrams", entry.ngrams, maximum=MAX_NGRAMS)
        _check.boolean("lowercase", entry.lowercase)
