"""Eval gates: cache hits of a prompt format, persona consistency, two-set safety."""
