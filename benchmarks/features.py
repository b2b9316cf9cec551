"""What each feature costs when it is on, and that features that are off cost nothing.

`python -m benchmarks.features` runs benchmarks/affinity.yaml with nothing on, then with one feature
at a time, in rounds, so that a busy neighbour hits all of them; figures are medians over the rounds
of the processor time of a message against "nothing on" in the same round. A feature changes what is
simulated, too: the steps per message say how much.

`--against FOLDER` runs the scenario with nothing on in the checkout of an earlier release as well,
by that checkout's own benchmark code, in turns with ours: the price of features that are off.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import host
from benchmarks.alone import ROOT, alone
from benchmarks.fleet import Load
from benchmarks.growth.axes import GPU_RATE, closed
from benchmarks.growth.stopwatch import watched
from benchmarks.simulator import compile_first, positive, say
from kaiju_sim.errors import UserError
from kaiju_sim.simulation import warm_up

ROUNDS = 5
GPUS = 100
MESSAGES_A_SECOND = 400_000
NOTHING = "nothing on"
Run = Mapping[str, Any]
SLO = {"slo.ttft": "2.5s", "slo.tpot": "50ms"}
FEATURES: dict[str, dict[str, Any]] = {
    NOTHING: {},
    "swipes": {"traffic.sessions.swipe_rate": 0.1, "kv.local_retention": "prompt_end"},
    "abandonment": {"traffic.sessions.abandon_rate": 0.02},
    "time-outs and retries": {"traffic.client": "{timeout: 10s, retries: 2}"},
    "bursty arrivals": {"traffic.burstiness": 2},
    "paid and free tier": {"traffic.paid_share": 0.2, "engine.priority": "paid_first"},
    "earliest deadline": {"engine.priority": "deadline", **SLO},
    "TTFT-aware batching": {"engine.policy": "ttft_aware", "engine.priority": "deadline", **SLO},
    "queue bound": {"engine.queue_limit": 500},
    "shedding of the late": {"engine.shed": "late", **SLO},
    "candidates": {"engine.candidates": 2},
    "host memory": {"kv.host_memory": "200GiB"},
    "host memory, shared link": {"kv.host_memory": "200GiB", "kv.link_replicas": 4},
    "safety gate": {"safety": "{pre: before, pool: {servers: 64}}"},
    "edits of characters": {"characters.edits_per_hour": 3600},
    "sticky routing": {"router.policy": "sticky"},
    "rendezvous routing": {"router.policy": "rendezvous"},
    "prefix-aware routing": {"router.policy": "prefix_aware"},
    "power of two choices": {"router.policy": "power_of_two"},
}
"""Values that turn each feature on; those that this version does not know are left out."""

CODE = """
import json, sys
from time import process_time
from benchmarks.fleet import Load, scenario_at, timed
from kaiju_sim.simulation import warm_up
warm_up()
scenario = scenario_at(Load(**json.loads(sys.argv[1])))
begin = process_time()
run = timed(scenario)
found = {"cpu_s": process_time() - begin, "messages": run.messages, "steps": run.steps}
print(json.dumps(found | {"messages_per_s": run.messages / found["cpu_s"]}))
"""
"""Runs in any checkout that has the fixed scenario."""


def inside(feature: str, messages: float) -> dict[str, Any]:
    """The scenario with one feature on, in this process."""
    warm_up()
    return watched(closed(GPU_RATE * GPUS, FEATURES[feature], messages))


def known(feature: str) -> bool:
    """Whether this version's scenarios have the feature's fields."""
    try:
        closed(GPU_RATE * GPUS, FEATURES[feature], MESSAGES_A_SECOND)
    except UserError as error:
        say(f"{feature}: not in this version ({str(error).splitlines()[0]})")
        return False
    return True


def on_and_off(seconds: float, rounds: int) -> dict[str, dict[str, Any]]:
    """Every feature against none, in rounds."""
    names = [name for name in FEATURES if known(name)]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for i in range(rounds):
        say(f"round {i + 1} of {rounds}")
        for name in names:
            size = MESSAGES_A_SECOND * seconds
            runs[name].append(alone("benchmarks.features:inside", feature=name, messages=size))
    return {name: compared(runs[name], runs[NOTHING]) for name in names}


def compared(runs: Sequence[Run], off: Sequence[Run]) -> dict[str, Any]:
    """Medians over rounds; `cost`: time of a message / that of the same round with nothing on."""
    rates = [run["messages_per_s"] for run in runs]
    costs = sorted(o["messages_per_s"] / rate for o, rate in zip(off, rates, strict=True))
    return {
        "messages_per_s": median(rates),
        "cost": median(costs),
        "cost_range": [costs[0], costs[-1]],
        "steps_per_message": runs[0]["steps_per_message"],
        "hit_rate": runs[0]["hit_rate"],
        "batch": runs[0]["batch"],
    }


def in_checkout(folder: Path, load: Load) -> dict[str, Any]:
    """The scenario with nothing on, in a checkout."""
    code = [sys.executable, "-c", CODE, json.dumps(vars(load))]
    around = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run(code, cwd=folder, env=around, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def against(folder: Path, seconds: float, rounds: int) -> dict[str, Any]:
    """Ours and the other checkout's speed with nothing on, in turns."""
    rate = GPU_RATE * GPUS
    horizon_s = max(20.0, MESSAGES_A_SECOND * seconds / rate)
    load = Load(rate, 2.6, horizon_s / 4, horizon_s)
    for checkout in (ROOT, folder):
        in_checkout(checkout, Load(rate / 100, 1.0, 1.0, 2.0, 0.01))  # compiles
    ours, theirs = [], []
    for _ in range(rounds):
        theirs.append(in_checkout(folder, load))
        ours.append(in_checkout(ROOT, load))
        then, now = theirs[-1]["messages_per_s"], ours[-1]["messages_per_s"]
        say(f"there {then:,.0f}, here {now:,.0f} messages/s")
    ratios = sorted(
        there["messages_per_s"] / here["messages_per_s"]
        for there, here in zip(theirs, ours, strict=True)
    )
    same = all(ours[0][key] == theirs[0][key] for key in ("messages", "steps"))
    return {
        "there_messages_per_s": median(run["messages_per_s"] for run in theirs),
        "here_messages_per_s": median(run["messages_per_s"] for run in ours),
        "cost": median(ratios),
        "cost_range": [ratios[0], ratios[-1]],
        "same_messages_and_steps": same,
    }


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The features in Markdown."""
    lines = ["| on | messages/s | time of a message | steps per message | hit rate |"]
    lines.append("|---|--:|--:|--:|--:|")
    for name, run in found.items():
        low, high = run["cost_range"]
        cost = f"{run['cost']:.2f} ({low:.2f}-{high:.2f})"
        steps, hits = f"{run['steps_per_message']:.2f}", f"{run['hit_rate']:.3f}"
        lines.append(f"| {name} | {run['messages_per_s']:,.0f} | {cost} | {steps} | {hits} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print tables and the JSON line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.features", description=__doc__)
    parser.add_argument("--seconds", type=positive, default=2.0, help="of one run (default 2)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"default {ROUNDS}")
    parser.add_argument("--against", type=Path, help="checkout of an earlier release")
    parser.add_argument("--only-against", action="store_true", help="leave the features out")
    chosen = parser.parse_args(arguments)
    compile_first()
    found: dict[str, Any] = {}
    if chosen.against is not None:
        found["against"] = against(chosen.against.resolve(), chosen.seconds, chosen.rounds)
    if not chosen.only_against:
        found["features"] = on_and_off(chosen.seconds, chosen.rounds)
        sys.stdout.write(table(found["features"]))
    around = {"machine": host.machine(), "versions": host.versions()}
    sys.stdout.write(json.dumps(found | around, allow_nan=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
