"""Long runs: a process of its own for each, a folder for what it says and leaves."""
