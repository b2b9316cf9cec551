"""Compiled code: the only use of numba."""
