"""`kaiju-sim trace FILE`: what is in a trace, as tables for people or JSON for programs.

Only parses and writes; the figures are `kaiju_sim.workload.traces.analyse`'s, and their names and
definitions are in docs/traces.md.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from kaiju_sim import units
from kaiju_sim.catalog.models import Model, find_model
from kaiju_sim.cli.options import Output
from kaiju_sim.cli.trace_tables import print_fits, print_trace
from kaiju_sim.errors import UserError
from kaiju_sim.report.atomic import write_file
from kaiju_sim.workload.traces import (
    BLOCK_TOKENS,
    NAMES,
    Stretch,
    Trace,
    analyse,
    fit_figures,
    is_servegen,
    parse_fleet,
    read_fits,
    read_trace,
)
from kaiju_sim.workload.traces.analysis import Progress as Tell
from kaiju_sim.workload.traces.export import plain_file
from kaiju_sim.workload.traces.reuse import MAX_BLOCKS, POLICIES
from kaiju_sim.workload.traces.suggest import add_model, suggestion

_MAX_ITEMS = 100
_MAX_WINDOW_S = 10**9


_Lru = Annotated[
    str | None,
    typer.Option(metavar="BLOCKS,...", help="Reuse with one LRU cache of so many blocks."),
]
_Fleet = Annotated[
    str | None,
    typer.Option(
        metavar="N4_C1000_rr,...",
        help=f"Reuse with N caches of C blocks behind a router: {', '.join(POLICIES)}.",
    ),
]
_Iod = Annotated[
    str | None, typer.Option(metavar="SECONDS,...", help="Windows of the index of dispersion.")
]
_ModelName = Annotated[
    str | None, typer.Option(help="Model, by catalog name: cache sizes in GiB of its KV.")
]
_Page = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write the same as one HTML page.")
]
_Suggest = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Write a scenario that draws such traffic; - prints it."),
]
_Rows = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write the rows in plain columns: .csv, .jsonl, .parquet."),
]
_Duration = Annotated[
    str | None, typer.Option(help="Take so much of its time (servegen: draw requests for it).")
]
_Scale = Annotated[float, typer.Option(help="servegen: every client's rate times this.")]
_Seed = Annotated[int, typer.Option(min=0, max=2**31 - 1, help="servegen: seed of the draws.")]


def trace(
    file: Annotated[str, typer.Argument(help="Trace file; may end in .zst or .gz.")],
    lru: _Lru = None,
    fleet: _Fleet = None,
    iod: _Iod = None,
    model: _ModelName = None,
    format: Annotated[Output, typer.Option(help="Tables or JSON.")] = Output.TEXT,
    output: _Page = None,
    suggest: _Suggest = None,
    write: _Rows = None,
    trace_format: Annotated[
        str, typer.Option(help=f"Format of the file: auto, {', '.join(NAMES)}.")
    ] = "auto",
    start: Annotated[str, typer.Option(help="Skip so much of the trace's time.")] = "0s",
    duration: _Duration = None,
    client_scale: _Scale = 1.0,
    seed: _Seed = 1,
    max_rows: Annotated[int | None, typer.Option(help="Read only so many rows.")] = None,
    block_tokens: Annotated[int, typer.Option(help="Tokens that a block id stands for.")] = (
        BLOCK_TOKENS
    ),
) -> None:
    """What is in a trace: rate, burstiness, lengths, prefix reuse against cache size."""
    known = None if model is None else find_model(model)
    length_s = None if duration is None else _seconds("--duration", duration)
    stretch = Stretch(_seconds("--start", start), length_s, client_scale, seed)
    if is_servegen(file, trace_format) and duration is None:
        _refuse_without_rows(lru, fleet, iod, suggest, write, output)
        _show(fit_figures(read_fits(file)), format, print_fits)
        return
    capacities = _numbers("--lru", lru, MAX_BLOCKS)
    fleets = [parse_fleet(item) for item in _items("--fleet", fleet)]
    windows_s = None if iod is None else _numbers("--iod", iod, _MAX_WINDOW_S)
    rows = read_trace(
        file, trace_format, max_rows=max_rows, block_tokens=block_tokens, stretch=stretch
    )
    with _progress(len(fleets)) as tell:
        figures = analyse(rows, lru=capacities, fleet=fleets, iod_s=windows_s, progress=tell)
    if known is not None:
        add_model(figures, known)
    _write(rows, figures, known, output, suggest, write)
    if suggest != "-":
        _show(figures, format, print_trace)


def _seconds(option: str, text: str) -> float:
    try:
        return units.seconds(text)
    except ValueError as error:
        raise UserError(f"{option}: {error}") from None


def _refuse_without_rows(*options: object) -> None:
    if any(option is not None for option in options):
        raise UserError("these are fits, not requests: give --duration to draw some from them")


def _show(
    figures: dict[str, Any], format: Output, tables: Callable[[dict[str, Any], Console], None]
) -> None:
    if format == Output.JSON:
        typer.echo(json.dumps(figures, indent=2, allow_nan=False))
    else:
        tables(figures, Console())


def _write(
    rows: Trace,
    figures: dict[str, Any],
    model: Model | None,
    output: Path | None,
    suggest: str | None,
    write: Path | None,
) -> None:
    """The files that were asked for."""
    if write is not None:
        write_file(write, plain_file(rows, str(write)))
    if suggest is not None:
        text = suggestion(rows, model or find_model("kaiju-13b"))
        if suggest == "-":
            sys.stdout.write(text)
        else:
            write_file(Path(suggest), text.encode())
    if output is not None:
        from kaiju_sim.report.html.trace_page import trace_page

        write_file(output, trace_page(figures).encode())


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
