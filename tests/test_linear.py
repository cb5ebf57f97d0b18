"""fit_linear and LinearModel: lazy is eager, going on is not having stopped, and nothing malformed gets in."""

import itertools
import math
import os
import pathlib
import stat
from typing import Any, NamedTuple

import numpy as np
import pytest
import reference
import reference_linear
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from adagrad_nb import (
    L1,
    L2,
    Adagrad,
    Bounded,
    Box,
    Chunk,
    Constant,
    ElasticNet,
    InverseSqrt,
    LinearModel,
    Logistic,
    NonNegative,
    NoPenalty,
    Piecewise,
    Squared,
    fit_linear,
    load_model,
    read_svmlight,
)
from adagrad_nb.io import archive
from adagrad_nb.linear import dispatch, trainer
from adagrad_nb.linear import model as linear_model
from adagrad_nb.linear import model as linear_options
from adagrad_nb.records import losses

COLUMNS = 9
RNG = np.random.default_rng(20110701)
STRENGTHS = RNG.choice([0.0, 0.01, 0.05, 0.3], COLUMNS)
RIDGES = RNG.choice([0.0, 0.1, 0.5], COLUMNS)
LOWER = RNG.uniform(-0.2, 0.1, COLUMNS)
UPPER = LOWER + RNG.uniform(0.0, 0.4, COLUMNS)


def of_l1(strength):
    return lambda i, x, w: reference.l1_prox(x, w, np.broadcast_to(strength, COLUMNS)[i])


def of_l2(strength):
    return lambda i, x, w: reference.l2_prox(x, w, np.broadcast_to(strength, COLUMNS)[i])


def of_elastic(l1, l2):
    l1, l2 = np.broadcast_to(l1, COLUMNS), np.broadcast_to(l2, COLUMNS)
    return lambda i, x, w: reference.elastic_net_prox(x, w, l1[i], l2[i])


def of_box(lower, upper, inner=lambda i, x, w: x):
    lower, upper = np.broadcast_to(lower, COLUMNS), np.broadcast_to(upper, COLUMNS)
    return lambda i, x, w: reference.box_prox(inner(i, x, w), w, lower[i], upper[i])


# name: (the record, its proximal step in the reference)
PENALTIES = {
    "none": (NoPenalty(), None),
    "l1": (L1(0.02), of_l1(0.02)),
    "l2": (L2(0.3), of_l2(0.3)),
    "elastic net": (ElasticNet(0.01, 0.2), of_elastic(0.01, 0.2)),
    "box": (Box(-0.1, 0.2), of_box(-0.1, 0.2)),
    "half-open box": (Box(upper=0.1), of_box(-math.inf, 0.1)),
    "box away from zero": (Box(0.05, 0.3), of_box(0.05, 0.3)),
    "non-negative": (NonNegative(), of_box(0.0, math.inf)),
    "bounded l1": (Bounded(L1(0.02), -0.1, 0.2), of_box(-0.1, 0.2, of_l1(0.02))),
    "bounded l2 away from zero": (Bounded(L2(0.3), 0.05, 0.4), of_box(0.05, 0.4, of_l2(0.3))),
    "l1 by feature": (L1(STRENGTHS), of_l1(STRENGTHS)),
    "elastic net by feature": (ElasticNet(STRENGTHS, RIDGES), of_elastic(STRENGTHS, RIDGES)),
    "box by feature": (Box(LOWER, UPPER), of_box(LOWER, UPPER)),
}
RATES = {
    "constant": (0.5, lambda t: 0.5),
    "inverse root": (InverseSqrt(0.7, 0.3), lambda t: reference.inverse_sqrt(t, 0.7, 0.3)),
    "piecewise": (Piecewise((7, 20), (0.6, 0.25, 0.1)), lambda t: reference.piecewise(t, (7, 20), (0.6, 0.25, 0.1))),
}
LOSSES = reference_linear.NAMES


