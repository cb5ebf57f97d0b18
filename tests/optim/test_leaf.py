"""Arrays other than real float32 and float64 vectors: complex, 16-bit, several arrays, row accumulators."""

import copy
import pickle

import numpy as np
import pytest
import reference
import reference_multi_output
import scipy.optimize
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal

from adagrad_nb import (
    EMA,
    FTRL,
    L1,
    RDA,
    Accumulate,
    Adadelta,
    Adagrad,
    AdaptiveClip,
    Bounded,
    ClipGlobalNorm,
    ClipNorm,
    Constant,
    DecoupledDecay,
    Except,
    GroupL2,
    GroupLinf,
    InverseTime,
    L2Decay,
    MasterCopy,
    Maximize,
    MomentumAdagrad,
    Only,
    Polyak,
    Rescale,
    RowAdagrad,
    init,
    load_state,
    minimize_adagrad,
    minimize_stochastic,
    update,
)

COMPLEX = {np.complex64: 1e-6, np.complex128: 1e-14}


def complex_normal(rng, shape, dtype):
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)


# --- complex -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", COMPLEX)
@pytest.mark.parametrize("shape", [(7,), (3, 4), ()])
@pytest.mark.parametrize("modulus", [False, True])
def test_complex(shape, dtype, modulus, rng):
    rule = Adagrad(0.1, inside=modulus, guarded=modulus, modulus=modulus)
    formula = reference.modulus_adagrad if modulus else reference.split_adagrad
    x = complex_normal(rng, shape, dtype)
    expected, G = x.astype(complex), 0
    state = init(x, rule, lr=0.5)
    for _ in range(20):
        g = complex_normal(rng, shape, dtype)
        expected, G = formula(expected, g.astype(complex), G, 0.5, 0.1)
        x, state = update(x, g, state)
    assert x.dtype == dtype
    np.testing.assert_allclose(x, expected, rtol=50 * COMPLEX[dtype])
    slot = state.slots[0][0]
    assert slot.shape == shape
    assert slot.dtype == (np.zeros(0, dtype).real.dtype if modulus else dtype)
    np.testing.assert_allclose(slot, G, rtol=50 * COMPLEX[dtype])


@pytest.mark.parametrize("modulus", [False, True])
def test_complex_updates_in_place_and_with_sparse_gradients_equal_dense_ones(modulus, rng):
    rule = Adagrad(modulus=modulus)
    x, g = complex_normal(rng, (5, 4), complex), complex_normal(rng, (5, 4), complex)
    expected, expected_state = update(x, g, init(x, rule))
    for gradient in ((np.arange(5), g), scipy.sparse.csr_array(g)):
        x_new, state = update(x, gradient, init(x, rule))
        np.testing.assert_array_equal(x_new, expected)
        np.testing.assert_array_equal(state.slots[0][0], expected_state.slots[0][0])
    strided = np.zeros((5, 8), complex)[:, ::2]
    strided[:] = x
    state = init(strided, rule)
    assert update(strided, g, state, out=(strided, state))[0] is strided
    np.testing.assert_array_equal(strided, expected)


def test_complex_norms_and_learning_rates_are_per_entry(rng):
    x, g = np.zeros(3, complex), np.array([3 + 4j, 0, 0])
    x_new, _ = update(x, g, init(x, MomentumAdagrad(0.0, eps=1e12), lr=1e6, transforms=(ClipNorm(1.0),)))
    np.testing.assert_allclose(x_new, -g / 5, rtol=1e-9)
    lr = np.array([1.0, 2.0, 4.0])
    x_new, _ = update(x, np.ones(3) * (1 + 1j), init(x, lr=lr))
    np.testing.assert_allclose(x_new, -lr * (1 + 1j), rtol=1e-9)


def test_real_gradients_of_complex_arrays_and_complex_gradients_of_real_ones(rng):
    x = complex_normal(rng, 3, complex)
    x_new, _ = update(x, np.ones(3), init(x, lr=1.0))
    np.testing.assert_allclose(x_new, x - 1, rtol=1e-9)
    with pytest.raises(TypeError, match=r"g: got dtype complex128; must be real numbers"):
        update(x.real.copy(), x, init(x.real.copy()))


# --- 16 bits -------------------------------------------------------------------------------------------------------


def halves():
    kinds = [np.dtype(np.float16)]
    try:
        import ml_dtypes
    except ImportError:
        return kinds
    return [*kinds, np.dtype(ml_dtypes.bfloat16)]


