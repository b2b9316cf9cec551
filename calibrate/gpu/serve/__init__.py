"""The serving engine's executor on a GPU."""
