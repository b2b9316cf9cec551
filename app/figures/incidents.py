"""An incident's run over time: the fleet minute by minute, what happened when, what it cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.figures.scenarios import INCIDENTS
from kaiju_sim.report.incidents import HEADS, entries, row
from kaiju_sim.report.rundir import RunDirectory

Rows = list[dict[str, Any]]
WINDOW = ("run.warm_up=5min", "run.horizon=50min", "run.drain=1min", "incidents[0].delays=[]")
"""Fifty minutes, of which the fault strikes at the twentieth."""
MINUTES = (5, 50)
"""What can be looked at."""
FOLDER = "incidents/"
"""Where their scenarios lie."""
TAIL = 4.0
"""99th percentile of the time to the remedy over its median, as in the shipped incidents."""
BIN_S = 60.0
MARKED = ("fault", "incident")
"""Kinds of events that are marked in the charts."""


@dataclass(frozen=True)
class Panel:
    """A chart of the timeline: its axis with unit, and its series by name and column."""

    title: str
    series: Mapping[str, str]
    scale: float = 1.0
    """What a column is multiplied with."""


PANELS = (
    Panel("messages/s", {"arrived": "arrived_per_s", "completed": "completed_per_s"}),
    Panel("hit rate (%)", {"hit rate": "prefix_hit_rate"}, 100.0),
    Panel("waiting (messages)", {"waiting": "waiting"}),
    Panel("batch (sequences)", {"running": "running"}),
    Panel(
        "KV held (%)", {"global": "kv_global_utilisation", "local": "kv_local_utilisation"}, 100.0
    ),
)
"""Charts from the run's series; TTFT comes from the messages."""


def names() -> list[str]:
    """Incidents, as they stand in an address."""
    return [name.removeprefix(FOLDER) for name in INCIDENTS]


def settings(late_min: int, mttr_min: int) -> list[str]:
    """An alarm that rings so much later, and a remedy that takes so long (median)."""
    return [
        *WINDOW,
        f"incidents[0].detection.late={late_min}min",
        f"incidents[0].response.mttr_p50_s.value={mttr_min * 60}",
        f"incidents[0].response.mttr_p99_s.value={mttr_min * 60 * TAIL:g}",
    ]


def between(rows: Rows, ends: tuple[int, int]) -> Rows:
    """Rows of these minutes."""
    return [row for row in rows if ends[0] <= row["minutes"] <= ends[1]]


def of_panel(run: RunDirectory, panel: Panel) -> Rows:
    """The panel's series over the fleet."""
    table = run.table("series", ["time_s", "level", *panel.series.values()]).to_pylist()
    return [
        {"minutes": tick["time_s"] / 60, "series": name, "value": tick[column] * panel.scale}
        for tick in table
        if tick["level"] == "fleet"
        for name, column in panel.series.items()
        if tick[column] is not None
    ]


def ttft(run: RunDirectory) -> Rows:
    """TTFT percentiles of the messages that arrived in each minute and were answered, seconds."""
    table = run.table("requests", ["arrival_s", "ttft_s"])
    arrival, wait = (np.asarray(table[name].to_numpy(), float) for name in table.column_names)
    known = np.isfinite(wait)
    minute, wait = (arrival[known] // BIN_S).astype(int), wait[known]
    return [
        {"minutes": float(m) + 0.5, "series": f"p{q}", "value": float(np.percentile(found, q))}
        for m in np.unique(minute)
        if (found := wait[minute == m]).size
        for q in (50, 99)
    ]


def events(run: RunDirectory) -> Rows:
    """What happened: the fault, the alarm, what people did."""
    return [
        {"minutes": round(e["time_s"] / 60, 2), "kind": e["kind"], "what": e["detail"]}
        for e in run.table("events").to_pylist()
        if e["kind"] in MARKED
    ]


def ledger(run: RunDirectory) -> Rows:
    """What the incident cost: the run less the same run without it."""
    found: Sequence[Mapping[str, Any]] = entries(run.summary)
    return [
        {"what": head, "figure": text}
        for entry in found
        for head, text in zip(HEADS, row(entry), strict=True)
    ]
