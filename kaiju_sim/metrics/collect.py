"""What is read off a cell while it runs: totals at an instant, a time series, messages, events."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kaiju_sim import rng
from kaiju_sim.engine.layout import ITL, NEVER, Arr

SUMS = (
    *("steps", "arrived", "done", "tokens", "generated", "prompt", "hit", "preempted"),
    "prefill_rows_ns",
)
MOVED = ("evicted", "dropped", "loaded", "windows_evicted", "windows_loaded")


@dataclass(frozen=True)
class Totals:
    """Running totals of a cell at one instant; differences are what happened in between."""

    time_ns: int
    sums: dict[str, int]
    moved: dict[str, int]
    """Blocks and windows that changed their tier of memory."""
    loading_ns: int
    storing_ns: int
    """Busy time of the links to host memory, each way, all links."""
    busy_ns: int
    """Busy time up to the instant, all replicas (a step in flight counts in part)."""
    area_ns: int
    """Integral of messages in the cell."""
    live_area_ns: int
    """Integral of live sessions."""
    waiting: int
    in_system: int
    gaps: int
    gap_ns: int
    clipped: int
    itl: NDArray[np.int64]
    itl_ns: int
    itl_count: int
    gate_ns: int = 0
    """Work done by the servers of the safety gate."""


def busy_by(replicas: Arr, now: int) -> Arr:
    """Busy ns of each replica up to `now`: what is left of a step in flight, or of what the engine
    does after one, does not count."""
    ends = np.where(replicas["end"] < NEVER, replicas["end"], replicas["ended"])
    return np.asarray(replicas["busy"] - np.maximum(0, ends + replicas["rest"] - now))


def waiting_of(replicas: Arr) -> Arr:
    """Messages that wait at each replica."""
    return np.asarray(replicas["load"] - replicas["running"] - replicas["filling"])


def link_busy_by(links: Arr, way: str, now: int) -> int:
    """Busy ns of all links up to `now`, one way: what is still queued then does not count."""
    queued = np.maximum(0, links[f"{way}_free"] - now)
    return int((links[f"{way}_busy"] - queued).sum())


def area_by(record: Arr, load: str, now: int) -> int:
    """Integral of a load up to `now`."""
    return int((record["area"] + record[load] * (now - record["area_at"])).sum())


def gate_area_by(cell: Any, now: int) -> int:
    """Integral of messages at the safety gate up to `now`."""
    if not cell.world.engine.limits.gated:
        return 0
    passes = cell.world.passes
    to_come = np.maximum(0, passes["entered"] - now) * (passes["inside"] > 0)
    return int(cell.gate.state["added"][0] - to_come.sum())


def gate_work_by(cell: Any, now: int) -> int:
    """Work done by the servers of the gate up to `now`: they rest only with an empty line."""
    return int(cell.gate.state["busy"][0] - np.maximum(0, cell.gate.free - now).sum())


def take_totals(cell: Any, now: int) -> Totals:
    """Totals of a cell at `now`, to which it has been advanced."""
    w = cell.world
    r, hub, clock, tally = w.engine.replicas, w.engine.hub, cell.users.clock[0], w.tally[0]
    at_gate = int(cell.gate.state["inside"][0])
    return Totals(
        time_ns=now,
        sums={name: int(r[name].sum()) for name in SUMS},
        moved={name: int(w.engine.caches[name].sum()) for name in MOVED},
        loading_ns=link_busy_by(w.engine.links, "in", now),
        storing_ns=link_busy_by(w.engine.links, "out", now),
        busy_ns=int(busy_by(r, now).sum()),
        area_ns=area_by(r, "load", now) + area_by(hub, "length", now) + gate_area_by(cell, now),
        live_area_ns=int(clock["live_area"]),
        waiting=int(waiting_of(r).sum() + hub["length"].sum()) + at_gate,
        in_system=int(r["load"].sum() + hub["length"].sum()) + at_gate,
        gaps=int(clock["gaps"]),
        gap_ns=int(clock["gap_sum"]),
        clipped=int(clock["clipped"]),
        itl=w.sketch[0, ITL].copy(),
        itl_ns=int(tally["itl"]),
        itl_count=int(tally["itl_count"]),
        gate_ns=gate_work_by(cell, now),
    )


@dataclass
class Series:
    """The time series of a cell's replicas, a batch of rows per tick."""

    replicas: int
    last: dict[str, Arr] = field(default_factory=dict)
    ticks: list[dict[str, Arr]] = field(default_factory=list)

    def tick(self, cell: Any, now: int, blocks: Arr, windows: Arr, paid: Arr) -> None:
        """Add the state at `now` and what happened since the last tick, of replicas paid for."""
        e = cell.world.engine
        r, c = e.replicas, e.caches
        n = self.replicas
        held = windows - c["windows_free"] - c["windows_kept"]
        row: dict[str, Arr] = {
            "central": np.full(n, e.hub["length"].sum()),
            "time_s": np.full(n, now * 1e-9),
            "replica": np.arange(n),
            "waiting": waiting_of(r),
            "prefilling": r["filling"].copy(),
            "running": r["running"].copy(),
            "kv_global_used": blocks - c["free"].astype(np.int64) - c["idle"],
            "kv_global_cached": c["idle"].astype(np.int64),
            "kv_global_blocks": blocks,
            "kv_local_used": np.asarray(held, np.int64),
            "kv_local_cached": c["windows_kept"].astype(np.int64),
            "kv_local_windows": windows,
            "kv_host_cached": c["host"].astype(np.int64) - c["host_free"],
            "kv_host_blocks": c["host"].astype(np.int64),
        }
        for name, value in self._since_last(r, now).items():
            row[name] = value
        self.ticks.append(row if paid.all() else {k: v[paid] for k, v in row.items()})

    def _since_last(self, r: Arr, now: int) -> dict[str, Arr]:
        totals = {
            "busy_s": busy_by(r, now) * 1e-9,
            "steps": r["steps"].copy(),
            "arrived": r["arrived"].copy(),
            "completed": r["done"].copy(),
            "prompt_tokens": r["prompt"].copy(),
            "cached_tokens": r["hit"].copy(),
            "cached_host_tokens": r["hit_host"].copy(),
            "output_tokens": r["tokens"].copy(),
        }
        delta = {k: v - self.last.get(k, np.zeros_like(v)) for k, v in totals.items()}
        self.last = totals
        return delta


def in_flight_rows(cell: Any) -> Arr:
    """Log rows (status in flight) of the messages that have not finished, by session."""
    requests = cell.world.engine.requests
    used = np.ones(requests.size, bool)
    used[cell.spare[: int(cell.desk["spare"][0])]] = False
    used &= requests["session"] >= 0  # not shadows
    q = np.flatnonzero(used)
    sessions = cell.users.sessions[requests["session"][q]]
    hashed = np.asarray(rng.hash_of(cell.users.seed, rng.SAMPLE, sessions["id"], 0))
    keep = hashed < cell.sample
    q, sessions = q[keep], sessions[keep]
    rows = np.zeros(q.size, cell.log.dtype)
    rows["session"] = sessions["id"]
    for name in ("turn", "swipe", "attempt", "character"):
        rows[name] = sessions[name]
    for name in ("arrival", "admit", "replica", "cached", "cached_host", "preempted", "tier"):
        rows[name] = requests[name][q]
    fates = cell.world.fates[q]
    rows["first"], rows["prompt"], rows["out"] = fates["first"], fates["prompt"], fates["out"]
    rows["end"] = -1
    rows["status"] = 2
    return rows[np.argsort(rows["session"], kind="stable")]
