"""report.html: one file to send, with the answer in its first line.

Reads a run directory and nothing else, and leaves out what differs from one machine or moment to
the next, so that the same run gives the same bytes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import kaiju_sim
from kaiju_sim.report import headline
from kaiju_sim.report.format import show, show_key, with_half
from kaiju_sim.report.glossary import METRICS, Kind, Metric, undocumented
from kaiju_sim.report.html import charts, incidents, page, provenance
from kaiju_sim.report.html.charts import Figure
from kaiju_sim.report.html.money_page import money_section
from kaiju_sim.report.html.series import (
    FleetSeries,
    first_run,
    fleet_series,
    latency_cdf,
    load_heat,
    shard_spread,
)
from kaiju_sim.report.levels.tables import alert_tables
from kaiju_sim.report.rundir import REPORT, RunDirectory, read_run
from kaiju_sim.report.safety.tables import Words, safety_tables

if TYPE_CHECKING:
    import pyarrow as pa

_CARDS: tuple[tuple[str, str, Kind], ...] = (
    ("fleet.gpus", "GPUs provisioned", "count"),
    ("cost.usd_per_message", "USD per message", "usd"),
    ("throughput.messages_per_s", "messages/s served", "rate"),
    ("ttft_s.p50", "to first token, median", "duration"),
    ("ttft_s.p99", "to first token, p99", "duration"),
    ("tpot_s.p50", "per output token, median", "duration"),
    ("prefix_hit_rate", "prefix hit rate", "fraction"),
    ("gpu_busy_fraction", "GPU busy", "fraction"),
    ("slo.attainment", "objectives met", "fraction"),
    ("cost.usd_per_month", "USD per month", "usd"),
)
_LATENCIES = {
    "ttft_s": "Time to first token",
    "queue_s": "Queueing",
    "tpot_s": "Time per output token",
    "itl_s": "Inter-token latency",
    "e2e_s": "End to end",
}
_SPREADS = (
    ("Messages on a replica, by shard", "messages", "load"),
    ("Prefix hit rate, by shard", "", "prefix_hit_rate"),
)
_EVENT_ROWS = 200
_ALARMS = (
    "Shares of the evaluations. Firing: what the run did; without a fault, the measured rate of"
    " false alarms. False alarms: what independent messages with the run's own bad share would"
    " give; at the target: with the bad share that the objective just allows."
)
_HELD = ("used", "cached")


def write_report(directory: Path) -> Path:
    """Write report.html into a run directory, from the other files in it."""
    target = directory / REPORT
    target.write_text(render(read_run(directory)), encoding="utf-8")
    return target


def render(run: RunDirectory) -> str:
    """The whole report as HTML."""
    title = run_title(run)
    requests = run.table("requests")
    latency, fleet = _latency_figures(run, requests), _fleet_figures(run, requests)
    first = len(latency)
    money = money_section(run, first + len(fleet))
    shown = [*latency, *fleet, *money.figures]
    body = [
        _header(run.summary, title),
        _cards(run),
        "<h2>Latency</h2>\n",
        _grid(range(first)),
        f'<p class="note">{page.escape(_sample_note(run.summary, requests))}</p>\n',
        f'<div class="panel">{_latency_table(run)}</div>\n',
        _tables("Burn-rate alerts", alert_tables(run.summary, run.intervals), _ALARMS),
        _tables("Safety gate", safety_tables(run.summary)),
        "<h2>Over time</h2>\n" if fleet else "",
        _grid(range(first, first + len(fleet))),
        incidents.section(run.summary, len(shown)),
        money.html,
        "<h2>All values</h2>\n",
        _values(run),
        "<h2>Events</h2>\n",
        _events(first_run(run.table("events"))),
        "<h2>Scenario</h2>\n",
        page.details("scenario.yaml", f"<pre>{page.escape(run.scenario_yaml)}</pre>\n"),
        provenance.section(run),
        _footer(),
    ]
    return page.document(title, "".join(body), shown + incidents.figures(run.summary))


def run_title(run: RunDirectory) -> str:
    """Name and seed of the scenario."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        scenario = YAML(typ="safe", pure=True).load(run.scenario_yaml)
    except YAMLError:
        scenario = None
    values = scenario if isinstance(scenario, dict) else {}
    return f"{values.get('name', 'run')}, seed {values.get('seed', run.provenance.get('seed'))}"


