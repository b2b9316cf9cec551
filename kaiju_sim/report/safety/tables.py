"""The safety gate as tables for console and report: rates by age tier, and its servers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kaiju_sim.report.format import percent, show, show_key

Values = Mapping[str, Any]
_STAGES = {"pre": "safety gate, messages", "post": "safety gate, answers"}
_TIERS = ("adult", "teen")
_RATES = {
    "block_rate": "Blocked",
    "false_positive_rate": "False positives",
    "intense_false_positive_rate": "False positives, intense",
    "detection_rate": "Violating ones detected",
}
_TIMES = {"wait_s": "Wait", "stay_s": "Time at the gate", "refusal_s": "Time to a refusal"}
_STATISTICS = ("p50", "p90", "p99", "mean")
_COUNTS = {
    "unchecked": "Passed unchecked",
    "refused": "Refused unchecked",
    "wrongly": "Wrongly refused",
    "reworded": "Reworded",
    "dropped": "Turns dropped",
    "left": "Users who left",
}


@dataclass(frozen=True)
class Words:
    """A table in words."""

    heads: tuple[str, ...]
    rows: list[tuple[str, ...]]


def safety_tables(summary: Values) -> list[Words]:
    """What there is to say; nothing where there is no gate."""
    stages = [s for s in _STAGES if summary.get(f"safety.{s}.adult.checked") is not None]
    found = [_rates(summary, stage) for stage in stages]
    if summary.get("safety.pre.utilisation") is not None:
        found.append(_servers(summary))
    if summary.get("safety.wrongly") is not None:
        counts = {name: show(summary.get(f"safety.{name}"), "count") for name in _COUNTS}
        found.append(Words(("refusals", ""), [(_COUNTS[name], n) for name, n in counts.items()]))
    return found


def _rates(summary: Values, stage: str) -> Words:
    """Rates with intervals, and the ROC, by age tier."""
    starts = [f"safety.{stage}.{tier}" for tier in _TIERS]
    counts = tuple(show(summary.get(f"{start}.checked"), "count") for start in starts)
    rows = [("Judged", *counts)]
    for key, label in _RATES.items():
        rows.append((label, *(_with_ends(summary, f"{start}.{key}") for start in starts)))
    area = (show(summary.get(f"{start}.auc"), "number") for start in starts)
    rows.append(("Area under the ROC", *area))
    at = "detection_at_1_percent"
    points = (show(summary.get(f"{start}.{at}"), "fraction") for start in starts)
    rows.append(("Detected at 1 % false positives", *points))
    return Words((_STAGES[stage], *_TIERS), rows)


def _with_ends(summary: Values, key: str) -> str:
    """A rate with its interval."""
    value, low, high = (summary.get(key + end) for end in ("", "_low", "_high"))
    if value is None or low is None or high is None:
        return show(value, "fraction")
    return f"{percent(value)} ({low * 100:.2g}-{high * 100:.2g})"


def _servers(summary: Values) -> Words:
    """Times at the gate, and how busy it is."""
    busy = show(summary.get("safety.pre.utilisation"), "fraction")
    rows = []
    for name, label in _TIMES.items():
        keys = (f"safety.pre.{name}.{statistic}" for statistic in _STATISTICS)
        rows.append((label, *(show_key(summary, key, "duration") for key in keys)))
    return Words((f"gate, {busy} busy", *_STATISTICS), rows)
