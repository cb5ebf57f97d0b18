"""Compilation: signatures, generated code, the disk cache, and record classes of the same name."""

import ast
import importlib.util
import pathlib
import re
import textwrap
import warnings
from typing import NamedTuple

import numba
import numpy as np
import pytest
from numba.core import event
from numba.core.errors import NumbaTypeError

from adagrad_nb import (
    EMA,
    L1,
    L2,
    Adadelta,
    Adagrad,
    Bounded,
    Box,
    ClipNorm,
    ClipValue,
    DecoupledDecay,
    ElasticNet,
    L2Decay,
    Logistic,
    Maximize,
    ModifiedHuber,
    MomentumAdagrad,
    NonNegative,
    NoPenalty,
    OneVsRest,
    Polyak,
    Rescale,
    RowAdagrad,
    Softmax,
    init,
    minimize_adagrad,
    minimize_stochastic,
    update,
)
from adagrad_nb.compiler.jit import cast, compiled_for, jit, llvm_ir, unique_class
from adagrad_nb.optim.kernels import array_update, reductions
from adagrad_nb.optim.kernels.reductions import resolve_norms
from adagrad_nb.records.losses import LOSSES, inverse_link, slope, value
from adagrad_nb.records.multiclass_losses import class_step
from adagrad_nb.testing import Quadratic, Rosenbrock

PACKAGE = pathlib.Path(next(iter(importlib.util.find_spec("adagrad_nb").submodule_search_locations)))
SOURCES = {path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}

needs_compiler = pytest.mark.compiled_only("requires the compiler")


# --- number of compilations ---------------------------------------------------------------------------------------


class Compilations(event.Listener):
    """Listener that records the functions that Numba compiles."""

    def __init__(self):
        self.functions = []

    def on_start(self, compilation):
        self.functions.append(str(compilation.data["dispatcher"]))

    def on_end(self, compilation):
        pass


class MyRule(NamedTuple):
    """Rule defined outside the package."""

    eps: float = 1e-3

    slots = 1

    def initial_slots(self):
        return (self.eps - self.eps,)

    def step(self, x, g, s, lr):
        G = s[0] + abs(g)
        return x - lr * g / (G + self.eps), (G,)

    def step_size(self, s, lr):
        return lr / (s[0] + self.eps)


class MyPenalty(NamedTuple):
    """Penalty defined outside the package, without a closed form of repeated steps."""

    strength: float

    def value(self, x, i):
        return self.strength * abs(x)

    def prox(self, x, w, i):
        return x / (type(x)(1) + w * self.strength)


def dense_steps(**options):
    def run(scale):
        x = np.ones(5) * scale
        state = init(x, **options)
        x, state = update(x, x * scale, state)
        update(x, x, state, out=(x, state))
        update(x, ([0, 2], [scale, 1.0]), state)
        update(x, ([2, 2], [scale, 1.0]), state, lr=scale)
        # Gradients with a norm below and above the limit must use the same compiled code.
        update(x, x * 1e-3, state)

    return run


def row_step(scale):
    x = np.ones((4, 3))
    update(x, ([2, 1], np.full((2, 3), scale)), init(x, lr=0.1 * scale))


def minimisation(**options):
    def run(scale):
        res = minimize_adagrad(Rosenbrock(100.0 * scale), np.zeros(3), maxiter=50, **options)
        minimize_adagrad(Rosenbrock(100.0), res.x, maxiter=9, state=res.state)

    return run


CALLS = {
    "dense": dense_steps(),
    "norm": dense_steps(transforms=(ClipNorm(1.0),), penalty=L1(0.1), average=Polyak()),
    "rows": row_step,
    "rule of the user": dense_steps(rule=MyRule(), penalty=MyPenalty(0.1)),
    "minimise": minimisation(),
    "minimise within bounds": minimisation(bounds=[(-1, 1)] * 3, average=Polyak()),
    "minimise with a callable learning rate": minimisation(lr=lambda t: 0.5 / (1 + t)),
}


@needs_compiler
@pytest.mark.parametrize("name", CALLS)
def test_the_second_call_compiles_nothing(name):
    call = CALLS[name]
    call(1.0)
    listener = Compilations()
    with event.install_listener("numba:compile", listener):
        call(0.7)
    assert listener.functions == []


