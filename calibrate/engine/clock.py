"""The clock, as a seam: real time, or time that only a fake executor moves."""

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Nanoseconds since the engine's beginning."""

    def now_ns(self) -> int:
        """The time; it never goes back."""

    def wait(self, until_ns: int, news: threading.Condition) -> None:
        """Return at `until_ns`, or before that when `news` (held by the caller) is notified."""


class WallClock:
    """The machine's monotonic clock, from 0 when it is made."""

    def __init__(self) -> None:
        self._began = time.monotonic_ns()

    def now_ns(self) -> int:
        """Nanoseconds since it was made."""
        return time.monotonic_ns() - self._began

    def wait(self, until_ns: int, news: threading.Condition) -> None:
        """Sleeps; an hour at most, since a condition cannot wait for ever and be interrupted."""
        left = min((until_ns - self.now_ns()) / 1e9, 3600.0)
        if left > 0:
            news.wait(left)


class FakeClock:
    """Time for tests: waits end at once, and a fake executor advances it."""

    def __init__(self) -> None:
        self._now = 0

    def now_ns(self) -> int:
        """Where it was put last."""
        return self._now

    def advance(self, ns: int) -> None:
        """So much later."""
        assert ns >= 0, "time does not go back"
        self._now += ns

    def wait(self, until_ns: int, news: threading.Condition) -> None:
        """It is `until_ns` now. There is no other thread to be notified by."""
        self._now = max(self._now, until_ns)
