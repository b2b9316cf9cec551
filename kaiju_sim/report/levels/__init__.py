"""Service levels for readers: burn-rate alerts on the console and in the report."""
