"""From a finished simulation to what people and programs read: run directory, console, HTML."""
