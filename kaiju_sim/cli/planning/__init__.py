"""Verbs that search for the fewest GPUs."""
