"""Many variants of a scenario, simulated anywhere, resumed where they were stopped."""
