"""Measured figures for docs/benchmarks.md."""
