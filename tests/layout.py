"""Static analysis of the package by `ast`: modules, imports, functions and their counts.

``python tests/layout.py [PACKAGE]`` prints the counts.  A module is named by its path, as in ``linear/kernels/rows``
and ``linear/__init__``.

- The *unit* of a module is its directory or, at the top level, the module itself.
- The *subject* of a module is its top-level directory or file; all CUDA kernels together are one more subject.
- An import between units is an *edge* of a graph.  It points *up* if `ORDER` forbids it.  For a package without this
  order, the upward edges are a smallest set whose removal leaves no cycle.
- The number of *levels* is the number of units on the longest path without upward edges.
"""

import ast
import itertools
import pathlib
import statistics
import sys
from typing import NamedTuple

# Packages and modules of the top level.  Each imports only from the lines above its own.
ORDER = [
    ["_legacy"],
    ["_check", "compiler", "callbacks", "metrics"],
    ["records", "cuda", "_csr"],
    ["io"],
    ["optim"],
    ["minimize", "linear"],
    ["online"],
    ["testing", "warmup", "plots", "dask"],
    ["experiments"],
    ["__init__"],
    ["cli"],
    ["__main__"],
]
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
FUNCTIONS = ast.FunctionDef, ast.AsyncFunctionDef


class Import(NamedTuple):
    """Import of a module of the package (if `own`) or of a dotted name such as ``numba.cuda``.

    `when` is "top" (when the module is loaded), "lazy" (in a function) or "typing" (under ``if TYPE_CHECKING``).
    """

    target: str
    own: bool
    when: str


class Function(NamedTuple):
    """Function or method with its qualified name in the module."""

    name: str
    is_public: bool
    is_annotated: bool

    @property
    def is_special(self):
        name = self.name.rpartition(".")[2]
        return name.startswith("__") and name.endswith("__")

    @property
    def has_one_word(self):
        return "_" not in self.name.rpartition(".")[2].strip("_")


class Module(NamedTuple):
    """Module of the package: name, syntax tree, number of lines and imports."""

    name: str
    tree: ast.Module
    lines: int
    imports: list


# --- modules, imports and functions ------------------------------------------------------------------------------


def read(package):
    """Return {name: Module} of the modules below the directory `package`."""
    package = pathlib.Path(package)
    paths = {path.relative_to(package).with_suffix("").as_posix(): path for path in sorted(package.rglob("*.py"))}
    modules = {}
    for name, path in paths.items():
        text = path.read_text()
        tree = ast.parse(text)
        modules[name] = Module(
            name, tree, len(text.splitlines()), sorted(set(_imports(tree, name, package.name, paths)))
        )
    return modules


def _imports(tree, name, package, paths):
    """Yield the imports of the module `name`; `from . import x` imports the module x if it exists."""
    folders = name.split("/")[:-1]
    for node, when in _walk_imports(tree, "top"):
        for alias in node.names:
            if isinstance(node, ast.Import):
                parts, extra = alias.name.split("."), []
                own = parts[0] == package
                parts = parts[1:] if own else parts
            else:
                parts, extra = node.module.split(".") if node.module else [], [alias.name]
                own = node.level > 0 or parts[0] == package
                if node.level:
                    parts = folders[: len(folders) - node.level + 1] + parts
                elif own:
                    parts = parts[1:]
            if own:
                yield Import(_resolve([*parts, *extra], paths), True, when)
            else:
                yield Import(".".join([*parts, *extra]), False, when)


