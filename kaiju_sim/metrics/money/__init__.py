"""The parts of the summary that say what limits a fleet and what it costs in full."""
