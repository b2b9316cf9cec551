"""Runs that claims are held against: a shipped scenario, changed, with replications, kept by hash.

A cell's figures are one list per key of `summary.json`, a value per replication, and what `extra`
reads off the tables. They are kept in the output folder under a hash of the resolved scenario, the
replications and the simulator's sources, so that an audit that was stopped goes on where it was.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kaiju_sim
from kaiju_sim.audit.figures import EXTRAS, Figures
from kaiju_sim.errors import UserError
from kaiju_sim.executor import run_tasks, sources
from kaiju_sim.metrics.result import RunResult
from kaiju_sim.scenario.loader import Loaded, load_scenario
from kaiju_sim.store import Store

Progress = Callable[[float], None]
_PACKAGE = Path(kaiju_sim.__file__).parent


@dataclass(frozen=True)
class Cell:
    """A shipped scenario with named overrides and values on top."""

    scenario: str
    """Name in scenarios/."""
    overrides: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    extra: str = ""
    """Name in `figures.EXTRAS` of what is read off the tables, if anything."""

    def command(self, replications: int) -> str:
        """The command that simulates the same."""
        folder, _, name = self.scenario.rpartition("/")
        file = f"scenarios/{folder}/{name}.yaml" if folder else name
        words = [f"kaiju-sim run {file}"]
        words += [f"--with {name}" for name in self.overrides]
        words += [f"--set {_quoted(item)}" for item in self.sets]
        return " ".join([*words, f"--replications {replications}"])

    def load(self) -> Loaded:
        """The scenario as it will run."""
        path = scenario_folder() / f"{self.scenario}.yaml"
        return load_scenario(path, overrides=self.overrides, sets=self.sets)

    def work(self) -> float:
        """Messages that it is about, for the order of runs and the progress."""
        scenario = self.load().scenario
        return (scenario.traffic.messages_per_s or 1.0) * scenario.run.horizon


@dataclass(frozen=True)
class Task:
    """A cell as it is sent to a process."""

    cell: Cell
    replications: int


def scenario_folder() -> Path:
    """scenarios/ of the working directory, else of the checkout that this package is in."""
    for folder in (Path("scenarios"), _PACKAGE.parent / "scenarios"):
        if (folder / "baseline.yaml").is_file():
            return folder
    raise UserError(
        "simulated values need the scenarios/ folder of the repository: run the audit there, or"
        " with --no-simulate"
    )


def figures_of(
    cells: Sequence[Cell], replications: int, folder: Path, workers: int, progress: Progress | None
) -> dict[Cell, Figures]:
    """Figures of each cell: those in *folder* as they are, the others simulated and put there."""
    store = Store(folder)
    names = {cell: digest(cell, replications) for cell in dict.fromkeys(cells)}
    known = {cell: store.get(name) for cell, name in names.items()}
    found = {cell: figures for cell, figures in known.items() if figures is not None}
    work = {cell: cell.work() for cell in names}
    missing = sorted((cell for cell in names if cell not in found), key=lambda cell: -work[cell])
    tell = progress or (lambda _: None)
    total = sum(work.values()) or 1.0
    tell(sum(work[cell] for cell in found) / total)
    for cell, figures in _simulated(missing, replications, workers):
        found[cell] = figures
        store.put(names[cell], figures)
        tell(min(1.0, sum(work[done] for done in found) / total))
    return found


def _simulated(
    cells: Sequence[Cell], replications: int, workers: int
) -> Iterator[tuple[Cell, Figures]]:
    """Each cell and its figures, in order, in one pool of processes."""
    if not cells:
        return
    from kaiju_sim.simulation import warm_up

    if workers > 1:
        warm_up()
    tasks = [Task(cell, replications) for cell in cells]
    yield from zip(cells, run_tasks(run_task, tasks, workers), strict=True)


def run_task(task: Task) -> Figures:
    """Simulate a cell's replications and keep the figures."""
    from kaiju_sim.simulation import replicate

    loaded = task.cell.load()
    try:
        result = replicate(loaded.scenario, task.replications, base_dir=loaded.base_dir)
    except UserError as error:
        raise loaded.located(error) from error
    return kept(result, task.cell.extra)


def kept(result: RunResult, extra: str) -> Figures:
    """Values of each figure by replication; texts are the same in all of them."""
    entries: Mapping[str, Any] = result.intervals
    figures: dict[str, Any] = {key: entry["values"] for key, entry in entries.items()}
    figures["profile.source"] = result.summary["profile.source"]
    return figures | (EXTRAS[extra](result) if extra else {})


def digest(cell: Cell, replications: int) -> str:
    """A name for these figures that changes with whatever they depend on."""
    own = sources.file_digest(_PACKAGE / "audit" / "figures.py")
    return sources.digest(cell.load().to_yaml(), str(replications), cell.extra, own)


def _quoted(item: str) -> str:
    return f"'{item}'" if any(sign in item for sign in " [{}]") else item
