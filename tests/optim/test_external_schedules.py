"""Schedules of other libraries: stand-ins with the methods of a stepped scheduler; `tests/peers` has the real ones."""

import pickle

import numpy as np
import pytest

from adagrad_nb import Adagrad, init, like, minimize_adagrad, update
from adagrad_nb.optim.external_schedules import SteppedRates, as_schedule


class Optimizer:
    """An optimiser of PyTorch, as its schedulers see it."""

    def __init__(self, *rates):
        self.param_groups = [{"lr": rate, "params": [np.ones(3)]} for rate in rates]
        self.defaults = {"lr": rates[0]}

    def step(self):
        raise AssertionError("a scheduler must not step its optimiser")


class Halving:
    """A scheduler with the methods of PyTorch: it halves the learning rates in each step."""

    def __init__(self, optimizer):
        self.optimizer, self.last_epoch = optimizer, 0

    def get_last_lr(self):
        return [group["lr"] for group in self.optimizer.param_groups]

    def step(self):
        self.last_epoch += 1
        for group in self.optimizer.param_groups:
            group["lr"] /= 2


class Plateau(Halving):
    """A scheduler of the loss."""

    def step(self, metrics):
        raise AssertionError("unreachable")


class Variable:
    """A variable of brainstate, which cannot be copied."""

    def __init__(self, value):
        self.value = value

    def __deepcopy__(self, memo):
        raise TypeError("cannot be copied")


class Variables:
    """A scheduler with the attributes of braintools; as a function it returns the negative rate."""

    def __init__(self, rate):
        self.optimizer, self.last_epoch, self.current_lrs = None, Variable(0), Variable([rate])

    def get_last_lr(self):
        return self.current_lrs.value

    def __call__(self, count):
        return -self.current_lrs.value[0]

    def step(self):
        self.last_epoch.value += 1
        self.current_lrs.value = [self.current_lrs.value[0] / 2]


@pytest.fixture(params=[lambda: Halving(Optimizer(0.5)), lambda: Variables(0.5)], ids=["torch", "braintools"])
def scheduler(request):
    return request.param()


def test_a_scheduler_steps_after_each_update(scheduler):
    state = init(np.zeros(1), Adagrad(eps=0.0, initial_accumulator=1.0), lr=scheduler)
    x = np.zeros(1)
    for t in range(6):
        new, state = update(x, np.ones(1), state)
        assert x[0] - new[0] == pytest.approx(0.5 / 2**t / np.sqrt(t + 2), rel=1e-14)
        x = new
    assert (scheduler.get_last_lr(), getattr(scheduler.last_epoch, "value", scheduler.last_epoch)) == ([0.5], 0)


def test_rates_of_any_update_in_any_order(scheduler):
    rates = as_schedule(scheduler)
    assert [rates(t) for t in (5, 0, 7, 5, np.int64(3))] == [0.5 / 2**t for t in (5, 0, 7, 5, 3)]
    again = pickle.loads(pickle.dumps(rates))
    assert [again(t) for t in (2, 9)] == [0.5 / 2**2, 0.5 / 2**9]
    assert as_schedule(rates) is rates


def test_two_states_share_a_scheduler(scheduler):
    first, second = (init(np.zeros(2), **like("torch", lr=scheduler)) for _ in range(2))
    for state in (first, second):
        x = np.zeros(2)
        for _ in range(3):
            x, state = update(x, np.ones(2), state)
        np.testing.assert_array_equal(x, update_all(np.zeros(2), 3))


def update_all(x, n):
    state = init(x, **like("torch", lr=lambda t: 0.5 / 2**t))
    for _ in range(n):
        x, state = update(x, np.ones(2), state)
    return x


def test_minimisers_take_a_scheduler(scheduler):
    rates = minimize_adagrad(lambda x: x @ x, [1.0], jac=lambda x: 2 * x, lr=scheduler, maxiter=5, gtol=0)
    same = minimize_adagrad(lambda x: x @ x, [1.0], jac=lambda x: 2 * x, lr=lambda t: 0.5 / 2**t, maxiter=5, gtol=0)
    np.testing.assert_array_equal(rates.x, same.x)


def test_a_scheduler_in_the_middle_of_its_run_is_refused(scheduler):
    scheduler.step()
    scheduler.step()
    with pytest.raises(ValueError, match=r"^lr: .* has already taken 2 steps; pass a new scheduler"):
        init(np.zeros(1), lr=scheduler)


def test_groups_with_different_rates_are_refused():
    with pytest.raises(ValueError, match=r"^lr: Halving gives its parameter groups different rates, \[0\.5, 0\.1\]"):
        like("torch", lr=Halving(Optimizer(0.5, 0.1)))
    assert SteppedRates(Halving(Optimizer(0.5, 0.5)))(1) == 0.25


def test_a_scheduler_of_the_loss_is_refused():
    with pytest.raises(ValueError, match=r"^lr: Plateau depends on the loss"):
        init(np.zeros(1), lr=Plateau(Optimizer(0.5)))


class Scalar:
    """A scalar array of another library."""

    def __init__(self, value):
        self.value = value

    def __array__(self, dtype=None, copy=None):
        return np.array(self.value, dtype)


def test_scalar_arrays_of_other_libraries_are_numbers():
    assert like("torch", lr=Scalar(0.25))["lr"] == 0.25
    assert init(np.zeros(2), lr=Scalar(0.25)).lr == 0.25
    np.testing.assert_array_equal(init(np.zeros(2), lr=Scalar([0.25, 0.5])).lr, [0.25, 0.5])
    with pytest.raises(ValueError, match=r"^lr: got -1\.0"):
        init(np.zeros(2), lr=Scalar(-1.0))


def test_a_schedule_may_return_scalar_arrays():
    x, _ = update(np.zeros(1), np.ones(1), init(np.zeros(1), Adagrad(eps=0.0), lr=lambda t: Scalar(0.25)))
    assert x == [-0.25]
