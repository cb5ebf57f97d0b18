"""fit_linear: resuming, data in every form, and arguments that are rejected."""

import decimal
import math

import numpy as np
import pytest
import reference_linear
import scipy.sparse as sp
from linear_problems import (
    COLUMNS,
    COMPILED,
    PENALTIES,
    RATES,
    STRENGTHS,
    WEIGHT,
    X,
    Y,
    assert_same_model,
    data,
    fit_plain,
    model_values,
    of_l1,
    of_l2,
    split_rows,
    unsorted_duplicates,
    with_value,
)
from numpy.testing import assert_allclose, assert_array_equal

from adagrad_nb import (
    L1,
    L2,
    RDA,
    Adagrad,
    Bounded,
    Box,
    Chunk,
    Constant,
    InverseSqrt,
    Logistic,
    NoPenalty,
    RateSearch,
    fit_linear,
    load_model,
    read_svmlight,
)

# --- going on ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_then_b_is_a_and_b(penalty, rate, tmp_path):
    """In two calls, as chunks, from a generator, and by way of a file: the same bits."""
    options = {"penalty": PENALTIES[penalty][0], "lr": RATES[rate][0]}
    one_call = fit_plain(X, Y, **options)
    first = fit_plain(X[:17], Y[:17], **options)
    before = model_values(first)
    assert_same_model(fit_linear(X[17:], Y[17:], model=first), one_call)
    assert model_values(first) == before
    assert_same_model(fit_plain(split_rows(X, Y, 3, 17), **options), one_call)
    assert_same_model(fit_plain(iter(split_rows(X, Y, 1, 2, 30)), **options), one_call)
    path = tmp_path / "model"
    first.save(path)
    loaded = load_model(path)
    assert_same_model(loaded, first)
    assert_same_model(fit_linear(X[17:], Y[17:], model=loaded), one_call)


@pytest.mark.parametrize("case", [COMPILED[0], COMPILED[1], COMPILED[3]])
def test_a_then_b_is_a_and_b_compiled(case, tmp_path):
    penalty, loss, rate = case
    X, y, weight = data(loss)
    options = {"penalty": PENALTIES[penalty][0], "lr": RATES[rate][0], "loss": loss}
    one_call = fit_plain(X, y, sample_weight=weight, **options)
    first = fit_plain(X[:17], y[:17], sample_weight=weight[:17], **options)
    first.save(tmp_path / "model")
    for model in (first, load_model(tmp_path / "model")):
        assert_same_model(fit_linear(X[17:], y[17:], sample_weight=weight[17:], model=model), one_call)


def test_data_in_any_wrapping():
    """One matrix, one chunk, lists, tuples, generators and files of chunks."""
    expected = fit_linear(X, Y, lr=0.5)
    chunks = split_rows(X, Y, 11)
    assert_same_model(fit_linear(Chunk(X, Y), lr=0.5), expected)
    for wrapped in (chunks, tuple(chunks), iter(chunks), (chunk for chunk in chunks)):
        assert_same_model(fit_linear(wrapped, lr=0.5), expected)
    assert_same_model(
        fit_linear([Chunk(c.X.toarray(), c.y.tolist(), np.ones(len(c.y))) for c in chunks], lr=0.5), expected
    )
    assert_same_model(fit_linear(X.toarray().tolist(), Y.tolist(), lr=0.5), expected)


def test_a_file_chunk_by_chunk(tmp_path):
    path = tmp_path / "data"
    with open(path, "w") as file:
        for r in range(X.shape[0]):
            row = X[[r]]
            pairs = (f"{i + 1}:{float(v)!r}" for i, v in zip(row.indices, row.data, strict=True))
            print(int(Y[r]), *pairs, file=file)
    reader = read_svmlight(path, chunk_bytes=200, n_features=COLUMNS)
    assert len(list(reader)) > 5
    assert_same_model(fit_linear(reader, passes=2, lr=0.5), fit_linear(X, Y, passes=2, lr=0.5))


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("penalty", [p for p in PENALTIES if "by feature" not in p])
def test_features_grow_from_chunk_to_chunk(penalty):
    """A feature that no chunk has had yet is a column of zeros, which the penalty reaches all the same."""
    order = np.argsort([np.append(np.flatnonzero(X[:, [i]].toarray()), 10**6)[0] for i in range(COLUMNS)])
    grown = sp.csr_array(X.toarray()[:, order])
    n_columns = [max((int(i) + 1 for i in grown[:n].indices), default=0) for n in (5, 25)]
    assert n_columns[0] < n_columns[1] < COLUMNS
    for rate in ("constant", "inverse root"):
        options = {"penalty": PENALTIES[penalty][0], "lr": RATES[rate][0]}
        chunks = [
            Chunk(grown[:5, : n_columns[0]], Y[:5]),
            Chunk(grown[5:25, : n_columns[1]], Y[5:25]),
            Chunk(grown[25:], Y[25:]),
        ]
        one_call = fit_plain(grown, Y, **options)
        assert_same_model(fit_plain(chunks, **options), one_call)
        first = fit_plain(chunks[:2], **options)
        assert first.n_features == n_columns[1]
        assert_same_model(fit_linear(chunks[2], model=first), one_call)
        assert first.n_features == n_columns[1]


