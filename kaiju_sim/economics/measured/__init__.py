"""Measured figures, as package data."""
