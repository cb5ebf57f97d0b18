"""The progressive loss of Vowpal Wabbit, run here and now, where it is installed."""

import pathlib

import numpy as np
import pytest
import scipy.sparse as sp

from adagrad_nb import FTRL, Adagrad, Quantile, fit_linear, like, load_svmlight, load_vw

DATA = pathlib.Path(__file__).parents[2] / "examples" / "data"
ADAPTIVE = "--adaptive --noconstant -l 0.5"
# Vowpal Wabbit learns in single precision and takes inverse square roots to 12 bits.
TOLERANCE = 3e-5

pytestmark = pytest.mark.compiled_only("a full data set takes minutes in pure Python")


def a9a():
    X, y = load_svmlight(DATA / "a9a.xz")
    return sp.csr_array(sp.hstack([X, np.ones((X.shape[0], 1))])), y, np.ones(y.size)


def rcv1():
    return load_vw(DATA / "rcv1_small.dat.vw.xz")


def vowpal(X, y, weight, path, *options, update=ADAPTIVE):
    """The average loss that Vowpal Wabbit prints."""
    vowpalwabbit = pytest.importorskip("vowpalwabbit")
    with open(path, "w") as file:
        for r in range(X.shape[0]):
            row = slice(X.indptr[r], X.indptr[r + 1])
            pairs = zip(X.indices[row].tolist(), X.data[row].tolist(), strict=True)
            print(y[r], weight[r], "|f", *(f"{i}:{value!r}" for i, value in pairs), file=file)
    workspace = vowpalwabbit.Workspace(" ".join([update, *options, "--quiet", "-d", str(path)]))
    loss = workspace.get_sum_loss() / workspace.get_weighted_examples()
    workspace.finish()
    return loss


@pytest.mark.parametrize(
    ("data", "names"), [(a9a, ("a9a.xz", "a9a.t.xz")), (rcv1, ("rcv1_small.dat.vw.xz", "rcv1_small_test.data.vw.xz"))]
)
def test_unseen_rows(data, names, tmp_path):
    """One pass by the defaults of each; both have an intercept."""
    load = load_svmlight if data is a9a else load_vw
    parts = [load(DATA / name)[:2] for name in names]
    n_columns = max(X.shape[1] for X, _ in parts)
    (X, y), (A, b) = ((sp.csr_array((P.data, P.indices, P.indptr), shape=(P.shape[0], n_columns)), t) for P, t in parts)
    logistic, model = "--loss_function logistic", tmp_path / "model"
    vowpal(X, y, np.ones(y.size), tmp_path / "train", logistic, f"-f {model}", update="")
    vw_loss = vowpal(A, b, np.ones(b.size), tmp_path / "test", logistic, f"-t -i {model}", update="")
    loss = fit_linear(X, y, normalized=True, invariant=True, lr=0.5).mean_loss(A, b)
    assert loss <= 1.001 * vw_loss
    assert fit_linear(X, y, lr="auto").mean_loss(A, b) <= 1.001 * vw_loss


@pytest.mark.parametrize("data", [a9a, rcv1])
def test_logistic(data, tmp_path):
    X, y, weight = data()
    vw_loss = vowpal(X, y, weight, tmp_path / "data", "--loss_function logistic")
    model = fit_linear(X, y, rule=Adagrad(eps=1e-30), lr=0.5, intercept=False)
    assert model.progressive_loss == pytest.approx(vw_loss, rel=TOLERANCE)
    single = fit_linear(X, y, rule=Adagrad(eps=1e-30), lr=0.5, intercept=False, dtype=np.float32)
    assert single.progressive_loss == pytest.approx(vw_loss, rel=TOLERANCE)


