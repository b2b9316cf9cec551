"""The job's clock: monotonic seconds, and the date; a test has one that it moves by hand."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> float:
        """Seconds, monotonic."""

    def date(self) -> datetime:
        """Date and time, in UTC."""


class SystemClock:
    """The machine's."""

    def now(self) -> float:
        """Seconds, monotonic."""
        return time.monotonic()

    def date(self) -> datetime:
        """Date and time, in UTC."""
        return datetime.now(UTC)
