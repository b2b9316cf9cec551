"""The sheet of a run's money in HTML: a part of a run's report, or a page of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kaiju_sim.errors import UserError
from kaiju_sim.report.format import MISSING
from kaiju_sim.report.html import charts, page
from kaiju_sim.report.html.charts import Figure
from kaiju_sim.report.html.cost_tree import tree_table
from kaiju_sim.report.money.rests import rest_tables
from kaiju_sim.report.money.words import (
    FIGURE_WORDS,
    MOST_BARS,
    STAFF,
    Sheet,
    Words,
    limit,
    tables_of,
)
from kaiju_sim.report.rundir import RunDirectory

_TEXT = {
    "limited by",
    "way",
    "low",
    "high",
    "price from",
    "grade",
    "source",
    "stated, or range",
    "range",
}


@dataclass(frozen=True)
class Section:
    """HTML and the figures that it has places for."""

    html: str = ""
    figures: list[Figure] = field(default_factory=list)


def money_section(run: RunDirectory, first: int) -> Section:
    """The part of a run's report; empty where the run's summary has no money in full.

    Sobol's indices are left to `kaiju-sim economics`.
    """
    sheet = sheet_of_run(run)
    if sheet is None:
        return Section()
    figures = figures_of(sheet)
    body = body_of(sheet, range(first, first + len(figures)))
    html = f"<h2>Money</h2>\n{tree_table(sheet, run.summary)}{body}"
    return Section(html, figures)


def sheet_of_run(run: RunDirectory) -> Sheet | None:
    """The sheet of a run directory, if it can be made."""
    if run.summary.get("cost.full.usd_per_month") is None:
        return None
    from pydantic import ValidationError
    from ruamel.yaml import YAML

    from kaiju_sim.economics.sheet import sheet_of
    from kaiju_sim.scenario.quantities import FROM_FILE
    from kaiju_sim.scenario.schema import Scenario

    values = YAML(typ="safe", pure=True).load(run.scenario_yaml)
    try:
        scenario = Scenario.model_validate(values, context=FROM_FILE)
        return sheet_of(scenario, run.summary, indices=False)
    except (UserError, ValidationError):
        return None  # nothing was completed, or the scenario is of another version


def money_page(sheet: Sheet) -> str:
    """A page of its own."""
    title = f"{sheet['scenario']}, seed {sheet['seed']}: money"
    figures = figures_of(sheet)
    head = (
        f"<header><h1>{page.escape(title)}</h1>\n"
        f'<p><span class="badge source">source: {page.escape(sheet["source"])}</span>'
        f' <span class="note">{page.escape(STAFF)}</span></p></header>\n'
    )
    return page.document(title, head + body_of(sheet, range(len(figures))), figures)


def body_of(sheet: Sheet, places: range) -> str:
    """Charts, tables, and the assumptions with their sources."""
    panels = "".join(page.chart(place, wide=place >= places[2]) for place in places)
    parts = [
        f"<p>{page.escape(limit(sheet))}</p>\n",
        f'<div class="charts">\n{panels}</div>\n',
        *(page.details(words.title, _table(words)) for words in tables_of(sheet)),
        *(page.details(words.title, _table(words)) for words in rest_tables(sheet)),
        page.details("Assumptions", _table(assumptions(sheet))),
    ]
    return "".join(parts)


def assumptions(sheet: Sheet) -> Words:
    """Every assumed value with its range, grade and source."""
    rows = [
        (
            name,
            *(f"{item[key]:.6g}" for key in ("value", "low", "high")),
            item["grade"],
        )
        + (item["source"],)
        for name, item in (sheet["assumptions"] | sheet["assumed_besides"]).items()
    ]
    rows += [
        (bar["name"], MISSING, bar["low"], bar["high"], bar["grade"], bar["source"])
        for bar in sheet.get("simulated_tornado", [])
        if bar["name"].removesuffix(".value") not in sheet["assumed_besides"]
    ]
    heads = ("assumed", "value", "low", "high", "grade", "source")
    note = (
        "Names are below economics., but for those of safety. and for simulated ranges. Grades: P"
        " primary, R reported, I inferred, U unsupported."
    )
    return Words("Assumptions", heads, rows, note)


def _table(words: Words) -> str:
    kinds = [
        "name" if place == 0 else "" if head in _TEXT else "number"
        for place, head in enumerate(words.heads)
    ]
    heads = [page.escape(head) for head in words.heads]
    rows = [[page.escape(cell) for cell in row] for row in words.rows]
    note = f'<p class="note">{page.escape(words.note)}</p>\n' if words.note else ""
    return page.table(heads, rows, kinds) + note


def figures_of(sheet: Sheet) -> list[Figure]:
    """Tornados of a message's cost and of the margin, the forecast, the crossover."""
    source = f"source: {sheet['source']}"
    tornados = [_tornado(sheet, name, source) for name in ("usd_per_message", "gross_margin")]
    return [*tornados, _forecast(sheet, source), _crossover(sheet)]


def _tornado(sheet: Sheet, name: str, source: str) -> Figure:
    """The longest bars, those of simulated ranges among them."""
    found = sheet["sensitivity"][name]
    bars = [(b["name"], b["at_low"], b["at_high"]) for b in found["tornado"]]
    bars += [
        (f"{b['name']} (simulated)", b["at_low"][name], b["at_high"][name])
        for b in sheet.get("simulated_tornado", [])
    ]
    bars = sorted(bars, key=lambda bar: -abs(bar[2] - bar[1]))[:MOST_BARS]
    label, unit = FIGURE_WORDS[name]
    title, stated = f"What moves it: {label.lower()}", found["stated"]
    is_share = name == "gross_margin"
    return charts.tornado_figure(title, bars, stated, source, axis=unit, fraction=is_share)


def _forecast(sheet: Sheet, source: str) -> Figure:
    rows = sheet["forecast"]
    lines = {
        name: _column([row["usd_per_month"][key] for row in rows])
        for name, key in {"p10": "p10", "p90": "p90", "p50": "p50", "as stated": "stated"}.items()
    }
    months = _column([row["month"] for row in rows])
    axes = ("month", "USD/month")
    return charts.fan_figure("The bill as traffic grows", months, lines, source, axes=axes)


def _crossover(sheet: Sheet) -> Figure:
    found = sheet["crossover"]
    rows = found["by_daily_users"]
    lines = {
        way["name"]: _column([row["usd_per_month"][place] for row in rows])
        for place, way in enumerate(found["ways"])
    }
    users = _column([row["daily_users"] for row in rows])
    axes = ("daily users", "USD/month")
    badge = f"step times measured on {found['measured_on']['gpu']}"
    return charts.ways_figure("Own model or open model", users, lines, badge, axes=axes)


def _column(values: Sequence[Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(values, dtype=np.float64)