def _header(summary: Mapping[str, Any], title: str) -> str:
    verdict = str(summary.get("verdict") or "unknown")
    return f"""<header>
<p class="title">{page.escape(title)}</p>
<h1>{page.escape(headline.answer(summary))}</h1>
<p><span class="badge {page.escape(verdict)}">{page.escape(verdict)}</span>
{page.escape(headline.verdict(summary))} {page.escape(headline.speed(summary))}</p>
<p><span class="badge source">{page.escape(headline.source(summary))}</span>
<span class="note">{page.escape(headline.source_note(summary))}</span></p>
{_notes(summary)}</header>
"""


def _notes(summary: Mapping[str, Any]) -> str:
    """What the figures are means of, and what has to be known before any of them."""
    runs = headline.replications(summary)
    notes = [f'<p class="note">{page.escape(runs)}</p>\n'] if runs else []
    notes += [
        f'<p><span class="badge backlogged">warning</span> {page.escape(text)}</p>\n'
        for text in headline.warnings(summary)
    ]
    return "".join(notes)


def _cards(run: RunDirectory) -> str:
    """The few numbers of the first screen."""
    cards = [
        f'<div class="card"><b>{page.escape(_shown(run, key, kind))}</b>'
        f"<span>{page.escape(label)}</span></div>\n"
        for key, label, kind in _CARDS
        if key in run.summary
    ]
    return f'<div class="cards">\n{"".join(cards)}</div>\n'


def _shown(run: RunDirectory, key: str, kind: Kind) -> str:
    """A figure for people, with half the width of its interval where there is one."""
    return with_half(show_key(run.summary, key, kind), run.intervals, key)


def _grid(places: range) -> str:
    """Panels two in a row; a last odd one takes the whole row."""
    odd = len(places) % 2 == 1
    panels = (page.chart(place, wide=odd and place == places[-1]) for place in places)
    return f'<div class="charts">\n{"".join(panels)}</div>\n'


def _latency_figures(run: RunDirectory, requests: "pa.Table") -> list[Figure]:
    badge = headline.source(run.summary)
    found = []
    for title, names in (
        ("To the first token", ("ttft_s", "queue_s")),
        ("To the whole answer", ("tpot_s", "e2e_s")),
    ):
        curves = {_LATENCIES[name]: latency_cdf(requests, name)[:2] for name in names}
        found.append(charts.latency_figure(title, curves, badge))
    return found


def _fleet_figures(run: RunDirectory, requests: "pa.Table") -> list[Figure]:
    """The time series; none when the run recorded no ticks."""
    replicas = first_run(run.table("replicas"))
    if not replicas.num_rows:
        return []
    series, badge = fleet_series(replicas), headline.source(run.summary)
    cohort = _cohort_span(requests)
    figures = [
        charts.time_figure(
            title, series.time_s, lines, badge, axis=axis, cohort=cohort, fraction=axis == ""
        )
        for title, axis, lines in _lines(series)
    ]
    figures += _shard_figures(run, badge, cohort)
    heat = charts.heat_figure("Messages on each replica", load_heat(replicas), badge)
    return [*figures, heat]


def _shard_figures(
    run: RunDirectory, badge: str, cohort: tuple[float, float] | None
) -> list[Figure]:
    """How far the shards are apart; nothing with a single one."""
    series = first_run(run.table("series"))
    found = []
    for title, axis, name in _SPREADS:
        spread = shard_spread(series, name)
        if spread is not None:
            found.append(charts.band_figure(title, spread, badge, axis=axis, cohort=cohort))
    return found


def _lines(series: FleetSeries) -> list[tuple[str, str, dict[str, Any]]]:
    """Title, axis ("" for a fraction) and lines of each time series."""
    totals = series.totals
    held = {name: series.ratio(f"kv_global_{name}", "kv_global_blocks") for name in _HELD}
    local = series.ratio("kv_local_used", "kv_local_windows")
    return [
        (
            "Messages",
            "messages/s",
            {"arrived": series.rate("arrived"), "completed": series.rate("completed")},
        ),
        (
            "Messages in the fleet",
            "messages",
            {name: totals[name] for name in ("running", "prefilling", "waiting")},
        ),
        ("Prefix hit rate", "", {"hit rate": series.ratio("cached_tokens", "prompt_tokens")}),
        (
            "KV memory",
            "",
            {"held, global": held["used"], "kept, global": held["cached"], "held, local": local},
        ),
        ("GPU busy", "", {"busy": series.busy()}),
        ("Output tokens", "tokens/s", {"output tokens": series.rate("output_tokens")}),
    ]


