"""Plans: `python -m benchmarks.plans SCENARIO [--windows 100] [--set PATH=VALUE]`.

Makes the plan of a shipped scenario by the command of a user, in an empty folder, and times it.
Then simulates so many further windows of the answer, of the next cheaper fleet and of the largest
below the grey zone, with seeds that the plan has not used. Progress goes to stderr; stdout has one
JSON object with the machine, its load and the versions.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import host
from benchmarks.plans.fresh import held
from benchmarks.plans.timed import planned


def main(arguments: Sequence[str] | None = None) -> None:
    """Time a plan, then try its answer."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plans")
    parser.add_argument("scenario", help="name of a shipped scenario")
    parser.add_argument("--windows", type=int, default=100, help="of each fleet; 0: none")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found, took = planned(options.scenario, options.set, options.workers, Path(folder))
    report = {
        "plan": took,
        "answer": {key: value for key, value in found.items() if key != "seeds"},
        "fresh": held(options.scenario, options.set, found, options.windows, options.workers),
        "machine": host.machine(),
        "versions": host.versions(),
    }
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
