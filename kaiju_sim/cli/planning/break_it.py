"""`kaiju-sim break-it SCENARIO`: the fewest GPUs with each choice of the design taken back.

Only parses and prints; the searches are `kaiju_sim.planner.breakits`'. docs/break-its.md.
"""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from kaiju_sim.cli.options import Address, Seed, Set, WhereOption, With, Workers, settings
from kaiju_sim.cli.simulating import executing, scenario_file, tell_if_cold
from kaiju_sim.cli.talk import Talk

DEFAULT = Path("runs") / "break-its"


class Format(StrEnum):
    """What goes to stdout."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


def break_it(
    scenario: Annotated[
        str, typer.Argument(help="Scenario file, or the name of one in scenarios/.")
    ] = "published",
    only: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="These break-its only.")
    ] = None,
    with_: With = None,
    set_: Set = None,
    seed: Seed = None,
    format: Annotated[Format, typer.Option(help="Tables, rows for programs, or Markdown.")] = (
        Format.TEXT
    ),
    workers: Workers = 2,
    executor: WhereOption = None,
    address: Address = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder that keeps replications (runs/break-its)."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> None:
    """What each choice of a design is worth: the fewest GPUs without it, and what breaks.

    A run that was stopped goes on where it was: replications are kept by a hash of what they
    depend on.
    """
    from kaiju_sim.planner.breakits.table import Asked, break_its

    talk = Talk(quiet)
    folder = output or DEFAULT
    asked = Asked(
        scenario_file(scenario), tuple(with_ or ()), tuple(settings(set_, seed)), folder / "kept"
    )
    tell_if_cold(talk)
    names = [word.strip() for word in only.split(",")] if only else []
    with executing(executor, workers, address) as where:
        rows = break_its(asked, only=names, executor=where, tell=talk.say)
    _write(folder, scenario, rows)
    _print(scenario, rows, format)
    talk.say(f"replications are kept in {asked.folder}")


def _write(folder: Path, scenario: str, rows: list[dict[str, Any]]) -> None:
    from kaiju_sim.report.atomic import write_file

    write_file(folder / f"{Path(scenario).stem}.json", _json(rows).encode())


def _print(scenario: str, rows: list[dict[str, Any]], format: Format) -> None:
    from kaiju_sim.report.planning.break_its import markdown, print_break_its, tables_of

    if format is Format.JSON:
        sys.stdout.write(_json(rows))
    elif format is Format.MARKDOWN:
        sys.stdout.write(markdown(tables_of(rows)))
    else:
        print_break_its(f"{scenario}: what breaks it", rows, sys.stdout)


def _json(rows: list[dict[str, Any]]) -> str:
    return json.dumps(rows, indent=2, allow_nan=False) + "\n"