def test_squared(tmp_path):
    """Theirs is the square and ours is half of it, which is one to Adagrad; theirs clips p to the range of y."""
    X, _, weight = rcv1()
    y = np.asarray(X.sum(axis=1)).ravel() - 5 + np.random.default_rng(0).normal(size=X.shape[0])
    vw_loss = vowpal(
        X, y, weight, tmp_path / "data", "--loss_function squared --min_prediction -99 --max_prediction 99"
    )
    model = fit_linear(X, y, loss="squared", rule=Adagrad(eps=1e-30), lr=0.5, intercept=False)
    assert 2 * model.progressive_loss == pytest.approx(vw_loss, rel=TOLERANCE)


@pytest.mark.parametrize("data", [a9a, rcv1])
def test_hinge(data, tmp_path):
    X, y, weight = data()
    vw_loss = vowpal(X, y, weight, tmp_path / "data", "--loss_function hinge --min_prediction -99 --max_prediction 99")
    model = fit_linear(X, y, loss="hinge", rule=Adagrad(eps=1e-30), lr=0.5, intercept=False)
    assert model.progressive_loss == pytest.approx(vw_loss, rel=TOLERANCE)


@pytest.mark.parametrize("tau", [0.5, 0.8])
def test_quantile(tau, tmp_path):
    X, _, weight = rcv1()
    y = np.asarray(X.sum(axis=1)).ravel() - 5 + np.random.default_rng(0).normal(size=X.shape[0])
    options = f"--loss_function quantile --quantile_tau {tau} --min_prediction -99 --max_prediction 99"
    vw_loss = vowpal(X, y, weight, tmp_path / "data", options)
    model = fit_linear(X, y, loss=Quantile(tau), rule=Adagrad(eps=1e-30), lr=0.5, intercept=False)
    assert model.progressive_loss == pytest.approx(vw_loss, rel=TOLERANCE)


@pytest.mark.filterwarnings("ignore:fit_linear. the progressive loss:UserWarning")
def test_poisson(tmp_path):
    """Theirs is the deviance: twice the loss above that of a perfect prediction, with 1e-6 in the logarithm."""
    X, _, weight = rcv1()
    y = np.random.default_rng(0).poisson(np.asarray(X.sum(axis=1)).ravel() / 5).astype(float)
    options = "--loss_function poisson --min_prediction -50 --max_prediction 50"
    vw_loss = vowpal(X, y, weight, tmp_path / "data", options)
    model = fit_linear(X, y, loss="poisson", rule=Adagrad(eps=1e-30), lr=0.5, intercept=False)
    perfect = np.mean(y - y * np.log(y + 1e-6))
    assert 2 * (model.progressive_loss - perfect) == pytest.approx(vw_loss, rel=TOLERANCE)


def test_weights_mean_another_thing(tmp_path):
    """Ours multiply the loss, so that G grows by their square; Vowpal Wabbit has G grow by the weight itself.

    Four everywhere is nothing to ours, and twice the rate to theirs.
    """
    X, y, _ = rcv1()
    weight = np.full(y.size, 4.0)
    vw_loss = vowpal(X, y, weight, tmp_path / "data", "--loss_function logistic")
    model = fit_linear(X, y, rule=Adagrad(eps=1e-30), lr=1.0, intercept=False, sample_weight=weight)
    assert model.progressive_loss == pytest.approx(vw_loss, rel=TOLERANCE)


@pytest.mark.parametrize("data", [a9a, rcv1])
@pytest.mark.parametrize("unit", ["its own units", "units from 0.001 to 1000"])
@pytest.mark.parametrize("weighted", [False, True], ids=["weight 1", "weights 1 to 5"])
@pytest.mark.parametrize("flags", ["invariant", "normalized", "invariant normalized"])
def test_scaled_steps(data, flags, weighted, unit, tmp_path):
    """With both flags this is Vowpal Wabbit's default; its step by Lambert's function is good to 1e-4."""
    X, y, weight = data()
    rng = np.random.default_rng(0)
    if "to" in unit:
        if "normalized" not in flags:
            pytest.skip("without normalised steps single precision shows in the third digit there")
        X = sp.csr_array(X @ sp.diags_array(10.0 ** rng.uniform(-3, 3, X.shape[1])))
        X.sort_indices()
    if weighted:
        weight = weight * rng.integers(1, 6, y.size)
    update = " ".join([ADAPTIVE, *(f"--{flag}" for flag in flags.split())])
    vw_loss = vowpal(X, y, weight, tmp_path / "data", "--loss_function logistic", update=update)
    options = dict.fromkeys(flags.split(), True)
    for dtype in (np.float64, np.float32):
        model = fit_linear(
            X, y, rule=Adagrad(0.0), lr=0.5, intercept=False, sample_weight=weight, dtype=dtype, **options
        )
        assert model.progressive_loss == pytest.approx(vw_loss, rel=TOLERANCE)


