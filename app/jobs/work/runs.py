"""Simulate a scenario, or two that are held against each other; write their run directories."""

import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.figures.scenarios import OVERRIDES, SETTINGS, load
from app.figures.traffic import trace_name
from app.jobs.folder import BASE, RUN, folder_of
from app.jobs.work.progress import Teller
from kaiju_sim.errors import UserError
from kaiju_sim.report import provenance
from kaiju_sim.report.rundir import write_run
from kaiju_sim.scenario.loader import Loaded
from kaiju_sim.simulation import is_warm, replicate

Task = Mapping[str, Any]
COMPILING = "compiling the engine loop: once, up to half a minute"


def simulate(folder: Path, task: Task, told: Teller, ends: tuple[float, float] = (0, 1)) -> None:
    """All sides of a task, between these fractions of the whole."""
    sides, (first, last) = sides_of(task), ends
    for place, (name, side) in enumerate(sides.items()):
        start = first + (last - first) * place / len(sides)
        told(start, "simulating" if is_warm() else COMPILING)
        progress = told.part(start, start + (last - first) / len(sides))
        one(folder, name, side, int(task["replications"]), progress)


def sides_of(task: Task) -> dict[str, Task]:
    """The sides by their folders: the run itself, and what it is held against, if anything."""
    sides: dict[str, Task] = task.get("sides") or {RUN: task}
    return dict(sorted(sides.items(), key=lambda item: item[0] != BASE))


def one(folder: Path, name: str, side: Task, count: int, progress: Callable[[float], None]) -> None:
    """Simulate one side, or copy the run that it names; write its run directory."""
    if "job" in side:
        return copied(str(side["job"]), folder / name)
    started = datetime.now(UTC)
    found = scenario_of(side, folder)
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
        command=command_of(side),
        started=started,
        options={"replications": count},
    )
    write_run(result, text, origin, folder / name, report=True)
    return None


def copied(job: str, target: Path) -> None:
    """The run of an earlier job; UserError where there is none."""
    folder = folder_of(job)
    if folder is None or not (folder / RUN / "summary.json").is_file():
        raise UserError(f"{job[:40]!r} names no run that is kept here")
    shutil.copytree(folder / RUN, target)


def scenario_of(side: Task, folder: Path) -> Loaded:
    """The scenario that a side names, has as a text, or replays with a trace."""
    trace = side.get("trace")
    if trace is None:
        return load(side, folder)
    file = folder / trace_name(str(trace))
    return load({**side, SETTINGS: [*side[SETTINGS], f"traffic.trace.file={file}"]}, folder)


def command_of(side: Task) -> list[str]:
    """The command that simulates the same."""
    words = ["kaiju-sim", "run", str(side.get("scenario", "typed"))]
    for option, key in (("--with", OVERRIDES), ("--set", SETTINGS)):
        words += [word for value in side.get(key, ()) for word in (option, str(value))]
    return words
