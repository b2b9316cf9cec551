"""`python -m calibrate fidelity`: parses, calls the library, prints.

The plan goes to stdout first, the last line of stdout is one JSON object (`--report` prints its
tables, unless it is asked for JSON); talk and the progress bar go to stderr.
"""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from kaiju_sim import units
from kaiju_sim.errors import UserError

Format = Literal["text", "json", "markdown"]
_Workload = Annotated[
    list[str] | None, typer.Option(metavar="NAME", help="Workload; several times (all).")
]
_Seconds = Annotated[
    str | None, typer.Option(help="How long arrivals come (60 s; 95 % of capacity: 180 s).")
]
_Seed = Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of the workloads.")]
_Out = Annotated[Path | None, typer.Option(help="Folder for all files (default: in the checkout).")]
_Data = Annotated[
    Path | None, typer.Option(help="Folder of public traces (default: beside the checkout).")
]
_Capacity = Annotated[
    float | None, typer.Option(help="Messages/s to take as the capacity instead of measuring it.")
]
_Report = Annotated[bool, typer.Option("--report", help="Print the comparison as it was written.")]
_Recompute = Annotated[
    bool, typer.Option("--recompute", help="Simulate and compare again; needs no GPU.")
]
_Prepare = Annotated[bool, typer.Option("--prepare", help="Only make the workloads; needs no GPU.")]
_EngineTime = Annotated[
    bool,
    typer.Option("--engine-time", help="Take the engine's own time from the capacity runs."),
]
_OnlyMeasure = Annotated[bool, typer.Option("--only-measure", help="Measure and do not compare.")]
_Page = Annotated[Path | None, typer.Option(metavar="FILE", help="Rewrite the figures of a page.")]
_Fake = Annotated[
    bool, typer.Option("--fake", help="Without a GPU: an engine as the profile says.")
]
_Fresh = Annotated[bool, typer.Option("--fresh", help="Forget earlier runs first.")]
_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr.")]
_Debug = Annotated[bool, typer.Option("--debug", help="Show where an error came from.")]


def fidelity(
    profile: Annotated[str, typer.Option(help="Profile: its id or file.")] = (
        "h100-80gb-kaiju-13b-tp1"
    ),
    workload: _Workload = None,
    repeats: Annotated[int, typer.Option(help="Runs of each workload.")] = 1,
    seconds: _Seconds = None,
    seed: _Seed = 1,
    out: _Out = None,
    data: _Data = None,
    capacity: _Capacity = None,
    report: _Report = False,
    recompute: _Recompute = False,
    prepare: _Prepare = False,
    only_measure: _OnlyMeasure = False,
    engine_time: _EngineTime = False,
    page: _Page = None,
    form: Annotated[Format, typer.Option("--format", help="How --report prints.")] = "text",
    fake: _Fake = False,
    fresh: _Fresh = False,
    quiet: _Quiet = False,
    debug: _Debug = False,
) -> None:
    """Serve workloads on the engine, simulate them with a profile, and report the error."""
    from calibrate.fidelity import command
    from calibrate.measure.talk import Talk

    options = command.Options(
        profile, tuple(workload or ()), repeats, _seconds(seconds), seed, out, data,
        _positive(capacity), fresh, only_measure,
    )  # fmt: skip
    talk = Talk(quiet=quiet)
    if page is not None:
        _print({"wrote": command.fill_page(options, page)})
    elif report:
        _show(command.read(options), form)
    elif recompute:
        _print(command.recompute(options, talk))
    elif engine_time:
        _print(command.engine_time(options))
    elif prepare:
        _print(command.prepare(options, talk))
    else:
        _print(command.run(options, talk, _write, fake=fake))


def _show(found: dict[str, Any], form: Format) -> None:
    from calibrate.fidelity.show import tables

    if form == "json":
        _print(found)
    else:
        sys.stdout.write(tables.text(found) if form == "text" else tables.markdown_all(found))


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        found = units.seconds(text)
    except ValueError as error:
        raise UserError(f"--seconds: {error}") from None
    if not 3 <= found <= 3600:
        raise UserError(f"--seconds: must lie between 3s and 1h, not {text}")
    return found


def _positive(capacity: float | None) -> float | None:
    if capacity is not None and not 0 < capacity <= 1e6:
        raise UserError(f"--capacity: must be more than 0 messages/s, not {capacity:g}")
    return capacity


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _print(value: dict[str, Any]) -> None:
    from calibrate.publish import line_of

    _write(line_of(value).rstrip("\n"))