def data(loss="logistic", n=40, seed=0):
    """(X, y, weight): sparse rows, some empty; feature 4 comes late, feature 7 never."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, COLUMNS)) * (rng.random((n, COLUMNS)) < 0.3)
    X[:: n // 4] = 0.0
    X[: n // 2, 4] = 0.0
    X[:, 7] = 0.0
    score = X @ rng.normal(size=COLUMNS) + 0.3 + 0.3 * rng.normal(size=n)
    labels = losses.LOSSES[loss].labels
    y = {"binary": np.where(score > 0, 1.0, -1.0), "number": score, "count": np.floor(np.exp(score))}[labels]
    weight = rng.choice([0.0, 0.5, 1.0, 3.0], n)
    return sp.csr_array(X), y, weight


X, Y, WEIGHT = data(seed=1)


@pytest.fixture
def interpreted(monkeypatch):
    """The kernels run as the Python they are written in: hundreds of record types without hundreds of compilations."""

    def python(kernel, *records):
        return getattr(kernel, "py_func", kernel)

    monkeypatch.setattr(dispatch, "compiled_for", python)
    monkeypatch.setattr(linear_model, "compiled_for", python)


def content(model):
    """All of a model as bytes and plain values: equal just where the models are equal bit for bit."""
    slots = [slot.tobytes() for state in (model.state, model.bias_state) for slot in state.slots[0]]
    return {
        "coef": model.coef.tobytes(),
        "dtype": model.coef.dtype,
        "intercept": model.intercept,
        "slots": slots,
        "t": model.state.t,
        "n_seen": model.n_seen,
        "tally": model.tally.tolist(),
        "labels": list(model.labels),
    }


def assert_same(a, b):
    assert content(a) == content(b)


def rows_of(X, y, *cuts):
    """Chunks of the rows between the cuts."""
    edges = [0, *cuts, X.shape[0]]
    return [Chunk(X[a:b], y[a:b]) for a, b in itertools.pairwise(edges)]


# --- lazy is eager -------------------------------------------------------------------------------------------------


def assert_eager(penalty, loss, rate, intercept, weighted, rule=None, dtype=None, tolerance=1e-12):
    """fit_linear gives what the slow eager learner gives."""
    X, y, weight = data(loss)
    record, prox = PENALTIES[penalty]
    lr, at = RATES[rate]
    weight = weight if weighted else None
    rule = {} if rule is None else rule
    model = fit_linear(
        X, y, loss=loss, penalty=record, lr=lr, intercept=intercept, sample_weight=weight, passes=2, dtype=dtype,
        rule=Adagrad(**rule),
    )  # fmt: skip
    settings = {"G0" if name == "initial_accumulator" else name: value for name, value in rule.items()}
    eager = reference_linear.learn(
        X.toarray(), y, loss, at, prox=prox, intercept=intercept, weight=weight, passes=2, **settings
    )
    close = {"rtol": tolerance, "atol": tolerance}
    assert_allclose(model.coef, eager.w, **close)
    assert_allclose(model.intercept, eager.b, **close)
    assert_allclose(model.state.slots[0][0], eager.G, **close)
    assert_allclose(model.bias_state.slots[0][0], [eager.Gb], **close)
    assert_allclose(model.progressive_loss, reference_linear.progressive_loss(eager.losses), **close)
    assert model.state.t == eager.t
    if prox is not None:  # and it is the penalty that is being tested
        free = reference_linear.learn(
            X.toarray(), y, loss, at, intercept=intercept, weight=weight, passes=2, **settings
        )
        assert np.abs(model.coef - free.w).max() > 1e-3


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("loss", ["logistic", "squared"])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_lazy_is_eager(penalty, loss, rate):
    for intercept, weighted in itertools.product((True, False), repeat=2):
        assert_eager(penalty, loss, rate, intercept, weighted)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_lazy_is_eager_for_every_loss(penalty, loss):
    for rate in ("constant", "piecewise"):
        assert_eager(penalty, loss, rate, True, True)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize(
    "rule",
    [{"eps": 0.0}, {"eps": 0.1}, {"eps": 0.1, "inside": True}, {"initial_accumulator": 0.2}],
    ids=["no eps", "eps", "eps inside", "accumulator"],
)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_lazy_is_eager_for_other_settings_of_the_rule(penalty, rule):
    for rate in ("constant", "inverse root"):
        assert_eager(penalty, "logistic", rate, True, True, rule)


COMPILED = [
    ("none", "logistic", "constant"),
    ("l1", "logistic", "constant"),
    ("l2", "squared", "piecewise"),
    ("elastic net by feature", "squared", "inverse root"),
    ("box away from zero", "logistic", "inverse root"),
    ("bounded l1", "squared", "constant"),
    ("l1", "hinge", "inverse root"),
    ("elastic net", "poisson", "constant"),
    ("l2", "quantile", "piecewise"),
]


@pytest.mark.parametrize(("penalty", "loss", "rate"), COMPILED)
def test_lazy_is_eager_compiled(penalty, loss, rate):
    for intercept, weighted in itertools.product((True, False), repeat=2):
        assert_eager(penalty, loss, rate, intercept, weighted)


@pytest.mark.parametrize(("penalty", "loss", "rate"), [COMPILED[0], COMPILED[1], COMPILED[3]])
def test_lazy_is_eager_in_single_precision(penalty, loss, rate):
    assert_eager(penalty, loss, rate, True, True, dtype=np.float32, tolerance=3e-5)


@pytest.mark.usefixtures("interpreted")
def test_long_absence_in_closed_form():
    """20,000 rows pass a coordinate over: the closed form of L2 against the power it stands for."""
    n = 20_000
    X = sp.csr_array((np.ones(2), ([0, 1], [0, 1])), shape=(n, 2))
    y = np.where(np.arange(n) % 2 == 1, 1.0, -1.0)
    model = fit_linear(X, y, penalty=L2(1e-4))
    # Feature 0: slope 1/2 at the first row, so that w = -lr sign and the width is lr / (1/2 + eps) = 1.
    assert_allclose(model.coef[0], -0.5 * (1 + 1e-4) ** -n, rtol=1e-6)


@pytest.mark.usefixtures("interpreted")
def test_penalty_of_ones_own():
    """A record with a proximal step and nothing else is lazy too: k steps are taken one by one."""

    class Toward(NamedTuple):
        """Half a squared distance."""

        target: float

        def value(self, x, i):
            return (x - self.target) * (x - self.target) / 2

        def prox(self, x, w, i):
            return (x + w * self.target) / (1 + w)

    own, loss, at = Toward(0.2), "logistic", RATES["constant"][1]
    lazy = fit_linear(X, Y, penalty=own)
    eager = reference_linear.learn(X.toarray(), Y, loss, at, prox=lambda i, x, w: (x + w * 0.2) / (1 + w))
    assert_allclose(lazy.coef, eager.w, rtol=1e-12)
    assert lazy.coef[7] == pytest.approx(0.2)


# --- going on ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_then_b_is_a_and_b(penalty, rate, tmp_path):
    """In two calls, as chunks, from a generator, and by way of a file: the same bits."""
    options = {"penalty": PENALTIES[penalty][0], "lr": RATES[rate][0]}
    whole = fit_linear(X, Y, **options)
    first = fit_linear(X[:17], Y[:17], **options)
    before = content(first)
    assert_same(fit_linear(X[17:], Y[17:], model=first), whole)
    assert content(first) == before
    assert_same(fit_linear(rows_of(X, Y, 3, 17), **options), whole)
    assert_same(fit_linear(iter(rows_of(X, Y, 1, 2, 30)), **options), whole)
    path = tmp_path / "model"
    first.save(path)
    loaded = load_model(path)
    assert_same(loaded, first)
    assert_same(fit_linear(X[17:], Y[17:], model=loaded), whole)


@pytest.mark.parametrize("case", [COMPILED[0], COMPILED[1], COMPILED[3]])
def test_a_then_b_is_a_and_b_compiled(case, tmp_path):
    penalty, loss, rate = case
    X, y, weight = data(loss)
    options = {"penalty": PENALTIES[penalty][0], "lr": RATES[rate][0], "loss": loss}
    whole = fit_linear(X, y, sample_weight=weight, **options)
    first = fit_linear(X[:17], y[:17], sample_weight=weight[:17], **options)
    first.save(tmp_path / "model")
    for model in (first, load_model(tmp_path / "model")):
        assert_same(fit_linear(X[17:], y[17:], sample_weight=weight[17:], model=model), whole)


def test_data_in_any_wrapping():
    """One matrix, one chunk, lists, tuples, generators and files of chunks."""
    whole = fit_linear(X, Y)
    chunks = rows_of(X, Y, 11)
    assert_same(fit_linear(Chunk(X, Y)), whole)
    for wrapped in (chunks, tuple(chunks), iter(chunks), (chunk for chunk in chunks)):
        assert_same(fit_linear(wrapped), whole)
    assert_same(fit_linear([Chunk(c.X.toarray(), c.y.tolist(), np.ones(len(c.y))) for c in chunks]), whole)
    assert_same(fit_linear(X.toarray().tolist(), Y.tolist()), whole)


def test_a_file_chunk_by_chunk(tmp_path):
    path = tmp_path / "data"
    with open(path, "w") as file:
        for r in range(X.shape[0]):
            row = X[[r]]
            pairs = (f"{i + 1}:{float(v)!r}" for i, v in zip(row.indices, row.data, strict=True))
            print(int(Y[r]), *pairs, file=file)
    read = read_svmlight(path, chunk_bytes=200, n_features=COLUMNS)
    assert len(list(read)) > 5
    assert_same(fit_linear(read, passes=2), fit_linear(X, Y, passes=2))


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("penalty", [p for p in PENALTIES if "by feature" not in p])
def test_features_grow_from_chunk_to_chunk(penalty):
    """A feature that no chunk has had yet is a column of zeros, which the penalty reaches all the same."""
    order = np.argsort([np.append(np.flatnonzero(X[:, [i]].toarray()), 10**6)[0] for i in range(COLUMNS)])
    grown = sp.csr_array(X.toarray()[:, order])
    widths = [max((int(i) + 1 for i in grown[:n].indices), default=0) for n in (5, 25)]
    assert widths[0] < widths[1] < COLUMNS
    for rate in ("constant", "inverse root"):
        options = {"penalty": PENALTIES[penalty][0], "lr": RATES[rate][0]}
        chunks = [
            Chunk(grown[:5, : widths[0]], Y[:5]),
            Chunk(grown[5:25, : widths[1]], Y[5:25]),
            Chunk(grown[25:], Y[25:]),
        ]
        whole = fit_linear(grown, Y, **options)
        assert_same(fit_linear(chunks, **options), whole)
        first = fit_linear(chunks[:2], **options)
        assert first.n_features == widths[1]
        assert_same(fit_linear(chunks[2], model=first), whole)
        assert first.n_features == widths[1]


def test_a_later_chunk_may_be_narrower():
    narrow = Chunk(sp.csr_array(X[20:, :5]), Y[20:])
    wide = Chunk(sp.csr_array(np.hstack([X[20:, :5].toarray(), np.zeros((20, 4))])), Y[20:])
    first = fit_linear(X[:20], Y[:20])
    assert_same(fit_linear(narrow, model=first), fit_linear(wide, model=first))


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("name", ["penalty", "rule", "lr", "loss"])
def test_options_given_again(name):
    """The same option once more changes no bit; another one counts from there on, and for what is to come only."""
    same = {"penalty": L1(0.02), "rule": Adagrad(1e-8), "lr": InverseSqrt(0.5), "loss": "logistic"}
    other = {"penalty": L2(0.5), "rule": Adagrad(0.1), "lr": 0.1, "loss": "squared"}
    first = fit_linear(X[:20], Y[:20], **same)
    before = content(first)
    plain = fit_linear(X[20:], Y[20:], model=first)
    assert_same(fit_linear(X[20:], Y[20:], model=first, **{name: same[name]}), plain)
    assert_same(fit_linear(X[20:], Y[20:], model=first, **same), plain)
    changed = fit_linear(X[20:], Y[20:], model=first, **{name: other[name]})
    assert np.abs(changed.coef - plain.coef).max() > 1e-3
    assert content(first) == before
    assert_same(fit_linear(X[:0], Y[:0], model=first, **{name: other[name]}), first)


@pytest.mark.usefixtures("interpreted")
def test_changed_options_against_the_eager_learner():
    """L1 with one rate, then L2 with another: what L1 owed is paid before L2 takes over."""
    first = fit_linear(X[:20], Y[:20], penalty=L1(0.02), lr=0.5)
    second = fit_linear(X[20:], Y[20:], model=first, penalty=L2(0.3), lr=RATES["piecewise"][0])
    third = fit_linear(X, Y, model=second, penalty=NoPenalty())
    dense = X.toarray()
    eager = reference_linear.learn(dense[:20], Y[:20], "logistic", lambda t: 0.5, prox=of_l1(0.02))
    eager = reference_linear.learn(dense[20:], Y[20:], "logistic", RATES["piecewise"][1], prox=of_l2(0.3), start=eager)
    assert_allclose(second.coef, eager.w, rtol=1e-12, atol=1e-13)
    eager = reference_linear.learn(dense, Y, "logistic", RATES["piecewise"][1], start=eager)
    assert_allclose(third.coef, eager.w, rtol=1e-12, atol=1e-13)


@pytest.mark.usefixtures("interpreted")
def test_arrays_in_options_are_compared_by_their_values():
    strengths = np.full(COLUMNS, 0.02)
    first = fit_linear(X[:20], Y[:20], penalty=L1(strengths))
    plain = fit_linear(X[20:], Y[20:], model=first)
    assert_same(fit_linear(X[20:], Y[20:], model=first, penalty=L1(strengths.copy())), plain)
    changed = fit_linear(X[20:], Y[20:], model=first, penalty=L1(np.full(COLUMNS, 0.2)))
    assert np.abs(changed.coef - plain.coef).max() > 1e-3


# --- order ---------------------------------------------------------------------------------------------------------


def test_passes_are_repeated_rows():
    """Two passes visit what twice the rows visit; only the first counts in the progressive loss."""
    twice = fit_linear(sp.vstack([X, X], format="csr"), np.r_[Y, Y])
    passes = fit_linear(X, Y, passes=2)
    assert_array_equal(passes.coef, twice.coef)
    assert passes.n_seen == passes.state.t == twice.n_seen == 80
    assert passes.progressive_loss == fit_linear(X, Y).progressive_loss != twice.progressive_loss


def test_shuffle():
    same = fit_linear(X, Y, shuffle=True, rng=3)
    assert_same(fit_linear(X, Y, shuffle=True, rng=3), same)
    seeds = [fit_linear(X, Y, shuffle=True, rng=seed).coef.tobytes() for seed in range(5)]
    assert len({*seeds, fit_linear(X, Y).coef.tobytes()}) == 6
    assert_same(fit_linear(X, Y, shuffle=False, rng=3), fit_linear(X, Y))
    generator = np.random.default_rng(1)
    first, second = (fit_linear(X, Y, shuffle=True, rng=generator) for _ in range(2))
    assert first.coef.tobytes() != second.coef.tobytes()
    assert_same(fit_linear(X, Y, shuffle=True, rng=np.random.default_rng(1)), first)


def test_shuffle_visits_each_row_once_in_each_pass_in_a_new_order():
    class Listener(NamedTuple):
        """The prediction never matters: the weights tell the order."""

        labels = "number"

        def value(self, y, p):
            seen.append(int(y))
            return 0.0

        def slope(self, y, p):
            return 0.0

        def link(self, p):
            return p

    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch, "compiled_for", lambda kernel, *records: getattr(kernel, "py_func", kernel))
        fit_linear(rows_of(X, np.arange(40.0), 25), loss=Listener(), passes=2, shuffle=True, rng=0)
    parts = seen[:25], seen[25:40], seen[40:65], seen[65:]
    expected = list(range(25)), list(range(25, 40))
    assert [sorted(part) for part in parts] == [*expected, *expected]
    assert len({tuple(part) for part in (*parts, *map(tuple, expected))}) == 6


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("rows", [1, 7, 10**6])
def test_slices_do_not_change_bits(rows, monkeypatch):
    """How often the loop returns to Python is nobody's business."""
    options = {"penalty": L1(0.02), "lr": InverseSqrt(0.5), "passes": 2, "shuffle": True, "rng": 0}
    whole = fit_linear(X, Y, **options)
    stops = []
    monkeypatch.setattr(trainer, "_until_power", lambda n: rows)
    sliced = fit_linear(X, Y, callback=lambda p: stops.append(p.n_seen), **options)
    assert_same(sliced, whole)
    assert len(stops) == 2 * math.ceil(40 / rows)


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_the_pace_does_not_change_bits(seconds, monkeypatch):
    parts = [data(seed=seed) for seed in range(60)]
    X, y = sp.vstack([part[0] for part in parts], format="csr"), np.concatenate([part[1] for part in parts])
    whole = fit_linear(X, y)
    monkeypatch.setattr(trainer, "SLICE", seconds)
    stops = []
    assert_same(fit_linear(X, y, callback=lambda p: stops.append(p.n_seen)), whole)
    assert (max(np.diff(stops)) < 512) == (seconds == 0.0)


