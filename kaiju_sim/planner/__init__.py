"""The planner: the fewest GPUs that meet a scenario's objectives, and what takes more of them."""
