"""Data of the command line: flags of the readers, and the reader of a file in any format."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..io.arrow_reader import read_parquet
from ..io.csv_dialect import find_dialect
from ..io.csv_reader import MISSING_WORDS, QUOTE, read_csv
from ..io.formats import FORMATS, open_data
from ..io.lines import ON_ERROR
from ..io.readers import DUPLICATES, read_svmlight
from ..io.row_cache import read_cache
from ..io.table_reader import NEW_CATEGORIES
from ..io.text import read_text
from ..io.vowpal import read_vw

if TYPE_CHECKING:
    from ..linear.model import LinearModel

HELP = "data file: svmlight, Vowpal Wabbit, CSV, lines of label and text, Parquet, or a cache; '-' is standard input"
VW_BITS = 18
NO_VALUE = "none"  # of --quote and --norm, and in model files
TABLES = ("csv", "parquet")
# Formats that a flag is for; all of them are options of the readers.
FLAGS = {
    "zero_based": ("svmlight",),
    "n_features": ("svmlight", "vw"),
    "duplicates": ("svmlight", "vw"),
    "bits": ("vw", "text", *TABLES),
    "hash": ("vw",),
    "quadratic": ("vw",),
    "constant": ("vw",),
    "missing_labels": ("vw",),
    "ngrams": ("text",),
    "lowercase": ("text",),
    "alternate_sign": ("text",),
    "norm": ("text",),
    "delimiter": ("text", "csv"),
    "label": ("text", *TABLES),
    "weight": TABLES,
    "positive": TABLES,
    "columns": TABLES,
    "interactions": TABLES,
    "signed": TABLES,
    "new_categories": TABLES,
    "header": ("csv",),
    "quote": ("csv",),
    "missing": ("csv",),
    "on_error": ("svmlight", "vw", "text", "csv"),
    "chunk_bytes": ("svmlight", "vw", "text", "csv"),
    "chunk_rows": ("parquet",),
}
# Flags that differ from the option, with the separators of words.
FLAG_NAMES = {"columns": "column", "interactions": "interaction"}
NOT_SAVED = (
    "on_error", "columns", "interactions", "missing_labels", "new_categories", "chunk_bytes", "chunk_rows",
    "n_features",
)  # fmt: skip
SAVED = [name for name in FLAGS if name not in NOT_SAVED]


def add_data_flags(command: argparse.ArgumentParser) -> None:
    """Add the flags of the readers to a command."""
    group = command.add_argument_group("data", "The format is found from the content and the name.")
    group.add_argument("--format", choices=FORMATS, help="format of the data")
    group.add_argument("--on-error", choices=ON_ERROR, help="treatment of a malformed line; default: raise")
    group.add_argument("--zero-based", action="store_true", default=None, help="svmlight: indices start at 0, not 1")
    group.add_argument(
        "--duplicates", choices=DUPLICATES,
        help="treatment of an index that occurs twice in a row: stop, or add up the values; default: error",
    )  # fmt: skip
    group.add_argument(
        "-b", "--bits", type=int, help="hash features to 2^BITS columns; default: 18, and 20 for words of text"
    )
    group.add_argument("--hash", choices=("strings", "all"), help="vw: hash only names, or also numbers")
    group.add_argument(
        "-q", "--quadratic", action="append", metavar="AB", help="vw: multiply the features of two namespaces"
    )
    group.add_argument("--constant", action="store_true", default=None, help="vw: add Vowpal Wabbit's constant")
    group.add_argument(
        "--missing-labels", choices=("error", "skip"), help="vw: treatment of a line without a label; default: error"
    )
    group.add_argument("--ngrams", type=int, metavar="N", help="text: sequences of up to N words; default: 2")
    group.add_argument(
        "--lowercase", action=argparse.BooleanOptionalAction, help="text: convert words to lower case; default: yes"
    )
    group.add_argument(
        "--alternate-sign", action=argparse.BooleanOptionalAction,
        help="text: a bit of the hash is the sign of a value; default: yes",
    )  # fmt: skip
    group.add_argument("--norm", choices=("l2", NO_VALUE), help="text: norm by which rows are divided; default: l2")
    group.add_argument("--delimiter", help="character between the fields of CSV, or between label and text")
    group.add_argument(
        "--label", metavar="COLUMN", help="name or position of the label in tables; 'first' or 'last' in text"
    )
    group.add_argument("--weight", metavar="COLUMN", help="name or position of the sample weights in tables")
    group.add_argument(
        "--positive", action="append", metavar="LABEL", help="tables: this label against all others; may be repeated"
    )
    group.add_argument(
        "--column", action="append", dest="columns", metavar="NAME=KIND", type=_parse_column,
        help="tables: kind of a column: numeric, one_hot, hashed, text, or ignore",
    )  # fmt: skip
    group.add_argument(
        "--interaction", action="append", dest="interactions", metavar="A,B", type=_parse_names,
        help="tables: product of columns, hashed",
    )  # fmt: skip
    group.add_argument(
        "--signed", action=argparse.BooleanOptionalAction,
        help="tables: a bit of the hash is the sign of a hashed value; default: no",
    )  # fmt: skip
    group.add_argument(
        "--new-categories", choices=NEW_CATEGORIES,
        help="tables: treatment of a category that a model lacks; default: add in training, else ignore",
    )  # fmt: skip
    group.add_argument("--quote", metavar="CHARACTER", help='CSV: character around fields, or none; default: "')
    group.add_argument(
        "--missing", metavar="WORDS", type=lambda text: [word.strip() for word in text.split(",")],
        help="CSV: words for missing values, separated by commas; default: an empty field, ?, NA, NaN, null, …",
    )  # fmt: skip
    group.add_argument(
        "--n-features", type=int, metavar="N", help="svmlight, vw: number of features; default: the largest index"
    )
    group.add_argument(
        "--chunk-bytes", type=int, metavar="N", help="text formats: bytes of text in memory; default: 1048576"
    )
    group.add_argument("--chunk-rows", type=int, metavar="N", help="Parquet: rows in memory; default: 8192")
    group.add_argument(
        "--header", metavar="NAMES", type=_parse_header,
        help="CSV: whether the first row has the names, yes or no, or the names, separated by commas",
    )  # fmt: skip


def _parse_column(text):
    name, mark, kind = text.rpartition("=")
    if not mark or not name:
        raise argparse.ArgumentTypeError(f"got {text!r}; must be a name and a kind, such as age=numeric")
    return name, kind


def _parse_names(text):
    names = tuple(name.strip() for name in text.split(","))
    if len(names) < 2:
        raise argparse.ArgumentTypeError(f"got {text!r}; must be names of columns, separated by commas")
    return names


def _parse_header(text):
    return {"yes": True, "no": False}.get(text) if text in ("yes", "no") else [name.strip() for name in text.split(",")]


def _parse_place(text: str) -> str | int:
    """Return a name of a column, or its position as an integer."""
    try:
        return int(text)
    except ValueError:
        return text


def reader_options(options: argparse.Namespace, format: str, saved: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a reader: those that are given, and those saved in a model.

    Raises
    ------
    ValueError
        If a flag does not fit the format.
    """
    given = {name: getattr(options, name) for name in FLAGS if getattr(options, name) is not None}
    for name in given:
        if format not in FLAGS[name]:
            flag = FLAG_NAMES.get(name, name).replace("_", "-")
            raise ValueError(
                f"--{flag}: is for the format {' and '.join(FLAGS[name])}, but the data is {format}; omit it, or name "
                "the format with --format"
            )
    if format == "text" and given.get("label", "first") not in ("first", "last"):
        raise ValueError(f"--label: got {given['label']!r}, but the data is text; must be 'first' or 'last'")
    if format in TABLES:
        given |= {name: _parse_place(given[name]) for name in ("label", "weight") if name in given}
    merged = {name: value for name, value in saved.items() if name in SAVED and format in FLAGS[name]} | given
    merged |= {name: None for name in ("quote", "norm") if merged.get(name) == NO_VALUE}
    if "positive" in merged:
        merged["positive"] = tuple(merged["positive"])
    if "columns" in merged:
        merged["columns"] = dict(merged["columns"])
    return merged