def _cohort_span(requests: "pa.Table") -> tuple[float, float] | None:
    """First and last arrival of the measured cohort."""
    arrival = requests["arrival_s"].filter(requests["measured"]).to_numpy()
    return (float(np.min(arrival)), float(np.max(arrival))) if arrival.size else None


def _sample_note(summary: Mapping[str, Any], requests: "pa.Table") -> str:
    """What the curves count, and whether they are drawn from a sample."""
    rows = int(np.sum(requests["measured"].to_numpy(zero_copy_only=False)))
    note = "Messages that never got there keep a curve from reaching 100 %."
    runs = summary.get("run.replications") or 1
    arrived = round((summary.get("requests.arrived") or 0) * runs)
    if runs > 1:
        note = f"Curves over time and events are of replication 0. {note}"
    if rows < arrived:
        return f"Curves from a sample of {rows:,} of {arrived:,} messages. {note}"
    return f"Curves from all {rows:,} messages of the cohort. {note}"


def _latency_table(run: RunDirectory) -> str:
    rows = []
    for family, label in _LATENCIES.items():
        statistics = ("p50", "p90", "p99", "mean")
        cells = [_shown(run, f"{family}.{s}", "duration") for s in statistics]
        cells.append(show(run.summary.get(f"{family}.count_inf"), "count"))
        rows.append([page.escape(cell) for cell in (label, *cells)])
    heads = ("", "p50", "p90", "p99", "mean of completed", "not reached")
    return page.table(heads, rows, ("name", *["number"] * 5))


def _tables(title: str, found: Sequence[Words], note: str = "") -> str:
    """A part of tables that have their words already; nothing without any."""
    tables = []
    for words in found:
        rows = [[page.escape(cell) for cell in row] for row in words.rows]
        heads = [page.escape(head) for head in words.heads]
        kinds = ("name", *["number"] * (len(heads) - 1))
        tables.append(f'<div class="panel">{page.table(heads, rows, kinds)}</div>\n')
    if note:
        tables.append(f'<p class="note">{page.escape(note)}</p>\n')
    return f"<h2>{page.escape(title)}</h2>\n{''.join(tables)}" if found else ""


def _values(run: RunDirectory) -> str:
    """Every key of the summary with its definition, a folding part per group."""
    summary = run.summary
    groups: dict[str, list[Metric]] = {}
    for metric in METRICS:
        if metric.key in summary and metric.key != "incidents":  # they have a part of their own
            groups.setdefault(metric.group, []).append(metric)
    parts = [
        page.details(name, _value_table(run, metrics), unfolded=name == "Cost")
        for name, metrics in groups.items()
    ]
    others = [Metric(key, "", key, "", "text", "") for key in undocumented(summary)]
    if others:
        parts.append(page.details("Others", _value_table(run, others)))
    return "".join(parts)


def _value_table(run: RunDirectory, metrics: list[Metric]) -> str:
    rows = []
    for metric in metrics:
        value = page.escape(_shown(run, metric.key, metric.kind))
        unit = page.escape(metric.unit if metric.kind in ("rate", "usd", "count", "number") else "")
        name = f"{page.escape(metric.label)}<br><code>{page.escape(metric.key)}</code>"
        rows.append([name, value, unit, page.escape(metric.text)])
    return page.table(("", "value", "", "definition"), rows, ("name", "number", "name", ""))


def _events(events: "pa.Table") -> str:
    if not events.num_rows:
        return '<p class="note">None.</p>\n'
    shown = events.slice(0, _EVENT_ROWS).to_pylist()
    rows = [
        [f"{row['time_s']:,.1f}", *(page.escape(row[k]) for k in ("kind", "subject", "detail"))]
        for row in shown
    ]
    table = page.table(("time, s", "kind", "subject", "detail"), rows, ("number", "", "", ""))
    rest = events.num_rows - len(shown)
    more = f'<p class="note">{rest:,} more in events.parquet.</p>\n' if rest else ""
    return f'<div class="panel">{table}{more}</div>\n'


def _footer() -> str:
    return f"<footer>Kaiju fleet planner {page.escape(kaiju_sim.__version__)}.</footer>\n"
