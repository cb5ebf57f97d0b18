"""Records of scalar functions: update rules, transforms, penalties, schedules, averages and losses.

A record is a ``typing.NamedTuple`` of hyper-parameters whose methods are plain Python functions of scalars.  Each
module begins with the members of its kind of record.  Read `rules` first, then `coordinate`, which composes a rule,
transforms and a penalty into the update of one coordinate.

Every kind of record may also have these members:

``domain``
    Dict from names of fields to intervals of valid values, such as ``{"eps": "[0, inf)"}``, or to ``"bool"``.
    Fields without an entry are not checked.
``check()``
    Raise TypeError or ValueError for fields that `domain` cannot describe.  Default: no further checks.
``finalized()``
    Return the record with the fields that are computed from other fields.  It runs in double precision, before the
    fields are cast to the precision of the kernel.  Default: the record itself.
``branchless``
    True if the methods use `safe_divide` and `select` of `compiler.simd` instead of branches.  They then run on SIMD
    vectors in models of several outputs, which is three to six times faster.  Default: False.
"""
