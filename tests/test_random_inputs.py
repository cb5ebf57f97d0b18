"""Random calls with arrays of every layout: the result for plain copies, or an error of ours, and no argument changed.

ADAGRAD_NB_RANDOM_CALLS sets the number of calls of each kind.
"""

import copy
import os

import numpy as np
import pytest
import scipy.sparse as sp

from adagrad_nb import (
    FTRL,
    L1,
    L2,
    RDA,
    Accumulate,
    Adadelta,
    Adagrad,
    Box,
    ClipGlobalNorm,
    ClipNorm,
    DecoupledDecay,
    InverseSqrt,
    MomentumAdagrad,
    Polyak,
    fit_linear,
    init,
    minimize_adagrad,
    update,
)

N_CALLS = int(os.environ.get("ADAGRAD_NB_RANDOM_CALLS", "150"))
RULES = [Adagrad(), Adagrad(0.0, inside=True), Adadelta(), MomentumAdagrad(), RDA(), FTRL()]
TRANSFORMS = [(), (ClipNorm(1.0),), (ClipGlobalNorm(1.0),), (DecoupledDecay(0.1),), (Accumulate(2),)]
PENALTIES = [None, L1(0.01), L2(0.1), Box(-1.0, 1.0)]


def reversed_view(a, path):
    return a[::-1].copy()[::-1]


def every_second(a, path):
    wide = np.zeros((2 * a.shape[0], *a.shape[1:]), a.dtype)
    wide[::2] = a
    return wide[::2]


def read_only(a, path):
    a = a.copy()
    a.setflags(write=False)
    return a


def memory_map(a, path):
    a.tofile(path)
    return np.memmap(path, a.dtype, "r", shape=a.shape)


