"""Several files, patterns, pipes and line ends, and the treatment of malformed lines, for all readers of lines."""

import bz2
import gzip
import io
import lzma
import os
import pickle
import re
import threading

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from adagrad_nb import fit_linear, load_svmlight, load_text, load_vw, read_svmlight, read_text, read_vw
from adagrad_nb.io import lines
from adagrad_nb.io.lines import LineError
from adagrad_nb.io.source import NO_LINE_END

GOOD = {
    "svmlight": b"%d 3:1 7:0.5",
    "vw": b"%d |f 3 7:0.5",
    "names": b"%d |f a b:0.5|g c",
    "text": b"%d\tsome more words",
}
READ = {
    "svmlight": lambda file, **options: read_svmlight(file, n_features=9, **options),
    "vw": lambda file, **options: read_vw(file, n_features=9, **options),
    "names": lambda file, **options: read_vw(file, bits=18, **options),
    "text": lambda file, **options: read_text(file, delimiter="\t", **options),
}
LOAD = {
    "svmlight": lambda file, **options: load_svmlight(file, n_features=9, **options),
    "vw": lambda file, **options: load_vw(file, n_features=9, **options),
    "names": lambda file, **options: load_vw(file, bits=18, **options),
    "text": lambda file, **options: load_text(file, delimiter="\t", **options),
}
BAD = {
    "svmlight": [b"x 1:1", b"1 1", b"1 1:x", b"1 0:1", b"1 10:1", b"1 3:1 3:1", b"1e400 1:1", b"1 1:1e400", b"1 1:nan",
                 b"1 2147483648:1", b"1 9223372036854775808:1", b"1\x00 1:1", b"\xff", b"a,b,c", b"1 1:2:3"],
    "vw": [b"x |f 1", b"1 1:1", b"|f 1", b"1 |f x", b"1 |g 1", b"1 |f 1 1", b"1e400 |f 1", b"1 |f 1:1e400",
           b"1 |f 1:nan", b"1 |f 9", b"1 |f 2147483648", b"1 |f 9223372036854775808", b"1\x00 |f 1", b"\xff",
           b"1 |f 1 |f 2"],
    "names": [b"x |f a", b"1 a", b"|f a", b"1 |f a:1x", b"1 |f a:", b"1 |f:x a", b"1 |:1 a", b"1e400 |f a",
              b"1 |f a:1e400", b"1 |f a:nan", b"1 -1 |f a", b"1 1 1 |f a", b"1\x00 |f a", b"\xff",
              b"1 |f:1e300 a:1e300"],
    "text": [b"no delimiter", b"\tno label", b"1\tna\xefve", b"x\tlabel is no number", b"nan\tlabel", b"1e400\tlabel"],
}  # fmt: skip
ANY_FORMAT = pytest.mark.parametrize("kind", GOOD)


def labels_of(file):
    return [label for chunk in file for label in chunk.y.tolist()]


@ANY_FORMAT
@pytest.mark.parametrize("few_lines", [1, 2, 16])
def test_malformed_lines_are_skipped_and_listed(kind, few_lines, monkeypatch):
    monkeypatch.setattr(lines, "FEW_LINES", few_lines)
    rng = np.random.default_rng(few_lines)
    raw, bad, labels = [GOOD[kind] % 0], [], [0]
    for n in range(1, 120):
        while rng.random() < (0.6 if n % 40 < 20 else 0.02):
            bad.append((len(raw) + 1, BAD[kind][rng.integers(len(BAD[kind]))]))
            raw.append(bad[-1][1])
        raw += [GOOD[kind] % n] + [b""] * (n % 7 == 0)
        labels.append(n)
    text = b"\n".join(raw)
    for chunk_bytes in (1, 100, 3000, 1 << 20):
        file = READ[kind](io.BytesIO(text), on_error="skip", chunk_bytes=chunk_bytes)
        for _ in range(2):
            assert labels_of(file) == labels
            assert [error.line for error in file.errors] == [number for number, _ in bad]
            assert file.errors.count == len(bad)
            assert {error.name for error in file.errors} == {"<BytesIO>"}
    for error, (number, line) in list(zip(file.errors, bad, strict=True))[:10]:
        alone = GOOD[kind] % 0 + b"\n" + line + b"\n"
        with pytest.raises(ValueError, match=f"^{re.escape(f'<BytesIO>:line 2: {error.reason}')}$"):
            list(READ[kind](io.BytesIO(alone)))
        assert str(error) == f"<BytesIO>:line {number}: {error.reason}"
    X, y, *_ = LOAD[kind](io.BytesIO(text), on_error="skip")
    expected, *_ = LOAD[kind](io.BytesIO(b"\n".join(GOOD[kind] % n for n in labels)))
    assert y.tolist() == labels
    assert_array_equal(X.indices, expected.indices)
    assert_array_equal(X.data, expected.data)
    assert_array_equal(X.indptr, expected.indptr)


