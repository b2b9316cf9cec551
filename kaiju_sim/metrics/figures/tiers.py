"""The paid and the free tier apart: how many came, how soon they were answered, how many well."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kaiju_sim.engine.layout import FREE_TTFT, TTFT, Arr
from kaiju_sim.sketch import quantile_ns

TIERS = ("paid", "free")
"""Names by `REQUEST.tier`."""
COUNTS = ("completed", "goodput", "ttft")
AtRank = Callable[[Arr, float, int], float | None]


def tiers(
    pool: Any, cohort: Arr, quantiles: Mapping[str, float], at_rank: AtRank
) -> dict[str, Any]:
    """Summary keys of both tiers. `cohort` says which rows of the pooled log are measured."""
    ended = pool.log[cohort & (pool.log["status"] == 0)]
    found: dict[str, Any] = {}
    for tier, name in enumerate(TIERS):
        arrived, tally, sketch = counted(pool, tier)
        lost = arrived - tally["blocked"] - tally["completed"]
        mine = ended[ended["tier"] == tier]
        exact = np.sort(mine["first"] - mine["arrival"])
        for q, p in quantiles.items():
            ns = at_rank(exact, p, lost) if pool.exact else quantile_ns(sketch, p, lost)
            found[f"ttft_s.{name}.{q}"] = None if ns is None else ns * 1e-9
        done = tally["completed"]
        found[f"ttft_s.{name}.mean"] = tally["ttft"] * 1e-9 / done if done else None
        found[f"ttft_s.{name}.count_inf"] = lost
        found[f"tier.{name}.arrived"] = arrived
        found[f"tier.{name}.goodput_per_s"] = tally["goodput"] / pool.window_s
        due = arrived - tally["blocked"]
        found[f"tier.{name}.attainment"] = tally["goodput"] / due if due else None
    return found


def counted(pool: Any, tier: int) -> tuple[int, dict[str, int], Arr]:
    """Messages of the cohort in a tier, their counts, and the sketch of their TTFT.

    What is kept is the sum of both tiers and the free one; the paid one is the difference.
    """
    arrived = pool.tally("arrived_free")
    tally = {name: pool.tally(f"free_{name}") for name in COUNTS}
    blocked = pool.tally("blocked_pre") + pool.tally("blocked_post")
    tally["blocked"] = pool.tally("free_blocked")
    sketch = pool.sketch(FREE_TTFT)
    if tier == 1:
        return arrived, tally, sketch
    rest = {name: pool.tally(name) - tally[name] for name in COUNTS}
    rest["blocked"] = blocked - tally["blocked"]
    return pool.tally("arrived") - arrived, rest, pool.sketch(TTFT) - sketch
