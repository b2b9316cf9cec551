"""The flat summary of a run; every key is defined in docs/metrics.md.

Latencies are of the measured cohort: messages that arrive in [warm_up, horizon). What failed or did
not finish in the drain ranks as +infinity. Throughput, busy time and cost are of the window itself,
whenever its messages arrived.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kaiju_sim.economics.figures import money_figures
from kaiju_sim.engine.layout import E2E, QUEUE, TPOT, TTFT, Arr
from kaiju_sim.metrics.figures.cost import cost
from kaiju_sim.metrics.figures.host import host_memory
from kaiju_sim.metrics.figures.pool import Pool, Summary, ratio
from kaiju_sim.metrics.figures.provision import Provision
from kaiju_sim.metrics.figures.safety import safety
from kaiju_sim.metrics.figures.tiers import tiers
from kaiju_sim.metrics.figures.verdict import verdict
from kaiju_sim.metrics.levels.alerts import alert_figures
from kaiju_sim.metrics.money.balance import balance
from kaiju_sim.metrics.money.capacity import capacity
from kaiju_sim.metrics.stats.sampling import ALL
from kaiju_sim.metrics.tables import measured
from kaiju_sim.sketch import RELATIVE_ERROR, quantile_ns
from kaiju_sim.workload.arrivals import rate_curve
from kaiju_sim.workload.laws import mean_of

if TYPE_CHECKING:
    from kaiju_sim.fleet.setup.build import Plant

QUANTILES = {"p50": 0.50, "p90": 0.90, "p99": 0.99}


def summarise(plant: "Plant", cells: Sequence[Any]) -> Summary:
    """All keys of summary.json."""
    pool = Pool(cells)
    provision = Provision(plant, cells)
    requests = fates(pool)
    summary: Summary = {"verdict": verdict(pool, stated(plant)["stated.messages_per_s"])}
    summary |= profile(plant)
    summary |= fleet(plant, provision)
    summary |= {f"requests.{name}": count for name, count in requests.items()}
    summary |= latencies(plant, pool, not_blocked(requests) - requests["completed"])
    summary |= tiers(pool, measured(plant.scenario, pool.log), QUANTILES, at_rank)
    summary |= utilisation(plant, pool, provision)
    summary |= host_memory(plant.scenario, plant.kv, pool)
    summary |= service(pool, requests)
    summary |= safety(plant.scenario, pool)
    summary |= alert_figures(plant.scenario, pool.log, pool.cells[0].sample / ALL)
    summary |= throughput(pool, provision)
    summary |= cost(plant, pool, provision)
    summary |= stated(plant)
    summary |= realised(plant, pool, requests)
    if summary["verdict"] == "overloaded":
        summary["cost.gross_margin"] = None  # nobody pays for answers that do not come
    summary["slo.stream_tokens_per_s"] = ratio(1.0, summary["tpot_s.p50"] or 0.0)
    summary["quantile_rel_error"] = 0.0 if pool.exact else RELATIVE_ERROR
    summary |= balance(pool) | capacity(plant, pool, provision)
    return summary | money_figures(plant.scenario, summary)


def fates(pool: Pool) -> dict[str, int]:
    """What became of the cohort; asserts that nothing is lost."""
    arrived = pool.tally("arrived")
    completed, failed, shed = (pool.tally(name) for name in ("completed", "failed", "shed"))
    cancelled = pool.tally("cancelled")
    before, after = pool.tally("blocked_pre"), pool.tally("blocked_post")
    in_flight = arrived - completed - failed - shed - cancelled - before - after
    if pool.exact:
        log = pool.log
        low, high = pool.cells[0].start.time_ns, pool.cells[0].stop.time_ns
        mine = (log["arrival"] >= low) & (log["arrival"] < high)
        counted = int((mine & (log["status"] == 2)).sum())
        assert counted == in_flight, f"{in_flight} messages in flight, {counted} found"
    assert in_flight >= 0, "more messages ended than arrived"
    return {
        "arrived": arrived,
        "blocked_pre": before,
        "shed": shed,
        "failed": failed,
        "cancelled": cancelled,
        "completed": completed,
        "blocked_post": after,
        "in_flight": in_flight,
    }


def not_blocked(requests: dict[str, int]) -> int:
    """Messages of the cohort that were to be answered: all but those that the gate blocked."""
    return requests["arrived"] - requests["blocked_pre"] - requests["blocked_post"]


def profile(plant: "Plant") -> Summary:
    """Which step times were used, and how far off they may be."""
    times = [group.step_time for group in plant.groups]
    known = all(t.rel_error_low is not None for t in times)
    return {
        "profile.id": together(t.id for t in times),
        "profile.source": together(t.source for t in times),
        "profile.rel_error_low": min(t.rel_error_low or 0.0 for t in times) if known else None,
        "profile.rel_error_high": max(t.rel_error_high or 0.0 for t in times) if known else None,
        "profile.kv_blocks": together(group.kv.source for group in plant.groups),
    }


def together(names: Iterable[str]) -> str:
    """Names of the groups of a mixed fleet, each once."""
    return " + ".join(dict.fromkeys(names))


def fleet(plant: "Plant", provision: Provision) -> Summary:
    """What is provisioned: at the start, and over the window."""
    groups = plant.groups
    ranks = {group.tensor_parallel for group in groups}
    return {
        "fleet.gpus": sum(group.replicas * group.tensor_parallel for group in groups),
        "fleet.replicas": plant.scenario.fleet.replicas,
        "fleet.replicas_mean": provision.mean_replicas(),
        "fleet.replicas_max": provision.most_replicas(),
        "fleet.gpu_hours": provision.gpu_hours(),
        "fleet.tensor_parallel": ranks.pop() if len(ranks) == 1 else None,
        "fleet.cells": plant.scenario.fleet.cells,
        "fleet.gpu": together(group.gpu.name for group in groups),
        "fleet.model": plant.model.name,
    }


def latencies(plant: "Plant", pool: Pool, lost: int) -> Summary:
    """Quantiles and means of every latency."""
    completed = pool.tally("completed")
    exact = exact_latencies(plant, pool.log) if pool.exact else None
    found: Summary = {}
    rows = {"ttft_s": TTFT, "tpot_s": TPOT, "e2e_s": E2E, "queue_s": QUEUE}
    for name, row in rows.items():
        key = name.removesuffix("_s")
        count = pool.tally("with_tpot") if key == "tpot" else completed
        counts = pool.sketch(row)
        for q, p in QUANTILES.items():
            ns = quantile_ns(counts, p, lost) if exact is None else at_rank(exact[name], p, lost)
            found[f"{name}.{q}"] = None if ns is None else ns * 1e-9
        found[f"{name}.mean"] = ratio(pool.tally(key) * 1e-9, count)
        found[f"{name}.count_inf"] = lost
    found |= gaps(pool)
    return found


def exact_latencies(plant: "Plant", log: Arr) -> dict[str, Arr]:
    """Sorted latencies (ns) of the cohort's completed messages."""
    log = log[measured(plant.scenario, log) & (log["status"] == 0)]
    longer = log[log["out"] > 1]
    return {
        "ttft_s": np.sort(log["first"] - log["arrival"]),
        "tpot_s": np.sort((longer["end"] - longer["first"]) / np.maximum(longer["out"] - 1, 1)),
        "e2e_s": np.sort(log["end"] - log["arrival"]),
        "queue_s": np.sort(log["admit"] - log["arrival"]),
    }