# --- data in every form --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"])
@pytest.mark.parametrize("kind", [sp.csr_array, sp.csr_matrix])
def test_any_sparse_format(form, kind):
    converted = kind(X).asformat(form)
    model = fit_linear(converted, Y)
    assert_same(model, fit_linear(X, Y))
    assert_array_equal(model.decision_function(converted), model.decision_function(X))


@pytest.mark.parametrize("order", ["C", "F"])
def test_dense_equals_sparse(order):
    dense = X.toarray(order=order)
    model = fit_linear(dense, Y)
    assert_same(model, fit_linear(X, Y))
    assert_array_equal(model.predict(dense), model.predict(X))
    assert_same(fit_linear(np.repeat(dense, 2, axis=1)[:, ::2], Y), model)


def with_indices(X, indptr, indices):
    """X with index vectors of other types."""
    X = X.copy()
    X.indptr, X.indices = X.indptr.astype(indptr), X.indices.astype(indices)
    return X


@pytest.mark.parametrize("kinds", [(np.int64, np.int64), (np.int32, np.int32)])
def test_index_types(kinds):
    typed = with_indices(X, *kinds)
    assert typed.indices.dtype == kinds[1]
    model = fit_linear(typed, Y)
    assert_same(model, fit_linear(X, Y))
    assert_array_equal(model.decision_function(typed), model.decision_function(X))


def test_precision():
    """float32 data gives a float32 model, all else float64; what is asked for or begun with wins."""
    single = X.astype(np.float32)
    model = fit_linear(single, Y)
    assert model.coef.dtype == model.decision_function(X).dtype == model.predict_proba(X).dtype == np.float32
    assert model.state.slots[0][0].dtype == np.float32
    assert_same(fit_linear(single.toarray(), Y), model)
    assert_same(fit_linear(X, Y, dtype="float32"), model)
    assert_same(fit_linear(X[20:], Y[20:], model=fit_linear(single[:20], Y[:20])), model)
    double = fit_linear(single, Y, dtype=np.float64)
    assert double.coef.dtype == np.float64
    assert_allclose(model.coef, double.coef, rtol=1e-4, atol=1e-6)
    for kind in (np.int8, np.int64, np.uint16, np.bool_):
        whole = sp.csr_array(np.rint(np.abs(X.toarray())).astype(kind))
        assert_same(fit_linear(whole, Y), fit_linear(whole.astype(np.float64), Y))
        assert_same(fit_linear(whole.toarray(), Y), fit_linear(whole.astype(np.float64), Y))


