"""What the files of a measurement say: tables and drawings. Needs neither torch nor a GPU."""
