"""A scenario that draws traffic like a trace's: what a planner would otherwise type by hand.

Laws are quantile tables; where the trace names dialogues the scenario is a closed loop of sessions,
else an open one. The trace says when messages arrive, not when answers end: the pauses suggested
are those between arrivals, so a simulated turn takes longer by the time of an answer.
"""

import math
from typing import Any

import numpy as np

from kaiju_sim.catalog.models import Model
from kaiju_sim.errors import UserError
from kaiju_sim.scenario.explain import to_yaml
from kaiju_sim.workload.traces.analysis import (
    KV_SHARES,
    dispersion,
    index_of_dispersion,
    interarrival_cv,
)
from kaiju_sim.workload.traces.distances import ReuseCurve, reuse_curve
from kaiju_sim.workload.traces.model import Ints, Trace
from kaiju_sim.workload.traces.quantiles import quantile_law

KNOTS = 33
"""Values in each quantile table."""
GIB = 2**30
_NS = 1e9
_GRID_SHARE = 0.05
_GRID_WINDOW_NS = 1e10
_DAY_S = 86_400
_CLOCK_HOUR = {"ragpulse": 12 + 35 / 3600}
"""Local hour at 0 of a format's own clock, where it is not midnight."""


def suggestion(trace: Trace, model: Model) -> str:
    """The scenario as YAML, with what the scenario cannot say as comments in front."""
    notes = [*_notes(trace), *_kv_notes(trace, model)]
    return "".join(f"# {note}\n" for note in notes) + to_yaml(scenario_values(trace))


def scenario_values(trace: Trace) -> dict[str, Any]:
    """The values of the suggested scenario, as they are written in YAML."""
    limit = _rounded_up(int(trace.prompt_tokens.max()) + 1)
    traffic: dict[str, Any] = {
        "kind": "poisson" if trace.session is None else "sessions",
        "messages_per_s": _rate(trace),
        "sessions": _open(trace) if trace.session is None else _sessions(trace, trace.session),
        "output_tokens": quantile_law(trace.output_tokens, KNOTS),
    }
    starts = _starts(trace)
    if trace.span_ns >= _DAY_S * _NS:
        traffic["diurnal"] = diurnal(trace)
        starts = without_drift(starts)
    traffic["burstiness"] = burstiness(starts)
    count = 1 if trace.character is None else len(np.unique(trace.character))
    return {
        "schema_version": 1,
        "name": f"like {trace.name}"[:100],
        "model": "kaiju-13b",
        "traffic": traffic,
        "characters": {"count": count, "definition_tokens": {"kind": "constant", "value": 0}},
        "prompt": {"limit": limit},
        "engine": {"max_context": limit + _rounded_up(int(trace.output_tokens.max()))},
    }