@pytest.mark.parametrize("half", halves(), ids=str)
@pytest.mark.parametrize("rule", [Adagrad(), Adadelta(), RowAdagrad()], ids=lambda rule: type(rule).__name__)
def test_half_precision_is_single_precision_rounded_once(half, rule, rng):
    x = rng.normal(size=(6, 4)).astype(half)
    state = init(x, rule, lr=0.1)
    assert all(slot.dtype == np.float32 for slot in state.slots[0])
    for step in range(20):
        g = rng.normal(size=x.shape).astype(half)
        gradient = g if step % 2 else (np.arange(6), g)
        single = init(x.astype(np.float32), rule, lr=0.1)
        single.leaves[0].set_slots(tuple(slot.copy() for slot in state.slots[0]))
        expected, single = update(x.astype(np.float32), g.astype(np.float32), single)
        x, state = update(x, gradient, state)
        assert x.dtype == half
        np.testing.assert_array_equal(x, expected.astype(half))
        np.testing.assert_array_equal(state.slots[0][0], single.slots[0][0])


def test_half_precision_accumulators_hold_values_beyond_16_bits():
    x = np.ones(1, np.float16)
    state = init(x, lr=0.0)
    for _ in range(4):
        x, state = update(x, np.array([300.0], np.float16), state)  # 300**2 overflows float16
    assert state.slots[0][0] == 4 * 300.0**2
    zero, _ = update(np.ones(1, np.float16), np.zeros(1, np.float16), init(np.ones(1, np.float16)))
    assert zero == 1  # in float16, eps would round to zero and give 0 / 0


def test_half_precision_gradients_of_single_precision_arrays(rng):
    x, g = rng.normal(size=5).astype(np.float32), rng.normal(size=5).astype(np.float16)
    np.testing.assert_array_equal(update(x, g, init(x))[0], update(x, g.astype(np.float32), init(x))[0])


def test_half_precision_averages_are_float32():
    x = np.ones(2, np.float16)
    x, state = update(x, np.ones(2, np.float16), init(x, average=Polyak()))
    assert state.means[0].dtype == np.float32


@pytest.mark.parametrize("dtype", [*halves(), np.dtype(np.complex64)], ids=str)
def test_saved_states_load(dtype, tmp_path, rng):
    x = rng.normal(size=4).astype(dtype)
    x, state = update(x, np.ones(4, dtype), init(x, average=EMA(0.9)))
    state.save(tmp_path / "state.npz")
    loaded = load_state(tmp_path / "state.npz")
    for one, other in ((state, loaded), (loaded, state)):
        assert one.leaves[0].dtype == other.leaves[0].dtype
    np.testing.assert_array_equal(update(x, x, loaded)[0], update(x, x, state)[0])


# --- rows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("gradient_form", ["dense", "listed", "elements", "strided"])
def test_rowwise(gradient_form, inside, dtype, tolerance, rng):
    x = rng.normal(size=(6, 5)).astype(dtype)
    expected, h = x.astype(float), np.full(6, 0.3)
    state = init(x, RowAdagrad(0.1, inside, initial_accumulator=0.3), lr=0.5)
    if gradient_form == "strided":
        x = np.asfortranarray(x)
    for _ in range(10):
        g = rng.normal(size=x.shape).astype(dtype)
        expected, h = reference.row_adagrad(expected, g.astype(float), h, 0.5, 0.1, inside)
        gradient = {"listed": (np.arange(6), g), "elements": scipy.sparse.coo_array(g)}.get(gradient_form, g)
        x, state = update(x, gradient, state)
    np.testing.assert_allclose(x, expected, rtol=10 * tolerance, atol=tolerance)
    assert state.slots[0][0].shape == (6,)
    np.testing.assert_allclose(state.slots[0][0], h, rtol=10 * tolerance)


def test_rowwise_elements_of_a_row_equal_a_row_with_zeros(rng):
    x, g = rng.normal(size=(6, 5)), scipy.sparse.random_array((6, 5), density=0.3, rng=rng)
    dense, state = update(x, g.toarray(), init(x, RowAdagrad()))
    sparse, other = update(x, g, init(x, RowAdagrad()))
    np.testing.assert_array_equal(dense, sparse)
    np.testing.assert_array_equal(state.slots[0][0], other.slots[0][0])


def test_rowwise_of_vectors_and_of_more_axes(rng):
    x, g = rng.normal(size=5), rng.normal(size=5)
    np.testing.assert_array_equal(update(x, g, init(x, RowAdagrad(0.1)))[0], update(x, g, init(x, Adagrad(0.1)))[0])
    x, g = rng.normal(size=(4, 3, 2)), rng.normal(size=(4, 3, 2))
    flat = update(x.reshape(4, 6), g.reshape(4, 6), init(x.reshape(4, 6), RowAdagrad()))[0]
    np.testing.assert_array_equal(update(x, g, init(x, RowAdagrad()))[0], flat.reshape(4, 3, 2))
    with pytest.raises(ValueError, match=r"x: is a single number; RowAdagrad takes arrays with rows"):
        init(1.0, RowAdagrad())