@needs_compiler
def test_after_warming_up_nothing_is_compiled_or_loaded(python):
    """In a new process, `warm_up` compiles, or loads from the disk cache, everything that these calls need."""
    printed = python(
        "import numpy as np, scipy.sparse as sp\n"
        "from numba.core import event\n"
        "from adagrad_nb import fit_linear, init, minimize_adagrad, update, warm_up\n"
        "from adagrad_nb.compiler.cache import KernelCache\n"
        "from adagrad_nb.testing import Rosenbrock\n"
        "loaded, load = [], KernelCache.load_overload\n"
        "KernelCache.load_overload = lambda cache, *args: loaded.append(cache) or load(cache, *args)\n"
        "warm_up()\n"
        "print(len(loaded) > 5)\n"
        "loaded.clear()\n"
        "with event.install_recorder('numba:compile') as recorder:\n"
        "    update(np.ones(5), np.ones(5), init(np.ones(5), lr=0.3))\n"
        "    fit_linear(sp.csr_array(np.eye(4)), [0, 1, 0, 1], lr=0.1)\n"
        "    fit_linear(np.eye(4), [0.5, 1.0, 0.0, 1.0], loss='squared')\n"
        "    minimize_adagrad(lambda x: x @ x, np.ones(3), jac=lambda x: 2 * x, maxiter=3)\n"
        "print(len(recorder.buffer) + len(loaded))\n"
        "with event.install_recorder('numba:compile') as recorder:\n"
        "    minimize_adagrad(Rosenbrock(), np.ones(3), maxiter=3, lr=0.1)\n"
        "print(any('make_step' in str(event.data['dispatcher']) for _, event in recorder.buffer))\n"
    )
    assert printed.split() == ["True", "0", "False"]


@needs_compiler
def test_the_listener_records_compilations():
    listener = Compilations()
    with event.install_listener("numba:compile", listener):
        numba.njit(lambda x: x + 1)(1)
    assert len(listener.functions) == 1


@needs_compiler
def test_values_of_options_add_no_signatures():
    x = np.ones(3)
    update(x, x, init(x))
    before = len(array_update.serial.signatures)
    for rule in (Adagrad(1.0), Adagrad(2.0, inside=True), Adagrad(0, initial_accumulator=1), Adagrad(np.float32(0.1))):
        for lr in (1, 0.5, np.float32(0.1), np.int8(3)):
            update(x, x, init(x, rule, lr=lr))
    assert len(array_update.serial.signatures) == before


# --- generated code ----------------------------------------------------------------------------------------------

PENALTIES = [NoPenalty(), L1(0.1), L2(0.1), ElasticNet(0.1, 0.2), Box(-1.0, 1.0), NonNegative(), Bounded(L2(1.0), 0, 1)]
TRANSFORMS = [
    (), (Rescale(2.0),), (ClipValue(1.0),), (ClipNorm(1.0),), (L2Decay(0.1),), (DecoupledDecay(0.1),),
    (Rescale(2), ClipValue(np.float64(1)), ClipNorm(1), L2Decay(1), DecoupledDecay(1)),
]  # fmt: skip
RECORDS = [((), penalty) for penalty in PENALTIES] + [(t, NoPenalty()) for t in TRANSFORMS[1:]]
RECORDS.append((TRANSFORMS[-1], Bounded(ElasticNet(0.1, 0.2), -1, 1)))


def compiled_ir(kernel, x, transforms, penalty):
    """Return the LLVM IR of a dense kernel for these records, as `update` compiles it."""
    state = init(x, transforms=transforms, penalty=penalty)
    leaf = state.leaves[0]
    records = leaf.update
    if leaf.needs_reduction:
        resolved = resolve_norms(records.transforms, leaf.resolved_prefix, array_update.ALL, x, x, leaf.constant_lr)
        records = records._replace(transforms=resolved)
    return llvm_ir(kernel, records, array_update.ALL, x, x, leaf.flat_slots, leaf.constant_lr, 0)


DOUBLE = re.compile(r"\b(fadd|fsub|fmul|fdiv|fneg|fcmp)\b[^\n]*\bdouble\b|\bfpext\b|\bfptrunc\b|@llvm\.[a-z]+\.f64")