def shambles(X, seed=0):
    """The same matrix with shuffled indices and values listed in several parts."""
    rng = np.random.default_rng(seed)
    indptr, indices, values = [0], [], []
    for r in range(X.shape[0]):
        row = X[[r]]
        where, parts = np.repeat(row.indices, 2), np.repeat(row.data, 2) * np.tile([0.25, 0.75], row.nnz)
        order = rng.permutation(where.size)
        indices += where[order].tolist()
        values += parts[order].tolist()
        indptr.append(len(indices))
    return sp.csr_array((np.array(values), np.array(indices, np.int32), np.array(indptr, np.int32)), shape=X.shape)


def test_unsorted_and_repeated_columns_are_sorted_and_summed():
    mixed = shambles(sp.csr_array(np.rint(8 * X.toarray())))
    tidy = mixed.copy()
    tidy.sum_duplicates()
    assert mixed.nnz == 2 * tidy.nnz
    parts = [part.copy() for part in (mixed.indptr, mixed.indices, mixed.data)]
    model = fit_linear(mixed, Y)
    assert_same(model, fit_linear(tidy, Y))
    assert_same(fit_linear(mixed, Y, shuffle=True, rng=0), fit_linear(tidy, Y, shuffle=True, rng=0))
    assert_allclose(model.decision_function(mixed), model.decision_function(tidy), rtol=1e-14)
    for before, after in zip(parts, (mixed.indptr, mixed.indices, mixed.data), strict=True):
        assert_array_equal(before, after)
    late = sp.vstack([tidy[:30], mixed[30:]], format="csr")  # only the last rows are out of order
    assert not late.has_canonical_format
    stops, expected = [], []
    assert_same(fit_linear(late, Y, callback=lambda p: stops.append(p.n_seen)), model)
    fit_linear(tidy, Y, callback=lambda p: expected.append(p.n_seen))
    assert stops == expected


def test_more_room_than_values():
    """A CSR whose arrays are longer than its last row needs, and read-only, as a memory map is."""
    roomy = X.copy()
    roomy.indices, roomy.data = np.r_[X.indices, [10**6] * 3].astype(np.int32), np.r_[X.data, [np.nan] * 3]
    model = fit_linear(X, Y)
    assert_same(fit_linear(roomy, Y), model)
    assert_array_equal(model.decision_function(roomy), model.decision_function(X))
    for part in (roomy.indptr, roomy.indices, roomy.data):
        part.flags.writeable = False
    assert_same(fit_linear(roomy, Y), model)
    assert_array_equal(model.decision_function(roomy), model.decision_function(X))


def test_no_rows_and_no_columns():
    empty = fit_linear(X[:0], Y[:0])
    assert_array_equal(empty.coef, np.zeros(COLUMNS))
    assert math.isnan(empty.progressive_loss)
    assert empty.n_seen == empty.state.t == 0
    assert_array_equal(empty.classes, [-1, 1])
    assert_array_equal(empty.predict(X), np.full(40, -1))
    assert_same(fit_linear(X, Y, model=empty), fit_linear(X, Y))
    bare = fit_linear(sp.csr_array((40, 0)), Y)
    assert bare.coef.shape == (0,)
    assert bare.intercept == fit_linear(sp.csr_array((40, 3)), Y).intercept != 0


# --- weights -------------------------------------------------------------------------------------------------------


def test_rows_of_weight_zero_are_passed_over():
    keep = WEIGHT > 0
    assert 0 < keep.sum() < 40
    # The first row of weight zero could not be learnt from.
    wild = X.copy()
    row = next(r for r in range(40) if not keep[r] and wild.indptr[r] < wild.indptr[r + 1])
    wild.data[wild.indptr[row]] = np.nan
    model = fit_linear(wild, Y, sample_weight=WEIGHT, penalty=L1(0.02))
    rest = fit_linear(X[keep], Y[keep], sample_weight=WEIGHT[keep], penalty=L1(0.02))
    assert_array_equal(model.coef, rest.coef)
    assert model.intercept == rest.intercept
    assert model.progressive_loss == rest.progressive_loss
    assert model.state.t == rest.state.t == keep.sum()
    nothing = fit_linear(X, Y, sample_weight=np.zeros(40))
    assert not nothing.coef.any()
    assert math.isnan(nothing.progressive_loss)


def test_weights_multiply_the_loss():
    """Adagrad forgets a common factor of all gradients; the mean loss is a mean by weight."""
    once = fit_linear(X, Y, rule=Adagrad(eps=0.0))
    scaled = fit_linear(X, Y, rule=Adagrad(eps=0.0), sample_weight=np.full(40, 4.0))
    assert_allclose(scaled.coef, once.coef, rtol=1e-12)
    assert_allclose(scaled.state.slots[0][0], 16 * once.state.slots[0][0], rtol=1e-12)
    assert_allclose(scaled.progressive_loss, once.progressive_loss, rtol=1e-12)
    for kind in (bool, np.int32, np.float32):
        weight = (WEIGHT > 0).astype(kind)
        assert_same(fit_linear(X, Y, sample_weight=weight), fit_linear(X, Y, sample_weight=weight.astype(float)))


# --- labels --------------------------------------------------------------------------------------------------------

PAIRS = {
    "signs": np.array([-1, 1]),
    "floats": np.array([-1.0, 1.0]),
    "bits": np.array([0, 1]),
    "others": np.array([3, 7], np.uint8),
    "booleans": np.array([False, True]),
    "strings": np.array(["no", "yes"]),
    "objects": np.array(["no", "yes"], object),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_labels(pair, tmp_path):
    """Any two labels, the larger one positive; they come back as they were, also from a file."""
    y = pair[(Y > 0).astype(int)]
    model = fit_linear(X, y)
    assert_array_equal(model.coef, fit_linear(X, Y).coef)
    assert_array_equal(model.classes, pair)
    kind = pair.dtype.kind
    assert model.classes.dtype.kind == {"O": "U", "u": "i"}.get(kind, kind)
    assert_array_equal(model.predict(X), np.where(model.decision_function(X) > 0, pair[1], pair[0]))
    model.save(tmp_path / "model")
    assert_array_equal(load_model(tmp_path / "model").predict(X), model.predict(X))
    assert_same(fit_linear(X, y.tolist()), model)


@pytest.mark.parametrize(
    ("first", "second"), [(1, -1), (1, 0), (0, 1), (-1, 1), (True, False), (False, True), (1.0, -1.0), (0, 5)]
)
def test_a_first_chunk_with_a_single_label(first, second):
    """1 is the positive label, 0 and -1 are negative ones; the other side is learnt when it comes."""
    pair = sorted((first, second))
    y = np.array([first] * 10 + [second, first] * 15)
    model = fit_linear([Chunk(X[:10], y[:10]), Chunk(X[10:], y[10:])])
    assert_array_equal(model.classes, pair)
    assert_array_equal(model.coef, fit_linear(X, y).coef)


@pytest.mark.parametrize(
    ("label", "pair"), [(1, [-1, 1]), (-1, [-1, 1]), (0, [0, 1]), (True, [False, True]), (False, [False, True])]
)
def test_one_label_only(label, pair):
    model = fit_linear(X, [label] * 40)
    assert_array_equal(model.classes, pair)
    assert model.classes.dtype == np.asarray(pair).dtype
    assert_array_equal(model.predict(X), [label] * 40)


def test_announced_labels():
    y = np.array(["b"] * 10 + ["a", "b"] * 15)
    model = fit_linear([Chunk(X[:10], y[:10]), Chunk(X[10:], y[10:])], classes=["b", "a"])
    assert_array_equal(model.classes, ["a", "b"])
    assert_same(model, fit_linear(X, y))
    first = fit_linear(X[:10], y[:10], classes=("a", "b"))
    assert_same(fit_linear(X[10:], y[10:], model=first), model)
    assert_same(fit_linear(X[10:], y[10:], model=first, classes=["a", "b"]), model)
    with pytest.raises(ValueError, match=r"^classes: got \['a', 'c'\], but the model was begun with \['a', 'b'\]"):
        fit_linear(X[10:], y[10:], model=first, classes=["a", "c"])
    half = fit_linear(X[:10], [1] * 10)
    assert_array_equal(fit_linear(X[:10], [1] * 10, model=half, classes=[1, -7]).classes, [-7, 1])
    with pytest.raises(ValueError, match=r"^classes: "):
        fit_linear(X[:10], [1] * 10, model=half, classes=[1, 7])  # rows of 1 were learnt as positive


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0.0, 1.0, 2.5] * 13 + [0.0], r"^y: got 3 labels, \[0.0, 1.0, 2.5\]; a binary loss takes two"),
        (["a"] * 40, r"^y: has the single label 'a'; pass classes="),
        ([3] * 40, r"^y: has the single label 3; pass classes="),
    ],
)
def test_labels_that_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        fit_linear(X, y)


