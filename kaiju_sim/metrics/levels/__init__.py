"""Service levels: burn-rate alerts on what a run has recorded."""
