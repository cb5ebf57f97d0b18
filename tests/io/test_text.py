"""Labels and texts: words, n-grams and their hashes against Python's `re` and scikit-learn; malformed lines."""

import io
import pathlib
import re
import sys
import unicodedata

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from reference_text import parse_text

from adagrad_nb import fit_linear, load_text, read_text
from adagrad_nb.io.text_scanner import END_OF_IDEOGRAPHS, N_POINTS, word_table

DATA = pathlib.Path(__file__).parents[2] / "examples" / "data"


def load(text, **options):
    return load_text(io.BytesIO(text.encode() if isinstance(text, str) else text), **options)


def assert_rows(X, rows):
    assert X.has_canonical_format
    assert_array_equal(np.diff(X.indptr), [len(row) for row in rows])
    assert_array_equal(X.indices, [column for row in rows for column in row])
    assert_allclose(X.data, [value for row in rows for value in row.values()], rtol=1e-14)


WORDS = [
    "spam", "a", "I", "IBM", "x_1", "2nd", "naïve", "ÉCOLE", "Straße", "東京", "ΟΔΟΣ", "İstanbul", "don't", "e-mail",
    "—", "…", "🙂", "𠀀𠀁", "Ⱥx", "K1", "²³", "ﬁne", "a\u0301b", "\u00a0", "...", "__", "\x00nul", "9" * 40,
]  # fmt: skip


@pytest.mark.parametrize("options", [
    {}, {"ngrams": (1, 1), "norm": None}, {"ngrams": (2, 3)}, {"alternate_sign": False}, {"lowercase": False},
    {"bits": 4, "norm": None}, {"bits": 30, "ngrams": (1, 4)},
])  # fmt: skip
def test_random_texts_are_parsed_as_by_the_reference(options):
    rng = np.random.default_rng(3)
    texts = [rng.choice([" ", ", ", "  "]).join(rng.choice(WORDS, rng.integers(0, 12))) for _ in range(60)]
    raw = "".join(f"{k}\t{text}\n" for k, text in enumerate(texts))
    rows = [parse_text(text, **options) for text in texts]
    X, y = load(raw, **options)
    assert_array_equal(y, np.arange(60.0))
    assert X.shape == (60, 2 ** options.get("bits", 20))
    assert_rows(X, rows)
    for chunk_bytes in (1, 200):
        chunks = list(read_text(io.BytesIO(raw.encode()), chunk_bytes=chunk_bytes, **options))
        assert len(chunks) > 5
        assert_array_equal(np.concatenate([chunk.X.indices for chunk in chunks]), X.indices)
        assert_array_equal(np.concatenate([chunk.X.data for chunk in chunks]), X.data)
        assert_array_equal(np.concatenate([chunk.y for chunk in chunks]), y)


@pytest.mark.parametrize("options", [
    {}, {"norm": None}, {"alternate_sign": False}, {"ngrams": (1, 3)}, {"lowercase": False, "bits": 22},
])  # fmt: skip
def test_scikit_learn_makes_the_same_features(options):
    text = pytest.importorskip("sklearn.feature_extraction.text")
    rng = np.random.default_rng(0)
    words = [w for w in WORDS if w not in ("ΟΔΟΣ", "İstanbul")]  # whose lower case depends on the context
    texts = [" ".join(rng.choice(words, rng.integers(0, 30))) for _ in range(50)]
    X, _ = load("\n".join(f"1\t{t}" for t in texts), **options)
    theirs = text.HashingVectorizer(
        n_features=2 ** options.get("bits", 20), ngram_range=options.get("ngrams", (1, 2)),
        **{name: options[name] for name in ("norm", "alternate_sign", "lowercase") if name in options},
    ).transform(texts)  # fmt: skip
    theirs.eliminate_zeros()
    theirs.sort_indices()
    assert_array_equal(X.indptr, theirs.indptr)
    assert_array_equal(X.indices, theirs.indices)
    assert_allclose(X.data, theirs.data, rtol=1e-14)


def test_word_characters_are_those_of_python():
    """Above the table the ideographs are words, and no others."""
    table = word_table(False)
    points = np.flatnonzero(table)
    assert_array_equal(points, [c for c in range(N_POINTS) if re.match(r"\w", chr(c))])
    assert_array_equal(table[points], points)
    above = range(N_POINTS, sys.maxunicode + 1)
    assigned = [c for c in above if c >= END_OF_IDEOGRAPHS or unicodedata.category(chr(c)) != "Cn"]
    assert_array_equal(
        [c < END_OF_IDEOGRAPHS for c in assigned], [re.match(r"\w", chr(c)) is not None for c in assigned]
    )
    assert (
        load("1\t\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f \U00020000\U00020001")[0].nnz
        == 1
    )


def test_labels_and_delimiters():
    for raw, options in (
        ("ham\tone two\nspam\tthree, four\n", {}),
        ("ham,one two\r\nspam,three, four\r\n", {}),
        ('"ham","one two"\n"spam","three, ""four"""\n', {}),
        ('one two,ham\n"three, four", "spam"', {"label": "last", "delimiter": ","}),
        ("\n \t\none two\tham \n\nthree\tfour\tspam\n", {"label": "last", "delimiter": "\t"}),
        ("\ufeffham|one two|\n spam|three|four|", {"delimiter": "|"}),
        ("ham\tone two\r\rspam\n".replace("\r\rspam", "\r\nspam\tthree four"), {}),
    ):
        X, y = load(raw, **options)
        assert y.tolist() == ["ham", "spam"], raw
        assert_rows(X, [parse_text("one two"), parse_text("three four")])
    X, y = load("one\ttwo\nthree, four", label=None)
    assert np.isnan(y).all()
    assert_rows(X, [parse_text("one two"), parse_text("three four")])
    assert load("1\ta\n-2.5e0\tb\n")[1].tolist() == [1, -2.5]
    assert load("a\tx\n1\tb\n")[1].tolist() == ["a", "1"]
    assert load("1\t\n2\ta b\n")[0].nnz == 0  # texts without words