def test_a_third_label_in_a_later_chunk():
    first = fit_linear(X[:20], Y[:20])
    before = content(first)
    for label in (0.0, 7.0):
        with pytest.raises(ValueError, match=r"^y: got 3 labels"):
            fit_linear(X[20:], [label] * 20, model=first)
    assert content(first) == before
    one = fit_linear(X[:20], [1] * 20)
    with pytest.raises(ValueError, match=r"^y: label 2 came after rows with 1 only were learnt; pass classes="):
        fit_linear(X[20:], [1, 2] * 10, model=one)


# --- what is told on the way ---------------------------------------------------------------------------------------


def test_progressive_loss():
    """The mean, by weight, of each row's loss before it was learnt from."""
    total, weights = 0.0, 0.0
    for r in range(40):
        model = fit_linear(X[:r], Y[:r], sample_weight=WEIGHT[:r])
        total += WEIGHT[r] * reference.logistic(Y[r], float(model.decision_function(X[[r]])[0]))
        weights += WEIGHT[r]
    model = fit_linear(X, Y, sample_weight=WEIGHT)
    assert_allclose(model.progressive_loss, total / weights, rtol=1e-12)
    told = []
    fit_linear(X, Y, sample_weight=WEIGHT, callback=told.append)
    assert sum(p.recent_weight for p in told) == WEIGHT.sum()
    assert_allclose(sum(p.recent_loss * p.recent_weight for p in told if p.recent_weight), total, rtol=1e-12)
    assert isinstance(model.progressive_loss, float)


def test_callback():
    told = []
    model = fit_linear(X, Y, passes=2, callback=told.append)
    stops = [p.n_seen for p in told]
    assert stops == sorted(set(stops))
    assert {1, 2, 4, 8, 16, 32, 40, 64, 80} <= set(stops)
    assert len(told) < 15
    assert all(p.model is model for p in told)
    assert [p.n_recent for p in told] == np.diff([0, *stops]).tolist()
    assert [p.passes for p in told] == [int(n > 40) for n in stops]
    assert [p.recent_weight for p in told] == [p.n_recent for p in told]
    seconds = [p.seconds for p in told]
    assert 0 <= seconds[0]
    assert seconds == sorted(seconds)
    for p in told:
        if p.n_seen <= 40:
            part = fit_linear(X[: p.n_seen], Y[: p.n_seen])
            assert_allclose(p.progressive_loss, part.progressive_loss, rtol=1e-12)
        else:
            assert p.progressive_loss == model.progressive_loss
    # recent_loss: the sums add up to those of the rows passed, in either pass
    spans = np.diff([0, *stops])
    recent = np.array([p.recent_loss for p in told])
    first = np.array(stops) <= 40
    assert_allclose(spans[first] @ recent[first], 40 * model.progressive_loss, rtol=1e-12)
    second = fit_linear(X, Y, model=fit_linear(X, Y)).tally[0] - fit_linear(X, Y).tally[0]
    assert_allclose(spans[~first] @ recent[~first], second, rtol=1e-12)


def test_callback_of_a_model_that_goes_on():
    """`recent_loss` is of the rows of this call alone."""
    first, told = fit_linear(X[:20], Y[:20]), []
    model = fit_linear(X[20:], Y[20:], model=first, callback=told.append)
    assert told[0].n_seen == 32
    before = first.progressive_loss * 20
    after = told[0].progressive_loss * 32
    assert_allclose(told[0].recent_loss, (after - before) / 12, rtol=1e-12)
    assert told[-1].progressive_loss == model.progressive_loss


def test_callback_that_stops():
    def stop(progress):
        if progress.n_seen == 8:
            raise StopIteration

    model = fit_linear(X, Y, passes=3, callback=stop)
    assert_same(model, fit_linear(X[:8], Y[:8]))
    assert_same(fit_linear(X[8:], Y[8:], model=model), fit_linear(X, Y))


def test_callback_that_fails():
    def fail(progress):
        raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        fit_linear(X, Y, callback=fail)


# --- what a model can do -------------------------------------------------------------------------------------------


def test_shapes_and_kinds():
    model = fit_linear(X, Y)
    assert isinstance(model, LinearModel)
    assert model.coef.shape == (COLUMNS,)
    assert type(model.intercept) is float
    assert model.classes.shape == (2,)
    assert model.n_features == COLUMNS
    assert model.n_seen == model.state.t == 40
    assert model.decision_function(X).shape == model.predict(X).shape == (40,)
    assert model.predict_proba(X).shape == (40, 2)
    assert fit_linear(X, Y, intercept=False).intercept == 0.0
    assert "Logistic" in repr(model)
    assert "n_seen=40" in repr(model)


def test_coef_is_a_copy():
    for penalty in (None, L1(0.02)):
        model = fit_linear(X, Y, penalty=penalty)
        before = content(model)
        model.coef[:] = 7.0
        assert content(model) == before


def test_predictions():
    model = fit_linear(X, Y, penalty=L1(0.02))
    margin = X.toarray() @ model.coef + model.intercept
    assert_allclose(model.decision_function(X), margin, rtol=1e-12, atol=1e-14)
    assert_array_equal(model.predict(X), np.where(margin > 0, 1.0, -1.0))
    assert len(set(model.predict(X).tolist())) == 2
    probability = model.predict_proba(X)
    assert_allclose(probability[:, 1], 1 / (1 + np.exp(-margin)), rtol=1e-12)
    assert_allclose(probability.sum(axis=1), 1.0, rtol=1e-15)
    assert_allclose(model.mean_loss(X, Y, WEIGHT), np.average(np.logaddexp(0, -Y * margin), weights=WEIGHT), rtol=1e-12)


def test_predictions_of_numbers():
    X, y, _ = data("squared")
    model = fit_linear(X, y, loss="squared")
    assert model.classes is None
    assert_array_equal(model.predict(X), model.decision_function(X))
    assert_allclose(model.mean_loss(X, y), np.mean((model.predict(X) - y) ** 2) / 2, rtol=1e-12)
    with pytest.raises(AttributeError, match=r"^predict_proba: the loss Squared predicts numbers; use predict"):
        model.predict_proba(X)


def test_columns_of_what_is_predicted():
    model = fit_linear(X, Y)
    padded = np.hstack([X[:, :4].toarray(), np.zeros((40, 5))])
    assert_array_equal(model.decision_function(X[:, :4]), model.decision_function(padded))
    assert_array_equal(model.decision_function(np.zeros((2, 0))), [model.intercept] * 2)
    assert model.decision_function(X[:0]).shape == (0,)
    with pytest.raises(ValueError, match=r"^X: got 10 columns; the model has 9 features. Drop .* X\[:, :9\]"):
        model.predict(sp.csr_array((3, 10)))


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")  # where nothing is compiled
@pytest.mark.parametrize("method", ["decision_function", "predict", "predict_proba"])
def test_what_cannot_be_predicted(method):
    predict = getattr(fit_linear(X, Y), method)
    for value in (np.nan, np.inf):
        bad = X[:5].toarray()
        bad[3, 2] = value
        with pytest.raises(ValueError, match=rf"^X: got {value} in row 3, column 2; must be finite"):
            predict(bad)
    with pytest.raises(ValueError, match=r"^X: got shape \(9,\); must have two dimensions"):
        predict(np.zeros(9))
    with pytest.raises(TypeError, match=r"^X: got dtype complex128; must be real numbers"):
        predict(np.zeros((1, 9), complex))
    with pytest.raises(ValueError, match=r"^X: row 0 gives a prediction that is not finite"):
        predict(np.full((1, 9), 1e308))


