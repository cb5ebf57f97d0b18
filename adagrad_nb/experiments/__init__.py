"""Experiments: sweeps over options, comparisons of methods at equal budgets, and known problems.

Read `sweep` first, then `problems` and `compare`.
"""
