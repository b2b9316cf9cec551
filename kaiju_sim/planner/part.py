"""A fleet of so many replicas as a scenario that is quick to simulate.

A large fleet is many equal cells that share nothing. Where its traffic is more than `most_rate`
messages/s, one **part** of it is simulated: a cell with `k` of the `n` replicas and `k / n` of the
messages, the live dialogues and the gate's servers; `k` is held near a fixed share of the fleet, so
that neighbouring counts differ in their load and hardly in their size. What is divided is the load
and the fleet. All characters are in each part, as they are in each cell. A part that is smaller
than the fleet's own cells is another cell all the same: near the limit its tail is another one, by
about 1 % of the load (docs/break-its.md has whole cells beside their parts).
"""

import math
from dataclasses import dataclass

from kaiju_sim import rng
from kaiju_sim.errors import UserError
from kaiju_sim.scenario.parts.fleet import MOST_REPLICAS
from kaiju_sim.scenario.parts.plan import Planning
from kaiju_sim.scenario.schema import Scenario

MOST_RATE = 1250.0
"""Messages a second of a part; smaller fleets are simulated whole."""


@dataclass(frozen=True)
class Window:
    """Times of a replication, in seconds."""

    warm_up_s: float
    length_s: float
    drain_s: float


@dataclass(frozen=True)
class Part:
    """The part of a fleet that is simulated for it."""

    replicas: int
    """Of the part."""
    share: float
    """Its share of the fleet and of the load; 1: all of it is simulated."""
    cells: int
    """Cells that the part has: the fleet's own where all is simulated, else 1."""


def check(s: Scenario) -> None:
    """UserError for fleets whose size is not one number."""
    if s.fleet.groups:
        raise UserError("fleet.groups: the fewest GPUs are those of a fleet of equal replicas")
    if s.fleet.autoscale is not None or s.fleet.changes:
        what = "autoscale" if s.fleet.autoscale is not None else "changes"
        raise UserError(f"fleet.{what}: the fewest GPUs are those of a fleet that does not change")


def unit_of(s: Scenario) -> int:
    """Replicas by which the fleet can grow: a shard, or a link's replicas, in every cell."""
    return s.fleet.cells * grain_of(s)


def grain_of(s: Scenario) -> int:
    """The same in one cell."""
    return math.lcm(s.fleet.shard_replicas, s.kv.link_replicas)


def most_replicas(s: Scenario, most_rate: float = MOST_RATE) -> int:
    """The largest fleet that can be simulated, in part or whole."""
    share = share_of(s, most_rate)
    most = int(MOST_REPLICAS / share)
    return most // unit_of(s) * unit_of(s)


def share_of(s: Scenario, most_rate: float) -> float:
    """The share of the fleet that is simulated, but for whole numbers."""
    rate = s.traffic.messages_per_s
    return 1.0 if rate is None or rate <= most_rate else most_rate / rate


def part_of(s: Scenario, replicas: int, most_rate: float = MOST_RATE) -> Part:
    """What is simulated for a fleet of so many replicas."""
    share, grain = share_of(s, most_rate), grain_of(s)
    part = max(1, round(replicas * share / grain)) * grain
    if share == 1.0 or part >= replicas:
        return Part(replicas, 1.0, s.fleet.cells)
    part = min(part, MOST_REPLICAS // grain * grain)
    return Part(part, part / replicas, 1)


def scenario_of(
    s: Scenario, replicas: int, window: Window, replication: int, most_rate: float = MOST_RATE
) -> Scenario:
    """The scenario of one replication of a fleet of so many replicas."""
    part = part_of(s, replicas, most_rate)
    fleet = s.fleet.model_copy(update={"replicas": part.replicas, "cells": part.cells})
    changed = {
        "seed": seed_of(s.seed, replication),
        "fleet": fleet,
        "run": s.run.model_copy(
            update={
                "warm_up": window.warm_up_s,
                "horizon": window.warm_up_s + window.length_s,
                "drain": window.drain_s,
            }
        ),
        "results": s.results.model_copy(update={"request_rows": 0}),
        "sweep": {},
        "plan": Planning(),
    }
    if part.share < 1.0:
        changed |= {"traffic": _traffic(s, part), "safety": _safety(s, part)}
    return s.model_copy(update=changed)


def seed_of(seed: int, replication: int) -> int:
    """Seed of a replication: the scenario's own, then hashes of it."""
    if replication == 0:
        return seed
    return rng.hash_of(seed, rng.REPLICATION, replication, 0) & 0x7FFFFFFF


def _traffic(s: Scenario, part: Part) -> object:
    """The part's share of the load."""
    traffic = s.traffic
    assert traffic.messages_per_s is not None, "only a stated rate is ever divided"
    sessions = traffic.sessions.model_copy(
        update={"live": round(traffic.sessions.live * part.share)}
    )
    rate = traffic.messages_per_s * part.share
    return traffic.model_copy(update={"messages_per_s": rate, "sessions": sessions})


def _safety(s: Scenario, part: Part) -> object:
    """The gate's servers are those of a cell: the part has its share of all cells' together."""
    pool = s.safety.pool
    servers = max(1, round(pool.servers * s.fleet.cells * part.share))
    return s.safety.model_copy(update={"pool": pool.model_copy(update={"servers": servers})})
