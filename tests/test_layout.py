"""Rules for imports and contents of modules.  Each rule has a test of the package and tests that it can fail."""

import ast
import importlib.util
import shutil
from typing import NamedTuple

import layout
import pytest
from layout import ORDER, RANK

MODULES = layout.read(next(iter(importlib.util.find_spec("adagrad_nb").submodule_search_locations)))
KERNELS = {"linear/kernels", "optim/kernels"}  # the only packages below those of `ORDER`

# Optional packages, and the modules that may import them, in functions only.
ADAPTERS = {
    "matplotlib": {"plots"}, "tqdm": {"callbacks", "cli/monitor"}, "sklearn": {"linear/estimators", "dask/estimators"},
    "pandas": {"online/tables"}, "zstandard": {"io/source"},
    "pyarrow": {"io/arrow", "io/csv_reader", "io/arrow_reader"},
    "dask": {"dask/partitions"}, "distributed": {"dask/partitions"},
}  # fmt: skip

# {(rule, module, subject of the offence): reason}
EXCEPTIONS = {
    ("kernel_imports", "linear/kernels/lazy", "numpy"): "chooses the strategy in Python, before a kernel is called",
    ("cuda_imports", "cuda/primitives", "numba.cuda"): "holds device functions; only cuda_* modules import it",
    ("optional_packages", "linear/estimators", "sklearn"): "is imported when an estimator is asked for",
    ("lazy_modules", "dask/estimators", "linear/estimators"): "is imported when an estimator is asked for",
    ("package_files", "__init__", "code"): "the version, and the estimators, which are imported when asked for",
    ("package_files", "dask/__init__", "code"): "the estimators, which are imported when asked for",
}


class Offence(NamedTuple):
    """Violation of a rule: the module, the import or code in question, and a message."""

    module: str
    what: str
    message: str


def offences(rule, modules):
    """Return the messages of the offences against a rule that are not in `EXCEPTIONS`."""
    return [found.message for found in rule(modules) if (rule.__name__, found.module, found.what) not in EXCEPTIONS]


def package_of(module):
    return module.split("/")[0]


def is_kernel(module):
    return "kernels" in module.split("/")[:-1]


def is_cuda(module):
    return module.rpartition("/")[2].startswith("cuda_")


@pytest.fixture
def fake(tmp_path):
    """Return a function that replaces a temporary package by files {name: source} and reads it."""

    def write(sources):
        shutil.rmtree(tmp_path / "adagrad_nb", ignore_errors=True)
        for name, source in sources.items():
            path = tmp_path / "adagrad_nb" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        return layout.read(tmp_path / "adagrad_nb")

    return write


def assert_kept(rule):
    """Assert that the package keeps a rule."""
    messages = offences(rule, MODULES)
    assert not messages, "\n".join(messages)


def assert_only(messages, *words):
    """Assert that there is one message, and that it contains all the words."""
    assert len(messages) == 1, messages
    assert [word for word in words if word not in messages[0]] == []


# --- order of packages and import cycles -------------------------------------------------------------------------


def order(modules):
    """A package imports only from the lines of `ORDER` above its own, also in functions."""
    for name, module in modules.items():
        for found in module.imports:
            if not found.own:
                continue
            first, second = package_of(name), package_of(found.target)
            if first != second and first in RANK and second in RANK and RANK[second] >= RANK[first]:
                where = "beside" if RANK[second] == RANK[first] else "above"
                yield Offence(name, found.target, f"{name} imports {found.target}: {second} stands {where} {first}")


def cycles(modules):
    """There are no import cycles, also in functions."""
    graph = layout.graph(modules)
    for nodes in layout.cycles(graph):
        path = layout.shortest_cycle(graph, nodes)
        yield Offence(path[0], path[1], "import cycle: " + " -> ".join(path))


def test_imports_follow_the_order_of_packages():
    assert_kept(order)


def test_there_are_no_import_cycles():
    assert_kept(cycles)


