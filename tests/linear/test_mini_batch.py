"""Mini-batches of fit_linear: the mean gradient, penalties exactly lazy, and a batch of one is a row."""

import itertools

import numpy as np
import pytest
import reference_batch
import reference_linear
import scipy.sparse as sp
from linear_problems import PENALTIES, RATES, X, Y, data, fit_plain, model_values, unsorted_duplicates, with_value
from numpy.testing import assert_allclose, assert_array_equal

from adagrad_nb import L1, Chunk, Polyak, fit_linear, load_model
from adagrad_nb.linear import dispatch, trainer
from adagrad_nb.linear.kernels import rows as row_kernels


def assert_eager(penalty, loss, rate, size, intercept=True, dtype=None, tolerance=1e-12):
    X, y, weight = data(loss)
    record, prox = PENALTIES[penalty]
    lr, at = RATES[rate]
    chunks = [25, 15]
    parts = [Chunk(X[:25], y[:25], weight[:25]), Chunk(X[25:], y[25:], weight[25:])]
    model = fit_linear(
        parts, loss=loss, penalty=record, lr=lr, intercept=intercept, passes=2, dtype=dtype, batch_size=size
    )
    eager = reference_batch.fit(
        X.toarray(), y, loss, at, size, prox=prox, intercept=intercept, weight=weight, passes=2, chunks=chunks
    )
    close = {"rtol": tolerance, "atol": tolerance}
    assert_allclose(model.coef, eager.w, **close)
    assert_allclose(model.intercept, eager.b, **close)
    assert_allclose(model.state.slots[0][0], eager.G, **close)
    assert_allclose(model.progressive_loss, reference_linear.progressive_loss(eager.losses), **close)
    assert model.state.t == eager.t
    assert model.n_seen == 80


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_batches_equal_the_reference(penalty, rate):
    for loss, size in itertools.product(("logistic", "squared"), (2, 5, 1000)):
        assert_eager(penalty, loss, rate, size, intercept=size != 5)


@pytest.mark.parametrize("penalty", ["none", "elastic net by feature"])
def test_batches_compiled(penalty, dtype):
    for size in (3, 1000):
        assert_eager(penalty, "logistic", "inverse root", size, True, dtype, 1e-12 if dtype == np.float64 else 3e-5)


@pytest.mark.parametrize("penalty", ["none", "l1"])
def test_the_loop_for_batches_with_batches_of_one_changes_no_bit(penalty, dtype, monkeypatch):
    X, y, weight = data()
    options = {"penalty": PENALTIES[penalty][0], "sample_weight": weight, "passes": 2, "dtype": dtype}
    one_call = fit_plain(X, y, batch_size=1, **options)
    assert model_values(one_call) == model_values(fit_plain(X, y, **options))
    monkeypatch.setattr(dispatch, "row_kernel", dispatch.batch_kernel)
    assert model_values(fit_plain(X, y, **options)) == model_values(one_call)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("penalty", ["none", "l2", "box by feature"])
def test_resuming_where_a_batch_ends_changes_no_bit(penalty, tmp_path):
    options = {"penalty": PENALTIES[penalty][0], "batch_size": 4}
    one_call = fit_plain(X, Y, **options)
    first = fit_plain(X[:16], Y[:16], **options)
    first.save(tmp_path / "model")
    for model in (first, load_model(tmp_path / "model")):  # whose batch size it keeps
        assert model_values(fit_linear(X[16:], Y[16:], model=model)) == model_values(one_call)
    split = fit_plain(X[:17], Y[:17], **options)
    assert model_values(fit_linear(X[17:], Y[17:], model=split)) == model_values(
        fit_plain([Chunk(X[:17], Y[:17]), Chunk(X[17:], Y[17:])], **options)
    )
    single = fit_linear(X[16:], Y[16:], model=first, batch_size=1)
    assert single.state.t == first.state.t + 24


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("rows", [1, 3, 7, 10**6])
def test_slices_do_not_cut_batches(rows, monkeypatch):
    options = {"penalty": L1(0.02), "passes": 2, "shuffle": True, "rng": 0, "batch_size": 6}
    one_call = fit_plain(X, Y, **options)
    stops = []
    monkeypatch.setattr(trainer, "_rows_to_power_of_two", lambda n: rows)
    assert model_values(fit_plain(X, Y, callback=lambda p: stops.append(p.n_seen), **options)) == model_values(one_call)
    assert all(stop % 40 % 6 == 0 for stop in stops)


