"""The control plane of a cell: SimPy processes over the data plane.

SimPy owns simulated time (whole nanoseconds). One process advances the data plane to the next
control event; the others are the story: marks of the measured window, metric ticks, edits. At one
instant, step completions come first (the data plane is advanced up to and including them), then
control events in the order in which they were scheduled, then arrivals and step starts.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy

from kaiju_sim import rng
from kaiju_sim.engine.layout import Arr
from kaiju_sim.fleet.elastic.autoscale import Autoscaler
from kaiju_sim.fleet.elastic.recovery import Table
from kaiju_sim.fleet.elastic.shards import Billed, Shards
from kaiju_sim.fleet.elastic.story import Story
from kaiju_sim.fleet.invalidate import forget_versions
from kaiju_sim.fleet.records import NEED_LOG, Cell
from kaiju_sim.fleet.setup.build import Plant, build_cell, ns
from kaiju_sim.fleet.setup.grow import grown
from kaiju_sim.metrics.collect import Series, Totals, in_flight_rows, take_totals
from kaiju_sim.workload.popularity import pick

GATE_COUNTS = ("sums", "counts", "scores", "sketch", "totals", "state")
Plane = Callable[[Cell, int], int]
"""Advances a cell to a time: the compiled loop or the reference."""
Plot = Callable[["CellRun"], list[Any]]
"""Starts further processes of the control plane; what it returns is kept with the cell's result."""


@dataclass(frozen=True)
class CellResult:
    """What a finished cell leaves."""

    cell: int
    edges: tuple[Totals, ...]
    """At the measured time's beginning, at the end of each of its segments."""
    end: Totals
    """When the drain was over, or the last message had finished."""
    log: Arr
    ticks: list[dict[str, Arr]]
    events: list[tuple[float, str, str, str]]
    sketches: Arr
    tallies: Arr
    desk: dict[str, int]
    sample: int
    """Dialogues whose hash is below this are in the log."""
    first: int = 0
    """The measured cohort begins with this segment."""
    states: dict[str, Arr] = field(default_factory=dict)
    """Final caches and replicas, for conservation checks."""
    billed: list[Billed] = field(default_factory=list)
    """What was paid for, shard by shard."""
    notes: list[Any] = field(default_factory=list)
    """What the plot has noted."""
    gate: dict[str, Arr] = field(default_factory=dict)
    """What the safety gate counted, by segment."""

    @property
    def logged_all(self) -> bool:
        """Whether the log holds every message."""
        return self.sample >= 1 << 32

    @property
    def start(self) -> Totals:
        """Totals where the measured time begins."""
        return self.edges[self.first]

    @property
    def stop(self) -> Totals:
        """Totals at the horizon, where it ends."""
        return self.edges[-1]

    @property
    def tally(self) -> dict[str, int]:
        """Counts of the measured cohort (gaps between tokens, which have no cohort: see Totals)."""
        names = self.tallies.dtype.names or ()
        return {name: int(self.tallies[name][self.first :].sum()) for name in names}

    @property
    def sketch(self) -> Arr:
        """Latencies of the measured cohort."""
        return np.asarray(self.sketches[self.first :].sum(axis=0))