def test_a_later_chunk_may_be_narrower():
    narrow = Chunk(sp.csr_array(X[20:, :5]), Y[20:])
    wide = Chunk(sp.csr_array(np.hstack([X[20:, :5].toarray(), np.zeros((20, 4))])), Y[20:])
    first = fit_linear(X[:20], Y[:20], lr=0.5)
    assert_same_model(fit_linear(narrow, model=first), fit_linear(wide, model=first))


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("name", ["penalty", "rule", "lr", "loss"])
def test_options_given_again(name):
    """The same option once more changes no bit; another one counts from there on, and for what is to come only."""
    same = {"penalty": L1(0.02), "rule": Adagrad(1e-8), "lr": InverseSqrt(0.5), "loss": "logistic"}
    other = {"penalty": L2(0.5), "rule": Adagrad(0.1), "lr": 0.1, "loss": "squared"}
    first = fit_plain(X[:20], Y[:20], **same)
    before = model_values(first)
    plain = fit_linear(X[20:], Y[20:], model=first)
    assert_same_model(fit_linear(X[20:], Y[20:], model=first, **{name: same[name]}), plain)
    assert_same_model(fit_linear(X[20:], Y[20:], model=first, **same), plain)
    changed = fit_linear(X[20:], Y[20:], model=first, **{name: other[name]})
    assert np.abs(changed.coef - plain.coef).max() > 1e-3
    assert model_values(first) == before
    assert_same_model(fit_linear(X[:0], Y[:0], model=first, **{name: other[name]}), first)


@pytest.mark.usefixtures("interpreted")
def test_changed_options_against_the_eager_learner():
    """L1 with one rate, then L2 with another: what L1 owed is paid before L2 takes over."""
    first = fit_linear(X[:20], Y[:20], penalty=L1(0.02), lr=0.5)
    second = fit_linear(X[20:], Y[20:], model=first, penalty=L2(0.3), lr=RATES["piecewise"][0])
    third = fit_linear(X, Y, model=second, penalty=NoPenalty())
    dense = X.toarray()
    eager = reference_linear.fit(dense[:20], Y[:20], "logistic", lambda t: 0.5, prox=of_l1(0.02))
    eager = reference_linear.fit(dense[20:], Y[20:], "logistic", RATES["piecewise"][1], prox=of_l2(0.3), start=eager)
    assert_allclose(second.coef, eager.w, rtol=1e-12, atol=1e-13)
    eager = reference_linear.fit(dense, Y, "logistic", RATES["piecewise"][1], start=eager)
    assert_allclose(third.coef, eager.w, rtol=1e-12, atol=1e-13)


@pytest.mark.usefixtures("interpreted")
def test_arrays_in_options_are_compared_by_their_values():
    strengths = np.full(COLUMNS, 0.02)
    first = fit_linear(X[:20], Y[:20], penalty=L1(strengths), lr=0.5)
    plain = fit_linear(X[20:], Y[20:], model=first)
    assert_same_model(fit_linear(X[20:], Y[20:], model=first, penalty=L1(strengths.copy())), plain)
    changed = fit_linear(X[20:], Y[20:], model=first, penalty=L1(np.full(COLUMNS, 0.2)))
    assert np.abs(changed.coef - plain.coef).max() > 1e-3


# --- data in every form --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparse_format", ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"])
@pytest.mark.parametrize("kind", [sp.csr_array, sp.csr_matrix])
def test_any_sparse_format(sparse_format, kind):
    converted = kind(X).asformat(sparse_format)
    model = fit_linear(converted, Y, lr=0.5)
    assert_same_model(model, fit_linear(X, Y, lr=0.5))
    assert_array_equal(model.decision_function(converted), model.decision_function(X))


@pytest.mark.parametrize("order", ["C", "F"])
def test_dense_equals_sparse(order):
    dense = X.toarray(order=order)
    model = fit_linear(dense, Y, lr=0.5)
    assert_same_model(model, fit_linear(X, Y, lr=0.5))
    assert_array_equal(model.predict(dense), model.predict(X))
    assert_same_model(fit_linear(np.repeat(dense, 2, axis=1)[:, ::2], Y, lr=0.5), model)


def with_indices(X, indptr, indices):
    """X with index vectors of other types."""
    X = X.copy()
    X.indptr, X.indices = X.indptr.astype(indptr), X.indices.astype(indices)
    return X


@pytest.mark.parametrize("kinds", [(np.int64, np.int64), (np.int32, np.int32)])
def test_index_types(kinds):
    typed = with_indices(X, *kinds)
    assert typed.indices.dtype == kinds[1]
    model = fit_linear(typed, Y, lr=0.5)
    assert_same_model(model, fit_linear(X, Y, lr=0.5))
    assert_array_equal(model.decision_function(typed), model.decision_function(X))


def test_precision():
    """float32 data gives a float32 model, all else float64; what is asked for or begun with wins."""
    single = X.astype(np.float32)
    model = fit_linear(single, Y, lr=0.5)
    assert model.coef.dtype == model.decision_function(X).dtype == model.predict_proba(X).dtype == np.float32
    assert model.state.slots[0][0].dtype == np.float32
    assert_same_model(fit_linear(single.toarray(), Y, lr=0.5), model)
    assert_same_model(fit_linear(X, Y, dtype="float32", lr=0.5), model)
    assert_same_model(fit_linear(X[20:], Y[20:], model=fit_linear(single[:20], Y[:20], lr=0.5)), model)
    double = fit_linear(single, Y, dtype=np.float64, lr=0.5)
    assert double.coef.dtype == np.float64
    assert_allclose(model.coef, double.coef, rtol=1e-4, atol=1e-6)
    for kind in (np.int8, np.int64, np.uint16, np.bool_):
        integral = sp.csr_array(np.rint(np.abs(X.toarray())).astype(kind))
        assert_same_model(fit_linear(integral, Y, lr=0.5), fit_linear(integral.astype(np.float64), Y, lr=0.5))
        assert_same_model(fit_linear(integral.toarray(), Y, lr=0.5), fit_linear(integral.astype(np.float64), Y, lr=0.5))