def _rounded_up(tokens: int) -> int:
    return -(-tokens // 1024) * 1024


def _rate(trace: Trace) -> float:
    return float(f"{max((trace.rows - 1) / max(trace.span_ns / _NS, 1e-3), 1e-6):.6g}")


def _starts(trace: Trace) -> Ints:
    """Arrivals of first messages: what an arrival process draws."""
    if trace.session is None:
        return trace.arrival_ns
    _, first = np.unique(trace.session, return_index=True)
    return np.sort(trace.arrival_ns[first])


def without_drift(arrival_ns: Ints) -> Ints:
    """The arrivals in a time in which every hour has the same rate: the day's curve tells the rest.

    An hour takes as much of the new time as it has arrivals, one second each; hours without any
    take none.
    """
    hour_ns = 3600 * int(_NS)
    hour, inside = np.divmod(arrival_ns - arrival_ns[0], hour_ns)
    count = np.bincount(hour)
    before = np.concatenate([[0], np.cumsum(count)])[hour]
    return np.asarray((before + inside / hour_ns * count[hour]) * _NS, np.int64)


def burstiness(arrival_ns: Ints) -> float:
    """CV of the gaps; where time stamps stand on a grid, the root of the dispersion over some 10 s.

    A renewal process whose gaps have a CV of c has a dispersion of c^2 over long windows (D. R.
    Cox, "Renewal Theory", 1962), and a grid makes gaps of 0 that nobody has seen.
    """
    gaps = np.diff(arrival_ns)
    if not len(gaps) or gaps.mean() == 0:
        return 1.0
    value: float | None = float(gaps.std() / gaps.mean())
    if (gaps == 0).mean() > _GRID_SHARE:
        step = float(np.median(gaps[gaps > 0]))
        window = round(step * max(1, round(_GRID_WINDOW_NS / step)))  # whole steps of the grid
        over = dispersion(arrival_ns - arrival_ns[0], window)
        value = None if over is None else math.sqrt(over)
    return 1.0 if value is None else float(f"{min(max(value, 0.05), 10.0):.3g}")


def _open(trace: Trace) -> dict[str, Any]:
    """One message each: all of its prompt is new."""
    return {"user_tokens": quantile_law(trace.prompt_tokens, KNOTS)}


def _sessions(trace: Trace, session: Ints) -> dict[str, Any]:
    """Dialogues: turns, pauses, what a turn adds, what a dialogue starts with."""
    first, gaps, growth, turns, spans = dialogues(trace, session)
    live = float(spans.sum() / max(trace.span_ns, 1))
    law: dict[str, Any] = {"live": round(live), "turns": quantile_law(turns, KNOTS)}
    if len(gaps):
        law["think"] = quantile_law(gaps / _NS, KNOTS, unit="s")
        law["user_tokens"] = quantile_law(np.maximum(growth, 0), KNOTS)
    said = float(np.median(np.maximum(growth, 0))) if len(gaps) else 0.0
    start = np.maximum(trace.prompt_tokens[first] - said, 0)
    return law | {"initial_history": quantile_law(start, KNOTS)}


def dialogues(trace: Trace, session: Ints) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """First row of each; gaps and growth from turn to turn; turns and span of each."""
    order = np.argsort(session, kind="stable")
    same = session[order][1:] == session[order][:-1]
    before, after = order[:-1][same], order[1:][same]
    starts = np.flatnonzero(np.concatenate([[True], ~same]))
    ends = np.concatenate([starts[1:], [len(order)]])
    gaps = trace.arrival_ns[after] - trace.arrival_ns[before]
    growth = trace.prompt_tokens[after] - trace.prompt_tokens[before] - trace.output_tokens[before]
    spans = trace.arrival_ns[order[ends - 1]] - trace.arrival_ns[order[starts]]
    return order[starts], gaps, growth, ends - starts, spans


def diurnal(trace: Trace) -> dict[str, Any]:
    """Requests per hour of the day over the time that the trace spends in each hour."""
    start = trace.first_ns / _NS / 3600 + _CLOCK_HOUR.get(trace.format, 0.0)
    hour = (start + trace.arrival_ns / _NS / 3600) % 24
    counts = np.bincount(hour.astype(int), minlength=24)
    edges = np.arange(int(start), int(start + trace.span_ns / _NS / 3600) + 2)
    inside = np.diff(np.clip(edges, start, start + trace.span_ns / _NS / 3600))
    time = np.bincount(edges[:-1] % 24, weights=inside, minlength=24)
    rate = counts / np.maximum(time, 1e-9)
    shape = [float(f"{value:.4g}") for value in rate / rate.mean()]
    return {"start_hour": round(start % 24, 4) % 24, "shape": shape}


def _notes(trace: Trace) -> list[str]:
    """Where the values come from, and how bursty arrivals are."""
    windows = ((w, index_of_dispersion(trace, w)) for w in (1, 10, 60))
    iod = ", ".join(f"{value:.2f} at {w} s" for w, value in windows if value is not None)
    cv = interarrival_cv(trace)
    lines = [
        f"Suggested from {trace.rows:,} rows of {trace.name} ({trace.format},"
        f" sha256 {trace.sha256[:12]}).",
        f"Burstiness: CV of gaps {'-' if cv is None else f'{cv:.2f}'}, index of dispersion"
        f" {iod or '-'} (1 is Poisson).",
    ]
    if trace.session is None:
        return [*lines, "No dialogues in the trace: every message is new. Replay it for reuse."]
    _, _, growth, _, _ = dialogues(trace, trace.session)
    if len(growth) and float(np.median(growth)) < 0:
        lines.append(
            f"Prompts here do not grow by the answers (median {float(np.median(growth)):,.0f}"
            " tokens from turn to turn): a simulated history does. Replay it for exact prompts."
        )
    return [*lines, "sessions.think: time between arrivals, so an answer's time is counted in it."]


def kv_sizes(curve: ReuseCurve, model: Model) -> dict[str, dict[str, float | None]]:
    """For shares of the ideal token hit: KV tokens, and GiB with a model (one rank's layers)."""
    sizes: dict[str, dict[str, float | None]] = {}
    whole = model.global_kv_token_bytes() + model.local_kv_token_bytes()
    for share in KV_SHARES:
        size = curve.size_for(share)
        tokens = None if size is None else size * curve.unit_tokens
        sizes[f"{share:g}"] = {
            "tokens": tokens,
            "gib_global": gib(tokens, model.global_kv_token_bytes()),
            "gib_all": gib(tokens, whole),
        }
    return sizes


def add_model(figures: dict[str, Any], model: Model) -> None:
    """Put the curve's sizes in GiB of the model's KV beside them: global layers, and all layers.

    Layers with a window keep little of a context unless their KV is retained everywhere; what a
    cache of prefixes needs lies between the two.
    """
    curve = figures.get("curve")
    if curve is None:
        raise UserError(f"trace {figures['name']} has no block ids: --model needs them")
    whole = model.global_kv_token_bytes() + model.local_kv_token_bytes()
    tokens = [size * curve["unit_tokens"] for size in curve["size"]]
    curve["model"] = model.name
    curve["gib_global"] = [gib(count, model.global_kv_token_bytes()) for count in tokens]
    curve["gib_all"] = [gib(count, whole) for count in tokens]


def gib(tokens: int | None, token_bytes: int) -> float | None:
    """KV of so many tokens, in GiB to three digits."""
    return None if tokens is None else float(f"{tokens * token_bytes / GIB:.3g}")


def _kv_notes(trace: Trace, model: Model) -> list[str]:
    """Cache sizes that reach shares of what any cache could."""
    curve = reuse_curve(trace)
    if curve is None or not curve.need.size:
        return []
    lines = []
    for share, size in kv_sizes(curve, model).items():
        lines.append(
            f"KV for {float(share):.0%} of the ideal hit, one LRU cache: {size['tokens']:,} tokens"
            f" = {size['gib_global']:g} GiB of {model.name}'s global layers"
            f" ({size['gib_all']:g} GiB with local KV kept everywhere)."
        )
    return lines
