"""Tasks for executors; each notes its start in a folder, so that starts can be counted."""

import os
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kaiju_sim.errors import UserError


class Job(NamedTuple):
    """A number to square, and what goes wrong on the way."""

    number: int
    folder: Path
    deaths: int = 0
    """Starts that end with the process's death by SIGKILL."""
    rest_s: float = 0.0


def square(job: Job) -> int:
    """The square, after as many deaths as the job has."""
    if job.number < 0:
        raise UserError("a negative number", "jobs.yaml", 3)
    note = job.folder / f"{job.number}-{os.getpid()}-{time.monotonic_ns()}"
    note.touch()
    if starts(job.folder, job.number) <= job.deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(job.rest_s)
    return job.number**2


def raised_in_place(array: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """The same array, one more in each place."""
    array += 1
    return array


def starts(folder: Path, number: int) -> int:
    """How often a job was started."""
    return len(list(folder.glob(f"{number}-*")))


def alive(folder: Path) -> list[int]:
    """Processes that had jobs and still exist."""
    found = []
    for note in folder.iterdir():
        pid = int(note.name.split("-")[1])
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if state != "Z" and pid != os.getpid():
            found.append(pid)
    return found
