"""A comparison for people: inputs, what differs, what does not."""

from collections.abc import Sequence
from typing import IO, Any, Final

from rich import box
from rich.table import Table

from kaiju_sim.diff.figures import Delta, Pairing
from kaiju_sim.diff.sides import Input, Side
from kaiju_sim.report.console import make_console
from kaiju_sim.report.format import show, show_key, with_half

_HOW: Final[dict[Pairing, str]] = {
    "paired": "{n} replications a side with the same users (common random numbers), pair by pair.",
    "independent": "{n} replications a side and different seeds: taken as independent.",
    "single": "One replication on a side: noise is not known, so no difference is shown.",
}
_MOST_INPUTS: Final = 40
_WIDTH: Final = 120
"""Characters in a line that no terminal shows."""


def print_diff(
    a: Side,
    b: Side,
    inputs: Sequence[Input],
    rows: Sequence[Delta],
    how: Pairing,
    file: IO[str],
    every: bool = False,
) -> None:
    """Write the page."""
    console = make_console(file)
    if not console.is_terminal:
        console.width = _WIDTH
    with console.capture() as captured:
        console.print(f"A: {a.name}\nB: {b.name}", markup=False)
        console.print()
        _print_inputs(console, inputs)
        console.print()
        count = min(len(a.seeds), len(b.seeds))
        console.print(answer(rows), markup=False)
        console.print(_HOW[how].format(n=count), markup=False)
        shown = [r for r in rows if every or r.verdict not in ("equal", "no difference")]
        if shown:
            console.print()
            console.print(_figures(shown, a, b))
    file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def answer(rows: Sequence[Delta]) -> str:
    """How many figures differ, are equal, lie within noise, or are not known."""
    counts = {"differ": ("higher", "lower", "changed"), "equal": ("equal",)}
    counts |= {"no difference (within noise)": ("no difference",), "not known": ("not known",)}
    parts = []
    for words, verdicts in counts.items():
        number = sum(row.verdict in verdicts for row in rows)
        if number or words == "differ":
            parts.append(f"{number} {words}")
    return f"Of {len(rows)} figures: {', '.join(parts)}."


def _print_inputs(console: Any, inputs: Sequence[Input]) -> None:
    if not inputs:
        console.print("No input differs.")
        return
    table = _table("input", "A", "B")
    for item in inputs[:_MOST_INPUTS]:
        table.add_row(item.path, _cell(item.a), _cell(item.b))
    console.print(table)
    if len(inputs) > _MOST_INPUTS:
        console.print(f"... and {len(inputs) - _MOST_INPUTS} more (--format json has all)")


def _cell(text: str | None) -> str:
    if text is None:
        return "–"
    return text if len(text) <= 60 else text[:57] + "..."


def _figures(rows: Sequence[Delta], a: Side, b: Side) -> Table:
    table = _table("figure", "A", "B", "B - A", "", "verdict")
    for row in rows:
        key, kind = row.metric.key, row.metric.kind
        cells = (show_key(a.summary, key, kind), show_key(b.summary, key, kind))
        table.add_row(key, *cells, _change(row), _relative(row), row.verdict)
    return table


def _change(row: Delta) -> str:
    """The difference with half its interval."""
    if row.delta is None:
        return ""
    kind = row.metric.kind
    sign = "+" if row.delta > 0 else "−" if row.delta < 0 else ""
    text = f"{sign}{show(abs(row.delta), kind)}"
    return with_half(text, {row.metric.key: {"half_width": row.half_width}}, row.metric.key)


def _relative(row: Delta) -> str:
    if row.delta is None or not row.a:
        return ""
    return f"{100.0 * row.delta / abs(row.a):+.1f} %"


def _table(first: str, *columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column(first, no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=first == "figure")
    return table
