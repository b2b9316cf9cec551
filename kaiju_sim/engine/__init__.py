"""The engine of a replica: records, scheduling policy, and the loops that drive it."""
