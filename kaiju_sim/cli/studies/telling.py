"""How far a long study is, and how long it will take: a bar on a terminal, else lines."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kaiju_sim.cli.talk import Talk

EVERY_S = 10.0
"""A line at most so often."""


@contextmanager
def telling(talk: Talk, what: str, total: int) -> Iterator[Callable[[int, float], None]]:
    """What is to be told how many of *total* have ended, and the fraction of the work."""
    begun = said = time.monotonic()
    with talk.progress(what) as bar:

        def tell(done: int, fraction: float) -> None:
            nonlocal said
            now = time.monotonic()
            if bar is not None:
                bar(fraction)
            elif now - said >= EVERY_S or done == total:
                said = now
                talk.say(line(what, done, total, fraction, now - begun))

        yield tell


def line(what: str, done: int, total: int, fraction: float, spent_s: float) -> str:
    """Where it is: "sweep: 40 of 200, 12 s so far, about 48 s left"."""
    text = f"{what}: {done:,} of {total:,}, {spent_s:.0f} s so far"
    if done == total or fraction <= 0:
        return text
    return f"{text}, about {spent_s * (1 - fraction) / fraction:.0f} s left"
