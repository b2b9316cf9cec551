"""Charts: pure functions from rows to Altair charts, with units on every axis."""
