"""Regret: the best fixed comparator with a certified gap, curves of regret, and online games.

Read `comparator` first, then `curves` and `game`.
"""