@needs_compiler
@pytest.mark.parametrize("records", RECORDS, ids=lambda records: f"{records[0]} {records[1]}")
def test_single_precision_code_has_no_double(records):
    text = compiled_ir(array_update.serial, np.linspace(-1, 1, 5, dtype=np.float32), *records)
    assert "float" in text
    found = DOUBLE.search(text)
    assert found is None, found.group()


SCALAR = {name: kind for name, kind in LOSSES.items() if kind.target_type != "multiclass"}  # of one prediction


def evaluate_loss(loss, y, p):
    """Call the functions of a loss that kernels use."""
    return value(loss, y, p), slope(loss, y, p), inverse_link(loss, p)


@needs_compiler
@pytest.mark.parametrize("loss", [kind() for kind in SCALAR.values()], ids=SCALAR)
def test_single_precision_code_of_losses_has_no_double(loss):
    one = np.float32(1)
    text = llvm_ir(jit(evaluate_loss), cast(loss, one.dtype), one, one)
    assert "float" in text
    found = DOUBLE.search(text)
    assert found is None, found.group()
    assert DOUBLE.search(llvm_ir(jit(evaluate_loss), loss, 1.0, 1.0))


def evaluate_class_step(loss, y, p):
    """Call the function of a loss of classes that the kernel of a search uses."""
    return class_step(loss, 1, 1, p, -y, y, y, p), class_step(loss, 0, 1, p, y, y, y, p)


@needs_compiler
@pytest.mark.parametrize("loss", [Softmax(), OneVsRest(Logistic()), OneVsRest(ModifiedHuber())], ids=str)
def test_single_precision_code_of_class_steps_has_no_double(loss):
    one = np.float32(1)
    text = llvm_ir(jit(evaluate_class_step), cast(loss, one.dtype), one, one)
    assert "float" in text
    found = DOUBLE.search(text)
    assert found is None, found.group()
    assert DOUBLE.search(llvm_ir(jit(evaluate_class_step), loss, 1.0, 1.0))


RULES = [
    Adagrad(1e-3, True, 0.1, guarded=True), MomentumAdagrad(), Adadelta(), RowAdagrad(), Adagrad(modulus=True)
]  # fmt: skip
SPARSE = (np.array([0, 2]), np.array([0, 1, 3]))


def compiled_irs(kind, leaf, x):
    """Yield the name and the LLVM IR of each kernel that an optimiser with this leaf may use."""
    where, starts = SPARSE
    update_, flat, lr = leaf.update, leaf.flat_slots, leaf.constant_lr
    row_gradients = np.ones(len(where) * leaf.group_size, kind)
    if leaf.group_size > 1:
        yield "groups", llvm_ir(array_update.update_row_groups, update_, where, x, row_gradients, flat, lr, 0)
        return
    yield "serial", llvm_ir(array_update.serial, update_, array_update.ALL, x, x, flat, lr, 0)
    yield "sparse", llvm_ir(array_update.serial, update_, where, x, row_gradients, flat, lr, 0)
    yield "rows", llvm_ir(array_update.update_rows, update_, where, x, row_gradients, flat, lr, 0)
    if hasattr(leaf.update.rule, "accumulate"):
        yield (
            "simultaneous",
            llvm_ir(array_update.update_summed_squares, update_, where, starts, x, np.ones(3, kind), flat, lr, 0),
        )
    yield "norm", llvm_ir(reductions.compiled_norm, update_.transforms, array_update.ALL, x, x, lr)
    yield "wrong", llvm_ir(reductions.compiled_count_nonfinite, update_.transforms, array_update.ALL, x, x, lr)
    yield "gather", llvm_ir(reductions.compiled_accumulate_gradient, update_.transforms, x, x, lr, x, 3)
    for average in (EMA(0.9), Polyak()):
        yield "blend", llvm_ir(array_update.compiled_update_average, cast(average, kind), x, x, kind(0.5))