@pytest.mark.parametrize(
    "source", ["from ..optim import step", "from ..optim.step import x", "import adagrad_nb.optim.step"]
)
@pytest.mark.parametrize(
    "within", ["", "def f():\n    ", "if TYPE_CHECKING:\n    ", "try:\n    import os\nfinally:\n    "]
)
def test_an_import_that_points_up_is_found(fake, source, within):
    modules = fake({"records/rules.py": within + source, "optim/step.py": "x = 1"})
    assert_only(offences(order, modules), "records/rules", "optim/step", "above")


def test_an_import_of_a_package_in_the_same_line_is_found(fake):
    modules = fake({"minimize/loop.py": "from ..linear.fit import fit_linear", "linear/fit.py": "fit_linear = None"})
    assert_only(offences(order, modules), "minimize/loop", "linear/fit", "beside")


def test_an_import_of_the_whole_package_is_found(fake):
    modules = fake({"io/source.py": "from .. import x", "__init__.py": "x = 1"})
    assert_only(offences(order, modules), "io/source", "__init__", "above")


def test_an_import_that_points_down_is_allowed(fake):
    modules = fake(
        {"records/rules.py": "", "optim/step.py": "from ..records import rules", "optim/leaf.py": "from . import step"}
    )
    assert offences(order, modules) == offences(cycles, modules) == []


@pytest.mark.parametrize("within", ["", "def f():\n    "])
def test_an_import_cycle_is_found(fake, within):
    modules = fake(
        {"io/a.py": "from . import b", "io/b.py": "from .c import x", "io/c.py": within + "from .a import y"}
    )
    assert_only(offences(cycles, modules), "io/a -> io/b -> io/c -> io/a")


def test_a_module_that_imports_itself_is_found(fake):
    assert_only(offences(cycles, fake({"_check.py": "from . import _check"})), "_check -> _check")


# --- kernels -----------------------------------------------------------------------------------------------------


def kernel_imports(modules):
    """Kernels import only the compiler, records, the CUDA runtime and other kernels."""
    for name, module in modules.items():
        if not is_kernel(name):
            continue
        for found in module.imports:
            if found.own:
                allowed = package_of(found.target) in {"compiler", "records", "cuda"} or is_kernel(found.target)
                what = found.target
            else:
                what = found.target.split(".")[0]
                allowed = what in {"math", "typing", "numba"}
            if not allowed:
                yield Offence(name, what, f"{name} imports {found.target}, which kernels may not")


def kernel_signatures(modules):
    """Kernels take at most eight arguments and have no defaults."""
    for name, module in modules.items():
        compiled = _compiled(module.tree)
        for node in module.tree.body:
            if isinstance(node, ast.FunctionDef) and (is_kernel(name) or node in compiled):
                count = len(node.args.posonlyargs + node.args.args + node.args.kwonlyargs)
                if count > 8:
                    yield Offence(name, node.name, f"{name}.{node.name} takes {count} arguments")
                if node.args.defaults or any(node.args.kw_defaults):
                    yield Offence(name, node.name, f"{name}.{node.name} has defaults")


def kernel_errors(modules):
    """Kernels return a status and raise nothing."""
    for name, module in modules.items():
        for node in ast.walk(module.tree):
            if is_kernel(name) and isinstance(node, ast.Raise | ast.Assert):
                yield Offence(name, "raise", f"{name}, line {node.lineno}: a kernel raises")


def _compiled(tree):
    """Return the functions with a decorator from `compiler`, or with one that the module derives from it."""
    names = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and "compiler" in (node.module or "").split(".")
        for alias in node.names
    }
    compiled = []
    for node in tree.body:
        if isinstance(node, ast.Assign) and _names(node.value) & names:
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.FunctionDef) and any(_names(decorator) & names for decorator in node.decorator_list):
            compiled.append(node)
    return compiled