def test_mean_loss_is_careful():
    model = fit_linear(X, Y)
    with pytest.raises(ValueError, match=r"^sample_weight: got -1"):
        model.mean_loss(X, Y, -np.ones(40))
    with pytest.raises(ValueError, match=r"^y: got shape \(3,\)"):
        model.mean_loss(X, Y[:3])


# --- files ---------------------------------------------------------------------------------------------------------


class Capped(NamedTuple):
    """A loss of one's own."""

    delta: float

    labels = "number"

    def value(self, y, p):
        r = abs(p - y)
        return r * r / 2 if r < self.delta else self.delta * (r - self.delta / 2)

    def slope(self, y, p):
        return min(max(p - y, -self.delta), self.delta)

    def link(self, p):
        return p


class Ridges(NamedTuple):
    """A penalty of one's own, with an array."""

    strengths: Any

    def value(self, x, i):
        return self.strengths[i] * x * x / 2

    def prox(self, x, w, i):
        return x / (1 + w * self.strengths[i])


@pytest.fixture
def saved(tmp_path, interpreted):
    """(model, path) of a model with something in every part."""
    model = fit_linear(X, Y, penalty=ElasticNet(STRENGTHS, 0.1), lr=Piecewise((3, 9), (0.5, 0.2, 0.1)), passes=2)
    model.save(tmp_path / "model.npz")
    return model, tmp_path / "model.npz"


@pytest.mark.usefixtures("interpreted")
def test_saved_and_loaded(tmp_path):
    path = tmp_path / "model"
    for options in (
        {},
        {"dtype": np.float32, "penalty": Box(-math.inf, STRENGTHS)},
        {"intercept": False, "rule": Adagrad(0.1, True, 0.3), "lr": 1},
        {"loss": Squared(), "penalty": Bounded(L2(0.1), lower=0.0)},
    ):
        model = fit_linear(X, Y, **options)
        model.save(path)
        loaded = load_model(path)
        assert_same(loaded, model)
        assert loaded.loss == model.loss
        assert loaded.has_intercept == model.has_intercept
        assert linear_options.same(loaded.state.penalty, model.state.penalty)
        assert loaded.state.rule == model.state.rule
        assert loaded.state.lr == model.state.lr
        assert_array_equal(loaded.decision_function(X), model.decision_function(X))
        assert loaded.progressive_loss == model.progressive_loss


@pytest.mark.usefixtures("interpreted")
def test_records_of_ones_own_in_a_file(tmp_path):
    path = tmp_path / "model"
    model = fit_linear(X[:20], Y[:20], loss=Capped(0.3), penalty=Ridges(np.linspace(0.1, 1, COLUMNS)))
    model.save(path)
    with pytest.raises(ValueError, match=r"uses the record (Capped|Ridges), which is not of this package; pass rec"):
        load_model(path)
    with pytest.raises(ValueError, match="uses the record Capped"):
        load_model(path, records=[Ridges])
    loaded = load_model(path, records=(Ridges, Capped))
    assert_same(fit_linear(X[20:], Y[20:], model=loaded), fit_linear(X[20:], Y[20:], model=model))


def test_a_damaged_file_is_refused(saved, tmp_path):
    """Every other byte, any length: an error that says so, or the very same model."""
    model, path = saved
    whole = path.read_bytes()
    other = tmp_path / "other"
    harmless = 0
    flips = np.random.default_rng(0).integers(1, 256, len(whole)).tolist()
    for k, flip in list(enumerate(flips))[::2]:
        other.write_bytes(whole[:k] + bytes([whole[k] ^ flip]) + whole[k + 1 :])
        try:
            loaded = load_model(other)
        except ValueError as error:
            assert str(error).startswith(str(other))  # noqa: PT017 - most come here, not all
        else:
            assert content(loaded) == content(model)  # a time stamp, say
            harmless += 1
    assert harmless < len(whole) / 8
    for size in range(0, len(whole), 37):
        other.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"not a file of this package, or damaged|checksum"):
            load_model(other)


def test_other_files_are_refused(saved, tmp_path):
    other = tmp_path / "other"
    with pytest.raises(FileNotFoundError):
        load_model(other)
    with pytest.raises(IsADirectoryError):
        load_model(tmp_path)
    for text in (b"", b"1 1:0.5\n", b"\x80\x04."):
        other.write_bytes(text)
        with pytest.raises(ValueError, match="not a file of this package, or damaged"):
            load_model(other)
    np.savez(tmp_path / "other.npz", w=np.zeros(3))
    with pytest.raises(ValueError, match="not a file of this package, or damaged"):
        load_model(tmp_path / "other.npz")
    np.save(tmp_path / "other.npy", np.zeros(3))
    with pytest.raises(ValueError, match="not a file of this package, or damaged"):
        load_model(tmp_path / "other.npy")
    archive.write(other, "picture", {}, {"w": np.zeros(3)})
    with pytest.raises(ValueError, match="holds a picture, not a linear model"):
        load_model(other)


def test_a_file_of_a_later_version(saved, monkeypatch):
    model, path = saved
    monkeypatch.setattr(archive, "FORMAT", 99)
    model.save(path)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"has format 99; this version reads up to \d+, so upgrade"):
        load_model(path)


@pytest.mark.parametrize("step", ["savez", "fsync", "replace"])
def test_save_is_all_or_nothing(saved, step, monkeypatch):
    """A disk that is full, at whatever moment: the old file is there, whole, and nothing beside it."""
    model, path = saved
    before = path.read_bytes()

    def full(file, *args, **arrays):
        if step == "savez":
            file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np if step == "savez" else os, step, full)
    with pytest.raises(OSError, match="No space left"):
        fit_linear(X, Y).save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [item.name for item in path.parent.iterdir()] == [path.name]
    assert_same(load_model(path), model)
    fit_linear(X, Y).save(path)
    assert_same(load_model(path), fit_linear(X, Y))


def test_save_to_where_nothing_can_be(saved, tmp_path):
    model, path = saved
    with pytest.raises(FileNotFoundError):
        model.save(tmp_path / "nowhere" / "model")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory"):
        model.save(tmp_path / "folder")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["folder", path.name]


@pytest.mark.skipif(os.name != "posix", reason="permission bits are those of POSIX")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_any_new_file(mask, tmp_path):
    old = os.umask(mask)
    try:
        fit_linear(X, Y).save(tmp_path / "model")
        assert os.umask(mask) == mask
    finally:
        os.umask(old)
    assert stat.S_IMODE(pathlib.Path(tmp_path / "model").stat().st_mode) == 0o666 & ~mask


def test_a_name_without_suffix_or_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit_linear(X, Y).save("model")
    assert [item.name for item in tmp_path.iterdir()] == ["model"]
    assert_same(load_model("model"), fit_linear(X, Y))
    assert_same(load_model(pathlib.Path("model")), fit_linear(X, Y))


# --- what is refused -----------------------------------------------------------------------------------------------


def tampered(**parts):
    """X with other parts, which SciPy does not look at."""
    bad = X.copy()
    for name, part in parts.items():
        setattr(bad, name, part)
    return bad


def changed(array, k, value):
    array = array.copy()
    array[k] = value
    return array


SECOND = int(X.indptr[2])  # the first value of row 2, which is not empty
assert X.indptr[2] < X.indptr[3]

