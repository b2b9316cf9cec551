"""KV memory of the engine: pages for what policy names and counts."""
