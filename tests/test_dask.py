"""adagrad_nb.dask: the bits of rounds in one process, whatever the workers, their timing, and their losses."""

import os
import random
import time

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

import adagrad_nb
from adagrad_nb import L1, Chunk, load_svmlight
from adagrad_nb.linear import rounds

dask = pytest.importorskip("dask")
pytest.importorskip("distributed")
import dask.array as da  # noqa: E402
import dask.bag as db  # noqa: E402
from distributed import Client, LocalCluster  # noqa: E402

from adagrad_nb import dask as cluster_training  # noqa: E402

pytestmark = [
    pytest.mark.compiled_only("the processes of a cluster compile nothing in the other lanes"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
A9A = os.path.join(os.path.dirname(__file__), "..", "examples", "data", "a9a.xz")
X, Y = load_svmlight(A9A, n_features=123)
X, Y = X[:24_000], Y[:24_000]
ENDS = [0, 5000, 9000, 16_000, 24_000]
SIZES = tuple(np.diff(ENDS).tolist())
PARTS = [(X[a:b], Y[a:b]) for a, b in zip(ENDS, ENDS[1:], strict=False)]
LONG_ROUNDS = {"round_growth": 1, "lr": 0.5}
# Labels of several classes, one of which only the last partition has.
NAMES = np.where(Y > 0, "much", np.where(X[:, 4].toarray() > 0, "some", "little"))
NAMES[20_000::2] = np.where(X[20_000::2, 2].toarray() > 0, "none", NAMES[20_000::2])


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def threads():
    """Return a client of one worker in this process, with four threads."""
    options = {"n_workers": 1, "threads_per_worker": 4, "processes": False, "dashboard_address": ":0"}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        yield client


def sparse_array(blocks=tuple(A for A, _ in PARTS)):
    arrays = [da.from_delayed(dask.delayed(A), A.shape, float, meta=sp.csr_array((0, 0))) for A in blocks]
    return da.concatenate(arrays)


def dense_array():
    to_dense = dask.delayed(sp.csr_array.toarray)
    return da.concatenate([da.from_delayed(to_dense(A), A.shape, float) for A, _ in PARTS])


def targets():
    return da.from_array(Y, chunks=(SIZES,))


def train_here(y=Y, **options):
    """Return the model of the same rounds in this process."""
    from adagrad_nb.dask.fit import plan_of
    from adagrad_nb.linear.model_options import check_options
    from adagrad_nb.linear.trainer import new_model

    growth, passes = options.pop("round_growth"), options.pop("passes", 1)
    options, labels = check_options(options.pop("loss", None), options.pop("lr"), **options), np.unique(y).tolist()
    model = new_model(sp.csr_array((0, 123)), np.empty(0), labels, options, 2)
    model._declare_classes(labels)
    parts = [rounds.Partition(f"partition {k}", A, y[ENDS[k] : ENDS[k + 1]]) for k, (A, _) in enumerate(PARTS)]
    for plan in plan_of(SIZES, passes, X.nnz, model, growth):
        model = rounds.train_round(model, parts, plan)
    return model


def assert_same_bits(model, expected):
    assert model.coef.tobytes() == expected.coef.tobytes()
    assert model.state.slots[0][0].tobytes() == expected.state.slots[0][0].tobytes()
    assert_array_equal(model.intercept, expected.intercept)
    assert (model.n_seen, model.progressive_loss) == (expected.n_seen, expected.progressive_loss)


@pytest.fixture(scope="module")
def expected():
    return train_here(**LONG_ROUNDS)


def test_the_bits_do_not_depend_on_the_workers_and_their_timing(client, threads, expected, monkeypatch):
    assert_same_bits(cluster_training.fit_linear(client, sparse_array(), targets(), **LONG_ROUNDS), expected)
    learn = rounds.learn_share

    def learn_later(*args):
        time.sleep(random.random() / 20)
        return learn(*args)

    monkeypatch.setattr(rounds, "learn_share", learn_later)
    progress = []
    model = cluster_training.fit_linear(threads, sparse_array(), Y, **LONG_ROUNDS, callback=progress.append)
    assert_same_bits(model, expected)
    assert [p.n_rounds for p in progress] == list(range(1, len(progress) + 1))
    assert progress[-1].n_seen == 24_000
    assert progress[-1].progressive_loss == pytest.approx(expected.progressive_loss, rel=1e-12)
    assert progress[-1].n_learners == 3  # the first partitions were trained on one by one


def test_many_threads_have_a_task_for_each_learner_and_each_sum(threads, monkeypatch):
    monkeypatch.setattr(rounds, "FAN_IN", 2)  # less than the four threads
    keys = []
    submit = Client.submit
    monkeypatch.setattr(
        Client, "submit", lambda *args, **options: keys.append(options["key"]) or submit(*args, **options)
    )
    model = cluster_training.fit_linear(threads, sparse_array(), targets(), **LONG_ROUNDS)
    assert_same_bits(model, train_here(**LONG_ROUNDS))
    assert any(key.startswith("adagrad-add-0-1") for key in keys)


def test_rounds_are_long_by_default():
    """Rounds begin when they have a million values, or after the features are covered if their length is given."""
    from adagrad_nb.dask.fit import plan_of

    model = adagrad_nb.fit_linear(sp.csr_array((0, 1000)), np.empty(0), classes=[0, 1], lr=0.5)
    sizes, n_values = [10**6] * 4, 40 * 10**6
    plans = [list(plan_of(sizes, 1, n_values, model, growth)) for growth in (None, 16)]
    first, given = (next(plan for plan in plans if len(plan.shares) > 1) for plans in plans)
    assert first.n_rows * 10 / rounds.MIN_ROUND_VALUES == pytest.approx(1, rel=0.01)
    assert len(first.shares) == 4
    assert given.n_rows < 1000


def test_lost_workers_change_nothing(client, expected):
    workers = client.cluster.workers

    def kill(progress):
        if progress.n_rounds == 3:
            os.kill(next(iter(workers.values())).pid, 9)

    model = cluster_training.fit_linear(client, sparse_array(), targets(), **LONG_ROUNDS, callback=kill)
    assert_same_bits(model, expected)
    client.wait_for_workers(2, timeout=60)


def test_several_classes(client, threads, tmp_path, monkeypatch):
    expected, data = train_here(NAMES, **LONG_ROUNDS), (sparse_array(), da.from_array(NAMES, chunks=(SIZES,)))
    workers = client.cluster.workers

    def kill(progress):
        if progress.n_rounds == 3:
            os.kill(next(iter(workers.values())).pid, 9)

    assert_same_bits(cluster_training.fit_linear(client, *data, **LONG_ROUNDS, callback=kill), expected)
    path, learn = tmp_path / "training.npz", rounds.learn_share

    def learn_later(*args):
        time.sleep(random.random() / 20)
        return learn(*args)

    def stop(progress):
        if progress.n_rounds == 4:
            raise StopIteration

    with monkeypatch.context() as patch:
        patch.setattr(rounds, "learn_share", learn_later)
        cluster_training.fit_linear(threads, *data, **LONG_ROUNDS, callback=stop, checkpoint=path)
    with pytest.raises(ValueError, match="classes: is given in one"):
        cluster_training.fit_linear(threads, *data, **LONG_ROUNDS, resume=path, classes=np.unique(NAMES))
    model = cluster_training.fit_linear(threads, *data, **LONG_ROUNDS, resume=path)
    assert_same_bits(model, expected)
    assert model.classes.tolist() == ["little", "much", "none", "some"]
    probabilities = cluster_training.predict(threads, model, data[0], method="predict_proba")
    assert probabilities.shape == (24_000, 4)
    assert_array_equal(probabilities.compute(), expected.predict_proba(X))
    one = adagrad_nb.fit_linear(X, NAMES, lr=0.5)
    assert model.mean_loss(X, NAMES) < 1.02 * one.mean_loss(X, NAMES)
    other = da.from_array(np.where(NAMES == "none", "some", NAMES), chunks=(SIZES,))
    with pytest.raises(
        ValueError, match=r"y: has the labels \['little', 'much', 'some'\], but the training began with"
    ):
        cluster_training.fit_linear(threads, data[0], other, **LONG_ROUNDS, resume=path)
    estimator = cluster_training.DaskAdagradClassifier(max_iter=1, shuffle=False).fit(*data)
    assert_array_equal(estimator.classes_, model.classes)
    assert estimator.coef_.shape == (4, 123)
    assert_array_equal(estimator.predict(data[0]).compute(), estimator.predict(X))
    assert_allclose(estimator.predict_proba(data[0]).compute(), estimator.predict_proba(X), rtol=1e-12)
    client.wait_for_workers(2, timeout=60)


@pytest.mark.parametrize("options", [{"penalty": L1(1e-4)}, {"passes": 2}], ids=str)
def test_options(threads, options):
    model = cluster_training.fit_linear(threads, sparse_array(), targets(), **LONG_ROUNDS | options)
    assert_same_bits(model, train_here(**LONG_ROUNDS | options))


def test_collections_have_the_same_result(client, expected, tmp_path):
    model = cluster_training.fit_linear(client, dense_array().rechunk({1: 50}), Y, **LONG_ROUNDS)
    assert_same_bits(model, expected)
    chunks = [[Chunk(A[:100], y[:100]), Chunk(A[100:], y[100:])] for A, y in PARTS]
    bag = db.from_delayed([dask.delayed(part) for part in chunks])
    assert_same_bits(cluster_training.fit_linear(client, bag, **LONG_ROUNDS), expected)
    for k, (A, y) in enumerate(PARTS):
        rows = (np.flatnonzero(row) + 1 for row in A.toarray())
        lines = [f"{label:g} " + " ".join(f"{i}:1" for i in row) for label, row in zip(y, rows, strict=True)]
        (tmp_path / f"part-{k}.svm").write_text("\n".join(lines) + "\n")
    model = cluster_training.fit_linear(client, str(tmp_path / "part-*.svm"), **LONG_ROUNDS)
    assert_same_bits(model, expected)
    for data in (sparse_array(), bag, [str(tmp_path / f"part-{k}.svm") for k in range(4)]):
        predicted = cluster_training.predict(client, model, data)
        assert_array_equal(predicted.compute(), expected.predict(X))
    few = db.from_delayed([dask.delayed(part) for part in ([Chunk(X[:5], None)], [])])  # a partition without chunks
    assert_array_equal(cluster_training.predict(client, model, few).compute(), expected.predict(X[:5]))
    probabilities = cluster_training.predict(client, model, sparse_array(), method="predict_proba")
    assert probabilities.shape == (24_000, 2)
    assert_array_equal(probabilities.compute(), expected.predict_proba(X))
    (tmp_path / "part-2.svm").write_text("1 1:1\n1 2:x\n")
    with pytest.raises(ValueError, match=r"part-2\.svm.*line 2"):
        cluster_training.fit_linear(client, str(tmp_path / "part-*.svm"), **LONG_ROUNDS)


def test_data_frames(threads, expected):
    pd = pytest.importorskip("pandas")
    dd = pytest.importorskip("dask.dataframe")
    names = [f"x{i}" for i in range(123)]
    frame = dd.from_map(lambda part: pd.DataFrame(part[0].toarray(), columns=names), PARTS)
    series = dd.from_map(lambda part: pd.Series(part[1]), PARTS)
    model = cluster_training.fit_linear(threads, frame, series, **LONG_ROUNDS)
    assert_same_bits(model, expected)
    assert model.feature_names == tuple(names)
    assert_array_equal(cluster_training.predict(threads, model, frame).compute(), expected.predict(X))


def test_a_malformed_row_ends_the_run(threads):
    bad = PARTS[2][0].toarray()
    bad[17, 5] = np.nan
    array = sparse_array([PARTS[0][0], PARTS[1][0], sp.csr_array(bad), PARTS[3][0]])
    with pytest.raises(ValueError, match=r"partition 2: X: got nan in row 17, column 5"):
        cluster_training.fit_linear(threads, array, targets(), **LONG_ROUNDS)
    with pytest.raises(ValueError, match=r"partition 2: X: got nan in row 17, column 5"):
        cluster_training.fit_linear(threads, array, targets(), **LONG_ROUNDS, shuffle=True, rng=0)


def test_an_ended_training_is_resumed(threads, expected, tmp_path):
    path = tmp_path / "training.npz"

    def stop(progress):
        if progress.n_rounds == 3:
            raise StopIteration

    data = sparse_array(), targets()
    stopped = cluster_training.fit_linear(threads, *data, **LONG_ROUNDS, callback=stop, checkpoint=path)
    assert 0 < stopped.n_seen < 24_000
    assert np.isfinite(stopped.mean_loss(X, Y))
    assert_same_bits(cluster_training.fit_linear(threads, *data, **LONG_ROUNDS, resume=path), expected)

    def interrupt(progress):
        if progress.n_rounds == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cluster_training.fit_linear(
            threads, *data, **LONG_ROUNDS, callback=interrupt, checkpoint=path, checkpoint_rounds=3
        )
    assert_same_bits(cluster_training.fit_linear(threads, *data, **LONG_ROUNDS, resume=path), expected)
    with pytest.raises(ValueError, match="rows or partitions"):
        cluster_training.fit_linear(threads, *[part[:16_000] for part in data], **LONG_ROUNDS, resume=path)
    with pytest.raises(ValueError, match="lr: got 0.1"):
        cluster_training.fit_linear(threads, *data, round_growth=1, lr=0.1, resume=path)
    for options, message in (
        ({"dtype": "float32"}, "dtype: got float32"),
        ({"loss": "squared"}, "loss: got Squared"),
    ):
        with pytest.raises(ValueError, match=message):
            cluster_training.fit_linear(threads, *data, **LONG_ROUNDS, resume=path, **options)
    with pytest.raises(IsADirectoryError, match="checkpoint"):
        cluster_training.fit_linear(threads, *data, **LONG_ROUNDS, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="passes: got 2"):
        cluster_training.fit_linear(threads, *data, **LONG_ROUNDS, passes=2, resume=path)


def test_only_coordinates_that_changed_are_sent(threads):
    wide = sp.csr_array((X.data, X.indices * 8131, X.indptr), shape=(24_000, 10**6))
    array, progress = sparse_array([wide[a:b] for a, b in zip(ENDS, ENDS[1:], strict=False)]), []
    cluster_training.fit_linear(threads, array, Y, **LONG_ROUNDS, callback=progress.append)
    assert max(p.bytes_merged for p in progress) < 200 * 24


def test_estimators(threads):
    data = sparse_array(), targets()
    estimator = cluster_training.DaskAdagradClassifier(max_iter=2, random_state=0)
    estimator.fit(*data)
    assert estimator.classes_.tolist() == [-1, 1]
    assert len(estimator.loss_curve_) == estimator.n_iter_ == 2
    assert estimator.score(X, Y) > 0.84
    assert_array_equal(estimator.predict(data[0]).compute(), estimator.predict(X))
    assert_allclose(estimator.predict_proba(data[0]).compute(), estimator.predict_proba(X), rtol=1e-12)
    regressor = cluster_training.DaskAdagradRegressor(max_iter=1, shuffle=False).fit(*data)
    assert regressor.score(X, Y) > 0.3
    assert_allclose(regressor.predict(data[0]).compute(), regressor.predict(X), rtol=1e-9)
    with pytest.raises(ValueError, match="early_stopping"):
        cluster_training.DaskAdagradClassifier(early_stopping=True).fit(*data)


def test_errors_of_arguments(threads):
    array, y = da.from_array(np.eye(6), chunks=2), da.from_array(np.arange(6) % 2, chunks=2)

    def labels(values):
        return da.from_array(np.array(values, object), chunks=2)

    cases = [
        (TypeError, "client: got NoneType", (None, array, y), {}),
        (TypeError, "X: got ndarray", (threads, np.eye(6), np.arange(6)), {}),
        (ValueError, "y: got None", (threads, array), {}),
        (ValueError, "y: got 4 entries; X has 6", (threads, array, y[:4]), {}),
        (ValueError, "nan", (threads, array, da.from_array(np.array([0, 1, np.nan, 0, 1, 0]), 2)), {}),
        (ValueError, "single label 7", (threads, array, da.from_array(np.full(6, 7), 2)), {}),
        (ValueError, "X: has no rows", (threads, array[:0], y[:0]), {}),
        (ValueError, "leave y", (threads, "part-*.svm", y), {}),
        (FileNotFoundError, "no file matches", (threads, "no-such-*.svm"), {}),
        (ValueError, "y: got 6 labels", (threads, array, da.from_array(np.arange(6) + 0.5, 2)), {}),
        (
            TypeError,
            "1: y: got numbers and",
            (threads, array, da.from_array(np.array([0, 1, 0, "a", 1, 1], object), 2)),
            {},
        ),
        (
            TypeError,
            "y: got numbers and",
            (threads, array, da.from_array(np.array([0, 1, "a", "b", 1, 1], object), 2)),
            {},
        ),
        (ValueError, "classes: got", (threads, array, y), {"classes": [1]}),
        (ValueError, "the label 1, which is not among the declared", (threads, array, y), {"classes": [0, 2, 3]}),
        (ValueError, "search", (threads, array, da.from_array(np.arange(6), 2)), {"lr": adagrad_nb.RateSearch()}),
        (ValueError, "GroupL2", (threads, array, da.from_array(np.arange(6), 2)), {"penalty": adagrad_nb.GroupL2(0.1)}),
        (ValueError, "round_growth", (threads, array, y), {"round_growth": 0}),
        (FileNotFoundError, "directory", (threads, array, y), {"checkpoint": "no/such/file.npz"}),
        (ValueError, "class_weight", (threads, array, y), {"class_weight": "balanced"}),
    ]
    for error, message, args, options in cases:
        with pytest.raises(error, match=message):
            cluster_training.fit_linear(*args, **options)
    model = adagrad_nb.fit_linear(np.eye(2), [0, 1], lr=0.5)
    with pytest.raises(ValueError, match="method: got 'x'"):
        cluster_training.predict(threads, model, array, method="x")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        cluster_training.nothing
