"""Hashed Vowpal Wabbit text: known hashes, the reference, options, and malformed lines."""

import io
import pathlib
import re

import numpy as np
import pytest
import reference_vowpal as reference
from numpy.testing import assert_allclose, assert_array_equal

from adagrad_nb import fit_linear, load_vw, read_vw
from adagrad_nb.io import lines, vowpal_rows

DATA = pathlib.Path(__file__).parents[2] / "examples" / "data"


def load(raw, **options):
    return load_vw(io.BytesIO(raw), **{"bits": 18, **options})


def row_of(line, **options):
    """The {column: value} of one line."""
    X, _, _ = load(line, **options)
    return dict(zip(X.indices.tolist(), X.data.tolist(), strict=True))


# Columns that Vowpal Wabbit 9.11 prints: {(line, hash): features of all namespaces}.
KNOWN = {
    (b"1 |a x y:2 :0.5 :3 z:0", "strings"): {55432: 1, 42847: 2, 1009084850 % 2**18: 0.5, 1009084851 % 2**18: 3},
    (b"1 |a x:NY 12 013:2", "strings"): {30906: 1, 92606: 1, 92607: 2},
    (b"1 |a x:NY 12 013:2", "all"): {30906: 1, 188214: 1, 205605: 2},
    (b"1 | 5 x |bc:0.5 q |bd q", "strings"): {5: 1, 170779: 1, 259227: 0.5, 259623: 1},
    (b"1 | 5 x |bc:0.5 q |bd q", "all"): {144868: 1, 170779: 1, 259227: 0.5, 259623: 1},
    (b"1 |a x:a|b y", "strings"): {57961: 1, 42847: 1},
    (b"1 |a \x0bx\x0b:3 x", "strings"): {55432: 4},
    (b"1 |a \x0bx\x0b:3 x", "all"): {108844: 3, 55432: 1},
    (b"1 |a x|b x", "strings"): {55432: 1, 143313: 1},
    (b"1 |12 3", "strings"): {15: 1},
    (b"1 |12 3", "all"): {100844: 1},
    (b"1 |a :foo :bar", "strings"): {100784: 1, 237937: 1},
    (b"1 |a :foo :bar", "all"): {136020: 1, 97398: 1},
    (b"1 |a x:-b y:+3 z:1e3 w:.5", "strings"): {256543: 1, 42847: 3, 202246: 1000, 0: None},
}


@pytest.mark.parametrize(("line", "hashing"), KNOWN)
def test_known_hashes(line, hashing):
    expected = KNOWN[line, hashing]
    found = row_of(line, hash=hashing)
    if None in expected.values():  # some columns only
        expected = {column: value for column, value in expected.items() if value is not None}
        found = {column: found.get(column) for column in expected}
    assert found == expected
    assert {11650396 % 2**18: 1, **found}.items() <= row_of(line, hash=hashing, constant=True).items()


def random_line(rng):
    word = lambda: "".join(rng.choice(list("abcé01_-#."), rng.integers(1, 12)))  # noqa: E731
    number = lambda: rng.choice(["1", "0", "-2.5", "1e-3", ".5", "3.", "+7", repr(float(rng.normal()))])  # noqa: E731
    line = rng.choice(["", "1 ", "-1 0.5 ", "2\t3  'tag", "0.1 'a ", "1 2 tag"])
    for _ in range(rng.integers(0, 5)):
        line += "|" + rng.choice(["", "a", "b", "ab:0.5", "é", "7", "c:2", "d:0"])
        for _ in range(rng.integers(0, 5)):
            kind = rng.integers(5)
            line += rng.choice([" ", " ", "  ", "\t"])
            line += [word(), f"{word()}:{number()}", f":{number()}", f"{word()}:x{word()} ", str(rng.integers(99))][
                kind
            ]
    return (line if "|" in line else line + "|").encode()