def open_reader(
    paths: list[str],
    options: argparse.Namespace,
    dtype: Any,
    model: LinearModel | None = None,
    *,
    has_labels: bool = True,
    is_training: bool = False,
    expected: str | None = None,
    keep_names: bool = False,
) -> tuple[Any, dict[str, Any]]:
    """Return the reader of data files, and the options to save in a model.

    Parameters
    ----------
    paths : list of str
    options : argparse.Namespace
        Flags of `add_data_flags`.
    dtype : dtype
    model : LinearModel, optional
        Model whose saved options and columns are used.
    has_labels : bool
        Whether rows without a label are an error.
    is_training : bool
        Whether categories that a model lacks become new features.
    expected : str, optional
        Format of other data of the same kind, by default that of the model.
    keep_names : bool
        Whether the reader collects the names of hashed features.
    """
    saved = {} if model is None or model.reader_options is None else model.reader_options
    path: Any = paths[0] if len(paths) == 1 else list(paths)
    data = open_data(path, options.format, expected or saved.get("format"))
    is_similar = data.format == saved.get("format") or {data.format, saved.get("format")} <= {*TABLES}
    found = reader_options(options, data.format, saved if is_similar else {})
    if data.format == "vw" and "bits" not in found and model is None and _is_hashed(data, found):
        found["bits"] = VW_BITS
    kept = {"format": data.format} | {name: value for name, value in found.items() if name in SAVED}
    kept = {
        name: list(value) if isinstance(value, tuple) else NO_VALUE if value is None else value
        for name, value in kept.items()
    }
    if data.format == "cache":
        if len(paths) > 1:
            raise ValueError(f"DATA: got {len(paths)} files, of which {paths[0]} is a cache; pass one cache")
        rows = read_cache(path)
        known = None if model is None else model.columns
        if known is not None and not (
            rows.columns is not None and (rows.columns.is_extension_of(known) or known.is_extension_of(rows.columns))
        ):
            raise ValueError(
                f"DATA: {path} has other features than the model, which was trained on a table; convert the table with "
                "--model, or pass the table itself"
            )
        return rows, rows.reader_options or kept
    if data.format == "svmlight":
        return read_svmlight(data.path, dtype=dtype, **found), kept
    if data.format == "vw":
        found = {"missing_labels": "error" if has_labels else "nan"} | found
        return read_vw(data.path, dtype=dtype, keep_names=keep_names and "bits" in found, **found), kept
    if data.format == "text":
        if "ngrams" in found:
            found["ngrams"] = 1, found["ngrams"]
        if not has_labels and not _has_text_labels(data.head, found, model):
            found["label"] = None
        return read_text(data.path, dtype=dtype, keep_names=keep_names, **found), kept
    if model is not None and model.columns is not None:
        for name, flag in (("columns", "column"), ("interactions", "interaction")):
            if name in found:
                raise ValueError(f"--{flag}: got the kind of a column, but the model has its own columns; omit it")
        found = {name: value for name, value in found.items() if name not in ("bits", "signed")}
        found |= {"columns": model.columns}
        if not is_training or "new_categories" not in found:
            found["new_categories"] = "add" if is_training else "ignore"
        if data.format == "csv" and isinstance(saved.get("header"), list) and options.header is None:
            found["header"] = _header_of(data, found, saved)
        if not has_labels:
            found |= {"label": None, "weight": None}
    read: Any = read_csv if data.format == "csv" else read_parquet
    reader = read(data.path, dtype=dtype, **found)
    reader.keep_names = keep_names
    return reader, kept


