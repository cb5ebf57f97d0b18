"""Variants of Adagrad and penalties that are not convex: host and device make the same steps."""

import numpy as np
import pytest
from host_device import assert_same, update_on_both

from adagrad_nb import (
    COCOB,
    KATE,
    KT,
    MADGRAD,
    MCP,
    SCAD,
    SGD,
    DelayedAdagrad,
    FullMatrixAdagrad,
    L2Ball,
    OptimisticAdagrad,
    PowerAdagrad,
    SCAdagrad,
    init,
    minimize_adagrad,
)
from adagrad_nb.cuda import arrays

OPTIONS = [
    {"rule": SGD(), "penalty": MCP(0.2)},
    {"rule": PowerAdagrad(0.75, 0.1, discount=0.9), "penalty": SCAD(0.2)},
    {"rule": DelayedAdagrad()},
    {"rule": SCAdagrad()},
    {"rule": KATE()},
    {"rule": OptimisticAdagrad()},
    {"rule": MADGRAD()},
    {"rule": KT()},
    {"rule": COCOB()},
]


@pytest.mark.parametrize("options", OPTIONS, ids=[type(each["rule"]).__name__ for each in OPTIONS])
def test_steps(options, dtype, rng):
    gradients = rng.uniform(-1, 1, (3, 7)).astype(dtype)
    gradients[:, 2] = 0
    x = rng.normal(size=7).astype(dtype)
    (host, host_state), (device, state) = update_on_both(x, gradients, False, **options)
    assert_same(device, host, 8)
    assert_same(state.slots[0], host_state.slots[0], 8)
    assert not np.array_equal(host, x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"domain": L2Ball()}, "domain: L2Ball does not support device arrays, as x is"),
        ({"rule": FullMatrixAdagrad()}, "rule: FullMatrixAdagrad does not support device arrays, as x is"),
    ],
)
def test_options_of_whole_arrays_are_refused(options, message):
    x = arrays.to_device_array(np.ones(3))
    with pytest.raises(ValueError, match=message):
        init(x, **options)
    with pytest.raises(ValueError, match=message):
        minimize_adagrad(lambda x: x, x, jac=lambda x: x, **options)
