"""From a scenario to the arrays of its cells."""
