"""fit_linear(threads=k): rounds as they are defined, the same bits whoever runs them, and no worse for it."""

import functools
import pathlib
import threading

import numpy as np
import pytest
import reference_linear
import reference_merging
import scipy.sparse as sp
from linear_problems import (
    PENALTIES,
    RATES,
    data,
    fit_plain,
    interpreting,
    model_values,
    unsorted_duplicates,
    with_value,
)
from numpy.testing import assert_allclose

from adagrad_nb import FTRL, L1, RDA, Adadelta, Chunk, InverseSqrt, Polyak, fit_linear, load_model, load_svmlight
from adagrad_nb.compiler.intrinsics import barrier_wait
from adagrad_nb.linear import dispatch, trainer
from adagrad_nb.linear.kernels import rows as row_kernels
from adagrad_nb.linear.kernels import workers as workers_module

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples" / "data"
X, Y, WEIGHT = data(n=80, seed=2)


@pytest.fixture(autouse=True)
def early(monkeypatch):
    """Rounds within a few rows."""
    monkeypatch.setattr(dispatch, "SERIAL_UPDATES", 12)
    monkeypatch.setattr(dispatch, "ROUND_GROWTH", 2)
    monkeypatch.setattr(dispatch, "LONGEST_ROUND_DENSITY", 5)
    monkeypatch.setattr(dispatch, "ROUND_ROWS", (1, 10**6))


def assert_rounds(penalty, loss, workers, b, monkeypatch, passes=1, intercept=True, rate="constant"):
    X, y, weight = data(loss, n=80, seed=2)
    (record, prox), (lr, at) = PENALTIES[penalty], RATES[rate]
    monkeypatch.setattr(workers_module, "find_blend", lambda *arguments: b)
    first, max_rows = dispatch.choose_round_sizes(X)
    assert (first, 15 < max_rows < 40) == (12, True)
    model = fit_linear(
        X, y, loss=loss, penalty=record, sample_weight=weight, threads=workers, passes=passes, intercept=intercept,
        lr=lr,
    )  # fmt: skip
    eager = reference_merging.fit_in_rounds(
        X.toarray(), y, loss, at, workers, b, serial_updates=12, growth=2, max_rows=max_rows, weight=weight, prox=prox,
        passes=passes, intercept=intercept,
    )  # fmt: skip
    close = {"rtol": 1e-11, "atol": 1e-12}
    assert_allclose(model.coef, eager.w, **close)
    assert_allclose(model.intercept, eager.b, **close)
    assert_allclose(model.state.slots[0][0], eager.G, **close)
    assert_allclose(model.bias_state.slots[0][0], [eager.Gb], **close)
    assert model.state.t == eager.t
    assert model.n_seen == 80 * passes
    if passes == 1:
        assert_allclose(model.progressive_loss, reference_linear.progressive_loss(eager.losses), **close)
    assert (
        np.abs(model.coef - fit_linear(X, y, loss=loss, penalty=record, sample_weight=weight, lr=lr).coef).max() > 1e-3
    )


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("b", [0.0, 0.4, 1.0])
def test_rounds_equal_the_reference(penalty, b, monkeypatch):
    assert_rounds(penalty, "logistic", 2, b, monkeypatch)
    assert_rounds(penalty, "squared", 3, b, monkeypatch, passes=2, intercept=False)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("rate", ["inverse root", "piecewise"])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_rounds_at_a_changing_rate_equal_the_reference(penalty, rate, monkeypatch):
    assert_rounds(penalty, "logistic", 3, 0.4, monkeypatch, rate=rate)
    assert_rounds(penalty, "squared", 2, 0.0, monkeypatch, passes=2, rate=rate)


