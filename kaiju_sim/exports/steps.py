"""The engine steps of a window: the run is simulated again, and watched there.

A run keeps no steps, so that it costs nothing when nobody asks. Here the same scenario runs with
the same seed to the window's end. Inside the window the compiled loop is advanced from step to step
(the epoch in hand may be cut without a change of result) and the replicas are read off each time.
Where the router looks into the replicas' caches, a cut would let it see them later than it did:
there the reference loop, which needs no cuts, tells its steps, and takes its time. What came out is
held against the ticks of the run before it is believed.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kaiju_sim.engine.layout import NEVER, Arr
from kaiju_sim.errors import UserError
from kaiju_sim.exports.noting import NotingPlane
from kaiju_sim.fleet.control import CellResult, CellRun
from kaiju_sim.fleet.elastic.story import Story
from kaiju_sim.fleet.setup.build import Plant
from kaiju_sim.incidents.runbook import play
from kaiju_sim.metrics.collect import waiting_of
from kaiju_sim.metrics.stats.replications import replication_seeds
from kaiju_sim.report.rundir import RunDirectory
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import build_plant, data_plane
from kaiju_sim.steptime.curves import fixed_ns

MOST_STEPS = 400_000
"""About 110 MB of trace (a tenth of that with gzip)."""


@dataclass(frozen=True)
class Window:
    """A part of the simulated time, in ns."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Step:
    """One engine step, and the replica's state while it runs."""

    replica: int
    """Numbered through the fleet."""
    begin: int
    """ns, as `end`."""
    end: int
    decodes: int
    """Sequences that get a token."""
    prefill_tokens: int
    prompts: int
    """Messages whose prompts these are of."""
    context_tokens: int
    """All contexts of the sequences that run."""
    waiting: int
    running: int
    filling: int
    kv_used: int
    """Global blocks that messages hold."""
    kv_blocks: int


@dataclass
class Steps:
    """What was seen of one cell."""

    cell: int
    steps: list[Step] = field(default_factory=list)
    missed: int = 0
    """Steps that began and ended between two looks (only with random step times)."""
    result: CellResult | None = None


class Watch:
    """A process of the control plane that looks at every step of a cell within the window."""

    def __init__(self, control: CellRun, window: Window, found: Steps, most: int) -> None:
        self.control = control
        self.window = window
        self.found = found
        self.most = most
        replicas = control.cell.world.engine.limits.replicas
        self.first = control.index * replicas
        self.seen: Arr = np.zeros(replicas, np.int64)
        self.pause = _shortest_ns(control)

    def run(self) -> Story:
        """Look at every start of a step in the window."""
        env, end = self.control.env, self.window.end
        yield env.timeout(self.window.begin - int(env.now))
        self.seen = self._replicas()["steps"].copy()
        while env.now < end:
            yield env.timeout(min(self._next(int(env.now)), end) - int(env.now))
            self._look()

    def _replicas(self) -> Arr:
        return self.control.cell.world.engine.replicas

    def _next(self, now: int) -> int:
        """Just after the next start of a step; an idle replica may start one at any time."""
        r = self._replicas()
        busy = np.where(r["end"] < NEVER, r["end"] + r["rest"] + 1, NEVER)
        at = np.where(r["pending"] >= 0, r["pending"] + 1, busy)
        idle = (at >= NEVER) & (r["active"] != 0)
        soon = now + self.pause if idle.any() else NEVER
        return max(now + 1, min(int(at.min()), soon))

    def note(self, k: int, t: int) -> None:
        """Replica k has started a step at t: for a loop that tells."""
        if self.window.begin <= t < self.window.end:
            self._add(k)

    def _look(self) -> None:
        r = self._replicas()
        new = r["steps"] - self.seen
        self.seen = r["steps"].copy()
        for k in np.flatnonzero(new > 0):
            in_flight = r["end"][k] < NEVER
            self.found.missed += int(new[k]) - int(in_flight)
            if in_flight:
                self._add(int(k))

    def _add(self, k: int) -> None:
        self.found.steps.append(self._step(k, self._replicas()[k]))
        if len(self.found.steps) > self.most:
            raise UserError(
                f"the window has over {self.most:,} engine steps by"
                f" {self.found.steps[-1].begin * 1e-9:.1f} s: choose a shorter one"
            )

    def _step(self, k: int, r: Any) -> Step:
        e = self.control.cell.world.engine
        tokens, prompts = chunks(e.requests, int(r["pre"]))
        cache, blocks = e.caches[k], int(self.control.blocks[k])
        return Step(
            replica=self.first + k,
            begin=int(r["begin"]),
            end=int(r["end"]),
            decodes=int(r["decoding"]),
            prefill_tokens=tokens,
            prompts=prompts,
            context_tokens=int(r["context"]) if r["decoding"] else 0,
            waiting=int(waiting_of(r)),
            running=int(r["running"]),
            filling=int(r["filling"]),
            kv_used=blocks - int(cache["free"]) - int(cache["idle"]),
            kv_blocks=blocks,
        )


