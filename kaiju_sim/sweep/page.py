"""A sweep for people: a page of HTML with its plots, and a page of text."""

import math
from collections.abc import Callable, Sequence
from typing import IO, Any, Final

import numpy as np
from rich import box
from rich.table import Table

from kaiju_sim.report.console import make_console
from kaiju_sim.report.format import show_key, with_half
from kaiju_sim.report.glossary import Kind
from kaiju_sim.report.html import page
from kaiju_sim.report.html.charts import Figure, ways_figure
from kaiju_sim.sweep.front import COST, INTERACTIVITY, TTFT
from kaiju_sim.sweep.table import Row, plain

_AXES: Final[dict[str, tuple[str, Kind]]] = {
    COST: ("USD per message", "usd"),
    TTFT: ("time to first token, p99 (s)", "duration"),
    INTERACTIVITY: ("output tokens/s per user", "rate"),
}
_PAIRS: Final = ((COST, TTFT), (COST, INTERACTIVITY), (INTERACTIVITY, TTFT))
_GROUPS: Final[dict[str, Callable[[Row], bool]]] = {
    "other": lambda row: not row.on_front and not row.breaks,
    "other, breaks an objective": lambda row: not row.on_front and bool(row.breaks),
    "front": lambda row: row.on_front and not row.breaks,
    "front, breaks an objective": lambda row: row.on_front and bool(row.breaks),
}
_MARKS: Final = (
    {"color": "#9aa5b1", "size": 7},
    {"color": "#9aa5b1", "size": 8, "symbol": "x-thin-open"},
    {"color": "#0b6e99", "size": 10},
    {"color": "#d9622b", "size": 11, "symbol": "x"},
)
_MOST_EFFECTS: Final = 8
_MOST_ROWS: Final = 1000
_WIDE: Final = 20.0


def headline(rows: Sequence[Row]) -> str:
    """What a sweep found, in a sentence."""
    front = [row for row in rows if row.on_front]
    infeasible = sum(row.status == "infeasible" for row in rows)
    parts = [f"{len(rows):,} points"]
    if infeasible:
        parts.append(f"{infeasible:,} infeasible")
    marked = sum(bool(row.breaks) for row in front)
    parts.append(f"{len(front):,} on the front ({marked:,} of them break an objective)")
    return ", ".join(parts) + "."


def best(rows: Sequence[Row]) -> str:
    """The cheapest point that keeps its objectives."""
    kept = [row for row in rows if row.status == "done" and not row.breaks and _cost(row)]
    if not kept:
        return "No point keeps all objectives."
    row = min(kept, key=_cost)
    return (
        f"Cheapest that keeps all objectives: point {row.number} ({words(row)}) at"
        f" {_shown(row, COST)} USD per message, first token within {_shown(row, TTFT)} (p99),"
        f" {_shown(row, INTERACTIVITY)} tokens/s per user."
    )


def words(row: Row) -> str:
    """What a point sets."""
    return ", ".join(f"{path}={text}" for path, text in row.values.items())


def _cost(row: Row) -> float:
    return float(row.summary.get(COST) or 0.0)


def _shown(row: Row, key: str) -> str:
    return with_half(show_key(row.summary, key, _AXES[key][1]), row.intervals, key)


def print_front(rows: Sequence[Row], file: IO[str], title: str) -> None:
    """The sentence, the best point, the front from cheap to dear."""
    console = make_console(file)
    table = _front_table(rows)
    with console.capture() as captured:
        console.print(title, markup=False)
        console.print(headline(rows), markup=False)
        console.print(best(rows), markup=False)
        console.print()
        console.print(table)
        for row in [row for row in rows if row.problem][:5]:
            console.print(f"infeasible: {words(row)}: {row.problem}", markup=False)
    file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def _front_table(rows: Sequence[Row]) -> Table:
    """A row for each point of the front, from cheap to dear; fields by the end of their path."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("point", "USD/message", "TTFT p99", "tokens/s/user"):
        table.add_column(name, justify="right", no_wrap=True)
    for path in rows[0].values:
        table.add_column(path.rpartition(".")[2], justify="right", overflow="fold")
    table.add_column("breaks")
    for row in sorted((row for row in rows if row.on_front), key=_cost):
        cells = [_shown(row, key) for key in _AXES]
        table.add_row(str(row.number), *cells, *row.values.values(), ", ".join(row.breaks))
    return table


def sweep_page(rows: Sequence[Row], title: str) -> str:
    """The page of HTML: the front in three plots, each field's effect, all points."""
    figures = [_front_figure(rows, *pair) for pair in _PAIRS]
    effects = _effect_figures(rows)
    body = [
        f"<header><h1>{page.escape(best(rows))}</h1>\n",
        f'<p class="title">{page.escape(title)}: {page.escape(headline(rows))}</p></header>\n',
        "<h2>Front: cost, time to first token, interactivity</h2>\n",
        _grid(0, len(figures)),
        '<p class="note">On the front: no other point is as good in all three and better in one.'
        " Means, not intervals, decide. A cross breaks an objective of its scenario.</p>\n",
        "<h2>What each field does</h2>\n" if effects else "",
        _grid(len(figures), len(effects)),
        "<h2>Points</h2>\n",
        f'<div class="panel">{_table(rows)}</div>\n',
    ]
    return page.document(title, "".join(body), [*figures, *effects])