OPTIONS = {
    "plain": {},
    "l1": {"penalty": L1(0.02)},
    "l1 at a falling rate": {"penalty": L1(0.02), "lr": InverseSqrt(0.7, 0.3)},
    "batches": {"batch_size": 2},
    "invariant": {"invariant": True},
    "rda": {"rule": RDA(), "penalty": L1(0.02)},
    "ftrl": {"rule": FTRL(l1=0.1)},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_compiled_and_interpreted_agree(options, dtype):
    compiled = fit_plain(X, Y, threads=3, sample_weight=WEIGHT, dtype=dtype, **options)
    with interpreting():
        by_hand = fit_plain(X, Y, threads=3, sample_weight=WEIGHT, dtype=np.float64, **options)
    close = 1e-10 if dtype == np.float64 else 1e-3
    assert_allclose(compiled.coef, by_hand.coef, rtol=close, atol=close)
    assert compiled.state.t == by_hand.state.t


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("workers", [2, 3])
def test_the_same_bits_for_any_number_of_cores(options, workers, monkeypatch):
    options = {**options, "threads": workers, "passes": 3}
    monkeypatch.setattr(dispatch, "available_cores", lambda: 1)
    one_thread = model_values(fit_plain(X, Y, **options))
    for cores in (2, 3):
        monkeypatch.setattr(dispatch, "available_cores", lambda cores=cores: cores)
        for _ in range(3):
            assert model_values(fit_plain(X, Y, **options)) == one_thread
    assert model_values(fit_plain(X, Y, **{**options, "threads": 4}))["coef"] != one_thread["coef"]


def test_one_thread_is_the_plain_loop():
    assert model_values(fit_linear(X, Y, threads=1, lr=0.5)) == model_values(fit_linear(X, Y, lr=0.5))


@pytest.mark.parametrize("rows", [1, 7, 10**6])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_slices_do_not_cut_rounds(rows, batch_size, monkeypatch):
    options = {"threads": 2, "passes": 2, "shuffle": True, "rng": 0, "batch_size": batch_size}
    one_call = model_values(fit_plain(X, Y, **options))
    monkeypatch.setattr(trainer, "_rows_to_power_of_two", lambda n: rows)
    assert model_values(fit_plain(X, Y, callback=lambda p: None, **options)) == one_call


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_resuming_where_a_chunk_ends(options, tmp_path):
    options = {**options, "threads": 2}
    one_call = model_values(fit_plain([Chunk(X[:33], Y[:33]), Chunk(X[33:], Y[33:])], **options))
    first = fit_plain(X[:33], Y[:33], **options)
    before = model_values(first)
    first.save(tmp_path / "model")
    for model in (first, load_model(tmp_path / "model")):
        assert model_values(fit_linear(X[33:], Y[33:], model=model, threads=2)) == one_call
    assert model_values(first) == before


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("threads", [1, 2, 3, 5])
@pytest.mark.parametrize("batch_size", [1, 2, 7, 100])
@pytest.mark.parametrize("options", [{}, {"shuffle": True}, {"passes": 3}, {"passes": 2, "shuffle": True}], ids=str)
@pytest.mark.parametrize("n_chunks", [1, 3])
def test_each_row_is_learnt_once_in_a_pass(threads, batch_size, options, n_chunks):
    """Batches end with the share of a worker, so no row is in two shares."""
    weight = np.where(WEIGHT > 1, 0.0, WEIGHT + np.arange(WEIGHT.size) / 64)
    parts = np.array_split(np.arange(Y.size), n_chunks)
    chunks = [Chunk(X[part], Y[part], weight[part]) for part in parts]
    recent = []
    model = fit_plain(
        chunks, threads=threads, batch_size=batch_size, classes=[-1, 1], rng=0,
        callback=lambda progress: recent.append(progress.recent_weight), **options,
    )  # fmt: skip
    passes = options.get("passes", 1)
    assert model.n_seen == Y.size * passes
    assert_allclose(sum(recent), weight.sum() * passes, rtol=1e-12)
    assert_allclose(model.loss_sums[1], weight.sum(), rtol=1e-12)


def test_more_workers_than_rows():
    for n in (13, 14, 16):
        few = fit_linear(X[:n], Y[:n], threads=9, lr=0.5)
        assert few.n_seen == few.state.t == n
    assert model_values(fit_linear(X[:12], Y[:12], threads=9, lr=0.5)) == model_values(
        fit_linear(X[:12], Y[:12], lr=0.5)
    )
    untrained = fit_linear(X, Y, threads=2, sample_weight=np.r_[np.ones(20), np.zeros(60)], lr=0.5)
    only = fit_linear(X[:20], Y[:20], threads=2, lr=0.5)
    assert untrained.state.t == only.state.t
    assert np.isfinite(untrained.coef).all()


def test_unsorted_rows_are_sorted_and_summed():
    mixed = X.copy()
    for r in range(80):
        a, b = X.indptr[r : r + 2]
        mixed.indices[a:b], mixed.data[a:b] = X.indices[a:b][::-1], X.data[a:b][::-1]
    late = sp.vstack([X[:60], mixed[60:]], format="csr")
    one_call = model_values(fit_linear(X, Y, threads=2, lr=0.5))
    assert model_values(fit_linear(mixed, Y, threads=2, lr=0.5)) == one_call
    assert model_values(fit_linear(late, Y, threads=2, lr=0.5)) == one_call
    twice = unsorted_duplicates(sp.csr_array(np.rint(8 * X.toarray())))  # the rounds go by the values that are stored
    canonical = twice.copy()
    canonical.sum_duplicates()
    first, max_rows = dispatch.choose_round_sizes(twice)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch, "choose_round_sizes", lambda X: (first, max_rows))
        assert model_values(fit_linear(twice, Y, threads=2, lr=0.5)) == model_values(
            fit_linear(canonical, Y, threads=2, lr=0.5)
        )


