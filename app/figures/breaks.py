"""One choice of the design taken back: what is changed, and what comes of it, on the same fleet."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kaiju_sim.diff.figures import Delta, deltas
from kaiju_sim.diff.sides import differing, of_directory
from kaiju_sim.planner.breakits.names import BREAK_ITS
from kaiju_sim.report.format import percent, show
from kaiju_sim.report.rundir import RunDirectory

Rows = list[dict[str, Any]]
SETS: Mapping[str, Sequence[str]] = {
    "no-affinity": ("router.policy=round_robin",),
    "no-inter-turn-cache": ("kv.local_retention=definition",),
    "no-mqa": ("model=kaiju-13b-mha",),
    "no-int8-kv": ("model=kaiju-13b-kv-16bit",),
    "no-window": ("model=kaiju-13b-no-window",),
    "no-kv-sharing": ("model=kaiju-13b-no-sharing",),
    "beam-3": ("engine.candidates=3", "safety.post={kind: head}"),
    "tight-ttft": ("slo.ttft=800ms",),
}
"""What each break-it changes in `baseline`, as in scenarios/case_study.yaml."""
WINDOW = ("run.warm_up=1min", "run.horizon=4min", "run.drain=1min")
REPLICATIONS = 2
SHOWN = (
    *("prefix_hit_rate", "ttft_s.p50", "ttft_s.p99", "tpot_s.p50", "gpu_busy_fraction"),
    *("kv_utilisation.global", "bottleneck.prefill_compute", "bottleneck.decode_bandwidth"),
    *("slo.attainment", "throughput.messages_per_s", "cost.usd_per_message", "verdict"),
)
"""Figures that are compared first."""


LINKS = (
    ("Prompt tokens found in caches", "prefix_hit_rate"),
    ("Prefill, of what the GPUs could do", "bottleneck.prefill_compute"),
    ("Decode, of what the GPUs could do", "bottleneck.decode_bandwidth"),
    ("KV memory held", "kv_utilisation.global"),
    ("Messages that meet their objectives", "slo.attainment"),
)
"""Links of the causal chain, in its order."""


def said(name: str) -> str:
    """What a break-it does, in words."""
    return next(one.says for one in BREAK_ITS if one.name == name)


def inputs(base: Path, other: Path) -> Rows:
    """Inputs that differ."""
    found = differing(of_directory(base), of_directory(other))
    return [{"input": one.path, "as shipped": one.a, "broken": one.b} for one in found]


def figures(base: Path, other: Path) -> Rows:
    """Figures side by side, with the library's verdict on their difference."""
    found = {one.metric.key: one for one in deltas(of_directory(base), of_directory(other))}
    return [_figure(found[key]) for key in SHOWN if key in found]


def _figure(one: Delta) -> dict[str, Any]:
    return {
        "figure": one.metric.label,
        "as shipped": show(one.a, one.metric.kind),
        "broken": show(one.b, one.metric.kind),
        "verdict": str(one.verdict),
    }


def chain(base: RunDirectory, other: RunDirectory) -> list[str]:
    """The causal chain in words, from both runs' figures; a link that did not move is left out.

    Misses make prefill; prefill and decode keep GPUs busy; then messages wait.
    """
    told = [_link(words, base.summary.get(key), other.summary.get(key)) for words, key in LINKS]
    last = [
        f"TTFT p99 goes from {_wait(base)} to {_wait(other)}; the fleet is"
        f" {other.summary.get('verdict')}."
    ]
    return [link for link in told if link] + last


def _link(words: str, a: float | None, b: float | None) -> str:
    if a is None or b is None or abs(b - a) < MOVED:
        return ""
    return f"{words}: {percent(a)} → {percent(b)}."


MOVED = 0.005
"""Half a point: less is no link of the chain."""


def _wait(run: RunDirectory) -> str:
    value = run.summary.get("ttft_s.p99")
    return "∞" if value is None else show(value, "duration")


def shares(base: RunDirectory, other: RunDirectory) -> Rows:
    """The chain's shares on both sides, percent."""
    return [
        {"share": words, "side": side, "percent": run.summary[key] * 100}
        for words, key in LINKS
        for side, run in (("as shipped", base), ("broken", other))
        if run.summary.get(key) is not None
    ]
