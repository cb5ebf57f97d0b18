"""Data of the command line: every format to a model and predictions, columns and headers, labels, flags."""

import gzip
import inspect
import io
import json
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from adagrad_nb import fit_linear, load_model, read_csv, read_parquet, read_svmlight, read_text, read_vw
from adagrad_nb.cli import main
from adagrad_nb.cli.data import FLAGS
from adagrad_nb.cli.parser import build_parser

COLUMNS = ("age", "job", "rich")


def people(n, seed=0):
    """Return rows of age, job and label, which depends on both."""
    rng = np.random.default_rng(seed)
    ages, jobs = rng.integers(20, 70, n), rng.choice(["cook", "judge", "pilot"], n)
    labels = np.where(ages + 20 * (jobs == "judge") > 50, "yes", "no")
    return list(zip(ages.tolist(), jobs.tolist(), labels.tolist(), strict=True))


def as_csv(rows, header=True):
    return "".join(", ".join(map(str, row)) + "\n" for row in ([COLUMNS] if header else []) + list(rows))


def as_vw(rows):
    return "".join(f"{1 if label == 'yes' else -1} |f age:{age / 50} job={job}\n" for age, job, label in rows)


def as_svmlight(rows):
    jobs = {"cook": 2, "judge": 3, "pilot": 4}
    return "".join(f"{int(label == 'yes')} 1:{age / 50} {jobs[job]}:1\n" for age, job, label in rows)


def as_text(rows):
    return "".join(f"{label}\tthe {job} is {age // 10 * 10} years old\n" for age, job, label in rows)


WRITERS = {"svmlight": as_svmlight, "vw": as_vw, "csv": as_csv, "text": as_text}


def write_parquet(path, rows):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table(dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True))), path)


def write(path, format, rows):
    if format == "parquet":
        write_parquet(path, rows)
    elif format == "cache":
        source = path.with_suffix(".source")
        source.write_text(as_csv(rows))
        assert main(["convert", str(source), str(path)]) == 0
    else:
        path.write_text(WRITERS[format](rows))
    return str(path)


def run(capsys, *arguments):
    """Run a command that succeeds and return its output."""
    capsys.readouterr()
    status = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    return out


def fail(capsys, *arguments):
    """Run a command that fails and return its error, one line."""
    capsys.readouterr()
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as end:
        status = end.code
    error = capsys.readouterr().err
    assert status == 2
    assert len(error.splitlines()) == 1
    return error


@pytest.fixture
def table(tmp_path):
    """Write a CSV file and return its path."""
    path = tmp_path / "people.csv"
    path.write_text(as_csv(people(300)))
    return path


@pytest.fixture
def model(table, tmp_path, capsys):
    """Train on a CSV file and return the paths of the data and of the model."""
    path = tmp_path / "m.npz"
    run(capsys, "train", table, "--quiet", "--model", path)
    return table, path