def test_rowwise_with_penalty_and_transforms(rng):
    x, g = rng.normal(size=(3, 2)), rng.normal(size=(3, 2))
    x_new, _ = update(x, g, init(x, RowAdagrad(0.0), lr=0.5, transforms=(Rescale(2.0),), penalty=L1(0.1)))
    step_size = 0.5 / np.sqrt(((2 * g) ** 2).mean(axis=1))[:, None]
    step = x - step_size * 2 * g
    np.testing.assert_allclose(x_new, np.sign(step) * np.maximum(abs(step) - step_size * 0.1, 0), rtol=1e-14)


# --- sparse gradients: duplicates and decay ------------------------------------------------------------------------


@pytest.mark.parametrize("duplicates", ["merge", "mean", "sequential", "simultaneous"])
@pytest.mark.parametrize("width", [1, 3])
def test_duplicates(duplicates, width, dtype, tolerance, rng):
    shape = (8,) if width == 1 else (8, width)
    x = rng.normal(size=shape).astype(dtype)
    expected, G = x.astype(float), np.zeros(shape)
    state = init(x, Adagrad(0.1), lr=0.5, duplicates=duplicates)
    for _ in range(10):
        where = rng.integers(0, 8, 12)
        values = rng.normal(size=(12, *shape[1:])).astype(dtype)
        expected, G = reference.listed_adagrad(expected, where, values.astype(float), G, 0.5, 0.1, duplicates)
        x, state = update(x, (where, values), state)
    np.testing.assert_allclose(x, expected, rtol=10 * tolerance, atol=tolerance)
    np.testing.assert_allclose(state.slots[0][0], G, rtol=10 * tolerance)


@pytest.mark.parametrize(
    ("duplicates", "G", "step"),
    [("merge", 4, 1), ("sequential", 2, 1.7071), ("simultaneous", 2, 1.4142), ("mean", 1, 1)],
)
def test_duplicates_of_one_gradient(duplicates, G, step):
    x = np.zeros(1)
    x, state = update(x, ([0, 0], [1.0, 1.0]), init(x, Adagrad(0.0), lr=1.0, duplicates=duplicates))
    assert (state.slots[0][0][0], -x[0]) == (G, pytest.approx(step, abs=1e-4))


def test_duplicates_that_a_rule_does_not_support():
    with pytest.raises(ValueError, match=r"duplicates: 'simultaneous' .* Adadelta cannot"):
        init(np.ones(2), Adadelta(), duplicates="simultaneous")
    with pytest.raises(ValueError, match=r"duplicates: got 'sum'; must be one of 'merge', 'mean'"):
        init(np.ones(2), duplicates="sum")
    with pytest.raises(ValueError, match=r"duplicates: 'simultaneous' needs one accumulator"):
        init(np.ones(2) * 1j, Adagrad(modulus=True), duplicates="simultaneous")


DECAYS = [DecoupledDecay(0.1), DecoupledDecay(0.1, times_lr=False), L2Decay(0.1)]


@pytest.mark.parametrize("decay", DECAYS, ids=str)
def test_sparse_decay(decay, rng):
    x = rng.normal(size=(6, 2))
    where, values = np.array([1, 4]), rng.normal(size=(2, 2))
    dense = np.zeros((6, 2))
    dense[where] = values
    options = {"lr": 0.5, "transforms": (decay,)}
    decayed, _ = update(x, dense, init(x, **options))
    x_new = {
        choice: update(x, (where, values), init(x, **options, sparse_decay=choice))[0]
        for choice in ("touched", "whole")
    }
    np.testing.assert_array_equal(x_new["whole"], decayed)
    np.testing.assert_array_equal(x_new["touched"][where], decayed[where])
    unlisted = np.delete(np.arange(6), where)
    np.testing.assert_array_equal(x_new["touched"][unlisted], x[unlisted])
    assert (decayed[unlisted] != x[unlisted]).all()
    with pytest.raises(ValueError, match=r"g: is sparse, and sparse_decay='refuse' rejects weight decay"):
        update(x, (where, values), init(x, **options, sparse_decay="refuse"))
    assert update(x, dense, init(x, **options, sparse_decay="refuse"))[1].t == 1


