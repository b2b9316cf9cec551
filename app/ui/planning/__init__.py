"""The parts of the page Plan and compare."""
