"""`kaiju-sim audit`: claims recomputed, judged and simulated; a table, JSON or Markdown.

Only parses and writes; the figures are `kaiju_sim.audit`'s.
"""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from kaiju_sim.cli.simulating import tell_if_cold
from kaiju_sim.cli.talk import Talk
from kaiju_sim.errors import UserError

MOST_REPLICATIONS = 1000
DEFAULT = Path("runs") / "audit"


class Output(StrEnum):
    """What goes to stdout."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


def audit(
    format: Annotated[Output, typer.Option(help="A table, rows for programs, or the page.")] = (
        Output.TEXT
    ),
    only: Annotated[
        str | None, typer.Option(metavar="ID,...", help="These claims only, such as 7,16,P2.")
    ] = None,
    simulate: Annotated[
        bool, typer.Option(help="Simulate what claims about behaviour say (minutes).")
    ] = True,
    replications: Annotated[
        int, typer.Option(min=2, max=MOST_REPLICATIONS, help="Independent runs, for intervals.")
    ] = 5,
    workers: Annotated[int, typer.Option(min=1, max=1024, help="Processes.")] = 2,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder of audit.json, report.html and runs kept (runs/audit)."
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> None:
    """Recompute the claims of a case study and published ones, and simulate what they predict."""
    from kaiju_sim.audit.rows import audit_rows

    claims = _chosen(only)
    talk = Talk(quiet)
    folder = None if output is None and not simulate else _folder(output or DEFAULT)
    found = None
    if simulate and folder is not None:
        ids = None if only is None else [claim.id for claim in claims]
        found = _simulated(folder, ids, replications, workers, talk)
    rows = audit_rows(claims, simulated=found)
    if folder is not None:
        _write(rows, folder)
    _print(rows, format)
    if folder is not None:
        talk.say(f"written to {folder}")


def _chosen(only: str | None) -> Any:
    """The claims with these ids; all without."""
    from kaiju_sim.audit.claim import all_claims

    if only is None:
        return all_claims()
    known = {claim.id: claim for claim in all_claims()}
    wanted = [word.strip().upper() for word in only.split(",")]
    for word in wanted:
        if word not in known:
            raise UserError(f"--only: no claim {word[:20]!r}; there are 1 to 52 and P1 to P6")
    return [claim for claim in known.values() if claim.id in wanted]


def _folder(path: Path) -> Path:
    """The output folder, made if need be."""
    from kaiju_sim.report.atomic import probe

    try:
        (path / "runs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    probe(path)
    return path


def _simulated(
    folder: Path, ids: list[str] | None, replications: int, workers: int, talk: Talk
) -> dict[str, dict[str, Any]]:
    from kaiju_sim.audit.simulated import simulate_claims

    tell_if_cold(talk)
    with talk.progress("audit") as progress:
        return simulate_claims(
            folder / "runs",
            only=ids,
            replications=replications,
            workers=workers,
            progress=progress,
        )


def _write(rows: list[dict[str, Any]], folder: Path) -> None:
    from kaiju_sim.audit.words import texts
    from kaiju_sim.report.atomic import write_file
    from kaiju_sim.report.html.audit_page import audit_page

    page = audit_page([row | {"texts": texts(row)} for row in rows])
    write_file(folder / "audit.json", _json(rows).encode())
    write_file(folder / "report.html", page.encode())


def _print(rows: list[dict[str, Any]], format: Output) -> None:
    if format is Output.JSON:
        sys.stdout.write(_json(rows))
    elif format is Output.MARKDOWN:
        from kaiju_sim.audit.document import markdown

        sys.stdout.write(markdown(rows))
    else:
        from kaiju_sim.cli.audit_table import print_rows

        print_rows(rows, sys.stdout)


def _json(rows: list[dict[str, Any]]) -> str:
    return json.dumps(rows, indent=2, allow_nan=False) + "\n"