@pytest.mark.parametrize("lr", [0.5, InverseTime(0.5, 0.3)], ids=str)
@pytest.mark.parametrize("decay", DECAYS[:2], ids=str)
@pytest.mark.parametrize("shape", [(6,), (6, 2)])
def test_lazy_decay_is_exact(lr, decay, shape, dtype, tolerance, rng, tmp_path):
    from adagrad_nb import catch_up

    start = rng.normal(size=shape).astype(dtype)
    options = {"lr": lr, "transforms": (decay,)}
    eager, lazy = (start, init(start, **options)), (start, init(start, **options, sparse_decay="lazy"))
    for step in range(30):
        where = np.unique(rng.integers(0, 6, 2))
        values = rng.normal(size=(where.size, *shape[1:])).astype(dtype)
        dense = np.zeros(shape, dtype)
        dense[where] = values
        eager = update(eager[0], dense, eager[1])
        lazy = update(lazy[0], dense if step % 7 == 3 else (where, values), lazy[1])
        if step == 15:
            lazy[1].save(tmp_path / "state.npz")
            lazy = lazy[0], load_state(tmp_path / "state.npz")
    assert not np.allclose(lazy[0], eager[0], rtol=1e-3)
    x, state = catch_up(*lazy)
    np.testing.assert_allclose(x, eager[0], rtol=10 * tolerance, atol=tolerance)
    np.testing.assert_array_equal(catch_up(x, state)[0], x)


@pytest.mark.parametrize("duplicates", ["merge", "simultaneous"])
def test_lazy_decay_of_rows_with_single_entries(duplicates, rng):
    """A sparse matrix lists some entries of a row; the others have the decay of the update, too."""
    from adagrad_nb import catch_up

    start = rng.normal(size=(4, 3))
    entries = scipy.sparse.coo_matrix(([1.0, 2.0, 3.0], ([1, 1, 3], [2, 2, 0])), (4, 3))
    sums, squares = entries.toarray(), np.zeros((4, 3))
    np.add.at(squares, (entries.row, entries.col), entries.data**2)
    if duplicates == "merge":
        squares = sums**2
    expected = 0.8 * start - 0.5 * sums / np.sqrt(np.where(squares > 0, squares, 1))
    options = {"lr": 0.5, "transforms": (DecoupledDecay(0.4),), "duplicates": duplicates, "sparse_decay": "lazy"}
    x, _ = catch_up(*update(start, entries, init(start, **options)))
    np.testing.assert_allclose(x, expected, rtol=1e-9)


def test_lazy_decay_without_closed_form_is_rejected():
    x = np.ones(3)
    with pytest.raises(ValueError, match=r"sparse_decay: 'lazy' takes one DecoupledDecay"):
        init(x, transforms=(L2Decay(0.1),), sparse_decay="lazy")
    with pytest.raises(ValueError, match=r"duplicates: 'sequential' decays a row more than once"):
        init(x, transforms=(DecoupledDecay(0.1),), sparse_decay="lazy", duplicates="sequential")
    with pytest.raises(ValueError, match=r"sparse_decay: 'lazy' cannot be combined with average"):
        init(x, transforms=(DecoupledDecay(0.1),), sparse_decay="lazy", average=Polyak())
    state = init(x, lr=2.0, transforms=(DecoupledDecay(0.5),), sparse_decay="lazy")
    with pytest.raises(ValueError, match=r"sparse_decay: lr times DecoupledDecay.strength for x: got 1.0"):
        update(x, ([0], [1.0]), state)
    with pytest.raises(ValueError, match=r"sparse_decay: 'lazy' delays the decay of rows of x"):
        minimize_adagrad(lambda x: x @ x, x, jac=lambda x: 2 * x, sparse_decay="lazy")


# --- many arrays ---------------------------------------------------------------------------------------------------

TREES = {
    "clip and average": {"transforms": (ClipGlobalNorm(1.0), L2Decay(0.1)), "average": EMA(0.8, overwrite=3)},
    "schedule": {"lr": InverseTime(0.5, 0.1), "penalty": L1(0.01)},
    "by name": {"transforms": (Only(L2Decay(0.3), ("weight", "z")), Except(DecoupledDecay(0.1), "bias"))},
    "adadelta": {"rule": Adadelta(), "lr": 1.0},
    "norm of each": {"transforms": (ClipNorm(0.5),)},
    "lr array": {"lr": Constant(0.3), "lr_scale": {"weight": 2.0, "bias": np.array([1.0, 3.0]), "deep": [0.5, 1.0]}},
}