def _names(node):
    """Return the names and attribute names in an expression."""
    return {getattr(part, "id", None) or getattr(part, "attr", None) for part in ast.walk(node)} - {None}


def test_kernels_import_no_drivers():
    assert_kept(kernel_imports)


def test_kernels_take_few_arguments_and_no_defaults():
    assert_kept(kernel_signatures)


def test_kernels_raise_nothing():
    assert_kept(kernel_errors)


def test_an_import_that_kernels_may_not_use_is_found(fake):
    kernel = "optim/kernels/dense.py"
    modules = fake(
        {kernel: "from .. import step\nfrom ...records import rules", "optim/step.py": "", "records/rules.py": ""}
    )
    assert_only(offences(kernel_imports, modules), "optim/kernels/dense", "optim/step")
    modules = fake({kernel: "from ..._check import count", "_check.py": ""})
    assert_only(offences(kernel_imports, modules), "optim/kernels/dense", "_check")
    modules = fake({kernel: "def f():\n    import numpy as np"})
    assert_only(offences(kernel_imports, modules), "optim/kernels/dense", "numpy")


def test_arguments_and_defaults_of_kernels_are_found(fake):
    nine = "a, b, c, d, e, f, g, h, i"
    modules = fake({"optim/kernels/dense.py": f"def learn({nine}): pass"})
    assert_only(offences(kernel_signatures, modules), "optim/kernels/dense.learn", "9")
    modules = fake({"optim/kernels/dense.py": "def learn(x, n=1): pass"})
    assert_only(offences(kernel_signatures, modules), "optim/kernels/dense.learn", "defaults")
    source = (
        "from ..compiler.jit import jit\ninline = jit(inline='always')\n"
        f"@inline\ndef scan({nine}): pass\ndef python({nine}): pass"
    )
    modules = fake({"optim/kernels/dense.py": "", "io/scanner.py": source, "compiler/jit.py": ""})
    assert_only(offences(kernel_signatures, modules), "io/scanner.scan", "9")


def test_an_exception_of_a_kernel_is_found(fake):
    modules = fake({"optim/kernels/dense.py": "def learn(x):\n    raise ValueError"})
    assert_only(offences(kernel_errors, modules), "optim/kernels/dense", "line 2")


# --- records -----------------------------------------------------------------------------------------------------


WHOLE_ARRAY_RECORDS = {"records/domains", "records/matrix_rules"}  # their methods take arrays and are not compiled


def record_imports(modules):
    """Records contain scalar functions only and do not import NumPy, because they also run in CUDA kernels."""
    for name, module in modules.items():
        if package_of(name) != "records":
            continue
        for found in module.imports:
            allowed = {"records", "compiler", "_check", "_legacy"} if found.own else {"math", "typing"}
            if name in WHOLE_ARRAY_RECORDS:
                allowed |= {"numpy", "scipy"}
            if found.target.replace(".", "/").split("/")[0] not in allowed:
                yield Offence(name, found.target, f"{name} imports {found.target}, which records may not")


def test_records_import_no_arrays():
    assert_kept(record_imports)


def test_an_import_that_records_may_not_use_is_found(fake):
    modules = fake({"records/rules.py": "import math\ndef f():\n    import numpy as np"})
    assert_only(offences(record_imports, modules), "records/rules", "numpy")
    modules = fake({"records/rules.py": "from .. import _csr, _check", "_csr.py": "", "_check.py": ""})
    assert_only(offences(record_imports, modules), "records/rules", "_csr")


# --- CUDA and optional packages ----------------------------------------------------------------------------------


def cuda_imports(modules):
    """``numba.cuda`` is imported by ``cuda_*`` modules and, in functions, by those of ``cuda/``."""
    for name, module in modules.items():
        for found in module.imports:
            if found.own or not f"{found.target}.".startswith("numba.cuda.") or is_cuda(name):
                continue
            if package_of(name) != "cuda":
                yield Offence(name, "numba.cuda", f"{name} imports {found.target}")
            elif found.when == "top":
                yield Offence(name, "numba.cuda", f"{name} imports {found.target} at the top")
        if any(
            isinstance(node, ast.Attribute) and node.attr == "cuda" and getattr(node.value, "id", "") == "numba"
            for node in ast.walk(module.tree)
        ):
            yield Offence(name, "numba.cuda", f"{name} uses numba.cuda by its attribute")