@pytest.mark.parametrize("row", [3, 41, 55, 79])
def test_a_row_that_is_rejected_is_named(row):
    row = next(r for r in range(row, 80) if X.indptr[r] < X.indptr[r + 1]) if row < 79 else 77
    model = fit_linear(X, Y, lr=0.5)
    before = model_values(model)
    for name, value, message in (("data", np.nan, "got nan in row"), ("indices", 99, "column index 99 in row")):
        bad = X.copy()
        setattr(bad, name, with_value(getattr(bad, name), X.indptr[row], value))
        with pytest.raises(ValueError, match=f"^X: {message} {row}"):
            fit_linear(bad, Y, threads=2, lr=0.5)
        with pytest.raises(ValueError, match=f"^X: {message} {row}"):
            fit_linear(bad, Y, threads=3, model=model)
    assert model_values(model) == before


def test_rows_of_weight_zero_may_be_anything():
    weight = np.ones(80)
    weight[[20, 45, 46, 70]] = 0
    non_finite = X.copy()
    for row in (20, 45, 46, 70):
        non_finite.data[X.indptr[row] : X.indptr[row + 1]] = np.nan
        non_finite.indices[X.indptr[row] : X.indptr[row + 1]] = 10**8
    model = fit_linear(non_finite, Y, threads=2, sample_weight=weight, lr=0.5)
    assert np.isfinite(model.coef).all()


def test_a_thread_that_does_not_start_keeps_nobody_waiting(monkeypatch):
    monkeypatch.setattr(dispatch, "available_cores", lambda: 3)
    begin, count = threading.Thread.start, []

    def start(self):
        count.append(self)
        if len(count) % 2 == 0:
            raise RuntimeError("can't start new thread")
        begin(self)

    fit_linear(X, Y, threads=3, lr=0.5)
    if row_kernels.learn_rows is not getattr(row_kernels.learn_rows, "py_func", row_kernels.learn_rows):
        monkeypatch.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            fit_linear(X, Y, threads=3, lr=0.5)
        assert not count[0].is_alive()


def test_callbacks_may_stop():
    def stop(progress):
        if progress.n_seen >= 40:
            raise StopIteration

    assert 40 <= fit_linear(X, Y, threads=2, callback=stop, lr=0.5).n_seen < 80


@pytest.mark.parametrize("threads", [0, -2, 1.5, True, "all"])
def test_numbers_that_are_rejected(threads):
    with pytest.raises(ValueError, match="^threads: got .*; must be an integer of at least 1"):
        fit_linear(X, Y, threads=threads, lr=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": Adadelta()}, "^threads: does not support the rule Adadelta"),
        ({"average": Polyak()}, "^threads: does not support average=Polyak"),
        ({"normalized": True}, "^threads: does not support normalised updates"),
    ],
)
def test_options_that_do_not_go_with_it(options, message):
    with pytest.raises(ValueError, match=message):
        fit_plain(X, Y, threads=2, **options)


# --- on real data, with the rounds as they are ----------------------------------------------------------------------


@functools.cache
def a9a():
    parts = [load_svmlight(EXAMPLES / f"a9a{end}.xz", n_features=123) for end in ("", ".t")]
    return (*parts[0], *parts[1])


compiled_only = pytest.mark.compiled_only("so many rows take minutes in pure Python")


@compiled_only
@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize("options", [{}, {"penalty": L1(1e-4)}, {"dtype": np.float32}], ids=["plain", "l1", "single"])
def test_census_loss_is_that_of_one_thread(workers, options, monkeypatch):
    monkeypatch.undo()
    X, y, A, b = a9a()
    one_thread = fit_plain(X, y, **options)
    model = fit_plain(X, y, threads=workers, **options)
    assert model.n_seen == model.state.t == 32561
    assert model.mean_loss(A, b) < 1.01 * one_thread.mean_loss(A, b)
    assert model.progressive_loss < 1.01 * one_thread.progressive_loss
    if "penalty" in options:
        zeros = [np.count_nonzero(one.coef == 0) for one in (one_thread, model)]
        assert zeros[1] >= 0.6 * zeros[0] > 0


