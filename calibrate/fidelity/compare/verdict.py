"""Whether the errors are what they must be, and which one is the worst."""

from collections.abc import Mapping, Sequence
from typing import Any

from calibrate.fidelity.compare.figures import CAPACITY_METRICS, MEAN, THROUGHPUT

MOST, SPREADS = 0.03, 2.0
"""Of a figure up to `UP_TO` of the capacity; or so many times the spread of repeated runs."""
UP_TO = 0.85
MOST_CAPACITY = 0.01
JUDGED = {("ttft", q) for q in ("p50", "p90", "p99")} | {("tpot", q) for q in ("p50", "p90", "p99")}
JUDGED |= {(THROUGHPUT, MEAN)}

Row = Mapping[str, Any]


def allowed(row: Row) -> float | None:
    """How large a row's error may be; None: nothing is asked of it."""
    if row["rel_error"] is None:
        return None
    if row["metric"] in CAPACITY_METRICS:
        return MOST_CAPACITY
    if row["load"] is None or row["load"] > UP_TO + 1e-9:
        return None
    if (row["metric"], row["statistic"]) not in JUDGED:
        return None
    return max(MOST, SPREADS * (row["repeat_spread"] or 0.0))


def judged(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Each row with what it is allowed and whether it keeps to it (None: nothing is asked)."""
    found = []
    for row in rows:
        most = allowed(row)
        found.append({**row, "allowed": most, "ok": most and abs(row["rel_error"]) <= most})
    return [{**row, "ok": None if row["allowed"] is None else bool(row["ok"])} for row in found]


def worst(rows: Sequence[Row]) -> dict[str, Any] | None:
    """The largest error of those that are judged, else of all."""
    known = [row for row in rows if row["rel_error"] is not None]
    known = [row for row in known if row["allowed"] is not None] or known
    if not known:
        return None
    row = max(known, key=lambda row: abs(row["rel_error"]))
    names = ("workload", "metric", "statistic", "measured", "simulated", "rel_error")
    return {name: row[name] for name in (*names, "repeat_spread", "allowed")}
