"""The lists of the design: each is there for a question of the fit, which it states."""
