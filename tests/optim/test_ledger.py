"""The ledger of regret: its sums against those written out, gaps, certificates, refusals and files."""

import math
import pickle
from typing import NamedTuple

import numpy as np
import pytest
import scipy.sparse

from adagrad_nb import (
    EMA,
    FTRL,
    L1,
    L2,
    MCP,
    RDA,
    SGD,
    Accumulate,
    Adagrad,
    AdagradNorm,
    Box,
    ClipNorm,
    DoG,
    ElasticNet,
    FullMatrixAdagrad,
    InverseSqrt,
    L1Ball,
    L2Ball,
    PowerAdagrad,
    RowAdagrad,
    Simplex,
    init,
    load_state,
    minimize_adadelta,
    minimize_adagrad,
    minimize_stochastic,
    update,
)
from adagrad_nb.testing import check_regret

N, D, LR = 40, 4, 0.3

PENALTIES = {
    "none": (None, lambda x: 0 * x),
    "l1": (L1(0.1), lambda x: 0.1 * np.abs(x)),
    "elastic": (ElasticNet(0.02, 0.1), lambda x: 0.02 * np.abs(x) + 0.05 * x * x),
    "box": (Box(-0.5, 0.4), lambda x: 0 * x),
}


class Run:
    """A run with a ledger, and all that it played."""

    def __init__(self, rng, rule, penalty="none", density=1.0, start=0.0, n=N):
        self.phi = PENALTIES[penalty][1]
        x = np.full(D, start)
        state = init(x, rule, lr=LR, penalty=PENALTIES[penalty][0], ledger=True)
        self.X, self.G, self.listed = [], [], []
        for _ in range(n):
            g = rng.normal(size=D) + 0.3
            listed = rng.random(D) < density
            self.X.append(x)
            self.G.append(g * listed)
            self.listed.append(listed)
            gradient = g if density == 1 else (np.flatnonzero(listed), g[listed])
            x, state = update(x, gradient, state)
        self.X, self.G, self.listed = map(np.array, (self.X, self.G, self.listed))
        self.state, self.ledger = state, state.ledger

    def regret(self, u):
        """Return the linearised composite regret, round by round."""
        return sum(
            g @ (x - u) + (self.phi(x) - self.phi(u))[listed].sum()
            for x, g, listed in zip(self.X, self.G, self.listed, strict=True)
        )


@pytest.mark.parametrize(
    ("rule", "penalty", "density"),
    [(Adagrad(eps=0.5), "none", 1.0), (Adagrad(), "l1", 0.5), (Adagrad(), "elastic", 1.0), (RDA(eps=3.0), "l1", 1.0)],
    ids=str,
)
def test_sums_and_certificate_are_those_written_out(rule, penalty, density, rng):
    run = Run(rng, rule, penalty, density)
    ledger, X, G, listed = run.ledger, run.X, run.G, run.listed
    h = rule.eps + np.sqrt(np.cumsum(G**2, axis=0))
    h_before = np.vstack([np.full(D, rule.eps), h[:-1]])
    is_dual = isinstance(rule, RDA)
    far = np.array([[x[i] for x, used in zip(X, listed, strict=True) if used[i]] for i in range(D)], dtype=object)
    expected = {
        "n_rounds": N, "total_weight": N, "linear_loss": np.sum(G * X),
        "penalty_loss": np.sum(run.phi(X) * listed), "gradient_sum": G.sum(0), "squares": (G**2).sum(0),
        "lower": [min(0, *values) for values in far], "upper": [max(0, *values) for values in far],
        "energy": np.sum(G**2 / (h_before if is_dual else h), axis=0), "preconditioner": h[-1],
        "first_preconditioner": rule.eps, "n_penalties": listed.sum(0), "start": np.zeros(D),
    }  # fmt: skip
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(ledger, name), value, rtol=1e-12, atol=1e-14, err_msg=name)
    for u in rng.normal(size=(20, D)):
        assert ledger.regret(u) == pytest.approx(run.regret(u), rel=1e-11)
        if is_dual:
            first = h[-1] @ u**2 / (2 * LR)
            second = LR / 2 * np.sum(G**2 / h_before)
        else:
            farthest = np.array([max((u[i] - x) ** 2 for x in (0.0, *values)) for i, values in enumerate(far)])
            first = (rule.eps * (u @ u) + (h[-1] - rule.eps) @ farthest) / (2 * LR)
            second = LR / 2 * np.sum(G**2 / h)
        assert ledger.certificate(u) == pytest.approx(first + second, rel=1e-12)
        assert run.regret(u) <= ledger.certificate(u)
    assert "40 rounds" in repr(ledger)


