"""Readers of svmlight and Vowpal Wabbit text: exact rounding, all formats of rows, compression, and error messages."""

import bz2
import contextlib
import gzip
import hashlib
import io
import itertools
import lzma
import os
import pathlib
import re
import struct
import subprocess
import sys
import threading
import tracemalloc
from fractions import Fraction

import numba
import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal

from adagrad_nb.io import readers, source
from adagrad_nb.io.readers import Chunk, load_svmlight, read_svmlight
from adagrad_nb.io.source import Source
from adagrad_nb.io.vowpal import load_vw, read_vw

DATA = pathlib.Path(__file__).parents[2] / "examples" / "data"
needs_compiler = pytest.mark.compiled_only("a full data set takes minutes in pure Python")


# --- reference parser and random text ------------------------------------------------------------------------------


def parse_naively(raw, first_index=1):
    """Return [(label, {column: value})], parsed by `str.split` and `float`."""
    rows = []
    for line in raw.decode().split("\n"):
        tokens = line.split("#")[0].split()
        if tokens:
            pairs = (token.split(":") for token in tokens[1:] if not token.startswith("qid:"))
            rows.append((float(tokens[0]), {int(i) - first_index: float(v) for i, v in pairs}))
    return rows


def assert_same_bits(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    assert_array_equal(a.view(np.int64), b.view(np.int64))


def assert_is(X, y, rows):
    """Check that X and y hold exactly `rows`, and that X is in canonical format."""
    assert_same_bits(y, [label for label, _ in rows])
    assert_array_equal(X.indptr, np.cumsum([0] + [len(row) for _, row in rows]))
    assert_array_equal(X.indices, [i for _, row in rows for i in sorted(row)])
    assert_same_bits(X.data, [row[i] for _, row in rows for i in sorted(row)])
    assert X.has_canonical_format


def random_number(rng):
    kind = rng.integers(7)
    x = float(rng.standard_normal() * 10.0 ** rng.integers(-12, 12))
    if kind == 0:
        return str(rng.integers(-20, 1000))
    if kind == 1:
        return f"{x:.{rng.integers(0, 20)}e}".replace("e", rng.choice(["e", "E"]))
    if kind == 2:
        return f"+{abs(x):.{rng.integers(1, 9)}f}"
    if kind == 3:
        return f"{rng.integers(0, 99)}."
    if kind == 4:
        return f".{rng.integers(0, 10**9)}"
    return repr(x)


def random_text(rng, n_rows, first_index=1):
    """Return svmlight text with random blanks, comments, line ends and number formats; rows are not sorted."""
    lines = []
    for _ in range(n_rows):
        random_blank = lambda: rng.choice([" ", "  ", "\t", " \t"], p=[0.85, 0.05, 0.05, 0.05])  # noqa: E731
        columns = rng.choice(10 ** rng.integers(1, 7), size=rng.integers(0, 9), replace=False) + first_index
        if rng.random() < 0.5:
            columns.sort()
        line = rng.choice(["", " "], p=[0.9, 0.1]) + random_number(rng)
        if rng.random() < 0.1:
            line += random_blank() + f"qid:{rng.integers(100)}"
        line += "".join(f"{random_blank()}{i}:{random_number(rng)}" for i in columns.tolist())
        if rng.random() < 0.2:
            line += rng.choice([" ", "\t ", "", " # 1:2 é", "#3:x"])
        lines.append(line + rng.choice(["\n", "\r\n"]))
        if rng.random() < 0.1:
            lines.append(rng.choice(["\n", "  \t\n", "# 1 2:3\n", " # nothing\r\n", "\r\n"]))
    text = "".join(lines)
    return (text.rstrip("\r\n") if rng.random() < 0.5 else text).encode()


def load(raw, **options):
    return load_svmlight(io.BytesIO(raw), **options)


# --- rows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("first_index", [0, 1])
def test_random_text_is_parsed_as_by_the_reference(seed, first_index):
    raw = random_text(np.random.default_rng(seed), 60, first_index)
    X, y = load(raw, zero_based=first_index == 0)
    assert_is(X, y, parse_naively(raw, first_index))
    assert X.dtype == y.dtype == np.float64
    assert X.indices.dtype == X.indptr.dtype == np.int32
    assert X.shape[1] == X.indices.max() + 1


@pytest.mark.parametrize("seed", range(3))
def test_results_equal_those_of_scikit_learn(seed):
    datasets = pytest.importorskip("sklearn.datasets")
    rng = np.random.default_rng(seed)
    # scikit-learn does not sort rows and accepts ASCII comments only
    lines = [
        " ".join([repr(rng.standard_normal()), *(f"{i}:{random_number(rng)}" for i in np.flatnonzero(row) + 1)])
        for row in rng.random((40, 30)) < 0.2
    ]
    raw = "\n".join(lines).encode()
    X, y = load(raw, n_features=30)
    expected, labels = datasets.load_svmlight_file(io.BytesIO(raw), n_features=30, zero_based=False)
    assert_array_equal(X.toarray(), expected.toarray())
    assert_array_equal(y, labels)


@pytest.mark.parametrize(
    "raw",
    [
        b"1 1:2 3:4\n-1 2:5\n",
        b"1 1:2 3:4\r\n-1 2:5\r\n",
        b"1 1:2 3:4\n-1 2:5",
        b"\n\n# c\n+1\t1:2  3:4 \n \t\n-1 2:5 # 9:9\n",
        b"1 qid:7 3:4 1:2\n-1 qid:8 2:5#x\n\n",
        b"1. 1:2. 3:+4\n-1e0 2:.5e1",
        b"\xef\xbb\xbf1 1:2 3:4\n-1 2:5\n",
        b"1 1:2\r 3:4\n-1.0 2:50E-1\r",
    ],
)
def test_spellings_of_the_same_data(raw):
    X, y = load(raw)
    assert_array_equal(X.toarray(), [[2, 0, 4], [0, 5, 0]])
    assert_array_equal(y, [1, -1])
    assert X.has_canonical_format


def test_rows_without_features_and_explicit_zeros_are_kept():
    X, y = load(b"3\n-2 2:0\n0 #\n", n_features=4)
    assert X.shape == (3, 4)
    assert X.nnz == 1
    assert_array_equal(y, [3, -2, 0])
    X, _ = load(b"1\n2\n")
    assert X.shape == (2, 0)


@pytest.mark.parametrize("chunk_bytes", [1, 2, 7, 64, 500])
def test_chunks_of_any_size_hold_all_rows(chunk_bytes):
    raw = random_text(np.random.default_rng(11), 50)
    file = read_svmlight(io.BytesIO(raw), chunk_bytes=chunk_bytes)
    chunks = list(file)
    widest = 0
    for chunk in chunks:
        assert isinstance(chunk, Chunk)
        assert chunk.weight is None
        assert chunk.X.shape[0] == chunk.y.size > 0
        widest = max(widest, chunk.X.indices.max(initial=-1) + 1)
        assert chunk.X.shape[1] == widest
    assert len(chunks) > len(raw) // 1000
    X, y = load(raw)
    assert_array_equal(np.concatenate([chunk.y for chunk in chunks]), y)
    assert_array_equal(np.concatenate([chunk.X.indices for chunk in chunks]), X.indices)
    assert_same_bits(np.concatenate([chunk.X.data for chunk in chunks]), X.data)
    assert_array_equal(np.concatenate([np.diff(chunk.X.indptr) for chunk in chunks]), np.diff(X.indptr))
    assert file.n_features == X.shape[1]


def test_a_chunk_does_not_change_when_the_next_is_read():
    chunks = read_svmlight(io.BytesIO(b"1 1:1\n2 1:2\n3 1:3\n"), chunk_bytes=6)
    assert [(chunk.y.item(), chunk.X.toarray().item()) for chunk in list(chunks)] == [(1, 1), (2, 2), (3, 3)]


def test_every_pass_reads_from_the_start(tmp_path):
    path = tmp_path / "a.svm"
    path.write_bytes(b"1 1:1\n2 4:2\n")
    with open(path, "rb") as opened:
        opened.readline()
        remainder = read_svmlight(opened, chunk_bytes=6)
        assert [chunk.y.tolist() for _ in range(2) for chunk in remainder] == [[2], [2]]
        assert not opened.closed
    file = read_svmlight(path, chunk_bytes=6)
    assert next(iter(file)).y == 1  # an incomplete pass does not affect the next one
    assert [chunk.X.shape[1] for chunk in file] == [1, 4]
    assert [chunk.X.shape[1] for chunk in file] == [4, 4]  # the second pass uses the columns found by the first


def test_position_and_size_count_bytes_as_stored(tmp_path):
    raw = b"".join(b"1 %d:1\n" % i for i in range(1, 400))
    path = tmp_path / "a.svm"
    for data in (raw, lzma.compress(raw)):
        path.write_bytes(data)
        file = read_svmlight(path, chunk_bytes=1000)
        assert file.size == len(data)
        assert file.position == 0
        positions = [file.position for _ in file]
        assert positions == sorted(positions)
        assert positions[-1] == file.position == file.size
    assert str(path) in repr(file)
    assert "chunk_bytes=1000" in repr(file)


def test_a_pipe_is_read_once():
    receiver, sender = os.pipe()
    raw = gzip.compress(b"1 1:1\n2 4:2\n")
    writer = threading.Thread(target=lambda: (os.write(sender, raw), os.close(sender)))
    writer.start()
    with open(receiver, "rb") as pipe:
        file = read_svmlight(pipe)
        assert [chunk.y.tolist() for chunk in file] == [[1, 2]]
        assert file.size is None
        assert file.position == 12
        with pytest.raises(ValueError, match="can be read only once; save it to a file"):
            list(file)
    writer.join()


def test_zero_based():
    raw = b"1 1:1\n2 4:2\n"
    assert load(raw)[0].shape == load(raw, zero_based="auto")[0].shape == (2, 4)
    assert load(raw, zero_based=True)[0].shape == (2, 5)
    X, _ = load(raw + b"3 0:1\n", zero_based="auto")
    assert X.shape == (3, 5)
    assert load(raw, zero_based="auto", n_features=6)[0].shape == (2, 6)
    assert load(b"1\n", zero_based="auto")[0].shape == (1, 0)
    with pytest.raises(ValueError, match="line 2: got the index 4 with n_features=3; pass n_features=4"):
        load(raw, zero_based="auto", n_features=3)


def test_indices_beyond_int32():
    edge = 2**31 - 1
    X, _ = load(b"1 3:1 %d:2\n" % edge)
    assert X.indices.dtype == np.int32
    assert X.shape[1] == edge
    X, _ = load(b"1 3:1 %d:2\n2 5:1\n" % (edge + 1))
    assert X.indices.dtype == X.indptr.dtype == np.int64
    assert_array_equal(X.indices, [2, edge, 4])
    chunks = list(read_svmlight(io.BytesIO(b"1 3:1\n2 %d:2\n3 1:1\n" % 10**17), chunk_bytes=6))
    assert [chunk.X.indices.dtype for chunk in chunks] == [np.int32, np.int64, np.int64]
    assert chunks[-1].X.shape == (1, 10**17)
    assert load(b"1 3:1\n", n_features=2**40)[0].shape == (1, 2**40)


def test_float32():
    X, y = load(b"16777217 1:0.1 2:1e-45 3:3.4028235e38\n", dtype=np.float32)
    assert X.dtype == np.float32
    assert y.dtype == np.float64
    assert y == 16777217
    assert_array_equal(X.data, np.array([0.1, 1e-45, 3.4028235e38], np.float32))


# --- rounding of numbers -------------------------------------------------------------------------------------------

HARD_NUMBERS = """
0 -0 -0.0 0e0 0e999999 0.000000000000000000000000000000 1e-320 -4.9e-324 5e-324 2.4703282292062327e-324 1e-400
2.2250738585072011e-308 2.2250738585072014e-308 1.7976931348623157e308 1e308 -1E+308 179769313486231570000e288
9007199254740991 9007199254740992 9007199254740993 9007199254740995 9007199254740993.0000000000000000000001
18446744073709551615 18446744073709551616 9999999999999999999 123456789012345678901234567890 0.30000000000000004
0.1 .1 1. 00012.5000 0.1000000000000000055511151231257827021181583404541015625 3.141592653589793238 1e22 1e23
8.5e22 8.5e23 1e+00000000005 1e-00000000005 1597423827542915.875 1597423827542915875e-3 6929495644600919.5
8.442911973260991817129021e-309 7.8459735791271921e65 1090544144181609348671888949248 1.7e38 3.4e38 3.5e38
9214843084008499 6.0221407600000001e23
"""


def test_numbers_are_rounded_as_python_rounds_them():
    tokens = HARD_NUMBERS.split()
    expected = [float(token) for token in tokens]
    assert_same_bits(load("".join(f"0 7:{token}\n" for token in tokens).encode())[0].data, expected)
    assert_same_bits(load("\n".join(tokens).encode())[1], expected)


def random_decimals(rng, n):
    """Yield decimals near doubles, equal to doubles and half way between doubles, of all magnitudes."""
    for _ in range(n):
        x = struct.unpack("d", rng.bytes(8))[0]
        if np.isfinite(x):
            yield repr(x)
            yield f"{x:.{rng.integers(0, 19)}e}"
        half = Fraction(2 * int(rng.integers(2**52, 2**53)) + 1) * Fraction(2) ** int(rng.integers(-12, 12))
        power = half.denominator.bit_length() - 1
        yield f"{half.numerator * 5**power}e-{power}"  # exactly half way between two doubles
        digits = "".join(map(str, rng.integers(0, 10, rng.integers(1, 21))))
        point = rng.integers(0, len(digits) + 1)
        yield f"{digits[:point]}.{digits[point:]}e{rng.integers(-300, 280)}"
        yield repr(float(rng.standard_normal()))


def test_random_decimals_are_rounded_as_python_rounds_them():
    rng = np.random.default_rng(5)
    tokens = list(random_decimals(rng, 200 if numba.config.DISABLE_JIT else 20_000))
    X, _ = load("".join(f"0 7:{token}\n" for token in tokens).encode())
    assert_same_bits(X.data, [float(token) for token in tokens])


# --- malformed text ------------------------------------------------------------------------------------------------

VALID_TEXT = b"1 1:1 2:2\n# a comment\n\n-1 2:0.5\n"  # four lines, two rows

ERRORS = {
    b"1,2 3:1": "got several labels, '1,2'; write one number per row",
    b"nan 3:1": "got the label 'nan'; labels must be finite; remove the row",
    b"-Inf 3:1": "got the label '-Inf'; labels must be finite",
    b"spam 3:1": "got the label 'spam'; labels must be numbers; replace class names",
    b"3:1 4:1": "got '3:1' in place of the label; start each row with a number",
    b"1e 3:1": "got the label '1e'; labels must be numbers",
    b"- 3:1": "got the label '-'; labels must be numbers",
    b"1_0 3:1": "got the label '1_0'; labels must be numbers",
    b"0x1 3:1": "got the label '0x1'; labels must be numbers",
    b"\x00\x01": "got the label '\\x00\\x01'; labels must be numbers",
    b"1e999 3:1": "got '1e999', which exceeds the largest float64; scale the data",
    b"1 3 4:1": "got '3' in place of index:value; write 3:0.5, without a blank inside",
    b"1 3 :4": "got '3' in place of index:value",
    b"1 3:1\r-1 3:1": "got '-1' in place of index:value",
    b"1 1.5:1": "got the index '1.5' in '1.5:1'; an index must be an integer; number the features from 1",
    b"1 age:1": "got the index 'age' in 'age:1'; an index must be an integer",
    b"1 :1": "got the index '' in ':1'; an index must be an integer",
    b"1 -3:1": "got the negative index -3 in '-3:1'; number the features from 1",
    b"1 0:1": "got '0:1' with zero_based=False, where indices start at 1; pass zero_based=True",
    b"1 3:1 qid:4": "got 'qid:4'; qid: takes an integer and may occur once, after the label",
    b"1 qid:x 3:1": "got 'qid:x'; qid: takes an integer",
    b"1 3:nan": "got the value nan in '3:nan'; omit a missing feature",
    b"1 3:-Infinity # x": "got the value -Infinity in '3:-Infinity'; omit a missing feature",
    b"1 3:": "got the value '' in '3:'; write a number, as in 3:0.5",
    b"1 3: x": "got the value '' in '3:'; write a number",
    b"1 3: 4:5": "got the value '' in '3:'; write a number",
    b"1 3:.": "got the value '.' in '3:.'; write a number",
    b"1 3:--4": "got the value '--4' in '3:--4'; write a number",
    b"1 3:1e+": "got the value '1e+' in '3:1e+'; write a number",
    b"1 3:1.2.3": "got the value '1.2.3' in '3:1.2.3'; write a number",
    b"1 3:4:5": "this is LIBFFM text, field:feature:value; remove the fields and number the features",
    b"1 0:3:1 1:5:0.5": "this is LIBFFM text, field:feature:value",
    b"label,f1,f2": "got 'label,f1,f2'; this is CSV, comma-separated text; read it with read_csv",
    b"1,0.5,2": "got '1,0.5,2'; this is CSV, comma-separated text",
    b"1, 0.5, 2": "got '1, 0.5, 2'; this is CSV, comma-separated text",
    b"1;0,5;2": "got '1;0,5;2'; this is CSV, comma-separated text",
    b"1 |f 3:1": "this is Vowpal Wabbit text; read it with load_vw",
    b"1:2 12:0.1": "got '1:2' in place of the label; start each row with a number, 0 if the label is unknown; "
    "label:weight, as XGBoost reads it, is not supported, so pass the weights as sample_weight",
    b"1 0000000000000000000005:1": "got the index '0000000000000000000005' of 22 digits; write it without leading",
    "1 \uff13:1".encode(): "got the index '\uff13' in '\uff13:1'; an index must be an integer",
    b"1\x0c3:1": "got the index '\\x0c3' in '\\x0c3:1'; an index must be an integer",
    b"1 3:x#y": "got the value 'x' in '3:x'; write a number",
    b"1 3:\xc3\xa9": "got the value 'é' in '3:é'; write a number",
    b"1 3:1e400": "got '3:1e400', which exceeds the largest float64; scale the data",
    b"1 3:1 4:1 3:2": "index 3 occurs twice; add the two values, drop one, or pass duplicates='sum'",
    b"1 3:1 3:2": "index 3 occurs twice",
    b"1 1000000000000000000:1": "got the index 1000000000000000000; the largest supported index is 9999",
    b"1 99999999999999999999999:1": "got the index 99999999999999999999999; the largest supported index is",
    b"1 3:" + 99 * b"x": "got the value '" + 57 * "x" + "...' in",
}


@pytest.mark.parametrize("chunk_bytes", [8, 4096])
@pytest.mark.parametrize("line", ERRORS)
def test_errors_name_file_line_and_remedy(line, chunk_bytes, tmp_path):
    path = tmp_path / "bad.svm"
    path.write_bytes(VALID_TEXT + line + b"\n" + VALID_TEXT)
    with pytest.raises(ValueError, match=re.escape(f"{path}:line 5: {ERRORS[line]}")):
        list(read_svmlight(path, chunk_bytes=chunk_bytes))


def test_errors_that_depend_on_options():
    with pytest.raises(ValueError, match="line 2: got the index 4 with n_features=3; pass n_features=4 or more"):
        load(b"1 3:1\n1 4:1\n", n_features=3)
    with pytest.raises(ValueError, match="line 2: got the index 3 with n_features=3; pass n_features=4 or more"):
        load(b"1 2:1\n1 3:1\n", n_features=3, zero_based=True)
    with pytest.raises(ValueError, match="number the features from 0"):
        load(b"1 -3:1\n", zero_based=True)
    with pytest.raises(ValueError, match=r"index 0 occurs twice"):
        load(b"1 0:1 0:1\n", zero_based=True)
    for value in ("1e39", "3.4028236e38", "-1e60", "1e400"):
        message = f"line 1: got '3:{value}', which exceeds the largest float32; pass dtype=np.float64 or scale"
        with pytest.raises(ValueError, match=message):
            load(f"1 3:{value}\n".encode(), dtype=np.float32)
    for arguments, message in (
        (dict(n_features=0), "n_features: got 0; must be an integer of at least 1"),
        (dict(dtype=np.int64), "dtype: got int64; must be float32 or float64"),
        (dict(chunk_bytes=0), "chunk_bytes: got 0"),
        (
            dict(zero_based="auto"),
            "zero_based: got 'auto'; read_svmlight takes True or False, only load_svmlight takes",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            read_svmlight(io.BytesIO(b""), **arguments)
    with pytest.raises(ValueError, match="n_features: got -1"):
        load(b"1 1:1\n", zero_based="auto", n_features=-1)
    with pytest.raises(TypeError, match="zero_based: got 2; must be True or False"):
        load(b"1 1:1\n", zero_based=2)


@pytest.mark.parametrize("raw", [b"", b"\n\r\n", b"# nothing\n", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0)])
def test_a_file_without_rows(raw):
    assert list(read_svmlight(io.BytesIO(raw))) == []
    with pytest.raises(ValueError, match="<BytesIO>: there are no rows; the file must have lines such as"):
        load(raw)


def test_arguments_that_are_not_binary_files(tmp_path):
    with pytest.raises(TypeError, match='open it with open\\(name, "rb"\\)'):
        load_svmlight(io.StringIO("1 1:1\n"))
    with pytest.raises(TypeError, match="path: got 3; pass a file name"):
        load_svmlight(3)
    with pytest.raises(FileNotFoundError):
        read_svmlight(tmp_path / "none")


# --- compression ---------------------------------------------------------------------------------------------------


def zstd_compress(raw):
    with contextlib.suppress(ImportError):
        from compression import zstd

        return zstd.compress(raw, options={zstd.CompressionParameter.checksum_flag: 1})
    return pytest.importorskip("zstandard").ZstdCompressor(write_checksum=True).compress(raw)


COMPRESS = {"gzip": gzip.compress, "xz": lzma.compress, "bzip2": bz2.compress, "zstd": zstd_compress}


@pytest.mark.parametrize("kind", COMPRESS)
def test_compression_is_detected_by_magic_bytes(kind, tmp_path):
    raw = random_text(np.random.default_rng(3), 80)
    path = tmp_path / "suffix.txt"
    path.write_bytes(COMPRESS[kind](raw[:900]) + COMPRESS[kind](raw[900:]))  # two members, as pigz and cat write them
    assert_is(*load_svmlight(path), parse_naively(raw))
    file = read_svmlight(path, chunk_bytes=100)
    assert sum(chunk.y.size for chunk in file) == 80
    assert file.position == file.size


@pytest.mark.parametrize("kind", COMPRESS)
@pytest.mark.parametrize("harm", ["truncated", "overwritten"])
def test_damaged_compressed_files_raise(kind, harm, tmp_path):
    raw = random_text(np.random.default_rng(4), 200)
    data = COMPRESS[kind](raw)
    path = tmp_path / "damaged"
    path.write_bytes(data[: len(data) // 2] if harm == "truncated" else data[:12] + 64 * b"\xff" + data[76:])
    message = f"^{re.escape(str(path))}: the {kind} data is damaged or truncated .*; copy or compress the file again$"
    with pytest.raises(ValueError, match=message) as raised:
        load_svmlight(path)
    assert raised.value.__suppress_context__  # the traceback of the decompressor adds nothing


def test_zstd_without_a_library_names_the_package(monkeypatch):
    for module in ("compression", "zstandard"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"compressed with zstd, .*; pip install zstandard"):
        load(b"\x28\xb5\x2f\xfd")


def test_a_long_line_gives_one_large_block():
    raw = 20 * b"1 1:1\n" + b"2" + 1000 * b" " + b"1:1\n" + 200 * b"3 1:1\n"
    sizes = [block.size for block in Source(io.BytesIO(raw)).read_blocks(60)]
    assert sum(sizes) == len(raw)
    assert sizes[:2] == [60, 60]
    assert 1000 < max(sizes) < 2100
    assert sorted(sizes)[-3] <= 1000
    assert sizes[-5:-1] == [60, 60, 60, 60]


def test_blocks_do_not_depend_on_the_read_size_of_a_stream():
    class Slow(io.BytesIO):
        def readinto(self, buffer):
            return super().readinto(memoryview(buffer)[:1])

    raw = random_text(np.random.default_rng(6), 30)
    blocks = [[block.tobytes() for block in Source(file(raw)).read_blocks(70)] for file in (io.BytesIO, Slow)]
    assert blocks[0] == blocks[1]
    assert b"".join(blocks[0]) == raw + (b"" if raw.endswith(b"\n") else b"\n")


def zstd_without_checksum(raw):
    return pytest.importorskip("zstandard").ZstdCompressor(write_checksum=False).compress(raw)


@pytest.mark.parametrize("first", [b"", b"1 1:1\n"])
def test_zstd_without_a_checksum_is_warned_of(first):
    start = zstd_compress(first) if first else b""
    with pytest.warns(UserWarning, match="<BytesIO>: the zstd data has no checksum, so damage may remain unnoticed"):
        X, _ = load(start + zstd_without_checksum(b"1 1:1\n") + zstd_without_checksum(b"1 1:1\n"))
    assert X.shape[0] == 2 + bool(first)


def test_a_zstd_bomb_does_not_fill_the_memory():
    pytest.importorskip("zstandard")
    n = 8000  # blocks of 4 bytes, each for 128 KiB of blanks
    blocks = (struct.pack("<I", (131072 << 3) | 2 | (k == n - 1))[:3] + b"\n" for k in range(n))
    raw = b"\x28\xb5\x2f\xfd" + bytes([0, 0x38]) + b"".join(blocks)
    tracemalloc.start()
    with pytest.warns(UserWarning, match="no checksum"):
        size = sum(block.size for block in Source(io.BytesIO(raw)).read_blocks(1 << 20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size == n * 131072
    assert peak < 2e8


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_compressed_line_has_a_largest_length(kind, monkeypatch):
    monkeypatch.setattr(source, "MAX_LINE", 10_000)
    raw = b"1 " + b" " * 1_000_000 + b"1:1\n"
    with pytest.raises(ValueError, match=f"the {kind} data has a line of more than 0 MiB; decompress the file to read"):
        list(read_svmlight(io.BytesIO(COMPRESS[kind](raw)), chunk_bytes=1000))
    assert len(list(read_svmlight(io.BytesIO(raw), chunk_bytes=1000))) == 1


# --- pipes and other formats -----------------------------------------------------------------------------------------


class Trickle(io.RawIOBase):
    """A pipe that gives as many bytes as it likes."""

    def __init__(self, raw, sizes):
        self.raw, self.sizes = io.BytesIO(raw), itertools.cycle(sizes)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self.raw.readinto(memoryview(buffer)[: next(self.sizes)])


@pytest.mark.parametrize("kind", [*COMPRESS, "plain"])
@pytest.mark.parametrize("sizes", [(1,), (1, 100_000), (3, 2, 7)])
@pytest.mark.parametrize("is_buffered", [True, False])
def test_compression_is_detected_however_a_pipe_delivers(kind, sizes, is_buffered):
    raw = random_text(np.random.default_rng(3), 30)
    pipe = Trickle(COMPRESS.get(kind, bytes)(raw), sizes)
    assert_is(*load_svmlight(io.BufferedReader(pipe) if is_buffered else pipe), parse_naively(raw))


def test_a_stream_without_data_yet_is_not_taken_for_its_end():
    class NonBlocking(Trickle):
        def readinto(self, buffer):
            return super().readinto(buffer) or None

    with pytest.raises(ValueError, match="the stream is non-blocking and has no data yet; make it blocking"):
        load_svmlight(NonBlocking(b"1 1:1\n-1 2:1\n", (8,)))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are those of POSIX")
@pytest.mark.parametrize("kind", [*COMPRESS, "plain"])
def test_a_named_pipe_is_read_once(kind, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    compress = COMPRESS.get(kind, bytes)
    raw = compress(b"1 1:1 2:1\n-1 3:1\n")
    for load_pipe, text in ((load_svmlight, raw), (load_vw, compress(b"1 | 0 1\n-1 | 2\n"))):
        writer = threading.Thread(target=pipe.write_bytes, args=(text,))
        writer.start()
        assert_array_equal(load_pipe(pipe)[1], [1, -1])
        writer.join(10)
    writer = threading.Thread(target=pipe.write_bytes, args=(raw,))
    writer.start()
    file = read_svmlight(pipe)
    assert (file.size, len(list(file))) == (None, 1)
    writer.join(10)
    with pytest.raises(ValueError, match="a stream can be read only once; save it to a file to read it again"):
        list(file)


STDIN = """
import sys
from adagrad_nb import load_svmlight
for path in sys.argv[1:]:
    print(load_svmlight(path)[1].tolist())
"""


@pytest.mark.skipif(not os.path.exists("/dev/stdin"), reason="there is no /dev/stdin")
@pytest.mark.parametrize("is_pipe", [True, False])
@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_standard_input(name, is_pipe, tmp_path):
    path = tmp_path / "text"
    path.write_bytes(gzip.compress(b"1 1:1\n-1 2:1\n"))
    with open(path, "rb") as file:
        given = {"input": path.read_bytes()} if is_pipe else {"stdin": file}
        done = subprocess.run([sys.executable, "-c", STDIN, name], capture_output=True, check=False, **given)
    assert done.stdout.decode().strip() == "[1.0, -1.0]", done.stderr


def test_standard_input_as_text_names_its_buffer(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("1 1:1\n"))
    with pytest.raises(TypeError, match=r"got sys\.stdin, which is text; pass sys\.stdin\.buffer or '-'"):
        load_svmlight(sys.stdin)
    with pytest.raises(ValueError, match="got '-', but there is no standard input"):
        load_svmlight("-")


FORMATS = [
    ("is UTF-16 text; save it as UTF-8", "1 1:1\n".encode("utf-16")),
    ("is UTF-16 text; save it as UTF-8", "1 1:1\n".encode("utf-16-le")),
    ("is UTF-16 text; save it as UTF-8", "1 1:1\n".encode("utf-16-be")),
    ("is a ZIP archive; extract the text and pass that file", b"PK\x03\x04\x14\x00"),
    ("is a Parquet file; read it with read_parquet", b"PAR1\x15"),
    ("is a pickle; pass a text file", b"\x80\x04\x95"),
    ("is a NumPy array (.npy); pass a text file", b"\x93NUMPY\x01\x00"),
]


@pytest.mark.parametrize(("sentence", "raw"), FORMATS)
@pytest.mark.parametrize("load_file", [load_svmlight, load_vw, lambda file: list(read_svmlight(file))])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_other_formats_are_named(sentence, raw, load_file, compress):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        load_file(io.BytesIO(compress(raw)))


def test_a_blank_before_the_value_is_skipped():
    raw = b"0 21:1.00 42: 1\t63: .50\n1 7:\t -2 8:1 9:  0.12345678901234567890123 # x\n"
    X, _ = load(raw)
    assert_array_equal(X.indices + 1, [21, 42, 63, 7, 8, 9])
    assert_same_bits(X.data, [1, 1, 0.5, -2, 1, 0.12345678901234567890123])


def test_duplicates_are_summed_on_request():
    for first_index in (0, 1):
        X, _ = load(b"1 5:1 7:1 5:2\n2 3:1\n3 2:1 2:-1\n", duplicates="sum", zero_based=first_index == 0)
        assert_array_equal(X.toarray()[:, [5 - first_index, 7 - first_index]], [[3, 1], [0, 0], [0, 0]])
        assert X.has_canonical_format
    X, _, _ = load_vw(io.BytesIO(b"1 | 5:1 5:2 7\n"), duplicates="sum")
    assert_array_equal(X.toarray(), [[0, 0, 0, 0, 0, 3, 0, 1]])
    for load_file, line in ((load_svmlight, b"1 1:3e38 1:3e38\n"), (load_vw, b"1 | 1:3e38 1:3e38\n")):
        with pytest.raises(ValueError, match="the sum of the values of a feature exceeds the largest float32"):
            load_file(io.BytesIO(line), duplicates="sum", dtype=np.float32)
        with pytest.raises(ValueError, match="duplicates: got 'add'; must be one of 'error', 'sum'"):
            load_file(io.BytesIO(line), duplicates="add")


# --- real data -----------------------------------------------------------------------------------------------------

COUNTS = {  # rows, features, non-zeros, labels
    "a9a.xz": (32_561, 123, 451_592, {-1: 24_720, 1: 7_841}),
    "a9a.t.xz": (16_281, 122, 225_731, {-1: 12_435, 1: 3_846}),
    "agaricus.txt.train.xz": (6_513, 126, 143_286, {0: 3_373, 1: 3_140}),
    "agaricus.txt.test.xz": (1_611, 126, 35_442, {0: 835, 1: 776}),
    "rcv1_small.dat.vw.xz": (1_000, 47_118, 77_739, {-1: 541, 1: 459}),
    "rcv1_small_test.data.vw.xz": (500, 47_043, 39_448, {-1: 255, 1: 245}),
}


def assert_counts(X, y, name):
    n_rows, n_features, nnz, labels = COUNTS[name]
    assert X.shape == (n_rows, n_features)
    assert X.nnz == nnz
    values, counts = np.unique(y, return_counts=True)
    assert dict(zip(values.tolist(), counts.tolist(), strict=True)) == labels


@needs_compiler
@pytest.mark.parametrize("name", [name for name in COUNTS if ".vw." not in name])
def test_svmlight_data_sets(name):
    X, y = load_svmlight(DATA / name)
    assert_counts(X, y, name)
    assert X.has_canonical_format
    chunks = list(read_svmlight(DATA / name, n_features=X.shape[1], chunk_bytes=100_000))
    assert len(chunks) > 1
    assert_array_equal(np.concatenate([chunk.X.indices for chunk in chunks]), X.indices)
    assert all(chunk.X.shape[1] == X.shape[1] for chunk in chunks)


@pytest.mark.parametrize("name", [name for name in COUNTS if ".vw." in name])
def test_vowpal_wabbit_data_sets(name):
    X, y, weight = load_vw(DATA / name)
    assert_counts(X, y, name)
    assert_array_equal(weight, np.ones_like(y))
    assert X.has_canonical_format


@needs_compiler
def test_svmlight_and_vw_files_of_the_same_data_are_equal():
    raw = lzma.decompress((DATA / "rcv1_small.dat.vw.xz").read_bytes())
    X, y, _ = load_vw(io.BytesIO(raw))
    svmlight_matrix, labels = load(raw.replace(b"|f ", b""), zero_based=True)
    assert_array_equal(y, labels)
    assert_array_equal(X.indptr, svmlight_matrix.indptr)
    assert_array_equal(X.indices, svmlight_matrix.indices)
    assert_same_bits(X.data, svmlight_matrix.data)


def test_checksums_of_the_data_match_the_readme():
    listed = re.findall(r"^([0-9a-f]{64})  (\S+)$", (DATA / "README.md").read_text("utf-8"), re.MULTILINE)
    assert {name + ".xz" for _, name in listed} == {path.name for path in DATA.glob("*.xz")} >= set(COUNTS)
    for checksum, name in listed:
        with lzma.open(DATA / f"{name}.xz") as file:
            assert hashlib.sha256(file.read()).hexdigest() == checksum


# --- Vowpal Wabbit text --------------------------------------------------------------------------------------------


def test_vw_spellings():
    raw = b"1 | 4:0.5 0\n-1 2 |  4:1e-1 1:-3\n\n0.5 0.25 'tag| 1\r\n2 tag| 3:2\n-1 'tag | 2\n 1.5 |"
    X, y, weight = load_vw(io.BytesIO(raw))
    assert_array_equal(
        X.toarray(),
        [[1, 0, 0, 0, 0.5], [0, -3, 0, 0, 0.1], [0, 1, 0, 0, 0], [0, 0, 0, 2, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]],
    )
    assert_array_equal(y, [1, -1, 0.5, 2, -1, 1.5])
    assert_array_equal(weight, [1, 2, 0.25, 1, 1, 1])
    assert X.has_canonical_format


def test_vw_namespace_and_scale():
    X, _, _ = load_vw(io.BytesIO(b"1 |f:2 0:0.5 1\n1 |f 0:3\n"), n_features=3, dtype=np.float32)
    assert_array_equal(X.toarray(), [[1, 2, 0], [3, 0, 0]])
    assert X.dtype == np.float32


VW_ERRORS = {
    b"1 |f a:1": "got the feature 'a'; hash the names of features with bits=18, or number the",
    b"1 |f -1": "got the feature '-1'; hash the names of features with bits=18",
    b"1 |f 1 |g 2": "got several namespaces; hash the names of features with bits=18",
    b"1 |g 1": "got the namespace 'g' after 'f'; hash the names of features with bits=18",
    b"1 | 1": "got the namespace '' after 'f'; hash the names of features with bits=18",
    b"|f 1": "there is no label; write a label and a blank before the '|'",
    b"1|f 1": "there is no label; write a label and a blank before the '|'",
    b"1 1:2": "there is no '|'; this is svmlight text; read it with load_svmlight",
    b"1 1:2:3": "there is no '|'; this is LIBFFM text, field:feature:value; number the features",
    b"1,2,3": "there is no '|'; this is CSV, comma-separated text",
    b"1 spam": "there is no '|'; write the label, '|' and the features",
    b"1 |f 1234567890123456789012:1": "got the feature '1234567890123456789012'; the largest supported number is",
    "\uff11 |f 1".encode(): "got '\uff11' for the label; write a finite number",
    "1 |f \uff15".encode(): "got the feature '\uff15'; hash the names of features with bits=18",
    "1 |f 5:\uff11".encode(): "got '\uff11' for the value of feature 5; write a finite number",
    "1 |f 5\u20036".encode(): "got the feature '5\\u20036'; hash the names of features with bits=18",
    "1\xa0|f 5".encode(): "there is no label; write a label and a blank before the '|'",
    b"1 |f 5\x0b6": "got the feature '5\\x0b6'; hash the names of features with bits=18",
    b"1 |f 5\x1f6:1": "got the feature '5\\x1f6'; hash the names of features with bits=18",
    b"\x0c": "there is no '|'; write the label, '|' and the features",
    b"1 |f 5:1_0": "got '1_0' for the value of feature 5; write a finite number",
    b"1 |f 5:infinity": "got 'infinity' for the value of feature 5; write a finite number",
    b"spam |f 1": "got 'spam' for the label; write a finite number",
    b"nan |f 1": "got 'nan' for the label; write a finite number",
    b"1 x |f 1": "got 'x' for the importance; write a finite number",
    b"1 -2 |f 1": "got the importance '-2'; it must not be negative",
    b"1 1 0.5 |f 1": "got 3 numbers before the '|'; write label and importance only, without an initial",
    b"1 |f 1:": "got '' for the value of feature 1; write a finite number",
    b"1 |f 1:inf": "got 'inf' for the value of feature 1; write a finite number",
    b"1 |f:x 1": "got 'x' for the scale of the namespace; write a finite number",
    b"1 |f 2 1 2:3": "feature 2 occurs twice; add the two values, drop one, or pass duplicates='sum'",
    b"1 |f 1000000000000000000": "the largest supported number is 999999999999999999",
}


@pytest.mark.parametrize("line", VW_ERRORS)
def test_vw_errors_name_file_line_and_remedy(line, tmp_path):
    path = tmp_path / "bad.vw"
    path.write_bytes(b"1 |f 1\n\n" + line + b"\n")
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}:line 3: ')}.*{re.escape(VW_ERRORS[line])}"):
        load_vw(path)


def test_vw_leading_zeros():
    raw = b"1 |f 00000000000000000005:1 000000000000000000000006:1 0\n1 |f 0000000000000000000012345:1\n"
    X, _, _ = load_vw(io.BytesIO(raw))
    assert_array_equal(X.indices, [0, 5, 6, 12345])


@pytest.mark.parametrize("chunk_bytes", [8, 30, 4096])
def test_vw_chunks_make_up_the_whole(chunk_bytes, tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"1 |f 4:0.5 0\n\n-1 2 |f  4:1e-1 1:-3\n0.5 0.25 'tag|f 9\n2 |f\n")
    X, y, weight = load_vw(path)
    file = read_vw(path, chunk_bytes=chunk_bytes)
    for _ in range(2):
        chunks = list(file)
        assert chunk_bytes > 100 or len(chunks) > 1
        assert_array_equal(np.concatenate([chunk.y for chunk in chunks]), y)
        assert_array_equal(np.concatenate([chunk.weight for chunk in chunks]), weight)
        assert_array_equal(np.concatenate([chunk.X.indices for chunk in chunks]), X.indices)
        assert_array_equal(np.concatenate([chunk.X.data for chunk in chunks]), X.data)
        assert (file.n_features, file.position, file.size) == (10, file.size, path.stat().st_size)
    assert repr(file) == f"read_vw({str(path)!r}, n_features=None, dtype='float64', chunk_bytes={chunk_bytes})"
    path.write_bytes(b"1 |f 1\n" * 9 + b"1 |g 1\n")
    with pytest.raises(ValueError, match="line 10: got the namespace 'g' after 'f'"):
        list(read_vw(path, chunk_bytes=chunk_bytes))


def test_vw_errors_that_depend_on_options():
    with pytest.raises(ValueError, match="line 1: got the feature 3 with n_features=3; pass 4 or more, or omit it"):
        load_vw(io.BytesIO(b"1 | 3\n"), n_features=3)
    with pytest.raises(ValueError, match=r"a value exceeds the largest float32; pass dtype=np\.float64"):
        load_vw(io.BytesIO(b"1 | 3:1e39\n"), dtype=np.float32)
    with pytest.raises(ValueError, match="there are no rows"):
        load_vw(io.BytesIO(b"\n"))


# --- query identifiers, several labels, parts of a file --------------------------------------------------------------


def test_query_identifiers():
    raw = b"# x\n3 qid:1 1:0.5\n\n2  qid:-9223372036854775808 # none\n1\tqid:9223372036854775807 2:1\n0 qid:007 1:1"
    for options in ({}, {"zero_based": "auto"}, {"n_features": 5}):
        X, y, query_ids = load(raw, query_id=True, **options)
        assert query_ids.tolist() == [1, -(2**63), 2**63 - 1, 7]
        assert query_ids.dtype == np.int64
        assert_same_bits(load(raw, **options)[0].toarray(), X.toarray())
        assert y.tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize("multilabel", [False, True])
def test_query_identifiers_and_labels_in_many_blocks(multilabel, monkeypatch):
    rng = np.random.default_rng(5)
    rows = [
        (sorted(rng.normal(size=rng.integers(0 if multilabel else 1, 4 if multilabel else 2))), n) for n in range(60)
    ]
    text = "".join(
        f"{','.join(map(repr, map(float, labels)))} qid:{n * 10**15} 3:{n}\n" for labels, n in rows if labels
    )
    expected = [(labels, n) for labels, n in rows if labels]
    for block in (8, 100, 1 << 20):
        monkeypatch.setattr(readers, "LOAD_BYTES", block)
        X, y, query_ids = load(text.encode(), query_id=True, multilabel=multilabel)
        assert query_ids.tolist() == [n * 10**15 for _, n in expected]
        assert X[:, [2]].toarray().ravel().tolist() == [n for _, n in expected]
        assert (y if multilabel else [(label,) for label in y]) == [tuple(labels) for labels, _ in expected]


def test_several_labels():
    raw = b"2,1 1:1 2:2\n1:5 # no label\n\n  3:7\n-1.5e0\n0 , 2:1\n1,0.1000000000000000000000001 4:1"
    with pytest.raises(ValueError, match=r"line 6: "):
        load(raw, multilabel=True)
    raw = raw.replace(b" ,", b"")
    X, y = load(raw, multilabel=True)
    assert y == [(1.0, 2.0), (), (), (-1.5,), (0.0,), (0.1, 1.0)]
    assert X.toarray().tolist() == [
        [1, 2, 0, 0], [5, 0, 0, 0], [0, 0, 7, 0], [0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1],
    ]  # fmt: skip
    assert load(raw, multilabel=True, n_features=9)[1] == y
    assert load(raw, multilabel=True, zero_based="auto")[1] == y


@pytest.mark.parametrize(
    ("raw", "options", "message"),
    [
        (b"1 1:1\n2 3:1\n", {"query_id": True}, "line 1: the row has no query identifier; write qid:1 after the label"),
        (b"1 qid:1\n2 qid:x 3:1\n", {"query_id": True}, "line 2: got 'qid:x'; qid: takes an integer of 64 bits"),
        (b"1 qid:9223372036854775808\n", {"query_id": True}, "takes an integer of 64 bits"),
        (b"1 qid:10000000000000000000\n", {"query_id": True}, "takes an integer of 64 bits"),
        (b"1 1:1 qid:3\n", {"query_id": True}, "line 1: the row has no query identifier"),
        (b"1,2 1:1\n1,x 1:1\n", {"multilabel": True}, "line 2: got the labels '1,x'; write numbers with commas"),
        (b"1, 1:1\n", {"multilabel": True}, "line 1: got the labels '1,'"),
        (b"1e999 1:1\n", {"multilabel": True}, "exceed the largest float64"),
        (b"1e-320\x1a 1:1\n", {}, "line 1: got '\\x1a' in place of index:value"),
        (b"1 1:1e-320\x1a\n", {}, "line 1: got '\\x1a' in place of index:value"),
        (b"1 1: 1e-320\x00\n", {}, "line 1: got '\\x00' in place of index:value"),
        (b"2,1e-320\x1a 1:1\n", {"multilabel": True}, "line 1: got '\\x1a' in place of index:value"),
        (b"1,2 1:1\n3 1:x\n", {"multilabel": True}, "line 2: got the value 'x' in '1:x'"),
        (b"1,2 1:1\n", {}, "line 1: got several labels, '1,2'; write one number per row, or pass multilabel=True"),
        (b"1 1:1\n", {"offset": 3}, "n_features: is needed with offset or length"),
        (b"1 1:1\n", {"length": 3}, "n_features: is needed with offset or length"),
        (b"1 1:1\n", {"length": 3, "n_features": 1, "zero_based": "auto"}, "zero_based: got 'auto' with offset"),
        (b"1 1:1\n", {"length": -2}, "length: got -2; must be an integer of at least -1"),
        (b"1 1:1\n", {"offset": -1}, "offset: got -1"),
        (b"1 1:1\n", {"offset": 1.5}, "offset: got 1.5"),
        (b"1 1:1\n", {"multilabel": 1}, "multilabel: got 1"),
        (b"1 1:1\n2 1:1\n3 1:x\n", {"offset": 1, "n_features": 3}, "line 3: got the value 'x'"),
    ],
)
def test_errors_of_query_identifiers_labels_and_parts(raw, options, message):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        load(raw, **options)


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_every_split_of_a_file_has_each_line_once(block, monkeypatch):
    raw = b"# head\n1 qid:0 1:1 2:2\n\n2 qid:0\n3 qid:1 2:5 3:1 # tail\n-4 qid:2 1:1\n5 qid:9"
    whole = load(raw, n_features=3, query_id=True)
    monkeypatch.setattr(readers, "LOAD_BYTES", block)
    for first in range(1, len(raw) + 2):
        for second in range(first + 1, len(raw) + 2, 5):
            parts = [(0, first), (first, second - first), (second, -1)]
            loaded = [load(raw, n_features=3, query_id=True, offset=a, length=n) for a, n in parts]
            assert np.concatenate([y for _, y, _ in loaded]).tolist() == whole[1].tolist()
            assert np.concatenate([q for _, _, q in loaded]).tolist() == whole[2].tolist()
            assert sp.vstack([X for X, _, _ in loaded]).toarray().tolist() == whole[0].toarray().tolist()
            chunks = [list(read_svmlight(io.BytesIO(raw), offset=a, length=n, chunk_bytes=block)) for a, n in parts]
            assert [label for part in chunks for chunk in part for label in chunk.y] == whole[1].tolist()
    for length in (-1, 0):
        assert load(raw, n_features=3, length=length)[1].tolist() == whole[1].tolist()