@pytest.mark.parametrize("loss", ["squared", "hinge", "quantile", "poisson"])
def test_scaled_steps_of_other_losses(loss, tmp_path):
    X, y, weight = rcv1()
    weight = weight * np.random.default_rng(1).integers(1, 6, y.size)
    if loss != "hinge":
        y = np.asarray(X.sum(axis=1)).ravel() - 5 + np.random.default_rng(0).normal(size=X.shape[0])
        y = np.floor(np.abs(y)) if loss == "poisson" else y
    vw_loss = vowpal(
        X, y, weight, tmp_path / "data", f"--loss_function {loss} --min_prediction -50 --max_prediction 50",
        update=f"{ADAPTIVE} --invariant --normalized",
    )  # fmt: skip
    model = fit_linear(
        X, y, loss=loss, rule=Adagrad(0.0), lr=0.5, intercept=False, sample_weight=weight, normalized=True,
        invariant=True,
    )  # fmt: skip
    progressive_loss = model.progressive_loss * (2 if loss == "squared" else 1)
    if loss == "poisson":
        progressive_loss = 2 * (progressive_loss - np.average(y - y * np.log(y + 1e-6), weights=weight))  # the deviance
    assert progressive_loss == pytest.approx(vw_loss, rel=1e-3)


def test_the_default_with_its_constant(tmp_path):
    """On the RCV1 sample our intercept is their constant: the same figure, and no worse on test data."""
    X, y, weight = rcv1()
    vw_loss = vowpal(X, y, weight, tmp_path / "data", "--loss_function logistic", update="-l 0.5")
    model = fit_linear(X, y, rule=Adagrad(0.0), normalized=True, invariant=True, lr=0.5)
    assert model.progressive_loss == pytest.approx(vw_loss, rel=TOLERANCE)
    assert fit_linear(X, y, lr=0.5).progressive_loss < vw_loss


@pytest.mark.parametrize("data", [a9a, rcv1])
@pytest.mark.parametrize(
    ("lr", "rule", "flags"),
    [
        (0.5, FTRL(), ""),  # the defaults of both: alpha 0.5, beta 1
        (0.005, FTRL(0.1), "--ftrl_alpha 0.005 --ftrl_beta 0.1"),
        (0.1, FTRL(0.5, l1=0.1, l2=0.3), "--ftrl_alpha 0.1 --ftrl_beta 0.5 --l1 0.1 --l2 0.3"),
    ],
    ids=["defaults", "small steps", "l1 l2"],
)
def test_ftrl(data, lr, rule, flags, tmp_path):
    """No square roots are estimated here: the figures agree to single precision, with weights, too."""
    X, y, weight = data()
    weight = weight * np.random.default_rng(0).integers(1, 6, y.size)
    vw_loss = vowpal(
        X, y, weight, tmp_path / "data", "--loss_function logistic --noconstant",
        update=f"--ftrl {flags}",
    )  # fmt: skip
    model = fit_linear(X, y, rule=rule, lr=lr, intercept=False, sample_weight=weight)
    assert model.progressive_loss == pytest.approx(vw_loss, rel=1e-6)
    words = flags.replace("--", "").split()
    preset = like("vw", "ftrl", **dict(zip(words[::2], map(float, words[1::2]), strict=True)))
    assert (preset["rule"], preset["lr"]) == (rule, lr)