ERRORS = [
    ("ham\tx\n\nspam", {}, "line 3: got 'spam' without the delimiter '\\t'; write label and text, or pass delimiter"),
    ("ham\tx\n\tspam", {}, "line 2: got '\\tspam' without a label; write one, or pass label=None"),
    ('ham,x\n"",spam', {}, "line 2: got '\"\",spam' without a label"),
    ('ham,x\nham,"a text\nof two lines"\n', {}, "line 2: got 'ham,\"a text', where a quotation mark is not closed"),
    (b"ham\tx\nham\tna\xefve\n", {}, "line 2: got the byte 0xef, which is not UTF-8; convert the file"),
    (b"ham\tx\nham\t\xc3\n", {}, "line 2: got the byte 0xc3, which is not UTF-8"),
    (b"ham\tx\nham\t\xe0\x80\x80\n", {}, "line 2: got the byte 0xe0, which is not UTF-8"),
    (b"ham\tx\nham\t\xed\xa0\x80\n", {}, "line 2: got the byte 0xed, which is not UTF-8"),
    (b"ham\tx\nham\t\xf4\x90\x80\x80\n", {}, "line 2: got the byte 0xf4, which is not UTF-8"),
    ("1\tx\nspam\ty\n", {}, "line 2: got the label 'spam', but the first label is a finite number; correct it"),
    ("1\tx\nnan\ty\n", {}, "line 2: got the label 'nan', but the first label is a finite number"),
    ("x", {"label": "middle"}, "label: got 'middle'; must be 'first', 'last' or None"),
    ("x", {"delimiter": "ab"}, "delimiter: got 'ab'; must be an ASCII character"),
    ("x", {"bits": 31}, "bits: got 31"),
    ("x", {"ngrams": 2}, "ngrams: got 2; must be a pair of numbers, such as (1, 2)"),
    ("x", {"ngrams": (2, 1)}, "ngrams[1]: got 1"),
    ("x", {"norm": "l1"}, "norm: got 'l1'; must be 'l2' or None"),
    ("x", {"dtype": int}, "dtype: got int64"),
    ("\n", {}, "there are no rows"),
]


@pytest.mark.parametrize(("raw", "options", "message"), ERRORS)
def test_errors(raw, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        load(raw, **options)


def test_lines_with_errors_are_skipped():
    raw = b"ham\tone two\nspam\xff\tthree\nbad\nspam\tna\xefve\nspam\tthree four\n"
    file = read_text(io.BytesIO(raw), on_error="report")
    with pytest.warns(
        UserWarning, match="<BytesIO>: skipped 2 malformed lines; the first is <BytesIO>:line 3: got 'bad'"
    ):
        chunks = list(file)
    assert [error.line for error in file.errors] == [3, 4]
    assert np.concatenate([chunk.y for chunk in chunks]).tolist() == ["ham", "spam\\xff", "spam"]


def test_float32():
    X, _ = load("1\tone two two", dtype=np.float32)
    assert X.dtype == np.float32
    assert_allclose(np.linalg.norm(X.data), 1, rtol=1e-6)


def test_a_model_learns_from_strings_as_labels():
    raw = b"".join(b"%s\t%s\n" % ((b"spam", b"win money") if k % 3 else (b"ham", b"see you")) for k in range(90))
    model = fit_linear(read_text(io.BytesIO(raw), chunk_bytes=100))
    assert model.classes.tolist() == ["ham", "spam"]
    X, _ = load("see you soon\nwin a prize\n", label=None)
    assert model.predict(X).tolist() == ["ham", "spam"]


@pytest.mark.compiled_only("a full data set takes minutes in pure Python")
def test_defaults_find_spam():
    """The mean area under the curve on a quarter of the messages, of four random splits; 0.5 finds nothing."""
    X, y = load_text(DATA / "SMSSpamCollection.tsv.xz")
    assert X.shape == (5574, 2**20)
    assert dict(zip(*np.unique(y, return_counts=True), strict=True)) == {"ham": 4827, "spam": 747}
    areas = []
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(y.size)
        train, test = order[: y.size * 3 // 4], order[y.size * 3 // 4 :]
        model = fit_linear(X[train], y[train])
        is_spam, scores = y[test] == "spam", model.decision_function(X[test])
        areas.append(np.mean(scores[is_spam][:, None] > scores[~is_spam]))
    assert np.mean(areas) > 0.987


@pytest.mark.compiled_only("compares compiled code with bounds checks")
def test_no_access_out_of_bounds(python):
    source = """
import io
from adagrad_nb import load_text
raw = 'ham,"one, na\u00efve \u6771\u4eac \U00020000x \u023a\u023a\u023a"\\nspam\\ttwo\\n\\n1,\\n'.encode()
for options in ({}, {"label": None, "ngrams": (1, 3)}, {"label": "last", "delimiter": ","}):
    for n in range(len(raw) + 1):
        for text in (raw[:n], raw[n:]):
            try:
                load_text(io.BytesIO(text), on_error="skip", **options)
            except ValueError as error:
                assert "there are no rows" in str(error), error
print("done")
"""
    assert python(source, NUMBA_BOUNDSCHECK="1").strip() == "done"
