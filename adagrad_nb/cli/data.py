"""Data of the command line: flags of the readers, and the reader of a file in any format."""

from __future__ import annotations

import argparse
from typing import Any

from ..io.arrow_reader import read_parquet
from ..io.csv_reader import read_csv
from ..io.formats import FORMATS, open_data
from ..io.lines import ON_ERROR
from ..io.readers import DUPLICATES, read_svmlight
from ..io.row_cache import read_cache
from ..io.text import read_text
from ..io.vowpal import read_vw

HELP = "data file: svmlight, Vowpal Wabbit, CSV, lines of label and text, Parquet, or a cache; '-' is standard input"
VW_BITS = 18
TABLES = ("csv", "parquet")
# Formats that a flag is for; all of them are options of the readers.
FLAGS = {
    "zero_based": ("svmlight",),
    "duplicates": ("svmlight", "vw"),
    "bits": ("vw", "text", *TABLES),
    "hash": ("vw",),
    "quadratic": ("vw",),
    "constant": ("vw",),
    "ngrams": ("text",),
    "delimiter": ("text", "csv"),
    "label": ("text", *TABLES),
    "weight": TABLES,
    "positive": TABLES,
    "columns": TABLES,
    "interactions": TABLES,
    "header": ("csv",),
    "on_error": ("svmlight", "vw", "text"),
}
SAVED = [name for name in FLAGS if name not in ("on_error", "columns", "interactions")]


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
    group.add_argument("--ngrams", type=int, metavar="N", help="text: sequences of up to N words; default: 2")
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
            flag = {"columns": "column", "interactions": "interaction"}.get(name, name).replace("_", "-")
            raise ValueError(
                f"--{flag}: is for the format {' and '.join(FLAGS[name])}, but the data is {format}; omit it, or name "
                "the format with --format"
            )
    merged = {name: value for name, value in saved.items() if name in SAVED and format in FLAGS[name]} | given
    for name in ("label", "weight"):
        if isinstance(merged.get(name), str) and format in TABLES:
            merged[name] = _parse_place(merged[name])
    if "positive" in merged:
        merged["positive"] = tuple(_parse_number(label) for label in merged["positive"])
    if "columns" in merged:
        merged["columns"] = dict(merged["columns"])
    return merged


def _parse_number(text):
    try:
        return float(text)
    except ValueError:
        return text


def open_reader(
    paths: list[str], options: argparse.Namespace, dtype: Any, model: Any = None, has_labels: bool = True
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
    """
    saved = {} if model is None or model.reader_options is None else model.reader_options
    path: Any = paths[0] if len(paths) == 1 else list(paths)
    data = open_data(path, options.format)
    found = reader_options(options, data.format, saved if saved.get("format") == data.format else {})
    kept = {"format": data.format} | {name: value for name, value in found.items() if name in SAVED}
    kept = {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}
    columns = None if model is None else model.columns
    if data.format == "cache":
        return read_cache(path), kept
    if data.format == "svmlight":
        return read_svmlight(data.path, dtype=dtype, **found), kept
    if data.format == "vw":
        if "bits" not in found and data.has_names:
            found["bits"] = kept["bits"] = VW_BITS
        missing: Any = "error" if has_labels else "nan"
        return read_vw(data.path, dtype=dtype, missing_labels=missing, **found), kept
    if data.format == "text":
        if "ngrams" in found:
            found["ngrams"] = 1, found["ngrams"]
        return read_text(data.path, dtype=dtype, **found), kept
    if columns is not None:
        if "columns" in found or "interactions" in found:
            raise ValueError("--column: got the kind of a column, but the model has its own columns; omit it")
        found = {name: value for name, value in found.items() if name != "bits"} | {"columns": columns}
        if not has_labels:
            found |= {"label": None, "weight": None}
    read = read_csv if data.format == "csv" else read_parquet
    return read(data.path, dtype=dtype, **found), kept
