"""Where workloads come from: the simulator's own dialogues, and public traces."""
