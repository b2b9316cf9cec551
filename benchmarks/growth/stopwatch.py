"""Speed of the loop once a run is under way: what growth is about, start-up apart.

A watch stands around the data plane and reads processor time, not wall time: the sweep takes
minutes, and neighbours come and go. The run is watched in slices, from tick to tick; the slowest
and the fastest slices do not move the medians.
"""

from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

from kaiju_sim.fleet.control import CellRun
from kaiju_sim.fleet.records import Cell
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import build_plant, data_plane

SLICES = 9
"""Ticks of the measured part of a run."""


@dataclass
class Slice:
    """What the data plane did between two control events, and how long it took."""

    cpu_s: float
    messages: int
    steps: int


@dataclass
class Stopwatch:
    """The compiled data plane, timed from a simulated time on."""

    from_ns: int
    slices: list[Slice] = field(default_factory=list)
    seen: tuple[int, int] = (0, 0)

    def __call__(self, cell: Cell, until: int) -> int:
        """Advance the cell."""
        begin = process_time()
        need = data_plane("compiled")(cell, until)
        cpu_s = process_time() - begin
        messages = int(cell.desk["messages"][0])
        steps = int(cell.world.engine.replicas["steps"].sum())
        if until > self.from_ns and need == 0:
            before = self.seen
            self.slices.append(Slice(cpu_s, messages - before[0], steps - before[1]))
        self.seen = (messages, steps)
        return need


def watched(scenario: Scenario) -> dict[str, Any]:
    """Medians over the slices after the warm-up, and the mean batch."""
    watch = Stopwatch(int(scenario.run.warm_up * 1e9))
    run = CellRun(build_plant(scenario, Path()), 0, watch)
    begin = process_time()
    cell = run.run()
    slices = [s for s in watch.slices if s.messages and s.steps and s.cpu_s > 0][:SLICES]
    seconds = (cell.stop.time_ns - cell.start.time_ns) * 1e-9
    area_s = (cell.stop.area_ns - cell.start.area_ns) * 1e-9
    return {
        "messages_per_s": median(s.messages / s.cpu_s for s in slices),
        "ns_per_step": median(s.cpu_s / s.steps * 1e9 for s in slices),
        "steps_per_message": sum(s.steps for s in slices) / sum(s.messages for s in slices),
        "batch": area_s / seconds / scenario.fleet.replicas,
        "hit_rate": cell.tally["cached"] / max(1, cell.tally["prompt"]),
        "cpu_s": process_time() - begin,
    }
