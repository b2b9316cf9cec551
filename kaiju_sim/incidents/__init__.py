"""Incidents: faults that strike a running fleet, alarms, people who act, and what it all costs."""
