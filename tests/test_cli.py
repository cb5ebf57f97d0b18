"""The command line: output, files and errors of train, predict and info; callbacks, metrics and plots."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from adagrad_nb import FTRL, RDA, Adadelta, Adagrad, Chunk, SmoothHinge, fit_linear, load_model
from adagrad_nb.callbacks import History, Table
from adagrad_nb.cli import main
from adagrad_nb.metrics import auc, calibration, roc_curve
from adagrad_nb.plots import plot_training

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning", "ignore::DeprecationWarning:matplotlib")


def write_rows(path, n, seed, noise=0.1, first=1):
    """Write separable rows as svmlight text; the last feature is rare."""
    rng = np.random.default_rng(seed)
    lines = []
    for _ in range(n):
        x = rng.normal(size=4)
        label = 1 if x @ [1.0, -2.0, 0.5, 0.0] + noise * rng.normal() > 0 else -1
        lines.append(f"{label} " + " ".join(f"{first + i}:{v:.6f}" for i, v in enumerate(x)))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def files(tmp_path):
    return write_rows(tmp_path / "train.svm", 300, 0), write_rows(tmp_path / "test.svm", 200, 1)


@pytest.mark.parametrize(
    ("flags", "rule"),
    [(["--rule", "rda"], RDA()), (["--rule", "adadelta", "--eps", "1e-4"], Adadelta(eps=1e-4)),
     (["--eps", "1e-3"], Adagrad(1e-3)), (["--rule", "ftrl"], FTRL())],
    ids=str,
)  # fmt: skip
def test_train_by_another_rule(files, tmp_path, flags, rule):
    model = str(tmp_path / "m.npz")
    assert main(["train", str(files[0]), "--quiet", "--model", model, *flags]) == 0
    assert load_model(model).state.rule == rule


def test_train_by_scaled_steps(files, tmp_path, capsys):
    model = str(tmp_path / "m.npz")
    assert main(["train", str(files[0]), "--quiet", "--model", model, "--normalized", "--invariant"]) == 0
    loaded = load_model(model)
    assert loaded.normalized
    assert loaded.invariant
    assert main(["train", str(files[0]), "--quiet", "--model", model, "--initial-model", model]) == 0
    assert load_model(model).n_seen == 600
    capsys.readouterr()
    assert main(["info", model]) == 0
    assert "steps             normalized, invariant\n" in capsys.readouterr().out


def test_train_on_standardised_targets(tmp_path, capsys):
    data, model = tmp_path / "data.svm", str(tmp_path / "m.npz")
    data.write_text("".join(f"{1e6 + 5e3 * k} 1:{k}\n" for k in range(40)))
    options = ["--loss", "squared", "--standardize-targets", "--quiet", "--passes", "20", "--model", model]
    assert main(["train", str(data), *options]) == 0
    assert abs(load_model(model).predict([[20.0]])[0] - 1.1e6) < 2e4
    assert main(["train", str(data), *options, "--initial-model", model]) == 0
    capsys.readouterr()
    assert main(["info", model]) == 0
    assert (
        "steps             invariant, scaled by the root mean squares of the features, standardised targets\n"
        in capsys.readouterr().out
    )


def test_train_prints_a_table_and_the_quality_on_test_data(files, tmp_path, capsys):
    train, test = map(str, files)
    model, picture = str(tmp_path / "m.npz"), str(tmp_path / "p.png")
    assert main(["train", train, "--test", test, "--model", model, "--plot", picture]) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if re.match(r"\s+\d", line)]
    candidates = rows[4:]
    assert [(float(row[0]), row[2]) for row in candidates if row[2] == "chosen"] == [(load_model(model).rate, "chosen")]
    assert len(candidates) == 8
    rows = rows[:4]
    assert [row[0] for row in rows] == ["64", "128", "256", "300"]
    assert float(rows[-1][4]) == load_model(model).rate
    progressive = [float(row[1]) for row in rows]
    assert progressive[0] > progressive[-1] > 0
    # the weighted mean of the losses since the last line is the progressive loss
    recent_losses = [float(row[2]) for row in rows]
    assert np.average(recent_losses, weights=[64, 64, 128, 44]) == pytest.approx(progressive[-1], abs=2e-5)
    area = float(re.search(r"AUC ([\d.]+)", out).group(1))
    assert 0.97 < area <= 1
    loaded = load_model(model)
    assert loaded.n_seen == 300
    assert f"{loaded.progressive_loss:.5f}" in out
    assert Path(picture).read_bytes().startswith(b"\x89PNG")
    assert Path(picture).stat().st_size > 20_000


def test_train_gives_the_model_of_fit_linear(files, tmp_path):
    from adagrad_nb import ElasticNet, load_svmlight

    path = str(tmp_path / "m.npz")
    arguments = ["--l1", "1e-3", "--l2", "1e-2", "--lr", "0.3", "--passes", "2", "--quiet", "--model", path]
    assert main(["train", str(files[0]), *arguments]) == 0
    X, y = load_svmlight(files[0])
    expected = fit_linear(X, y, penalty=ElasticNet(1e-3, 1e-2), lr=0.3, passes=2)
    np.testing.assert_array_equal(load_model(path).coef, expected.coef)


def test_train_continues_from_a_model_file(files, tmp_path):
    one, two, both = (str(tmp_path / name) for name in ("one.npz", "two.npz", "both.npz"))
    assert main(["train", str(files[0]), "--quiet", "--l1", "1e-3", "--model", one]) == 0
    assert main(["train", str(files[1]), "--quiet", "--initial-model", one, "--model", two]) == 0
    joined_file = tmp_path / "joined.svm"
    joined_file.write_text(files[0].read_text() + files[1].read_text())
    assert main(["train", str(joined_file), "--quiet", "--l1", "1e-3", "--model", both]) == 0
    np.testing.assert_array_equal(load_model(two).coef, load_model(both).coef)


def test_predict_writes_a_line_for_each_row(files, tmp_path, capsys):
    path, out = str(tmp_path / "m.npz"), tmp_path / "out.txt"
    main(["train", str(files[0]), "--quiet", "--model", path])
    assert main(["predict", path, str(files[1]), "--output", str(out)]) == 0
    assert len(out.read_text().splitlines()) == 200
    capsys.readouterr()
    assert main(["predict", path, str(files[1]), "--proba"]) == 0
    values = np.array(capsys.readouterr().out.split(), float)
    assert values.size == 200
    assert ((values > 0) & (values < 1)).all()
    labels = np.array(out.read_text().split(), float)
    np.testing.assert_array_equal(labels > 0, values > 0.5)
    assert not list(tmp_path.glob("tmp*"))


def test_predict_ignores_unknown_features(files, tmp_path, capsys):
    path, wide_file = str(tmp_path / "m.npz"), tmp_path / "wide.svm"
    main(["train", str(files[0]), "--quiet", "--model", path])
    wide_file.write_text("1 1:1 2:1 99:5\n1 1:1 2:1\n")
    capsys.readouterr()
    assert main(["predict", path, str(wide_file), "--proba"]) == 0
    first, second = capsys.readouterr().out.split()
    assert first == second


def test_duplicates_are_summed_on_request(tmp_path, capsys):
    twice, once, path = tmp_path / "twice.svm", tmp_path / "once.svm", str(tmp_path / "m.npz")
    twice.write_text("1 1:1 1:2 3:1\n-1 2:1 3:1\n")
    once.write_text("1 1:3 3:1\n-1 2:1 3:1\n")
    results = []
    for file in (twice, once):
        assert main(["train", str(file), "--quiet", "--duplicates", "sum", "--test", str(file), "--model", path]) == 0
        capsys.readouterr()
        assert main(["predict", path, str(file), "--duplicates", "sum"]) == 0
        results.append((capsys.readouterr().out, load_model(path).coef.tolist()))
    assert results[0] == results[1]


def test_info_describes_a_model(files, tmp_path, capsys):
    path = str(tmp_path / "m.npz")
    main(["train", str(files[0]), "--quiet", "--l2", "0.5", "--float32", "--no-intercept", "--model", path])
    capsys.readouterr()
    assert main(["info", path]) == 0
    out = capsys.readouterr().out
    for part in ("Logistic", "L2(strength=0.5)", "float32", "rows trained on   300", "-1.0, 1.0 (positive)"):
        assert part in out
    assert re.search(r"intercept +0\n", out)


def test_a_model_of_weights_only_predicts_and_does_not_train(files, tmp_path, capsys):
    paths = [str(tmp_path / name) for name in ("full", "weights")]
    for path, flags in zip(paths, ([], ["--weights-only"]), strict=True):
        main(["train", str(files[0]), "--quiet", "--lr", "0.5", "--model", path, *flags])
    predictions = []
    for path in paths:
        capsys.readouterr()
        assert main(["predict", path, str(files[0])]) == 0
        predictions.append(capsys.readouterr().out)
    assert predictions[0] == predictions[1]
    assert main(["info", paths[1]]) == 0
    out = capsys.readouterr().out
    assert "training state    none, saved with weights_only=True" in out
    assert "learning rate" not in out
    assert main(["train", str(files[0]), "--quiet", "--initial-model", paths[1]]) != 0
    assert "no training state" in capsys.readouterr().err


def test_info_lists_the_rates_of_a_search(files, tmp_path, capsys):
    path = str(tmp_path / "m.npz")
    main(["train", str(files[0]), "--quiet", "--lr", "auto", "--model", path])
    capsys.readouterr()
    assert main(["info", path]) == 0
    out = capsys.readouterr().out
    assert "steps             invariant, scaled by the root mean squares" in out
    assert out.count("remains") == 7
    assert re.search(r"\n +[\d.]+ +0\.\d{5} +chosen\n", out)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["train", "nowhere.svm"], "nowhere.svm"),
        (["train", "{train}", "--lr", "-1"], "error: --lr: got -1.0; must be"),
        (["train", "{train}", "--l1", "-1"], "error: --l1: got -1.0"),
        (["train", "{train}", "--l2", "-1"], "error: --l2: got -1.0"),
        (["train", "{train}", "--l1", "1", "--l2", "-1"], "error: --l2: got -1.0"),
        (["train", "{train}", "--l1", "-1", "--l2", "1"], "error: --l1: got -1.0"),
        (["train", "{train}", "--eps", "nan"], "error: --eps: got nan"),
        (
            ["train", "{train}", "--eps", "0", "--rule", "adadelta"],
            "error: --eps: got 0.0; must be a number in (0, inf)",
        ),
        (["train", "{train}", "--seed", "-1", "--shuffle"], "error: --seed: got -1"),
        (["train", "{train}", "--normalized", "--l2", "1"], "use --l1, or omit --normalized"),
        (["train", "{train}", "--normalized", "--rule", "ftrl"], "use --rule adagrad, or omit --normalized"),
        (
            ["train", "{train}", "--initial-model", "{model}", "--invariant"],
            "error: --invariant: got True, which several classes",
        ),
        (["train", "{zero}"], "got '0:1' without --zero-based, where indices start at 1; pass --zero-based"),
        (["train", "{twice}"], "index 1 occurs twice; add the two values, drop one, or pass --duplicates sum"),
        (["train", "{large}", "--float32"], "exceeds the largest float32; omit --float32 or scale the data"),
        (["train", "{large}", "--loss", "squared", "--lr", "1e300"], "scale the data or take a smaller --lr"),
        (
            ["train", "{train}", "--initial-model", "{model}", "--float32"],
            "error: --float32: got float32, but the model",
        ),
        (["train", "{train}", "--initial-model", "{model}", "--lr", "0.5"], "several learning rates; omit --lr, or"),
        (
            ["train", "{train}", "--initial-model", "{model}", "--normalized"],
            "error: --normalized: got True, but the model has normalized=False",
        ),
        (["train", "{train}", "--initial-model", "{model}", "--no-intercept"], "error: --no-intercept: got False"),
        (["train", "{numbers}", "--initial-model", "{model}"], "Train a new model with all labels in --classes"),
        (
            ["train", "{train}", "--eps", "0.1", "--rule", "ftrl"],
            "--eps: got 0.1, but the rule ftrl has no eps; leave the option out",
        ),
        (["train", "{train}", "--passes", "0"], "error: --passes: got 0"),
        (["train", "{train}", "--model", "nowhere/m.npz"], "does not exist; create it first"),
        (["train", "{train}", "--test", "nowhere.svm"], "nowhere.svm"),
        (["train", "{train}", "--zero-based", "--test", "{bad}"], "bad.svm:line 2"),
        (["train", "{bad}"], "bad.svm:line 2"),
        (["train", "{empty}"], "nothing to learn"),
        (["predict", "{train}", "{train}"], "not a file of this package"),
        (["info", "nowhere.npz"], "nowhere.npz"),
        (["train", "{train}", "--loss-parameter", "1"], "the loss logistic has no parameter"),
        (["train", "{train}", "--loss", "quantile", "--loss-parameter", "1"], "error: --loss-parameter: got 1.0"),
        (["train", "{train}", "--loss", "poisson"], "error: DATA: got -1.0"),
    ],
)
def test_errors_take_one_line(files, tmp_path, capsys, arguments, part):
    bad, empty = tmp_path / "bad.svm", tmp_path / "empty.svm"
    bad.write_text("1 1:2\n-1 1:what\n")
    empty.write_text("")
    names = {"train": files[0], "bad": bad, "empty": empty, "model": tmp_path / "model.npz"}
    main(["train", str(files[0]), "--quiet", "--model", str(names["model"])])
    capsys.readouterr()
    texts = {"zero": "1 0:1\n", "twice": "1 1:1 1:2\n", "large": "1 1:1e150\n-1 1:1e150\n", "numbers": "1.5 1:1\n"}
    for name, text in texts.items():
        names[name] = tmp_path / f"{name}.svm"
        names[name].write_text(text)
    assert main([argument.format(**names) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("adagrad-nb: error: ")
    assert part in error
    assert len(error.splitlines()) == 1


def test_regression(tmp_path, capsys):
    path = tmp_path / "numbers.svm"
    rng = np.random.default_rng(0)
    rows = (f"{2 * a - b + 0.5:.6f} 1:{a:.6f} 2:{b:.6f}\n" for a, b in rng.normal(size=(300, 2)))
    path.write_text("".join(rows))
    picture = str(tmp_path / "p.png")
    assert main(["train", str(path), "--loss", "squared", "--test", str(path), "--plot", picture]) == 0
    assert float(re.search(r"RMSE ([\d.]+)", capsys.readouterr().out).group(1)) < 0.1


def test_losses_and_their_parameters(files, tmp_path, capsys):
    train, test = map(str, files)
    model, picture = str(tmp_path / "m.npz"), str(tmp_path / "p.png")
    outputs = ["--test", test, "--model", model, "--plot", picture]
    assert main(["train", train, "--loss", "smooth_hinge", "--loss-parameter", "0.5", *outputs]) == 0
    assert re.search(r"mean loss 0\.\d+, AUC 0\.9\d+", capsys.readouterr().out)
    assert load_model(model).loss == SmoothHinge(0.5)
    assert main(["info", model]) == 0
    assert "SmoothHinge(gamma=0.5)" in capsys.readouterr().out
    assert main(["predict", model, test, "--proba"]) == 2
    assert "--proba: the loss SmoothHinge has no probabilities; leave the option out" in capsys.readouterr().err
    assert main(["predict", model, test]) == 0
    assert set(capsys.readouterr().out.split()) == {"-1.0", "1.0"}


def test_counts(tmp_path, capsys):
    """The RMSE of counts is that of the predicted mean, not of its logarithm."""
    path, picture, rng = tmp_path / "data", str(tmp_path / "p.png"), np.random.default_rng(0)
    x = rng.normal(size=400)
    y = rng.poisson(np.exp(0.5 * x + 1))
    path.write_text("".join(f"{count} 1:{value:.6f}\n" for count, value in zip(y, x, strict=True)))
    outputs = ["--test", str(path), "--plot", picture]
    assert main(["train", str(path), "--loss", "poisson", "--lr", "0.2", "--passes", "3", *outputs]) == 0
    error = float(re.search(r"RMSE ([\d.]+)", capsys.readouterr().out).group(1))
    assert error == pytest.approx(np.sqrt(np.mean((np.exp(0.5 * x + 1) - y) ** 2)), rel=0.03)


@pytest.mark.compiled_only("needs compiled speed to be interrupted in the middle")
def test_an_interrupt_saves_the_model_so_far(tmp_path):
    data, path = write_rows(tmp_path / "train.svm", 2000, 0), tmp_path / "m.npz"
    command = [sys.executable, "-m", "adagrad_nb", "train", str(data), "--passes", "100000000", "--model", str(path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    child.stdout.readline()
    child.stdout.readline()  # the table has begun
    time.sleep(0.3)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert "interrupted; the model is trained on the rows so far" in out
    assert load_model(path).n_seen > 2000


def test_module_can_be_run():
    done = subprocess.run(
        [sys.executable, "-m", "adagrad_nb", "--version"], capture_output=True, text=True, check=True, env=os.environ
    )
    assert re.match(r"adagrad-nb \d", done.stdout)


# --- callbacks, metrics and plots ------------------------------------------------------------------------------


def test_auc_is_the_probability_of_the_right_order():
    rng = np.random.default_rng(0)
    y, score = rng.random(60) > 0.6, rng.integers(0, 8, 60)
    scores_of_pairs = [(a > b) + 0.5 * (a == b) for a in score[y] for b in score[~y]]
    assert auc(y, score) == pytest.approx(np.mean(scores_of_pairs), abs=1e-12)
    assert np.isnan(auc(np.ones(3, bool), np.arange(3)))
    false, true = roc_curve(y, score)
    assert (np.diff(false) >= 0).all()
    assert (np.diff(true) >= 0).all()
    assert (false[-1], true[-1]) == (1, 1)


def test_calibration_counts_every_row_once():
    rng = np.random.default_rng(0)
    p = rng.random(1001)
    predicted, observed, rows = calibration(rng.random(1001) < p, p)
    assert rows.sum() == 1001
    np.testing.assert_allclose(observed, predicted, atol=0.2)


def test_table_continues_the_row_count_of_a_model(capsys):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 2))
    y = X[:, 0] > 0
    model = fit_linear(X, y, lr=0.5)
    lines = []
    history = History()

    def both(progress):
        history(progress)
        table(progress)

    table = Table(lines.append)
    fit_linear([Chunk(X, y)], model=model, callback=both)
    assert lines[0] == Table.TITLE
    assert history.rows[-1] == 200
    assert lines[-1].split()[0] == "128"


def test_plot_without_test_data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 3))
    history = History()
    model = fit_linear(X, X[:, 0] > 0, callback=history, lr=0.5)
    assert len(plot_training(model, history).axes) == 2


def test_output_files_have_default_permissions(files, tmp_path):
    plain, model, picture, out = (tmp_path / name for name in ("plain", "m.npz", "p.png", "out.txt"))
    plain.touch()
    main(["train", str(files[0]), "--quiet", "--model", str(model), "--plot", str(picture)])
    main(["predict", str(model), str(files[1]), "--output", str(out)])
    assert {path.stat().st_mode for path in (model, picture, out)} == {plain.stat().st_mode}


def test_a_failed_command_keeps_the_old_file(files, tmp_path):
    model, out = tmp_path / "m.npz", tmp_path / "out.txt"
    main(["train", str(files[0]), "--quiet", "--model", str(model)])
    out.write_text("old")
    bad = tmp_path / "bad.svm"
    bad.write_text(files[1].read_text() + "1 1:what\n")
    before = sorted(tmp_path.iterdir())
    assert main(["predict", str(model), str(bad), "--output", str(out)]) == 2
    assert out.read_text() == "old"
    assert sorted(tmp_path.iterdir()) == before


def test_multiclass_models_on_the_command_line(tmp_path, capsys):
    """Train, test, plot, predict and predict probabilities for three classes; several learning rates in one pass."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 4))
    y = (X @ rng.normal(size=(4, 3))).argmax(axis=1) + 5
    rows = [
        f"{label} " + " ".join(f"{i + 1}:{x:.6g}" for i, x in enumerate(row)) for label, row in zip(y, X, strict=True)
    ]
    (tmp_path / "train").write_text("\n".join(rows[:500]) + "\n")
    (tmp_path / "test").write_text("\n".join(rows[500:]) + "\n")
    train, test, model = (str(tmp_path / name) for name in ("train", "test", "model"))
    picture = tmp_path / "picture.png"
    assert main(["train", train, "--test", test, "--model", model, "--plot", str(picture), "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "3 classes, accuracy 0.9" in printed
    assert picture.stat().st_size > 10_000
    assert main(["info", model]) == 0
    assert "classes           5.0, 6.0, 7.0\n" in capsys.readouterr().out
    assert main(["predict", model, test]) == 0
    labels = [float(line) for line in capsys.readouterr().out.split()]
    assert np.mean(np.array(labels) == y[500:]) > 0.9
    assert main(["predict", model, test, "--proba"]) == 0
    probabilities = np.array([[float(word) for word in line.split()] for line in capsys.readouterr().out.splitlines()])
    assert probabilities.shape == (100, 3)
    assert_allclose(probabilities.sum(axis=1), 1)
    assert_array_equal(probabilities.argmax(axis=1) + 5, labels)
    two = str(tmp_path / "two")
    (tmp_path / "two").write_text("\n".join(row for row in rows if row[0] != "5") + "\n")
    assert main(["train", two, "--lr", "auto", "--quiet"]) == 0
    assert "the best of 8" in capsys.readouterr().out


def test_the_default_rate_is_searched_for_and_a_given_one_is_not(files, tmp_path, capsys):
    path = str(tmp_path / "m.npz")
    for flags in ([], ["--lr", "auto"], ["--learning-rate", "auto"]):
        assert main(["train", str(files[0]), *flags, "--quiet", "--model", path]) == 0
        assert load_model(path).is_searching
    out = capsys.readouterr().out
    assert "the best of 8" in out
    assert "candidates" not in out  # --quiet prints no table
    assert main(["train", str(files[0]), "--initial-model", path, "--quiet", "--model", path]) == 0
    assert (load_model(path).is_searching, load_model(path).n_seen) == (True, 600)
    assert main(["train", str(files[0]), "--learning-rate", "0.3", "--model", path]) == 0
    assert load_model(path).state.lr == 0.3
    assert "learning rate" not in capsys.readouterr().out.split("trained on")[-1]
    for flags, is_standardized in (
        ([], True), (["--no-standardize-targets"], False), (["--lr", "0.3"], False),
        (["--lr", "0.3", "--standardize-targets"], True), (["--rule", "ftrl"], True),
    ):  # fmt: skip
        assert main(["train", str(files[0]), "--loss", "squared", *flags, "--quiet", "--model", path]) == 0
        assert load_model(path).standardize_targets == is_standardized


def test_a_rate_that_is_no_number(files, capsys):
    with pytest.raises(SystemExit):
        main(["train", str(files[0]), "--lr", "fast"])
    assert "argument -l/--lr/--learning-rate: got 'fast'; must be a number or 'auto'" in capsys.readouterr().err
