"""Names of record methods and attributes: those of the previous release give the same results, bit for bit."""

import collections
import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from linear_problems import fit_plain
from numpy.testing import assert_array_equal

from adagrad_nb import (
    L1,
    AdagradRegressor,
    ClipNorm,
    InverseSqrt,
    Logistic,
    OneVsRest,
    Polyak,
    Rates,
    RateSearch,
    fit_linear,
    init,
    minimize_adagrad,
    update,
)
from adagrad_nb._legacy import OLD_NAMES, OLD_TARGET_TYPES, get_member, has_member
from adagrad_nb.compiler.jit import pick
from adagrad_nb.records.transforms import Identity
from adagrad_nb.testing import Quadratic, check_loss, check_penalty, check_rule

OLD_NAMES_OF_TARGETS = {new: old for old, new in OLD_TARGET_TYPES.items()}


def respelled(record):
    """Return the record as a class whose methods and attributes have the names of the previous release."""
    cls = type(record)
    old = collections.namedtuple(f"Old{cls.__name__}", cls._fields)
    old.__annotations__ = cls.__annotations__
    for name, member in vars(cls).items():
        if not name.startswith("_") and name not in cls._fields:
            member = OLD_NAMES_OF_TARGETS.get(member, member) if name == "target_type" else member
            setattr(old, OLD_NAMES.get(name, name), member)
    return old(*record)


# --- records in the present spelling -----------------------------------------------------------------------------


class MyRule(NamedTuple):
    """A rule with all optional methods, and a constant that `finalized` computes."""

    eps: float = 1e-3
    twice_eps: float | None = None

    slots = 1
    is_scaled_gradient = True
    accumulators_add = True

    def finalized(self):
        return self._replace(twice_eps=2.0 * self.eps)

    def initial_slots(self):
        return (0.25,)

    def accumulate(self, s, square):
        return (s[0] + square,)

    def apply(self, x, g, s, lr):
        return x - lr * g / (math.sqrt(s[0]) + self.twice_eps)

    def step(self, x, g, s, lr):
        G = s[0] + g * g
        return x - lr * g / (math.sqrt(G) + self.twice_eps), (G,)

    def step_size(self, s, lr):
        return lr / (math.sqrt(s[0]) + self.twice_eps)

    def preconditioner(self, s):
        return math.sqrt(s[0])  # not 1 / step_size(s, 1), which is the default


class MyRowRule(NamedTuple):
    """A rule whose rows share an accumulator, to which the mean of their squares is added."""

    eps: float = 1e-3

    slots = 1
    per_row = True

    def initial_slots(self):
        return (self.eps,)

    def accumulate(self, s, square):
        return (s[0] + square,)

    def pool_squares(self, total, n):
        return total / type(total)(n)

    def apply(self, x, g, s, lr):
        return x - lr * g / math.sqrt(s[0])

    def step(self, x, g, s, lr):
        G = s[0] + g * g
        return x - lr * g / math.sqrt(G), (G,)

    def step_size(self, s, lr):
        return lr / math.sqrt(s[0])


class MyDualRule(NamedTuple):
    """A rule of dual averaging with a penalty of its own."""

    beta: float = 1.0
    l2: float = 0.5

    slots = 2
    accumulators_add = True

    def initial_slots(self):
        return (0.0, 0.0)

    def unpenalized(self):
        return self._replace(l2=0.0)

    def step(self, x, g, s, lr):
        s = (s[0] + g * g, s[1] + g)
        return -lr * s[1] / (math.sqrt(s[0]) + self.beta + self.l2), s

    def step_size(self, s, lr):
        return lr / (math.sqrt(s[0]) + self.beta + self.l2)

    def cumulative_step_size(self, s, lr, t):
        return type(lr)(t) * (lr / (math.sqrt(s[0]) + self.beta + self.l2))

    def primal(self, x, s, lr):
        return -lr * s[1] / (math.sqrt(s[0]) + self.beta + self.l2)


