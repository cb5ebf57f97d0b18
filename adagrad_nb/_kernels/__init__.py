"""Loops over the scalar records: no checks, no allocation, no policy."""