@compiled_only
@pytest.mark.filterwarnings("ignore:fit_linear. the progressive loss:UserWarning")  # of rates that are too large
@pytest.mark.filterwarnings("ignore:fit_linear. the rows are sorted:UserWarning")
@pytest.mark.parametrize("lr", [0.5, 5.0, 50.0])
@pytest.mark.parametrize("order", ["file", "sorted"])
def test_it_does_not_diverge_where_one_thread_does_not(lr, order, monkeypatch):
    """Columns that say all the same, rows in the worst order, rates far too large."""
    monkeypatch.setattr(dispatch, "SERIAL_UPDATES", 64)
    rng = np.random.default_rng(0)
    common = rng.normal(size=(6000, 1))
    dense = common + 0.05 * rng.normal(size=(6000, 60))
    y = np.where(common[:, 0] + rng.normal(size=6000) > 0, 1.0, -1.0)
    rows = np.argsort(y, kind="stable") if order == "sorted" else np.arange(6000)
    one_thread = fit_linear(dense[rows], y[rows], lr=lr)
    for workers in (2, 4):
        model = fit_linear(dense[rows], y[rows], lr=lr, threads=workers)
        assert model.progressive_loss < 1.5 * one_thread.progressive_loss + 0.1
        assert np.isfinite(model.mean_loss(dense, y))


def test_the_blend_is_no_worse_than_either_end(monkeypatch):
    """On rows that all touch the same weights the sum overshoots; the blend must not."""
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(4000, 1)) + 0.1 * rng.normal(size=(4000, 30))
    y = np.where(dense.mean(axis=1) + rng.normal(size=4000) > 0, 1.0, -1.0)
    found = {}
    monkeypatch.setattr(dispatch, "SERIAL_UPDATES", 64)
    monkeypatch.setattr(dispatch, "compiled_for", lambda kernel, *records: getattr(kernel, "py_func", kernel))
    for name, b in (("average", 0.0), ("sum", 1.0), ("blend", None)):
        with monkeypatch.context() as patch:
            if b is not None:
                patch.setattr(workers_module, "find_blend", lambda *arguments, b=b: b)
            found[name] = fit_linear(dense[:800], y[:800], lr=2.0, threads=4).progressive_loss
    assert found["sum"] > 1.05 * found["average"]
    assert found["blend"] < 1.02 * min(found["sum"], found["average"])


def test_barrier_waits_for_all_threads():
    """No thread leaves the barrier before all have reached it, with more threads than cores as well."""
    if not hasattr(workers_module.run_rounds, "py_func"):
        assert barrier_wait(np.zeros(1, np.int64), 1, 4) == 5
        return
    from adagrad_nb.compiler.jit import jit

    @jit
    def count_early(barrier, steps_done, steps, index, threads):
        meetings, early = 0, 0
        for step in range(steps):
            steps_done[index] = step + 1
            meetings = barrier_wait(barrier, threads, meetings)
            for k in range(threads):
                early += steps_done[k] < step + 1
            meetings = barrier_wait(barrier, threads, meetings)
        return early

    for threads in (1, 2, 3, 5):
        barrier, steps_done, early = np.zeros(1, np.int64), np.zeros(8, np.int64), []
        count_early(barrier.copy(), steps_done.copy(), 1, 0, 1)

        def run(index, barrier=barrier, steps_done=steps_done, early=early, threads=threads):
            early.append(count_early(barrier, steps_done, 300, index, threads))

        workers = [threading.Thread(target=run, args=(index,)) for index in range(threads)]
        for thread in workers:
            thread.start()
        for thread in workers:
            thread.join()
        assert early == [0] * threads


def test_round_sizes_justify_the_merge(monkeypatch):
    """Where rows are few for the features one worker learns; where there is little to merge rounds are not tiny."""
    monkeypatch.undo()
    wide = sp.csr_array((np.ones(40), np.arange(40), [0, 20, 40]), shape=(2, 10**6))
    first, max_rows = dispatch.choose_round_sizes(wide)
    assert first // dispatch.ROUND_GROWTH * 20 >= 10**6
    assert max_rows * 20 >= 10**6
    narrow = sp.csr_array(np.ones((100, 10)))
    assert dispatch.choose_round_sizes(narrow) == (dispatch.SERIAL_UPDATES, dispatch.ROUND_ROWS[0])
    assert dispatch.choose_round_sizes(sp.csr_array((0, 5)))[0] == dispatch.SERIAL_UPDATES
    model = fit_linear(X, Y, lr=0.5)
    parameters = model.parameters
    kernel, _ = dispatch.choose_kernel(parameters, 1, X, parameters.spec(), 2)
    assert kernel is dispatch.row_kernel(parameters, 1, X, parameters.spec())[0]
