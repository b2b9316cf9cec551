"""Verdicts of the eval gates for people."""
