"""The desk where jobs are started, asked after and cancelled; one for all sessions of a server.

A job belongs to who knows its name (it stands in the page's address, so a reload finds it again);
a session may have MOST_PER_SESSION open jobs, all sessions together MOST_TOGETHER.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.jobs import folder as jobs
from app.jobs.folder import State
from kaiju_sim.errors import UserError

MOST_PER_SESSION, MOST_TOGETHER = 1, 2
NICE = 10
_ROOT = Path(__file__).resolve().parents[2]


class Desk:
    """Jobs of a server's life: their processes, by name."""

    def __init__(self) -> None:
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._owners: dict[str, str] = {}
        self._lock = threading.Lock()

    def start(
        self, session: str, task: Mapping[str, Any], files: Mapping[str, bytes] | None = None
    ) -> str:
        """Start a job for a session: its name. UserError where it, or the server, has enough."""
        with self._lock:
            self._reap()
            mine = sum(owner == session for owner in self._owners.values())
            if mine >= MOST_PER_SESSION:
                raise UserError("a run of yours is under way: wait for it, or cancel it")
            if len(self._running) >= MOST_TOGETHER:
                raise UserError("this machine is busy with others' runs: try again in a minute")
            jobs.tidy()
            name = jobs.new(task, files or {})
            self._running[name], self._owners[name] = _process(name), session
        return name

    def state(self, name: str) -> State | None:
        """How far a job is; None where there is no such job. One that died has failed."""
        with self._lock:
            self._reap()
            folder = jobs.folder_of(name)
            if folder is None:
                return None
            found = jobs.state_of(folder)
            if found.is_open and name not in self._running:
                found = State("failed", found.progress, "the run's process ended; start it again")
                jobs.tell(folder, found)
        return found

    def cancel(self, name: str) -> None:
        """End a job's process and all that it started."""
        with self._lock:
            process, folder = self._running.get(name), jobs.folder_of(name)
            if process is None or folder is None:
                return
            _end(process)
            self._forget(name)
            if jobs.state_of(folder).is_open:
                jobs.tell(folder, State("cancelled", words="cancelled"))

    def close(self) -> None:
        """End every job."""
        for name in list(self._running):
            self.cancel(name)

    def _reap(self) -> None:
        ended = [name for name, process in self._running.items() if process.poll() is not None]
        for name in ended:
            self._forget(name)

    def _forget(self, name: str) -> None:
        self._running.pop(name, None)
        self._owners.pop(name, None)


def _process(name: str) -> "subprocess.Popen[bytes]":
    """The worker: no shell, no standard streams, a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "app.jobs.worker", name],
        cwd=_ROOT,
        env=os.environ | {"PYTHONPATH": str(_ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _end(process: "subprocess.Popen[bytes]") -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=2)
            return