def lazy_modules(modules):
    """Modules that load ``numba.cuda`` or an optional package are imported in functions or by ``cuda_*`` modules."""
    loading = {name for name, module in modules.items() if is_cuda(name) or any(map(_is_heavy, module.imports))}
    for name, module in modules.items():
        for found in module.imports:
            if found.own and found.target in loading and found.when == "top" and not is_cuda(name):
                yield Offence(name, found.target, f"{name} imports {found.target} at the top")


def _is_heavy(found):
    is_optional = found.target.split(".")[0] in ADAPTERS or f"{found.target}.".startswith("numba.cuda.")
    return is_optional and not found.own and found.when == "top"


def optional_packages(modules):
    """Optional packages are imported by their adapters only, in functions."""
    for name, module in modules.items():
        for found in module.imports:
            package = found.target.split(".")[0]
            if found.own or package not in ADAPTERS:
                continue
            if name not in ADAPTERS[package]:
                yield Offence(name, package, f"{name} imports {package}; {sorted(ADAPTERS[package])} may")
            elif found.when == "top":
                yield Offence(name, package, f"{name} imports {package} at the top")


def decorators(modules):
    """Numba's decorators are used in `compiler.jit` only: the default error model of njit prevents vectorisation."""
    forbidden = {"njit", "jitclass", "vectorize", "guvectorize", "stencil", "cfunc", "generated_jit"}
    for name, module in modules.items():
        if name == "compiler/jit":
            continue
        found = {i.target for i in module.imports if i.target in {f"numba.{word}" for word in forbidden | {"jit"}}}
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "numba":
                found |= {f"numba.{node.attr}"} & {f"numba.{word}" for word in forbidden | {"jit"}}
            for decorator in getattr(node, "decorator_list", []):
                names = _names(decorator)
                found |= names & forbidden
                if {"jit", "cuda"} <= names and package_of(name) != "cuda" and not is_cuda(name):
                    found.add("cuda.jit")
        for word in sorted(found):
            yield Offence(name, word, f"{name} uses {word}")


def test_only_cuda_modules_import_cuda():
    assert_kept(cuda_imports)


def test_modules_that_load_optional_packages_are_imported_lazily():
    assert_kept(lazy_modules)


def test_only_adapters_import_optional_packages():
    assert_kept(optional_packages)


def test_one_module_uses_numba_decorators():
    assert_kept(decorators)


@pytest.mark.parametrize(("statement", "loaded"), [("import adagrad_nb", "[]"), ("import tqdm", "['tqdm']")])
def test_importing_is_light(python, statement, loaded):
    heavy = ["matplotlib", "tqdm", "sklearn", "numba.cuda", "dask", "pandas", "pyarrow", "torch"]
    assert python(f"{statement}\nimport sys; print([m for m in {heavy} if m in sys.modules])").strip() == loaded


@pytest.mark.parametrize(("blocked", "expected"), [(False, "True True"), (True, "False True")])
def test_help_works_without_scikit_learn(python, blocked, expected):
    source = f"""
import pydoc, sys
if {blocked}:
    sys.modules["sklearn"] = None
import adagrad_nb
text = pydoc.render_doc(adagrad_nb, renderer=pydoc.plaintext)
print("AdagradClassifier" in dir(adagrad_nb), "minimize_adagrad" in text)
try:
    from adagrad_nb import AdagradClassifier
except ImportError as error:
    assert "pip install" in str(error)
"""
    assert python(source).strip() == expected


