"""Arrays that share memory: gradients are copied, and outputs are refused."""

import copy
import re

import numba
import numpy as np
import pytest

from adagrad_nb import ClipNorm, Polyak, init, update
from adagrad_nb.optim import overlap


def same(a, b):
    np.testing.assert_array_equal(a, b)
    assert a.dtype == b.dtype


# --- arrays that share memory ------------------------------------------------------------------------------------


def overlapping(kind, n):
    """Return (x, g, lr) that share memory, for the shape and the layout of `kind`."""
    buffer = np.linspace(1.0, 2.0, 3 * n)
    x, g, lr = buffer[n : 2 * n], np.cos(np.arange(n)), 0.5
    if kind == "g starts before x":
        g = buffer[n - 1 : 2 * n - 1]
    elif kind == "g starts after x":
        g = buffer[n + 1 : 2 * n + 1]
    elif kind == "x is reversed":
        x, g = buffer[:n][::-1], buffer[:n]
    elif kind == "x is strided":
        x, g = buffer[: 2 * n : 2], buffer[:n]
    elif kind == "g views x by another way":
        x = np.linspace(1.0, 2.0, n)
        g = np.frombuffer(memoryview(x), np.float64)
    elif kind == "x owns":
        x = np.linspace(1.0, 2.0, n)
        g = np.broadcast_to(x[:1], n)
    elif kind == "rows":
        x, g = buffer[2 : 2 + 2 * (n // 2)].reshape(-1, 2), buffer[: 2 * (n // 2)].reshape(-1, 2)
    elif kind == "sparse":
        g = (np.arange(n)[1:], x[:-1])
    elif kind == "sparse, sorted first":
        g = (np.arange(n)[::-1], x)
    elif kind == "rate":
        lr = buffer[n - 1 : 2 * n - 1]
    elif kind == "rate is x":
        lr = x
    elif kind == "same":
        g = x
    return x, g, lr


OVERLAPS = [
    "g starts before x", "g starts after x", "x is reversed", "x is strided", "g views x by another way", "x owns",
    "rows", "sparse", "sparse, sorted first", "rate", "rate is x", "same",
]  # fmt: skip


def copy_arrays(g):
    return tuple(map(np.array, g)) if isinstance(g, tuple) else np.array(g)


@pytest.mark.parametrize("kind", OVERLAPS)
@pytest.mark.parametrize("n", [7, 100, 70_000 if not numba.config.DISABLE_JIT else 300])
@pytest.mark.parametrize(
    "options", [{}, {"duplicates": "sequential"}, {"transforms": (ClipNorm(1.0),)}, {"average": Polyak()}], ids=str
)
def test_a_gradient_that_shares_memory_with_x(kind, n, options):
    """A step in place equals that of copies."""
    x, g, lr = overlapping(kind, n)
    state = init(x, **options)
    expected, expected_state = update(x.copy(), copy_arrays(g), state, lr=np.copy(lr) if np.ndim(lr) else None)
    update(x, g, state, lr=lr if np.ndim(lr) else None, out=(x, state))
    same(x, expected)
    same(state.slots[0][0], expected_state.slots[0][0])


@pytest.mark.parametrize("n", [7, 9000])
def test_out_that_shares_memory_with_the_arguments(n, rng):
    x, g = rng.normal(size=(2, n))
    state = init(x)
    expected, _ = update(x, g, state)
    for in_place in (False, True):
        target, own = g.copy(), state.copy()
        update(x, target, own, out=(target, own if in_place else state.copy()))
        same(target, expected)
    buffer = np.r_[x, 0.0]  # x moves by one place
    update(buffer[:-1], g, state, out=(buffer[1:], state.copy()))
    same(buffer[1:], expected)
    for first, second in (("a", "b"), ("b", "a")):  # the arrays change places
        tree = {"a": x.copy(), "b": g.copy()}
        gradients = {"a": x, "b": g}
        state = init(tree)
        expected, _ = update(tree, gradients, state)
        out = {"a": tree[second], "b": tree[first]}
        update(tree, gradients, state, out=(out, state.copy()))
        same(out["a"], expected["a"])
        same(out["b"], expected["b"])


@pytest.mark.parametrize("n", [6, 9000])
def test_a_gradient_that_shares_memory_with_another_array(n, rng):
    x = {"a": rng.normal(size=n), "b": rng.normal(size=n)}
    for gradients in (
        {"a": x["b"], "b": x["a"]},
        {"a": np.ones(n), "b": x["a"]},
        {"a": np.ones(n), "b": ([0], x["a"][:1])},
    ):
        place = copy.deepcopy((x, gradients))  # keeps what is shared
        state = init(x)
        expected, _ = update(x, copy.deepcopy(gradients), state)
        tree, own = place
        update(tree, own, state, out=(tree, state))
        same(tree["a"], expected["a"])
        same(tree["b"], expected["b"])


SHARED = np.zeros(20)
SHARED_MATRIX = np.zeros((4, 5))


@pytest.mark.parametrize(
    ("x", "first", "second"),
    [
        ({"a": SHARED, "b": SHARED}, "x['a']", "x['b']"),
        ([np.zeros(3), SHARED, [np.zeros(2), (SHARED,)]], "x[1]", "x[2][1][0]"),
        ([SHARED[:12], SHARED[11:]], "x[0]", "x[1]"),
        ([SHARED[11:], SHARED[:12]], "x[0]", "x[1]"),
        ([SHARED, SHARED.reshape(4, 5)], "x[0]", "x[1]"),
        ([SHARED[::-1], SHARED[4:5]], "x[0]", "x[1]"),
        ([SHARED[::2], SHARED[::3]], "x[0]", "x[1]"),
        ([SHARED_MATRIX[:, 0], SHARED_MATRIX[1]], "x[0]", "x[1]"),
        ([SHARED[:8], SHARED[12:], SHARED[8:13]], "x[1]", "x[2]"),
        ([np.frombuffer(memoryview(SHARED), np.float64)[:4], SHARED[3:9]], "x[0]", "x[1]"),
        ([SHARED, SHARED.view(np.complex128)], "x[0]", "x[1]"),
    ],
    ids=str,
)
def test_arrays_that_share_memory_are_refused_in_place(x, first, second):
    state, gradients = init(x), copy_each(x)
    new, _ = update(x, gradients, state)  # the new arrays are apart
    init(new)
    message = rf"^out: {re.escape(first)} and {re.escape(second)}: share memory"
    for source, out_state in ((x, state), (gradients, state.copy())):
        with pytest.raises(ValueError, match=message):
            update(source, gradients, state, out=(x, out_state))
        assert state.t == out_state.t == 0
        assert not SHARED.any()


def copy_each(tree):
    if isinstance(tree, dict):
        return {key: copy_each(child) for key, child in tree.items()}
    return type(tree)(map(copy_each, tree)) if isinstance(tree, (list, tuple)) else np.array(tree)


@pytest.mark.parametrize(
    "x",
    [
        [SHARED[::2], SHARED[1::2]], [SHARED[:10], SHARED[10:]], list(SHARED_MATRIX.T),
        [SHARED[:0], SHARED[:0], SHARED],
        [SHARED_MATRIX[:2, :2], SHARED_MATRIX[2:, :2], SHARED_MATRIX[:, 2:]], [1.0, 1.0], [[2.0] * 3] * 2,
    ],
    ids=str,
)  # fmt: skip
def test_views_without_common_entries_are_accepted(x):
    x = copy.deepcopy(x)
    state = init(x)
    new, _ = update(x, copy_each(x), state)
    if isinstance(x[0], np.ndarray):
        gradients = copy_each(x)
        update(x, gradients, state, out=(x, state))
        assert all(map(np.array_equal, x, new))


def test_arrays_are_checked_again_where_others_take_their_place(rng):
    x = [np.zeros(4), np.zeros(4)]
    state = init(x)
    g = [np.ones(4), np.ones(4)]
    for _ in range(3):
        update(x, g, state, out=(x, state))
    with pytest.raises(ValueError, match=r"^out: x\[0\] and x\[1\]: share memory"):
        update(x, g, state, out=([x[0], x[0]], state))
    x[1] = x[0][:]
    with pytest.raises(ValueError, match=r"^out: x\[0\] and x\[1\]: share memory"):
        update(x, g, state, out=(x, state))
    assert state.t == 3
    for _ in range(50):  # arrays that are freed leave nothing behind
        x = [np.zeros(4), np.zeros(4)]
        update(x, g, state, out=(x, state))
    assert len(overlap._distinct) < 20


def test_an_array_that_overlaps_itself_is_refused_in_place():
    x = np.lib.stride_tricks.as_strided(np.zeros(4), (3, 2), (8, 8))
    state = init(x)
    with pytest.raises(ValueError, match=r"^out: x: several of its entries share memory"):
        update(x, np.ones((3, 2)), state, out=(x, state))
    assert state.t == 0
    assert not x.any()


def test_the_average_is_no_iterate():
    x = np.ones(3)
    state = init(x, average=Polyak())
    update(x, x, state, out=(x, state))
    with pytest.raises(ValueError, match=r"^out: x: shares memory with the average of the state"):
        update(state.means[0], np.ones(3), state, out=(state.means[0], state))
    assert state.t == 1