@pytest.mark.parametrize("bits", [1, 5, 18, 30])
@pytest.mark.parametrize("hashing", ["strings", "all"])
@pytest.mark.parametrize("quadratic", [(), ("ab",), ("aa", "ba", "b "), ("::",), ("a:", ":7"), "cc"])
def test_random_lines_are_parsed_as_by_the_reference(bits, hashing, quadratic, monkeypatch):
    rng = np.random.default_rng(bits)
    texts = [random_line(rng) for _ in range(60)]
    ends = rng.choice([b"\n", b"\r\n", b"\n\n", b"\n \t\n"], len(texts))
    raw = b"".join(text + end for text, end in zip(texts, ends, strict=True)).rstrip(b"\n")
    pairs = [quadratic] if isinstance(quadratic, str) else quadratic
    expected = [reference.parse_line(text, bits, hashing == "all", pairs, bits == 5)[:3] for text in texts]
    monkeypatch.setattr(vowpal_rows, "MAX_VALUES", 100)
    for chunk_bytes in (1, 300, 1 << 20):
        file = read_vw(
            io.BytesIO(raw), bits=bits, hash=hashing, quadratic=quadratic, constant=bits == 5, missing_labels="nan",
            chunk_bytes=chunk_bytes,
        )  # fmt: skip
        chunks = list(file)
        assert len(chunks) > 1 or chunk_bytes > len(raw)
        assert file.n_features == 2**bits
        rows = 0
        for chunk in chunks:
            assert chunk.X.shape == (chunk.y.size, 2**bits)
            assert chunk.X.indices.dtype == chunk.X.indptr.dtype == np.int32
            assert chunk.X.has_canonical_format
            assert chunk.X.copy().sum_duplicates() is None
            for r in range(chunk.y.size):
                label, weight, row = expected[rows]
                columns = sorted(column for column, value in row.items() if value)
                part = slice(chunk.X.indptr[r], chunk.X.indptr[r + 1])
                assert_array_equal(chunk.X.indices[part], columns)
                assert_allclose(chunk.X.data[part], [row[column] for column in columns], rtol=1e-13)
                assert_array_equal(chunk.y[r], np.nan if label is None else label)
                assert chunk.weight[r] == weight
                rows += 1
        assert rows == len(expected)


def test_long_rows_are_sorted_by_merging():
    rng = np.random.default_rng(0)
    for n in (15, 16, 17, 31, 32, 33, 100, 1000):
        names = [f"w{k}" for k in rng.integers(0, 2 * n, n)]
        X, _, _ = load(("1 |a " + " ".join(names)).encode(), bits=10)
        row = reference.parse_line(("1 |a " + " ".join(names)).encode(), 10)[2]
        assert_array_equal(X.indices, sorted(row))
        assert_array_equal(X.data, [row[column] for column in sorted(row)])


def test_unrounded_numbers_and_scales():
    raw = b"0.10000000000000000000000001 3.00000000000000000000000001 |a:0.50000000000000000000001 x:1 y:1e-320 "
    raw += b"z:2.0000000000000000000000001 s:t |b x\n2 |b:3 x:3 |c q:4\n"
    X, y, weight = load(raw)
    assert y.tolist() == [0.1, 2]
    assert weight.tolist() == [3, 1]
    assert sorted(X.data.tolist()) == [float("1e-320") * 0.5, 0.5, 1, 1, 1, 4, 9]
    assert load(raw, dtype=np.float32)[0].dtype == np.float32


def test_rows_without_labels():
    raw = b"|a x\n1 |a x\n'tag |a y\n tag|a z\n2 |b x"
    X, y, weight = load(raw, missing_labels="nan")
    assert_array_equal(y, [np.nan, 1, np.nan, np.nan, 2])
    assert X.shape[0] == weight.size == 5
    for quadratic in ((), "aa"):
        X, y, _ = load(raw, missing_labels="skip", quadratic=quadratic)
        assert y.tolist() == [1, 2]
        assert X.indices.size == 2 + len(quadratic) // 2
        assert X.has_canonical_format
    with pytest.raises(ValueError, match="line 1: there is no label; write a label .* or choose missing_labels='nan'"):
        load(raw)
    _, y, _ = load_vw(io.BytesIO(b"|a 1\n1 |a 2\n"), missing_labels="nan")  # numbered features, too
    assert_array_equal(y, [np.nan, 1])