@ANY_FORMAT
def test_every_malformed_line_is_an_error(kind):
    for line in BAD[kind]:
        with pytest.raises(LineError, match="^<BytesIO>:line 3: .*;"):
            LOAD[kind](io.BytesIO(GOOD[kind] % 1 + b"\n\n" + line + b"\n" + GOOD[kind] % 2))


@ANY_FORMAT
def test_skipped_lines_are_reported(kind, tmp_path):
    path = tmp_path / "data"
    path.write_bytes(b"\n".join([GOOD[kind] % 1, BAD[kind][0], GOOD[kind] % 2, BAD[kind][1], b""]))
    with pytest.warns(
        UserWarning, match=f"data: skipped 2 malformed lines; the first is {re.escape(str(path))}:line 2: "
    ):
        _, y, *_ = LOAD[kind](path, on_error="report")
    assert y.tolist() == [1, 2]
    with pytest.raises(ValueError, match="on_error: got 'ignore'; must be one of 'raise', 'skip', 'report'"):
        LOAD[kind](path, on_error="ignore")


def test_the_list_of_errors_is_bounded(monkeypatch):
    monkeypatch.setattr(lines, "MAX_LISTED", 3)
    file = read_svmlight(io.BytesIO(b"x\n" * 10 + b"1 1:1\n"), on_error="skip")
    assert labels_of(file) == [1]
    assert (len(file.errors), file.errors.count) == (3, 10)
    assert file.errors[0].reason.startswith("got the label 'x'")
    error = pickle.loads(pickle.dumps(file.errors[0]))
    assert (error.line, error.name, str(error)) == (1, "<BytesIO>", str(file.errors[0]))


def test_query_identifiers_and_labels_of_skipped_lines():
    raw = b"1 qid:1 1:1\n2 qid:x 1:1\n3 qid:3 1:x\n4 qid:4 2:1\n"
    X, y, query_ids = load_svmlight(io.BytesIO(raw), query_id=True, on_error="skip")
    assert (X.shape[0], y.tolist(), query_ids.tolist()) == (2, [1, 4], [1, 4])
    _, labels = load_svmlight(io.BytesIO(b"1,2 1:1\n1,x 1:1\n3 1:x\n4 2:1\n"), multilabel=True, on_error="skip")
    assert labels == [(1.0, 2.0), (4.0,)]
    X, y = load_svmlight(io.BytesIO(b"1 0:1\n2 5:1\n3 1:1\n"), zero_based="auto", n_features=3, on_error="skip")
    assert y.tolist() == [1, 3]
    X, y = load_svmlight(io.BytesIO(b"1 1:3e38 1:3e38\n2 2:1\n"), duplicates="sum", dtype=np.float32, on_error="skip")
    assert y.tolist() == [2]


# --- files -----------------------------------------------------------------------------------------------------------


@ANY_FORMAT
def test_several_files(kind, tmp_path):
    compress = [bytes, gzip.compress, lzma.compress, bz2.compress]
    try:
        import zstandard

        compress.append(zstandard.ZstdCompressor(write_checksum=True).compress)
    except ImportError:
        pass
    paths = [tmp_path / f"part-{k}" for k in range(len(compress))]
    for k, path in enumerate(paths):
        end = b"" if k % 2 else b"\n"
        path.write_bytes(compress[k](b"\n".join([GOOD[kind] % (10 * k + n) for n in range(3)]) + end))
    expected = [10 * k + n for k in range(len(paths)) for n in range(3)]
    for given in (
        paths,
        [str(path) for path in paths],
        tuple(paths),
        str(tmp_path / "part-*"),
        tmp_path / "part-[0-9]",
    ):
        assert LOAD[kind](given)[1].tolist() == expected
        file = READ[kind](given, chunk_bytes=20)
        for _ in range(2):
            assert labels_of(file) == expected
            assert file.size == file.position == sum(path.stat().st_size for path in paths)
    assert file.name == f"{paths[0]} and {len(paths) - 1} more"
    assert labels_of(READ[kind]([str(tmp_path / "part-[01]"), paths[3]])) == [0, 1, 2, 10, 11, 12, 30, 31, 32]
    paths[1].write_bytes(GOOD[kind] % 1 + b"\n" + BAD[kind][0] + b"\n")
    with pytest.raises(ValueError, match=f"^{re.escape(str(paths[1]))}:line 2: "):
        LOAD[kind](paths)


def test_names_of_files(tmp_path):
    literal = tmp_path / "a[1].svm"
    literal.write_bytes(b"5 1:1\n")
    assert load_svmlight(literal)[1].tolist() == [5]  # an existing file is no pattern
    with pytest.raises(FileNotFoundError, match=r"No file matches this pattern: .*b\*\.svm"):
        load_svmlight(tmp_path / "b*.svm")
    with pytest.raises(FileNotFoundError):
        load_svmlight(tmp_path / "b.svm")
    with pytest.raises(ValueError, match="path: got an empty list; pass at least one file"):
        load_svmlight([])
    with pytest.raises(ValueError, match="offset, length: select a part of one file, but path has several"):
        load_svmlight([literal, literal], n_features=3, length=2)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
