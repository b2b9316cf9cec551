"""The table of `kaiju-sim audit`, for people."""

from collections.abc import Mapping, Sequence
from typing import IO, Any

from rich import box
from rich.console import Console
from rich.table import Table

from kaiju_sim.audit.document import counts
from kaiju_sim.audit.words import texts, verdicts

PLAIN_WIDTH = 140
_STYLES = {"holds": "green", "unsupported": "yellow"}


def print_rows(rows: Sequence[Mapping[str, Any]], file: IO[str]) -> None:
    """Each claim with its figures and verdict, then how many have which verdict."""
    plain = not file.isatty()
    console = Console(
        file=file, width=PLAIN_WIDTH if plain else None, no_color=plain, highlight=False
    )
    with console.capture() as page:
        console.print(_table(rows))
        console.print(_totals(rows), markup=False)
    file.write("".join(f"{line.rstrip()}\n" for line in page.get().splitlines()))


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", justify="right")
    for head, ratio in (("claim", 4), ("stated", 2), ("recomputed", 2), ("verdict", 2)):
        table.add_column(head, ratio=ratio)
    table.add_column("simulated (95 % interval)", ratio=2)
    for row in rows:
        words = texts(row)
        cells = [row["claim"], words["stated"], words["recomputed"], verdicts(row)]
        style = _STYLES.get(row["verdict"], "red")
        cells = [cell.replace("[", "\\[") for cell in cells]
        cells[-1] = f"[{style}]{cells[-1]}[/{style}]"
        table.add_row(row["id"], *cells, words["simulated"])
    return table


def _totals(rows: Sequence[Mapping[str, Any]]) -> str:
    found = [(name, case + published) for name, case, published in counts(rows)]
    return f"{len(rows)} claims: " + ", ".join(f"{n} {name}" for name, n in found if n)
