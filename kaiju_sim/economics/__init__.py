"""Unit economics: a run's figures in money. Pure functions: nothing is simulated here."""