def test_the_start_counts():
    run = Run(np.random.default_rng(0), Adagrad(), "l1", start=2.0)
    assert run.ledger.certificate(np.zeros(D)) >= run.regret(np.zeros(D))
    assert run.ledger.certificate(np.full(D, 1.0)) >= 0.8  # the penalty at the start
    with pytest.raises(ValueError, match="without eps, the penalty does not act before the first gradient"):
        Run(np.random.default_rng(0), Adagrad(eps=0.0), "l1", start=2.0, n=1).ledger.certificate(np.zeros(D))
    with pytest.raises(ValueError, match="RDA must start at 0"):
        Run(np.random.default_rng(0), RDA(eps=1.0), start=2.0, n=1).ledger.certificate(np.zeros(D))


def test_the_gap_is_the_largest_regret_in_the_domain(rng):
    ledger = Run(rng, Adagrad()).ledger
    points = rng.normal(size=(4000, D))
    for domain, us in (
        (L1Ball(0.7), 0.7 * np.vstack([np.eye(D), -np.eye(D)])),
        (L2Ball(0.7), 0.7 * points / np.linalg.norm(points, axis=1, keepdims=True)),
        (Simplex(0.7), 0.7 * np.eye(D)),
        (Box(-0.2, 0.7), np.where(points < 0, -0.2, 0.7)),
    ):
        largest = max(ledger.regret(u) for u in us)
        assert ledger.gap(domain) >= largest - 1e-12
        assert ledger.gap(domain) == pytest.approx(largest, rel=0.02)
    with pytest.raises(ValueError, match=r"gap: is infinite over all points, because the gradients of coordinate 0"):
        ledger.gap()
    with pytest.raises(TypeError, match="domain: got 3.0; must be a record such as L2Ball"):
        ledger.gap(3.0)


def test_gaps_with_penalties(rng):
    run = Run(rng, Adagrad(), "elastic")
    z, n = run.G.sum(0), N
    best = -np.sign(z) * np.maximum(np.abs(z) - 0.02 * n, 0) / (0.1 * n)  # minimises z u + n phi(u)
    assert run.ledger.gap() == pytest.approx(run.ledger.regret(best), rel=1e-12)
    assert run.ledger.gap(Box(-0.1, 0.1)) == pytest.approx(run.ledger.regret(np.clip(best, -0.1, 0.1)), rel=1e-12)
    with pytest.raises(ValueError, match=r"domain: got L2Ball\(radius=1.0\) with the penalty ElasticNet"):
        run.ledger.gap(L2Ball(1.0))
    run = Run(rng, Adagrad(), "box")
    assert run.ledger.gap() == pytest.approx(run.ledger.regret(np.where(run.G.sum(0) > 0, -0.5, 0.4)), rel=1e-12)
    assert run.ledger.regret(np.ones(D)) == -math.inf  # the penalty is infinite outside the box


def test_regret_of_plain_adagrad_is_an_identity(rng):
    """sum <g, x - u> = sum h ((x - u)² - (x' - u)²) / (2 lr) + lr/2 sum g²/h, without a penalty and a domain."""
    run = Run(rng, Adagrad(eps=0.0))
    h = np.sqrt(np.cumsum(run.G**2, axis=0))
    after = np.vstack([run.X[1:], run.X[-1] - LR * run.G[-1] / h[-1]])
    for u in rng.normal(size=(10, D)):
        distances = np.sum(h * ((run.X - u) ** 2 - (after - u) ** 2)) / (2 * LR)
        total = distances + LR / 2 * run.ledger.energy.sum()
        assert run.ledger.regret(u) == pytest.approx(total, rel=1e-13, abs=1e-12)