@needs_compiler
@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("strength", [0.1, np.linspace(0, 1, 6)], ids=["one", "array"])
def test_no_option_makes_single_precision_code_compute_in_double(rule, strength):
    for kind in (np.float32, np.float64):
        shape = (3, 2) if hasattr(rule, "per_row") or rule == Adagrad(modulus=True) else 6
        x = np.ones(shape, kind)
        transforms = (Maximize(), L2Decay(np.reshape(strength, shape) if np.ndim(strength) else strength))
        if rule == Adagrad(modulus=True):
            x, transforms = x[:, 0] * np.array(1j, np.result_type(kind, np.complex64)), (Maximize(),)
        leaf = init(x, rule, transforms=transforms, penalty=L1(0.1), lr_scale=2.0).leaves[0]
        for name, text in compiled_irs(kind, leaf, np.ones(6, kind)):
            found = DOUBLE.search(text)
            assert (found is None) == (kind is np.float32), f"{name}: {found and found.group()}"


@needs_compiler
def test_the_search_for_doubles_finds_them():
    text = compiled_ir(array_update.serial, np.ones(5), (), L1(0.1))
    assert DOUBLE.search(text)


@needs_compiler
@pytest.mark.parametrize(("kind", "word"), [(np.float32, "float"), (np.float64, "double")], ids=["float32", "float64"])
def test_the_code_is_vectorised(kind, word):
    text = compiled_ir(array_update.serial, np.ones(5, kind), (), NoPenalty())
    for operation in ("fmul", "fdiv", "fadd"):
        assert re.search(rf"{operation}[^\n]*<\d+ x {word}>", text), operation
    assert re.search(rf"@llvm\.sqrt\.v\d+f{kind(0).itemsize * 8}", text)


@needs_compiler
def test_a_double_constant_is_found():
    """A Python float in a kernel gives the double arithmetic that the tests above search for."""

    @numba.njit(error_model="numpy")
    def multiply(x):
        for i in range(x.shape[0]):
            x[i] = x[i] * 0.1

    multiply(np.ones(5, np.float32))
    assert DOUBLE.search(next(iter(multiply.inspect_llvm().values())))


# --- disk cache --------------------------------------------------------------------------------------------------

COUNT = """
    import numpy as np
    from adagrad_nb import *
    from adagrad_nb.minimize import loop_kernel
    from adagrad_nb.optim.kernels import array_update, reductions
    from adagrad_nb.testing import Rosenbrock
    x = np.ones(4, np.float32)
    state = init(x, transforms=(ClipNorm(1.0),), penalty=Bounded(L1(0.1), -1, 1))
    for _ in range(2):
        x, state = update(x, x, state)
    minimize_adagrad(Rosenbrock(), np.zeros(2), maxiter=9, lr=InverseSqrt(0.5), average=Polyak())
    kernels = [array_update.serial, reductions.compiled_norm, loop_kernel.minimize_loop, loop_kernel.make_step]
    print(sum(sum(k.stats.cache_hits.values()) for k in kernels),
          sum(sum(k.stats.cache_misses.values()) for k in kernels))
"""


USER = """
    from typing import NamedTuple

    class Power(NamedTuple):
        '''Penalty of the user.'''

        strength: float

        def value(self, x, i):
            return x - x

        def prox(self, x, w, i):
            return x * {factor}

    class Bowl(NamedTuple):
        '''Objective of the user.'''

        depth: float

        def value_grad(self, x, g):
            value = x[0] - x[0]
            for i in range(x.shape[0]):
                g[i] = {factor} * x[i]
                value += {factor} * x[i] * x[i] / 2
            return value
"""
USE = """
    import numpy as np
    from mine import Bowl, Power
    from adagrad_nb import Adagrad, init, minimize_adagrad, update
    x = np.ones(3)
    stepped, _ = update(x, x, init(x, Adagrad(0.0), lr=0.0, penalty=Power(1.0)))
    res = minimize_adagrad(Bowl(1.0), x, maxiter=3)
    print(stepped[0], res.jac[0] / res.x[0])
"""


FUNCTION = """
    import numba
    import numpy as np
    from adagrad_nb import minimize_adagrad
    from adagrad_nb.minimize.loop_kernel import make_step

    @numba.njit
    def jac(x):
        return 2.0 * x

    res = minimize_adagrad(lambda x: 0.0, np.ones(3), jac=jac, maxiter=3)
    print(res.jac[0] / res.x[0], sum(make_step.stats.cache_hits.values()), sum(make_step.stats.cache_misses.values()))
"""


