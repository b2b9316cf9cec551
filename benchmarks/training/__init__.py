"""Measurements of the training side; `python -m benchmarks.training` runs them."""
