"""Timing several implementations of one case side by side.

What is timed is a replay: a CUDA graph that holds many calls in a row, each on the next set of
inputs, of which there are so many that they do not fit into the L2 cache. So the time of a call is

- without what the host does to launch it: a serving engine replays its steps from a graph, too, and
  a peer's or our own Python around a kernel of 10 us would else be all that is seen;
- with the gap between two launches on the device, and with every launch that the call needs (a
  merge, an epilogue as a kernel of its own).

A sample is the time of a replay over its calls. Implementations take turns, one replay each, in an
order that rotates: a clock that falls, or a neighbour on the card, hits all of them. Between two
samples the device does not idle.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Call = Callable[[], object]
LEAST_REPEATS, MOST_REPEATS = 15, 31


@dataclass(frozen=True)
class Contender:
    """An implementation of a case: a call for each set of inputs, and a check of its result."""

    name: str
    calls: Sequence[Call]
    error: Callable[[], float] | None = None
    """The relative error against the reference, of a call on the first set of inputs."""
    tolerance: float = 0.05


class Replay(Protocol):
    """Calls that can be run again and again."""

    calls: int
    method: str

    def start(self) -> None:
        """Begin one sample: queues it and returns."""

    def seconds(self) -> list[float]:
        """Wait, and say how long each replay since the last question took."""


class Clock(Protocol):
    """What can time calls: a GPU, or a test's double."""

    def prepare(self, contender: Contender) -> Replay:
        """Compile, warm up and record the calls. Raises whatever the calls raise."""


@dataclass(frozen=True)
class Samples:
    """Microseconds of a call, one for each replay."""

    us: Sequence[float]
    calls: int
    method: str


def repeats_for(replay_s: Sequence[float], budget_s: float) -> int:
    """How often each implementation is run, if one round of all takes the sum of these."""
    rounds = int(budget_s / max(sum(replay_s), 1e-9))
    return max(LEAST_REPEATS, min(MOST_REPEATS, rounds))


def side_by_side(replays: Mapping[str, Replay], budget_s: float) -> dict[str, Samples]:
    """Run all in turns; about `budget_s` in all, but at least 15 times each."""
    first = {name: _once(replay) for name, replay in replays.items()}
    repeats = repeats_for(list(first.values()), budget_s)
    names = list(replays)
    for turn in range(repeats):
        at = turn % max(len(names), 1)
        for name in names[at:] + names[:at]:
            replays[name].start()
    found = {}
    for name, replay in replays.items():
        us = [1e6 * seconds / replay.calls for seconds in replay.seconds()]
        found[name] = Samples(us, replay.calls, replay.method)
    return found


def _once(replay: Replay) -> float:
    """A replay that warms up; its seconds."""
    replay.start()
    replay.seconds()
    replay.start()
    return replay.seconds()[-1]


def quantile(values: Sequence[float], fraction: float) -> float:
    """Between the two nearest, in proportion."""
    ranked = sorted(values)
    at = fraction * (len(ranked) - 1)
    low = int(at)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (at - low) * (ranked[high] - ranked[low])
