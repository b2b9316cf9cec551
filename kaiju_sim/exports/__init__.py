"""A run directory in other tools' formats: Prometheus, Perfetto, spreadsheets."""
