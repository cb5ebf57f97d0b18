"""Nested dicts, lists and tuples of arrays: walked in one order, rebuilt in the same shape."""

import copy


def walk(tree, path="x"):
    """Yield (path, leaf) in the order of the containers; a path reads like the expression that gets the leaf."""
    for key, child in _iter_children(tree):
        yield from walk(child, f"{path}[{key!r}]")
    if not _is_branch(tree):
        yield path, tree


def list_leaves(tree):
    """The leaves as a list, in the order of `walk`."""
    if not _is_branch(tree):
        return [tree]
    children = list(tree.values() if isinstance(tree, dict) else tree)
    if _is_flat(children):
        return children
    return [leaf for child in children for leaf in list_leaves(child)]


def _is_flat(children):
    """Whether there are no containers in a container: the usual case, which needs no recursion."""
    for child in children:  # noqa: SIM110 (a generator takes twice the time)
        if isinstance(child, (dict, list, tuple)):
            return False
    return True


def align(tree, other, name, path=""):
    """What `other` holds at each leaf of `tree`, as a list; `other` must have the same containers."""
    if not _is_branch(tree):
        return [other]
    keys = list(tree) if isinstance(tree, dict) else range(len(tree))
    same = isinstance(other, dict) == isinstance(tree, dict) and _is_branch(other) and len(other) == len(tree)
    if not same or (isinstance(tree, dict) and other.keys() != tree.keys()):
        raise ValueError(f"{name}{path}: its structure differs from that of x, which holds {list(keys)} here")
    if _is_flat(tree.values() if isinstance(tree, dict) else tree):
        return [other[key] for key in keys]
    return [part for key in keys for part in align(tree[key], other[key], name, f"{path}[{key!r}]")]


def rebuild(tree, leaves):
    """The containers of `tree` around new leaves, taken from an iterator in the order of `walk`."""
    if isinstance(tree, dict):
        new = copy.copy(tree)  # subclasses differ in what they are made from
        new.update((key, rebuild(child, leaves)) for key, child in tree.items())
        return new
    if hasattr(tree, "_fields"):
        return type(tree)(*(rebuild(child, leaves) for child in tree))
    if _is_branch(tree):
        return type(tree)(rebuild(child, leaves) for child in tree)
    return next(leaves)


def _is_branch(tree):
    return isinstance(tree, (dict, list, tuple))


def _iter_children(tree):
    if isinstance(tree, dict):
        return tree.items()
    return enumerate(tree) if _is_branch(tree) else ()
