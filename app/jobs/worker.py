"""A job's process: `python -m app.jobs.worker NAME` simulates what the folder's task asks for.

It ends by itself when its server has gone or when its time is up.
"""

import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.figures.scenarios import load_text, loaded
from app.figures.traffic import trace_name
from app.jobs.desk import NICE
from app.jobs.folder import BASE, State, folder_of, task_of, tell
from kaiju_sim.errors import UserError
from kaiju_sim.report import provenance
from kaiju_sim.report.rundir import write_run
from kaiju_sim.scenario.loader import Loaded
from kaiju_sim.simulation import is_warm, replicate

MOST_SECONDS = 1800.0
TELL_EVERY_S = 0.5
Progress = Callable[[float], None]


class StoppedError(Exception):
    """The run is to end before it is done."""


def main(name: str) -> int:
    """Run the job of that name; the exit code."""
    folder = folder_of(name)
    if folder is None:
        return 2
    os.nice(NICE)
    try:
        simulate(folder)
    except (UserError, StoppedError) as error:
        tell(folder, State("failed", words=str(error)))
        return 2
    except Exception as error:
        tell(folder, State("failed", words=f"a fault of ours: {type(error).__name__}: {error}"))
        return 1
    return 0


def simulate(folder: Path) -> None:
    """Simulate the task's scenario, and the one it is held against; write their run directories."""
    task = task_of(folder)
    words = "simulating" if is_warm() else "compiling the engine loop: once, up to half a minute"
    tell(folder, State("running", words=words))
    sides = {"run": task["sets"]} | ({BASE: task[BASE]} if BASE in task else {})
    told = teller(folder, os.getppid())
    for place, (name, sets) in enumerate(sides.items()):
        one(folder, name, task | {"sets": sets}, part_of(told, place, len(sides)))
    tell(folder, State("done", 1.0))


def part_of(told: Progress, place: int, parts: int) -> Progress:
    """Progress of one of several runs."""
    return lambda fraction: told((place + fraction) / parts)


def one(folder: Path, name: str, task: dict[str, Any], progress: Progress) -> None:
    """Simulate one scenario, write its run directory."""
    started, count = datetime.now(UTC), int(task["replications"])
    found = scenario_of(task, folder)
    try:
        result = replicate(found.scenario, count, base_dir=found.base_dir, progress=progress)
    except UserError as error:
        raise found.located(error) from error
    text = found.to_yaml()
    origin = provenance.collect(
        text,
        result.summary,
        seed=found.scenario.seed,
        profile_sha256=provenance.profile_hash(found.scenario, found.base_dir),
        command=["kaiju-sim", "run", str(task.get("scenario", "typed")), *task["sets"]],
        started=started,
        options={"replications": count},
    )
    write_run(result, text, origin, folder / name, report=True)


def scenario_of(task: dict[str, Any], folder: Path) -> Loaded:
    """The scenario that the task names, has as a text, or replays with a trace."""
    text = task.get("text")
    if isinstance(text, str):
        return load_text(text, folder)
    sets = task["sets"]
    assert isinstance(sets, list)
    changes = [str(item) for item in sets]
    trace = task.get("trace")
    if trace is not None:
        changes.append(f"traffic.trace.file={folder / trace_name(str(trace))}")
    return loaded(str(task["scenario"]), changes)


def teller(folder: Path, server: int) -> Progress:
    """Tells the progress now and then; StoppedError where nobody waits or it takes too long."""
    began = time.monotonic()
    told = [began - TELL_EVERY_S]

    def tell_progress(fraction: float) -> None:
        now = time.monotonic()
        if now - told[0] < TELL_EVERY_S:
            return
        told[0] = now
        if os.getppid() != server:
            raise StoppedError("the dashboard was stopped")
        if now - began > MOST_SECONDS:
            raise StoppedError(
                f"stopped after {MOST_SECONDS / 60:g} minutes: choose a shorter horizon"
            )
        tell(folder, State("running", fraction, "simulating"))

    return tell_progress


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