@pytest.mark.parametrize("source", ["from numba import cuda", "import numba.cuda", "from numba.cuda import jit"])
def test_an_import_of_cuda_is_found(fake, source):
    modules = fake({"optim/step.py": f"def f():\n    {source}"})
    assert_only(offences(cuda_imports, modules), "optim/step", "numba.cuda")
    modules = fake({"optim/step.py": "", "cuda/arrays.py": source, "cuda/memory.py": f"def f():\n    {source}"})
    assert_only(offences(cuda_imports, modules), "cuda/arrays", "numba.cuda", "at the top")


def test_an_attribute_of_numba_is_found(fake):
    modules = fake({"optim/step.py": "import numba\nx = numba.cuda.to_device\ny = numba.njit"})
    assert_only(offences(cuda_imports, modules), "optim/step", "numba.cuda")
    assert_only(offences(decorators, modules), "optim/step", "numba.njit")


@pytest.mark.parametrize(
    ("target", "source"),
    [
        ("optim/kernels/cuda_dense", ""),
        ("cuda/primitives", "from numba import cuda"),
        ("linear/estimators", "try:\n    import sklearn.base\nexcept ImportError:\n    raise"),
    ],
)
def test_a_top_level_import_of_a_lazy_module_is_found(fake, target, source):
    parts = target.replace("/", ".")
    sources = {f"{target}.py": source, "optim/step.py": f"from ..{parts} import x"}
    assert_only(offences(lazy_modules, fake(sources)), "optim/step", target)
    sources = {
        f"{target}.py": source,
        "optim/step.py": f"def f():\n    from ..{parts} import x",
        "linear/kernels/cuda_rows.py": f"from ...{parts} import x",
    }
    assert offences(lazy_modules, fake(sources)) == []


def test_an_import_of_an_optional_package_is_found(fake):
    modules = fake({"metrics.py": "def f():\n    import sklearn.metrics"})
    assert_only(offences(optional_packages, modules), "metrics", "sklearn", "linear/estimators")
    modules = fake({"metrics.py": "", "plots.py": "from matplotlib import pyplot"})
    assert_only(offences(optional_packages, modules), "plots", "matplotlib", "at the top")


@pytest.mark.parametrize("decorator", ["njit", "numba.njit(parallel=True)", "numba.jit", "vectorize", "cuda.jit"])
def test_a_decorator_of_numba_is_found(fake, decorator):
    modules = fake({"optim/step.py": f"@{decorator}\ndef f(x): pass"})
    assert {message.split()[0] for message in offences(decorators, modules)} == {"optim/step"}


# --- __init__ files and the list of packages ---------------------------------------------------------------------


def package_files(modules):
    """The `__init__` of a package has a docstring and only re-exports, none of which hides a module."""
    for name, module in modules.items():
        folder, _, stem = name.rpartition("/")
        if stem != "__init__":
            continue
        if not ast.get_docstring(module.tree):
            yield Offence(name, "docstring", f"{name} has no docstring")
        code = [node for node in module.tree.body[1:] if not _is_export(node)]
        if code:
            yield Offence(name, "code", f"{name}, line {code[0].lineno}: more than re-exports")
        prefix = f"{folder}/".lstrip("/")
        inside = {other[len(prefix) :].split("/")[0] for other in modules if other.startswith(prefix)}
        for exported, source in _exports(module.tree):
            if exported in inside and source != ".":
                hidden = prefix + exported
                yield Offence(name, exported, f"{name} exports {exported} of {source}, which hides the module {hidden}")


def _is_export(node):
    is_list = isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
    return is_list or (isinstance(node, ast.ImportFrom) and node.level == 1)


