"""The faults, one class each: what happens when it strikes, and what its remedy does."""
