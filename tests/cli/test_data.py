"""Data of the command line: every format to a model and predictions, columns and headers, labels, flags."""

import gzip
import io
import json
import sys

import numpy as np
import pytest

from adagrad_nb import load_model
from adagrad_nb.cli import main

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
