"""The audit: closed-form claims recomputed from their inputs, judged, where possible simulated."""