MALFORMED = {
    "indptr falls": (
        lambda: tampered(indptr=changed(X.indptr, 5, X.nnz)),
        r"^X.indptr: falls from \d+ to \d+ at row 5;",
    ),
    "indptr too short": (lambda: tampered(indptr=X.indptr[:-1]), "^X.indptr: got 40 entries for 40 rows"),
    "indptr too long": (
        lambda: tampered(indptr=np.append(X.indptr, X.indptr[-1])),
        "^X.indptr: got 42 entries for 40 rows",
    ),
    "indptr starts late": (lambda: tampered(indptr=changed(X.indptr, 0, 1)), "^X.indptr: starts with 1;"),
    "indptr negative": (lambda: tampered(indptr=changed(X.indptr, 0, -1)), "^X.indptr: starts with -1;"),
    "indptr ends late": (
        lambda: tampered(indptr=changed(X.indptr, 40, X.nnz + 1)),
        rf"^X.indptr: ends with {X.nnz + 1}, but there are",
    ),
    "indptr of floats": (lambda: tampered(indptr=X.indptr.astype(float)), "^X.indptr: got dtype float64"),
    "indices of floats": (lambda: tampered(indices=X.indices.astype(float)), "^X.indices: got dtype float64"),
    "indices in two dimensions": (lambda: tampered(indices=X.indices[:, None]), "^X.indices: got dtype int32 and "),
    "too few indices": (lambda: tampered(indices=X.indices[:-1]), "^X.indptr: ends with"),
    "too few values": (lambda: tampered(data=X.data[:-1]), "^X.indptr: ends with"),
    "values in two dimensions": (lambda: tampered(data=X.data[:, None]), "^X.data: got dtype float64 and shape"),
    "complex values": (lambda: tampered(data=X.data.astype(complex)), "^X.data: got dtype complex128"),
    "objects as values": (lambda: tampered(data=X.data.astype(object)), "^X.data: got dtype object"),
    "index too large": (
        lambda: tampered(indices=changed(X.indices, SECOND, 9)),
        r"^X: column index 9 in row 2; must be in \[0, 9\)",
    ),
    "index far too large": (
        lambda: tampered(indices=changed(X.indices, SECOND, 2**31 - 1)),
        "^X: column index 2147483647 in row 2;",
    ),
    "index negative": (
        lambda: tampered(indices=changed(X.indices, SECOND, -1)),
        r"^X: column index -1 in row 2; must be in \[0, 9\)",
    ),
    "64-bit index too large": (
        lambda: tampered(indptr=X.indptr.astype(np.int64), indices=changed(X.indices.astype(np.int64), SECOND, 2**40)),
        "^X: column index 1099511627776 in row 2;",
    ),
    "64-bit index negative": (
        lambda: tampered(indptr=X.indptr.astype(np.int64), indices=changed(X.indices.astype(np.int64), SECOND, -1)),
        "^X: column index -1 in row 2;",
    ),
    "NaN": (lambda: tampered(data=changed(X.data, SECOND, np.nan)), r"^X: got nan in row 2, column \d; must be finite"),
    "infinity": (lambda: tampered(data=changed(X.data, SECOND, np.inf)), r"^X: got inf in row 2, column \d; must"),
    "minus infinity": (lambda: tampered(data=changed(X.data, SECOND, -np.inf)), r"^X: got -inf in row 2, column \d;"),
    "one dimension": (lambda: X.toarray()[0], r"^X: got shape \(9,\); must have two dimensions"),
    "three dimensions": (lambda: np.zeros((4, 3, 2)), r"^X: got shape \(4, 3, 2\); must have two dimensions"),
    "sparse in one dimension": (lambda: sp.coo_array(X.toarray()[0]), r"^X: got shape \(9,\); must have two dim"),
    "an array of objects": (lambda: X.toarray().astype(object), "^X: got dtype object; must be real numbers"),
    "an array of complex": (lambda: X.toarray().astype(complex), "^X: got dtype complex128; must be real numbers"),
    "strings": (lambda: np.full((40, 9), "a"), "^X: got dtype <U1; must be real numbers"),
    "nothing": (lambda: None, "^X: got NoneType; must be a matrix, or an iterable of Chunk"),
    "ragged lists": (lambda: [[1.0, 2.0], [3.0]], "^X: "),
    "malformed csc": (lambda: _bad_csc(), "^X: malformed CSC matrix: index 1000000 at position 0"),
    "malformed coo": (lambda: _bad_coo(), r"^X: malformed COO matrix: index 99 on axis 1; must be in \[0, 9\)"),
}


def _bad_csc():
    bad = sp.csc_array(X)
    bad.indices = changed(bad.indices, 0, 10**6)
    return bad


def _bad_coo():
    bad = sp.coo_array(X)
    bad.coords = (bad.coords[0], changed(bad.coords[1], 0, 99))
    return bad


def good_model(penalty=L1(0.02)):  # noqa: B008 - a record cannot be changed
    """(model, what it holds) of a model that a refused call is to leave alone."""
    model = fit_linear(X, Y, penalty=penalty)
    return model, content(model)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # where nothing is compiled
