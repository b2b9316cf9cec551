"""The safety gate in words and tables."""
