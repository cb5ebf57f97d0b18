"""Nested dicts, lists and tuples of arrays: walked in one order, rebuilt in the same shape."""

import copy


def walk(tree, path="x"):
    """Yield (path, leaf) in the order of the containers; a path reads like the expression that gets the leaf."""
    for key, child in _children(tree):
        yield from walk(child, f"{path}[{key!r}]")
    if not _is_branch(tree):
        yield path, tree


def align(tree, other, name, path=""):
    """Yield what `other` holds at each leaf of `tree`; `other` must have the same containers."""
    if not _is_branch(tree):
        yield other
        return
    keys = [key for key, _ in _children(tree)]
    same = isinstance(other, dict) == isinstance(tree, dict) and _is_branch(other)
    if not same or {key for key, _ in _children(other)} != set(keys):
        raise ValueError(f"{name}{path}: its structure differs from that of x, which holds {keys} here")
    for key in keys:
        yield from align(tree[key], other[key], name, f"{path}[{key!r}]")


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


def _children(tree):
    if isinstance(tree, dict):
        return tree.items()
    return enumerate(tree) if _is_branch(tree) else ()
