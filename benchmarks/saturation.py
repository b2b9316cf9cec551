"""The largest message rate that the fleet of the fixed scenario sustains.

A rate is sustained when, over the measured window of a short run, the verdict is stable and the
throughput is at least 99 % of the rate. The number of live dialogues that goes with a rate depends
on how long answers take, which is not known before: it is taken from the last sustained rate, and
where a run shows that answers took longer than that, it is made again with what it showed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from benchmarks.fleet import THINK_S, Load, scenario_at, timed

KEEPS_UP = 0.99
PRECISION = 0.02
STEP = 1.15
METHOD = (
    "bisection to 2 % over short runs; sustained: verdict stable and throughput at least 99 % of"
    " the stated rate, live dialogues matching the answer time found"
)
Say = Callable[[str], None]


@dataclass(frozen=True)
class Probe:
    """A short run at one rate."""

    load: Load
    throughput: float
    answer_s: float
    verdict: str

    @property
    def sustained(self) -> bool:
        """Whether throughput keeps up and the verdict is stable."""
        return self.verdict == "stable" and self.throughput >= KEEPS_UP * self.load.messages_per_s


def probe(load: Load) -> Probe:
    """Run the scenario at this load."""
    summary = timed(scenario_at(load)).summary
    return Probe(
        load=load,
        throughput=summary["throughput.messages_per_s"],
        answer_s=summary["e2e_s.mean"],
        verdict=summary["verdict"],
    )


def settled(load: Load, say: Say) -> Probe:
    """Run at this load, once more with the live dialogues that its answer time asks for."""
    found = probe(load)
    if found.verdict == "stable" and found.answer_s > load.answer_s + PRECISION * THINK_S:
        found = probe(replace(load, answer_s=found.answer_s))
    outcome = "sustained" if found.sustained else f"not sustained ({found.verdict})"
    say(f"  {load.messages_per_s:.0f} messages/s: {found.throughput:.0f} served, {outcome}")
    return found


def bracket(start: Load, say: Say) -> tuple[Probe, float]:
    """A sustained run, and a rate above it that is not: steps of 15 % up or down from `start`."""
    found = settled(start, say)
    rate = start.messages_per_s
    while not found.sustained:
        high, rate = rate, rate / STEP
        found = settled(replace(start, messages_per_s=rate), say)
        if found.sustained:
            return found, high
    while True:
        rate *= STEP
        above = settled(replace(found.load, messages_per_s=rate, answer_s=found.answer_s), say)
        if not above.sustained:
            return found, rate
        found = above


def saturation(start: Load, say: Say) -> Probe:
    """The run at the largest sustained rate, to 2 %, looked for from `start` on."""
    best, high = bracket(start, say)
    while high > best.load.messages_per_s * (1 + PRECISION):
        rate = (best.load.messages_per_s * high) ** 0.5
        found = settled(replace(best.load, messages_per_s=rate, answer_s=best.answer_s), say)
        if found.sustained:
            best = found
        else:
            high = rate
    return best
