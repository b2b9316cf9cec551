"""What monitors see of a cell: running totals at an instant, and signals from two of them.

Nothing here knows that there is a fault. Latencies and counts of messages are of the measured
cohort, as in every figure of a run; tokens are of all messages.
"""

from typing import NamedTuple

import numpy as np

from kaiju_sim.engine.layout import TPOT, TTFT, Arr
from kaiju_sim.engine.policy.routing import SHADOW
from kaiju_sim.fleet.control import CellRun
from kaiju_sim.incidents.drift import kl_nats
from kaiju_sim.metrics.collect import waiting_of
from kaiju_sim.scenario.parts.incidents import Signal
from kaiju_sim.sketch import quantile_ns

TALLIES = ("arrived", "shed", "failed", "cancelled")
QUANTILES = {"ttft_p50_s": 0.5, "ttft_p99_s": 0.99, "tpot_p99_s": 0.99}
LEAST = 20
"""Values that a quantile of a window needs to be one."""


class Reading(NamedTuple):
    """A cell's metrics at an instant: totals since the start, and the state then."""

    at_ns: int
    prompt: int
    cached: int
    arrived: int
    shed: int
    lost: int
    """Failed and given up."""
    blocked: int
    """Refused by the safety gate."""
    histogram: Arr
    """Latencies so far, where the signal is a quantile; else empty."""
    waiting: int
    serving: int
    """Replicas that the router sends to."""
    silent: int
    """Replicas that ought to serve and answer no health check."""
    kl_nats: float = 0.0
    """The largest divergence of a shard's int8 KV from the calibrated one."""
    points: float = 0.0
    """Sum of the persona scores of the conversations judged."""
    judged: int = 0

    def with_scores(self, points: float, judged: int) -> "Reading":
        """The same with what a panel of judges has found."""
        return self._replace(points=points, judged=judged)


def read(control: CellRun, signal: Signal) -> Reading:
    """What a monitor of this signal collects now."""
    w = control.cell.world
    r = w.engine.replicas
    counts = {name: int(w.tally[name].sum()) for name in TALLIES}
    row = TPOT if signal == "tpot_p99_s" else TTFT
    histogram = w.sketch[:, row].sum(axis=0) if signal in QUANTILES else np.zeros(0, np.int64)
    return Reading(
        at_ns=int(control.env.now),
        prompt=int(r["prompt"].sum()),
        cached=int(r["hit"].sum()),
        arrived=counts["arrived"],
        shed=counts["shed"],
        lost=counts["failed"] + counts["cancelled"],
        blocked=int(control.cell.gate.sums["blocked"].sum()),
        histogram=histogram,
        waiting=int(waiting_of(r).sum() + w.engine.hub["length"].sum()),
        serving=int((r["active"] > SHADOW).sum()),
        silent=control.shards.silent(),
        kl_nats=max(map(kl_nats, control.scale_factors.values()), default=0.0),
    )


def value(signal: Signal, old: Reading, new: Reading) -> float | None:
    """The signal of the time between two readings; None where there is nothing to tell."""
    if signal == "prefix_hit_rate":
        return _ratio(new.cached - old.cached, new.prompt - old.prompt)
    if signal == "shed_share":
        return _ratio(new.shed - old.shed, new.arrived - old.arrived)
    if signal == "error_share":
        bad = new.shed - old.shed + new.lost - old.lost
        return _ratio(bad, new.arrived - old.arrived)
    if signal == "persona_score":
        return _ratio(new.points - old.points, new.judged - old.judged)
    if signal == "block_share":
        return _ratio(new.blocked - old.blocked, new.arrived - old.arrived)
    if signal == "waiting_per_replica":
        return _ratio(new.waiting, new.serving)
    if signal in ("silent_replicas", "scale_kl_nats"):
        return float(new.silent) if signal == "silent_replicas" else new.kl_nats
    counts = new.histogram - old.histogram
    if counts.sum() < LEAST:
        return None
    ns = quantile_ns(counts, QUANTILES[signal])
    return None if ns is None else ns * 1e-9


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None
