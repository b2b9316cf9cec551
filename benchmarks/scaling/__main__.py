"""How work spreads: `python -m benchmarks.scaling pool|peak|ray|curve`.

Progress goes to stderr; stdout has one JSON object with the machine, its load and the versions.
`ray`, and `curve --executor ray`, need the extra `cluster`.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks import host
from benchmarks.scaling import cluster, curve, peak_hour, pool


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one part."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling")
    parser.add_argument("part", choices=("pool", "peak", "ray", "curve"))
    parser.add_argument("--rounds", type=int, default=3, help="of pool")
    parser.add_argument("--points", type=int, default=cluster.POINTS, help="of ray")
    parser.add_argument("--address", help="of ray: a cluster that is there (HOST:PORT, auto)")
    parser.add_argument("--slots", default="1,2,4,8,16,32", help="of curve")
    parser.add_argument("--executor", choices=("pool", "ray"), default="pool", help="of curve")
    options = parser.parse_args(arguments)
    print_found(options.part, measured(options))


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """What a part finds."""
    if options.part == "pool":
        return pool.measure(options.rounds)
    if options.part == "peak":
        return peak_hour.measure()
    if options.part == "ray":
        return cluster.measure(options.points, options.address)
    return curve.measure([int(word) for word in options.slots.split(",")], options.executor)


def print_found(part: str, found: dict[str, Any]) -> None:
    """One JSON object."""
    report = {part: found, "machine": host.machine(), "versions": host.versions()}
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
