"""How cost grows: `python -m benchmarks.growth [--plot docs/img/growth.svg]`.

Messages simulated per second of processor time once a run is under way, against GPUs, context,
batch and block size. Each point is a fresh process. stdout has tables, then one JSON line.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import host
from benchmarks.alone import alone
from benchmarks.growth.axes import AXES
from benchmarks.growth.stopwatch import watched
from benchmarks.growth.svg import Panel, figure
from benchmarks.simulator import compile_first, positive, say
from kaiju_sim.simulation import warm_up

MESSAGES_A_SECOND = 400_000
COLUMNS = {
    "messages_per_s": ",.0f",
    "steps_per_message": ".2f",
    "ns_per_step": ",.0f",
    "batch": ".1f",
    "hit_rate": ".3f",
    "peak_rss_bytes": ",.0f",
}
TITLE = "messages simulated per second of processor time, one core"


def point(axis: str, at: int, messages: float) -> dict[str, Any]:
    """One point of an axis, in this process."""
    warm_up()
    return watched(AXES[axis].at(at, messages))


def measured(axis: str, seconds: float) -> list[dict[str, Any]]:
    """All points of an axis, each in a process of its own."""
    found = []
    for at in AXES[axis].points:
        messages = MESSAGES_A_SECOND * seconds
        run = alone("benchmarks.growth.__main__:point", axis=axis, at=at, messages=messages)
        found.append({"at": at} | run)
        say(f"{AXES[axis].label} {at:,}: {run['messages_per_s']:,.0f} messages/s")
    return found


def table(axis: str, points: Sequence[dict[str, Any]]) -> str:
    """An axis in Markdown."""
    heads = [AXES[axis].label, *(name.replace("_", " ") for name in COLUMNS)]
    lines = [heads, ["--:"] * len(heads)]
    for p in points:
        cells = (format(p[name], form) for name, form in COLUMNS.items())
        lines.append([f"{p['at']:,}", *cells])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def plotted(found: dict[str, list[dict[str, Any]]]) -> str:
    """The figure."""
    panels = [
        Panel(AXES[axis].label, [p["at"] for p in points], [p["messages_per_s"] for p in points])
        for axis, points in found.items()
    ]
    return figure(panels, TITLE)


def axes(text: str) -> list[str]:
    """Names of axes, separated by commas."""
    names = text.split(",")
    unknown = [name for name in names if name not in AXES]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown {unknown[0]!r}; there are {', '.join(AXES)}")
    return names


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print tables and the JSON line, draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--only", type=axes, default=list(AXES), help=f"some of {','.join(AXES)}")
    parser.add_argument("--seconds", type=positive, default=3.0, help="of one point (default 3)")
    parser.add_argument("--plot", type=Path, help="write the figure here (SVG)")
    chosen = parser.parse_args(arguments)
    compile_first()
    found = {axis: measured(axis, chosen.seconds) for axis in chosen.only}
    if chosen.plot is not None:
        chosen.plot.write_text(plotted(found), encoding="utf-8")
    sys.stdout.write("".join(table(axis, points) for axis, points in found.items()))
    around = {"machine": host.machine(), "versions": host.versions()}
    sys.stdout.write(json.dumps({"growth": found} | around, allow_nan=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
