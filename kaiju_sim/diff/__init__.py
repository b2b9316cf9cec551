"""What differs between two runs or scenarios: inputs first, then figures, noise called noise."""
