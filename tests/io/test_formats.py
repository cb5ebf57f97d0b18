"""Formats of files, found from content and name: every format, compression and stream; ambiguous and empty content."""

import bz2
import gzip
import io
import lzma
import os
import threading

import numpy as np
import pytest

from adagrad_nb import Chunk, write_cache
from adagrad_nb.io.formats import HEAD_BYTES, TEXT_FORMATS, open_data

TEXTS = {
    "svmlight": b"1 3:0.5 7:1e-3\n-1 2:1 # comment\n",
    "vw": b"1 2.0 'tag|user age:0.3 city:Paris |ad sports\n-1 |user age:1\n",
    "csv": b"39, State-gov, <=50K\n50, Private, >50K\n",
    "text": b"ham\tsee you at lunch\nspam\twin a prize now\t\t\n",
}
MORE_TEXTS = [
    ("csv", b"|1x3 Cross validator\n39, State-gov, <=50K\n50, Private, >50K\n"),
    ("csv", b"# made by hand\n\na;b\n1;2\n"),
    ("csv", b"a\tb\n1\t2\n"),
    ("csv", b"0,tcp,normal."),
    ("svmlight", b"1 1:2"),
    ("svmlight", b"3\n-1\n"),
    ("svmlight", b"1,3 1:2\n"),
    ("svmlight", b"1 qid:3 1:2\r\n0 qid:3 2:1\r\n"),
    ("svmlight", b"1 1:2\n1 2:3\n1 2:x\n"),
    ("vw", b"| a b"),
    ("vw", b"1 |f 3:0.5 7\n"),
    ("text", b"ham\tsee you\t\t\t0\n" + b"ham\tsee you\t\t\t\n" * 20),
]
COMPRESSIONS = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}


@pytest.mark.parametrize("suffix", COMPRESSIONS)
@pytest.mark.parametrize("format", TEXTS)
def test_the_format_of_text_is_found_from_its_content(tmp_path, format, suffix):
    for name in ("data", "data.txt", "data.dat", f"data.{format}"):
        path = tmp_path / (name + suffix)
        path.write_bytes(COMPRESSIONS[suffix](TEXTS[format]))
        assert open_data(str(path)).format == format
        wrong = tmp_path / name  # without the suffix of the compression
        wrong.write_bytes(path.read_bytes())
        assert open_data(str(wrong)).format == format


@pytest.mark.parametrize(("format", "text"), MORE_TEXTS)
def test_formats_of_unusual_text(tmp_path, format, text):
    path = tmp_path / "data"
    path.write_bytes(text)
    assert open_data(path).format == format


@pytest.mark.parametrize(("format", "suffix"), [("svmlight", ".vw"), ("vw", ".svm"), ("svmlight", ".csv")])
def test_certain_content_outweighs_the_name(tmp_path, format, suffix):
    path = tmp_path / f"data{suffix}"
    path.write_bytes(TEXTS[format])
    assert open_data(path).format == format


def test_the_format_of_binary_files_is_found(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    pa = pytest.importorskip("pyarrow")
    parquet.write_table(pa.table({"a": [1, 2], "b": [0, 1]}), tmp_path / "table.csv")
    write_cache([Chunk(np.eye(2), np.array([0.0, 1.0]))], tmp_path / "rows.svm")
    assert open_data(tmp_path / "table.csv").format == "parquet"
    assert open_data(tmp_path / "table.csv", expected="csv").format == "parquet"
    assert open_data(tmp_path / "rows.svm").format == "cache"


@pytest.mark.parametrize(("name", "format"), [("a.vw", "vw"), ("a.csv.gz", "csv"), ("a", "svmlight")])
def test_an_empty_file_has_the_format_of_its_name(tmp_path, name, format):
    path = tmp_path / name
    path.write_bytes(b"\n\n")
    assert open_data(path).format == format
    path.write_bytes(b"")
    assert open_data(path).format == format
    assert open_data(path, "text").format == "text"


def test_the_format_of_unknown_text_is_an_error(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(b"see you at lunch\n")
    with pytest.raises(
        ValueError, match=r"the format cannot be found .*'see you at lunch'; name it, one of svmlight, vw"
    ):
        open_data(path)
    assert open_data(path, expected="text").format == "text"
    assert open_data(path, "vw").format == "vw"


def test_text_has_the_expected_format(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(b"3\n4\n")  # svmlight without features, or a column of a table
    assert [open_data(path, expected=format).format for format in TEXT_FORMATS] == list(TEXT_FORMATS)
    assert open_data(path, expected="parquet").format == "csv"
    assert open_data(path, expected="cache").format == "svmlight"


@pytest.mark.parametrize("compress", COMPRESSIONS.values())
def test_a_pipe_that_gives_single_bytes_loses_none(tmp_path, compress):
    content, path = compress(TEXTS["csv"] * 40), tmp_path / "pipe"
    os.mkfifo(path)

    def write():
        with open(path, "wb", buffering=0) as file:
            for k in range(len(content)):
                file.write(content[k : k + 1])

    writer = threading.Thread(target=write)
    writer.start()
    data = open_data(str(path))
    writer.join()
    assert data.format == "csv"
    assert data.path.name == str(path)
    assert data.path.read() == content


def test_an_open_file_is_read_from_its_position():
    file = io.BytesIO(b"skipped" + TEXTS["vw"])
    file.seek(7)
    data = open_data(file)
    assert (data.format, data.path.read(), data.head) == ("vw", TEXTS["vw"], TEXTS["vw"])


@pytest.mark.parametrize("compress", COMPRESSIONS.values())
def test_the_head_of_a_long_file(tmp_path, compress):
    digits = np.random.default_rng(0).integers(0, 10**9, 60_000).tolist()
    path = tmp_path / "data"
    path.write_bytes(compress(b"".join(b"%d,red,%d\n" % (k, k % 2) for k in digits)))
    data = open_data(path)
    assert data.format == "csv"
    assert HEAD_BYTES // 2 < len(data.head) < 2 * HEAD_BYTES


def test_names_in_vowpal_wabbit_text_are_found(tmp_path):
    path = tmp_path / "data"
    for text, has_names in ((b"1 |f 3:0.5 7\n", False), (b"1 |f a:1\n", True), (b"1 |f 3 |g 4\n", True)):
        path.write_bytes(text)
        assert open_data(path).has_names == has_names
