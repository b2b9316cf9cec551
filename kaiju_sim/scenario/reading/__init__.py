"""Reading scenario files: YAML with places, and mistakes told in a line."""