def at_rank(values: Arr, q: float, lost: int) -> float | None:
    """Linear q-quantile of sorted values and `lost` more at +infinity; None when infinite."""
    rank = q * (values.size + lost - 1)
    if values.size == 0 or rank > values.size - 1 + 1e-9:
        return None
    low = min(int(rank), values.size - 1)
    high = min(low + 1, values.size - 1)
    return float(values[low] + (values[high] - values[low]) * (rank - low))


def gaps(pool: Pool) -> Summary:
    """Gaps between delivered tokens, pooled over all sequences in the window."""
    counts = pool.change("itl")
    found: Summary = {}
    for q, p in QUANTILES.items():
        ns = quantile_ns(counts, p)
        found[f"itl_s.{q}"] = None if ns is None else ns * 1e-9
    found["itl_s.mean"] = ratio(pool.change("itl_ns") * 1e-9, pool.change("itl_count"))
    found["itl_s.count_inf"] = 0
    return found


def utilisation(plant: "Plant", pool: Pool, provision: Provision) -> Summary:
    """How full memory and GPUs are."""
    local = plant.kv.local_windows
    return {
        "prefix_hit_rate": ratio(pool.tally("cached"), pool.tally("prompt")),
        "prefix_hit_rate_shared": ratio(pool.tally("cached_head"), pool.tally("prompt")),
        "prefix_hit_rate_host": ratio(pool.tally("cached_host"), pool.tally("prompt")),
        "kv_utilisation.global": used(pool, "kv_global_used", "kv_global_blocks"),
        "kv_utilisation.local": used(pool, "kv_local_used", "kv_local_windows") if local else None,
        "gpu_busy_fraction": pool.change("busy_ns") / sum(provision.replica_ns),
    }