@pytest.mark.parametrize("options", TREES.values(), ids=TREES)
def test_small_arrays_updated_in_one_pass_equal_single_updates(options, dtype, rng, monkeypatch):
    def tree():
        def make(*shape):
            return rng.normal(size=shape).astype(dtype)

        return {"weight": make(3, 2), "bias": make(2), "deep": [make(4), make(2, 2, 2)]}

    def leaves(x):
        return [x["weight"], x["bias"], *x["deep"]]

    start, gradients = tree(), [tree() for _ in range(8)]
    results = []
    for in_groups in (True, False):
        if not in_groups:
            monkeypatch.setattr("adagrad_nb.optim.state.group_small_arrays", lambda leaves, options: [])
        x = {"weight": start["weight"].copy(), "bias": start["bias"].copy(), "deep": [a.copy() for a in start["deep"]]}
        state = init(x, **options)
        assert bool(state.array_groups) == (in_groups and options not in (TREES["norm of each"], TREES["lr array"]))
        for step, g in enumerate(gradients):
            if step == 3:  # one of the gradients is sparse
                g = {**g, "bias": ([1], g["bias"][1:])}
            if step % 2:
                x, state = update(x, g, state)
            else:
                update(x, g, state, out=(x, state))
        results.append(
            [*leaves(x), *(s for slots in state.slots for s in slots), *(m for m in state.means if m is not None)]
        )
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=30 * np.finfo(dtype).eps, atol=np.finfo(dtype).eps)


def test_states_of_many_arrays_do_not_share_memory(rng):
    x = {"a": rng.normal(size=3), "b": rng.normal(size=2)}
    first = init(x, average=Polyak())
    x1, second = update(x, x, first)
    third = second.copy()
    before = [slot.copy() for slots in first.slots + second.slots for slot in slots]
    update(x1, x, third, out=(x1, third))
    after = [slot for slots in first.slots + second.slots for slot in slots]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    assert third.array_groups
    assert np.shares_memory(third.slots[0][0], third.array_groups[0].leaf.flat_slots[0])


def test_patterns_select_arrays(rng):
    x = {"enc": {"kernel": np.ones(2), "bias": np.ones(2)}, "dec": [np.ones(2)]}
    zero = {"enc": {"kernel": np.zeros(2), "bias": np.zeros(2)}, "dec": [np.zeros(2)]}
    decay = DecoupledDecay(0.5)
    for item in (Except(decay, "bias"), Only(decay, (r"\['dec'\]", "kernel"))):
        x_new, _ = update(x, zero, init(x, lr=1.0, transforms=(item,)))
        for part in (x_new["enc"]["kernel"], x_new["dec"][0]):
            assert (part == 0.5).all()
        assert (x_new["enc"]["bias"] == 1.0).all()


def test_a_global_norm_of_some_arrays_only():
    x = [np.zeros(1), np.zeros(1), np.zeros(1)]
    state = init(x, MomentumAdagrad(0.0, eps=1e12), lr=1e6, transforms=(Only(ClipGlobalNorm(1.0), ("0", "1")),))
    x_new, _ = update(x, [np.array([3.0]), np.array([4.0]), np.array([12.0])], state)
    np.testing.assert_allclose([part[0] for part in x_new], [-0.6, -0.8, -12.0], rtol=1e-9)


@pytest.mark.parametrize("bad", ["(", ("a", 1), 3, None])
def test_invalid_patterns(bad):
    with pytest.raises((TypeError, ValueError), match=r"^Only.match: got "):
        init(np.ones(1), transforms=(Only(L2Decay(0.1), bad),))


def test_strengths_and_learning_rates_per_coordinate(rng):
    x, g = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    strength = rng.uniform(size=(2, 3))
    with pytest.raises(
        ValueError, match=r"L2Decay.strength: got shape \(2,\); must be a number or have the shape of x"
    ):
        init(x, transforms=(L2Decay(strength[:, 0]),))
    x_new, _ = update(x, g, init(x, lr=0.5, transforms=(L2Decay(strength),)))
    expected, _ = update(x, g + strength * x, init(x, lr=0.5))
    np.testing.assert_allclose(x_new, expected, rtol=1e-14)
    x_new, _ = update(x, g, init(x, lr=0.5, lr_scale=strength))
    np.testing.assert_array_equal(x_new, update(x, g, init(x, lr=0.5 * strength))[0])
    result = minimize_adagrad(lambda x: x @ x, np.ones(2), jac=lambda x: 2 * x, lr_scale=[0.0, 1.0], maxiter=100)
    assert result.x[0] == 1
    assert abs(result.x[1]) < 1e-2


@pytest.mark.parametrize(("bad", "message"), [
    ({"a": -1.0}, r"lr_scale\['a'\]: got -1.0; must be a number in \[0, inf\)"),
    ({"a": np.ones(3)}, r"lr_scale\['a'\]: got shape \(3,\)"),
    ({"b": 1.0}, r"lr_scale: its structure differs from that of x"),
])  # fmt: skip
def test_invalid_lr_scale(bad, message):
    with pytest.raises(ValueError, match=message):
        init({"a": np.ones(2)}, lr_scale=bad)


