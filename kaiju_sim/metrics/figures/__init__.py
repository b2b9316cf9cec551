"""The parts of the summary, one module each."""