@pytest.mark.parametrize(("make", "message"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_data(make, message):
    """Refused with the place, for a new model, for one that goes on, and for predictions; nothing has changed."""
    bad = make()
    model, before = good_model(None)
    for call in (lambda: fit_linear(bad, Y), lambda: fit_linear(bad, Y, model=model), lambda: model.predict(bad)):
        with pytest.raises((ValueError, TypeError), match=message if "NoneType" not in message else "^X: got"):
            call()
    if sp.issparse(bad):
        with pytest.raises((ValueError, TypeError), match=message):
            fit_linear([Chunk(X, Y), Chunk(bad, Y)])
    assert content(model) == before


def test_an_index_within_the_model_but_not_within_the_data():
    """Row by row the data must keep to its own shape, even where the model is wider."""
    model, before = good_model()
    bad = X[:, :5].copy()
    bad.indices = changed(bad.indices, -1, 6)
    for call in (lambda: fit_linear(bad, Y, model=model), lambda: model.predict(bad)):
        with pytest.raises(ValueError, match=r"^X: column index 6 in row \d+; must be in \[0, 5\)"):
            call()
    assert content(model) == before


Y_BAD = {
    "nothing": (None, "^y: got None; give one target per row of X"),
    "too short": (Y[:-1], r"^y: got shape \(39,\); must have shape \(40,\), one entry per row of X"),
    "too long": (np.r_[Y, 1], r"^y: got shape \(41,\); must have shape"),
    "two dimensions": (Y[:, None], r"^y: got shape \(40, 1\); must have shape"),
    "a number": (1.0, r"^y: got shape \(\); must have shape"),
    "NaN": (changed(Y, 5, np.nan), "^y: got nan at index 5; must be finite"),
    "infinity": (changed(Y, 5, np.inf), "^y: got inf at index 5; must be finite"),
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
    model, before = good_model()
    for given in (None, model):
        with pytest.raises((ValueError, TypeError), match=message):
            fit_linear(X, y, model=given)
    assert content(model) == before


NUMBERS_BAD = {
    "strings": (np.array(["1.5"] * 40), "^y: got dtype <U3; the loss takes real numbers"),
    "objects": (np.array([1.5] * 40, object), "^y: got dtype object; the loss takes real numbers"),
    "complex": (Y + 0j, "^y: got dtype complex128; the loss takes real numbers"),
    "NaN": (changed(Y, 39, np.nan), "^y: got nan at index 39; must be finite"),
}


@pytest.mark.parametrize(("y", "message"), NUMBERS_BAD.values(), ids=NUMBERS_BAD)
def test_malformed_numbers(y, message):
    with pytest.raises((ValueError, TypeError), match=message):
        fit_linear(X, y, loss="squared")


WEIGHTS_BAD = {
    "too short": (WEIGHT[:-1], r"^sample_weight: got shape \(39,\); must have shape \(40,\)"),
    "two dimensions": (WEIGHT[:, None], r"^sample_weight: got shape \(40, 1\)"),
    "a number": (2.0, r"^sample_weight: got shape \(\)"),
    "NaN": (changed(WEIGHT, 7, np.nan), "^sample_weight: got nan at index 7; every entry must be in"),
    "infinity": (changed(WEIGHT, 7, np.inf), "^sample_weight: got inf at index 7;"),
    "negative": (changed(WEIGHT, 7, -1.0), r"^sample_weight: got -1.0 at index 7; every entry must be in \[0, inf\)"),
    "complex": (WEIGHT + 0j, "^sample_weight: got dtype complex128; must be real numbers"),
    "strings": (["a"] * 40, "^sample_weight: got dtype <U1; must be real numbers"),
    "objects": (WEIGHT.astype(object), "^sample_weight: got dtype object; must be real numbers"),
}


@pytest.mark.parametrize(("weight", "message"), WEIGHTS_BAD.values(), ids=WEIGHTS_BAD)
def test_malformed_weights(weight, message):
    model, before = good_model()
    for call in (
        lambda: fit_linear(X, Y, sample_weight=weight),
        lambda: fit_linear(X, Y, sample_weight=weight, model=model),
        lambda: fit_linear([Chunk(X, Y, weight)], model=model),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            call()
    assert content(model) == before


OPTIONS_BAD = {
    "negative rate": ({"lr": -0.1}, ValueError, r"^lr: got -0.1; must be a number in \[0, inf\)"),
    "NaN rate": ({"lr": math.nan}, ValueError, "^lr: got nan; must be a number"),
    "infinite rate": ({"lr": math.inf}, ValueError, "^lr: got inf; must be a number"),
    "rate by feature": ({"lr": np.ones(COLUMNS)}, TypeError, "^lr: got .*; must be a number, or a schedule record"),
    "record of rates": (
        {"lr": Constant(np.ones(COLUMNS))},
        TypeError,
        "^lr: got .*; must be a number, or a schedule record",
    ),
    "rate as a function": ({"lr": lambda t: 0.5}, TypeError, "^lr: got .*; must be a number, or a schedule record"),
    "rate as a word": ({"lr": "fast"}, TypeError, "^lr: got 'fast'; must be a number, or a schedule record"),
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
        {"penalty": L1(changed(STRENGTHS, 3, -1.0))},
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
    "penalty as a loss": ({"loss": L1(0.1)}, TypeError, "^loss: L1 has no slope and no link and no labels"),
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
    "three classes": ({"classes": (1, 2, 3)}, ValueError, "^y: got the label -1.0, which is not among the classes"),
    "classes as a number": ({"classes": 5}, ValueError, "^classes: got .*; must be two different labels"),
    "classes of another kind": ({"classes": ["a", "b"]}, ValueError, "^y: got 4 labels"),
    "classes for numbers": (
        {"classes": [0, 1], "loss": "squared"},
        ValueError,
        "^classes: the loss Squared takes numbers; leave classes",
    ),
}


@pytest.mark.parametrize(("options", "error", "message"), OPTIONS_BAD.values(), ids=OPTIONS_BAD)
def test_options_that_are_refused(options, error, message):
    model, before = good_model()
    for given in ({}, {"model": model}):
        with pytest.raises(error, match=message):
            fit_linear(X, Y, **{**given, **options})
    assert content(model) == before


@pytest.mark.parametrize(("options", "error", "message"), NEW_BAD.values(), ids=NEW_BAD)
def test_options_of_a_new_model_that_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        fit_linear(X, Y, **options)


def test_what_a_model_cannot_change():
    model, before = good_model()
    with pytest.raises(ValueError, match=r"^intercept: got False, but the model was begun with True"):
        fit_linear(X, Y, model=model, intercept=False)
    with pytest.raises(ValueError, match=r"^dtype: got float32, but the model is float64"):
        fit_linear(X, Y, model=model, dtype=np.float32)
    wide = sp.csr_array((40, 10))
    with pytest.raises(ValueError, match=r"^L1.strength: got shape \(9,\); must .* have shape \(10,\)"):
        fit_linear(wide, Y, model=fit_linear(X, Y, penalty=L1(STRENGTHS)))
    assert content(model) == before


def test_what_are_no_chunks():
    with pytest.raises(ValueError, match=r"^X: got no chunks; there is nothing to learn from"):
        fit_linear(iter([]))
    with pytest.raises(TypeError, match=r"^X: the iterable gave a tuple; must give Chunk\(X, y, weight\)"):
        fit_linear(iter([(X, Y)]))
    with pytest.raises(TypeError, match=r"^X: the iterable gave a str"):
        fit_linear("data.txt")
    with pytest.raises(TypeError, match=r"^X: the iterable gave a int"):
        fit_linear([Chunk(X, Y), 5])
    for more in ({"y": Y}, {"sample_weight": WEIGHT}):
        with pytest.raises(ValueError, match="chunks bring their own targets and weights"):
            fit_linear([Chunk(X, Y)], **more)
    with pytest.raises(ValueError, match=r"^passes: got 2, but X is an iterator that can be gone through once"):
        fit_linear(iter([Chunk(X, Y)]), passes=2)
    assert_same(fit_linear([Chunk(X, Y)], passes=2), fit_linear(X, Y, passes=2))


# --- numbers that are too large ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")  # where nothing is compiled
@pytest.mark.parametrize("value", [1e200, 1e308])
def test_a_model_is_never_nan(value):
    """A step that overflows is noticed at the next row that meets the weight, or else at the end."""
    model = fit_linear(np.ones((3, 1)), [1.0, 2.0, 3.0], loss="squared", intercept=False)
    before = content(model)
    tall, far = np.ones((3, 1)), np.ones(3)
    tall[1], far[1] = value, -value
    for X, y in ((tall, far), (-tall, far)):
        for given in (None, model):
            with pytest.raises(ValueError, match=r"^X: row 2 gives a prediction that is not finite; .* a smaller lr"):
                fit_linear(X, y, loss="squared", model=given, intercept=False)
            with pytest.raises(ValueError, match=r"^X: the last rows give weights that are not finite; .* smaller lr"):
                fit_linear(X[:2], y[:2], loss="squared", model=given, intercept=False)
    assert content(model) == before


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")
@pytest.mark.parametrize("lr", [1e200, 1e308])
def test_a_rate_that_is_too_large(lr):
    try:
        model = fit_linear(X, np.arange(40.0), loss="squared", lr=lr)
    except ValueError as error:
        assert "a smaller lr" in str(error)  # noqa: PT017 - either is right
    else:
        assert np.isfinite(model.coef).all()


def test_what_overflows_in_single_precision():
    """Numbers that are finite as given and not as float32, refused by their place and without a warning."""
    single = np.ones((3, 1), np.float32)
    with pytest.raises(ValueError, match=r"^y: got 1e.39 at index 2; must be within float32"):
        fit_linear(single, [1.0, 2.0, 1e39], loss="squared")
    with pytest.raises(ValueError, match=r"^sample_weight: got 1e.39 at index 1; must be within float32"):
        fit_linear(single, [1, -1, 1], sample_weight=[1.0, 1e39, 1.0])
    with pytest.raises(ValueError, match=r"^X: got inf in row 1, column 0; must be finite"):
        fit_linear(np.array([[1.0], [1e39]]), [1, -1], dtype=np.float32)
    model = fit_linear(single, [1, -1, 1])
    with pytest.raises(ValueError, match=r"^X: got inf in row 0, column 0; must be finite"):
        model.predict([[1e39]])


def test_indices_out_of_range_in_a_wide_table():
    """Where the next row is asked for beforehand, its indices have not been checked yet."""
    X = sp.csr_array((np.ones(4), [3, 2**18, 5, 6], [0, 2, 3, 4]), shape=(3, 2**18 + 1))
    fit_linear(X, [1, -1, 1])
    for wrong in (-1, 2**18 + 1, 2**31 - 1):
        bad = sp.csr_array((X.data, np.array([3, 2**18, wrong, 6], np.int32), X.indptr), shape=X.shape)
        with pytest.raises(ValueError, match=rf"^X: column index {wrong} in row 1; must be in \[0, {2**18 + 1}\)"):
            fit_linear(bad, [1, -1, 1])