def saved_options(kept: dict[str, Any], reader: Any) -> dict[str, Any]:
    """Return the options of a reader to save in a model, with the names of the columns that it has read."""
    names = list(getattr(reader, "column_names", ()))
    if not names or kept["format"] not in TABLES:
        return kept
    places = {"label": kept.get("label", -1), "weight": kept.get("weight")}
    named = {name: names[place] if isinstance(place, int) else place for name, place in places.items()}
    kept = kept | {name: value for name, value in named.items() if value is not None}
    return kept | ({"header": names} if kept["format"] == "csv" else {})


def _is_hashed(data, found):
    """Return whether the features of a file in Vowpal Wabbit's format have names, or flags that need hashing."""
    return data.has_names or any(name in found for name in ("hash", "quadratic", "constant"))


def _has_text_labels(head, found, model):
    """Return whether most of the first lines of text begin, or end, with a label of a model."""
    lines = [line for line in head.decode("utf-8", "replace").splitlines() if line.strip()]
    delimiter = found.get("delimiter") or ("\t" if lines and "\t" in lines[0] else ",")
    labels = None if model is None or model.classes is None else {*model.classes.tolist()}

    def is_labelled(line):
        parts = line.partition(delimiter) if found.get("label") != "last" else line.rpartition(delimiter)[::-1]
        label = _parse_number(parts[0].strip().strip('"'))
        return bool(parts[1]) and (isinstance(label, float) if labels is None else label in labels)

    return 2 * sum(map(is_labelled, lines)) > len(lines)


def _parse_number(text):
    try:
        return float(text)
    except ValueError:
        return text


def _header_of(data, found, saved):
    """Return the names of the columns of a CSV file for a model, or None if its first row has them.

    A file without names has the columns of the training data, or these without the label and the weight.
    """
    names, special = saved["header"], (found.get("label"), found.get("weight"))
    path = data.path[0] if isinstance(data.path, list) else data.path
    name = str(getattr(path, "name", path))
    quote, missing = found.get("quote", QUOTE), {*found.get("missing", MISSING_WORDS)}
    dialect = find_dialect(name, data.head, found.get("delimiter"), quote, None, missing, names)
    if dialect.has_header:
        return None
    for known in (names, [name for name in names if name not in special]):
        if len(known) == len(dialect.names):
            return known
    return None