@ANY_FORMAT
def test_named_pipes(kind, tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        os.mkfifo(path)

    def write():
        for k, path in enumerate(paths):
            path.write_bytes(gzip.compress(b"\n".join(GOOD[kind] % (n + 5 * k) for n in range(5))))

    writer = threading.Thread(target=write)
    writer.start()
    file = READ[kind](paths)
    assert file.size is None
    assert labels_of(file) == list(range(10))
    writer.join()
    with pytest.raises(ValueError, match="a: a stream can be read only once; save it to a file"):
        list(file)


@ANY_FORMAT
def test_standard_input(kind, python, tmp_path):
    (tmp_path / "data").write_bytes(GOOD[kind] % 3 + b"\n" + GOOD[kind] % 4)
    options = {"svmlight": "", "vw": "", "names": ", bits=18", "text": ""}[kind]
    name = {"names": "vw"}.get(kind, kind)
    source = f"""
import os, sys
os.dup2(os.open({str(tmp_path / "data")!r}, os.O_RDONLY), 0)
from adagrad_nb import load_{name}
print(load_{name}("-"{options})[1].tolist())
"""
    assert python(source, NUMBA_DISABLE_JIT="1").strip() == "[3.0, 4.0]"


@ANY_FORMAT
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r", b"\n\n \t\n", b"\r\n\r\n"])
@pytest.mark.parametrize("chunk_bytes", [1, 50, 1 << 20])
def test_line_ends(kind, end, chunk_bytes):
    rows = [GOOD[kind] % n for n in range(20)]
    for text in (end.join(rows), end.join(rows) + end):
        file = READ[kind](io.BytesIO(text), chunk_bytes=chunk_bytes)
        assert labels_of(file) == list(range(20))
        line = 20 * max(end.count(b"\n"), 1) + 1
        with pytest.raises(ValueError, match=f":line {line}: "):
            list(READ[kind](io.BytesIO(text.rstrip(b"\r\n \t") + end + BAD[kind][0])))


def test_many_lines_that_end_in_a_carriage_return():
    row = b"1 3:1\r"
    n = 3 * NO_LINE_END // len(row)
    for chunk_bytes in (1000, NO_LINE_END, 1 << 20):
        assert labels_of(read_svmlight(io.BytesIO(row * n), chunk_bytes=chunk_bytes)) == [1] * n
    with pytest.raises(ValueError, match=f":line {n + 1}: got the label 'x'"):
        load_svmlight(io.BytesIO(row * n + b"x 1:1"))


@ANY_FORMAT
def test_empty_files(kind, tmp_path):
    path = tmp_path / "empty"
    for raw in (b"", b"\n", b"\r\n \n\t\n", b"\xef\xbb\xbf", b"\r"):
        path.write_bytes(raw)
        assert list(READ[kind](path)) == []
        with pytest.raises(ValueError, match="empty: there are no rows"):
            LOAD[kind](path)
    other = tmp_path / "other"
    other.write_bytes(GOOD[kind] % 4)
    assert labels_of(READ[kind]([path, other, path])) == [4]


@ANY_FORMAT
def test_a_line_longer_than_the_chunk(kind):
    more = {"svmlight": b"", "vw": b"", "names": b" w%d", "text": b" word%d"}[kind]
    long = GOOD[kind] % 1 + b"".join(more % k for k in range(2000)) if more else GOOD[kind] % 1 + b" " * 20000
    raw = b"\n".join([GOOD[kind] % 0, long, GOOD[kind] % 2])
    assert labels_of(READ[kind](io.BytesIO(raw), chunk_bytes=64)) == [0, 1, 2]


def test_csv_is_recognised():
    raw = b"39, State-gov, 77516, Bachelors, 13, Never-married, <=50K\n"
    for load in (load_svmlight, load_vw):
        with pytest.raises(ValueError, match="line 1: .*this is CSV, comma-separated text; read it with read_csv"):
            load(io.BytesIO(raw))


def test_a_model_of_a_list_of_files(tmp_path):
    """Two files make the model of one that contains both, bit for bit."""
    rows = [b"%d 1:%d 2:1\n" % (n % 2, n) for n in range(100)]
    for name, part in (("a", rows[:50]), ("b", rows[50:]), ("ab", rows)):
        (tmp_path / name).write_bytes(b"".join(part))
    one, two = fit_linear(read_svmlight(tmp_path / "ab")), fit_linear(read_svmlight([tmp_path / "a", tmp_path / "b"]))
    assert one.coef.tobytes() == two.coef.tobytes()