def test_maximize_negates_the_gradient_only():
    x, g = np.array([2.0]), np.array([1.0])
    maximized, _ = update(x, g, init(x, lr=0.5, transforms=(Maximize(),)))
    assert maximized == pytest.approx(2.5)
    both, _ = update(x, g, init(x, MomentumAdagrad(0.0, eps=1e12), lr=1e6, transforms=(Maximize(), L2Decay(1.0))))
    np.testing.assert_allclose(both, 1.0, rtol=1e-9)  # -1 + 2: the decay still shrinks x


def test_guarded_coordinates_are_unchanged_if_their_square_underflows():
    x, g = np.zeros(1, np.float32), np.array([1e-30], np.float32)
    assert update(x, g, init(x, Adagrad(1e-7, inside=True, guarded=True)))[0] == 0
    assert update(x, g, init(x, Adagrad(1e-7, inside=True)))[0] != 0


# --- group penalties of matrices -------------------------------------------------------------------------------------

GROUP_PROX = {GroupL2: reference_multi_output.group_l2_prox, GroupLinf: reference_multi_output.group_linf_prox}


def by_rows(x, gradients, penalty, lr, rows_of=None):
    """Make Adagrad's steps, and then the proximal step of each row in the metric of its step sizes."""
    x, G = x.copy(), np.zeros_like(x)
    for k, g in enumerate(gradients):
        step_sizes = np.zeros_like(x)
        for i in np.ndindex(x.shape):
            x[i], G[i], step_sizes[i] = reference.adagrad(x[i], g[i], G[i], np.broadcast_to(lr, x.shape)[i])
        for r in range(x.shape[0]) if rows_of is None else rows_of[k]:
            strength = np.broadcast_to(penalty.strength, x.shape[:1])[r]
            x[r] = GROUP_PROX[type(penalty)](x[r].ravel(), step_sizes[r].ravel(), strength).reshape(x.shape[1:])
    return x, G


MATRIX = np.random.default_rng(20110706).normal(size=(5, 3))
GRADIENTS = np.random.default_rng(20110707).normal(size=(4, 5, 3))
STRENGTHS = np.array([0.0, 0.1, 0.5, 1.0, 2.0])


@pytest.mark.parametrize("strength", [0.6, STRENGTHS])
@pytest.mark.parametrize("lr", [0.3, np.linspace(0.1, 0.6, 15).reshape(5, 3)])
@pytest.mark.parametrize("cls", GROUP_PROX)
def test_a_group_penalty_acts_on_the_rows_of_a_matrix(cls, lr, strength, dtype):
    penalty, tolerance = cls(strength), 1e-12 if dtype == np.float64 else 1e-5
    x = MATRIX.astype(dtype)
    state = init(x, lr=lr, penalty=penalty)
    for g in GRADIENTS:
        x, state = update(x, g.astype(dtype), state)
    expected, G = by_rows(MATRIX, GRADIENTS, penalty, lr)
    assert_allclose(x, expected, rtol=tolerance, atol=tolerance)
    assert_allclose(state.slots[0][0], G, rtol=tolerance)
    assert (x == 0).all(axis=1).any() == (expected == 0).all(axis=1).any()
    single, single_state = MATRIX.astype(dtype), init(MATRIX.astype(dtype), lr=lr, penalty=L1(0.6))
    for g in GRADIENTS:
        single, single_state = update(single, g.astype(dtype), single_state)
    assert np.abs(single - x).max() > 1e-2  # the penalty of each entry by itself


@pytest.mark.parametrize("cls", GROUP_PROX)
def test_a_group_penalty_acts_on_the_listed_rows(cls):
    """A sparse gradient changes the rows that it lists, and all of their entries."""
    penalty, rows = cls(0.4), [[0, 3], [4], [], [1, 3]]
    dense = np.zeros_like(GRADIENTS)
    for k, listed in enumerate(rows):
        dense[k, listed] = GRADIENTS[k, listed]
    expected, _ = by_rows(MATRIX, dense, penalty, 0.3, rows)
    by_list = by_matrix = by_duplicates = MATRIX
    states = [init(MATRIX, lr=0.3, penalty=penalty) for _ in range(3)]
    for k, listed in enumerate(rows):
        by_list, states[0] = update(by_list, (np.array(listed, int), GRADIENTS[k, listed]), states[0])
        by_matrix, states[1] = update(by_matrix, scipy.sparse.csr_array(dense[k]), states[1])
        halves = np.concatenate([GRADIENTS[k, listed]] * 2) / 2
        by_duplicates, states[2] = update(by_duplicates, (np.array(2 * listed, int), halves), states[2])
    for x in (by_list, by_matrix, by_duplicates):
        assert_allclose(x, expected, rtol=1e-12)
    # A listed entry moves the whole row.
    one_entry = scipy.sparse.coo_array(([0.5], ([2], [1])), shape=MATRIX.shape)
    x, _ = update(MATRIX, one_entry, init(MATRIX, Adagrad(initial_accumulator=1.0), lr=0.3, penalty=cls(0.5)))
    assert (x[2] != MATRIX[2]).any()
    assert_array_equal(np.delete(x, 2, 0), np.delete(MATRIX, 2, 0))


