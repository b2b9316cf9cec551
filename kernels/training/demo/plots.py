"""Curves as SVG text: loss over bytes seen, one line a run."""

from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 400, 60, 250, 40, 44
COLOURS = ("#0b6e99", "#d9622b", "#4f8a4c", "#8a4c86", "#b08a1e", "#1f2933", "#c0392b", "#79b4cc")
Points = Sequence[tuple[float, float]]
PAIRS: Mapping[str, tuple[str, ...]] = {
    "int8": ("bf16", "int8", "int8, input gradient too", "int8, virtual scalars"),
    "clamping": ("int8", "int8, limit of the weights", "int8, constant limits",
                 "int8, no clamping"),
    "updates": ("int8", "int8, ternary updates"),
    "z-reg": ("bf16", "bf16, z-reg"),
    "squinch": ("bf16, bf16 gradients", "bf16, squinch", "bf16, squinch stochastic",
                "bf16, squinch with feedback"),
    "distillation": ("short run", "short run, distilled"),
}  # fmt: skip
"""Which arms of `compare` are drawn together."""


def held_out(curve: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """Sequences seen, held-out loss."""
    return [(r["sequences"], r["held_out"]) for r in curve if r["held_out"] is not None]


def mean_curve(curves: Sequence[Sequence[Mapping[str, Any]]]) -> list[tuple[float, float]]:
    """Of several seeds, which have the same steps."""
    columns = zip(*(held_out(c) for c in curves), strict=True)
    return [(points[0][0], sum(y for _, y in points) / len(points)) for points in columns]


def drawings(outcomes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Every drawing whose arms are there, as SVG by name."""
    found = {}
    for name, arms in PAIRS.items():
        lines = {
            arm: mean_curve([o["curve"] for o in outcomes if o["arm"] == arm])
            for arm in arms
            if any(o["arm"] == arm for o in outcomes)
        }
        if len(lines) > 1:
            found[name] = lines_svg(f"Held-out loss, nats a byte: {name}", lines)
    return found


def lines_svg(title: str, lines: Mapping[str, Points]) -> str:
    """One drawing."""
    points = [p for line in lines.values() for p in line]
    low_x, high_x = 0.0, max(x for x, _ in points)
    low, high = min(y for _, y in points), max(y for _, y in points)
    room = max(high - low, 1e-6) * 0.05
    low, high = low - room, high + room

    def place(x: float, y: float) -> tuple[float, float]:
        right = LEFT + (x - low_x) / max(high_x - low_x, 1e-9) * (WIDTH - LEFT - RIGHT)
        return right, TOP + (high - y) / (high - low) * (HEIGHT - TOP - BOTTOM)

    body = [_text(LEFT, 22, title), *_axes(low, high, high_x, place)]
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in line)
        body.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        end = f"{name}: {line[-1][1]:.4f}"
        body.append(_text(WIDTH - RIGHT + 12, TOP + 18 * number + 10, end, colour))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
    return head + 'font-family="sans-serif" font-size="12">\n' + "\n".join(body) + "\n</svg>\n"


def _axes(low: float, high: float, most: float, place: Any) -> list[str]:
    body = []
    for i in range(5):
        y = low + (high - low) * i / 4
        left, at = place(0, y)
        body.append(f'<path d="M{left:.1f} {at:.1f}H{WIDTH - RIGHT}" stroke="#c9ced4"/>')
        body.append(_text(8, at + 4, f"{y:.3f}", "#6b7580"))
    for i in (0, 2, 4):
        left, _ = place(most * i / 4, low)
        body.append(_text(left, HEIGHT - 22, f"{most * i / 4:.0f}", "#6b7580"))
    body.append(_text(LEFT, HEIGHT - 6, "sequences", "#6b7580"))
    return body


def _text(x: float, y: float, words: str, colour: str = "#1f2933") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}">{escape(words)}</text>'
