"""Tasks that say how long they took themselves, and what a round of them cost beside that."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaiju_sim.executor.seam import Executor
from kaiju_sim.scenario.loader import load_scenario
from kaiju_sim.scenario.schema import Scenario

SHIPPED = Path(__file__).resolve().parents[2] / "scenarios"


@dataclass(frozen=True)
class Work:
    """A scenario to simulate, or seconds to sleep: work that needs no core."""

    scenario: Scenario | None = None
    sleep_s: float = 0.0


@dataclass(frozen=True)
class Round:
    """A round of tasks on an executor."""

    tasks: int
    slots: int
    wall_s: float
    busy_s: float
    """Sum of what the tasks took by their own clocks."""
    cpu_s: float
    """Processor time of the tasks: less than `busy_s` where they had to share a core."""

    @property
    def overhead_s(self) -> float:
        """Time of a slot that was no task's, by task: dispatch, results, waiting at the end."""
        return (self.wall_s * self.slots - self.busy_s) / self.tasks


def scenarios(count: int, *sets: str) -> dict[int, Work]:
    """The baseline with so many seeds."""
    loaded = [
        load_scenario(SHIPPED / "baseline.yaml", sets=[*sets, f"seed={i + 1}"])
        for i in range(count)
    ]
    return {i: Work(item.scenario) for i, item in enumerate(loaded)}


def sleeps(count: int, seconds: float) -> dict[int, Work]:
    """Tasks that only wait."""
    return {i: Work(sleep_s=seconds) for i in range(count)}


def do(work: Work) -> tuple[float, float]:
    """Do it; wall seconds that it took, and processor time."""
    begun, used = time.perf_counter(), time.process_time()
    if work.scenario is not None:
        from kaiju_sim.simulation import simulate

        simulate(work.scenario)
    time.sleep(work.sleep_s)
    return time.perf_counter() - begun, time.process_time() - used


def timed(executor: Executor, work: Mapping[int, Work], slots: int) -> Round:
    """One round."""
    begun = time.perf_counter()
    took = [found for _, found in executor.map(do, work)]
    wall_s = time.perf_counter() - begun
    busy_s, cpu_s = (sum(each) for each in zip(*took, strict=True))
    return Round(len(work), slots, wall_s, busy_s, cpu_s)


def shown(found: Round) -> dict[str, Any]:
    """A round for JSON."""
    return {
        "tasks": found.tasks,
        "slots": found.slots,
        "wall_s": found.wall_s,
        "busy_s": found.busy_s,
        "cpu_s": found.cpu_s,
        "overhead_per_task_s": found.overhead_s,
        "overhead_of_wall_per_task_s": found.overhead_s / found.slots,
    }
