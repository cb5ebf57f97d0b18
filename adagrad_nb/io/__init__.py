"""Readers of svmlight and Vowpal Wabbit text, and archives of states and models.

Read `readers` first, then `source` (files and decompression), `svmlight` and its scanner, `vowpal`, and `archive`.
"""
