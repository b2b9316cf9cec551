"""What figures beside the bill rest on: forecast, planner, crossover, safety gate, simulation."""

from collections.abc import Callable, Mapping
from math import inf
from typing import Any

from kaiju_sim.report.format import count, duration, percent, usd
from kaiju_sim.report.money.words import Sheet, Words

How = Callable[[float], str]
_MOST = 5
_OTHERS: dict[str, tuple[str, How]] = {
    "usd_per_million_uncached_input_tokens": ("million uncached input tokens, USD", usd),
    "usd_per_month_ahead": ("bill in the forecast's last month, USD", usd),
    "case_study_planner_gpus": ("GPUs of the case study's planner", count),
    "planner_gpus": ("GPUs of the planner, assumed hit rate", count),
    "crossover_daily_users": ("own model cheaper than grouped heads, users", count),
    "open_model_usd_per_month": ("cheapest open model here, USD/month", usd),
}
_GATE: dict[str, tuple[str, How]] = {
    "added_ttft_s": ("time at the gate", duration),
    "servers_usd_per_month": ("servers, USD/month", usd),
    "blocked": ("blocked", percent),
    "wrongly_refused": ("wrongly refused", percent),
    "detected": ("detected", percent),
}
_SERVICE: dict[str, tuple[str, How]] = {
    "ttft_s.p50": ("TTFT p50", duration),
    "ttft_s.p99": ("TTFT p99", duration),
    "slo.attainment": ("objectives met", percent),
    "prefix_hit_rate": ("hit rate", percent),
    "safety.pre.stay_s.mean": ("time at the gate", duration),
    "requests.blocked_share": ("blocked", percent),
    "safety.wrongly_share": ("wrongly refused", percent),
}


def rest_tables(sheet: Sheet) -> list[Words]:
    """The tables for which the sheet has figures."""
    note = "One value at a time, all else as stated."
    found = [tornados("What moves other figures", sheet["other_figures"], _OTHERS, note)]
    if sheet["gate"] is not None:
        found.append(tornados("What moves the safety gate", sheet["gate"], _GATE, _CLOSED))
    bars = sheet.get("simulated_tornado")
    if bars:
        figures = {name: simulated(sheet, name) for name in _SERVICE if name in sheet["service"]}
        words = {name: _SERVICE[name] for name in figures}
        found.append(tornados("What moves it: simulated service", figures, words, _RUNS))
    return found


def simulated(sheet: Sheet, name: str) -> dict[str, Any]:
    """The bars of a figure of service, the longest first, from the runs at both ends."""
    bars = [
        {
            "name": bar["name"].removesuffix(".value"),
            "ends": f"{bar['low']} to {bar['high']} ({bar['grade']})",
            "at_low": bar["at_low"].get(name),
            "at_high": bar["at_high"].get(name),
        }
        for bar in sheet["simulated_tornado"]
    ]
    return {"stated": sheet["service"][name], "tornado": sorted(bars, key=_shortness)}


def _shortness(bar: Mapping[str, Any]) -> float:
    low, high = bar["at_low"], bar["at_high"]
    if low is None or high is None:
        return 0.0 if low is high else -inf
    return -abs(float(high) - float(low))


_RUNS = "One run at each end of a range; in brackets the grade of its source."
_CLOSED = (
    "Closed form (docs/safety.md), one value at a time. The servers are as many as are needed to be"
    " as busy as now; ∞: those there are cannot keep up."
)


def tornados(
    title: str, figures: Mapping[str, Any], words: Mapping[str, tuple[str, How]], note: str
) -> Words:
    """The longest bars of some figures, one figure below the other."""
    rows: list[tuple[str, ...]] = []
    for name, (label, how) in words.items():
        figure = figures[name]
        if figure["stated"] is None and not figure["tornado"]:
            continue
        rows.append((label, _end(figure["stated"], how), "", ""))
        for bar in figure["tornado"][:_MOST]:
            ends = bar.get("ends") or f"{bar['low']:.4g} to {bar['high']:.4g}"
            cells = (_end(bar[end], how) for end in ("at_low", "at_high"))
            rows.append((f"  {bar['name']}", ends, *cells))
    return Words(title, ("figure, and what moves it", "stated, or range", *_HEADS), rows, note)


_HEADS = ("at low", "at high")


def _end(value: float | None, how: How) -> str:
    """A figure; without one there is no end to it (a queue, users until a crossing)."""
    return "∞" if value is None else how(value)
