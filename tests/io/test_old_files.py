"""Files written by version 0.1.0: they load, and training continues with the results of that version."""

import json
import pathlib

import numpy as np
import pytest
import scipy.sparse as sp

from adagrad_nb import fit_linear, load_model, load_state, minimize_adagrad, minimize_stochastic, update
from adagrad_nb.testing import Rosenbrock

FILES = pathlib.Path(__file__).parent / "files"
EXPECTED = FILES / "expected.json"
RTOL = {"float16": 1e-3, "float32": 1e-5, "complex64": 1e-5, "float64": 1e-12, "complex128": 1e-12}


def grid(n, d, step, start=0):
    """Return an array of numbers in [-1.5, 1.5] with an exact binary representation."""
    return ((np.arange(start, start + n * d) * step) % 25 - 12.0).reshape(n, d) / 8


# The first 16 rows trained the models, the last 8 continue the training.
X = sp.csr_array(grid(24, 6, 7) * (grid(24, 6, 11, 5) > -0.2))
TEST = X[4:10] * 1.5
SCORES = X @ np.array([1.0, -2.0, 0.5, 0.0, 1.5, -0.5]) + grid(24, 1, 7, 3)[:, 0] / 4
CLASSES = np.digitize(SCORES, [-0.8, 0.8])
TARGETS = {
    "labels": np.where(SCORES > 0, 1, -1),
    "names": np.where(SCORES > 0, "yes", "no"),
    "numbers": SCORES,
    "classes": CLASSES,
    "class names": np.array(["ant", "bee", "cat"])[CLASSES],
}


def as_numbers(value):
    """Convert a value to JSON data: dtype, shape and a flat list; a complex number has two entries."""
    array = np.asarray(value)
    flat = array.ravel()
    if array.dtype.kind == "c":
        flat = flat.view(array.real.dtype)
    return {"dtype": array.dtype.str.lstrip("<=|"), "shape": list(array.shape), "values": flat.tolist()}


def assert_as_recorded(results, expected):
    """Compare with the recorded values: strings and integers exactly, other numbers within rounding errors."""
    assert results.keys() == expected.keys()
    # The loss is in double precision, but it is only as accurate as the float32 weights.
    rtol = max(RTOL.get(np.asarray(value).dtype.name, 0) for value in results.values())
    for name, value in results.items():
        actual, old = as_numbers(value), expected[name]
        assert (actual["dtype"], actual["shape"]) == (old["dtype"], old["shape"]), name
        if np.asarray(value).dtype.kind in "fc":
            np.testing.assert_allclose(actual["values"], old["values"], rtol=rtol, atol=rtol / 100, err_msg=name)
        else:
            assert actual["values"] == old["values"], name


# --- models ------------------------------------------------------------------------------------------------------


def model_values(model):
    """Return the attributes and predictions of a model."""
    out = {
        "coef": model.coef,
        "intercept": model.intercept,
        "progressive_loss": model.progressive_loss,
        "n_seen": model.n_seen,
        "t": model.state.t,
        "decision_function": model.decision_function(TEST),
        "predict": model.predict(TEST),
    }
    if model.classes is not None:
        out["classes"] = model.classes
        if model.has_probabilities:
            out["predict_proba"] = model.predict_proba(TEST)
    if hasattr(model, "rates"):
        out |= {"rates": model.rates, "rate": model.rate, "progressive_losses": model.progressive_losses}
    return out


def continue_training(model, targets):
    """Return the weights, losses and counts after two passes over new rows."""
    model = fit_linear(X[16:], TARGETS[targets][16:], model=model, passes=2)
    names = ("coef", "intercept", "progressive_loss", "n_seen", "t", "rate")
    return {name: value for name, value in model_values(model).items() if name in names}


def recorded(kind):
    """Return the entries of `expected.json` for the files of one kind, by file name."""
    with open(EXPECTED, encoding="utf-8") as file:
        return [pytest.param(name, entry, id=name) for name, entry in json.load(file)[kind].items()]


@pytest.mark.parametrize(("name", "expected"), recorded("models"))
def test_a_model_of_version_0_1_0_predicts_as_before(name, expected):
    assert_as_recorded(model_values(load_model(FILES / f"{name}.npz")), expected["loaded"])


@pytest.mark.parametrize(("name", "expected"), recorded("models"))
def test_training_a_model_of_version_0_1_0_continues_as_before(name, expected):
    results = continue_training(load_model(FILES / f"{name}.npz"), expected["targets"])
    assert_as_recorded(results, expected["continued"])


@pytest.mark.parametrize(("name", "expected"), recorded("models"))
def test_a_model_of_version_0_1_0_can_be_saved_again(name, expected, tmp_path):
    load_model(FILES / f"{name}.npz").save(tmp_path / "model.npz")
    assert_as_recorded(model_values(load_model(tmp_path / "model.npz")), expected["loaded"])


