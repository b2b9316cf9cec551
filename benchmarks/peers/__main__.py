"""Ours and AISimulate on W1 and W2: `python -m benchmarks.peers --aisimulate ais/bin/aisimulate`.

Rounds alternate between the two, so that a busy neighbour hits both; figures are medians. Speed is
that of each one's event loop by its own clock, start-up and tables apart: ours from the scenario to
the summary, theirs `wall_time_ms`. stdout has a table, then one JSON object as its last line.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from statistics import median
from typing import Any

from benchmarks import host
from benchmarks.alone import alone
from benchmarks.peers.aisimulate import INSTALL, UNITS, AiSimulate
from benchmarks.simulator import compile_first, positive, say

WORKLOADS = ("w1", "w2")
ROUNDS = 3
COLUMNS = {
    "requests_per_s_per_core": ("requests/s", 1.0, ",.0f"),
    "peak_rss_bytes": ("MB", 1e-6, ",.0f"),
    "tpot_s": ("TPOT ms", 1e3, ".2f"),
    "ttft_s": ("TTFT ms", 1e3, ".1f"),
    "ttft_p99_s": ("p99", 1e3, ",.0f"),
    "e2e_s": ("E2E s", 1.0, ".2f"),
    "prefix_hit_rate": ("hit", 1.0, ".3f"),
    "prompt_tokens_mean": ("prompt", 1.0, ",.0f"),
}
"""Key, heading, factor and format of the table's columns; times are means but for p99."""


LATENCIES_ONLY = "w1_16_per_s"
"""W1 at twice the rate, once, to hold the latencies beside each other."""


def middle(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The run of median speed, with the speeds of all."""
    rates = [run["requests_per_s_per_core"] for run in runs]
    chosen = runs[rates.index(sorted(rates)[len(rates) // 2])]
    return chosen | {"requests_per_s_per_core": median(rates), "rates": rates}


def long_enough(peer: AiSimulate, name: str, seconds: float) -> int:
    """Load units of a run that takes the peer about `seconds`, at least the workload's own."""
    wall_s: float = peer.run(name, UNITS[name])["wall_s"]
    return int(UNITS[name] * max(1.0, seconds / wall_s))


def rounds(peer: AiSimulate | None, name: str, seconds: float) -> dict[str, Any]:
    """Both on one workload, turn by turn."""
    ours, theirs = [], []
    units = 0 if peer is None else long_enough(peer, name, seconds)
    for _ in range(ROUNDS):
        ours.append(alone("benchmarks.loads.common:inside", name=name, seconds=seconds, repeats=1))
        rate = ours[-1]["requests_per_s_per_core"]
        say(f"{name}: ours {rate:,.0f} requests/s in {ours[-1]['wall_s']:.1f} s")
        if peer is not None:
            theirs.append(peer.run(name, units))
            rate, wall_s = theirs[-1]["requests_per_s_per_core"], theirs[-1]["wall_s"]
            say(f"{name}: AISimulate {rate:,.0f} requests/s in {wall_s:.1f} s")
    found = {"ours": middle(ours)}
    return found | ({"aisimulate": middle(theirs)} if theirs else {})


def measure(peer: AiSimulate | None, seconds: float) -> dict[str, Any]:
    """Both workloads, and W1 once more at twice the rate for its latencies."""
    found = {name: rounds(peer, name, seconds) for name in WORKLOADS}
    found[LATENCIES_ONLY] = {"ours": found["w1"]["ours"]["at_16_per_s"]}
    if peer is not None:
        found[LATENCIES_ONLY]["aisimulate"] = peer.run(LATENCIES_ONLY, UNITS[LATENCIES_ONLY])
    return found


def cell(run: dict[str, Any], key: str) -> str:
    """A figure for people."""
    _, factor, form = COLUMNS[key]
    return "-" if run.get(key) is None else format(run[key] * factor, form)


def table(found: dict[str, Any]) -> str:
    """The figures for people, in Markdown."""
    heads = [head for head, _, _ in COLUMNS.values()]
    lines = [["workload", "simulator", *heads], ["---", "---", *(["--:"] * len(heads))]]
    for name in UNITS:
        for who, run in sorted(found[name].items()):
            lines.append([name, who, *(cell(run, key) for key in COLUMNS)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table and the JSON line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--aisimulate", help="its program, where it is not on PATH")
    parser.add_argument("--seconds", type=positive, default=5.0, help="of one run (default 5)")
    chosen = parser.parse_args(arguments)
    peer = AiSimulate.find(chosen.aisimulate)
    if peer is None:
        say(f"AISimulate is not installed here: ours alone. To have it beside: {INSTALL}")
    compile_first()
    found = measure(peer, chosen.seconds)
    sys.stdout.write(table(found))
    around = {"machine": host.machine(), "versions": host.versions()}
    around["versions"]["aisimulate"] = None if peer is None else peer.version
    sys.stdout.write(json.dumps(found | around, allow_nan=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
