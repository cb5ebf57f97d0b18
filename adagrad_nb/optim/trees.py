"""Nested dicts, lists and tuples of arrays: list their arrays in one order, and rebuild the same containers."""

import copy

MANY = 16  # children from which on it is quicker to test the set of their types


def walk(tree, path="x"):
    """Return [(path, leaf)] in the order of the containers.

    The path is the expression that gets the leaf, such as ``x['layers'][0]``.
    """
    if not _is_branch(tree):
        return [(path, tree)]
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return [pair for key, child in items for pair in walk(child, f"{path}[{key!r}]")]


def list_leaves(tree):
    """Return the leaves as a list, in the order of `walk`."""
    if not _is_branch(tree):
        return [tree]
    children = list(tree.values() if isinstance(tree, dict) else tree)
    if _is_flat(children):
        return children
    return [leaf for child in children for leaf in list_leaves(child)]


def align(tree, other, name, path=""):
    """Return the parts of `other` at the leaves of `tree`, as a list; both must have the same containers."""
    if not _is_branch(tree):
        return [other]
    keys = list(tree) if isinstance(tree, dict) else range(len(tree))
    is_alike = isinstance(other, dict) == isinstance(tree, dict) and _is_branch(other) and len(other) == len(tree)
    if not is_alike or (isinstance(tree, dict) and other.keys() != tree.keys()):
        raise ValueError(f"{name}{path}: its structure differs from that of x, which holds {list(keys)} here")
    if _is_flat(tree.values() if isinstance(tree, dict) else tree):
        return [other[key] for key in keys]
    return [part for key in keys for part in align(tree[key], other[key], name, f"{path}[{key!r}]")]


def rebuild(tree, leaves):
    """Return the containers of `tree` around new leaves, which an iterator yields in the order of `walk`."""
    if isinstance(tree, dict):
        new = copy.copy(tree)  # the constructors of subclasses take different arguments
        new.update((key, rebuild(child, leaves)) for key, child in tree.items())
        return new
    if hasattr(tree, "_fields"):
        return type(tree)(*(rebuild(child, leaves) for child in tree))
    if _is_branch(tree):
        return type(tree)(rebuild(child, leaves) for child in tree)
    return next(leaves)


def _is_branch(tree):
    """Return whether a node is a container."""
    return isinstance(tree, (dict, list, tuple))


def _is_flat(children):
    """Return whether no child is a container: the usual case, which needs no recursion."""
    if len(children) > MANY:
        return not any(issubclass(kind, (dict, list, tuple)) for kind in set(map(type, children)))
    for child in children:  # noqa: SIM110 (a generator takes twice the time)
        if isinstance(child, (dict, list, tuple)):
            return False
    return True
