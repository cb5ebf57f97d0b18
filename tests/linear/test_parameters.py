"""The interleaved memory layout of the values of a feature, which does not change results."""

import numpy as np
import pytest
import scipy.sparse
from linear_problems import fit_plain

from adagrad_nb import FTRL, L1, RDA, Adadelta, fit_linear, init, update
from adagrad_nb.compiler.simd import CACHE_LINE, aligned_zeros
from adagrad_nb.linear.kernels.rows import PREFETCH_FROM
from adagrad_nb.linear.parameters import interleave


@pytest.mark.parametrize("n", [0, 5, PREFETCH_FROM])
@pytest.mark.parametrize("dtypes", [("f4",), ("f4", "f4", "i8"), ("f8", "f8", "i8"), ("f8", "f8", "f8")])
def test_copies_lie_next_to_each_other(n, dtypes):
    arrays = [np.arange(min(n, 3), dtype=dtype) + k for k, dtype in enumerate(dtypes)]
    copies = interleave(arrays, n)
    for array, copy in zip(arrays, copies, strict=True):
        assert copy.shape == (n,)
        assert copy.dtype == array.dtype
        assert copy.flags.aligned
        np.testing.assert_array_equal(copy[: array.size], array)
        assert not copy[array.size :].any()
        assert not np.shares_memory(copy, array)
    if n:
        first = min(copy.ctypes.data for copy in copies)
        last = max(copy.ctypes.data + copy.itemsize for copy in copies)
        assert {copy.strides for copy in copies} == {copies[0].strides}
        assert last - first <= copies[0].strides[0]
        assert first % CACHE_LINE == 0
    if n == PREFETCH_FROM:
        assert CACHE_LINE % copies[0].strides[0] == 0


def test_broadcast_values_are_written_unless_they_are_zero():
    zeros, ones = (np.broadcast_to(np.float32(value), 4) for value in (0, 1))
    np.testing.assert_array_equal(interleave((zeros, ones), 6), [[0] * 6, [1, 1, 1, 1, 0, 0]])


def test_tables_begin_where_a_cache_line_does():
    for shape in (3,), (5, 2, 4):
        table = aligned_zeros(shape, np.float32)
        assert table.shape == shape
        assert table.ctypes.data % CACHE_LINE == 0
        assert not table.any()


@pytest.mark.compiled_only("loops over so many weights take minutes in pure Python")
@pytest.mark.parametrize(
    "options",
    [{}, {"penalty": L1(1e-3)}, {"rule": FTRL(l1=1e-3)}, {"normalized": True, "invariant": True}, {"threads": 2}],
    ids=["plain", "l1", "ftrl", "scaled", "threads"],
)
def test_many_features_learn_as_few_do(options, rng):
    few = rng.normal(size=(60, 4))
    y = few @ [1.0, -2.0, 0.5, 0.0] > 0
    model = fit_plain(few, y, passes=2, **options)
    columns = np.array([7, PREFETCH_FROM // 2, PREFETCH_FROM - 1, PREFETCH_FROM + 4])
    many = scipy.sparse.csr_array((few.ravel(), np.tile(columns, 60), np.arange(61) * 4), shape=(60, PREFETCH_FROM + 5))
    other = fit_plain(many, y, passes=2, **options)
    np.testing.assert_array_equal(other.coef[columns], model.coef)
    assert np.count_nonzero(other.coef) == np.count_nonzero(model.coef)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_state_of_a_model_is_a_copy_to_step_with(classes, rng):
    X, y = rng.normal(size=(50, 4)), np.arange(50) % classes
    model = fit_linear(X, y, lr=0.5)
    state = model.state
    x = np.zeros((4, 3) if classes == 3 else 4)
    plain = init(x, lr=0.5)
    plain.leaves[0].slots[0][:] = state.slots[0][0]
    g = rng.normal(size=x.shape)
    expected, after = update(x, g, plain)
    for _ in range(2):
        got, new = update(x, g, state)
        np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(new.slots[0][0], after.slots[0][0])
    update(x, g, state, out=(x, state))
    np.testing.assert_array_equal(x, expected)
    np.testing.assert_array_equal(state.slots[0][0], after.slots[0][0])
    assert (model.state.slots[0][0] != state.slots[0][0]).any()
    assert model.state.t == 50


def test_the_state_of_several_rates_requires_one(rng):
    state = fit_linear(rng.normal(size=(50, 4)), np.arange(50) % 2, lr="auto").state
    x = np.zeros(state.slots[0][0].shape)
    with pytest.raises(TypeError, match=r"^state: its model has several learning rates"):
        update(x, x + 1, state)
    assert (update(x, x + 1, state, lr=0.1)[0] < 0).all()


def test_a_rule_with_other_accumulators_is_refused(rng):
    X, y = rng.normal(size=(20, 3)), np.arange(20) % 2
    with pytest.raises(ValueError, match=r"^rule: Adadelta has 2 accumulators, but the model has 1; train a new model"):
        fit_linear(X, y, rule=Adadelta(), model=fit_linear(X, y, lr=0.5))


@pytest.mark.parametrize("lr", ["auto", 0.5])
def test_a_rule_takes_over_only_accumulators_in_its_domain(lr):
    """Sums of gradients may be negative; Adadelta takes roots."""
    X, y = np.array([[1.0, -1.0], [-1.0, 2.0]]), [0, 1]
    model = fit_linear(X, y, rule=FTRL(), lr=lr)
    with pytest.raises(
        ValueError, match=r"^rule: Adadelta has accumulators in \[0, inf\) and \[0, inf\), but those of"
    ):
        fit_linear(X, y, model=model, rule=Adadelta())
    assert fit_linear(X, y, model=model, rule=RDA()).n_seen == 4
