"""Verbs that simulate many times: sweeps, and what differs between two runs."""