def used(pool: Pool, part: str, whole: str) -> float | None:
    """Mean of a column of the time series as a fraction of another's; None of no ticks."""
    values = pool.ticks(part)
    return float(values.mean() / pool.ticks(whole).mean()) if values.size else None


def service(pool: Pool, requests: dict[str, int]) -> Summary:
    """How well the objectives are met."""
    good = pool.tally("goodput")
    return {
        "goodput_per_s": good / pool.window_s,
        "slo.attainment": ratio(good, not_blocked(requests)),
        "slo.availability": ratio(requests["completed"], not_blocked(requests)),
        "slo.persona": None,
    }


def throughput(pool: Pool, provision: Provision) -> Summary:
    """Rates over the window."""
    tokens = pool.during("tokens") / pool.window_s
    return {
        "throughput.messages_per_s": pool.during("done") / pool.window_s,
        "throughput.output_tokens_per_s": tokens,
        "throughput.generated_tokens_per_s": pool.during("generated") / pool.window_s,
        "throughput.prompt_tokens_per_s": pool.during("prompt") / pool.window_s,
        "throughput.cached_tokens_per_s": pool.during("hit") / pool.window_s,
        "throughput.output_tokens_per_gpu_s": tokens / provision.mean_gpus(),
    }


def stated(plant: "Plant") -> Summary:
    """What the scenario says about its traffic, averaged over the measured window."""
    s = plant.scenario
    closed = s.traffic.kind == "sessions"
    rate = None
    if s.traffic.kind != "replay":
        per_ns, bin_ns = rate_curve(s, 1.0)
        at = (np.linspace(s.run.measured_from, s.run.horizon, 10_001)[:-1] * 1e9 // bin_ns).astype(
            int
        )
        rate = float(per_ns[np.minimum(at, per_ns.size - 1)].mean() * 1e9)
    return {
        "stated.messages_per_s": rate,
        "stated.live_sessions": (
            s.traffic.sessions.live or None if closed and s.traffic.diurnal is None else None
        ),
        "stated.turn_cycle_s": s.traffic.turn_cycle if closed else None,
        "stated.prompt_tokens_mean": None,
        "stated.output_tokens_mean": (
            None if s.traffic.kind == "replay" else mean_of(s.traffic.output_tokens)
        ),
    }


def realised(plant: "Plant", pool: Pool, requests: dict[str, int]) -> Summary:
    """What the traffic came to."""
    closed = plant.scenario.traffic.kind == "sessions"
    live = pool.change("live_area_ns") * 1e-9 / pool.window_s
    return {
        "realised.messages_per_s": requests["arrived"] / pool.window_s,
        "realised.live_sessions": live if closed else None,
        "realised.turn_cycle_s": ratio(pool.change("gap_ns") * 1e-9, pool.change("gaps")),
        "realised.prompt_tokens_mean": ratio(pool.tally("asked"), requests["arrived"]),
        "realised.output_tokens_mean": ratio(pool.tally("tokens"), requests["completed"]),
        "realised.in_system_mean": pool.change("area_ns") * 1e-9 / pool.window_s,
        "realised.answers_cut": pool.tally("cut"),
        "realised.shadow_messages": pool.desk("shadows"),
        "realised.turns_delayed": pool.change("clipped"),
        "realised.preemptions": pool.tally("preempted"),
        "realised.swipe_rate": ratio(
            pool.tally("swiped"), requests["completed"] - pool.tally("abandoned")
        ),
        "realised.abandoned": pool.tally("abandoned"),
        "realised.retries": pool.tally("retries"),
        "realised.gave_up": pool.tally("gave_up"),
    }
