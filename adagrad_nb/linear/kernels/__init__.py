"""Loops over CSR rows: one update per row or mini-batch, lazy updates, workers and merging.

Read `rows` and `lazy` first.
"""