class MyPenalty(NamedTuple):
    """The lasso with closed forms."""

    strength: float | Any

    prox_steps_add = True

    def value(self, x, i):
        return pick(self.strength, i) * abs(x)

    def prox(self, x, w, i):
        excess = abs(x) - w * pick(self.strength, i)
        return math.copysign(excess, x) if excess > 0 else x - x

    def prox_k(self, x, w, k, i):
        excess = abs(x) - type(w)(k) * (w * pick(self.strength, i))
        return math.copysign(excess, x) if excess > 0 else x - x

    def prox_k_sum(self, x, w, k, i):
        step, total = w * pick(self.strength, i), x - x
        for j in range(1, k + 1):
            excess = abs(x) - type(w)(j) * step
            total += math.copysign(excess, x) if excess > 0 else x - x
        return total

    def gradient_mapping(self, x, g, i):
        excess = abs(x - g) - pick(self.strength, i)
        return type(x)(2) * abs(x - (math.copysign(excess, x - g) if excess > 0 else x - x))  # not the default


class MyGroupPenalty(NamedTuple):
    """All weights of a feature lose a share."""

    strength: float

    is_group = True

    def value(self, x, i):
        return self.strength * abs(x)

    def prox(self, x, w, i):
        return x

    def group_value(self, x, i):
        return self.strength * abs(x).sum()

    def group_prox(self, x, w, k, i):
        for l in range(x.shape[0]):
            x[l] /= type(self.strength)(1) + type(self.strength)(k) * w[l] * self.strength


class MyTransform(NamedTuple):
    """A transform that differs by coordinate."""

    def transform(self, x, g, lr):
        return x, g

    def transform_at(self, x, g, lr, i):
        return x, g * type(g)(i + 1)


class MyClip(NamedTuple):
    """A transform that takes the norm of all arrays."""

    bound: float

    uses_global_norm = True

    def scale_for_norm(self, norm):
        return self.bound / norm


class MyOnly(NamedTuple):
    """A transform for one array."""

    inner: Any

    def for_array(self, path):
        return self.inner if path == "x[1]" else Identity()


class MyAccumulation(NamedTuple):
    """A gate that makes one step of two gradients."""

    every: int = 2
    kind: str = "mean"

    accumulates = True


class MySkip(NamedTuple):
    """A gate that skips steps."""

    limit: int = 0

    may_skip = True


class MyLoss(NamedTuple):
    """A loss with an invariant step and an inverse link."""

    scale: float = 1.5

    target_type = "continuous"

    def value(self, y, p):
        return self.scale * (p - y) * (p - y)

    def slope(self, y, p):
        return (self.scale + self.scale) * (p - y)

    def invariant_step(self, y, p, q, tau):
        return (y - p) * tau / (type(p)(1) + q * tau)

    def inverse_link(self, p):
        return p + p


class MyMulticlassLoss(NamedTuple):
    """Squared errors of the scores, 1 for the right class and 0 for others."""

    scale: float = 0.5

    target_type = "multiclass"

    def can_learn_from(self, p):
        return math.isfinite(p[0])

    def loss_and_gradient(self, y, p, z, h, loss_sums):
        for l in range(p.shape[0]):
            excess = p[l] - (type(p[l])(1) if l == y else type(p[l])(0))
            z[l] = h * self.scale * excess
            loss_sums[0] += h * self.scale * excess * excess / type(p[l])(2)

    def inverse_link(self, p):
        exponentials = np.exp(self.scale * p)
        return exponentials / exponentials.sum()


RECORDS = [
    MyRule(), MyRowRule(), MyDualRule(), MyPenalty(0.02), MyGroupPenalty(0.02), MyTransform(), MyClip(0.5),
    MyOnly(MyTransform()), MyAccumulation(), MySkip(), MyLoss(), MyMulticlassLoss(),
]  # fmt: skip

# --- the same results --------------------------------------------------------------------------------------------


def rows(classes=2, n=60, d=8):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(n, d)) * (rng.random((n, d)) < 0.4)
    scores = X @ rng.normal(size=(d, classes))
    return X, scores[:, 0], scores.argmax(axis=1)


def stepped(rule=None, transforms=(), penalty=None, sparse=False, steps=4):
    """Return two arrays after some steps, their accumulators and the step count."""
    rng = np.random.default_rng(1)
    x = [rng.normal(size=(5, 3)), rng.normal(size=4)]
    state = init(x, rule, lr=0.3, transforms=transforms, penalty=penalty)
    for _ in range(steps):
        g = [rng.normal(size=array.shape) for array in x]
        if sparse:
            g = [(np.array([3, 1]), array[:2]) for array in g]
        x, state = update(x, g, state)
    return [*x, *(slot for slots in state.slots for slot in slots), np.float64(state.t)]


