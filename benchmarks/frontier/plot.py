"""The drawing of benchmarks.frontier: cost per message against the p99 TTFT objective, as SVG."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, HEIGHT, MARGIN = 460, 330, 60
COLOURS = {"decode_first": "#0b6e99", "prefill_first": "#d9622b", "ttft_aware": "#4f8a4c"}
SHOWN_TPOT_S = (0.02, 0.05)
DASHES = {0.02: "6 4", 0.05: "none"}
Row = Mapping[str, Any]


def drawing(rows: Sequence[Row]) -> str:
    """One panel per case, side by side, and a legend below."""
    cases = list(dict.fromkeys(row["case"] for row in rows))
    panels = [panel([r for r in rows if r["case"] == c], i * WIDTH) for i, c in enumerate(cases)]
    wide = WIDTH * len(cases)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {HEIGHT + 50}" '
        'font-family="sans-serif" font-size="12" fill="#1f2933">\n'
        f'<rect width="{wide}" height="{HEIGHT + 50}" fill="white"/>\n'
        + "\n".join(panels)
        + legend()
        + "</svg>\n"
    )


def panel(rows: Sequence[Row], left: float) -> str:
    """Cost (per 1,000 messages) over the TTFT objective, a line per policy and TPOT objective."""
    drawn = [r for r in rows if r["tpot_max_s"] in SHOWN_TPOT_S and r["best"]]
    top = max(r["best"]["usd_per_message"] for r in drawn) * 1100
    seconds = sorted({r["ttft_max_s"] for r in rows})
    low, high = math.log(seconds[0]), math.log(seconds[-1])

    def x(ttft_s: float) -> float:
        return left + MARGIN + (math.log(ttft_s) - low) / (high - low) * (WIDTH - MARGIN - 20)

    def y(usd: float) -> float:
        return HEIGHT - MARGIN - usd / top * (HEIGHT - MARGIN - 40)

    parts = [f'<text x="{left + MARGIN}" y="24" font-weight="bold">{rows[0]["case"]}</text>']
    parts.append(f'<text x="{left + MARGIN}" y="{HEIGHT - 18}">p99 TTFT objective (s, log)</text>')
    parts.append(f'<text x="{left + MARGIN + 70}" y="24">USD per 1,000 messages</text>')
    for at in seconds:
        parts.append(f'<text x="{x(at) - 8:.1f}" y="{HEIGHT - MARGIN + 18}">{at:g}</text>')
    for step in range(5):
        usd = top * step / 5
        parts.append(f'<text x="{left + 8}" y="{y(usd) + 4:.1f}">{usd:.3f}</text>')
        parts.append(f'<path d="M{x(seconds[0]):.1f} {y(usd):.1f}H{x(seconds[-1]):.1f}" {GRID}/>')
    return "\n".join([*parts, *lines(drawn, x, y)])


GRID = 'stroke="#e4e7eb"'


def lines(rows: Sequence[Row], x: Any, y: Any) -> list[str]:
    """The lines of a panel."""
    found = []
    for policy, colour in COLOURS.items():
        for tpot_s in SHOWN_TPOT_S:
            mine = [r for r in rows if r["policy"] == policy and r["tpot_max_s"] == tpot_s]
            points = [
                f"{x(r['ttft_max_s']):.1f},{y(r['best']['usd_per_message'] * 1000):.1f}"
                for r in mine
            ]
            style = f'fill="none" stroke="{colour}" stroke-width="2"'
            dash = f'stroke-dasharray="{DASHES[tpot_s]}"'
            found.append(f'<polyline points="{" ".join(points)}" {style} {dash}/>')
    return found


def legend() -> str:
    """Names of colours and dashes."""
    parts = []
    for i, (policy, colour) in enumerate(COLOURS.items()):
        at = MARGIN + i * 130
        parts.append(
            f'<path d="M{at} {HEIGHT + 20}h24" stroke="{colour}" stroke-width="2"/>'
            f'<text x="{at + 30}" y="{HEIGHT + 24}">{policy}</text>'
        )
    for i, tpot_s in enumerate(SHOWN_TPOT_S):
        at = MARGIN + 420 + i * 150
        parts.append(
            f'<path d="M{at} {HEIGHT + 20}h24" stroke="#1f2933" stroke-width="2" '
            f'stroke-dasharray="{DASHES[tpot_s]}"/>'
            f'<text x="{at + 30}" y="{HEIGHT + 24}">p99 TPOT {tpot_s * 1000:g} ms</text>'
        )
    return "\n".join(parts)