@pytest.mark.parametrize(("n", "ratio"), [(100, 9.0), (1000, 28.0)])
def test_dual_averaging_without_eps_exceeds_theorem_5(n, ratio):
    """After n gradients of 1, x is -lr sqrt(n); one large gradient then costs sqrt(n) times lr max |g|."""
    g = np.append(np.ones(n), -1e4 * n)
    x = np.zeros(1)
    state = init(x, RDA(), lr=1.0, ledger=True)
    for gt in g:
        update(x, np.array([gt]), state, out=(x, state))
    theorem = np.sqrt(np.sum(g**2))  # lr sum ||g_1:T||, at u = 0
    assert state.ledger.regret(np.zeros(1)) > ratio * theorem
    with pytest.raises(ValueError, match=rf"use RDA\(eps=…\) with eps at least .* RDA\(eps=1e\+0{len(str(n)) + 3}\)"):
        state.ledger.certificate(np.zeros(1))


@pytest.mark.parametrize(
    "rule", [Adagrad(eps=1e-8), Adagrad(eps=0.0), RDA(eps=3.0)], ids=["descent", "without eps", "dual averaging"]
)
@pytest.mark.parametrize("domain", [L1Ball(0.7), L2Ball(0.7), Simplex(0.7)], ids=lambda d: type(d).__name__)
def test_certificates_in_a_domain(rule, domain, rng, tmp_path):
    x = np.full(D, 0.7 / D) if isinstance(domain, Simplex) else np.zeros(D)
    state, gradients, loss = init(x, rule, lr=LR, domain=domain, ledger=True), [], 0.0
    for t in range(N):
        g = rng.normal(size=D) + 0.3
        gradients.append(g * (np.arange(D) % 3 > 0) if t % 2 else g)
        loss += x @ gradients[-1]
        x, state = update(x, (np.flatnonzero(gradients[-1]), g[gradients[-1] != 0]) if t % 2 else g, state)
    for u in (*np.eye(D) * 0.7, np.full(D, 0.7 / D)):
        assert state.ledger.regret(u) == pytest.approx(loss - u @ np.sum(gradients, axis=0), rel=1e-12)
        assert state.ledger.regret(u) <= state.ledger.certificate(u)
    assert state.ledger.gap() == state.ledger.gap(domain)
    state.save(tmp_path / "state.npz")
    assert load_state(tmp_path / "state.npz").ledger.gap() == state.ledger.gap()
    with pytest.raises(ValueError, match="u: is not in the domain"):
        state.ledger.certificate(np.ones(D))
    with pytest.raises(ValueError, match="domain: the state has a ledger for"):
        state.with_options(x, domain=None)


def test_domains_and_rules_without_a_certificate():
    with pytest.raises(ValueError, match="RDA must start at the point of L1Ball"):
        init(np.full(D, 0.5), RDA(eps=1.0), domain=L1Ball(), ledger=True).ledger.certificate(np.zeros(D))
    for rule in (AdagradNorm(), DoG()):
        _, state = update(np.ones(D), np.ones(D), init(np.ones(D), rule, ledger=True))
        assert state.ledger.regret(np.zeros(D)) == D
        with pytest.raises(ValueError, match=f"theorem 5 does not cover {type(rule).__name__}"):
            state.ledger.certificate(np.zeros(D))
    assert init(np.ones(D), SGD(), ledger=True).ledger.obstacle == ""
    with pytest.raises(ValueError, match="ledger: does not support the matrices of FullMatrixAdagrad; use Adagrad"):
        init(np.ones(D), FullMatrixAdagrad(), ledger=True)