def _grid(first: int, count: int) -> str:
    places = range(first, first + count)
    charts = (page.chart(p, wide=count % 2 == 1 and p == places[-1]) for p in places)
    return f'<div class="charts">{"".join(charts)}</div>\n'


def _front_figure(rows: Sequence[Row], across: str, up: str) -> Figure:
    """Points in two goals, the front marked."""
    x = np.array([_value(row, across) for row in rows])
    groups = {
        name: np.array([_value(row, up) if chosen(row) else math.nan for row in rows])
        for name, chosen in _GROUPS.items()
    }
    return _points(rows, x, groups, (across, up), _MARKS)


def _points(
    rows: Sequence[Row], x: Any, groups: dict[str, Any], axes: tuple[str, str], marks: Sequence[Any]
) -> Figure:
    names = [_AXES[axis][0] if axis in _AXES else axis for axis in axes]
    known = (row.summary["profile.source"] for row in rows if "profile.source" in row.summary)
    source = " + ".join(dict.fromkeys(known))
    title = f"{names[1]} against {names[0]}"
    figure = ways_figure(title, x, groups, f"source: {source}", axes=(names[0], names[1]))
    for trace, mark in zip(figure["data"], marks, strict=False):
        trace |= {"mode": "markers", "marker": mark, "text": [_hover(row) for row in rows]}
        trace["hovertemplate"] = "%{text}<extra>%{fullData.name}</extra>"
    figure["layout"]["legend"] = {"orientation": "h", "y": -0.3}
    for axis, name, values in (("xaxis", axes[0], [x]), ("yaxis", axes[1], groups.values())):
        figure["layout"][axis] |= _scale(name, np.concatenate([*values]))
    return figure


def _scale(name: str, values: Any) -> dict[str, Any]:
    """Logarithmic for times, and for what spans more than a decade."""
    known = values[np.isfinite(values) & (values > 0)]
    wide = known.size > 0 and float(known.max()) > _WIDE * float(known.min())
    if wide or (name == TTFT and known.size > 0):
        return {"type": "log", "dtick": "D2"}
    return {"type": "linear", "dtick": None, "tickformat": "~g", "nticks": 7}


def _hover(row: Row) -> str:
    return page.escape(f"point {row.number}: {words(row)}")


def _value(row: Row, key: str) -> float:
    value = row.summary.get(key)
    return math.nan if value is None else float(value)


def _effect_figures(rows: Sequence[Row]) -> list[Figure]:
    """Cost, and time to first token, against each field that is a number."""
    found = []
    for path in rows[0].values:
        values = [plain(path, row.values[path]) for row in rows]
        numbers = [value for value in values if not isinstance(value, str)]
        if len(numbers) < len(values) or min(numbers) <= 0 or len(set(numbers)) < 2:
            continue
        for goal in (COST, TTFT):
            groups = {
                name: np.array(
                    [_value(r, goal) if bool(r.breaks) == marked else math.nan for r in rows]
                )
                for name, marked in (("keeps its objectives", False), ("breaks one", True))
            }
            figure = _points(rows, np.array(numbers), groups, (path, goal), (_MARKS[2], _MARKS[3]))
            found.append(figure)
    return found[:_MOST_EFFECTS]


def _table(rows: Sequence[Row]) -> str:
    """The front first, then the others, as many as a page bears."""
    paths = list(rows[0].values)
    heads = ["point", *map(page.escape, paths), "USD/message", "TTFT p99", "tokens/s per user"]
    shown = sorted(rows, key=lambda row: (not row.on_front, row.number))[:_MOST_ROWS]
    cells = [
        [
            str(row.number),
            *(page.escape(row.values[path]) for path in paths),
            *(_shown(row, key) for key in _AXES),
            "front" if row.on_front else "",
            page.escape(row.problem or ", ".join(row.breaks)),
        ]
        for row in shown
    ]
    return page.table([*heads, "", "breaks"], cells)