@pytest.fixture(scope="module")
def cache_results(python, tmp_path_factory):
    """Run five processes with one cache; return their output and the files in the cache."""
    folder = tmp_path_factory.mktemp("cache_results")
    cache = folder / "cache"

    def run_process(source, *path):
        printed = python(
            textwrap.dedent(source), path=path, NUMBA_CACHE_DIR=str(cache), PYTHONDONTWRITEBYTECODE="1"
        )  # fmt: skip
        return [float(word) for word in printed.split()]

    results = {}
    for factor in (0.5, 0.25):  # the user edits a module between two processes
        (folder / "mine.py").write_text(textwrap.dedent(USER).format(factor=factor))
        results[factor] = run_process(USE, folder)
    results["first"], results["second"] = run_process(COUNT), run_process(COUNT)  # neither can import that module
    results["before"] = {path.name for path in cache.rglob("*.nbc")}
    results["function"] = run_process(FUNCTION)
    results["after"] = {path.name for path in cache.rglob("*.nbc")}
    return results


@needs_compiler
def test_edited_records_run_as_edited(cache_results):
    """Kernels for records of the user are not cached, because the cache would not notice an edit of their module."""
    for factor in (0.5, 0.25):
        assert cache_results[factor] == [factor, factor]


@needs_compiler
def test_the_second_process_compiles_nothing(cache_results):
    """Earlier processes with modules that cannot be imported now do not prevent cache hits."""
    assert cache_results["first"] == [0, 4]
    assert cache_results["second"] == [4, 0]


@needs_compiler
def test_functions_of_the_user_leave_nothing_in_the_cache(cache_results):
    """Other processes could not load a loop that calls a compiled function of the user."""
    assert cache_results["function"][0] == 2.0
    assert {name for name in cache_results["after"] - cache_results["before"] if "minimize_loop" in name} == set()
    assert any("minimize_loop" in name for name in cache_results["before"])


@needs_compiler
def test_the_step_is_not_compiled_again_for_a_function_of_the_user(cache_results):
    """The loop calls the step by address: compiling both took 2 to 3 seconds in each process."""
    assert cache_results["function"][1:] == [1, 0]


@needs_compiler
@pytest.mark.parametrize("average", [None, Polyak(), EMA(0.9)], ids=str)
def test_the_loop_formats_no_shapes(average):
    """Numba's `g[:] = values` compiles a message with both shapes: most of the time of a first call."""

    class Ball(NamedTuple):
        """Penalty of the user, so that the step is compiled too."""

        radius: float

        def value(self, x, i):
            return x - x

        def prox(self, x, w, i):
            return min(max(x, -self.radius), self.radius)

    with event.install_recorder("numba:compile") as recorder:
        jac = numba.njit(lambda x: x + x)
        minimize_adagrad(lambda x: x @ x, np.ones(3), jac=jac, maxiter=3, average=average, penalty=Ball(2.0))
    modules = {recorded.data["dispatcher"].py_func.__module__ for _, recorded in recorder.buffer}
    assert "adagrad_nb.minimize.loop_kernel" in modules
    assert [name for name in modules if "unicode" in name] == []


# --- methods of records that use other members ------------------------------------------------------------------


class Shared(NamedTuple):
    """Rule whose methods call each other."""

    eps: float = 1e-3
    half: float = 0.5
    factor: float = 2.0

    slots = 1

    def initial_slots(self):
        return (0.0,)

    def _root(self, total, power=None):
        return total ** (self.half if power is None else power) + self.eps

    def scale(self, total):
        return self._root(total) * self.factor

    def step_size(self, s, lr):
        return lr / self.scale(s[0])

    def step(self, x, g, s, lr):
        total = s[0] + g * g
        return x - self.step_size((total,), lr) * g, (total,)


class Inherited(Shared):
    """The same rule."""


class ScaledShrink(NamedTuple):
    """Penalty with a field that is called like a method of `Shared`."""

    scale: float

    def value(self, x, i):
        return abs(self.prox(x, x, i))

    def prox(self, x, w, i):
        return x * self.scale


