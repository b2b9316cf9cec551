"""How far a job is, told to its folder; and that it ends where nobody waits for it."""

import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

from app.jobs.folder import State, tell
from kaiju_sim.executor.seam import Executor, Key, Result, Task

MOST_SECONDS = 1800.0
TELL_EVERY_S = 0.5


class Teller:
    """Tells a folder's state now and then."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._told = 0.0
        self._state = State("running")

    def __call__(self, progress: float, words: str | None = None) -> None:
        """The fraction done, and what is done."""
        known = self._state
        share = min(1.0, max(0.0, progress))
        self._state = State("running", share, known.words if words is None else words, known.ready)
        now = time.monotonic()
        if now - self._told >= TELL_EVERY_S:
            self._told = now
            tell(self._folder, self._state)

    def ready(self) -> None:
        """One more of the job's parts can be looked at."""
        known = self._state
        self._state = State("running", known.progress, known.words, known.ready + 1)
        tell(self._folder, self._state)

    def part(self, first: float, last: float) -> Callable[[float], None]:
        """Progress of a part, from 0 to 1, as that of the whole."""
        return lambda fraction: self(first + (last - first) * fraction)


def watch(folder: Path, most_seconds: float = MOST_SECONDS) -> None:
    """End this process and all that it started when its server has gone or its time is up."""
    server, began = os.getppid(), time.monotonic()

    def look() -> None:
        while True:
            time.sleep(1.0)
            if os.getppid() != server:
                end_all(folder, "the dashboard was stopped")
            if time.monotonic() - began > most_seconds:
                words = f"stopped after {most_seconds / 60:g} minutes: ask for less at once"
                end_all(folder, words)

    threading.Thread(target=look, daemon=True).start()


def end_all(folder: Path, words: str) -> None:
    """Say why, then end the process's whole group, which is its own (`desk.py`)."""
    tell(folder, State("failed", words=words))
    os.killpg(os.getpgid(0), signal.SIGKILL)


class Watched:
    """An executor that tells after each task."""

    def __init__(self, inner: Executor, each: Callable[[], None]) -> None:
        self._inner, self._each = inner, each

    @property
    def workers(self) -> int:
        """Tasks that run at once."""
        return self._inner.workers

    def map(
        self, function: Callable[[Task], Result], tasks: Mapping[Key, Task]
    ) -> Generator[tuple[Key, Result], None, None]:
        """Key and result of each task as it ends."""
        for item in self._inner.map(function, tasks):
            self._each()
            yield item

    def close(self) -> None:
        """End what was started for it."""
        self._inner.close()
