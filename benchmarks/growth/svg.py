"""A line chart as SVG: text, so that a change of the figures is a readable change of the file."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 420, 260
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 30, 42
INK, GRID, LINE = "#333", "#ddd", "#0b6e99"


class Panel(NamedTuple):
    """One chart: y over x, x on a log scale, y from 0."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


def short(value: float) -> str:
    """A number of few characters: 1,000 as 1K."""
    for size, unit in ((1e6, "M"), (1e3, "K")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def nice_step(top: float) -> float:
    """A round distance between about four grid lines."""
    raw = top / 4
    size = 10 ** math.floor(math.log10(raw))
    return float(next(size * m for m in (1, 2, 2.5, 5, 10) if size * m >= raw))


def text(x: float, y: float, words: str, anchor: str = "middle", size: int = 11) -> str:
    """Words at a place."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"'
        f' fill="{INK}">{words}</text>'
    )


def drawn(panel: Panel) -> Iterator[str]:
    """The elements of one chart, from its own origin."""
    low, high = math.log(panel.x[0]), math.log(panel.x[-1])
    step = nice_step(max(panel.y))
    top = step * math.ceil(max(panel.y) / step)

    def right(x: float) -> float:
        return LEFT + (math.log(x) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def down(y: float) -> float:
        return HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM)

    for i in range(round(top / step) + 1):
        y = down(i * step)
        yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{GRID}"/>'
        yield text(LEFT - 6, y + 4, short(i * step), "end")
    spots = [(right(x), down(y)) for x, y in zip(panel.x, panel.y, strict=True)]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in spots)
    yield f'<path d="M{path}" fill="none" stroke="{LINE}" stroke-width="2"/>'
    for (x, y), value, name in zip(spots, panel.y, panel.x, strict=True):
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{LINE}"/>'
        yield text(x, y - 8, short(value), size=10)
        yield text(x, HEIGHT - BOTTOM + 16, short(name))
    yield text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, panel.label)


def figure(panels: Sequence[Panel], title: str) -> str:
    """Charts two by two under a title."""
    rows = -(-len(panels) // 2)
    width, height = 2 * WIDTH, rows * HEIGHT + 24
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        ' font-family="sans-serif">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        text(width / 2, 18, title, size=13),
    ]
    for i, panel in enumerate(panels):
        at = f"{i % 2 * WIDTH},{i // 2 * HEIGHT + 24}"
        lines += [f'<g transform="translate({at})">', *drawn(panel), "</g>"]
    return "\n".join([*lines, "</svg>", ""])
