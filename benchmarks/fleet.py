"""The fixed scenario at a given load, and one timed simulation of it.

The clock runs from the scenario to the last message: plant, cell, caches that are warm at the
start, traffic, router, every engine step, and the summary. Compilation is not in it (the caller
warms up first), nor are the tables of a run directory.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from kaiju_sim.fleet.control import CellRun
from kaiju_sim.metrics.summary import summarise
from kaiju_sim.scenario.loader import load_scenario
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import EngineName, build_plant, data_plane

SCENARIO = Path(__file__).with_name("affinity.yaml")
THINK_S = 45.0 * (1 - 1 / 20)
"""Mean pause per message: 45 s after each of a dialogue's 20 answers (mean) but the last."""


@dataclass(frozen=True)
class Load:
    """How much of the scenario is run: messages/s, for how long, on how many GPUs."""

    messages_per_s: float
    answer_s: float
    """Mean time to an answer, by which the live dialogues follow from the rate."""
    warm_up_s: float
    horizon_s: float
    share: float = 1.0
    """Of the fleet, of its users and of its characters; the load of a GPU stays the same."""


@dataclass(frozen=True)
class Timed:
    """One simulation: how long it took and what it came to."""

    wall_s: float
    cpu_s: float
    """Of this process: less than `wall_s` where others took the core away."""
    start_s: float
    """Part of `wall_s` before the first message: users and their past are drawn."""
    messages: int
    steps: int
    summary: Mapping[str, Any]


def scenario_at(load: Load) -> Scenario:
    """The fixed scenario at this load."""
    full = load_scenario(SCENARIO).scenario
    rate = load.messages_per_s * load.share
    values = {
        "traffic.messages_per_s": rate,
        "traffic.sessions.live": round(rate * (THINK_S + load.answer_s)),
        "characters.count": round(full.characters.count * load.share),
        "fleet.replicas": round(full.fleet.replicas * load.share),
        "run.warm_up": f"{load.warm_up_s}s",
        "run.horizon": f"{load.horizon_s}s",
    }
    sets = [f"{path}={value}" for path, value in values.items()]
    return load_scenario(SCENARIO, sets=sets).scenario


def timed(scenario: Scenario, engine: EngineName = "compiled") -> Timed:
    """Simulate a scenario of one cell and time it."""
    begin, cpu = perf_counter(), process_time()
    plant = build_plant(scenario, SCENARIO.parent)
    run = CellRun(plant, 0, data_plane(engine))
    start_s = perf_counter() - begin
    cell = run.run()
    summary = summarise(plant, [cell])
    wall_s, cpu_s = perf_counter() - begin, process_time() - cpu
    steps = int(cell.states["replicas"]["steps"].sum())
    return Timed(wall_s, cpu_s, start_s, cell.desk["messages"], steps, summary)
