"""Regret: the best fixed comparator with a certified gap, and online games.

Read `comparator` first, then `game`.
"""
