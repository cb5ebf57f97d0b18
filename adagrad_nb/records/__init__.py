"""Records of scalar functions: rules, transforms, penalties, schedules, averages and losses.

Each record is a ``typing.NamedTuple`` of hyper-parameters whose methods are plain Python functions of scalars.  Read
`rules`, then `coordinate`, which composes a rule, transforms and a penalty into the one update of a coordinate.
"""
