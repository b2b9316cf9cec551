"""`kaiju-sim export RUN`: a run for Prometheus, for Perfetto, for a spreadsheet."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kaiju_sim.cli.talk import Talk
from kaiju_sim.errors import UserError

if TYPE_CHECKING:
    from kaiju_sim.exports.steps import Window
    from kaiju_sim.report.rundir import RunDirectory

File = Path | None


def export(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    openmetrics: Annotated[File, typer.Option(help="OpenMetrics text, vLLM's names.")] = None,
    perfetto: Annotated[File, typer.Option(help="Trace for ui.perfetto.dev (.json, .gz).")] = None,
    xlsx: Annotated[File, typer.Option(help="Workbook of the figures.")] = None,
    csv: Annotated[File, typer.Option(help="Folder of CSV files, the same figures.")] = None,
    window: Annotated[
        str | None, typer.Option(metavar="FROM..TO", help="Of the trace: 10min..12min.")
    ] = None,
    scrape: Annotated[
        str | None, typer.Option(metavar="TIME", help="OpenMetrics: 60s (default: every tick).")
    ] = None,
    start: Annotated[
        str, typer.Option(metavar="TIME", help="OpenMetrics: when simulated time 0 is, ISO 8601.")
    ] = "1970-01-01T00:00:00Z",
    replication: Annotated[int, typer.Option(min=0, help="Which one, of several.")] = 0,
    base: Annotated[
        Path, typer.Option(help="Trace: where files start that the scenario names.")
    ] = Path(),
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> None:
    """Write a run for other tools: Prometheus, Perfetto, Excel."""
    from kaiju_sim.report.rundir import read_run

    if openmetrics is None and perfetto is None and xlsx is None and csv is None:
        raise UserError("nothing to write: --openmetrics, --perfetto, --xlsx or --csv")
    if (window is None) != (perfetto is None):
        raise UserError("--perfetto FILE and --window FROM..TO belong together")
    span = None if window is None else window_of(window)
    for target in (openmetrics, perfetto, xlsx, csv):
        if target is not None:
            _check(target)
    found, talk = read_run(run), Talk(quiet)
    if openmetrics is not None:
        _openmetrics(found, openmetrics, scrape, start, replication)
        talk.say(f"written to {openmetrics}")
    if perfetto is not None and span is not None:
        _perfetto(found, perfetto, span, base, replication, talk)
        talk.say(f"written to {perfetto}")
    _sheets(found, xlsx, csv, talk)


def window_of(text: str) -> "Window":
    """The window that FROM..TO says."""
    from kaiju_sim.exports.steps import Window

    begin, dots, end = text.partition("..")
    if not dots:
        raise UserError(f"--window {text}: write FROM..TO, as in 10min..12min")
    first, last = (round(_seconds("--window", part) * 1e9) for part in (begin, end))
    if not 0 <= first < last:
        raise UserError(f"--window {text}: it has to begin at 0s or later, and before it ends")
    return Window(first, last)


def _seconds(option: str, text: str) -> float:
    from kaiju_sim.units import seconds

    try:
        return seconds(text)
    except ValueError as error:
        raise UserError(f"{option}: {error}") from None


def start_of(text: str) -> float:
    """Unix seconds of a time in ISO 8601; without a zone it is UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"--start {text}: write a time such as 2026-11-01T00:00:00Z") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _check(target: Path) -> None:
    """Before any time is spent: can a file be made there?"""
    from kaiju_sim.report import atomic

    parent = target.absolute().parent
    if not parent.is_dir():
        raise UserError("its folder does not exist", target)
    atomic.probe(parent)


def _write(target: Path, content: bytes) -> None:
    from kaiju_sim.report import atomic

    if target.is_dir():
        raise UserError("is a folder", target)
    atomic.write_file(target.absolute(), content)


def _openmetrics(
    run: "RunDirectory", target: Path, scrape: str | None, start: str, replication: int
) -> None:
    from kaiju_sim.exports.openmetrics import openmetrics

    interval = None if scrape is None else _seconds("--scrape", scrape)
    if interval is not None and interval <= 0:
        raise UserError("--scrape has to be longer than 0s")
    text = openmetrics(run, start_s=start_of(start), scrape_s=interval, replication=replication)
    _write(target, "".join(text).encode())


def _perfetto(
    run: "RunDirectory", target: Path, window: "Window", base: Path, replication: int, talk: Talk
) -> None:
    from kaiju_sim.exports.perfetto import packed, perfetto
    from kaiju_sim.exports.steps import replay
    from kaiju_sim.report.html.render import run_title

    talk.say(f"simulating again up to {window.end * 1e-9:g} s, to see the steps")
    cells = replay(run, window, base, replication)
    rows = run.table("events").to_pylist()
    events = [
        (row["time_s"], row["kind"], row["subject"], row["detail"])
        for row in rows
        if row["replication"] == replication
    ]
    _write(target, packed("".join(perfetto(cells, window, events, run_title(run))), target.name))
    missed = sum(cell.missed for cell in cells)
    if missed:
        talk.say(f"{missed:,} steps were too short to be seen and are not in the trace")


def _sheets(run: "RunDirectory", xlsx: File, csv: File, talk: Talk) -> None:
    from kaiju_sim.exports.sheet import workbook, write_csv
    from kaiju_sim.exports.tables import sheets_of

    if xlsx is None and csv is None:
        return
    sheets = sheets_of(run)
    if xlsx is not None:
        _write(xlsx, workbook(sheets))
        talk.say(f"written to {xlsx}")
    if csv is not None:
        write_csv(sheets, csv.absolute())
        talk.say(f"written to {csv}")