def test_a_group_penalty_of_squares_that_are_summed_before_the_step():
    """Two gradients of a row make one step and one proximal step."""
    state = init(MATRIX, lr=0.3, penalty=GroupL2(0.4), duplicates="simultaneous")
    x, state = update(MATRIX, ([1, 1], GRADIENTS[:2, 1]), state)
    G = (GRADIENTS[:2, 1] ** 2).sum(axis=0)
    step_sizes = 0.3 / np.sqrt(G)
    expected = reference_multi_output.group_l2_prox(
        MATRIX[1] - step_sizes * GRADIENTS[:2, 1].sum(axis=0), step_sizes, 0.4
    )
    assert_allclose(x[1], expected, rtol=1e-9)


def test_a_group_penalty_with_other_rules():
    """The metric is that of the rule: one step size for each row, or that of all updates so far."""
    x, state = MATRIX, init(MATRIX, RowAdagrad(eps=0.0), lr=0.3, penalty=GroupL2(0.4))
    x, state = update(x, GRADIENTS[0], state)
    for r in range(5):
        w = 0.3 / np.sqrt((GRADIENTS[0, r] ** 2).mean())
        z = MATRIX[r] - w * GRADIENTS[0, r]
        assert_allclose(x[r], max(1 - w * 0.4 / np.linalg.norm(z), 0) * z, rtol=1e-9, atol=1e-12)
    x, state = np.zeros_like(MATRIX), init(np.zeros_like(MATRIX), RDA(), lr=0.3, penalty=GroupL2(0.2))
    for g in GRADIENTS:
        x, state = update(x, g, state)
    G, z = (GRADIENTS**2).sum(axis=0), GRADIENTS.sum(axis=0)
    for r in range(5):
        expected = reference_multi_output.group_l2_prox(-0.3 * z[r] / np.sqrt(G[r]), 4 * 0.3 / np.sqrt(G[r]), 0.2)
        assert_allclose(x[r], expected, rtol=1e-9, atol=1e-12)
    # FTRL's own L1 penalty and the group penalty: the argmin of both, with the linear term z, and z from the iterates.
    x, state = np.zeros_like(MATRIX), init(np.zeros_like(MATRIX), FTRL(l1=0.5), lr=0.3, penalty=GroupLinf(0.2))
    z, n = np.zeros_like(MATRIX), np.zeros_like(MATRIX)
    for t, g in enumerate(GRADIENTS, 1):
        z += 0.3 * g - (np.sqrt(n + g * g) - np.sqrt(n)) * x
        n += g * g
        x, state = update(x, g, state)
        h = 1 + np.sqrt(n)
        for r in range(5):
            minimum = _minimum_with_largest_weight(z[r], h[r], 0.3 * 0.5, t * 0.3 * 0.2)
            value = z[r] @ x[r] + h[r] @ x[r] ** 2 / 2 + 0.15 * np.abs(x[r]).sum() + t * 0.06 * np.abs(x[r]).max()
            assert abs(value - minimum) <= 1e-7


def _minimum_with_largest_weight(u, h, l1, linf):
    """Return the minimum of <u, x> + sum h x² / 2 + l1 |x|_1 + linf |x|_inf, as a quadratic programme of SciPy."""
    n = u.size
    a, b = np.eye(n), np.ones((n, 1))
    # Variables: the positive and the negative parts of x, and the largest magnitude.
    bound = {"type": "ineq", "fun": lambda v: v[-1] - v[:n] - v[n:-1], "jac": lambda v: np.hstack([-a, -a, b])}

    def objective(v):
        x = v[:n] - v[n:-1]
        return u @ x + h @ x**2 / 2 + l1 * v[:-1].sum() + linf * v[-1]

    start = np.full(2 * n + 1, 0.1)
    bounds = [(0, None)] * (2 * n + 1)
    options = {"ftol": 1e-14, "maxiter": 1000}
    return scipy.optimize.minimize(
        objective, start, method="SLSQP", bounds=bounds, constraints=bound, options=options
    ).fun


