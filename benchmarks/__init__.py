"""Measurements of the simulator itself; `python -m benchmarks.simulator` runs them."""