def test_copies_pickles_and_files(tmp_path, rng):
    run = Run(rng, Adagrad(), "l1")
    state, x, g = run.state, run.X[-1], rng.normal(size=D)
    state.save(tmp_path / "state.npz")
    for again in (load_state(tmp_path / "state.npz"), pickle.loads(pickle.dumps(state)), state.copy()):
        assert again.ledger.certificate(x) == state.ledger.certificate(x)
        new_x, again = update(x, g, again)
        other_x, other = x.copy(), state.copy()
        update(other_x, g, other, out=(other_x, other))
        np.testing.assert_array_equal(new_x, other_x)
        for one, two in zip(again.ledger.arrays, other.ledger.arrays, strict=True):
            np.testing.assert_array_equal(one, two)
        assert again.ledger.n_rounds == N + 1
    assert state.ledger.n_rounds == N
    assert init(x).ledger is None


def test_damaged_files(tmp_path, rng):
    state = Run(rng, Adagrad()).state
    for name, value, message in (
        ("energy", -1.0, "ledger_energy: has the entry -1.0"), ("squares", math.nan, "ledger_squares"),
    ):  # fmt: skip
        getattr(state.ledger.arrays, name)[1] = value
        state.save(tmp_path / "state.npz")
        with pytest.raises(ValueError, match=message):
            load_state(tmp_path / "state.npz")
        getattr(state.ledger.arrays, name)[1] = 1.0


def test_an_invalid_gradient_records_nothing(rng):
    x = np.zeros(3)
    state = init(x, ledger=True)
    with pytest.raises(ValueError, match="g: got shape"):
        update(x, np.ones(4), state, out=(x, state))
    assert state.ledger.n_rounds == 0


def test_rows_of_a_matrix_and_a_number(rng):
    x = np.zeros((3, 2))
    state = init(x, ledger=True)
    x, state = update(x, ([1], [[1.0, 2.0]]), state)
    x, state = update(x, scipy.sparse.csr_array(np.array([[0, 0], [0, 3.0], [0, 0]])), state)
    np.testing.assert_array_equal(state.ledger.gradient_sum, [[0, 0], [1, 5], [0, 0]])
    assert state.ledger.regret(np.ones((3, 2))) == pytest.approx(-0.5 * 3 - 6)
    x, state = update(np.float64(1.0), np.float64(2.0), init(np.float64(1.0), ledger=True))
    assert state.ledger.linear_loss == 2.0
    assert state.ledger.lower.shape == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": FTRL()}, "theorem 5 does not cover FTRL"),
        ({"lr": InverseSqrt(0.5)}, "lr: the learning rate changes; use a fixed one"),
        ({"average": EMA(0.9, overwrite=2)}, "overwrites iterates"),
        ({"rule": PowerAdagrad(discount=0.5)}, "the preconditioner of PowerAdagrad.* decreased"),
    ],
    ids=str,
)
def test_certificates_that_do_not_exist(options, message, rng):
    x = np.zeros(1)
    state = init(x, **options, ledger=True)
    for g in (4.0, 1.0):
        x, state = update(x, np.array([g]), state)
    with pytest.raises(ValueError, match=f"certificate: there is none.*{message}"):
        state.ledger.certificate(np.zeros(1))
    assert state.ledger.gap(L2Ball(1.0)) >= state.ledger.regret(np.ones(1))