@pytest.mark.parametrize("rule", [Shared(), Inherited()], ids=["itself", "subclass"])
def test_methods_of_a_record_may_call_each_other(rule):
    x, g = np.array([1.0, -2.0]), np.array([0.5, 3.0])
    expected = (x - 0.1 * g / (2 * (np.abs(g) + 1e-3))) * 0.25
    penalty = ScaledShrink(0.25)
    np.testing.assert_allclose(update(x, g, init(x, rule, lr=0.1, penalty=penalty))[0], expected)
    res = minimize_adagrad(lambda x: x[0], x, jac=lambda x: g, rule=rule, lr=0.1, penalty=penalty, maxiter=1)
    np.testing.assert_allclose(res.x, expected)
    assert res.fun == pytest.approx(res.x[0] + 0.25 * np.abs(res.x).sum())


def test_methods_of_an_objective_may_call_each_other():
    class Sum(NamedTuple):
        """Objective that calls another method for each coordinate."""

        weight: float

        def term(self, x):
            return self.weight * x

        def value_grad(self, x, g):
            value = 0.0
            for i in range(x.size):
                g[i] = self.term(x[i])
                value += g[i] * x[i] / 2
            return value

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        res = minimize_adagrad(Sum(2.0), [1.0, -2.0], maxiter=500, gtol=1e-6)
    np.testing.assert_allclose(res.x, 0, atol=1e-5)
    assert res.success


@needs_compiler
def test_a_call_within_a_record_without_fields_is_explained():
    class Empty(NamedTuple):
        """Penalty without fields, whose methods Numba cannot bind."""

        def factor(self):
            return 0.5

        def value(self, x, i):
            return x - x

        def prox(self, x, w, i):
            return x * self.factor()

    x = np.ones(1)
    with pytest.raises(NumbaTypeError) as raised:
        update(x, x, init(x, penalty=Empty()))
    assert str(raised.value) == (
        "Empty.factor: cannot be called by another compiled method, because Empty has no fields; give it a field"
    )


def misspelt(member):
    """Return a rule, a penalty and an objective that use a member which they do not have."""

    class Rule(NamedTuple):
        """Rule with a misspelt field."""

        eps: float = 1e-3
        slots = 1

        def initial_slots(self):
            return (0.0,)

        def step_size(self, s, lr):
            return lr

        def step(self, x, g, s, lr):
            return x - lr * g / self.epz, s

    class Penalty(NamedTuple):
        """Penalty with a misspelt method."""

        strength: float = 1.0

        def value(self, x, i):
            return x - x

        def prox(self, x, w, i):
            return self.shrnk(x)

    class Objective(NamedTuple):
        """Objective with a misspelt field."""

        weight: float = 1.0
        shift: float = 0.0

        def value_grad(self, x, g):
            g[0] = self.wieght * x[0]
            return 0.0

    return {"epz": Rule, "shrnk": Penalty, "wieght": Objective}[member]()


@needs_compiler
@pytest.mark.parametrize(
    ("member", "argument", "fields"),
    [("epz", "rule", "eps"), ("shrnk", "penalty", "strength"), ("wieght", "", "weight, shift")],
)
def test_a_misspelt_member_is_named(member, argument, fields):
    """Before, the error was Numba's report of several thousand characters."""
    record, x = misspelt(member), np.ones(3)
    name = type(record).__name__
    pattern = (
        rf"^{name}\w*\.{member}: not a field or method of {name}\w*, but used in .*test_jit\.py, line \d+; "
        rf"the fields are {fields}$"
    )
    if argument:
        with pytest.raises(AttributeError, match=pattern):
            update(x, x, init(x, **{argument: record}))
    with pytest.raises(AttributeError, match=pattern):
        minimize_adagrad(
            *([lambda x: 1.0] if argument else [record]), x, jac=lambda x: x, **({argument: record} if argument else {})
        )


@needs_compiler
def test_an_attribute_of_the_class_is_named():
    class Halve(NamedTuple):
        """Transform with a number that is not a field."""

        factor: float = 1.0
        half = 0.5

        def transform(self, x, g, lr):
            return x, self.factor * self.half * g

    x = np.ones(3)
    pattern = r"^Halve\.half: an attribute of the class, which compiled code cannot read, .*; make it a field$"
    with pytest.raises(NumbaTypeError, match=pattern):
        update(x, x, init(x, transforms=(Halve(),)))


