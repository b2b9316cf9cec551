"""How work spreads: over two cores, over Ray, and a fleet's peak hour in full."""
