"""Where independent tasks run: in this process, in a pool of processes, or on a Ray cluster."""

from kaiju_sim.executor.choose import run_tasks

__all__ = ["run_tasks"]
