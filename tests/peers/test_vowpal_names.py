"""Features with names: columns, weights and progressive loss of Vowpal Wabbit, run here and now on the same text."""

import itertools

import numpy as np
import pytest

from adagrad_nb import Adagrad, fit_linear, load_vw, read_vw

vowpalwabbit = pytest.importorskip("vowpalwabbit")
ADAPTIVE = "--adaptive --noconstant -l 0.02 --loss_function logistic"
CITIES = ["Paris", "New-York", "東京", "São", "12", "a^b"]


def random_rows(n, seed=0):
    """Text with namespaces, scales, weights, tags, names, numbers, strings and anonymous features.

    No two features of a row have the same column: Vowpal Wabbit learns from these by two steps.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for r in range(n):
        words = rng.choice(400, rng.integers(1, 7), replace=False)
        user = f"|user age:{rng.normal():.3f} city:{rng.choice(CITIES)} id{rng.integers(50)}"
        words = "|words:0.5 " + " ".join(f"w{k}:{rng.integers(1, 5)}" if k % 3 else f"w{k}" for k in words)
        ad = f"|ad {rng.integers(10, 40)} :{rng.normal():.2f} :2 zero:0"
        label = 1 if "w1" in words or rng.random() < 0.4 else -1
        tag = ["", f"'row{r}", f"tag{r}"][r % 3]
        parts = [user, words, ad, f"| {rng.integers(900)} bias"]
        rng.shuffle(parts)
        weight = "" if tag == "" and r % 2 else f" {rng.integers(1, 4)}"
        rows.append(f"{label}{weight} {tag}" + " ".join(parts))
    return "\n".join(rows) + "\n"


class Vowpal:
    """One pass of Vowpal Wabbit over a file."""

    def __init__(self, path, options):
        self.workspace = vowpalwabbit.Workspace(f"{options} --quiet -d {path}")
        self.progressive_loss = self.workspace.get_sum_loss() / self.workspace.get_weighted_examples()

    def weights(self, n):
        return np.array([self.workspace.get_weight(k) for k in range(n)])


def columns_of(workspace, line):
    """The sorted columns and values that Vowpal Wabbit makes of a line, without interactions."""
    example = workspace.example(line)
    found = sorted(
        (example.feature(space, k), example.feature_weight(space, k))
        for space in range(example.num_namespaces())
        for k in range(example.num_features_in(space))
    )
    workspace.finish_example(example)
    return found


@pytest.mark.parametrize("hashing", ["strings", "all"])
@pytest.mark.parametrize("bits", [10, 18, 24])
def test_columns(bits, hashing, tmp_path):
    path = tmp_path / "data"
    path.write_text(random_rows(50), encoding="utf-8")
    X, _, _ = load_vw(path, bits=bits, hash=hashing)
    workspace = vowpalwabbit.Workspace(f"--quiet --noconstant -b {bits} --hash {hashing}")
    for r, line in enumerate(path.read_text("utf-8").splitlines()):
        expected = {}
        for column, value in columns_of(workspace, line):
            column %= 2**bits
            expected[column] = expected.get(column, 0) + value
        part = slice(X.indptr[r], X.indptr[r + 1])
        assert X.indices[part].tolist() == sorted(expected)
        np.testing.assert_allclose(X.data[part], [expected[column] for column in sorted(expected)], rtol=1e-6)
    workspace.finish()


CASES = [
    ((), "strings", 18, False),
    ((), "all", 22, True),
    (("uw",), "strings", 18, False),
    (("wu", "aa"), "all", 22, False),
    (("::",), "strings", 24, False),
    (("w:", "aa"), "strings", 24, True),
    (("wu", "uw", "ua"), "strings", 24, False),
    ((":u", "a:"), "all", 24, False),
    (("_a", "uu"), "strings", 24, False),
]


@pytest.mark.compiled_only("looks up a million weights")
@pytest.mark.parametrize(("quadratic", "hashing", "bits", "constant"), CASES)
def test_weights_and_progressive_loss(quadratic, hashing, bits, constant, tmp_path):
    path = tmp_path / "data"
    # weights mean another thing there: see test_weights_mean_another_thing in test_vowpal
    text = random_rows(300).replace(" 2 ", " 1 ").replace(" 3 ", " 1 ")
    path.write_text(text, encoding="utf-8")
    options = {
        "bits": bits,
        "hash": hashing,
        "quadratic": [q.replace("_", " ") for q in quadratic],
        "constant": constant,
    }
    X, _, _ = load_vw(path, **options)
    # without equal columns in a row: see the docstring of random_rows
    counts = [len(row) for row in _uncombined(path, options)]
    is_distinct = np.diff(X.indptr) == counts
    lines = list(itertools.compress(text.splitlines(keepends=True), is_distinct))
    assert len(lines) > 150
    path.write_text("".join(lines), encoding="utf-8")
    flags = ADAPTIVE if not constant else ADAPTIVE.replace("--noconstant", "")
    pairs = " ".join(f"-q {q}" for q in quadratic).replace("_", "\\x20")
    vowpal = Vowpal(path, f"{flags} -b {bits} --hash {hashing} {pairs}")
    model = fit_linear(read_vw(path, **options), rule=Adagrad(eps=1e-30), lr=0.02, intercept=False)
    assert model.progressive_loss == pytest.approx(vowpal.progressive_loss, rel=1e-4)
    columns = np.unique(load_vw(path, **options)[0].indices)
    theirs = np.array([vowpal.workspace.get_weight(int(k)) for k in columns])
    assert np.count_nonzero(theirs) > 0.9 * columns.size
    np.testing.assert_allclose(model.coef[columns], theirs, rtol=2e-3, atol=2e-4)
    assert np.count_nonzero(model.coef) == np.count_nonzero(model.coef[columns])
    vowpal.workspace.finish()


def _uncombined(path, options):
    import reference_vowpal as reference

    for line in path.read_bytes().splitlines():
        _, _, _, n = reference.parse_line(
            line, options["bits"], options["hash"] == "all", options["quadratic"], options["constant"]
        )
        yield range(n)


@pytest.mark.compiled_only("compiled in the other tests")
def test_weighted_rows(tmp_path):
    """Steps that are aware of the importance mean the same in both."""
    path = tmp_path / "data"
    path.write_text(random_rows(300, seed=1), encoding="utf-8")
    vowpal = Vowpal(path, f"{ADAPTIVE} --invariant -b 20")
    model = fit_linear(read_vw(path, bits=20), rule=Adagrad(0.0), lr=0.02, intercept=False, invariant=True)
    assert model.progressive_loss == pytest.approx(vowpal.progressive_loss, rel=1e-4)
    vowpal.workspace.finish()
