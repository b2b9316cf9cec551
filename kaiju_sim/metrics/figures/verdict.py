"""Whether a fleet keeps up: stable, backlogged or overloaded."""

from kaiju_sim.metrics.figures.pool import Pool

PATIENCE_S = 5.0
"""Work that waits longer than this is a backlog."""


def verdict(pool: Pool, stated_per_s: float | None) -> str:
    """stable, backlogged or overloaded: see docs/metrics.md.

    Overloaded: the window ends with more messages in the system than it began with, by over 2 % of
    what arrived and three standard deviations of a Poisson count, half of it waiting; or (closed
    loop, where waiting users send less) under 90 % of the stated messages are served while a second
    of work waits; or over 1 % of the cohort failed, was shed or given up. Backlogged: not so, but
    what waits when arrivals end would take over five seconds to serve, or so much still waits after
    the drain that it was not served in five seconds (answers that are under way are no backlog).
    """
    arrived = max(1, pool.during("arrived"))
    lost = sum(pool.tally(name) for name in ("failed", "shed", "cancelled"))
    if lost > 0.01 * max(1, pool.tally("arrived")):
        return "overloaded"
    growth = pool.change("in_system")
    waiting = sum(c.stop.waiting for c in pool.cells)
    grew = pool.change("waiting") > growth / 2
    if growth > 0.02 * arrived and growth > 3 * arrived**0.5 and grew:
        return "overloaded"
    rate = pool.during("done") / pool.window_s
    if stated_per_s is not None and rate < 0.9 * stated_per_s and waiting > rate:
        return "overloaded"
    still = sum(c.end.waiting for c in pool.cells)
    served = PATIENCE_S - min(PATIENCE_S, drained_s(pool))
    backlogged = waiting > PATIENCE_S * rate or still > served * rate
    return "backlogged" if backlogged else "stable"


def drained_s(pool: Pool) -> float:
    """How long messages could still finish after the last arrival: until all had, or the drain."""
    return float(max(c.end.time_ns - c.stop.time_ns for c in pool.cells)) * 1e-9
