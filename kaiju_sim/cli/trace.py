"""`kaiju-sim trace FILE`: what is in a trace, as tables for people or JSON for programs.

Only parses and prints; the figures are `kaiju_sim.workload.traces.analyse`'s, and their names and
definitions are in docs/traces.md.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from kaiju_sim.errors import UserError
from kaiju_sim.workload.traces import BLOCK_TOKENS, FORMATS, analyse, parse_fleet, read_trace
from kaiju_sim.workload.traces.analysis import Progress as Tell
from kaiju_sim.workload.traces.reuse import MAX_BLOCKS, POLICIES

_MAX_ITEMS = 100
_MAX_WINDOW_S = 10**9


class Output(StrEnum):
    """How the result is printed."""

    TEXT = "text"
    JSON = "json"


def trace(
    file: Annotated[str, typer.Argument(help="Trace file; may end in .zst or .gz.")],
    lru: Annotated[
        str | None,
        typer.Option(metavar="BLOCKS,...", help="Reuse with one LRU cache of so many blocks."),
    ] = None,
    fleet: Annotated[
        str | None,
        typer.Option(
            metavar="N4_C1000_rr,...",
            help=f"Reuse with N caches of C blocks behind a router: {', '.join(POLICIES)}.",
        ),
    ] = None,
    iod: Annotated[
        str | None,
        typer.Option(metavar="SECONDS,...", help="Windows of the index of dispersion."),
    ] = None,
    format: Annotated[Output, typer.Option(help="Tables or JSON.")] = Output.TEXT,
    trace_format: Annotated[
        str, typer.Option(help=f"Format of the file: auto, {', '.join(FORMATS)}.")
    ] = "auto",
    max_rows: Annotated[int | None, typer.Option(help="Read only so many rows.")] = None,
    block_tokens: Annotated[int, typer.Option(help="Tokens that a block id stands for.")] = (
        BLOCK_TOKENS
    ),
) -> None:
    """What is in a trace: rate, burstiness, lengths, ideal and LRU prefix reuse."""
    capacities = _numbers("--lru", lru, MAX_BLOCKS)
    fleets = [parse_fleet(item) for item in _items("--fleet", fleet)]
    windows_s = None if iod is None else _numbers("--iod", iod, _MAX_WINDOW_S)
    rows = read_trace(file, trace_format, max_rows=max_rows, block_tokens=block_tokens)
    with _progress(len(capacities) + len(fleets)) as tell:
        figures = analyse(rows, lru=capacities, fleet=fleets, iod_s=windows_s, progress=tell)
    if format == Output.JSON:
        typer.echo(json.dumps(figures, indent=2, allow_nan=False))
    else:
        _print_tables(figures, Console())


def _items(option: str, text: str | None) -> list[str]:
    """The parts of a comma-separated option, each once."""
    items = [] if text is None else [item.strip() for item in text.split(",")]
    if "" in items:
        raise UserError(f"{option} {text!r}: an item between the commas is empty")
    if len(items) > _MAX_ITEMS:
        raise UserError(f"{option}: {len(items):,} items; use {_MAX_ITEMS} or fewer")
    return list(dict.fromkeys(items))


def _numbers(option: str, text: str | None, high: int) -> list[int]:
    return [_number(option, item, high) for item in _items(option, text)]


def _number(option: str, item: str, high: int) -> int:
    if item.isascii() and item.isdigit() and len(item) <= 20 and 1 <= int(item) <= high:
        return int(item)
    raise UserError(f"{option} {item[:40]!r}: use whole numbers from 1 to {high:,}")


@contextmanager
def _progress(steps: int) -> Iterator[Tell | None]:
    """A bar on stderr while reuse is computed; nothing where stderr is not a terminal."""
    console = Console(stderr=True)
    if not steps or not console.is_terminal:
        yield None
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("prefix reuse", total=steps + 1)
        yield lambda done: bar.update(task, advance=1, description=done)


def _print_tables(figures: dict[str, Any], console: Console) -> None:
    console.print(f"{figures['name']} ({figures['format']})", markup=False, emoji=False)
    console.print(_arrivals_table(figures))
    console.print(_lengths_table(figures))
    if "ideal" in figures:
        console.print(_reuse_table(figures))


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
