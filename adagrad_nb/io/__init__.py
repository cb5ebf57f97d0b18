"""Readers of svmlight and Vowpal Wabbit text, and archives of states and models.

Read `readers` first, then `source` (files, pipes and decompression), `content` (names of other formats), `svmlight` and
its scanner, `vowpal`, `archive`, and `schema` (checks of what archives contain).
"""