def test_unsorted_and_repeated_columns_are_sorted_and_summed():
    mixed = unsorted_duplicates(sp.csr_array(np.rint(8 * X.toarray())))
    canonical = mixed.copy()
    canonical.sum_duplicates()
    assert mixed.nnz == 2 * canonical.nnz
    parts = [part.copy() for part in (mixed.indptr, mixed.indices, mixed.data)]
    model = fit_linear(mixed, Y, lr=0.5)
    assert_same_model(model, fit_linear(canonical, Y, lr=0.5))
    assert_same_model(
        fit_linear(mixed, Y, shuffle=True, rng=0, lr=0.5), fit_linear(canonical, Y, shuffle=True, rng=0, lr=0.5)
    )
    assert_allclose(model.decision_function(mixed), model.decision_function(canonical), rtol=1e-14)
    for before, after in zip(parts, (mixed.indptr, mixed.indices, mixed.data), strict=True):
        assert_array_equal(before, after)
    late = sp.vstack([canonical[:30], mixed[30:]], format="csr")  # only the last rows are out of order
    assert not late.has_canonical_format
    stops, expected = [], []
    assert_same_model(fit_linear(late, Y, callback=lambda p: stops.append(p.n_seen), lr=0.5), model)
    fit_linear(canonical, Y, callback=lambda p: expected.append(p.n_seen), lr=0.5)
    assert stops == expected


def test_arrays_longer_than_the_stored_values():
    """A CSR whose arrays are longer than its last row needs, and read-only, as a memory map is."""
    oversized = X.copy()
    oversized.indices, oversized.data = np.r_[X.indices, [10**6] * 3].astype(np.int32), np.r_[X.data, [np.nan] * 3]
    model = fit_linear(X, Y, lr=0.5)
    assert_same_model(fit_linear(oversized, Y, lr=0.5), model)
    assert_array_equal(model.decision_function(oversized), model.decision_function(X))
    for part in (oversized.indptr, oversized.indices, oversized.data):
        part.flags.writeable = False
    assert_same_model(fit_linear(oversized, Y, lr=0.5), model)
    assert_array_equal(model.decision_function(oversized), model.decision_function(X))


def test_no_rows_and_no_columns():
    empty = fit_linear(X[:0], Y[:0], lr=0.5)
    assert_array_equal(empty.coef, np.zeros(COLUMNS))
    assert math.isnan(empty.progressive_loss)
    assert empty.n_seen == empty.state.t == 0
    assert_array_equal(empty.classes, [-1, 1])
    assert_array_equal(empty.predict(X), np.full(40, -1))
    assert_same_model(fit_linear(X, Y, model=empty), fit_linear(X, Y, lr=0.5))
    intercept_only = fit_linear(sp.csr_array((40, 0)), Y, lr=0.5)
    assert intercept_only.coef.shape == (0,)
    assert intercept_only.intercept == fit_linear(sp.csr_array((40, 3)), Y, lr=0.5).intercept != 0


# --- rejected arguments --------------------------------------------------------------------------------------------


def with_arrays(**parts):
    """X with other parts, which SciPy does not look at."""
    bad = X.copy()
    for name, part in parts.items():
        setattr(bad, name, part)
    return bad


SECOND = int(X.indptr[2])  # the first value of row 2, which is not empty
assert X.indptr[2] < X.indptr[3]

