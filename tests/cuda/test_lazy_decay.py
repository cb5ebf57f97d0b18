"""Lazy weight decay of device arrays: rows catch up as on the host."""

import numpy as np
import pytest
import scipy
from host_device import assert_same, copy_to_device, copy_to_host, update_on_both

from adagrad_nb import DecoupledDecay, InverseTime, RowAdagrad, catch_up, init, update
from adagrad_nb.optim import device_leaf

ULPS = 32
OPTIONS = {"transforms": (DecoupledDecay(0.1),), "sparse_decay": "lazy"}


def gradients(rng, n, width, dtype):
    """Return gradients that list rows: in order, with duplicates, none, all, and a dense one."""
    lists = [np.array([0, 3]), rng.integers(0, n, 5), np.array([], np.int64), np.arange(n), np.array([n - 1])]
    shape = (width,) if width else ()
    values = [(where, rng.normal(size=(where.size, *shape)).astype(dtype)) for where in lists]
    return [*values[:3], rng.normal(size=(n, *shape)).astype(dtype), *values[3:]]


@pytest.mark.parametrize(
    ("width", "max_lane_width", "duplicates", "dtype"),
    [
        (0, 1024, "merge", np.float32),
        (1, 1024, "atomic", np.float64),
        (3, 1024, "simultaneous", np.float64),
        (40, 1024, "mean", np.float32),
        (40, 32, "merge", np.float64),
    ],
)
def test_steps(width, max_lane_width, duplicates, dtype, rng, monkeypatch):
    """A few threads share a row, or all of a warp, or all of a block."""
    monkeypatch.setattr(device_leaf, "MAX_LANE_WIDTH", max_lane_width)
    x = rng.normal(size=(6, width) if width else 6).astype(dtype)
    options = OPTIONS | {"duplicates": duplicates, "lr": InverseTime(0.5, 0.3)}
    (host, host_state), (device, state) = update_on_both(x, gradients(rng, 6, width, dtype), True, **options)
    assert_same(device, host, ULPS)
    assert_same(state.slots[0], host_state.slots[0], ULPS)
    assert state.log_decay == pytest.approx(host_state.log_decay, rel=1e-7)
    (y, caught_up), (expected, _) = catch_up(device, state), catch_up(host, host_state)
    assert_same(y, expected, ULPS)
    assert_same(device, host, ULPS)
    assert_same(catch_up(y, caught_up)[0], copy_to_host(y))
    assert not np.allclose(expected, host)


def test_row_rules_and_several_arrays(rng):
    x = {"a": rng.normal(size=(6, 3)), "b": rng.normal(size=(6, 3)), "c": rng.normal(size=4)}
    lists = [gradients(rng, 6, 3, np.float64) for _ in range(2)]
    g = [{"a": a, "b": None, "c": np.ones(4)} if n == 2 else {"a": a, "b": b, "c": None} for n, (a, b) in
         enumerate(zip(*lists, strict=True))]  # fmt: skip
    for rule in (None, RowAdagrad()):
        (host, host_state), (device, state) = update_on_both(
            x, g, False, copy_gradient=lambda g: {k: v if v is None else copy_to_device(v) for k, v in g.items()},
            rule=rule, **OPTIONS,
        )  # fmt: skip
        assert_same(device, host, ULPS)
        assert_same(catch_up(device, state)[0], catch_up(host, host_state)[0], ULPS)


def test_scipy_sparse(rng):
    """Entries of a matrix on the host become whole rows."""
    x = rng.normal(size=(4, 5))
    g = [scipy.sparse.random(4, 5, 0.2, "csr", np.float64, np.random.default_rng(k)) for k in range(3)]
    (host, host_state), (device, state) = update_on_both(x, g, False, copy_gradient=lambda g: g, **OPTIONS)
    assert_same(catch_up(device, state)[0], catch_up(host, host_state)[0], ULPS)


def test_other_options(rng):
    x, g = copy_to_device(rng.normal(size=(3, 2))), copy_to_device((np.array([1]), np.ones((1, 2))))
    state = init(x, **OPTIONS)
    assert state.changes_with_t
    x, state = update(x, g, state)
    with pytest.raises(ValueError, match=r"^sparse_decay: rows of x have missed decay; call x, state = catch_up"):
        state.with_options(x, sparse_decay="whole")
    x, state = catch_up(x, state)
    assert state.with_options(x, sparse_decay="whole").t == 1
    assert state.with_options(x, lr=0.1).leaves[0].applied_log_decay.shape == (3,)
    rate = copy_to_device(np.array([0.5]))
    with pytest.raises(ValueError, match=r"^lr: sparse_decay='lazy' takes one learning rate for all .*, a number on"):
        update(x, g, state, lr=rate)
    y = copy_to_device(np.ones((0, 3)))
    update(y, copy_to_device((np.zeros(0, np.int64), np.ones((0, 3)))), init(y, **OPTIONS))
