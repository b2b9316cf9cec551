"""How fast the simulator is: `python -m benchmarks.simulator`.

Progress goes to stderr. stdout has a small table for people, then one JSON object as its last line
(with `--format json` nothing but that line). One process, one core, but for `day`; compilation is
not timed.

- affinity_fleet: messages simulated per second on the fixed scenario benchmarks/affinity.yaml, at
  70 % of a saturation that is measured first;
- fleet_1000: the same on 1,000 GPUs;
- w1, w2: the workloads that other simulators were measured on, beside which benchmarks.peers runs;
- day: the whole day of scenarios/baseline.yaml, by the command of a user, on two cores;
- python_twin: the same at the load of 2 GPUs on the plain Python loop, which must give the same
  summary as the compiled one;
- simpy_timeouts: what bare SimPy does on this machine.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks import affinity, host, twin
from benchmarks.loads import common, day
from benchmarks.saturation import Say
from kaiju_sim.simulation import is_warm, warm_up

Found = dict[str, Any]
Measure = Callable[[float, Say, Found], Any]
PARTS: dict[str, tuple[str, Measure]] = {
    "affinity_fleet": ("affinity_fleet", lambda s, say, _: affinity.measure(s, say)),
    "fleet_1000": ("fleet_1000", affinity.measure_1000),
    "w1": ("w1", lambda s, say, _: common.measure("w1", s, say)),
    "w2": ("w2", lambda s, say, _: common.measure("w2", s, say)),
    "day": ("day", lambda s, say, _: day.measure(s, say)),
    "python_twin": ("python_twin", lambda s, say, _: twin.twin(s, say)),
    "simpy_timeouts": ("simpy_timeouts_per_s", lambda s, say, _: twin.simpy_timeouts(s, say)),
}
"""Each part's name, its key in the JSON object, and what measures it, given what was found before.
"""

COMPILED = PARTS.keys() - {"simpy_timeouts"}
"""Parts that run the compiled loop."""


def parts(text: str) -> list[str]:
    """Names of parts, separated by commas."""
    names = text.split(",")
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown {unknown[0]!r}; there are {', '.join(PARTS)}")
    return [name for name in PARTS if name in names]


def positive(text: str) -> float:
    """A number of seconds above zero, at most an hour."""
    seconds = float(text)
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError("give more than 0 and at most 3600 seconds")
    return seconds


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulator", description="Measure the speed of the simulator."
    )
    names = ",".join(PARTS)
    parser.add_argument("--only", type=parts, default=list(PARTS), help=f"some of {names}")
    parser.add_argument(
        "--seconds", type=positive, default=10.0, help="wall time of one timed run (default 10)"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")
    return parser.parse_args(arguments)


def say(line: str) -> None:
    """Progress, on stderr."""
    sys.stderr.write(f"{line}\n")


def compile_first() -> None:
    """Have the compiled loop ready, so that no clock sees it."""
    if not is_warm():
        say("compiling the engine loop: once, up to half a minute")
    warm_up()


def lines_of(found: Found) -> Iterator[tuple[str, str]]:
    """The figures for people, name and value."""
    if fleet := found.get("affinity_fleet"):
        yield "messages/s per core", f"{fleet['messages_per_s_per_core']:,.0f}"
        yield "engine steps/s per core", f"{fleet['steps_per_s']:,.0f}"
        yield "median run", f"{fleet['messages']:,} messages in {fleet['wall_s']:.1f} s"
        yield "saturation, messages/s", f"{fleet['saturation_messages_per_s']:,.0f}"
        yield "offered, messages/s", f"{fleet['offered_messages_per_s']:,.0f}"
        yield "prefix hit rate", f"{fleet['prefix_hit_rate']:.3f}"
        yield "step time", f"source: {fleet['profile_source']}"
    if grown := found.get("fleet_1000"):
        yield "1,000 GPUs, messages/s per core", f"{grown['messages_per_s_per_core']:,.0f}"
    for name in ("w1", "w2"):
        if run := found.get(name):
            memory = f"{run['peak_rss_bytes'] / 1e6:.0f} MB"
            yield f"{name} requests/s per core", f"{run['requests_per_s_per_core']:,.0f}, {memory}"
            times = f"TPOT {1e3 * run['tpot_s']:.2f} ms, TTFT {1e3 * run['ttft_s']:.1f} ms"
            yield f"{name} means", f"{times} (source: {run['profile_source']})"
    if whole := found.get("day"):
        memory = f"{(whole['peak_rss_bytes'] or 0) / 1e6:,.0f} MB"
        yield "day on two cores", f"{whole['wall_s']:.1f} s, {memory}"
        yield "day", f"{whole['messages']:,} messages, {whole['steps']:,} steps"
    if slow := found.get("python_twin"):
        yield "plain Python twin, messages/s", f"{slow['messages_per_s']:,.0f}"
    if bare := found.get("simpy_timeouts_per_s"):
        yield "bare SimPy, time-outs/s", f"{bare:,.0f}"


def table(found: Found) -> str:
    """The figures for people."""
    return "".join(f"{name:<33}{value}\n" for name, value in lines_of(found))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for, print the table and the JSON line."""
    chosen = options(arguments)
    around = {"machine": host.machine(), "versions": host.versions()}
    if set(chosen.only) & COMPILED:
        compile_first()
    found: Found = {}
    for name in chosen.only:
        key, measure = PARTS[name]
        found[key] = measure(chosen.seconds, say, found)
    if chosen.format == "text":
        sys.stdout.write(table(found))
    sys.stdout.write(json.dumps(found | around, allow_nan=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