def fitted(**options):
    X, y, labels = rows(3)
    multiclass = isinstance(options.get("penalty"), tuple) and has_member(options["penalty"], "is_group")
    multiclass |= has_member(options.get("loss"), "loss_and_gradient")
    target = labels if multiclass else y if options.get("loss") else y > 0
    model = fit_plain(X, target, passes=2, **options)
    return [model.coef, np.asarray(model.intercept), np.float64(model.progressive_loss), np.asarray(model.predict(X))]


def minimized(penalty):
    res = minimize_adagrad(
        Quadratic(np.array([1.0, 3.0]), np.array([1.0, -2.0])), np.zeros(2), penalty=penalty, lr=0.5, gtol=1e-3
    )
    return [res.x, np.float64(res.nit), np.float64(res.fun)]


CASES = {
    "rule": (MyRule(), lambda r: stepped(r)),
    "rule, sparse": (MyRule(), lambda r: stepped(r, sparse=True)),
    "rule, one update per row": (MyRule(), lambda r: fitted(rule=r, penalty=L1(0.01))),
    "rule, two workers": (MyRule(), lambda r: fitted(rule=r, threads=2)),
    "rule, scaled steps": (MyRule(), lambda r: fitted(rule=r, normalized=True, invariant=True)),
    "rule, several rates": (MyRule(), lambda r: fitted(rule=r, lr=Rates())),
    "rule, mini-batches": (MyRule(), lambda r: fitted(rule=r, batch_size=4)),
    "row rule": (MyRowRule(), lambda r: stepped(r)),
    "row rule, sparse": (MyRowRule(), lambda r: stepped(r, sparse=True)),
    "dual averaging": (MyDualRule(), lambda r: stepped(r, penalty=L1(0.01))),
    "dual averaging, one update per row": (MyDualRule(), lambda r: fitted(rule=r, penalty=L1(0.01))),
    "dual averaging, two workers": (MyDualRule(), lambda r: fitted(rule=r, penalty=L1(0.01), threads=2)),
    "dual averaging, averaged": (MyDualRule(), lambda r: fitted(rule=r, penalty=L1(0.01), average=Polyak())),
    "penalty": (MyPenalty(0.02), lambda p: stepped(penalty=p)),
    "penalty, one update per row": (MyPenalty(0.02), lambda p: fitted(penalty=p)),
    "penalty, falling rate": (MyPenalty(0.02), lambda p: fitted(penalty=p, lr=InverseSqrt(0.5))),
    "penalty, averaged": (MyPenalty(0.02), lambda p: fitted(penalty=p, average=Polyak())),
    "penalty, normalized": (MyPenalty(0.02), lambda p: fitted(penalty=p, normalized=True)),
    "penalty, minimised": (MyPenalty(0.02), minimized),
    "group penalty": (MyGroupPenalty(0.02), lambda p: fitted(penalty=p)),
    "transform": (MyTransform(), lambda t: stepped(transforms=(t,))),
    "transform of the norm": (MyClip(0.5), lambda t: stepped(transforms=(t,))),
    "transform after a norm": (MyTransform(), lambda t: stepped(transforms=(ClipNorm(0.5), t))),
    "transform of one array": (MyOnly(MyTransform()), lambda t: stepped(transforms=(t,))),
    "accumulation": (MyAccumulation(), lambda t: stepped(transforms=(t,), steps=5)),
    "skip": (MySkip(), lambda t: stepped(transforms=(t,))),
    "loss": (MyLoss(), lambda f: fitted(loss=f)),
    "loss, invariant": (MyLoss(), lambda f: fitted(loss=f, invariant=True)),
    "loss, several rates": (MyLoss(), lambda f: fitted(loss=f, lr=RateSearch())),
    "multi-class loss": (MyMulticlassLoss(), lambda f: fitted(loss=f)),
    "multi-class loss, mini-batches": (MyMulticlassLoss(), lambda f: fitted(loss=f, batch_size=4)),
}


@pytest.mark.parametrize("case", CASES)
def test_records_in_the_old_spelling_give_the_same_bits(case):
    record, run = CASES[case]
    for new, old in zip(run(record), run(respelled(record)), strict=True):
        assert_array_equal(new, old, strict=True)


def test_the_cases_cover_every_old_name():
    old_names = {name for record, _ in CASES.values() for name in vars(type(record))}
    assert old_names >= OLD_NAMES.keys()
    for record, _ in CASES.values():
        old = respelled(record)
        for name in OLD_NAMES:
            assert not hasattr(old, name)
            assert has_member(old, name) == has_member(type(old), name) == has_member(record, name)