class CellRun:
    """One cell under its control plane."""

    def __init__(self, plant: Plant, index: int, plane: Plane, plot: Plot | None = None) -> None:
        self.plant = plant
        self.plot = plot
        self.notes: list[Any] = []
        self.scale_factors: dict[int, float] = {}  # shard: how far its int8 scales are off
        self.persona_drops: dict[int, float] = {}  # replica: points that its answers lose
        self.index = index
        self.plane = plane
        self.versions = np.zeros(plant.scenario.characters.count, np.int32)
        self.cell = build_cell(plant, index, self.versions)
        self.env = simpy.Environment()
        self.series = Series(self.cell.world.engine.limits.replicas)
        self.logs: list[Arr] = []
        self.events: list[tuple[float, str, str, str]] = []
        self.edges: list[Totals] = []
        run = plant.scenario.run
        self.horizon_ns = ns(run.horizon)
        self.end_ns = self.horizon_ns + ns(run.drain)
        self.tick_ns = ns(plant.scenario.results.tick)
        self.ticked_ns = 0
        self.blocks, self.windows = plant.global_blocks(), plant.local_windows()
        self.shards = Shards(self)
        self.table = Table(self)

    def run(self, progress: Callable[[float], None] | None = None) -> CellResult:
        """Simulate to the end of the drain, or until the last message has finished."""
        self.env.process(self._marks())
        self.env.process(self._ticks(progress))
        if self.plant.scenario.characters.edits_per_hour > 0:
            self.env.process(self._edits())
        self._change()
        done = self.env.process(self._data_plane())
        self.env.run(until=done)
        self._tick()
        return self._result()

    def _change(self) -> None:
        """Start what changes the fleet."""
        self.env.process(self.shards.plan())
        if self.table.wanted():
            self.env.process(self.table.snapshots())
        rule = self.plant.scenario.fleet.autoscale
        if rule is not None:
            self.env.process(Autoscaler(self, rule).run())
        if self.plot is not None:
            self.notes = self.plot(self)

    def tell(self, kind: str, subject: str, detail: str) -> None:
        """Note an event."""
        self.events.append((int(self.env.now) * 1e-9, kind, subject, detail))

    def _data_plane(self) -> Story:
        """Advance the data plane from control event to control event."""
        while self.env.now < self.end_ns:
            if self.env.now >= self.horizon_ns and self._idle():
                return
            until = int(min(self.env.peek(), self.end_ns))
            if until > self.env.now:
                self._advance(until)
                yield self.env.timeout(until - self.env.now)
            else:
                yield self.env.timeout(0)

    def _idle(self) -> bool:
        e = self.cell.world.engine
        at_gate = self.cell.gate.state["inside"][0]
        return int(e.replicas["load"].sum() + e.hub["length"].sum() + at_gate) == 0

    def _advance(self, until: int) -> None:
        """Run the data plane, growing its arrays and emptying its log as needed."""
        need = self.plane(self.cell, until)
        while need:
            if need == NEED_LOG:
                self._empty_log()
                self._widen_log()
            else:
                self.cell = grown(self.cell, need)
            need = self.plane(self.cell, until)
        e = self.cell.world.engine
        assert not e.node_pool["overrun"].any(), "prefix cache outgrew its records within an epoch"
        assert not e.window_pool["overrun"].any(), "more windows retained than there are"

    def _empty_log(self) -> None:
        n = int(self.cell.desk["log"][0])
        self.logs.append(self.cell.log[:n].copy())
        self.cell.desk["log"] = 0

    def _widen_log(self) -> None:
        """A log that is short when empty has to hold every message of an epoch."""
        if self.cell.log.size < 2 * self.cell.world.engine.requests.size:
            log = np.zeros(self.cell.log.size * 2, self.cell.log.dtype)
            self.cell = self.cell._replace(log=log)

    def _marks(self) -> Story:
        """Note the totals at the edges of the measured time and of its segments."""
        p = self.cell.world.engine.limits
        inner = (p.warm_ns + i * p.segment_ns for i in range(p.segments))
        for at in (*inner, self.horizon_ns):
            yield self.env.timeout(at - int(self.env.now))
            self.edges.append(take_totals(self.cell, int(self.env.now)))
            if at == self.horizon_ns:
                self._note("arrivals end")
            elif p.segment_ns == 0:
                self._note("warm-up ends")

    def _note(self, detail: str) -> None:
        self.events.append((self.env.now * 1e-9, "window", f"cell {self.index}", detail))

    def _ticks(self, progress: Callable[[float], None] | None) -> Story:
        """Sample every replica at each tick."""
        while self.env.now < self.end_ns:
            yield self.env.timeout(min(self.tick_ns, self.end_ns - int(self.env.now)))
            self._tick()
            if progress is not None:
                progress(min(1.0, self.env.now / self.horizon_ns))

    def _tick(self) -> None:
        """Add this instant to the time series, unless it is there: the last tick may be shorter."""
        now = int(self.env.now)
        if now > self.ticked_ns:
            paid = self.shards.paid_since(self.ticked_ns)
            self.series.tick(self.cell, now, self.blocks, self.windows, paid)
            self.ticked_ns = now

    def _edits(self) -> Story:
        """Edits of definitions: Poisson in time, characters by popularity."""
        s = self.plant.scenario
        mean_ns = 3600e9 / s.characters.edits_per_hour
        users = self.cell.users
        i = 0
        while True:
            gap = rng.exponential(mean_ns, rng.uniform(s.seed, rng.EDIT, i, 0))
            yield self.env.timeout(max(1, int(gap)))
            u = rng.uniform(s.seed, rng.EDIT, i, 1)
            self.edit(pick(users.threshold, users.alias, u))
            i += 1

    def edit(self, character: int) -> None:
        """A character's definition gets a new version."""
        self.versions[character] += 1
        detail = f"version {self.versions[character]}"
        if self.plant.scenario.characters.invalidate:
            e, version = self.cell.world.engine, int(self.versions[character])
            detail += f", {forget_versions(e, character, version)} blocks dropped"
        self.events.append((self.env.now * 1e-9, "edit", f"character {character}", detail))

    def _result(self) -> CellResult:
        self._empty_log()
        rows = np.concatenate([*self.logs, in_flight_rows(self.cell)])
        w = self.cell.world
        desk = {name: int(self.cell.desk[name][0]) for name in self.cell.desk.dtype.names or ()}
        return CellResult(
            cell=self.index,
            edges=tuple(self.edges),
            end=take_totals(self.cell, int(self.env.now)),
            log=rows,
            ticks=self.series.ticks,
            events=self.events,
            sketches=np.asarray(w.sketch),
            tallies=np.asarray(w.tally),
            desk=desk,
            sample=self.cell.sample,
            states={
                "caches": np.asarray(w.engine.caches),
                "replicas": np.asarray(w.engine.replicas),
            },
            billed=self.shards.billed,
            notes=self.notes,
            gate={name: getattr(self.cell.gate, name) for name in GATE_COUNTS},
        )
