"""Bar charts of a report as SVG text, so that changed figures are a readable change of the file.

One drawing for each part: a group of bars for each case, ours and the others, with marks for what
must be reached and what is aimed at, and a line for the ceiling.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from benchmarks.kernels.aims import OPS_PER_S, READ_BYTES_PER_S
from benchmarks.kernels.store import CHAINED, OURS

WIDTH, NAMES, LABEL, BAR, GAP, TOP = 900, 330, 250, 13, 12, 64
INK, PALE = "#1f2933", "#6b7580"
COLOURS = {OURS: "#0b6e99", "other": "#c9ced4", "plain": "#79b4cc"}
MUST, AIM = "#d9622b", "#4f8a4c"
TERA = 1e-12


class Part(NamedTuple):
    """A drawing: its cases, its figure, and the ceiling of that figure."""

    file: str
    title: str
    operators: tuple[str, ...]
    figure: str
    ceiling: float
    least: int = 0
    most: int = 1 << 30
    """Rows M of the products that it shows."""


MEMORY, MATRIX = READ_BYTES_PER_S * TERA, OPS_PER_S["int8"] * TERA
PARTS = (
    Part("decode", "Decode attention: TB/s of int8 KV", ("decode_attention",), "tb_per_s", MEMORY),
    Part("prefill", "Prefill attention: TOPS", ("prefill_attention",), "tops", MATRIX),
    Part("matmul-small", "int8 products: TB/s of weights", ("matmul",), "tb_per_s", MEMORY, 1, 64),
    Part("matmul-large", "int8 products: TOPS", ("matmul",), "tops", MATRIX, 256),
    Part(
        "fused",
        "Fused operators beside plain copies: TB/s read and written",
        ("norm_quantise", "rotary_write", "copy", "read"),
        "tb_per_s",
        MEMORY,
    ),
)


def text(x: float, y: float, words: str, anchor: str = "start", colour: str = INK) -> str:
    """Words at a place."""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"'
    return f"<text {place}>{escape(words)}</text>"


def line(x: float, y: float, height: float, colour: str, width: float = 1) -> str:
    """A vertical line."""
    return f'<path d="M{x:.1f} {y:.1f}v{height:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def colour_of(impl: str) -> str:
    """Ours stand out."""
    return COLOURS[
        OURS if impl in (OURS, CHAINED) else "plain" if impl.startswith(OURS) else "other"
    ]


def shown_in(part: Part, case: Mapping[str, Any]) -> bool:
    """Does a case belong to a drawing?"""
    rows = case["shape"].get("m", part.least)
    return case["operator"] in part.operators and part.least <= rows <= part.most


def group(
    case: Mapping[str, Any], part: Part, aims: Sequence[Mapping[str, Any]], y: float
) -> Iterator[str]:
    """The bars of a case, fastest first, and its marks."""
    scale = (WIDTH - NAMES - LABEL) / part.ceiling
    rows = sorted(case["rows"], key=lambda row: row["us_median"])
    yield text(NAMES - 8, y + BAR - 3, case["case"], "end")
    for i, row in enumerate(rows):
        at, width = y + i * BAR, min(row[part.figure], part.ceiling * 1.05) * scale
        yield (
            f'<rect x="{NAMES}" y="{at:.1f}" width="{width:.1f}" height="{BAR - 2}" '
            f'fill="{colour_of(row["impl"])}"/>'
        )
        value = row[part.figure]
        figure = f"{value:.0f}" if value >= 100 else f"{value:.3g}"
        yield text(NAMES + width + 5, at + BAR - 4, f"{figure}  {row['impl']}", colour=PALE)
    for aim in aims:
        if aim["case"] == case["case"] and aim["figure"] == part.figure:
            for value, colour in ((aim["must"], MUST), (aim["aim"], AIM)):
                if value:
                    yield line(NAMES + value * scale, y - 2, len(rows) * BAR + 2, colour, 2)


def legend(part: Part) -> Iterator[str]:
    """What the marks are."""
    yield f'<text x="{NAMES}" y="22" font-size="14" fill="{INK}">{escape(part.title)}</text>'
    marks = ((MUST, "must"), (AIM, "aim"), (PALE, f"ceiling {part.ceiling:g}"))
    for i, (colour, name) in enumerate(marks):
        yield line(NAMES + 90 * i, 34, 12, colour, 2)
        yield text(NAMES + 90 * i + 6, 44, name)


def drawing(part: Part, report: Mapping[str, Any]) -> str | None:
    """A part as SVG; None if nothing of it was measured."""
    cases = [case for case in report["cases"] if shown_in(part, case)]
    if not cases:
        return None
    body, y = [], float(TOP)
    for case in cases:
        body += group(case, part, report["aims"], y)
        y += len(case["rows"]) * BAR + GAP
    edge = line(WIDTH - LABEL, TOP - 6, y - TOP, PALE)
    height = y + 8
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        'font-family="sans-serif" font-size="10">'
    )
    back = f'<rect width="{WIDTH}" height="{height:.0f}" fill="white"/>'
    return "\n".join([head, back, *legend(part), edge, *body, "</svg>", ""])


def write(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw all parts that were measured; the files written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for part in PARTS:
        drawn = drawing(part, report)
        if drawn is not None:
            file = folder / f"kernels-{part.file}.svg"
            file.write_text(drawn, encoding="utf-8")
            written.append(file)
    return written