def test_chunks_with_pairs_are_bounded(monkeypatch):
    monkeypatch.setattr(vowpal_rows, "MAX_VALUES", 500)
    raw = b"".join(b"%d |a %s\n" % (n, b" ".join(b"w%d" % k for k in range(n % 20))) for n in range(100))
    whole = list(read_vw(io.BytesIO(raw), bits=20, quadratic="aa"))
    assert len(whole) > 10
    assert max(chunk.X.nnz for chunk in whole) <= 500
    assert np.concatenate([chunk.y for chunk in whole]).tolist() == list(range(100))
    for chunk in whole:
        n = chunk.y % 20
        assert_array_equal(np.diff(chunk.X.indptr), n + n * (n + 1) / 2)


ERRORS = {
    b"1 |a x:1y": "got '1y' for the value of feature x; write a finite number or a string that does not start with a",
    b"1 |a x:1e": "got '1e' for the value of feature x; write a finite number or a string",
    b"1 |a x:-": "got '-' for the value of feature x; write a finite number or a string",
    b"1 |a date:2020-01-01": "got '2020-01-01' for the value of feature date; write a finite number or a string",
    b"1 |a x:1:2": "got '1:2' for the value of feature x",
    b"1 |a x:nan": "got 'nan' for the value of feature x; write a finite number",
    b"1 |a x:-Inf": "got '-Inf' for the value of feature x; write a finite number",
    b"1 |a x:1e999": "got '1e999' for the value of feature x; write a finite number",
    b"1 |a x: y": "there is no value after 'x:'; write it without a blank after the ':'",
    b"1 |a x:": "there is no value after 'x:'; write it without a blank after the ':'",
    b"1 |:2 x": "got ':' after '|'; write the name of a namespace or a blank after '|'",
    b"1 |a:b x": "got 'b' for the scale of the namespace; write a finite number",
    b"1 |a:1e999 x": "got '1e999' for the scale of the namespace; write a finite number",
    b"1e999 |a x": "got '1e999' for the label; write a finite number",
    b"1 1e999 |a x": "got '1e999' for the importance; write a finite number",
    b"1 2 0.5 |a x": "got 3 numbers before the '|'; write label and importance only, without an initial prediction",
    b"1 2 0 0 |a x": "got 3 numbers before the '|'",
    b"1 x |a x": "got 'x' for the importance",
    b"x y |a x": "got 'x' for the label",
    b"1 a x": "there is no '|'; write the label, '|' and the features",
    b"1 |a x:1e300 x:1e308 x:1e308": "a value or a sum of values exceeds the largest float64; scale the data",
    b"1 |a:1e200 x:1e200": "a value or a sum of values exceeds the largest float64; scale the data",
}


@pytest.mark.parametrize("line", ERRORS)
def test_errors_name_file_line_and_remedy(line, tmp_path):
    path = tmp_path / "bad.vw"
    path.write_bytes(b"1 |f 1\n\n" + line + b"\n1 | x\n")
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}:line 3: ')}{re.escape(ERRORS[line])}"):
        load_vw(path, bits=18)
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}:line 3: ')}{re.escape(ERRORS[line])}"):
        list(read_vw(path, bits=18, chunk_bytes=8))


