"""Compiled against reference on random workloads: `python tests/laws/twins.py --count 10000`.

Workload i is `random_scenarios.fleet(i)`. Both loops must give the same summary and the same tables
to the last bit. Exit code 1 and the numbers of the workloads where they do not.
"""

import argparse
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fleet_runs import same
from random_scenarios import fleet, write_traces

from kaiju_sim.simulation import simulate, warm_up

CHUNK = 25


def compare(number: int, traces: Path) -> int:
    """Run workload `number` both ways: its messages. AssertionError where they differ."""
    scenario = fleet(number)
    compiled = simulate(scenario, base_dir=traces)
    try:
        same(compiled, simulate(scenario, base_dir=traces, engine="reference"))
    except AssertionError as error:
        raise AssertionError(f"workload {number}: {error}") from error
    return int(compiled.summary["requests.arrived"])


def compare_chunk(first: int, last: int, traces: Path) -> tuple[int, list[str]]:
    """Messages and failures of workloads [first, last)."""
    messages, failures = 0, []
    for number in range(first, last):
        try:
            messages += compare(number, traces)
        except Exception as error:  # the other workloads still count
            failures.append(f"{number}: {type(error).__name__}: {str(error)[:300]}")
    return messages, failures


def main() -> int:
    """Compare many workloads on several processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    begin, messages, failures = time.perf_counter(), 0, []
    warm_up()
    stop = chosen.first + chosen.count
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(chosen.workers) as pool:
        traces = write_traces(Path(folder))
        starts = range(chosen.first, stop, CHUNK)
        tasks = [pool.submit(compare_chunk, i, min(i + CHUNK, stop), traces) for i in starts]
        for task in tasks:
            seen, failed = task.result()
            messages += seen
            failures += failed
            sys.stderr.writelines(f"{line}\n" for line in failed)
    wall_s = time.perf_counter() - begin
    sys.stdout.write(
        f"{chosen.count} workloads, {messages} messages, {len(failures)} differences,"
        f" {wall_s:.0f} s\n"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
