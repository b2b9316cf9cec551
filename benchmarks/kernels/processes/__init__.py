"""The processes of a run: a supervisor that survives what happens to the device, a worker that
measures, and those that compile ahead."""