def test_each_batch_follows_the_mean_gradient():
    """With equal rows the mean is the row, whatever their number; equal weights scale it."""
    equal_rows = sp.csr_array(np.tile([[1.0, -2.0]], (12, 1)))
    single = fit_linear(equal_rows[:3], np.ones(3), loss="squared", lr=0.5)
    mean = fit_linear(equal_rows, np.ones(12), loss="squared", batch_size=4, lr=0.5)
    assert_allclose(mean.coef, single.coef, rtol=1e-15)
    assert_allclose(mean.intercept, single.intercept, rtol=1e-15)
    mixed = fit_linear(
        equal_rows[:6], np.ones(6), loss="squared", batch_size=3, sample_weight=[1, 0, 2, 3, 0, 0], lr=0.5
    )
    assert mixed.state.t == 1  # six rows, three that count, one batch of them
    assert_allclose(mixed.state.slots[0][0], [4.0, 16.0])  # ((1 + 2 + 3) / 3)², times x²


def test_unsorted_rows_are_sorted_and_summed():
    mixed = unsorted_duplicates(sp.csr_array(np.rint(8 * X.toarray())))
    canonical = mixed.copy()
    canonical.sum_duplicates()
    late = sp.vstack([canonical[:26], mixed[26:]], format="csr")
    for size in (4, 100):
        one_call = fit_linear(canonical, Y, batch_size=size, lr=0.5)
        assert model_values(fit_linear(mixed, Y, batch_size=size, lr=0.5)) == model_values(one_call)
        assert model_values(fit_linear(late, Y, batch_size=size, lr=0.5)) == model_values(one_call)


def test_a_row_that_is_rejected_is_named():
    first = X.indptr[27]
    bad = X.copy()
    bad.data = with_value(X.data, first, np.nan)
    with pytest.raises(ValueError, match="^X: got nan in row 27, column"):
        fit_linear(bad, Y, batch_size=8, lr=0.5)
    bad = X.copy()
    bad.indices = with_value(X.indices, first, 99)
    with pytest.raises(ValueError, match="^X: column index 99 in row 27"):
        fit_linear(bad, Y, batch_size=8, lr=0.5)


def test_a_batch_that_is_rejected_has_changed_nothing():
    model = fit_linear(X, Y, lr=0.5)
    bad = X.copy()
    bad.data = with_value(X.data, X.indptr[6], np.nan)
    spec = model.parameters.spec()
    model.batch_size = 4
    kernel, workspace = dispatch.batch_kernel(model.parameters, 4, X, spec)
    weights = model.parameters.kernel_arrays()
    order = np.arange(40)
    rows = row_kernels.Rows(bad.indptr, bad.indices.view(np.uint32), bad.data, Y, np.ones(40), order)
    after = fit_linear(X[:4], Y[:4], model=model)
    position, status, t = kernel(spec, rows, weights, workspace, model.loss_sums, model.state.t, 0, 40)
    assert (position, status) == (6, row_kernels.NOT_FINITE)
    model.parameters.t = t
    model.n_seen += 4
    assert model_values(model) == model_values(after)
    assert (workspace.slot_of == -1).all()


def test_averages_of_batches():
    model = fit_linear(X, Y, batch_size=5, average=Polyak(), lr=0.5)
    steps = [fit_linear(X[:n], Y[:n], batch_size=5, lr=0.5).coef for n in range(5, 45, 5)]
    assert_allclose(model.coef, np.mean(steps, axis=0), rtol=1e-13)


def test_no_rows_and_no_columns():
    assert_array_equal(fit_linear(X[:0], Y[:0], batch_size=3, lr=0.5).coef, np.zeros(9))
    assert fit_linear(sp.csr_array((40, 0)), Y, batch_size=3, lr=0.5).intercept != 0


@pytest.mark.parametrize("size", [0, -1, 2.5, True, "all"])
def test_sizes_that_are_rejected(size):
    with pytest.raises(ValueError, match="^batch_size: got .*; must be an integer of at least 1"):
        fit_linear(X, Y, batch_size=size, lr=0.5)
