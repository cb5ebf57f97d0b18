"""Hundreds of damaged sparse matrices: each is learnt or rejected with a message, and none crashes."""

N = 600

PROGRAM = """
import random, sys, warnings
import numpy as np
import scipy.sparse as sp
from adagrad_nb import fit_linear, init, update

warnings.simplefilter("ignore")  # of NumPy, about numbers, where nothing is compiled
random.seed(20110712)
rng = np.random.default_rng(20110712)
n, d = 6, 8
X = sp.csr_array(rng.normal(size=(n, d)) * (rng.random((n, d)) < 0.5))
y = np.where(rng.random(n) < 0.5, -1, 1)
g = sp.csr_array(X.toarray()[:1])
model = fit_linear(X, y)
x = rng.normal(size=d)
state = init(x)
WILD = [-1, -2, 1, 7, 8, 9, 100, 2**31 - 1, -(2**31), 2**40, -(2**40), 2**62, -(2**63), 2**63 - 1]
TYPES = ["i4", "i8", "i4", "i8", "u4", "i2", "f8", "?", "O", ">i4", "c16"]
VALUES = ["f8", "f4", "i8", "?", "f2", "c16", "O", "U3", ">f8"]


def number(part):
    value = random.choice(WILD)
    kind = part.dtype.kind
    if kind in "iu":
        info = np.iinfo(part.dtype)
        return min(max(value, info.min), info.max)
    return random.choice([np.nan, np.inf, -np.inf, 1e308, 0.0]) if kind == "f" else value


def element(part):
    part = part.copy()
    if part.size:
        part.reshape(-1)[random.randrange(part.size)] = number(part)
    return part


def length(part):
    kind = random.randrange(5)
    if kind == 0:
        return part[: random.randrange(part.shape[0] + 1)]
    if kind == 1:
        return part[random.randrange(part.shape[0] + 1) :]
    if kind == 2:
        return np.resize(part, part.shape[0] + random.randrange(1, 9))
    if kind == 3:
        return np.concatenate([part, np.zeros(random.randrange(1, 9), part.dtype)])
    return random.choice([part[:, None], part[::-1], part[::2], np.zeros((), part.dtype)])


def order(part):
    part = part.copy()
    rng.shuffle(part)
    return part


def kind(part, names):
    try:
        return part.astype(random.choice(names))
    except (ValueError, TypeError, OverflowError):
        return part


def damaged(X):
    bad = X.copy()
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        name = random.choice(["indptr", "indptr", "indices", "indices", "data", "shape", "types"])
        if name == "shape":
            bad._shape = random.choice([(n, d), (n, 3), (3, d), (0, d), (n, 0), (n + 1, d), (n, d + 9), (10**6, d)])
        elif name == "types":
            types = random.choice(["i4", "i8"])
            bad.indptr, bad.indices = bad.indptr.astype("i8"), kind(bad.indices, [types])
        else:
            part = getattr(bad, name)
            change = random.choice([element, element, length, order, kind])
            try:
                part = change(part, VALUES if name == "data" else TYPES) if change is kind else change(part)
            except (ValueError, TypeError, IndexError, OverflowError):
                continue  # damaged before, beyond this damage
            setattr(bad, name, part)
    return bad


def sound(X):
    used = X.indices[: X.indptr[-1]]
    return bool(((used >= 0) & (used < X.shape[-1])).all() and (np.diff(X.indptr) >= 0).all() and X.indptr[0] == 0)


def content(model):
    return [a.tobytes() for a in (model.coef, *model.state.slots[0], *model.bias_state.slots[0], model.loss_sums)]


def parts(X):
    return [(a.dtype.str, a.shape, a.tobytes() if a.dtype.kind != "O" else None) for a in (X.indptr, X.indices, X.data)]


counts = {}
before = content(model), state.slots[0][0].tobytes(), x.tobytes()
for trial in range(int(sys.argv[1])):
    bad = damaged(X)
    gradient = damaged(g)
    was = parts(bad), parts(gradient)
    targets = np.resize(y, bad.shape[0])
    calls = {
        "learn": lambda: fit_linear(bad, targets, model=model).coef,
        "begin": lambda: fit_linear(bad, targets).coef,
        "predict": lambda: model.decision_function(bad),
        "update": lambda: update(x, gradient, state)[0],
        "in place": lambda: update(x, gradient, state, out=(x, state))[0],
    }
    for name, call in calls.items():
        try:
            out = call()
            outcome = "done"
            if name in ("learn", "begin", "predict"):
                assert np.isfinite(out).all() and sound(bad), (trial, name, out, was)
            else:
                assert sound(gradient), (trial, name, was)
            if name == "in place":
                x, state = np.frombuffer(before[2]).copy(), init(x)
        except (ValueError, TypeError) as error:
            outcome = "rejected"
            assert str(error), (trial, name)
        except Exception as error:
            raise SystemExit(f"trial {trial}, {name}: {type(error).__name__}: {error}; {was}")
        counts[name, outcome] = counts.get((name, outcome), 0) + 1
        now = content(model), state.slots[0][0].tobytes(), x.tobytes()
        assert now == before, (trial, name, outcome)
    assert (parts(bad), parts(gradient)) == was, trial
for (name, outcome), count in sorted(counts.items()):
    print(name.replace(" ", "_"), outcome, count)
"""


def test_corrupted_matrices(python):
    """In one process of its own, which must live to the end; both outcomes are frequent for every call."""
    lines = python(PROGRAM, str(N)).split("\n")
    counts = {tuple(line.split()[:2]): int(line.split()[2]) for line in lines if line}
    names = {name for name, _ in counts}
    assert names == {"learn", "begin", "predict", "update", "in_place"}
    for name in names:
        done, rejected = counts[name, "done"], counts[name, "rejected"]
        assert done + rejected == N
        assert min(done, rejected) > N / 10
