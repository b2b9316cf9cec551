"""Autoscaling: replicas follow a metric, or the hours of a day.

Target tracking, per cell and in units of shards:

    wish = ceil(serving replicas x mean of the metric / target),  within [min, max]

as horizontal autoscalers do (Kubernetes' HPA has the same rule, and the same remedy for flapping:
shards are given back only below the highest wish of the last `scale_in_delay`). A wish counts those
already ordered, so that a long delay does not make it order again and again. The metric is read off
the replicas at the decision, without delay.
"""

import math
from typing import TYPE_CHECKING

import numpy as np

from kaiju_sim.engine.policy.routing import SHADOW
from kaiju_sim.fleet.elastic.story import Story
from kaiju_sim.fleet.setup.build import ns
from kaiju_sim.scenario.parts.fleet import Autoscale

if TYPE_CHECKING:
    from kaiju_sim.fleet.control import CellRun


class Autoscaler:
    """Decides how many shards a cell has."""

    def __init__(self, control: "CellRun", rule: Autoscale) -> None:
        s = control.plant.scenario
        self.control, self.rule, self.shards = control, rule, control.shards
        self.least, self.most = rule.min // s.fleet.unit, rule.max // s.fleet.unit
        self.start_hour = s.traffic.diurnal.start_hour if s.traffic.diurnal else 0.0
        self.wishes: list[tuple[int, int]] = []
        self.changed_ns: int | None = None

    def run(self) -> Story:
        """Decide at each interval."""
        while True:
            yield self.control.env.timeout(ns(self.rule.interval))
            self._decide(int(self.control.env.now))

    def _decide(self, now: int) -> None:
        wish = self._by_hour(now) if self.rule.policy == "schedule" else self._by_metric()
        wish = min(self.most, max(self.least, wish))
        here = self.shards.provisioned()
        goal = max(wish, min(here, self._highest_wish(now, wish)))
        cold = self.changed_ns is not None and now - self.changed_ns < ns(self.rule.cooldown)
        if goal == here or cold:
            return
        limit = self.rule.step or self.most
        goal = min(here + limit, max(here - limit, goal))
        self.changed_ns = now
        where = f"cell {self.control.index}"
        self.control.tell("autoscale", where, f"{here} -> {goal} shards")
        self.shards.resize(goal, self.rule.warm)

    def _highest_wish(self, now: int, wish: int) -> int:
        """The highest wish of the last `scale_in_delay`; no limit before one has passed."""
        if self.rule.policy == "schedule":
            return wish
        delay = ns(self.rule.scale_in_delay)
        self.wishes = [(at, w) for at, w in self.wishes if at > now - delay] + [(now, wish)]
        return self.most if now < delay else max(w for _, w in self.wishes)

    def _by_hour(self, now: int) -> int:
        """Shards of the entry that holds at this hour of the day."""
        hour = (self.start_hour + now / 3.6e12) % 24.0
        entries = self.rule.schedule
        holding = [entry for entry in entries if entry.hour <= hour] or [entries[-1]]
        return holding[-1].replicas // self.control.plant.scenario.fleet.unit

    def _by_metric(self) -> int:
        """Shards that would bring the metric to its target."""
        assert self.rule.target is not None
        wanted = self._total() / self.rule.target / self.shards.size
        here = self.shards.provisioned()
        if abs(wanted / here - 1.0) <= self.rule.tolerance:
            return here
        return math.ceil(wanted - 1e-9)

    def _total(self) -> float:
        """Sum of the metric over the replicas that serve."""
        e = self.control.cell.world.engine
        serving = np.flatnonzero(e.replicas["active"] > SHADOW)
        r, c = e.replicas[serving], e.caches[serving]
        if self.rule.metric == "kv":
            blocks = self.control.blocks[serving]
            return float(((blocks - c["free"] - c["idle"]) / blocks).sum())
        queued = int(e.hub["length"][0])
        if self.rule.metric == "load":
            return float(r["load"].sum() + queued)
        return float((r["load"] - r["running"] - r["filling"]).sum() + queued)
