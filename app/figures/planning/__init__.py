"""Figures of the page Plan and compare."""
