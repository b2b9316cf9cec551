"""The sheet of a run's money on the console."""

from collections.abc import Iterable
from typing import IO, Any

from rich import box
from rich.table import Table
from rich.text import Text

from kaiju_sim.report.console import PLAIN_WIDTH, make_console
from kaiju_sim.report.money.rests import rest_tables
from kaiju_sim.report.money.words import Words, limit, tables_of

_TEXT = {"limited by", "way", "low", "high", "price from", "binds", "step times", "objectives"}


def print_sheet(sheet: dict[str, Any], file: IO[str]) -> None:
    """Write all tables to `file`; plain and 100 wide where it is no terminal."""
    print_page(head_of(sheet), [*tables_of(sheet), *rest_tables(sheet)], file)


def print_page(head: Text, tables: Iterable[Words], file: IO[str]) -> None:
    """A head and tables with their notes; plain and 100 wide where it is no terminal."""
    console = make_console(file)
    with console.capture() as page:
        console.print(head)
        for words in tables:
            console.print()
            console.print(table_of(words))
            if words.note:
                console.print(Text(words.note, style="dim"))
    text = page.get()
    if console.is_terminal:
        file.write(text)
    else:
        file.write("".join(f"{line.rstrip()}\n" for line in text.splitlines()))


def head_of(sheet: dict[str, Any]) -> Text:
    """Name, source and what limits the fleet."""
    lines = (
        f"{sheet['scenario']}, seed {sheet['seed']}: {sheet['verdict']}",
        f"source: {sheet['source']}",
        limit(sheet),
    )
    return Text("\n".join(lines))


_RANGES = {"stated, or range"}


def table_of(words: Words) -> Table:
    """One table; text to the left, numbers to the right."""
    table = Table(
        title=words.title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        width=None if words.rows else PLAIN_WIDTH,
    )
    for place, head in enumerate(words.heads):
        left = place == 0 or head in _TEXT or head in _RANGES
        table.add_column(head, justify="left" if left else "right", overflow="fold")
    for row in words.rows:
        table.add_row(*row)
    return table
