"""What limits a fleet, by a stated rule from its figures.

Pressures, each as a share of what there is:

- prefill compute: prompt tokens computed / what all replicas could compute doing nothing else
- decode bandwidth: tokens generated / what all replicas could generate doing nothing else
- KV memory: held blocks or windows / all, of the fuller pool
- TTFT headroom: p99 of the time to first token / objective
- router imbalance: messages at the most loaded replica / mean of all (over time; 1 is even)

The rule, the first that holds:

1. KV memory, if a pool is 90 % held, or 1 % of the messages were preempted for lack of it.
2. Prefill or decode, the larger, if the two together reach 85 %.
3. Router imbalance, if the most loaded replica has 1.5 times the mean and at least half of all
   waiting messages wait at replicas loaded so.
4. Prefill or decode, the larger, if the fleet does not keep up (verdict other than stable).
5. TTFT headroom, if p99 is at 80 % of the objective or more.
6. Else nothing is near its limit: whatever is nearest to it, of 1, 2 and 5.

Causes come before symptoms: a late first token is named only where no resource explains it.
"""

from collections.abc import Mapping
from typing import Any

from kaiju_sim.economics.plan.planner import DECODE, KV, PREFILL

TTFT, ROUTER = "TTFT headroom", "router imbalance"
KV_FULL, PREEMPTED, GPU_FULL, UNEVEN, WAITING, TTFT_NEAR = 0.9, 0.01, 0.85, 1.5, 0.5, 0.8

Pressures = dict[str, float | None]
Figures = Mapping[str, Any]


def pressures(summary: Figures, ttft_objective_s: float | None) -> Pressures:
    """The five pressures by their summary keys; none where there is nothing to compare with."""
    ttft = summary.get("ttft_s.p99")
    held = [summary.get(f"kv_utilisation.{pool}") or 0.0 for pool in ("global", "local")]
    return {
        "bottleneck.prefill_compute": _share(
            _uncached(summary), summary.get("capacity.prefill_tokens_per_s")
        ),
        "bottleneck.decode_bandwidth": _share(
            summary.get("throughput.generated_tokens_per_s"),
            summary.get("capacity.decode_tokens_per_s"),
        ),
        "bottleneck.kv_memory": max(held),
        "bottleneck.ttft_headroom": _share(ttft, ttft_objective_s),
        "bottleneck.router_imbalance": summary.get("router.load_max_over_mean"),
    }


def bottleneck(summary: Figures, found: Pressures, ttft_objective_s: float | None) -> str:
    """What limits the fleet."""
    prefill, decode, held, ttft, uneven = (value or 0.0 for value in found.values())
    if ttft_objective_s is not None and found["bottleneck.ttft_headroom"] is None:
        ttft = float("inf")  # p99 is among messages that never got there
    busier = PREFILL if prefill > decode else DECODE
    if held >= KV_FULL or _preempted(summary) >= PREEMPTED:
        return KV
    if prefill + decode >= GPU_FULL:
        return busier
    if uneven >= UNEVEN and (summary.get("router.waiting_at_loaded") or 0.0) >= WAITING:
        return ROUTER
    if summary.get("verdict") != "stable":
        return busier
    if ttft >= TTFT_NEAR:
        return TTFT
    return max(((prefill + decode, busier), (held, KV), (ttft, TTFT)))[1]


def _uncached(summary: Figures) -> float | None:
    prompt, cached = (summary.get(f"throughput.{k}_tokens_per_s") for k in ("prompt", "cached"))
    return None if prompt is None or cached is None else max(0.0, prompt - cached)


def _share(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _preempted(summary: Figures) -> float:
    return float(
        (summary.get("realised.preemptions") or 0) / (summary.get("requests.completed") or 1)
    )
