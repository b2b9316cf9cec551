"""How fast the simulator is: `python -m benchmarks.simulator`.

Progress goes to stderr. stdout has a small table for people, then one JSON object as its last line
(with `--format json` nothing but that line). One process, one core; compilation is not timed.

- affinity_fleet: messages simulated per second on the fixed scenario benchmarks/affinity.yaml, at
  70 % of a saturation that is measured first;
- python_twin: the same at the load of 2 GPUs on the plain Python loop, which must give the same
  summary as the compiled one;
- simpy_timeouts: what bare SimPy does on this machine.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import affinity, host, twin
from benchmarks.saturation import Say
from kaiju_sim.simulation import is_warm, warm_up

PARTS: dict[str, tuple[str, Callable[[float, Say], Any]]] = {
    "affinity_fleet": ("affinity_fleet", affinity.measure),
    "python_twin": ("python_twin", twin.twin),
    "simpy_timeouts": ("simpy_timeouts_per_s", twin.simpy_timeouts),
}
"""Each part's name, its key in the JSON object, and what measures it."""

COMPILED = {"affinity_fleet", "python_twin"}
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


def table(found: dict[str, Any]) -> str:
    """The figures for people."""
    lines = []
    if fleet := found.get("affinity_fleet"):
        lines += [
            ("messages/s per core", f"{fleet['messages_per_s_per_core']:,.0f}"),
            ("engine steps/s per core", f"{fleet['steps_per_s']:,.0f}"),
            ("median run", f"{fleet['messages']:,} messages in {fleet['wall_s']:.1f} s"),
            ("saturation, messages/s", f"{fleet['saturation_messages_per_s']:,.0f}"),
            ("offered, messages/s", f"{fleet['offered_messages_per_s']:,.0f}"),
            ("prefix hit rate", f"{fleet['prefix_hit_rate']:.3f}"),
            ("step time", f"source: {fleet['profile_source']}"),
        ]
    if slow := found.get("python_twin"):
        lines.append(("plain Python twin, messages/s", f"{slow['messages_per_s']:,.0f}"))
    if bare := found.get("simpy_timeouts_per_s"):
        lines.append(("bare SimPy, time-outs/s", f"{bare:,.0f}"))
    return "".join(f"{name:<31}{value}\n" for name, value in lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for, print the table and the JSON line."""
    chosen = options(arguments)
    around = {"machine": host.machine(), "versions": host.versions()}
    if set(chosen.only) & COMPILED:
        compile_first()
    found: dict[str, Any] = {}
    for name in chosen.only:
        key, measure = PARTS[name]
        found[key] = measure(chosen.seconds, say)
    if chosen.format == "text":
        sys.stdout.write(table(found))
    sys.stdout.write(json.dumps(found | around, allow_nan=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
