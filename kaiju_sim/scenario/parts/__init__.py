"""Larger parts of the scenario, one module each."""