# --- states ------------------------------------------------------------------------------------------------------


def array(*shape, start=0, dtype=np.float64):
    """Return an array that does not depend on a random generator."""
    values = grid(int(np.prod(shape)), 1, 7, start)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * grid(int(np.prod(shape)), 1, 11, start)
    return values.reshape(shape).astype(dtype)


def tree(start, dtype=np.float64):
    """Return small arrays in nested containers."""
    return {
        "weight": array(3, 2, start=start, dtype=dtype),
        "layers": [array(4, start=start + 3, dtype=dtype), array(2, 2, start=start + 9, dtype=dtype)],
        "bias": array(2, start=start + 5, dtype=dtype),
    }


def flatten(containers):
    """Return the arrays in nested containers, in order."""
    if isinstance(containers, dict):
        containers = list(containers.values())
    return [leaf for child in containers for leaf in flatten(child)] if isinstance(containers, list) else [containers]


def gradient(kind, k):
    """Return gradient number k for the start of the same name."""
    if kind == "rows":
        return np.array([k % 4, 4, k % 4]), array(3, 2, start=20 + k)
    if kind == "tree":
        return tree(30 + 4 * k)
    dtype = STARTS[kind]().dtype
    return array(*STARTS[kind]().shape, start=30 + 4 * k, dtype=dtype)


STARTS = {
    "vector": lambda: array(5),
    "matrix": lambda: array(3, 2),
    "rows": lambda: array(5, 2),
    "tree": lambda: tree(0),
    "float16": lambda: array(4, dtype=np.float16),
    "complex64": lambda: array(2, 2, dtype=np.complex64),
}


def apply_updates(x, state, kind, numbers):
    """Return x and the state after the gradients with these numbers."""
    for k in numbers:
        x, state = update(x, gradient(kind, k), state)
    return x, state


def state_values(state):
    """Return the counts and arrays of a state."""
    out = {"t": state.t, "micro": state.micro, "scale": state.scale}
    for i, slots in enumerate(state.slots):
        out |= {f"slot {k} of array {i}": slot for k, slot in enumerate(slots)}
    return out | {f"mean of array {i}": mean for i, mean in enumerate(state.means) if mean is not None}


def iterates(x):
    """Return the arrays of x, with their numbers as names."""
    return {f"x {i}": leaf for i, leaf in enumerate(flatten(x))}


LATER_GRADIENTS = range(5, 9)  # gradients after the state was saved


@pytest.mark.parametrize(("name", "expected"), recorded("states"))
def test_a_state_of_version_0_1_0_loads(name, expected):
    assert_as_recorded(state_values(load_state(FILES / f"{name}.npz")), expected["loaded"])


@pytest.mark.parametrize(("name", "expected"), recorded("states"))
def test_a_state_of_version_0_1_0_continues_as_before(name, expected):
    state, kind = load_state(FILES / f"{name}.npz"), expected["start"]
    x = _restore_iterate(STARTS[kind](), expected["x"])
    x, state = apply_updates(x, state, kind, LATER_GRADIENTS)
    assert_as_recorded(iterates(x) | state_values(state), expected["continued"])


def _restore_iterate(template, entries):
    """Return the iterate that belongs to a state, in the containers of `template`."""
    leaves = iter(entries.values())

    def rebuild(containers):
        if isinstance(containers, dict):
            return {key: rebuild(child) for key, child in containers.items()}
        if isinstance(containers, list):
            return [rebuild(child) for child in containers]
        entry = next(leaves)
        real = np.array(entry["values"], containers.real.dtype)
        return real.view(containers.dtype).reshape(entry["shape"])

    return rebuild(template)


# --- states of minimisers ----------------------------------------------------------------------------------------

SAMPLES = grid(14, 3, 7)


def loss(x, batch):
    residual = (SAMPLES[batch] * x).sum(axis=1) - SAMPLES[batch, 0] + 0.5
    return 0.5 * float((residual * residual).mean())


def loss_gradient(x, batch):
    residual = (SAMPLES[batch] * x).sum(axis=1) - SAMPLES[batch, 0] + 0.5
    return (SAMPLES[batch] * residual[:, None]).mean(axis=0)


def resume(name, x, state, **options):
    """Resume a run; the random order of the samples is part of the state."""
    if name.startswith("run_stochastic"):
        return minimize_stochastic(loss, x, 14, jac=loss_gradient, batch_size=4, epochs=2, state=state, **options)
    return minimize_adagrad(Rosenbrock(), x, maxiter=25, state=state, **options)


@pytest.mark.parametrize(("name", "expected"), recorded("runs"))
def test_a_run_of_version_0_1_0_continues_as_before(name, expected):
    x = np.array(expected["x"]["values"])
    result = resume(name, x, load_state(FILES / f"{name}.npz"))
    actual = {"x": result.x, "fun": result.fun, "nit": result.nit} | state_values(result.state)
    assert_as_recorded(actual, expected["continued"])
