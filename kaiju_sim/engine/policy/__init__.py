"""Policy, written once: plain functions over arrays, blind to output lengths, free of numba.

The reference loop calls them as they are, the compiled loop calls the same source compiled.
"""
