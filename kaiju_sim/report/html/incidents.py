"""Incidents in the HTML report: their ledgers, and each ledger over the detection delay."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kaiju_sim.report import headline
from kaiju_sim.report.html import charts, page
from kaiju_sim.report.html.charts import Figure
from kaiju_sim.report.incidents import CURVE_HEADS, HEADS, curve_rows, entries, row

_NOTE = (
    "Each against the same run without it: same users, same seed. Churn is of assumed shares; its"
    " range, and what each step took, is in summary.json."
)


def section(summary: Mapping[str, Any], first: int) -> str:
    """Heading, tables and charts (the first is figure number `first`); "" without incidents."""
    found = entries(summary)
    if not found:
        return ""
    parts = ["<h2>Incidents</h2>\n", f'<div class="panel">{_ledgers(found)}</div>\n']
    parts.append(f'<p class="note">{page.escape(_NOTE)}</p>\n')
    for place, entry in enumerate(_curved(found)):
        parts.append(page.chart(first + place, wide=True))
        parts.append(page.details(f"{entry['name']}: later detection", _curve(entry)))
    return "".join(parts)


def figures(summary: Mapping[str, Any]) -> list[Figure]:
    """The detection-delay curves, as far as further delays were simulated."""
    badge = headline.source(summary)
    return [_figure(entry, badge) for entry in _curved(entries(summary))]


def _curved(found: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [entry for entry in found if entry.get("detection_delay")]


def _figure(entry: Mapping[str, Any], badge: str) -> Figure:
    points = entry["detection_delay"]
    late = np.array([point["late_s"] for point in points])
    keys = {"late messages": "late_messages", "wrong answers": "wrong_answers"}
    lines = {
        name: np.array([point["ledger"][key] for point in points], float)
        for name, key in keys.items()
        if name == "late messages" or entry["ledger"][key]
    }
    title = f"{entry['name']}: {' and '.join(lines)} by how much later it is noticed"
    return charts.time_figure(title, late, lines, badge, axis="messages")


def _ledgers(found: list[Mapping[str, Any]]) -> str:
    rows = [[page.escape(cell) for cell in row(entry)] for entry in found]
    return page.table(HEADS, rows, ("name", *["number"] * (len(HEADS) - 1)))


def _curve(entry: Mapping[str, Any]) -> str:
    rows = [[page.escape(cell) for cell in line] for line in curve_rows(entry)]
    return page.table(CURVE_HEADS, rows, ["number"] * len(CURVE_HEADS))