def chunks(requests: Arr, q: int) -> tuple[int, int]:
    """Prompt tokens in the step in flight, and of how many messages; q: first of the prefills."""
    tokens = prompts = 0
    while q >= 0:
        part = int(requests["chunk"][q])
        tokens += part
        prompts += part > 0
        q = int(requests["next"][q])
    return tokens, prompts


def _shortest_ns(control: CellRun) -> int:
    """A pause in which no replica that was idle can end a step (unless steps are random)."""
    curves = control.cell.world.engine.curves
    groups = range(len(control.plant.groups))
    least = min(fixed_ns(curves, 1, 1, 0, group) for group in groups)
    return max(1, int(least / 20 if curves.kind == 2 else least))


def may_be_cut(scenario: Scenario) -> bool:
    """Whether epochs may be cut anywhere: not if the router reads caches at an epoch's start."""
    return scenario.router.policy != "prefix_aware"


def watched(plant: Plant, index: int, window: Window, most: int = MOST_STEPS) -> Steps:
    """Simulate a cell to the window's end and watch it there; at most `most` steps."""
    found = Steps(index)
    telling = None if may_be_cut(plant.scenario) else NotingPlane()

    def plot(control: CellRun) -> list[Any]:
        control.end_ns = min(control.end_ns, window.end)
        notes = play(control)
        watch = Watch(control, window, found, most)
        if telling is not None:
            telling.note = watch.note
        else:
            control.env.process(watch.run())
        return list(notes)

    found.result = CellRun(plant, index, telling or data_plane("compiled"), plot).run()
    return found


def replay(
    run: RunDirectory, window: Window, base_dir: Path = Path(), replication: int = 0
) -> list[Steps]:
    """The steps of a run directory's window, cell by cell.

    UserError if the run cannot be made again as it was (another version of the simulator, a file
    that has changed), or for a window outside of it or with too many steps.
    """
    scenario = scenario_of(run, replication)
    last = scenario.run.horizon + scenario.run.drain
    if not 0 <= window.begin < window.end <= int(last * 1e9 + 0.5):
        raise UserError(f"the window has to lie within the run: 0s..{last:g}s, begin before end")
    plant = build_plant(scenario, base_dir)
    found: list[Steps] = []
    for index in range(scenario.fleet.cells):
        left = MOST_STEPS - sum(len(cell.steps) for cell in found)
        found.append(watched(plant, index, window, most=left))
    check_same(run, found, replication)
    return found


def scenario_of(run: RunDirectory, replication: int) -> Scenario:
    """The scenario of a run, with the replication's seed."""
    from pydantic import ValidationError
    from ruamel.yaml import YAML

    from kaiju_sim.scenario.quantities import FROM_FILE

    values = YAML(typ="safe", pure=True).load(run.scenario_yaml)
    try:
        scenario = Scenario.model_validate(values, context=FROM_FILE)
    except ValidationError as error:
        raise UserError("a scenario of another version", run.path / "scenario.yaml") from error
    runs = int(run.summary.get("run.replications") or 1)
    if not 0 <= replication < runs:
        raise UserError(f"{run.path} has no replication {replication}: there are {runs}, from 0")
    seed = replication_seeds(scenario.seed, runs)[replication] if runs > 1 else scenario.seed
    return scenario.model_copy(update={"seed": seed})


def check_same(run: RunDirectory, found: list[Steps], replication: int) -> None:
    """UserError unless each tick of the replay is in replicas.parquet with the same figures."""
    names = ["steps", "arrived", "completed", "output_tokens", "running"]
    table = run.table("replicas", ["replication", "time_s", "replica", *names]).to_pylist()
    theirs = {
        (round(row["time_s"], 6), row["replica"]): [row[name] for name in names]
        for row in table
        if row["replication"] == replication
    }
    for cell in found:
        assert cell.result is not None
        most = cell.result.states["replicas"].size
        for tick in cell.result.ticks:
            for i, k in enumerate(tick["replica"]):
                key = (round(float(tick["time_s"][i]), 6), int(k) + cell.cell * most)
                ours = [int(tick[name][i]) for name in names]
                if theirs.get(key, ours) != ours:
                    raise UserError(
                        f"{run.path} cannot be simulated again as it was: replica {key[1]} differs"
                        f" at {key[0]:g} s. Another version of the simulator, or a file that the"
                        " scenario names has changed: run it again first"
                    )