def test_options_that_change_during_the_run(rng):
    x, g = np.zeros(2), np.ones(2)
    state = init(x, lr=0.5, penalty=L2(0.1), ledger=True)
    assert state.with_options(x, lr=0.5).ledger.certificate(x) == 0
    with pytest.raises(ValueError, match="lr: was changed to 0.25"):
        state.with_options(x, lr=0.25).ledger.certificate(x)
    with pytest.raises(ValueError, match="penalty: the state has a ledger for"):
        state.with_options(x, penalty=L2(0.2))
    update(x, g, state, out=(x, state), lr=0.5)
    state.ledger.certificate(x)
    update(x, g, state, out=(x, state), lr=0.4)
    with pytest.raises(ValueError, match="the learning rate of an update differed"):
        state.ledger.certificate(x)
    with pytest.raises(ValueError, match=r"u: got shape \(3,\)"):
        state.ledger.regret(np.zeros(3))


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        ({"a": np.zeros(2), "b": np.zeros(2)}, {}, "ledger: got 2 arrays; must be one array on the host"),
        (np.zeros(2, np.complex128), {}, "ledger: x is complex128; must be float32 or float64"),
        (np.zeros(2), {"transforms": (ClipNorm(1.0),)}, "ledger: does not support transforms"),
        (np.zeros(2), {"transforms": (Accumulate(2),)}, "ledger: does not support transforms"),
        (np.zeros(2), {"duplicates": "sequential"}, "does not support duplicates='sequential'"),
        (np.zeros((2, 2)), {"rule": RowAdagrad()}, "RowAdagrad shares accumulators"),
        (np.zeros(2), {"penalty": MCP(1.0, 3.0)}, "penalty: got MCP.*must be None or one of"),
        (np.zeros(2), {"ledger": 1}, "ledger: got 1"),
    ],
    ids=str,
)
def test_refusals(x, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        init(x, **{"ledger": True} | options)


def test_minimisers_continue_a_ledger():
    """The gradient is finite at 0 and infinite beyond 1; the step to there is undone, and so is its round."""

    def fun(x):
        return float(-x[0]) if x[0] < 1 else math.nan

    x0 = np.zeros(1)
    res = minimize_adagrad(fun, x0, jac=lambda x: -np.ones(1), state=init(x0, lr=0.6, ledger=True), maxiter=5)
    assert res.status == 2
    assert res.state.ledger.n_rounds == res.nit == 1
    assert res.state.ledger.linear_loss == 0


def test_minimisers_keep_a_ledger():
    def fun(x):
        return float(x @ x)

    x0, options = np.array([3.0, -2.0]), {"jac": lambda x: 2 * x, "maxiter": 5}
    res = minimize_adagrad(fun, x0, **options, ledger=True, penalty=L1(0.1))
    assert res.state.ledger.n_rounds == res.nit == 5
    assert fun(x0) + 0.5 <= res.state.ledger.regret(np.zeros(2)) <= res.state.ledger.certificate(np.zeros(2))
    again = minimize_adagrad(fun, res.x, **options, state=res.state)
    assert again.state.ledger.n_rounds == 10
    assert again.state.ledger.regret(x0) == minimize_adagrad(
        fun, x0, jac=options["jac"], maxiter=10, ledger=True, penalty=L1(0.1)
    ).state.ledger.regret(x0)
    without = minimize_adagrad(fun, res.x, **options, state=res.state, ledger=False)
    assert without.state.ledger is None
    assert res.state.ledger.n_rounds == 5
    np.testing.assert_array_equal(without.x, again.x)
    with pytest.raises(ValueError, match="ledger: got True, but the state has none of its first iterations"):
        minimize_adagrad(fun, without.x, **options, state=without.state, ledger=True)
    for rule in ({}, {"rule": Adagrad()}):
        minimiser = minimize_adagrad if rule else minimize_adadelta
        assert minimiser(fun, x0, **options, **rule, ledger=True).state.ledger.n_rounds == 5
    res = minimize_stochastic(lambda x, batch: fun(x), x0, 4, jac=lambda x, batch: 2 * x, epochs=2, ledger=True)
    assert res.state.ledger.n_rounds == 8


class FixedStep(NamedTuple):
    """A rule of a user without accumulators and without the optional method `preconditioner`."""

    slots = 0

    def initial_slots(self):
        return ()

    def step(self, x, g, s, lr):
        return x - lr * g, s

    def step_size(self, s, lr):
        return lr


def test_a_rule_without_accumulators_has_the_preconditioner_one(rng):
    x, g = np.zeros(3, np.float32), rng.normal(size=3).astype(np.float32)
    _, state = update(x, g, init(x, FixedStep(), ledger=True))
    np.testing.assert_array_equal(state.ledger.preconditioner, np.ones(3))
    np.testing.assert_array_equal(state.ledger.energy, g.astype(float) ** 2)
    check_regret(FixedStep())
