"""The tables of `kaiju-sim trace`, for people: the figures that JSON has, laid out."""

from typing import Any

from rich.console import Console
from rich.table import Table

_BAR = 40
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def print_trace(figures: dict[str, Any], console: Console) -> None:
    """A trace of requests."""
    console.print(f"{figures['name']} ({figures['format']})", markup=False, emoji=False)
    console.print(_arrivals_table(figures))
    console.print(_lengths_table(figures))
    if "ideal" in figures:
        console.print(_reuse_table(figures))
        console.print(_curve_table(figures["curve"]))
        for line in _sizes(figures["curve"]):
            console.print(line, markup=False, highlight=False)


def print_fits(figures: dict[str, Any], console: Console) -> None:
    """Fits of clients, from which requests can be drawn."""
    console.print(f"{figures['name']} (servegen fits)", markup=False, emoji=False)
    table = _table("Clients", "figure", "value")
    table.add_row("clients", _text(figures["clients"]))
    table.add_row("span (s)", _text(figures["span_s"]))
    for name in ("mean_rate", "max_rate", "peak_over_mean"):
        table.add_row(name.replace("_", " "), _text(figures[name], 3))
    table.add_row("share of the ten busiest", _text(figures["top10_client_share"], 4))
    for name, value in figures["gaps"].items():
        table.add_row(f"gaps: {name.replace('_', ' ')}", _text(value, 4))
    console.print(table)
    console.print(_fit_lengths_table(figures))
    console.print(_hours_table(figures["hour_of_day_mean"]))


def _fit_lengths_table(figures: dict[str, Any]) -> Table:
    table = _table("Lengths (tokens)", "", "mean", "p50", "p90", "p99", "share known")
    for name in ("input", "output"):
        cells = [_text(figures[name][key], 1) for key in ("mean", "p50", "p90", "p99")]
        table.add_row(name, *cells, _text(figures[name]["known_share"], 4))
    return table


def _hours_table(hours: list[float]) -> Table:
    table = _table("Hours of the day (mean requests/s)", "hour", "rate")
    table.add_column("")
    for hour, rate in enumerate(hours):
        table.add_row(str(hour), _text(rate), bar(rate / max(*hours, 1e-300)))
    return table


def bar(fraction: float, width: int = _BAR) -> str:
    """A bar of that fraction of the full width, to an eighth of a character."""
    eighths = round(fraction * width * 8)
    part = _EIGHTHS[eighths % 8].strip()
    return _EIGHTHS[8] * (eighths // 8) + part


def _curve_table(curve: dict[str, Any]) -> Table:
    """Hit rate against cache size; a full bar is every prompt token."""
    names = [name for name in ("gib_global", "gib_all") if name in curve]
    unit = "blocks" if curve["unit_tokens"] > 1 else "tokens"
    heads = ["GiB global", "GiB all layers"][: len(names)]
    table = _table("Reuse curve (one LRU cache)", "", unit, *heads, "block hit", "token hit")
    for place, size in enumerate(curve["size"]):
        sizes = [f"{curve[name][place]:,g}" for name in names]
        block, token = curve["block_hit"][place], curve["token_hit"][place]
        table.add_row(bar(token, 14), _text(size), *sizes, _text(block, 4), _text(token, 4))
    return table


def _sizes(curve: dict[str, Any]) -> list[str]:
    """One line for each share of the ideal hit."""
    unit = "blocks" if curve["unit_tokens"] > 1 else "tokens"
    return [
        f"{float(share):.0%} of the ideal token hit: {size:,} {unit}"
        for share, size in curve["size_for_share"].items()
        if size is not None
    ]


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _text(value: float | None, digits: int = 2) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}"


def _arrivals_table(figures: dict[str, Any]) -> Table:
    table = _table("Arrivals", "figure", "value")
    table.add_row("rows", _text(figures["rows"]))
    table.add_row("span (s)", _text(figures["span_s"], 3))
    table.add_row("rate (1/s)", _text(figures["rate_per_s"], 4))
    table.add_row("CV of gaps", _text(figures["interarrival_cv"]))
    for window, value in figures["iod"].items():
        table.add_row(f"IoD, {window} s windows", _text(value))
    for name in ("sessions", "characters"):
        if name in figures:
            table.add_row(name, _text(figures[name]))
    if "turns" in figures:
        table.add_row("turns, mean", _text(figures["turns"]["mean"], 1))
        table.add_row("turns, p90", _text(figures["turns"]["p90"], 1))
        several = figures["share_of_requests_in_multi_turn_sessions"]
        table.add_row("requests in dialogues of several turns", _text(several, 4))
    return table


def _lengths_table(figures: dict[str, Any]) -> Table:
    table = _table("Lengths (tokens)", "", "mean", "p50", "p90", "p99", "max", "min")
    for name in ("input", "output"):
        length = figures[name]
        cells = [_text(length[key], 1) for key in ("mean", "p50", "p90", "p99")]
        table.add_row(name, *cells, _text(length["max"], 0), _text(length["min"], 0))
    return table


def _reuse_table(figures: dict[str, Any]) -> Table:
    ideal = figures["ideal"]
    title = f"Prefix reuse ({ideal['blocks']:,} blocks, {ideal['distinct']:,} distinct)"
    table = _table(title, "caches", "block hit", "token hit", "max/mean")
    table.add_row("ideal", _text(ideal["block_hit"], 4), _text(ideal["token_hit"], 4), "")
    for capacity, (block, token) in figures.get("lru", {}).items():
        table.add_row(f"LRU {int(capacity):,}", _text(block, 4), _text(token, 4), "")
    for name, (block, imbalance) in figures.get("fleet", {}).items():
        table.add_row(name, _text(block, 4), "", _text(imbalance, 3))
    return table
