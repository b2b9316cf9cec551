"""What was measured on real operators; each file names what made it."""
