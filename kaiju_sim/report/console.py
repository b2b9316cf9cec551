"""The result as a page of plain text for people; the answer stands in its first lines.

Deterministic: it depends on the summary and the width only. When stdout is not a terminal the
width is 100 and there is no colour, so that it can be kept in a file and compared.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import IO, Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kaiju_sim.report import headline
from kaiju_sim.report.format import show, show_key, with_half
from kaiju_sim.report.glossary import METRICS, Metric
from kaiju_sim.report.levels.tables import alert_tables
from kaiju_sim.report.safety.tables import Words, safety_tables

PLAIN_WIDTH = 100
Values = Mapping[str, Any]
NO_INTERVALS: Values = MappingProxyType({})
_VERDICT_STYLE = {"stable": "bold green", "backlogged": "bold yellow", "overloaded": "bold red"}
_LATENCY_ROWS = {
    "ttft_s": "Time to first token",
    "tpot_s": "Time per output token",
    "itl_s": "Inter-token latency",
    "e2e_s": "End to end",
    "queue_s": "Queueing",
}
_QUIET = {
    "requests.blocked_pre",
    "requests.blocked_post",
    "requests.cancelled",
    "slo.persona",
    "cost.gross_margin",
    "cost.usd_per_million_uncached_input_tokens",
    "cost.usd_per_million_cached_input_tokens",
    "cost.usd_per_subscriber_month",
    "throughput.cached_tokens_per_s",
    "bill.safety_servers_usd_per_month",
}
"""Not shown when there is nothing to show: parts that a run may not model."""
_UNITS = {"rate", "usd", "number"}
_SIDES = (("Messages", "Throughput", "Service"), ("Cost", "Cache and GPUs"))
_MONEY = (("Bill",), ("Full cost", "Business"))


def make_console(file: IO[str]) -> Console:
    """A console on `file`: its own width on a terminal, else plain text 100 wide."""
    if file.isatty():
        return Console(file=file, highlight=False)
    return Console(file=file, width=PLAIN_WIDTH, no_color=True, highlight=False)


def print_summary(
    summary: Values, file: IO[str], title: str = "", intervals: Values = NO_INTERVALS
) -> None:
    """Write the whole page for `summary` to `file`; missing keys become dashes."""
    console = make_console(file)
    if console.is_terminal:
        console.print(render(summary, title, console.width, intervals))
        return
    with console.capture() as page:
        console.print(render(summary, title, intervals=intervals))
    file.write("".join(f"{line.rstrip()}\n" for line in page.get().splitlines()))


def render(
    summary: Values, title: str = "", width: int = PLAIN_WIDTH, intervals: Values = NO_INTERVALS
) -> RenderableType:
    """The page as one rich renderable.

    Below 100 columns, and with intervals, the groups stand under each other.
    """
    parts: list[RenderableType] = [
        _latencies(summary, intervals),
        _groups(summary, width, intervals),
        _pairs(summary, intervals),
    ]
    if summary.get("cost.full.usd_per_month") is not None:
        parts.append(_groups(summary, width, intervals, _MONEY))
    parts += [_words(words) for words in alert_tables(summary, intervals)]
    parts += [_words(words) for words in safety_tables(summary)]
    return Group(_head(summary, title), *(Padding(part, (1, 0, 0, 0)) for part in parts))


def _head(summary: Values, title: str) -> Text:
    """Title, answer, verdict, speed, source: five lines; then warnings."""
    text = Text()
    if title:
        text.append(f"{title}\n", style="dim")
    text.append(headline.answer(summary) + "\n", style="bold")
    verdict = str(summary.get("verdict") or "unknown")
    text.append(verdict, style=_VERDICT_STYLE.get(verdict, "bold"))
    text.append(f": {headline.verdict(summary)}\n{headline.speed(summary)}\n")
    text.append(headline.source(summary), style="bold")
    text.append(f" ({headline.source_note(summary)})")
    if limit := headline.limit(summary):
        text.append(f"\n{limit}")
    if runs := headline.replications(summary):
        text.append(f"\n{runs}")
    for warning in headline.warnings(summary):
        text.append(f"\nwarning: {warning}", style="bold yellow")
    return text


def _latencies(summary: Values, intervals: Values) -> Table:
    """Rows of latency, columns of quantiles."""
    table = _table("latency", "p50", "p90", "p99", "mean", "not reached")
    for family, label in _LATENCY_ROWS.items():
        keys = [f"{family}.{statistic}" for statistic in ("p50", "p90", "p99", "mean")]
        cells = [with_half(show_key(summary, key, "duration"), intervals, key) for key in keys]
        lost = show(summary.get(f"{family}.count_inf"), "count")
        table.add_row(label, *cells, lost)
    return table


def _groups(
    summary: Values, width: int, intervals: Values, names: Sequence[Sequence[str]] = _SIDES
) -> RenderableType:
    """Groups on the left and on the right."""
    left, right = ([_group(summary, name, intervals) for name in side] for side in names)
    if width < PLAIN_WIDTH or intervals:
        return _stack([*left, *right])
    grid = Table.grid(padding=(0, 6))
    grid.add_row(_stack(left), _stack(right))
    return grid


def _stack(tables: Iterable[Table]) -> Group:
    """Tables below each other with a blank line between."""
    first, *rest = tables
    return Group(first, *(Padding(table, (1, 0, 0, 0)) for table in rest))


def _group(summary: Values, name: str, intervals: Values) -> Table:
    """All keys of one glossary group as label and value, but for those that are not modelled."""
    table = _table(name.lower(), "")
    for metric in METRICS:
        value = summary.get(metric.key)
        if metric.group != name or (metric.key in _QUIET and not value):
            continue
        table.add_row(metric.label, _with_unit(value, metric, intervals))
    return table


def _with_unit(
    value: Any, metric: Metric, intervals: Values = NO_INTERVALS, key: str | None = None
) -> str:
    """The value and, where the words do not already say it, its unit."""
    text = with_half(show(value, metric.kind), intervals, key or metric.key)
    return f"{text} {metric.unit}" if value is not None and metric.kind in _UNITS else text


def _pairs(summary: Values, intervals: Values) -> Table:
    """What the scenario states beside what came out, for the quantities that have either."""
    table = _table("traffic", "stated", "realised")
    for metric in METRICS:
        keys = (metric.key, metric.key.replace("stated.", "realised."))
        if not metric.key.startswith("stated.") or all(summary.get(key) is None for key in keys):
            continue
        label = metric.label.removesuffix(", stated")
        cells = (_with_unit(summary.get(key), metric, intervals, key) for key in keys)
        table.add_row(label, *cells)
    return table


def _words(words: Words) -> Table:
    """A table that has its words already."""
    table = _table(*words.heads)
    for row in words.rows:
        table.add_row(*row)
    return table


def _table(first: str, *columns: str) -> Table:
    """A table with a rule under its head, numbers to the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column(first, no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table
