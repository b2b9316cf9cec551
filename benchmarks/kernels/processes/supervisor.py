"""Has cases measured by a worker process, and starts another one when that goes down or hangs."""

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.kernels import store
from benchmarks.kernels.cases import Case
from benchmarks.kernels.gpu import command, commit, slug
from benchmarks.kernels.store import OURS

CASE_S = 75.0
"""A case that takes longer hangs: a usual one takes some seconds, most of them compiling."""
LIMIT_S = 450.0
"""What a run may take in all."""
DYING_S = 20.0
"""How long a killed worker is waited for: one that hangs on the device can take longer to die."""
Say = Callable[[str], None]
Command = Callable[[Sequence[str]], list[str]]


def worker_command(seconds: float) -> Command:
    """How to start a worker on some cases."""
    start = [sys.executable, "-m", "benchmarks.kernels.processes.worker", str(seconds)]
    return lambda names: [*start, *names]


@dataclass
class Run:
    """One measurement: what was found so far, saved after each case."""

    command: Command
    folder: Path
    commit: str | None
    say: Say
    case_s: float = CASE_S
    limit_s: float = LIMIT_S
    begun: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    about: dict[str, Any] = field(default_factory=dict)
    rows: list[store.Row] = field(default_factory=list)
    samples: list[store.Row] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """Cases that it has not come to."""
    _began: float = field(default_factory=time.monotonic)

    def measure(self, cases: Sequence[Case]) -> bool:
        """Measure all that there is time for; False if anything failed or was left out."""
        self.left = [case.name for case in cases]
        while self.left and self._time_left() > 0:
            waiting = len(self.left)
            self._attend(list(self.left))
            if len(self.left) == waiting and self._time_left() > 0:
                self._failed(self.left[0], "the worker does not start")
                return False
        if self.rows:
            self.save()
        if self.left:
            self.say(f"{len(self.left)} cases left out: {self.limit_s:.0f} s are over")
        return not self.failures and not self.left

    def _time_left(self) -> float:
        return self._began + self.limit_s - time.monotonic()

    def _attend(self, names: Sequence[str]) -> None:
        """Run one worker, until it ends or has to be ended."""
        worker = subprocess.Popen(self.command(names), stdout=subprocess.PIPE, text=True)
        lines: queue.Queue[str | None] = queue.Queue()
        reader = threading.Thread(target=_forward, args=(worker, lines), daemon=True)
        reader.start()
        working, has_ended = self._listen(lines)
        if not has_ended:
            worker.kill()
        with suppress(subprocess.TimeoutExpired):
            worker.wait(timeout=DYING_S)
            reader.join()
        if not has_ended and self._time_left() <= 0:
            self.left = [working, *self.left] if working else self.left
        elif not has_ended:
            self._failed(working or self.left.pop(0), f"nothing for {self.case_s:.0f} s: killed")
        elif working:
            self._failed(working, f"the worker went down, exit code {worker.returncode}")

    def _listen(self, lines: "queue.Queue[str | None]") -> tuple[str, bool]:
        """Take what a worker finds; the case it leaves unfinished, and whether it ended."""
        working = ""
        while True:
            try:
                line = lines.get(timeout=max(0.0, min(self.case_s, self._time_left())))
            except queue.Empty:
                return working, False
            if line is None:
                return working, True
            found = json.loads(line)
            self.about = found.get("about", self.about)
            if "begin" in found:
                working = found["begin"]
                self.left.remove(working)
            elif "rows" in found:
                self._found(working, found)
                working = ""

    def _found(self, name: str, found: dict[str, Any]) -> None:
        for failure in found["failures"]:
            self._failed(name, failure)
        self.rows += [row | {"run": self.begun} for row in found["rows"]]
        self.samples += found["samples"]
        self.say(line_of(name, found["rows"]))
        self.save()

    def _failed(self, name: str, why: str) -> None:
        self.say(f"{name}: {why}")
        self.failures.append({"case": name, "why": why})

    @property
    def gpu(self) -> str:
        """The card, as the files are named."""
        return slug(self.about["gpu"])

    def save(self) -> None:
        """Put what was found into the files."""
        store.save(self.gpu, self.rows, self.samples, self.provenance(), self.folder)

    def provenance(self) -> dict[str, Any]:
        """Where the rows come from."""
        return {
            "run": self.begun,
            "commit": self.commit or commit(),
            "command": command(sys.argv[1:]),
            "failures": self.failures,
            "left_out": len(self.left),
            "left_out_cases": self.left,
            "limit_s": self.limit_s,
        } | self.about


def _forward(worker: "subprocess.Popen[str]", lines: "queue.Queue[str | None]") -> None:
    assert worker.stdout is not None
    with worker.stdout:
        for line in worker.stdout:
            lines.put(line)
    lines.put(None)


def line_of(name: str, rows: Sequence[store.Row]) -> str:
    """A case's figures on one line: ours, then the others, fastest first."""
    ranked = sorted(rows, key=lambda row: (row["impl"] != OURS, row["us_median"]))
    cells = [f"{row['impl']} {row['us_median']:.1f} us" for row in ranked]
    return f"{name}: {', '.join(cells) or 'nothing'}"
