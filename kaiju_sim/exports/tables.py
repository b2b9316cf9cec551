"""A run's figures as rows of cells with units, the same for the workbook and for CSV.

Numbers stay numbers in SI units, the unit stands beside them or in the column's name, what does not
exist is an empty cell.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kaiju_sim.report import headline
from kaiju_sim.report.format import MISSING
from kaiju_sim.report.glossary import METRICS
from kaiju_sim.report.html.money_page import assumptions, sheet_of_run
from kaiju_sim.report.html.render import run_title
from kaiju_sim.report.money.rests import rest_tables
from kaiju_sim.report.money.words import Words, tables_of
from kaiju_sim.report.provenance import text_hash
from kaiju_sim.report.rundir import RunDirectory

if TYPE_CHECKING:
    import pyarrow as pa

Cell = str | float | int | bool | None
_PLAIN = re.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
_PERCENT = re.compile(r"(-?[\d,]*\.?\d+) %")
MOST_ROWS = 1_000_000
"""Of a sheet; Excel ends at 1,048,576."""


@dataclass(frozen=True)
class Sheet:
    """A table: its name, its columns, its rows."""

    name: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def sheets_of(run: RunDirectory) -> list[Sheet]:
    """All sheets of a run, the answer first."""
    return [
        answer(run),
        figures(run),
        *money(run),
        _table("series", run.table("series"), level="fleet"),
        _table("events", run.table("events")),
        Sheet("scenario", ("scenario.yaml",), [[x] for x in run.scenario_yaml.splitlines()]),
    ]


def answer(run: RunDirectory) -> Sheet:
    """The answer in the first line, then what has to be known with it, and where it is from."""
    s = run.summary
    package = run.provenance.get("package") or {}
    rows: list[Sequence[Cell]] = [
        ("run", run_title(run)),
        ("verdict", f"{headline.verdict(s)} {headline.speed(s)}"),
        ("step times", f"{headline.source(s)}; {headline.source_note(s)}"),
        *(("warning", text) for text in headline.warnings(s)),
        ("made with", f"{package.get('name', 'kaiju-sim')} {package.get('version', '')}".strip()),
        ("SHA-256 of scenario.yaml", text_hash(run.scenario_yaml)),
    ]
    if headline.replications(s):
        rows.append(("figures", headline.replications(s)))
    return Sheet("answer", ("answer", headline.answer(s)), rows)


def figures(run: RunDirectory) -> Sheet:
    """Every figure of summary.json with its unit, its interval and its definition."""
    heads = ["key", "group", "figure", "value", "unit", "low (95 %)", "high (95 %)", "definition"]
    rows: list[Sequence[Cell]] = []
    for metric in METRICS:
        if metric.key in run.summary and metric.key != "incidents":
            interval = run.intervals.get(metric.key, {})
            ends = (_cell(interval.get("low")), _cell(interval.get("high")))
            value = _cell(run.summary[metric.key])
            about = (metric.key, metric.group, metric.label)
            rows.append((*about, value, metric.unit, *ends, metric.text))
    return Sheet("figures", heads, rows)


def money(run: RunDirectory) -> list[Sheet]:
    """Bill, prices, sensitivity and assumptions; none where the run's money cannot be told."""
    sheet = sheet_of_run(run)
    if sheet is None:
        return []
    return [_words(words) for words in [*tables_of(sheet), *rest_tables(sheet), assumptions(sheet)]]


def _words(words: Words) -> Sheet:
    rows: list[Sequence[Cell]] = [[number_of(cell) for cell in row] for row in words.rows]
    if words.note:
        rows.append((words.note,))
    return Sheet(words.title.lower(), words.heads, rows)


def number_of(text: str) -> Cell:
    """A number written for people as a number again, percent as a fraction; else itself."""
    if text == MISSING:
        return None
    if _PLAIN.fullmatch(text):
        return float(text.replace(",", ""))
    share = _PERCENT.fullmatch(text)
    return round(float(share[1].replace(",", "")) / 100, 12) if share else text


def _cell(value: Any) -> Cell:
    return value if isinstance(value, str | float | int | bool | None) else str(value)


def _table(name: str, table: "pa.Table", level: str | None = None) -> Sheet:
    import pyarrow.compute as pc

    if level is not None:
        table = table.filter(pc.equal(table["level"], level))
    columns = [table[column].to_pylist() for column in table.column_names]
    rows: Iterable[Sequence[Cell]] = zip(*columns, strict=True)
    return Sheet(name, table.column_names, list(rows)[:MOST_ROWS])
