"""Other simulators beside ours: same workloads, same machine, turn by turn, in one run."""
