"""What was measured, and what is assumed."""
