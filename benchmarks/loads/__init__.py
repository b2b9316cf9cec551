"""Loads of the benchmark beside the fixed scenario: the common workloads, and the day."""
