"""Incidents of a run as rows of text: for the console and for the HTML report."""

from collections.abc import Mapping
from typing import Any

from kaiju_sim.report.format import show

HEADS = (
    *("incident", "noticed after", "over after", "lost", "shed", "given up", "late"),
    *("wrong answers", "wrongly refused", "affected users", "GPU USD", "churn USD", "total USD"),
)
"""Columns of a ledger."""
CURVE_HEADS = ("noticed later by", "late", "wrong answers", "affected users", "total USD")
"""Columns of a detection-delay curve."""
_COUNTS = (
    *("lost_messages", "shed_messages", "given_up_messages", "late_messages"),
    *("wrong_answers", "wrongly_refused_messages", "affected_users"),
)
_CURVE_COUNTS = ("late_messages", "wrong_answers", "affected_users")
_MONEY = ("gpu_usd", "churn_usd", "total_usd")


def entries(summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The incidents of a summary, none if nothing went wrong."""
    return list(summary.get("incidents") or [])


def row(entry: Mapping[str, Any]) -> list[str]:
    """One incident, in the order of HEADS; ± half the interval of the total."""
    ledger = entry["ledger"]
    counts = [show(_whole(ledger[key]), "count") for key in _COUNTS]
    money = [show(ledger[key], "usd") for key in _MONEY]
    half = entry.get("intervals", {}).get("ledger.total_usd", {}).get("half_width")
    if half is not None:
        money[-1] += f" ± {show(half, 'usd')}"
    return [f"{entry['name']} ({entry['fleet']} fleet)", *times(entry), *counts, *money]


def times(entry: Mapping[str, Any]) -> list[str]:
    """From the fault to the alarm, and to verified recovery; a dash for never."""
    return [
        show(None if entry[key] is None else entry[key] - entry["at_s"], "duration")
        for key in ("detected_s", "recovered_s")
    ]


def curve_rows(entry: Mapping[str, Any]) -> list[list[str]]:
    """The ledger over the detection delay, in the order of CURVE_HEADS."""
    return [
        [
            show(point["late_s"], "duration"),
            *(show(_whole(point["ledger"][key]), "count") for key in _CURVE_COUNTS),
            show(point["ledger"]["total_usd"], "usd"),
        ]
        for point in entry.get("detection_delay", ())
    ]


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
