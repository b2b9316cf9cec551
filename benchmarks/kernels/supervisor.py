"""Has cases measured by a worker process, and starts another one when that goes down or hangs."""

import json
import queue
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.kernels import store
from benchmarks.kernels.cases import Case
from benchmarks.kernels.gpu import commit, slug
from benchmarks.kernels.store import OURS

CASE_S = 240.0
"""A case that takes longer hangs: a usual one takes some ten seconds, most of them compiling."""
Say = Callable[[str], None]
Command = Callable[[Sequence[str]], list[str]]


def worker_command(seconds: float) -> Command:
    """How to start a worker on some cases."""
    start = [sys.executable, "-m", "benchmarks.kernels.worker", str(seconds)]
    return lambda names: [*start, *names]


@dataclass
class Run:
    """One measurement: what was found so far, saved after each case."""

    command: Command
    folder: Path
    commit: str | None
    say: Say
    case_s: float = CASE_S
    begun: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    about: dict[str, Any] = field(default_factory=dict)
    rows: list[store.Row] = field(default_factory=list)
    samples: list[store.Row] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)

    def measure(self, cases: Sequence[Case]) -> bool:
        """Measure all; False if anything failed."""
        waiting = [case.name for case in cases]
        while waiting:
            left = self._attend(waiting)
            if len(left) == len(waiting):
                self._failed(left[0], "the worker does not start")
                return False
            waiting = left
        return not self.failures

    def _attend(self, names: Sequence[str]) -> list[str]:
        """Run one worker; the cases that it did not come to."""
        left = list(names)
        with subprocess.Popen(self.command(names), stdout=subprocess.PIPE, text=True) as worker:
            lines: queue.Queue[str | None] = queue.Queue()
            reader = threading.Thread(target=_forward, args=(worker, lines))
            reader.start()
            working, hangs = self._listen(lines, left)
            if hangs:
                worker.kill()
            reader.join()
        if hangs:
            self._failed(working or left.pop(0), f"nothing for {self.case_s:.0f} s: killed")
        elif working:
            self._failed(working, f"the worker went down, exit code {worker.returncode}")
        return left

    def _listen(self, lines: "queue.Queue[str | None]", left: list[str]) -> tuple[str, bool]:
        """Take what a worker finds; the case it leaves unfinished, and whether it hangs."""
        working = ""
        while True:
            try:
                line = lines.get(timeout=self.case_s)
            except queue.Empty:
                return working, True
            if line is None:
                return working, False
            found = json.loads(line)
            self.about = found.get("about", self.about)
            if "begin" in found:
                working = found["begin"]
                left.remove(working)
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
            "command": shlex.join(["python", "-m", "benchmarks.kernels", *sys.argv[1:]]),
            "failures": self.failures,
        } | self.about


def _forward(worker: "subprocess.Popen[str]", lines: "queue.Queue[str | None]") -> None:
    assert worker.stdout is not None
    for line in worker.stdout:
        lines.put(line)
    lines.put(None)


def line_of(name: str, rows: Sequence[store.Row]) -> str:
    """A case's figures on one line: ours, then the others, fastest first."""
    ranked = sorted(rows, key=lambda row: (row["impl"] != OURS, row["us_median"]))
    cells = [f"{row['impl']} {row['us_median']:.1f} us" for row in ranked]
    return f"{name}: {', '.join(cells) or 'nothing'}"
