"""Replications of fleets of a given size: simulated in a pool, judged, kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kaiju_sim.executor import run_tasks, sources
from kaiju_sim.executor.seam import Executor
from kaiju_sim.fleet.setup.build import Plant
from kaiju_sim.planner.objectives import Ratios, passes, ratios
from kaiju_sim.planner.part import MOST_RATE, Window, scenario_of, unit_of
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import build_plant, result_of, simulated
from kaiju_sim.steptime.curves import Curves
from kaiju_sim.store import Figures, Store

KEPT = (
    *("verdict", "bottleneck", "profile.source", "profile.id", "profile.rel_error_high"),
    *("profile.rel_error_low", "fleet.gpus", "fleet.gpu", "prefix_hit_rate", "slo.attainment"),
    *("ttft_s.p50", "ttft_s.p99", "ttft_s.paid.p99", "tpot_s.p50", "tpot_s.p99", "e2e_s.p99"),
    *("kv_utilisation.global", "kv_utilisation.local", "gpu_busy_fraction"),
    *("cost.usd_per_hour", "cost.usd_per_message", "throughput.messages_per_s"),
    *("requests.arrived", "requests.shed", "requests.failed", "requests.cancelled"),
    *("requests.blocked_pre", "requests.blocked_post", "requests.completed", "requests.in_flight"),
    *("realised.messages_per_s", "realised.preemptions", "goodput_per_s"),
)
"""Keys of the summary that are kept of a replication."""


@dataclass(frozen=True)
class Trial:
    """One replication of one fleet, as it is sent to a process."""

    scenario: Scenario
    """As it will run."""
    base_dir: Path
    scale: float
    """Step times are this many times what the scenario's curves say."""

    @property
    def name(self) -> str:
        """The name of its figures."""
        files = (self.scenario.steptime.profile, getattr(self.scenario.traffic.trace, "file", None))
        hashes = [sources.file_digest(self.base_dir / file) for file in files if file]
        what = self.scenario.model_dump_json(), repr(self.scale), " ".join(KEPT)
        return sources.digest(*what, *hashes)


def run_trial(trial: Trial) -> Figures:
    """Simulate it."""
    plant = scaled(build_plant(trial.scenario, trial.base_dir), trial.scale)
    (cells,) = simulated([plant], 1, "compiled", None)
    summary = result_of(plant, cells).summary
    return {key: summary.get(key) for key in KEPT}


def scaled(plant: Plant, scale: float) -> Plant:
    """The plant with all step times longer by one factor, the engine's own time too."""
    if scale == 1.0:
        return plant
    groups = tuple(
        replace(g, step_time=replace(g.step_time, curves=longer(g.step_time.curves, scale)))
        for g in plant.groups
    )
    return replace(plant, step_time=groups[0].step_time, groups=groups)


def longer(curves: Curves, scale: float) -> Curves:
    """Curves whose every term is scaled."""
    return curves._replace(
        mean_ns=curves.mean_ns * scale,
        host_ns=curves.host_ns * scale,
        rows_ns=curves.rows_ns * scale,
        seqs_ns=curves.seqs_ns * scale,
        slope=curves.slope * scale,
        offset=curves.offset * scale,
        engine=curves.engine * scale,
    )


@dataclass(frozen=True)
class Bench:
    """What fleets of one scenario are tried on; replication i has the same users for each size."""

    scenario: Scenario
    base_dir: Path
    window: Window
    folder: Path | None = None
    """Where figures are kept, if anywhere."""
    workers: int = 1
    scale: float = 1.0
    """Step times are this many times what the scenario's curves say."""
    most_rate: float = MOST_RATE
    executor: Executor | None = None
    """What runs the trials; none: as many processes as there are workers."""
    lost: int = 0
    """Replicas that are gone: a fleet is tried without them."""
    known: dict[str, Figures] = field(default_factory=dict, compare=False, repr=False)
    """Figures that it has seen, by name: none is simulated or read twice."""

    def left(self, replicas: int) -> int:
        """What is left of a fleet; at least a unit, so that there is something to simulate."""
        return max(unit_of(self.scenario), replicas - self.lost)

    def trial(self, replicas: int, replication: int) -> Trial:
        """One replication of a fleet of that size."""
        scenario = scenario_of(
            self.scenario, self.left(replicas), self.window, replication, self.most_rate
        )
        return Trial(scenario, self.base_dir, self.scale)

    def figures(self, replicas: int, replications: Sequence[int]) -> list[Figures]:
        """Figures of these replications, in their order: kept ones as they are, others simulated.

        Tasks do not see the folder, so that they may run where it is not.
        """
        trials = [self.trial(replicas, i) for i in replications]
        names = [trial.name for trial in trials]
        store = None if self.folder is None else Store(self.folder)
        named = dict(zip(names, trials, strict=True))
        left = {name: trial for name, trial in named.items() if not self._has(name, store)}
        done = run_tasks(run_trial, list(left.values()), self.workers, self.executor)
        for name, figures in zip(left, done, strict=True):
            self.known[name] = figures
            if store is not None:
                store.put(name, figures)
        return [self.known[name] for name in names]

    def _has(self, name: str, store: Store | None) -> bool:
        """Whether figures are known, or were kept and are now."""
        if name not in self.known and store is not None:
            kept = store.get(name)
            if kept is not None:
                self.known[name] = kept
        return name in self.known

    def ratios(self, replicas: int, replications: Sequence[int]) -> list[Ratios]:
        """Each objective over its limit, in these replications."""
        found = self.figures(replicas, replications)
        return [ratios(figures, self.scenario) for figures in found]

    def probe(self, replicas: int, replications: Sequence[int]) -> list[bool]:
        """Whether a fleet of that size meets all objectives in these replications."""
        if replicas - self.lost < unit_of(self.scenario):
            return [False] * len(replications)
        return [passes(found) for found in self.ratios(replicas, replications)]