def test_the_initial_prediction_may_be_zero():
    _, y, weight = load(b"1 2 0 |a x\n1 2 0.0 'tag|a x\n")
    assert y.tolist() == [1, 1]
    assert weight.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 0}, "bits: got 0"),
        ({"bits": 31}, "bits: got 31"),
        ({"bits": 18, "n_features": 5}, "n_features: got 5 with bits=18, which makes 262144 columns; omit it"),
        (
            {"bits": 18, "duplicates": "error"},
            "duplicates: got 'error' with bits, but two names may have the same hash",
        ),
        ({"quadratic": "aa"}, "quadratic: is only for hashed features; pass bits=18 too"),
        ({"constant": True}, "constant: is only for hashed features; pass bits=18 too"),
        ({"hash": "all"}, "hash: is only for hashed features; pass bits=18 too"),
        ({"bits": 18, "hash": "none"}, "hash: got 'none'; must be one of"),
        ({"bits": 18, "quadratic": "abc"}, "quadratic: got 'abc'; must be the first characters of two namespaces"),
        ({"bits": 18, "quadratic": ("ab", "é:")}, "quadratic: got 'é:'; must be the first characters of two"),
        ({"bits": 18, "quadratic": (1,)}, "quadratic: got 1; must be"),
        ({"missing_labels": "drop"}, "missing_labels: got 'drop'; must be one of"),
    ],
)
def test_errors_of_options(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        load_vw(io.BytesIO(b"1 |a 1"), **options)


def test_a_model_of_names_predicts_unlabelled_rows():
    rng = np.random.default_rng(0)
    words = np.array([f"word{k}" for k in range(50)])
    is_spam = rng.random(400) < 0.5
    text = [" ".join(words[rng.integers(25 * s, 25 * s + 25, 4)]) for s in is_spam]
    raw = "".join(f"{2 * s - 1} |t {t}\n" for s, t in zip(is_spam, text, strict=True)).encode()
    model = fit_linear(read_vw(io.BytesIO(raw), bits=18))
    X, y, _ = load("".join(f"|t {t}\n" for t in text).encode(), missing_labels="nan")
    assert np.isnan(y).all()
    assert np.mean((model.decision_function(X) > 0) == is_spam) > 0.99


def test_numbers_hash_to_themselves_in_the_default_namespace():
    """So the hashed sample of RCV1 is the numbered one, if its namespace had no name."""
    raw = b"".join(b"1 | %s\n" % b" ".join(b"%d:%d" % (k, k + 1) for k in range(n, 3 * n)) for n in range(1, 20))
    hashed, numbered = load(raw)[0], load_vw(io.BytesIO(raw), n_features=2**18)[0]
    assert_array_equal(hashed.indices, numbered.indices)
    assert_array_equal(hashed.data, numbered.data)
    assert_array_equal(hashed.indptr, numbered.indptr)


@pytest.mark.compiled_only("compares compiled code with bounds checks")
def test_no_access_out_of_bounds(python):
    """Every prefix of a text of all kinds, with Numba's checks of bounds; any of them raises IndexError."""
    source = """
import io
from adagrad_nb import load_vw
raw = b"1 2 'tag|a:0.5 x:1 y:NY :0.5 :s 12 z:1e30|b q:nan\\n-1 |c x:1. y:-0.5e-3 r:1e\\n0.1 |a x|b y |c:2 z z z\\n| \\n"
for options in ({}, {"bits": 3, "quadratic": "::", "constant": True}, {"bits": 18, "missing_labels": "nan"}):
    for n in range(len(raw) + 1):
        for text in (raw[:n], raw[n:]):
            try:
                load_vw(io.BytesIO(text), on_error="skip", **options)
            except ValueError as error:
                assert "there are no rows" in str(error), error
print("done")
"""
    assert python(source, NUMBA_BOUNDSCHECK="1").strip() == "done"


def test_lines_with_errors_are_skipped(monkeypatch):
    monkeypatch.setattr(lines, "FEW_LINES", 2)
    good = [b"%d |a w%d" % (n, n) for n in range(50)]
    rng = np.random.default_rng(0)
    raw, bad = [], []
    for line in good:
        while rng.random() < 0.3:
            raw.append(rng.choice([b"1 |a x:1y", b"no bar", b"|a x", b"1 |a x:1e308 x:1e308"]))
            bad.append(len(raw))
        raw.append(line)
    text = b"\n".join(raw)
    for chunk_bytes in (1, 100, 1 << 20):
        file = read_vw(io.BytesIO(text), bits=18, on_error="skip", chunk_bytes=chunk_bytes)
        for _ in range(2):
            chunks = list(file)
            assert np.concatenate([chunk.y for chunk in chunks]).tolist() == list(range(50))
            assert [error.line for error in file.errors] == bad
            assert file.errors.count == len(bad)
        assert len(chunks) == 1 or chunk_bytes < len(text)
    assert str(file.errors[0]).startswith(f"<BytesIO>:line {bad[0]}: ")


def test_carriage_returns_separate_features():
    """The arrays of a block have room for the features that only carriage returns separate."""
    names = [f"n{k}" for k in range(100)]
    X, _, _ = load(("1 |a " + "\r".join(names) + "\n").encode(), bits=30)
    assert X.nnz == 100
    X, _, _ = load(("1 | " + "\r".join(map(str, range(100))) + "\n").encode(), bits=None)
    assert_array_equal(X.indices, np.arange(100))