def _walk_imports(node, when):
    """Yield (import, when) of the imports below `node`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, when
        elif isinstance(child, (*FUNCTIONS, ast.Lambda)):
            yield from _walk_imports(child, "lazy")
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from _walk_imports(ast.Module(child.body, []), "typing" if when == "top" else when)
            yield from _walk_imports(ast.Module(child.orelse, []), when)
        else:
            yield from _walk_imports(child, when)


def _resolve(parts, paths):
    """Return the module with the name `parts`, or the module that contains the object of that name."""
    for end in range(len(parts), -1, -1):
        path = "/".join(parts[:end])
        for candidate in (path, f"{path}/__init__".lstrip("/")):
            if candidate in paths:
                return candidate
    raise ImportError(f"{'.'.join(parts)} is not in the package")


def functions(module):
    """Return the functions and methods of a module, nested ones included."""
    return list(_functions(module.tree, "", True))


def _functions(node, prefix, is_public):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FUNCTIONS):
            is_public_here = is_public and not child.name.startswith("_")
            yield Function(prefix + child.name, is_public_here, _is_annotated(child))
            yield from _functions(child, f"{prefix}{child.name}.", False)
        elif isinstance(child, ast.ClassDef):
            yield from _functions(child, f"{prefix}{child.name}.", is_public and not child.name.startswith("_"))
        else:
            yield from _functions(child, prefix, is_public)


def _is_annotated(function):
    args = function.args
    parameters = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
    return bool(function.returns) or any(arg.annotation for arg in parameters if arg is not None)


def exported(modules):
    """Return the public functions and methods, inherited ones included, of the objects in `__all__` of the package."""
    found = {}
    queue = [_definition("__init__", name, modules) for name in _all(modules["__init__"])]
    for module, name in queue:
        if module is not None:
            own = [f for f in functions(modules[module]) if f.name == name or f.name.startswith(name + ".")]
            found |= {(module, f.name): f for f in own if f.is_public}
            queue += [_definition(module, base, modules) for base in _bases(modules[module], name)]
    return list(found.values())


def _bases(module, name):
    classes = [node for node in module.tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    return [base.id for node in classes for base in node.bases if isinstance(base, ast.Name)]


def _all(module):
    for node in module.tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return ast.literal_eval(node.value)
    return []


def _definition(module, name, modules):
    """Follow imports to the module that defines `name`; return (module, name there), or (None, name) if not found."""
    while True:
        for node in ast.walk(modules[module].tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                original = next((a.name for a in node.names if name == (a.asname or a.name)), None)
                if original is not None:
                    parts = module.split("/")[: -node.level] + (node.module or "").split(".")
                    module, name = _resolve([part for part in parts if part], modules), original
                    break
        else:
            defined = (getattr(node, "name", None) for node in modules[module].tree.body)
            return (module if name in defined else None), name


# --- graphs: {node: set of successors} ---------------------------------------------------------------------------


def unit(name):
    """Return the unit of a module: its directory, or the module itself at the top level."""
    return name.rpartition("/")[0] or name


def subject(name):
    """Return the top-level directory or file of a module, or ``cuda kernels`` for a CUDA kernel module."""
    folders, _, stem = name.rpartition("/")
    is_cuda_kernel = folders.endswith("kernels") and stem.startswith(("cuda", "gpu"))
    return "cuda kernels" if is_cuda_kernel else name.split("/")[0]


def graph(modules, group=None, when=("top", "lazy", "typing")):
    """Return the graph of the imports within the package, of modules or of the groups that `group` maps them to."""
    targets = {name: {i.target for i in module.imports if i.own and i.when in when} for name, module in modules.items()}
    if group is None:
        return targets
    found = {group(name): set() for name in modules}
    for name in modules:
        found[group(name)] |= {group(target) for target in targets[name]} - {group(name)}
    return found


def edges(graph):
    """Return the edges (from, to) of a graph, sorted."""
    return sorted((a, b) for a, targets in graph.items() for b in targets)


def cycles(graph):
    """Return the maximal sets of nodes that all reach each other, each sorted."""
    reached = {node: set(targets) for node, targets in graph.items()}
    for through, node in itertools.product(graph, graph):
        if through in reached[node]:
            reached[node] |= reached[through]
    found = {tuple(sorted(m for m in reached[n] if n in reached[m])) for n in graph if n in reached[n]}
    return sorted(found)


def shortest_cycle(graph, nodes):
    """Return a shortest cycle through one of `nodes`, as a path that starts and ends with the same node."""
    best = None
    for start in nodes:
        paths = [[start]]
        seen = set()
        while paths:
            path = paths.pop(0)
            for target in sorted(graph[path[-1]]):
                if target == start and (best is None or len(path) < len(best) - 1):
                    best = [*path, start]
                elif target not in seen:
                    seen.add(target)
                    paths.append([*path, target])
    return best


def upward(graph):
    """Return a smallest set of edges whose removal leaves no cycle."""
    found = []
    for nodes in cycles(graph):
        inner = [(a, b) for a, b in edges(graph) if a in nodes and b in nodes]
        best = {frozenset(): []}  # {nodes in the lowest levels: smallest set of upward edges between them}
        for size in range(1, len(nodes) + 1):
            for below in map(frozenset, itertools.combinations(nodes, size)):
                tops = (
                    best[below - {top}] + [(a, b) for a, b in inner if b == top and a in below] for top in sorted(below)
                )
                best[below] = min(tops, key=len)
        found += best[frozenset(nodes)]
    return sorted(found)


def upward_by_order(modules):
    """Return the edges between units that `ORDER` forbids, or None if a unit is not in it."""
    between = [(a, b, a.split("/")[0], b.split("/")[0]) for a, b in edges(graph(modules, unit))]
    if {part for *_, first, second in between for part in (first, second)} - set(RANK):
        return None
    return [(a, b) for a, b, first, second in between if first != second and RANK[first] <= RANK[second]]


def levels(graph, without=()):
    """Return {node: number of nodes on the longest path from it}, ignoring the edges in `without`."""
    found = {}

    def level(node):
        if node not in found:
            found[node] = 1 + max((level(b) for b in graph[node] if (node, b) not in without), default=0)
        return found[node]

    for node in graph:
        level(node)
    return found


# --- counts ------------------------------------------------------------------------------------------------------


def counts(modules):
    """Return [(label, number)] for the package."""
    with_code = {name: module for name, module in modules.items() if name.rpartition("/")[2] != "__init__"}
    lines = [module.lines for module in with_code.values()]
    every = [f for module in with_code.values() for f in functions(module)]
    plain = [f for f in every if not f.is_special]
    public = [f for f in every if f.is_public]
    shown = exported(modules)
    rows = [
        ("files", len(modules)),
        ("modules (files without __init__)", len(with_code)),
        ("lines of modules", sum(lines)),
        ("median lines of a module", statistics.median(lines)),
        ("longest module", max(lines)),
        ("modules under 70 lines", sum(n < 70 for n in lines)),
        ("cycles of modules", len(cycles(graph(modules)))),
    ]
    for label, group, when in (
        ("units (packages and flat files); all imports", unit, ("top", "lazy", "typing")),
        ("subjects (packages, flat files, CUDA kernels); imports outside functions", subject, ("top", "typing")),
    ):
        groups = graph(modules, group, when)
        up = upward(groups)
        rows += [
            (label, len(groups)),
            ("  levels", max(levels(groups, up).values())),
            ("  edges", len(edges(groups))),
            ("  upward edges (smallest set without which there is no cycle)", len(up)),
        ]
        by_order = upward_by_order(modules)
        if group is unit and by_order is not None:
            rows.append(("  upward edges by the order of packages", len(by_order)))
    return [
        *rows,
        ("functions and methods", len(every)),
        ("  with a name of one word", _percentage(f.has_one_word for f in every)),
        ("functions and methods without __special__ ones", len(plain)),
        ("  with a name of one word", _percentage(f.has_one_word for f in plain)),
        ("functions and methods with a public name", len(public)),
        ("  with an annotation", _percentage(f.is_annotated for f in public)),
        ("functions and public methods that the package exports", len(shown)),
        ("  with an annotation", _percentage(f.is_annotated for f in shown)),
    ]


def _percentage(flags):
    flags = list(flags)
    return f"{sum(flags) / max(len(flags), 1):.1%}"


def main(arguments):
    """Print the counts of the package in the directory that is the first argument."""
    package = pathlib.Path(arguments[0] if arguments else pathlib.Path(__file__).parent.parent / "adagrad_nb")
    modules = read(package)
    table = counts(modules)
    width = max(len(label) for label, _ in table)
    for label, number in table:
        print(f"{label:{width}}  {number:>8}")
    for nodes in cycles(graph(modules)):
        print("cycle:", " -> ".join(shortest_cycle(graph(modules), nodes)))
    for a, b in upward_by_order(modules) or upward(graph(modules, unit)):
        print("up:", a, "->", b)


if __name__ == "__main__":
    main(sys.argv[1:])
