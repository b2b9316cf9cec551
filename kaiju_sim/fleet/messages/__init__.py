"""A message's life outside the engine: its prompt, its outcome, its row in the log."""