def unaligned(a, path):
    buffer = np.zeros(a.nbytes + 1, np.uint8)
    view = buffer[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


LAYOUTS = {
    "plain": lambda a, path: a.copy(), "Fortran": lambda a, path: np.asfortranarray(a), "reversed": reversed_view,
    "strided": every_second, "read-only": read_only, "memory map": memory_map, "unaligned": unaligned,
    "other byte order": lambda a, path: a.astype(a.dtype.newbyteorder()), "list": lambda a, path: a.tolist(),
    "matrix": lambda a, path: np.asmatrix(a) if a.ndim == 2 else a.copy(), "object": lambda a, path: a.astype(object),
    "integers": lambda a, path: np.round(a).astype(np.int32),
}  # fmt: skip
IN_PLACE = ("plain", "Fortran", "reversed", "strided", "unaligned")


@pytest.fixture
def draw(tmp_path, request):
    """Draw an array in a random layout; return it with a plain copy of its values."""
    count = [0]

    def make(rng, a, layouts=tuple(LAYOUTS)):
        count[0] += 1
        made = LAYOUTS[layouts[rng.integers(len(layouts))]](a, tmp_path / f"{count[0]}.bin")
        return made, np.array(made, float if a.dtype.kind == "f" else None)

    return make


def attempt(call):
    """Return the result of a call, or its error if it is of a kind that users are to see."""
    error = None
    try:
        return call(), None
    except (ValueError, TypeError) as raised:
        error = raised
    text = str(error)
    assert "numba" not in type(error).__module__, text
    assert text.partition(":")[0].partition("[")[0].isidentifier(), text  # the name of an argument
    return None, error


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("block", range(6))
def test_updates(draw, block):
    rng = np.random.default_rng(block)
    for _ in range(N_CALLS // 6 + 1):
        shape = [(5,), (3, 4), (70,), ()][rng.integers(4)]
        dtype = [np.float64, np.float32][rng.integers(2)]
        options = {
            "rule": RULES[rng.integers(len(RULES))], "transforms": TRANSFORMS[rng.integers(len(TRANSFORMS))],
            "penalty": PENALTIES[rng.integers(len(PENALTIES))], "average": [None, Polyak()][rng.integers(2)],
            "lr": [0.3, InverseSqrt(0.5)][rng.integers(2)],
        }  # fmt: skip
        values = rng.normal(size=shape).astype(dtype)
        layouts = ("plain",) if shape == () else IN_PLACE
        x, x_plain = draw(rng, values, layouts)
        plain = x_plain.astype(dtype)
        state, state_plain = init(x, **options), init(plain, **options)
        for _ in range(3):
            g, g_plain = draw(rng, rng.normal(size=shape).astype(dtype), layouts if shape == () else tuple(LAYOUTS))
            before = copy.deepcopy(g)
            if rng.random() < 0.1:
                g, g_plain = x, np.array(x, dtype)
                before = None
            in_place = rng.random() < 0.5
            held = np.array(x)
            done, error = attempt(lambda: update(x, g, state, out=(x, state) if in_place else None))  # noqa: B023
            if error is not None:
                np.testing.assert_array_equal(np.array(x), held)
                continue
            x, state = done
            plain, state_plain = update(plain, g_plain.astype(dtype), state_plain)
            np.testing.assert_array_equal(np.array(x), plain)
            if before is not None:
                np.testing.assert_array_equal(np.array(g), np.array(before))


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("block", range(4))
def test_fits(draw, block, interpreted):
    rng = np.random.default_rng(100 + block)
    for _ in range(N_CALLS // 8 + 1):
        dtype = [np.float64, np.float32][rng.integers(2)]
        values = np.where(rng.random((12, 4)) < 0.5, rng.normal(size=(12, 4)), 0).astype(dtype)
        X, X_plain = draw(rng, values)
        y, y_plain = draw(rng, (rng.random(12) < 0.5).astype(np.int64))
        y_plain[:2] = 0, 1
        if isinstance(y, list):
            y[:2] = 0, 1
        else:
            y = y_plain.astype(np.int64)
        weight, weight_plain = draw(rng, rng.random(12).astype(dtype))
        options = {
            "penalty": PENALTIES[rng.integers(len(PENALTIES))], "batch_size": int(rng.integers(1, 4)),
            "passes": int(rng.integers(1, 3)), "dtype": dtype,
        }  # fmt: skip
        if rng.random() < 0.5 and isinstance(X, np.ndarray) and X.dtype.kind == "f" and X.dtype.isnative:
            X = [sp.csr_array, sp.csc_array, sp.coo_matrix, sp.csr_matrix][rng.integers(4)](np.array(X))
        model, error = attempt(lambda: fit_linear(X, y, sample_weight=weight, **options))  # noqa: B023
        if error is None:
            expected = fit_linear(X_plain.astype(dtype), y_plain, sample_weight=weight_plain.astype(dtype), **options)
            np.testing.assert_array_equal(model.coef, expected.coef)
            scores, error = attempt(lambda: model.decision_function(X))  # noqa: B023
            if error is None:
                np.testing.assert_array_equal(scores, expected.decision_function(X_plain))


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::PendingDeprecationWarning")
def test_minimisations(draw):
    rng = np.random.default_rng(200)
    for _ in range(N_CALLS // 3 + 1):
        x0, x_plain = draw(rng, rng.normal(size=4))
        spoils = rng.random() < 0.5
        buffer = np.empty(4)

        def jac(x, spoils=spoils, buffer=buffer):
            buffer[:] = 2 * (x - 1)
            if spoils:
                x[:] = np.nan
            return buffer

        options = {"maxiter": 5, "lr": 0.3, "bounds": [None, [(-2, 2)] * 4][rng.integers(2)], "gtol": 0}
        res, error = attempt(lambda: minimize_adagrad(lambda x: float(x @ x), x0, jac=jac, **options))  # noqa: B023
        if error is None:
            expected = minimize_adagrad(lambda x: float(x @ x), x_plain, jac=lambda x: 2 * (x - 1), **options)
            np.testing.assert_array_equal(res.x, expected.x)
