"""Names of record methods and attributes in the previous release, which are still accepted.

Other modules use the current names only: they get members of records with `get_member` and `has_member`.
"""

from typing import Any

OLD_NAMES = {
    # update rules
    "initial_slots": "fill",
    "step_size": "width",
    "cumulative_step_size": "reach",
    "primal": "point",
    "unpenalized": "free",
    "preconditioner": "metric",
    "pool_squares": "pooled",
    "is_scaled_gradient": "straight",
    "accumulators_add": "adds",
    "per_row": "rowwise",
    # all records
    "finalized": "complete",
    # penalties
    "prox_k": "repeat",
    "prox_k_sum": "total",
    "gradient_mapping": "mapping",
    "prox_steps_add": "additive",
    "is_group": "grouped",
    "group_value": "norm",
    "group_prox": "shrink",
    # losses
    "inverse_link": "link",
    "target_type": "labels",
    "invariant_step": "flow",
    "loss_and_gradient": "gradient",
    "can_learn_from": "sound",
    # transforms and gates
    "transform_at": "revise",
    "scale_for_norm": "factor",
    "uses_global_norm": "together",
    "for_array": "resolved",
    "accumulates": "gathers",
    "may_skip": "skips",
}

OLD_TARGET_TYPES = {"number": "continuous", "classes": "multiclass"}


def get_member(record: Any, name: str, default: Any = None) -> Any:
    """Return the method or attribute `name` of a record or record class, or `default` if there is none.

    If the record does not have `name`, its name in the previous release is tried, unless a field is called so.
    """
    member = getattr(record, name, None)
    if member is None:
        old = OLD_NAMES.get(name)
        if old is not None and old not in getattr(record, "_fields", ()):
            member = getattr(record, old, None)
    return default if member is None else member


def has_member(record: Any, name: str) -> bool:
    """Return whether a record or record class has the method or attribute `name`."""
    return get_member(record, name) is not None