def _exports(tree):
    """Yield (name, origin) of the names that a package defines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, "." * node.level + (node.module or "")
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, "its own"
        for target in getattr(node, "targets", []):
            yield getattr(target, "id", ""), "its own"


def listed(modules):
    """Every module is in a package of `ORDER` or in one of `KERNELS`."""
    for name in modules:
        folder = layout.unit(name) if "/" in name else ""
        if package_of(name) not in RANK or (folder.count("/") and folder not in KERNELS):
            yield Offence(name, folder or name, f"{name} is not in a package of the list")


def test_packages_hold_a_docstring_and_exports():
    assert_kept(package_files)


def test_packages_have_an_init():
    with_init = {layout.unit(name) for name in MODULES if name.endswith("/__init__")}
    assert {layout.unit(name) for name in MODULES if "/" in name} == with_init


def test_every_module_is_in_a_package_of_the_list():
    assert_kept(listed)


def test_no_package_is_twice_in_the_order():
    assert len(RANK) == sum(map(len, ORDER))


def test_a_package_without_a_docstring_is_found(fake):
    assert_only(
        offences(package_files, fake({"optim/__init__.py": "from .step import update"})), "optim/__init__", "docstring"
    )


def test_code_of_a_package_is_found(fake):
    modules = fake({"optim/__init__.py": '"""Steps."""\nfrom .step import update\nx = update()', "optim/step.py": ""})
    assert_only(offences(package_files, modules), "optim/__init__", "line 3")


@pytest.mark.parametrize("folder", ["", "optim/"])
def test_an_export_that_hides_a_module_is_found(fake, folder):
    exports = '"""Steps."""\nfrom .step import update\nfrom . import leaf'
    modules = fake(
        {f"{folder}{name}.py": "" for name in ("step", "leaf", "update")} | {f"{folder}__init__.py": exports}
    )
    assert_only(offences(package_files, modules), f"{folder}__init__", ".step", f"the module {folder}update")


@pytest.mark.parametrize("module", ["extras", "extras/step", "optim/lazy/decay", "linear/kernels/gpu/rows"])
def test_a_module_outside_the_list_is_found(fake, module):
    assert_only(offences(listed, fake({f"{module}.py": "", "optim/kernels/dense.py": ""})), module)


# --- exceptions, and the functions of `layout` -------------------------------------------------------------------


@pytest.mark.parametrize("exception", EXCEPTIONS, ids=" ".join)
def test_exceptions_are_needed(exception):
    rule, module, what = exception
    assert (module, what) in {(found.module, found.what) for found in globals()[rule](MODULES)}


def test_imports_are_read(fake):
    assert layout.Import("records/rules", True, "top") in MODULES["records/coordinate"].imports
    assert layout.Import("numba", False, "top") in MODULES["compiler/jit"].imports
    source = "from .. import _check\nfrom . import x\nfrom numba import cuda as c\ndef f():\n    import numpy.linalg"
    modules = fake({"optim/step.py": source, "optim/__init__.py": "x = 1", "_check.py": ""})
    assert modules["optim/step"].imports == [
        layout.Import("_check", True, "top"),
        layout.Import("numba.cuda", False, "top"),
        layout.Import("numpy.linalg", False, "lazy"),
        layout.Import("optim/__init__", True, "top"),
    ]


def test_units_are_counted(fake):
    sources = {
        "__init__.py": "",
        "_check.py": "",
        "io/a.py": "from .. import _check",
        "io/b.py": "from ..optim import c",
    }
    modules = fake(sources | {"optim/c.py": "from ..io import a, b\ndef f_g(x): pass\ndef __h__(x): pass"})
    units = layout.graph(modules, layout.unit)
    assert layout.edges(units) == [("io", "_check"), ("io", "optim"), ("optim", "io")]
    assert layout.cycles(units) == [("io", "optim")]
    assert len(layout.upward(units)) == 1
    assert layout.upward_by_order(modules) == [("io", "optim")]
    assert layout.levels(units, [("io", "optim")]) == {"__init__": 1, "_check": 1, "io": 2, "optim": 3}
    assert [f.has_one_word for f in layout.functions(modules["optim/c"])] == [False, True]
    assert dict(layout.counts(modules))["files"] == 5