@pytest.mark.parametrize("format", ["svmlight", "vw", "csv", "text", "parquet", "cache"])
def test_every_format_to_model_metrics_and_explanation(tmp_path, capsys, format):
    data = write(tmp_path / "train", format, people(400))
    test = write(tmp_path / "test", "csv" if format == "cache" else format, people(200, 1))
    path, picture = tmp_path / "m.npz", tmp_path / "p.png"
    trained = json.loads(run(capsys, "train", data, "--test", test, "--model", path, "--json"))
    assert (trained["rows"], trained["interrupted"], trained["test"]["rows"]) == (400, False, 200)
    assert trained["test"]["auc"] > 0.9
    metrics = json.loads(run(capsys, "evaluate", path, test, "--json", "--plot", picture))
    assert metrics == trained["test"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "AUC" in run(capsys, "evaluate", path, test)
    predicted = run(capsys, "predict", path, test).split()
    labels = [label for _, _, label in people(200, 1)]
    positive = max(set(predicted))
    assert np.mean([(a == positive) == (b == "yes") for a, b in zip(predicted, labels, strict=True)]) > 0.85
    explained = run(capsys, "explain", path, test, "--row", 200)
    assert explained.startswith("score of ")
    names = {"svmlight": "1 ", "vw": "f^age ", "csv": "age ", "text": "years old ", "parquet": "age ", "cache": "age "}
    assert f"  {names[format]}" in explained
    described = json.loads(run(capsys, "info", path, "--json"))
    assert described["data"].startswith(f"format {'csv' if format == 'cache' else format}")
    cache = tmp_path / "rows.cache"
    run(capsys, "convert", test, cache, "--model", path)
    assert json.loads(run(capsys, "evaluate", path, cache, "--json")) == metrics
    if format != "cache":
        run(capsys, "convert", data, cache)
        again = json.loads(run(capsys, "train", cache, "--test", test, "--json"))
        assert again["test"] == pytest.approx(trained["test"], rel=1e-12)


@pytest.mark.parametrize("format", ["svmlight", "vw", "csv", "text"])
def test_data_from_standard_input(tmp_path, capsys, monkeypatch, format):
    content = WRITERS[format](people(200)).encode()
    for data in (content, gzip.compress(content)):
        stream = type("Stdin", (), {"buffer": io.BufferedReader(io.BytesIO(data))})()
        monkeypatch.setattr(sys, "stdin", stream)
        result = json.loads(run(capsys, "train", "-", "--json", "--passes", 1))
        assert result["rows"] == 200


def test_rows_without_labels(tmp_path, capsys, model):
    data, path = model
    expected = run(capsys, "predict", path, data)
    rows = people(300)
    new = tmp_path / "new"
    bare = [row[:2] for row in rows]
    for text in (
        as_csv(rows, header=False),
        as_csv(bare, header=False),
        "age,job\n" + as_csv(bare, header=False),
        "job,age\n" + as_csv([row[::-1] for row in bare], header=False),
    ):
        new.write_text(text)
        assert run(capsys, "predict", path, new) == expected
    assert "--label: got 'rich', but" in fail(capsys, "evaluate", path, new)
    new.write_text("1,2,3,4\n")
    assert "has no column 'age', which the model needs" in fail(capsys, "predict", path, new)


def test_vowpal_wabbit_text_without_labels(tmp_path, capsys):
    data, path, new = tmp_path / "data", tmp_path / "m.npz", tmp_path / "new"
    data.write_text(as_vw(people(100)))
    run(capsys, "train", data, "--quiet", "--model", path)
    new.write_text("".join("|" + line.split("|")[1] + "\n" for line in as_vw(people(100)).splitlines()))
    assert run(capsys, "predict", path, new) == run(capsys, "predict", path, data)
    assert "label" in fail(capsys, "evaluate", path, new)


def test_text_without_labels(tmp_path, capsys):
    data, path, new = tmp_path / "data", tmp_path / "m.npz", tmp_path / "new"
    data.write_text(as_text(people(100)))
    run(capsys, "train", data, "--quiet", "--model", path)
    expected = run(capsys, "predict", path, data)
    new.write_text("".join(line.split("\t")[1] + "\n" for line in as_text(people(100)).splitlines()))
    assert run(capsys, "predict", path, new) == expected
    new.write_text("\n".join(f"{line}, yes or no" for line in new.read_text().splitlines()))
    assert len(run(capsys, "predict", path, new).splitlines()) == 100
    new.write_text("see you\n")
    assert "got 'see you' without the delimiter ','; write label and text, or pass --delimiter" in fail(
        capsys, "evaluate", path, new
    )


def test_the_label_is_found_by_name_in_files_with_other_columns(tmp_path, capsys):
    train, test, path = tmp_path / "train.csv", tmp_path / "test.csv", tmp_path / "m.npz"
    rows = people(200)
    train.write_text("rich,age,job\n" + as_csv([(c, a, b) for a, b, c in rows], header=False))
    run(capsys, "train", train, "--label", 0, "--quiet", "--model", path)
    expected = run(capsys, "evaluate", path, train, "--json")
    test.write_text(as_csv(rows))
    assert run(capsys, "evaluate", path, test, "--json") == expected
    test.write_text(as_csv([(c, a, b) for a, b, c in rows], header=False))
    assert run(capsys, "evaluate", path, test, "--json") == expected
    test.write_text(as_csv([row[:2] for row in rows], header=False))
    assert run(capsys, "predict", path, test) == run(capsys, "predict", path, train)
    write_parquet(tmp_path / "test.parquet", rows)
    assert run(capsys, "evaluate", path, tmp_path / "test.parquet", "--json") == expected


def test_positive_labels_hold_for_test_data_and_later_commands(tmp_path, capsys):
    data, path = tmp_path / "data.csv", tmp_path / "m.npz"
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    kinds = np.select([x < -0.5, x < 0.5], ["low.", "middle."], "high.")
    data.write_text("".join(f"{a:.4f},{kind}\n" for a, kind in zip(x, kinds, strict=True)))
    flags = ["--positive", "low", "--positive", "middle", "--class-weight", "True=2"]
    trained = json.loads(run(capsys, "train", data, *flags, "--test", data, "--model", path, "--json"))
    assert trained["test"]["positive_rate"] == pytest.approx(np.mean(kinds != "high."))
    assert json.loads(run(capsys, "evaluate", path, data, "--json")) == trained["test"]
    assert set(run(capsys, "predict", path, data).split()) == {"True", "False"}
    assert "error: --positive: got none, but no row has such a label" in fail(
        capsys, "train", data, "--positive", "none"
    )


def test_new_categories_are_learnt_in_training_and_ignored_in_predictions(tmp_path, capsys, model):
    _, path = model
    new, longer = tmp_path / "new.csv", tmp_path / "longer.npz"
    new.write_text(as_csv([(30, "smith", "yes"), (30, "smith", "yes")]))
    assert len(run(capsys, "predict", path, new).splitlines()) == 2
    run(capsys, "train", new, "--initial-model", path, "--quiet", "--model", longer)
    assert "job=smith" not in load_model(path).feature_names
    assert "job=smith" in load_model(longer).feature_names
    assert load_model(longer).reader_options == load_model(path).reader_options


def test_kinds_of_columns_and_interactions(tmp_path, capsys, model):
    data, path = model[0], tmp_path / "kinds.npz"
    flags = ["--column", "age=ignore", "--column", "job=hashed", "--bits", 10]
    trained = json.loads(run(capsys, "train", data, *flags, "--test", data, "--model", path, "--json"))
    assert trained["features"] == 1024
    assert "job=" in run(capsys, "explain", path, data)
    assert "job  hashed" in run(capsys, "info", path, "--columns")
    crossed = json.loads(run(capsys, "train", data, "--interaction", "job,age", "--model", path, "--json"))
    assert crossed["features"] > 2**18
    cook = next(k for k, row in enumerate(people(300), 1) if row[1] == "cook")
    assert "job=cook*age" in run(capsys, "explain", path, data, "--row", cook)


def test_a_cache_with_other_features_is_refused(tmp_path, capsys, model):
    _, path = model
    other, cache = tmp_path / "other.csv", tmp_path / "other.cache"
    other.write_text(as_csv(people(100, 1)))
    run(capsys, "convert", other, cache)
    assert "has other features than the model" in fail(capsys, "evaluate", path, cache)
    run(capsys, "convert", other, cache, "--model", path)
    assert run(capsys, "evaluate", path, cache, "--json") == run(capsys, "evaluate", path, other, "--json")


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["--zero-based"], "--zero-based: is for the format svmlight, but the data is csv"),
        (["--quadratic", "ab"], "--quadratic: is for the format vw"),
        (["--hash", "all"], "--hash: is for the format vw"),
        (["--constant"], "--constant: is for the format vw"),
        (["--ngrams", "2"], "--ngrams: is for the format text"),
        (["--duplicates", "sum"], "--duplicates: is for"),
        (["--label", "nothing"], "--label: got 'nothing', but"),
        (["--label", "7"], "--label: got the position 7, but"),
        (["--weight", "nothing"], "--weight: got 'nothing'"),
        (["--weight", "job"], "job"),
        (["--positive", "maybe"], "--positive: got maybe, but no row"),
        (["--column", "age"], "argument --column: got 'age'; must be a name and a kind, such as age=numeric"),
        (["--column", "age=colour"], "--column: age: got 'colour'"),
        (["--column", "nothing=numeric"], "--column: got 'nothing'"),
        (["--interaction", "age"], "argument --interaction: got 'age'"),
        (["--interaction", "age,nothing"], "nothing"),
        (["--header", "a,b"], "--header: got 2 names, but"),
        (["--delimiter", "ab"], "--delimiter: got 'ab'; must be one ASCII character"),
        (["--delimiter", ";"], "has no columns of features"),
        (["--bits", "0"], "--bits: got 0"),
        (["--bits", "x"], "argument -b/--bits: invalid int value: 'x'"),
        (["--format", "xml"], "argument --format: invalid choice: 'xml'"),
        (["--format", "svmlight"], "pass --format csv"),
        (["--format", "vw"], "CSV"),
        (["--class-weight", "maybe=2"], "--class-weight: got the label 'maybe'"),
        (["--class-weight", "yes"], "argument --class-weight: got 'yes'; must be a label and a number"),
        (["--class-weight", "yes=-1"], "--class-weight: "),
        (["--passes", "0"], "--passes: got 0"),
        (["--batch-size", "0"], "--batch-size: got 0"),
        (["--threads", "0"], "--threads: got 0"),
        (["--average", "-1"], "--average: "),
        (["--classes", "a,b"], "got 4 labels, ['a', 'b', 'no', 'yes']; a binary loss takes two"),
        (["--no-cache", "--cache", "x"], "--no-cache: got --cache, too"),
        (["--cache", "nowhere/x"], "does not exist; create it first"),
        (["--unknown"], "unrecognized arguments: --unknown"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_misuse_names_the_flag(capsys, table, flags, part):
    error = fail(capsys, "train", table, "--quiet", *flags)
    assert part in error, error


def test_flags_that_a_model_fixes(capsys, model):
    data, path = model
    assert "--column: got the kind of a column, but the model" in fail(
        capsys, "predict", path, data, "--column", "age=ignore"
    )
    assert "--interaction: got" in fail(capsys, "predict", path, data, "--interaction", "age,job")
    assert "--raw: got --proba, too" in fail(capsys, "predict", path, data, "--raw", "--proba")
    for flag in ("--row", "--top"):
        assert f"{flag}: got 0; must be at least 1" in fail(capsys, "explain", path, data, flag, 0)
    assert "--row: got 301, but the data has 300 rows" in fail(capsys, "explain", path, data, "--row", 301)
    assert "--top: got -1" in fail(capsys, "info", path, "--top", -1)
    assert "nowhere.csv: No such file" in fail(capsys, "predict", path, "nowhere.csv")


@pytest.mark.filterwarnings("default:.*skipped 1 malformed")
def test_malformed_lines_are_skipped_on_request(tmp_path, capsys):
    data = tmp_path / "data"
    data.write_text(as_svmlight(people(50)) + "1 x\n")
    assert "data:line 51" in fail(capsys, "train", data, "--quiet")
    assert json.loads(run(capsys, "train", data, "--on-error", "skip", "--json"))["rows"] == 50
    capsys.readouterr()
    assert main(["train", str(data), "--on-error", "report", "--quiet"]) == 0
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("adagrad-nb: warning: ")


# --- flags of the readers ------------------------------------------------------------------------------------------

# Parameters without a flag of the same name; offset and length are parts of files.
OTHER_WAYS = ("path", "dtype", "keep_names", "offset", "length")
READERS = {"svmlight": read_svmlight, "vw": read_vw, "text": read_text, "csv": read_csv, "parquet": read_parquet}


@pytest.mark.parametrize("format", READERS)
def test_every_parameter_of_a_reader_has_a_flag(format):
    parameters = set(inspect.signature(READERS[format]).parameters) - set(OTHER_WAYS)
    assert parameters == {name for name, formats in FLAGS.items() if format in formats}
    parsed = vars(build_parser().parse_args(["train", "data"]))
    assert parameters <= set(parsed)
    assert all(parsed[name] is None for name in parameters)


def test_quotes_missing_words_and_chunks_of_csv(tmp_path, capsys):
    data, path = tmp_path / "data.csv", tmp_path / "m.npz"
    data.write_text("size,job,rich\n" + '"5,cook,no\n6,judge,yes\nnone,none,no\n' * 41)
    fail(capsys, "train", data, "--quiet")  # the last quote is not closed
    flags = ["--quote", "none", "--missing", "none,x", "--chunk-bytes", 100]
    run(capsys, "train", data, "--quiet", "--model", path, *flags)
    expected = fit_linear(read_csv(data, quote=None, missing=["none", "x"], chunk_bytes=100))
    model = load_model(path)
    assert model.feature_names == expected.feature_names
    assert "job=(missing)" in model.feature_names
    assert_array_equal(model.coef, expected.coef)
    assert len(run(capsys, "predict", path, data).split()) == 123  # by the same quote and words
    assert "--quote: got 'ab'" in fail(capsys, "train", data, "--quote", "ab")
    assert "--chunk-bytes: got 0" in fail(capsys, "train", data, "--chunk-bytes", 0)


def test_options_of_text_vowpal_wabbit_and_parquet(tmp_path, capsys):
    path, bits = tmp_path / "m.npz", ["--bits", 9]
    text = write(tmp_path / "text", "text", [(age, job.upper(), label) for age, job, label in people(60)])
    run(capsys, "train", text, "--model", path, "--no-lowercase", "--no-alternate-sign", "--norm", "none", *bits)
    expected = fit_linear(read_text(text, bits=9, lowercase=False, alternate_sign=False, norm=None))
    assert_array_equal(load_model(path).coef, expected.coef)
    assert people(1)[0][1].upper() in run(capsys, "explain", path, text, "--top", 30)
    vw = tmp_path / "vw"
    vw.write_text("1 |f 0:1 2\n|f 1\n-1 |f 1:2\n")
    assert "--missing-labels skip" in fail(capsys, "train", vw) or "label" in fail(capsys, "train", vw)
    trained = json.loads(run(capsys, "train", vw, "--missing-labels", "skip", "--n-features", 9, "--json"))
    assert (trained["rows"], trained["features"]) == (2, 9)
    table = write(tmp_path / "parquet", "parquet", people(60))
    run(capsys, "train", table, "--model", path, "--column", "job=hashed", "--bits", 6, "--signed", "--chunk-rows", 7)
    expected = fit_linear(read_parquet(table, columns={"job": "hashed"}, bits=6, signed=True, chunk_rows=7))
    assert_array_equal(load_model(path).coef, expected.coef)
    run(capsys, "predict", path, table)


def test_new_categories_may_be_ignored_in_training(tmp_path, capsys, model):
    _, path = model
    data, again = tmp_path / "more.csv", tmp_path / "again.npz"
    data.write_text(as_csv([(30, "painter", "no"), (60, "cook", "yes")]))
    for choice, n_new in (("ignore", 0), ("add", 1)):
        run(capsys, "train", data, "--initial-model", path, "--model", again, "--new-categories", choice, "--quiet")
        assert load_model(again).n_features == load_model(path).n_features + n_new


@pytest.mark.filterwarnings("default:fit_linear. the first rows lack")
@pytest.mark.parametrize("format", ["csv", "parquet", "text"])
def test_late_labels(tmp_path, capsys, format):
    rows = people(40) + [(age, job, "unknown") for age, job, _ in people(5)] + people(20, 1)
    data, path = write(tmp_path / "data", format, rows), tmp_path / "m.npz"
    chunks = ["--chunk-rows", 10] if format == "parquet" else ["--chunk-bytes", 200]
    chunks += ["--bits", 9] if format == "text" else []
    assert main(["train", data, "--passes", "2", "--model", str(path), *map(str, chunks)]) == 0
    [line] = capsys.readouterr().err.splitlines()
    assert "so training began again; pass --classes to save the time" in line
    model = load_model(path)
    assert (model.classes.tolist(), model.n_seen) == (["no", "unknown", "yes"], 130)


def test_late_labels_of_a_stream(capsys, monkeypatch):
    content = (as_csv(people(40)) + as_csv([(30, "cook", "unknown")], header=False)).encode()
    stream = type("Stream", (io.BytesIO,), {"seekable": lambda self: False})(content)
    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": stream})())
    assert "--classes" in fail(capsys, "train", "-", "--chunk-bytes", 200, "--quiet")


def test_methods_on_tables(tmp_path, capsys):
    """Normalised, invariant and single-precision training on the columns of a table."""
    data, path = tmp_path / "people.csv", tmp_path / "m.npz"
    data.write_text(as_csv(people(200)))
    for flags, options in (
        (["--normalized"], {"normalized": True}),
        (["--invariant"], {"invariant": True}),
        (["--normalized", "--invariant", "--float32"], {"normalized": True, "invariant": True, "dtype": np.float32}),
        (["--float32"], {"dtype": np.float32}),
    ):
        run(capsys, "train", data, "--quiet", "--model", path, *flags)
        dtype = options.get("dtype", np.float64)
        expected, model = fit_linear(read_csv(data, dtype=dtype), **options), load_model(path)
        assert model.coef.dtype == dtype
        assert_array_equal(model.coef, expected.coef)
        assert (model.feature_names, model.normalized) == (expected.feature_names, expected.normalized)
        metrics = json.loads(run(capsys, "evaluate", path, data, "--json"))
        assert metrics["auc"] > 0.8
        explained = run(capsys, "explain", path, data, "--top", 9)
        assert "job=" in explained


def test_explanation_of_text_whose_features_are_not_hashed(tmp_path, capsys):
    data, path = tmp_path / "data", tmp_path / "m.npz"
    data.write_text("1 |f 1:0.5 3\n-1 |f 2:1\n")
    run(capsys, "train", data, "--model", path)
    assert "  3  " in run(capsys, "explain", path, data)