@needs_compiler
def test_a_method_with_other_parameters_is_named():
    class Double(NamedTuple):
        """Transform with a parameter too few."""

        factor: float = 0.5

        def transform(self, g):
            return self.factor * g

    x = np.ones(3)
    with pytest.raises(
        TypeError, match=r"^Double\.transform: has the parameters \(self, g\), with which it cannot be called"
    ):
        update(x, x, init(x, transforms=(Double(),)))


# --- records of the same name ------------------------------------------------------------------------------------


def scale_by(factor):
    class Scaled(NamedTuple):
        """Penalty with the same name and fields in each call, and another factor."""

        strength: float

        def value(self, x, i):
            return x - x

        def prox(self, x, w, i):
            return x * factor

    return Scaled


def test_a_record_defined_again_runs_the_new_code():
    x = np.ones(3)
    for factor in (0.5, 0.25, 2.0):
        stepped, _ = update(x, x, init(x, lr=0.0, penalty=scale_by(factor)(1.0)))
        assert stepped[0] == factor


def test_an_objective_defined_again_runs_the_new_code():
    def bowl(minimum):
        class Bowl(NamedTuple):
            """Objective with the same name and fields in each call, and another minimum."""

            weight: float

            def value_grad(self, x, g):
                g[0] = self.weight * (x[0] - minimum)
                return g[0] * (x[0] - minimum) / 2

        return Bowl(1.0)

    for minimum in (1.0, 2.0):
        assert minimize_adagrad(bowl(minimum), [0.0], gtol=1e-7).x[0] == pytest.approx(minimum)


def test_a_class_keeps_its_unique_name():
    first, second = scale_by(1.0), scale_by(2.0)
    names = [unique_class(cls).__name__ for cls in (first, second, first, second)]
    assert names[0] == names[2]
    assert names[1] == names[3]
    assert names[0] != names[1]


def test_record_names_are_unique_in_the_package():
    """Numba identifies a record by its name and fields; two classes with the same ones would share compiled code."""
    names = [
        node.name
        for path in SOURCES.values()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and any(getattr(base, "id", "") == "NamedTuple" for base in node.bases)
    ]
    assert len(names) > 20
    assert sorted(names) == sorted(set(names))


def test_kernels_for_records_of_the_user_are_not_cached():
    package_kernel = compiled_for(array_update.serial, Adagrad(), L1(0.1))
    assert package_kernel is array_update.serial
    if numba.config.DISABLE_JIT:
        return
    user_kernel = compiled_for(array_update.serial, (Adagrad(), MyPenalty(0.1)))
    assert user_kernel is not array_update.serial
    assert user_kernel is compiled_for(array_update.serial, MyRule())
    assert isinstance(user_kernel._cache, numba.core.caching.NullCache)


@needs_compiler
def test_objectives_of_the_user_are_compiled_once():
    class UserObjective(NamedTuple):
        """Objective of the user, a sum over samples."""

        scale: float

        def value_grad(self, x, g, batch):
            g[0] = self.scale * x[0] * batch.size
            return g[0] * x[0] / 2

    minimize_stochastic(UserObjective(1.0), [1.0], 5, rng=0, epochs=2)
    listener = Compilations()
    with event.install_listener("numba:compile", listener):
        minimize_stochastic(UserObjective(2.0), [1.0], 7, rng=0, epochs=3, batch_size=2)
        minimize_adagrad(Quadratic(np.ones(2), np.ones(2)), np.zeros(2), maxiter=3)
        minimize_adagrad(Quadratic(np.ones(3), np.ones(3)), np.zeros(3), maxiter=3)
    assert [name for name in listener.functions if "UserObjective" in name] == []


def test_no_signature_is_compiled_by_importing(python):
    printed = python(
        "import numba, adagrad_nb\n"
        "from adagrad_nb.minimize import loop_kernel\n"
        "from adagrad_nb.optim.kernels import array_update, reductions\n"
        "modules = (array_update, reductions, loop_kernel)\n"
        "kernels = [k for m in modules for k in vars(m).values() if hasattr(k, 'signatures')]\n"
        "print(len(kernels), sum(len(k.signatures) for k in kernels))"
    )
    kernels, signatures = map(int, printed.split())
    assert signatures == 0
    assert kernels >= 8 or numba.config.DISABLE_JIT