MALFORMED = {
    "indptr falls": (
        lambda: with_arrays(indptr=with_value(X.indptr, 5, X.nnz)),
        r"^X.indptr: falls from \d+ to \d+ at row 5;",
    ),
    "indptr too short": (lambda: with_arrays(indptr=X.indptr[:-1]), "^X.indptr: got 40 entries for 40 rows"),
    "indptr too long": (
        lambda: with_arrays(indptr=np.append(X.indptr, X.indptr[-1])),
        "^X.indptr: got 42 entries for 40 rows",
    ),
    "indptr starts late": (lambda: with_arrays(indptr=with_value(X.indptr, 0, 1)), "^X.indptr: starts with 1;"),
    "indptr negative": (lambda: with_arrays(indptr=with_value(X.indptr, 0, -1)), "^X.indptr: starts with -1;"),
    "indptr ends late": (
        lambda: with_arrays(indptr=with_value(X.indptr, 40, X.nnz + 1)),
        rf"^X.indptr: ends with {X.nnz + 1}, but there are",
    ),
    "indptr of floats": (lambda: with_arrays(indptr=X.indptr.astype(float)), "^X.indptr: got dtype float64"),
    "indices of floats": (lambda: with_arrays(indices=X.indices.astype(float)), "^X.indices: got dtype float64"),
    "indices in two dimensions": (lambda: with_arrays(indices=X.indices[:, None]), "^X.indices: got dtype int32 and "),
    "too few indices": (lambda: with_arrays(indices=X.indices[:-1]), "^X.indptr: ends with"),
    "too few values": (lambda: with_arrays(data=X.data[:-1]), "^X.indptr: ends with"),
    "values in two dimensions": (lambda: with_arrays(data=X.data[:, None]), "^X.data: got dtype float64 and shape"),
    "complex values": (lambda: with_arrays(data=X.data.astype(complex)), "^X.data: got dtype complex128"),
    "objects as values": (lambda: with_arrays(data=X.data.astype(object)), "^X.data: got dtype object"),
    "index too large": (
        lambda: with_arrays(indices=with_value(X.indices, SECOND, 9)),
        r"^X: column index 9 in row 2; must be in \[0, 9\)",
    ),
    "index far too large": (
        lambda: with_arrays(indices=with_value(X.indices, SECOND, 2**31 - 1)),
        "^X: column index 2147483647 in row 2;",
    ),
    "index negative": (
        lambda: with_arrays(indices=with_value(X.indices, SECOND, -1)),
        r"^X: column index -1 in row 2; must be in \[0, 9\)",
    ),
    "64-bit index too large": (
        lambda: with_arrays(
            indptr=X.indptr.astype(np.int64), indices=with_value(X.indices.astype(np.int64), SECOND, 2**40)
        ),
        "^X: column index 1099511627776 in row 2;",
    ),
    "64-bit index negative": (
        lambda: with_arrays(
            indptr=X.indptr.astype(np.int64), indices=with_value(X.indices.astype(np.int64), SECOND, -1)
        ),
        "^X: column index -1 in row 2;",
    ),
    "NaN": (
        lambda: with_arrays(data=with_value(X.data, SECOND, np.nan)),
        r"^X: got nan in row 2, column \d; must be finite",
    ),
    "infinity": (
        lambda: with_arrays(data=with_value(X.data, SECOND, np.inf)),
        r"^X: got inf in row 2, column \d; must",
    ),
    "minus infinity": (
        lambda: with_arrays(data=with_value(X.data, SECOND, -np.inf)),
        r"^X: got -inf in row 2, column \d;",
    ),
    "one dimension": (lambda: X.toarray()[0], r"^X: got shape \(9,\); must have two dimensions"),
    "three dimensions": (lambda: np.zeros((4, 3, 2)), r"^X: got shape \(4, 3, 2\); must have two dimensions"),
    "sparse in one dimension": (lambda: sp.coo_array(X.toarray()[0]), r"^X: got shape \(9,\); must have two dim"),
    "an array of objects": (lambda: np.full(X.shape, "a", object), r"^X: got 'a' at index \(0, 0\); must be a number"),
    "an array of complex": (lambda: X.toarray().astype(complex), "^X: got dtype complex128; must be real numbers"),
    "strings": (lambda: np.full((40, 9), "a"), "^X: got dtype <U1; must be real numbers"),
    "nothing": (lambda: None, "^X: got NoneType; must be a matrix, or an iterable of Chunk"),
    "ragged lists": (lambda: [[1.0, 2.0], [3.0]], "^X: "),
    "malformed csc": (lambda: _bad_csc(), "^X: malformed CSC matrix: index 1000000 at position 0"),
    "malformed coo": (lambda: _bad_coo(), r"^X: malformed COO matrix: index 99 on axis 1; must be in \[0, 9\)"),
}


def _bad_csc():
    bad = sp.csc_array(X)
    bad.indices = with_value(bad.indices, 0, 10**6)
    return bad


def _bad_coo():
    bad = sp.coo_array(X)
    bad.coords = (bad.coords[0], with_value(bad.coords[1], 0, 99))
    return bad


def valid_model(penalty=L1(0.02)):  # noqa: B008 - a record cannot be changed
    """Return a model and its values, which a rejected call must not change."""
    model = fit_linear(X, Y, penalty=penalty, lr=0.5)
    return model, model_values(model)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # where nothing is compiled
