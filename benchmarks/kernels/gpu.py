"""The GPU: a clock that times calls on it, what it is, and how it fares meanwhile.

Clocks, power and the reasons for which the card slows down are read with nvidia-smi, which only
looks. torch is imported where it is needed, so that a report can do without.
"""

import platform
import shlex
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.kernels.timing import Call, Contender
from calibrate.gpu.card import REASONS

QUERY = "clocks.sm,clocks.mem,power.draw,temperature.gpu,clocks_event_reasons.active"
REPLAY_S = 2e-3
PACKAGES = ("torch", "triton", "numpy", "torchao", "sageattention", "flashinfer-python")


def installed(package: str) -> str | None:
    """A package's version, if it is there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


class Graph:
    """Calls in a CUDA graph."""

    method = "graph"

    def __init__(self, calls: Sequence[Call], rounds: int) -> None:
        import torch

        self.calls = len(calls) * rounds
        # A graph holds addresses; the tensors there live as long as the calls that use them. (The
        # next capture gives what is free back to the device.)
        self._kept = list(calls)
        self._marks: list[tuple[Any, Any]] = []
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            for _ in range(rounds):
                for call in calls:
                    call()

    def start(self) -> None:
        """Queue one replay between two events."""
        import torch

        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        self.replay()
        end.record()
        self._marks.append((begin, end))

    def replay(self) -> None:
        """All calls."""
        self._graph.replay()

    def seconds(self) -> list[float]:
        """Wait for the queued ones."""
        import torch

        torch.cuda.synchronize()
        found = [1e-3 * begin.elapsed_time(end) for begin, end in self._marks]
        self._marks.clear()
        return found


class Eager(Graph):
    """Calls that cannot be captured: launched one by one, which the host may not keep up with."""

    method = "eager"

    def __init__(self, calls: Sequence[Call], rounds: int) -> None:
        self.calls = len(calls) * rounds
        self._marks = []
        self._listed = list(calls) * rounds

    def replay(self) -> None:
        """All calls."""
        for call in self._listed:
            call()


class CudaClock:
    """Times calls on the current CUDA device."""

    def prepare(self, contender: Contender) -> Graph:
        """Warm up all inputs, then record calls for about two milliseconds."""
        import torch

        for _ in range(2):
            for call in contender.calls:
                call()
        torch.cuda.synchronize()
        kind: type[Graph] = Graph
        try:
            probe = Graph(contender.calls, 1)
        except RuntimeError:
            torch.cuda.synchronize()
            kind = Eager
            probe = Eager(contender.calls, 1)
        for _ in range(3):
            probe.start()
        rounds = max(1, round(REPLAY_S / max(probe.seconds()[-1], 1e-9)))
        return probe if rounds == 1 else kind(contender.calls, rounds)


@dataclass(frozen=True)
class Reading:
    """What nvidia-smi said at a moment (of `time.monotonic`)."""

    at: float
    sm_mhz: float
    memory_mhz: float
    watts: float
    celsius: float
    reasons: int


def parsed(line: str, at: float) -> Reading | None:
    """A line of nvidia-smi's CSV; None if it is none (a field that the card does not have)."""
    try:
        sm, memory, watts, celsius, reasons = (cell.strip() for cell in line.split(","))
        numbers = (float(sm), float(memory), float(watts), float(celsius))
        return Reading(at, *numbers, int(reasons, 16))
    except ValueError:
        return None


def slowed_by(reasons: int) -> str:
    """Words for the bits."""
    return ", ".join(words for bit, words in REASONS.items() if reasons & bit)


@dataclass
class Watch:
    """Reads clocks ten times a second while it is open."""

    index: str = "0"
    readings: list[Reading] = field(default_factory=list)
    _smi: "subprocess.Popen[str] | None" = None

    def __enter__(self) -> "Watch":
        command = ["nvidia-smi", f"--id={self.index}", f"--query-gpu={QUERY}"]
        command += ["--format=csv,noheader,nounits", "--loop-ms=100"]
        try:
            self._smi = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        except OSError:
            return self
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def _read(self) -> None:
        assert self._smi is not None
        assert self._smi.stdout is not None
        for line in self._smi.stdout:
            reading = parsed(line, time.monotonic())
            if reading is not None:
                self.readings.append(reading)

    def __exit__(self, *_: object) -> None:
        if self._smi is not None:
            self._smi.terminate()
            self._smi.wait()

    def between(self, begin: float, end: float) -> dict[str, Any]:
        """Clocks and power in that time, and why the card was slowed down, if it was."""
        seen = [r for r in self.readings if begin <= r.at <= end + 0.1]
        if not seen:
            return {"sm_mhz": None, "sm_mhz_min": None, "watts": None, "slowed_by": None}
        reasons = 0
        for reading in seen:
            reasons |= reading.reasons
        clocks = sorted(r.sm_mhz for r in seen)
        return {
            "sm_mhz": clocks[len(clocks) // 2],
            "sm_mhz_min": clocks[0],
            "watts": max(r.watts for r in seen),
            "slowed_by": slowed_by(reasons),
        }


def slug(name: str) -> str:
    """`h100-80gb-hbm3` of `NVIDIA H100 80GB HBM3`: for names of files."""
    words = name.lower().replace("nvidia", "").replace("_", " ").replace("/", " ").split()
    return "-".join(words)


def smi(fields: str, index: str = "0") -> dict[str, str]:
    """What nvidia-smi says of these fields; nothing if it is not there."""
    command = ["nvidia-smi", f"--id={index}", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    cells = [cell.strip() for cell in done.stdout.strip().split(",")]
    return dict(zip(fields.split(","), cells, strict=False))


def command(arguments: Sequence[str]) -> str:
    """The command that measures, to be repeated anywhere: without the folder of its files."""
    kept = list(arguments)
    while "--results" in kept:
        at = kept.index("--results")
        del kept[at : at + 2]
    return shlex.join(["python", "-m", "benchmarks.kernels", *kept])


def commit() -> str | None:
    """The commit of this checkout, with a `+` if files differ from it."""
    root = Path(__file__).resolve().parents[2]
    words = (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
    try:
        found = [
            subprocess.run(
                ["git", "-C", str(root), *w], capture_output=True, text=True, timeout=30, check=True
            ).stdout.strip()
            for w in words
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return found[0] + ("+" if found[1] else "")


def described() -> dict[str, Any]:
    """The card, its driver and limits, and the versions of what ran on it."""
    import torch

    properties = torch.cuda.get_device_properties(0)
    fields = "driver_version,power.limit,clocks.max.sm,clocks.max.mem,persistence_mode"
    return {
        "gpu": properties.name,
        "multiprocessors": properties.multi_processor_count,
        "memory_bytes": properties.total_memory,
        "capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "smi": smi(fields, device_id()),
        "python": platform.python_version(),
        "packages": {name: installed(name) for name in PACKAGES if installed(name)},
    }


def device_id() -> str:
    """What nvidia-smi calls the current CUDA device."""
    import torch

    uuid = getattr(torch.cuda.get_device_properties(0), "uuid", None)
    return f"GPU-{uuid}" if uuid is not None else "0"
