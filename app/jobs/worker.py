"""A job's process: `python -m app.jobs.worker NAME` does what the folder's task asks for."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from app.figures.scenarios import said
from app.jobs.desk import NICE
from app.jobs.folder import State, folder_of, task_of, tell
from app.jobs.work.breakits import break_it
from app.jobs.work.claims import audit
from app.jobs.work.plans import plan
from app.jobs.work.progress import Teller, watch
from app.jobs.work.runs import simulate
from app.jobs.work.sweeps import sweep
from kaiju_sim.errors import UserError

RUN_KIND = "run"
KINDS: Mapping[str, Callable[[Path, Mapping[str, Any], Teller], None]] = {
    RUN_KIND: simulate,
    "break-it": break_it,
    "plan": plan,
    "sweep": sweep,
    "audit": audit,
}
"""What there is to do, by the task's `kind` (without one it is a run)."""


def main(name: str) -> int:
    """Do the job of that name; the exit code."""
    folder = folder_of(name)
    if folder is None:
        return 2
    os.nice(NICE)
    watch(folder)
    try:
        work(folder)
    except UserError as error:
        tell(folder, State("failed", words=said(error)))
        return 2
    except Exception as error:
        tell(folder, State("failed", words=f"a fault of ours: {type(error).__name__}: {error}"))
        return 1
    return 0


def work(folder: Path) -> None:
    """Do what the folder's task asks for."""
    task = task_of(folder)
    KINDS[str(task.get("kind", RUN_KIND))](folder, task, Teller(folder))
    tell(folder, State("done", 1.0))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