def test_a_group_penalty_of_several_arrays_and_in_place(tmp_path):
    """Small arrays are not updated as one vector; states resume."""
    x = {"a": MATRIX.copy(), "b": MATRIX[:3].copy(), "c": MATRIX.reshape(5, 3, 1).copy()}
    penalty = GroupL2(0.6)
    state = init(x, lr=0.3, penalty=penalty)
    for g in GRADIENTS[:2]:
        update(x, {"a": g, "b": g[:3], "c": g[:, :, None]}, state, out=(x, state))
    state.save(tmp_path / "state.npz")
    state = load_state(tmp_path / "state.npz")
    for g in GRADIENTS[2:]:
        update(x, {"a": g, "b": g[:3], "c": g[:, :, None]}, state, out=(x, state))
    expected, _ = by_rows(MATRIX, GRADIENTS, penalty, 0.3)
    assert_allclose(x["a"], expected, rtol=1e-12)
    assert_allclose(x["b"], expected[:3], rtol=1e-12)
    assert_allclose(x["c"][:, :, 0], expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: init(np.ones(3), penalty=GroupL2(0.1)),
            r"GroupL2 penalises the rows of a matrix, but x has shape \(3,\)",
        ),
        (lambda: init({"w": MATRIX, "b": np.ones(3)}, penalty=GroupLinf(0.1)), r"but x\['b'\] has shape \(3,\)"),
        (lambda: init(MATRIX + 0j, penalty=GroupL2(0.1)), "does not support complex arrays"),
        (lambda: init(MATRIX, penalty=GroupL2(np.ones(15))), r"must be a number or have shape \(5,\)"),
        (lambda: init(MATRIX, penalty=GroupL2(0.1), duplicates="sequential"), "use 'merge'"),
        (lambda: init(MATRIX, penalty=Bounded(GroupL2(0.1), -1.0, 1.0)), "a group penalty; use L1"),
        (lambda: minimize_adagrad(lambda x: x @ x, np.ones(3), penalty=GroupL2(0.1)), r"but x0 has shape \(3,\)"),
        (
            lambda: minimize_adagrad(lambda x: x @ x, np.ones(3), penalty=GroupL2(0.1), bounds=[(0, 1)] * 3),
            r"but x0 has shape \(3,\)",
        ),
        (
            lambda: minimize_stochastic(lambda x, i: x @ x, np.ones(3), 4, penalty=GroupL2(0.1)),
            r"but x0 has shape \(3,\)",
        ),
    ],
)
def test_a_group_penalty_without_rows_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- float32 copies of 16-bit arrays -----------------------------------------------------------------------------


@pytest.mark.parametrize("options", [
    {}, {"average": Polyak()}, {"average": EMA(0.5, 3)}, {"transforms": (ClipNorm(0.5), L2Decay(0.1))},
    {"transforms": (Accumulate(2),)}, {"transforms": (AdaptiveClip(0.1),)}, {"rule": RowAdagrad()},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("sparse", [False, True])
def test_a_master_copy_is_the_run_in_float32(options, sparse, rng, tmp_path):
    """Updates of x in float16 are those of its float32 copy, rounded; files, pickles and copies have it too."""
    x = rng.normal(size=(4, 3)).astype(np.float16)
    twin = x.astype(np.float32)
    transforms = (*options.get("transforms", ()), MasterCopy())
    state = init(x, **(options | {"transforms": transforms, "lr": 1e-3}))
    twin_state = init(twin, **(options | {"lr": 1e-3}))
    for step in range(8):
        g = rng.normal(size=(2, 3)).astype(np.float32) if sparse else rng.normal(size=(4, 3)).astype(np.float32)
        g = ([0, 2], g) if sparse else g
        if step % 2:
            x, state = update(x, g, state)
        else:
            update(x, g, state, out=(x, state))
        twin, twin_state = update(twin, g, twin_state)
        np.testing.assert_array_equal(x, twin.astype(np.float16))
        if step == 3:
            state.save(tmp_path / "state.npz")
            state = load_state(tmp_path / "state.npz")
        if step == 5:
            state = pickle.loads(pickle.dumps(copy.deepcopy(state)))
    if "average" in options:
        np.testing.assert_array_equal(state.means[0], twin_state.means[0])


def test_a_master_copy_of_other_arrays_has_no_effect(rng):
    for dtype in (np.float32, np.float64, np.complex64):
        x, g = rng.normal(size=5).astype(dtype), rng.normal(size=5).astype(dtype)
        state = init(x, transforms=(MasterCopy(),))
        np.testing.assert_array_equal(update(x, g, state)[0], update(x, g, init(x))[0])
        assert state.leaves[0].master is None
    x = {"w": np.ones(3, np.float16), "b": np.ones(3, np.float16)}
    state = init(x, transforms=(Only(MasterCopy(), "w"),))
    _, state = update(x, {"w": np.ones(3), "b": np.ones(3)}, state)
    assert [leaf.master is None for leaf in state.leaves] == [False, True]
    with pytest.raises(ValueError, match=r"^sparse_decay: 'lazy' cannot be combined with MasterCopy"):
        init(np.ones((2, 2), np.float16), transforms=(MasterCopy(), DecoupledDecay(0.1)), sparse_decay="lazy")
