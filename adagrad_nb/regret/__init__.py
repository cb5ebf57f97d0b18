"""Regret: the best fixed comparator with a certified gap, and the loss kernels that it needs.

Read `comparator` first.
"""