def test_checks_of_records_take_both_spellings():
    for convert in (lambda record: record, respelled):
        check_rule(convert(MyRule()))
        check_penalty(convert(MyPenalty(0.1)))
        check_loss(convert(MyLoss()))
    X, y, _ = rows()
    expected = AdagradRegressor(loss=MyLoss(), random_state=0).fit(X, y).coef_
    assert_array_equal(AdagradRegressor(loss=respelled(MyLoss()), random_state=0).fit(X, y).coef_, expected)


# --- names of fields, names in errors ------------------------------------------------------------------------------


def test_a_field_with_an_old_name_is_not_a_method():
    class OldFieldNames(NamedTuple):
        """A penalty with a field that has the old name of a method."""

        total: float
        repeat: float = 2.0

        def value(self, x, i):
            return self.total * abs(x)

        def prox(self, x, w, i):
            return x / (type(x)(1) + self.total * w)

    assert not has_member(OldFieldNames(0.1), "prox_k_sum")
    assert get_member(OldFieldNames(0.1), "prox_k", "default") == "default"
    X, y, _ = rows()
    assert np.isfinite(fit_linear(X, y > 0, penalty=OldFieldNames(0.1), average=Polyak(), lr=0.5).coef).all()


class Empty(NamedTuple):
    """A record without methods."""


class GradientOnly(NamedTuple):
    """An incomplete multi-class loss."""

    def gradient(self, y, p, z, h, tally):
        pass


@pytest.mark.parametrize(
    ("run", "names"),
    [
        (lambda: init(np.zeros(2), Empty()), "slots and no initial_slots and no step and no step_size"),
        (lambda: init(np.zeros(2), penalty=Empty()), "value and no prox"),
        (lambda: init(np.zeros(2), transforms=(Empty(),)), "transform"),
        (lambda: fit_linear(np.eye(2), [0, 1], loss=Empty()), "value and no slope and no inverse_link and no target"),
        (lambda: fit_linear(np.eye(2), [0, 1], loss=GradientOnly()), "can_learn_from and no target_type"),
        (lambda: fit_linear(np.eye(2), [0, 1], loss=OneVsRest(Empty())), "value and no slope and no inverse_link"),
    ],
)  # fmt: skip
def test_errors_give_the_present_names(run, names):
    with pytest.raises(TypeError, match=f"has no {names}"):
        run()


# --- the inverse link of a multi-class loss ------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", [lambda record: record, respelled], ids=["present", "old"])
def test_probabilities_are_those_of_the_loss(spelling):
    X, _, labels = rows(3)
    model = fit_linear(X, labels, loss=spelling(MyMulticlassLoss()), lr=0.5)
    expected = np.exp(0.5 * model.decision_function(X))
    np.testing.assert_allclose(model.predict_proba(X), expected / expected.sum(axis=1, keepdims=True), rtol=1e-14)


class WithoutLink(NamedTuple):
    """A multi-class loss without an inverse link."""

    target_type = "multiclass"

    can_learn_from = MyMulticlassLoss.can_learn_from

    def loss_and_gradient(self, y, p, z, h, loss_sums):
        z[y] = -h


class WithWrongLink(NamedTuple):
    """A multi-class loss whose inverse link returns one number."""

    target_type = "multiclass"

    can_learn_from = MyMulticlassLoss.can_learn_from
    loss_and_gradient = WithoutLink.loss_and_gradient

    def inverse_link(self, p):
        return p[0]


def test_errors_of_probabilities_name_the_method():
    X, _, labels = rows(3)
    model = fit_linear(X, labels, loss=WithoutLink(), lr=0.5)
    assert not model.has_probabilities
    with pytest.raises(AttributeError, match=r"^predict_proba: the loss WithoutLink has no method inverse_link\(p\)"):
        model.predict_proba(X)
    with pytest.raises(ValueError, match=r"^WithWrongLink.inverse_link: gives shape \(\); must give \(3,\)"):
        fit_linear(X, labels, loss=WithWrongLink(), lr=0.5).predict_proba(X)
    assert fit_linear(X, labels, loss=OneVsRest(respelled(MyBinary())), lr=0.5).predict_proba(X).shape == (60, 3)


class MyBinary(NamedTuple):
    """The logistic loss."""

    target_type = "binary"

    value = Logistic.value
    slope = Logistic.slope
    inverse_link = Logistic.inverse_link
