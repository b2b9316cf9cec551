"""The cache-hit gate: messages replayed through the simulator's prompts and prefix cache."""
