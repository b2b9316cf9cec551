"""Measured against simulated: statistics, messages, steps, causes, the verdict."""
