"""Units in processes of their own, each with its own context on the device.

A worker is handed a unit, tells its progress through a pipe and sends what it found. One that dies
takes its unit with it and no other; another one takes its place.
"""

import signal
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from kernels.training.demo.comparison.units import Done, Failed, Setting, Unit, attempt
from kernels.training.demo.train import Say


def ended(units: Sequence[Unit], setting: Setting, say: Say) -> Iterator[Done | Failed]:
    """What each unit gave, as it is over; `setting.jobs` at a time. A single one runs here."""
    if setting.jobs == 1:
        for unit in units:
            yield attempt(unit, setting, say)
        return
    crew = Crew(setting)
    try:
        yield from crew.work(deque(units), say)
    finally:
        crew.close()


class Crew:
    """The workers. `close` ends them, whatever they are at."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.idle: list[Connection] = []
        self.busy: dict[Connection, Unit] = {}
        self.processes: dict[Connection, BaseProcess] = {}

    def work(self, waiting: deque[Unit], say: Say) -> Iterator[Done | Failed]:
        """All of these."""
        while waiting or self.busy:
            while waiting and len(self.busy) < self.setting.jobs:
                self._hand_out(waiting.popleft())
            for pipe in wait(list(self.busy)):
                assert isinstance(pipe, Connection)
                message = self._heard(pipe)
                if isinstance(message, str):
                    say(message)
                else:
                    yield message

    def _hand_out(self, unit: Unit) -> None:
        pipe = self.idle.pop() if self.idle else self._start()
        pipe.send(unit)
        self.busy[pipe] = unit

    def _start(self) -> Connection:
        # Not forked: a context on a GPU does not survive that.
        context = get_context("spawn")
        mine, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, self.setting), daemon=True)
        process.start()
        theirs.close()
        self.processes[mine] = process
        return mine

    def _heard(self, pipe: Connection) -> Any:
        """Progress, or how a unit ended."""
        try:
            message = pipe.recv()
        except (EOFError, OSError):
            process = self.processes.pop(pipe)
            process.join()
            unit = self.busy.pop(pipe)
            return Failed(unit, f"its process ended with exit code {process.exitcode}")
        if not isinstance(message, str):
            del self.busy[pipe]
            self.idle.append(pipe)
        return message

    def close(self) -> None:
        """End every worker, and wait until it is gone."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.join()


def serve(pipe: Connection, setting: Setting) -> None:
    """A worker's life. Ctrl-C reaches the whole group; it is the parent that ends us. Without a
    parent there is nobody to send to, and that ends us, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            unit = pipe.recv()
            pipe.send(attempt(unit, setting, pipe.send))
        except (EOFError, OSError):
            return
