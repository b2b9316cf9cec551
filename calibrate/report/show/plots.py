"""Drawings of a report as SVG text, so that changed figures are a readable change of the file.

Measured against floor, a group of bars a step; and predicted against measured, a dot a held-out
step, with the line where both are equal.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from calibrate.report.steps import words
from kaiju_sim.report.atomic import write_file

Line = Mapping[str, Any]
WIDTH, NAMES, LABEL, BAR, GAP, TOP = 760, 130, 110, 14, 12, 60
SIDE, EDGE, LEGEND = 420, 56, 120
INK, PALE = "#1f2933", "#6b7580"
MEASURED, FLOOR, MUST = "#0b6e99", "#c9ced4", "#d9622b"
KINDS = {"decode": "#0b6e99", "prefill": "#d9622b", "mixed": "#4f8a4c"}


def words_at(x: float, y: float, value: str, anchor: str = "start", colour: str = INK) -> str:
    """Words at a place."""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"'
    return f"<text {place}>{escape(value)}</text>"


def path(steps: str, colour: str, width: float = 1) -> str:
    """A line."""
    return f'<path d="{steps}" stroke="{colour}" stroke-width="{width}" fill="none"/>'


def framed(width: float, height: float, body: Sequence[str]) -> str:
    """A drawing on white."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        'font-family="sans-serif" font-size="10">'
    )
    back = f'<rect width="{width:.0f}" height="{height:.0f}" fill="white"/>'
    return "\n".join([head, back, *body, "</svg>", ""])


def floor_drawing(title: str, steps: Sequence[Line]) -> str:
    """Measured steps and their floors."""
    longest = max(max(s["wall_ms"], s["floor_ms"] * (s["required"] or 0)) for s in steps)
    scale = (WIDTH - NAMES - LABEL) / longest
    body = list(_floor_legend(title))
    for number, step in enumerate(steps):
        body += _bars(step, TOP + number * (2 * BAR + GAP), scale)
    return framed(WIDTH, TOP + len(steps) * (2 * BAR + GAP), body)


def _floor_legend(title: str) -> Iterator[str]:
    yield f'<text x="{NAMES}" y="20" font-size="14" fill="{INK}">{escape(title)}</text>'
    marks = ((MEASURED, "measured, with the host"), (FLOOR, "floor"), (MUST, "must"))
    for i, (colour, name) in enumerate(marks):
        yield path(f"M{NAMES + 150 * i} 32v12", colour, 3)
        yield words_at(NAMES + 150 * i + 7, 42, name)


def _bars(step: Line, y: float, scale: float) -> Iterator[str]:
    must = (step["required"] or 0) * step["floor_ms"] * scale
    yield words_at(NAMES - 8, y + BAR, words(step["step"]), "end")
    times = ((step["wall_ms"], MEASURED), (step["floor_ms"], FLOOR))
    for i, (value, colour) in enumerate(times):
        at, width = y + i * BAR, value * scale
        size = f'y="{at:.1f}" width="{width:.1f}" height="{BAR - 2}"'
        yield f'<rect x="{NAMES}" {size} fill="{colour}"/>'
        ratio = f" ({step['ratio']:.2f}x)" if i == 0 else ""
        yield words_at(
            NAMES + max(width, must) + 6, at + BAR - 4, f"{value:.2f} ms{ratio}", colour=PALE
        )
    if must:
        yield path(f"M{NAMES + must:.1f} {y - 2:.1f}v{2 * BAR + 2}", MUST, 2)


def heldout_drawing(title: str, steps: Sequence[Line]) -> str:
    """Predicted against measured, both axes logarithmic."""
    times = [line[key] for line in steps for key in ("measured_ms", "predicted_ms")]
    ends = math.log10(min(times) * 0.9), math.log10(max(times) * 1.1)

    def at(value: float) -> float:
        return SIDE * (math.log10(value) - ends[0]) / (ends[1] - ends[0])

    far = EDGE + SIDE
    body = [f'<text x="{EDGE}" y="18" font-size="14" fill="{INK}">{escape(title)}</text>']
    body += [path(f"M{EDGE} {EDGE}v{SIDE}h{SIDE}", INK), path(f"M{EDGE} {far}L{far} {EDGE}", PALE)]
    for value in _ticks(10 ** ends[0], 10 ** ends[1]):
        body.append(words_at(EDGE + at(value), far + 14, f"{value:g}", "middle", PALE))
        body.append(words_at(EDGE - 6, far - at(value) + 3, f"{value:g}", "end", PALE))
    body.append(words_at(EDGE + SIDE / 2, far + 30, "measured, ms", "middle"))
    body.append(words_at(EDGE, EDGE - 10, "predicted, ms"))
    for line in sorted(steps, key=lambda line: str(line["id"])):
        x, y = EDGE + at(line["measured_ms"]), far - at(line["predicted_ms"])
        colour = KINDS.get(line["kind"], PALE)
        body.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{colour}" opacity="0.6"/>')
    for i, (kind, colour) in enumerate(KINDS.items()):
        body.append(path(f"M{far + 16} {EDGE + 20 * i}h10", colour, 4))
        body.append(words_at(far + 32, EDGE + 20 * i + 4, kind))
    return framed(far + LEGEND, far + 40, body)


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each power of ten in the range."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = (step * 10.0**power for power in powers for step in (1, 2, 5))
    return [value for value in values if low <= value <= high]


def drawings(profile: Line) -> dict[str, str]:
    """File names and SVG of one profile."""
    name, found = profile["id"], {}
    for kind in ("decode", "prefill"):
        steps = [step for step in profile["steps"] if words(step["step"]).startswith(kind)]
        if steps:
            found[f"{kind}-{name}.svg"] = floor_drawing(f"{name}: {kind}", steps)
    if profile["heldout"] is not None:
        title = f"Held-out steps of {name}"
        found[f"heldout-{name}.svg"] = heldout_drawing(title, profile["heldout"]["steps"])
    return found


def write(profiles: Sequence[Line], folder: Path) -> dict[str, list[Path]]:
    """Draw all; the files of each profile."""
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, list[Path]] = {}
    for profile in profiles:
        for name, content in drawings(profile).items():
            write_file(folder / name, content.encode())
            written.setdefault(profile["id"], []).append(folder / name)
    return written
