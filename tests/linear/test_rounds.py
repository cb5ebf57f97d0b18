"""Rounds of learners: their merge is that of `merge`, whatever the order, the tree and the form of the changes."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from linear_problems import data
from numpy.testing import assert_allclose

from adagrad_nb import (
    FTRL,
    L1,
    RDA,
    Adagrad,
    Box,
    Chunk,
    ElasticNet,
    Hinge,
    InverseSqrt,
    OneVsRest,
    Softmax,
    fit_linear,
    merge,
)
from adagrad_nb.linear import rounds
from adagrad_nb.linear.rounds import Partition, Share

X, Y, WEIGHT = data(n=120, seed=3)
X = sp.csr_array(sp.hstack([X, sp.csr_array((120, 40))]))  # features that no row has
RANGES = ((0, 30), (30, 60), (60, 90), (90, 120))
PARTITIONS = [Partition(f"part {k}", X[a:b], Y[a:b], WEIGHT[a:b]) for k, (a, b) in enumerate(RANGES)]


def begin(**options):
    return fit_linear(X[:20], Y[:20], **({"lr": 0.5} | options))


def assert_same_bits(a, b):
    for one, other in zip(a._arrays().values(), b._arrays().values(), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
    assert (a.n_seen, a.parameters.t) == (b.n_seen, b.parameters.t)


def changes_of(start, ranges=((0, 30),) * 4, **options):
    return [
        rounds.learn_share(start, part, Share(k, *ranges[k]), 0, 120, **options) for k, part in enumerate(PARTITIONS)
    ]


OPTIONS = [
    {}, {"penalty": L1(0.02)}, {"penalty": ElasticNet(0.01, 0.1)}, {"rule": RDA()}, {"rule": FTRL(l1=0.1)},
    {"penalty": Box(-0.1, 0.1)}, {"intercept": False}, {"rule": Adagrad(0.1), "loss": "squared"}, {"batch_size": 4},
    {"loss": Softmax()}, {"loss": OneVsRest(Hinge()), "penalty": L1(0.02)}, {"loss": Softmax(), "rule": RDA()},
]  # fmt: skip


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("rule", ["average", "sum", "blend"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_round_is_a_merge_of_models(rule, options):
    start = begin(**options)
    trained = [fit_linear(p.X, p.y, sample_weight=p.weight, model=start) for p in PARTITIONS]
    changes = changes_of(start)
    total = rounds.add_in_tree(changes, start.n_features)
    sample = None
    if rule == "blend":
        s = total.sample
        y = s.y if start.classes is None else start.classes[(s.y > 0).astype(int)]
        sample = Chunk(
            sp.csr_array((s.data, s.indices.view(np.int32), s.indptr), shape=(y.size, X.shape[1])), y, s.weight
        )
    expected = merge(trained, start, rule=rule, sample=sample)
    model = rounds.apply_merged(start, rounds.merge_change(start, total, rule=rule))
    assert_allclose(model.coef, expected.coef, rtol=1e-11, atol=1e-14)
    assert_allclose(model.intercept, expected.intercept, rtol=1e-11)
    assert_allclose(model.state.slots[0], expected.state.slots[0], rtol=1e-12)
    assert (model.n_seen, model.state.t) == (expected.n_seen, expected.state.t)
    assert_allclose(model.progressive_loss, expected.progressive_loss, rtol=1e-12)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("options", [{}, {"penalty": L1(0.02)}, {"rule": RDA()}, {"loss": Softmax()}], ids=str)
def test_the_form_of_the_changes_does_not_matter(options):
    start = begin(**options)
    changes = changes_of(start)
    assert all(change.columns is not None and change.columns.size < 10 for change in changes)
    full = [rounds._with_columns(change, np.arange(49), 49)._replace(columns=None) for change in changes]
    expected = rounds.apply_merged(start, rounds.merge_change(start, rounds.add_changes(changes, 49)))
    for mixed in (full, [changes[0], full[1], *changes[2:]]):
        model = rounds.apply_merged(start, rounds.merge_change(start, rounds.add_changes(mixed, 49)))
        assert_allclose(model.coef, expected.coef, rtol=1e-13)
        assert_allclose(model.state.slots[0], expected.state.slots[0], rtol=1e-13)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("options", [{}, {"penalty": L1(0.02)}], ids=str)
def test_features_that_one_learner_has(options):
    rng = np.random.default_rng(0)
    parts = []
    for k in range(3):
        dense = np.c_[rng.normal(size=(20, 2)), np.zeros((20, 3))]
        dense[::3, 2 + k] = 1.0
        parts.append(Partition(str(k), sp.csr_array(dense), np.where(rng.random(20) < 0.5, -1.0, 1.0)))
    start = fit_linear(sp.csr_array((0, 5)), np.empty(0), classes=[-1, 1], lr=0.5, **options)
    plan = rounds.Round(0, tuple(Share(k, 0, 20) for k in range(3)))
    trained = [fit_linear(part.X, part.y, model=start) for part in parts]
    changes = [rounds.learn_share(start, part, share, 0, 60) for part, share in zip(parts, plan.shares, strict=True)]
    for rule in ("average", "sum"):
        merged = rounds.merge_change(start, rounds.add_in_tree(changes, 5), rule=rule)
        expected = merge(trained, start, rule=rule)
        assert_allclose(rounds.apply_merged(start, merged).coef, expected.coef, rtol=1e-12, atol=1e-15)


@pytest.mark.compiled_only("40,000 rows")
def test_the_loss_of_several_classes_is_that_of_one_learner():
    rng = np.random.default_rng(0)
    rows = sp.random_array((12_000, 200), density=0.05, rng=rng, format="csr")
    y = np.argmax(rows @ rng.normal(size=(200, 6)) + 0.3 * rng.gumbel(size=(12_000, 6)), axis=1)
    train, test = (rows[:10_000], y[:10_000]), (rows[10_000:], y[10_000:])
    one = fit_linear(*train, lr=0.5, classes=range(6))
    for n in (2, 8):
        sizes = [10_000 // n] * n
        parts = [Partition(str(k), train[0][k::n], train[1][k::n]) for k in range(n)]
        model = fit_linear(sp.csr_array((0, 200)), np.empty(0), lr=0.5, classes=range(6))
        for plan in rounds.plan_rounds(sizes, 1, 500, rounds.default_round_growth(n), 2**62):
            model = rounds.train_round(model, parts, plan)
        assert model.n_seen == 10_000
        assert model.mean_loss(*test) < 1.02 * one.mean_loss(*test)


def test_a_tree_of_many_learners():
    start = begin()
    plan = [Share(k % 4, 3 * (k // 4), 3 * (k // 4) + 3) for k in range(30)]
    changes = [rounds.learn_share(start, PARTITIONS[share.partition], share, 0, 90) for share in plan]
    tree, flat = rounds.add_in_tree(changes, 49), rounds.add_changes(changes, 49)
    assert_allclose(tree.growth, flat.growth, rtol=1e-13)
    assert tree.n_updates.tolist() == flat.n_updates.tolist()
    a, b = (rounds.apply_merged(start, rounds.merge_change(start, change)) for change in (tree, flat))
    assert_allclose(a.coef, b.coef, rtol=1e-12)
    assert tree.n_sent > sum(change.n_bytes for change in changes)


@pytest.mark.usefixtures("interpreted")
def test_training_goes_on_as_from_the_merged_model():
    """The lazy updates of a merged model are current: one more pass equals that of a saved and loaded model."""
    for options in ({"penalty": L1(0.02)}, {"lr": InverseSqrt(0.5), "penalty": L1(0.02)}, {"rule": RDA()}):
        model = start = begin(**options)
        for pass_index in range(2):
            plan = rounds.Round(pass_index, tuple(Share(k, 0, 30) for k in range(4)))
            model = rounds.train_round(model, PARTITIONS, plan)
        assert model.n_seen == start.n_seen + 240
        assert_same_bits(pickle.loads(pickle.dumps(model)), model)
        one, other = (fit_linear(X, Y, model=m) for m in (model, pickle.loads(pickle.dumps(model))))
        assert_same_bits(one, other)


def test_every_row_has_one_learner_in_each_pass():
    for sizes, passes, n_serial, growth, batch_size in (
        ([100, 0, 30, 70], 2, 50, 3, 1), ([5], 1, 8, 2, 1), ([400, 40], 1, 30, 1, 8), ([7, 9, 1], 3, 0, 10, 1),
    ):  # fmt: skip
        seen, serial = {}, 0
        for plan in rounds.plan_rounds(sizes, passes, n_serial, growth, 2**62, batch_size):
            assert plan.shares
            assert plan.n_rows == sum(share.end - share.first for share in plan.shares)
            for share in plan.shares:
                assert seen.get((plan.pass_index, share.partition), 0) == share.first < share.end
                seen[plan.pass_index, share.partition] = share.end
            serial += plan.n_rows if len(plan.shares) == 1 else 0
        assert seen == {(p, k): size for p in range(passes) for k, size in enumerate(sizes) if size}
        assert serial >= min(n_serial, sum(sizes))


def test_the_first_rows_are_those_of_all_partitions():
    for serial_rows, first in ((1, [250, 250, 250, 100, 50, 50, 50]), (400, [400, 400, 200])):
        plans = rounds.plan_rounds([10_000, 10_000, 10_000, 100], 1, 1000, 4, 2**62, serial_rows=serial_rows)
        assert [plan.n_rows for plan in plans if len(plan.shares) == 1] == first


def test_rounds_grow():
    plans = list(rounds.plan_rounds([10_000] * 4, 1, 1000, 4, 2**62))
    total = 0
    for size, n_learners in ((plan.n_rows, len(plan.shares)) for plan in plans):
        if n_learners > 1 and total + size < 40_000:
            assert abs(size - (total // 4 + 1)) <= 4  # shares are whole rows
        total += size
    assert total == 40_000
    assert 500 <= max(r.n_rows for r in rounds.plan_rounds([10_000] * 4, 1, 100, 4, 500)) < 504


@pytest.mark.usefixtures("interpreted")
def test_an_error_names_the_partition_and_the_row():
    start = begin()
    dense = X.toarray()[:30]
    dense[7, 2] = np.inf
    order = np.arange(30)[::-1].copy()
    for part, row in (
        (Partition("part-3.svm", sp.csr_array(dense), Y[:30]), 7),
        (Partition("part-3.svm", sp.csr_array(dense[order]), Y[:30][order], order=order), 7),
    ):
        with pytest.raises(ValueError, match=rf"part-3\.svm: X: got inf in row {row}, column 2"):
            rounds.learn_share(start, part, Share(0, 2, 30), 0, 100)
    with pytest.raises(ValueError, match="first: sample_weight: got -1"):
        rounds.learn_share(start, Partition("first", X[:3], Y[:3], np.array([1.0, -1.0, 1.0])), Share(0, 0, 3), 0, 3)