@pytest.mark.parametrize(("make", "message"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_data(make, message):
    """Refused with the place, for a new model, for one that goes on, and for predictions; nothing has changed."""
    bad = make()
    model, before = valid_model(None)
    for call in (
        lambda: fit_linear(bad, Y, lr=0.5),
        lambda: fit_linear(bad, Y, model=model),
        lambda: model.predict(bad),
    ):
        with pytest.raises((ValueError, TypeError), match=message if "NoneType" not in message else "^X: got"):
            call()
    if sp.issparse(bad):
        with pytest.raises((ValueError, TypeError), match=message):
            fit_linear([Chunk(X, Y), Chunk(bad, Y)], lr=0.5)
    assert model_values(model) == before


def test_an_index_within_the_model_but_not_within_the_data():
    """Row by row the data must keep to its own shape, even where the model is wider."""
    model, before = valid_model()
    bad = X[:, :5].copy()
    bad.indices = with_value(bad.indices, -1, 6)
    for call in (lambda: fit_linear(bad, Y, model=model), lambda: model.predict(bad)):
        with pytest.raises(ValueError, match=r"^X: column index 6 in row \d+; must be in \[0, 5\)"):
            call()
    assert model_values(model) == before


Y_BAD = {
    "nothing": (None, "^y: got None; must have one target for each row of X"),
    "too short": (Y[:-1], r"^y: got shape \(39,\); must have shape \(40,\), one entry per row of X"),
    "too long": (np.r_[Y, 1], r"^y: got shape \(41,\); must have shape"),
    "two dimensions": (Y[:, None], r"^y: got shape \(40, 1\); must have shape"),
    "a number": (1.0, r"^y: got shape \(\); must have shape"),
    "NaN": (with_value(Y, 5, np.nan), "^y: got nan at index 5; must be finite"),
    "infinity": (with_value(Y, 5, np.inf), "^y: got inf at index 5; must be finite"),
    "real numbers": (np.linspace(0, 1, 40), r"^y: got 4\d labels, .*; a binary loss takes two"),
    "complex": (Y + 0j, "^y: got dtype complex128"),
    "dates": (np.array(["2000-01-01", "2001-01-01"] * 20, "M8[ns]"), r"^y: got dtype datetime64\[ns\]"),
    "bytes": (np.array([b"a", b"b"] * 20), r"^y: got dtype \|S1"),
    "missing objects": (np.array(["a", None] * 20, object), "^y: got None at index 1"),
    "missing labels": (np.array([np.nan, "a", "b", "a"] * 10, object), "^y: got nan at index 0"),
    "missing numbers": (np.array([1.0, 0.0, np.nan, 1.0] * 10, object), "^y: got nan at index 2"),
    "a mixture": (np.array([1, "a"] * 20, object), "^y: got numbers and strings"),
}


@pytest.mark.parametrize(("y", "message"), Y_BAD.values(), ids=Y_BAD)
def test_malformed_targets(y, message):
    model, before = valid_model()
    for given in (None, model):
        with pytest.raises((ValueError, TypeError), match=message):
            fit_linear(X, y, model=given)
    assert model_values(model) == before


NUMBERS_BAD = {
    "strings": (np.array(["1.5"] * 40), "^y: got dtype <U3; the loss takes real numbers"),
    "objects": (np.array([1.5, [2]] * 20, object), r"^y: got \[2\] at index 1; must be a number"),
    "complex": (Y + 0j, "^y: got dtype complex128; the loss takes real numbers"),
    "NaN": (with_value(Y, 39, np.nan), "^y: got nan at index 39; must be finite"),
}


@pytest.mark.parametrize(("y", "message"), NUMBERS_BAD.values(), ids=NUMBERS_BAD)
def test_malformed_numbers(y, message):
    with pytest.raises((ValueError, TypeError), match=message):
        fit_linear(X, y, loss="squared", lr=0.5)


WEIGHTS_BAD = {
    "too short": (WEIGHT[:-1], r"^sample_weight: got shape \(39,\); must have shape \(40,\)"),
    "two dimensions": (WEIGHT[:, None], r"^sample_weight: got shape \(40, 1\)"),
    "a number": (2.0, r"^sample_weight: got shape \(\)"),
    "NaN": (with_value(WEIGHT, 7, np.nan), "^sample_weight: got nan at index 7; every entry must be in"),
    "infinity": (with_value(WEIGHT, 7, np.inf), "^sample_weight: got inf at index 7;"),
    "negative": (
        with_value(WEIGHT, 7, -1.0),
        r"^sample_weight: got -1.0 at index 7; every entry must be in \[0, inf\)",
    ),
    "complex": (WEIGHT + 0j, "^sample_weight: got dtype complex128; must be real numbers"),
    "strings": (["a"] * 40, "^sample_weight: got dtype <U1; must be real numbers"),
    "objects": (np.array([1.0, "a"] * 20, object), "^sample_weight: got 'a' at index 1; must be a number"),
}


@pytest.mark.parametrize(("weight", "message"), WEIGHTS_BAD.values(), ids=WEIGHTS_BAD)
def test_malformed_weights(weight, message):
    model, before = valid_model()
    for call in (
        lambda: fit_linear(X, Y, sample_weight=weight, lr=0.5),
        lambda: fit_linear(X, Y, sample_weight=weight, model=model),
        lambda: fit_linear([Chunk(X, Y, weight)], model=model),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            call()
    assert model_values(model) == before


OPTIONS_BAD = {
    "negative rate": ({"lr": -0.1}, ValueError, r"^lr: got -0.1; must be a number in \[0, inf\)"),
    "NaN rate": ({"lr": math.nan}, ValueError, "^lr: got nan; must be a number"),
    "infinite rate": ({"lr": math.inf}, ValueError, "^lr: got inf; must be a number"),
    "rate by feature": (
        {"lr": np.ones(COLUMNS)},
        TypeError,
        "^lr: got .*; must be 'auto', a number, or a ",
    ),
    "record of rates": (
        {"lr": Constant(np.ones(COLUMNS))},
        TypeError,
        "^lr: got .*; must be 'auto', a number, or a ",
    ),
    "rate as a function": (
        {"lr": lambda t: 0.5},
        TypeError,
        "^lr: got .*; must be 'auto', a number, or a ",
    ),
    "rate as a word": ({"lr": "fast"}, TypeError, "^lr: got 'fast'; must be 'auto', a number, or a "),
    "rate as a boolean": ({"lr": True}, TypeError, "^lr: got True"),
    "complex rate": ({"lr": 1j}, TypeError, "^lr: got 1j"),
    "class of a schedule": ({"lr": InverseSqrt}, TypeError, "^lr: got the class InverseSqrt; pass an instance"),
    "penalty as a rate": ({"lr": L1(0.1)}, TypeError, "^lr: L1 has no at"),
    "negative rate in a record": ({"lr": InverseSqrt(-1.0)}, ValueError, "^InverseSqrt.lr: got -1.0"),
    "negative eps": ({"rule": Adagrad(eps=-1.0)}, ValueError, r"^Adagrad.eps: got -1.0; must be a number in \[0,"),
    "NaN eps": ({"rule": Adagrad(eps=math.nan)}, ValueError, "^Adagrad.eps: got nan"),
    "class of a rule": ({"rule": Adagrad}, TypeError, "^rule: got the class Adagrad; pass an instance"),
    "rule as a word": ({"rule": "adagrad"}, TypeError, "^rule: got 'adagrad'; must be a record such as"),
    "negative strength": ({"penalty": L1(-0.1)}, ValueError, "^L1.strength: got -0.1"),
    "NaN strength": ({"penalty": L2(math.nan)}, ValueError, "^L2.strength: got nan"),
    "one strength negative": (
        {"penalty": L1(with_value(STRENGTHS, 3, -1.0))},
        ValueError,
        "^L1.strength: got -1.0 at index 3",
    ),
    "strengths of another length": (
        {"penalty": L1(np.ones(5))},
        ValueError,
        r"^L1.strength: got shape \(5,\); must .* have shape \(9,\)",
    ),
    "nested strengths of another length": (
        {"penalty": Bounded(L1(np.ones(5)))},
        ValueError,
        r"^L1.strength: got shape \(5,\)",
    ),
    "bounds crossed": ({"penalty": Box(1.0, 0.0)}, ValueError, "^Box: lower bound 1.0 exceeds upper bound 0.0"),
    "class of a penalty": ({"penalty": L1}, TypeError, "^penalty: got the class L1; pass an instance"),
    "penalty as a word": ({"penalty": "l1"}, TypeError, "^penalty: got 'l1'; must be a record such as"),
    "rule as a penalty": ({"penalty": Adagrad()}, TypeError, "^penalty: Adagrad has no value and no prox"),
    "unknown loss": ({"loss": "hinged"}, ValueError, "^loss: got 'hinged'; must be one of logistic, hinge"),
    "class of a loss": ({"loss": Logistic}, TypeError, "^loss: got the class Logistic; pass an instance"),
    "penalty as a loss": ({"loss": L1(0.1)}, TypeError, "^loss: L1 has no slope and no inverse_link and no target"),
    "loss as a number": ({"loss": 3}, TypeError, "^loss: got 3; must be a record such as"),
    "no passes": ({"passes": 0}, ValueError, "^passes: got 0; must be an integer of at least 1"),
    "negative passes": ({"passes": -1}, ValueError, "^passes: got -1"),
    "passes in parts": ({"passes": 1.5}, ValueError, "^passes: got 1.5"),
    "passes as a boolean": ({"passes": True}, ValueError, "^passes: got True"),
    "intercept as a number": ({"intercept": 1}, TypeError, "^intercept: got 1; must be True or False"),
    "shuffle as a number": ({"shuffle": 1}, TypeError, "^shuffle: got 1; must be True or False"),
    "negative seed": ({"shuffle": True, "rng": -1}, ValueError, "^rng: got -1"),
    "seed as a word": ({"shuffle": True, "rng": "x"}, ValueError, "^rng: got 'x'"),
    "callback": ({"callback": 5}, TypeError, "^callback: got 5; must be callable"),
    "model": ({"model": "model.npz"}, TypeError, "^model: got str; must be a LinearModel"),
    "unknown keyword": ({"learning_rate": 0.5}, TypeError, "unexpected keyword argument 'learning_rate'"),
}
NEW_BAD = {
    "half precision": ({"dtype": np.float16}, TypeError, "^dtype: got float16; must be float32 or float64"),
    "integers": ({"dtype": int}, TypeError, "^dtype: got int64; must be float32 or float64"),
    "one class": ({"classes": [1]}, ValueError, r"^classes: got \[1\]; must be two different labels"),
    "same classes": ({"classes": ["a", "a"]}, ValueError, "^classes: got .*; must be two different labels"),
    "three classes": (
        {"classes": (1, 2, 3)},
        ValueError,
        "^y: got the label -1.0, which is not among the declared",
    ),
    "classes as a number": ({"classes": 5}, ValueError, "^classes: got .*; must be two different labels"),
    "classes of another kind": ({"classes": ["a", "b"]}, ValueError, "^y: got 4 labels"),
    "classes for numbers": (
        {"classes": [0, 1], "loss": "squared"},
        ValueError,
        "^classes: the loss Squared takes numbers; leave classes",
    ),
}


@pytest.mark.parametrize(("options", "error", "message"), OPTIONS_BAD.values(), ids=OPTIONS_BAD)
def test_options_that_are_rejected(options, error, message):
    model, before = valid_model()
    for given in ({}, {"model": model}):
        with pytest.raises(error, match=message):
            fit_plain(X, Y, **{**given, **options})
    assert model_values(model) == before


@pytest.mark.parametrize(("options", "error", "message"), NEW_BAD.values(), ids=NEW_BAD)
def test_options_of_a_new_model_that_are_rejected(options, error, message):
    with pytest.raises(error, match=message):
        fit_plain(X, Y, **options)


def test_options_that_a_model_cannot_change():
    model, before = valid_model()
    with pytest.raises(ValueError, match=r"^intercept: got False, but the model has intercept=True"):
        fit_linear(X, Y, model=model, intercept=False)
    with pytest.raises(ValueError, match=r"^dtype: got float32, but the model is float64"):
        fit_linear(X, Y, model=model, dtype=np.float32)
    wide = sp.csr_array((40, 10))
    with pytest.raises(ValueError, match=r"^L1.strength: got shape \(9,\); must .* have shape \(10,\)"):
        fit_linear(wide, Y, model=fit_linear(X, Y, penalty=L1(STRENGTHS), lr=0.5))
    assert model_values(model) == before


def test_invalid_chunks():
    with pytest.raises(ValueError, match=r"^X: got no chunks; there is nothing to learn from"):
        fit_linear(iter([]), lr=0.5)
    with pytest.raises(TypeError, match=r"^X: the iterable yields a tuple; must yield Chunk\(X, y, weight\)"):
        fit_linear(iter([(X, Y)]), lr=0.5)
    with pytest.raises(TypeError, match=r"^X: the iterable yields a str"):
        fit_linear("data.txt", lr=0.5)
    with pytest.raises(TypeError, match=r"^X: the iterable yields a int"):
        fit_linear([Chunk(X, Y), 5], lr=0.5)
    for more in ({"y": Y}, {"sample_weight": WEIGHT}):
        with pytest.raises(ValueError, match="chunks contain targets and weights"):
            fit_plain([Chunk(X, Y)], **more)
    with pytest.raises(ValueError, match=r"^passes: got 2, but X is an iterator, which allows one pass"):
        fit_linear(iter([Chunk(X, Y)]), passes=2, lr=0.5)
    assert_same_model(fit_linear([Chunk(X, Y)], passes=2, lr=0.5), fit_linear(X, Y, passes=2, lr=0.5))


# --- numbers that are too large ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")  # where nothing is compiled
@pytest.mark.parametrize("value", [1e200, 1e308])
def test_a_model_is_never_nan(value):
    """An overflow is detected at the next row that uses the weight, or else at the end."""
    model = fit_linear(np.ones((3, 1)), [1.0, 2.0, 3.0], loss="squared", intercept=False, lr=0.5)
    before = model_values(model)
    ones, targets = np.ones((3, 1)), np.ones(3)
    ones[1], targets[1] = value, -value
    for rows, y in ((ones, targets), (-ones, targets)):
        for given in (None, model):
            for n in (2, 3):
                with pytest.raises(
                    ValueError, match=r"^X: row 1 gives a gradient whose square overflows .* a smaller lr"
                ):
                    fit_linear(rows[:n], y[:n], loss="squared", model=given, intercept=False)
    assert model_values(model) == before


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")
@pytest.mark.parametrize("lr", [1e200, 1e308])
def test_a_rate_that_is_too_large(lr):
    try:
        model = fit_linear(X, np.arange(40.0), loss="squared", lr=lr)
    except ValueError as error:
        assert "a smaller lr" in str(error)  # noqa: PT017 - either is right
    else:
        assert np.isfinite(model.coef).all()


def test_numbers_that_overflow_in_single_precision():
    """Numbers that are finite as given and not as float32, rejected with their position and without a warning."""
    single = np.ones((3, 1), np.float32)
    with pytest.raises(ValueError, match=r"^y: got 1e.39 at index 2; must be finite in float32"):
        fit_linear(single, [1.0, 2.0, 1e39], loss="squared", lr=0.5)
    with pytest.raises(ValueError, match=r"^sample_weight: got 1e.39 at index 1; must be finite in float32"):
        fit_linear(single, [1, -1, 1], sample_weight=[1.0, 1e39, 1.0], lr=0.5)
    with pytest.raises(ValueError, match=r"^X: got inf in row 1, column 0; must be finite"):
        fit_linear(np.array([[1.0], [1e39]]), [1, -1], dtype=np.float32, lr=0.5)
    model = fit_linear(single, [1, -1, 1], lr=0.5)
    with pytest.raises(ValueError, match=r"^X: got inf in row 0, column 0; must be finite"):
        model.predict([[1e39]])


def test_indices_out_of_range_in_a_wide_table():
    """Where the next row is asked for beforehand, its indices have not been checked yet."""
    X = sp.csr_array((np.ones(4), [3, 2**18, 5, 6], [0, 2, 3, 4]), shape=(3, 2**18 + 1))
    fit_linear(X, [1, -1, 1], lr=0.5)
    for index in (-1, 2**18 + 1, 2**31 - 1):
        bad = sp.csr_array((X.data, np.array([3, 2**18, index, 6], np.int32), X.indptr), shape=X.shape)
        with pytest.raises(ValueError, match=rf"^X: column index {index} in row 1; must be in \[0, {2**18 + 1}\)"):
            fit_linear(bad, [1, -1, 1], lr=0.5)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize(
    "options",
    [
        {}, {"batch_size": 4}, {"normalized": True}, {"invariant": True}, {"lr": RateSearch()}, {"loss": "softmax"},
        {"loss": "softmax", "batch_size": 3}, {"penalty": L1(1e-3)}, {"rule": RDA()}, {"threads": 2},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("argument", ["X", "sample_weight"])
def test_rows_whose_squared_gradients_overflow_are_named(options, argument, dtype):
    """An infinite accumulator would stop the weights of a feature."""
    rng = np.random.default_rng(0)
    X, y, weight = rng.normal(size=(30, 3)).astype(dtype), np.arange(30) % 2, np.ones(30, dtype)
    huge = np.sqrt(np.finfo(dtype).max) * 2
    if argument == "X":
        X[7, 1] = huge
    elif "normalized" in options or "invariant" in options:
        pytest.skip("the accumulators grow by the weight, not by its square")
    else:
        weight[7] = huge
    with pytest.raises(ValueError, match=rf"^X: row 7 gives a gradient whose square overflows {dtype}"):
        fit_plain(X, y, sample_weight=weight, **options)
    X[7], weight[7] = 1, 1
    assert np.isfinite(fit_plain(X, y, sample_weight=weight, **options).coef).all()


def test_masked_entries_are_refused():
    X, y = np.eye(4), np.array([0.0, 1.0, 0.0, 1.0])
    for name, message in (
        ("X", r"^X: entry \(0, 0\) is masked"),
        ("y", "^y: entry 0"),
        ("w", "^sample_weight: entry 0"),
    ):
        given = {"X": X, "y": y, "w": np.ones(4)}
        given[name] = np.ma.masked_array(given[name], given[name] == given[name].flat[0])
        with pytest.raises(ValueError, match=message):
            fit_linear(given["X"], given["y"], sample_weight=given["w"], lr=0.5)


@pytest.mark.parametrize("value", [2**63, 10**30])
def test_counts_that_no_kernel_can_hold_are_refused(value):
    for name in ("batch_size", "passes", "threads"):
        with pytest.raises(ValueError, match=rf"^{name}: got {value}; must be at most 9223372036854775807"):
            fit_plain(np.eye(2), [0, 1], **{name: value})


# --- data frames and other forms of numbers --------------------------------------------------------------------------


class Frame:
    """A data frame as far as NumPy sees it: columns of several types become an array of objects."""

    def __init__(self, columns):
        self.columns = columns
        self.shape = (len(columns[0]), len(columns))

    def __array__(self, dtype=None, copy=None):
        table = np.empty(self.shape, object)
        for k, column in enumerate(self.columns):
            table[:, k] = column
        return table if dtype is None else table.astype(dtype)


def columns_of_a_frame(n=40):
    rng = np.random.default_rng(0)
    return rng.random(n) < 0.5, rng.integers(0, 9, n), rng.normal(size=n), [decimal.Decimal(k) / 4 for k in range(n)]


def test_data_frames():
    """Booleans, integers, numbers and objects, as rows, targets and weights; also for predictions."""
    columns = columns_of_a_frame()
    array = np.column_stack([np.asarray(column, np.float64) for column in columns])
    labels = np.array([bool(flag) for flag in columns[0]], object)
    expected = fit_linear(array, labels.astype(bool), sample_weight=array[:, 1], lr=0.5)
    model = fit_linear(Frame(columns), labels, sample_weight=columns[1].astype(object), lr=0.5)
    assert_array_equal(model.coef, expected.coef)
    assert_array_equal(model.predict(Frame(columns)), expected.predict(array))
    numbers = columns[1].astype(object)
    model = fit_linear(Frame(columns), numbers, loss="squared", lr=0.1)
    assert_array_equal(model.coef, fit_linear(array, array[:, 1], loss="squared", lr=0.1).coef)
    assert model.mean_loss(Frame(columns), numbers) == model.mean_loss(array, array[:, 1])


def test_data_frames_of_pandas():
    pandas = pytest.importorskip("pandas")
    flags, counts, numbers, _ = columns_of_a_frame()
    frame = pandas.DataFrame({"flag": flags, "count": pandas.array(counts, "Int64"), "number": numbers})
    array = np.column_stack([flags, counts, numbers]).astype(np.float64)
    y = pandas.Series(pandas.array(flags, "boolean"))
    model = fit_linear(frame, y, lr=0.5)
    assert_array_equal(model.coef, fit_linear(array, flags, lr=0.5).coef)
    assert_array_equal(model.predict(frame), fit_linear(array, flags, lr=0.5).predict(array))
    assert fit_linear(frame[["number"]].astype(np.float32), y, lr=0.5).dtype == np.float32
    frame.loc[7, "count"] = pandas.NA
    with pytest.raises(ValueError, match=r"^X: got <NA> at index \(7, 1\); must be a number"):
        fit_linear(frame, y, lr=0.5)


@pytest.mark.parametrize(
    "dtype", ["float16", ">f4", ">f8", ">i4", ">i8", "longdouble", "object", "bool", "uint8", "int64"]
)
def test_numbers_in_any_form(dtype):
    X = np.random.default_rng(0).integers(0, 9, (40, 3)).astype(dtype)
    y = np.arange(40) % 3 > 0
    expected = fit_linear(X.astype(np.float64), y, lr=0.5)
    for name in ("float16", ">i8", "object", "bool"):
        model = fit_linear(X, y.astype(name), lr=0.5)
        assert_array_equal(model.coef, expected.coef)
    assert_array_equal(model.predict(X), expected.predict(X.astype(np.float64)))
    numbers = X[:, 0].astype(np.float64)
    expected = fit_linear(X.astype(np.float64), numbers, loss="squared", lr=0.5)
    assert_array_equal(fit_linear(X, X[:, 0], loss="squared", lr=0.5).coef, expected.coef)


@pytest.mark.parametrize("value", [None, "x", 1j, [1]], ids=str)
def test_objects_that_are_no_numbers(value):
    X = np.ones((3, 2), object)
    X[1, 1] = value
    y = [0, 1, 0]
    with pytest.raises(ValueError, match=r"^X: got .* (at index \(1, 1\)|in row 1, column 1); must be"):
        fit_linear(X, y, lr=0.5)
    with pytest.raises(ValueError, match=r"^X: got .* (at index \(1, 1\)|in row 1, column 1); must be"):
        fit_linear(np.ones((3, 2)), y, lr=0.5).predict(X)
    if value is not None:
        for name, options in (("y", {"y": X[:, 1]}), ("sample_weight", {"y": y, "sample_weight": X[:, 1]})):
            with pytest.raises(ValueError, match=rf"^{name}: got .* at index 1; must be a number"):
                fit_plain(np.ones((3, 2)), loss="squared", **options)
