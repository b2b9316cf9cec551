"""The persona-consistency gate: a judge's scores, calibrated by people, against a bar."""
