"""Put measured figures into docs/benchmarks.md: `python -m benchmarks.report FILE...`.

Each file is what a benchmark printed (its last line counts), or that line alone:

    python -m benchmarks.simulator | tee simulator.txt
    python -m benchmarks.peers --aisimulate ais/bin/aisimulate | tee peers.txt
    python -m benchmarks.growth --plot docs/img/growth.svg | tee growth.txt
    python -m benchmarks.features | tee features.txt
    python -m benchmarks.report simulator.txt peers.txt growth.txt features.txt

Several files of one benchmark, each with some of its parts, are put together. The text between
`<!-- figures: NAME -->` and `<!-- end -->` is replaced, with the date, the commit and the machine
that the figures are of; what no file has stays as it was.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import features, simulator
from benchmarks.alone import ROOT
from benchmarks.growth import __main__ as growth
from benchmarks.peers import __main__ as peers

PAGE = ROOT / "docs" / "benchmarks.md"
Found = dict[str, Any]


def of_simulator(found: Found) -> str:
    """The benchmark's table."""
    rows = [f"| {name} | {value} |" for name, value in simulator.lines_of(found)]
    return "\n".join(["| figure | |", "|---|--:|", *rows, ""])


def of_growth(found: Found) -> str:
    """One table for each axis."""
    parts = [growth.table(axis, points) for axis, points in found["growth"].items()]
    return "".join(parts).rstrip("\n") + "\n"


def of_against(found: Found) -> str:
    """What features that are off cost."""
    off = found["against"]
    low, high = off["cost_range"]
    then, now = off["there_messages_per_s"], off["here_messages_per_s"]
    return (
        f"Messages/s of processor time, start-up included: {then:,.0f} before, {now:,.0f} now; time"
        f" of a message x {off['cost']:.3f} (rounds {low:.3f}-{high:.3f}).\n"
    )


WRITTEN: dict[str, Callable[[Found], str]] = {
    "simulator": of_simulator,
    "peers": peers.table,
    "growth": of_growth,
    "features": lambda found: features.table(found["features"]),
    "against": of_against,
}
"""How each section of the page is written."""

KEYS = {
    **dict.fromkeys((key for key, _ in simulator.PARTS.values()), "simulator"),
    peers.LATENCIES_ONLY: "peers",
    **dict.fromkeys(("growth", "features", "against"), ""),
}
"""Keys by which a line is known, and the section that it is of (its own name where empty)."""


def origin(found: Found) -> str:
    """Date, commit and machine, under a table."""
    machine, versions = found["machine"], found["versions"]
    commit = (versions.get("commit") or "unknown")[:10]
    dirty = " with changes" if versions.get("modified") else ""
    load = machine.get("load_1min")
    busy = "" if load is None else f", load {load:.1f} when it began"
    day = datetime.now(UTC).date().isoformat()
    return (
        f"Commit {commit}{dirty}, {day}; {machine['cores']} cores, {machine['processor']}{busy};"
        f" Python {versions['python']}, numba {versions['numba']}.\n"
    )


def sections_of(found: Found) -> set[str]:
    """Which sections a line has figures of."""
    if peers.LATENCIES_ONLY in found:
        return {"peers"}
    sections = {KEYS[key] or key for key in found if key in KEYS}
    if not sections:
        raise SystemExit("no figures of benchmarks.simulator, peers, growth or features in a line")
    return sections


def put(page: str, name: str, found: Found) -> str:
    """The page with a section's figures replaced."""
    written = WRITTEN[name](found)
    body = f"<!-- figures: {name} -->\n\n{written}\n{origin(found)}\n<!-- end -->"
    pattern = re.compile(rf"<!-- figures: {name} -->.*?<!-- end -->", re.DOTALL)
    page, count = pattern.subn(lambda _: body, page)
    if count != 1:
        raise SystemExit(f"docs/benchmarks.md has no section for {name}")
    return page


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the lines, rewrite the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    chosen = parser.parse_args(arguments)
    lines: dict[str, Found] = {}
    for file in chosen.files:
        found = json.loads(file.read_text(encoding="utf-8").splitlines()[-1])
        for name in sections_of(found):
            lines[name] = lines.get(name, {}) | found
    page = PAGE.read_text(encoding="utf-8")
    for name, found in lines.items():
        page = put(page, name, found)
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
