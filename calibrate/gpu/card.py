"""The card while it works: what it is, its clocks, its power, and what slows it down.

A thread reads the card five times a second, through NVML where its Python binding is installed,
else from one `nvidia-smi` that runs along. Both only look: nothing here changes a setting.
"""

import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from statistics import median
from typing import Any, NamedTuple, Protocol, TypeVar

T = TypeVar("T")

PERIOD_S = 0.2
QUERY = "clocks.sm,clocks.mem,power.draw,temperature.gpu,clocks_event_reasons.active"
REASONS = {
    0x2: "application clocks",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "thermal (software)",
    0x40: "thermal (hardware)",
    0x80: "power brake",
}
"""Bits of NVML's clock event reasons that make a card slower; an idle card is not slowed."""
UNKNOWN = "unknown"


class Reading(NamedTuple):
    """The card at a moment; None for what it does not say."""

    sm_mhz: float | None
    memory_mhz: float | None
    watts: float | None
    temperature_c: float | None
    reasons: int | None
    """Bits, as in `REASONS`."""


NUMBERS = ("sm_mhz", "memory_mhz", "watts", "temperature_c")


class Feed(Protocol):
    """Readings as they come, without end until it is closed; closed from another thread."""

    def __iter__(self) -> Iterator[Reading]: ...

    def close(self) -> None: ...


def parsed(line: str) -> Reading | None:
    """A line of nvidia-smi's CSV; None if it is none."""
    cells = [cell.strip() for cell in line.split(",")]
    if len(cells) != len(NUMBERS) + 1:
        return None
    sm, memory, watts, celsius = (_number(cell, float) for cell in cells[:-1])
    return Reading(sm, memory, watts, celsius, _number(cells[-1], lambda text: int(text, 16)))


def _number(text: str, kind: Callable[[str], T]) -> T | None:
    """None of what the card does not have: nvidia-smi says [N/A]."""
    try:
        return kind(text)
    except ValueError:
        return None


def slowed_by(reasons: int) -> str:
    """Words for the bits; empty where none of them slows the card down."""
    return ", ".join(words for bit, words in REASONS.items() if reasons & bit)


def summary(readings: Sequence[Reading]) -> dict[str, Any]:
    """Medians, and all reasons that were seen."""
    found: dict[str, Any] = {}
    for name in NUMBERS:
        known = [value for r in readings if (value := getattr(r, name)) is not None]
        found[name] = median(known) if known else None
    bits = [r.reasons for r in readings if r.reasons is not None]
    seen = 0
    for each in bits:
        seen |= each
    found["slowed_by"] = slowed_by(seen) if bits else None
    return found


class SmiFeed:
    """One nvidia-smi that reports every 200 ms until it is ended."""

    def __init__(self, gpu: str) -> None:
        command = ["nvidia-smi", f"--id={gpu}", f"--query-gpu={QUERY}"]
        command += ["--format=csv,noheader,nounits", f"--loop-ms={round(1e3 * PERIOD_S)}"]
        self._child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def __iter__(self) -> Iterator[Reading]:
        assert self._child.stdout is not None
        with self._child.stdout as lines:
            for line in lines:
                reading = parsed(line)
                if reading is not None:
                    yield reading

    def close(self) -> None:
        """End the process."""
        self._child.terminate()
        try:
            self._child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


class NvmlFeed:
    """NVML, asked by this process. Raises whatever NVML raises where it is not there."""

    def __init__(self, gpu: str) -> None:
        self._nvml: Any = import_module("pynvml")
        self._nvml.nvmlInit()
        self._gpu = self._nvml.nvmlDeviceGetHandleByUUID(gpu)
        self._closed = threading.Event()
        self._read()

    def __iter__(self) -> Iterator[Reading]:
        while not self._closed.wait(PERIOD_S):
            yield self._read()

    def close(self) -> None:
        """No reading after the next one."""
        self._closed.set()

    def _read(self) -> Reading:
        nvml = self._nvml
        reasons = getattr(nvml, "nvmlDeviceGetCurrentClocksEventReasons", None)
        reasons = reasons or nvml.nvmlDeviceGetCurrentClocksThrottleReasons
        milliwatts = self._ask(nvml.nvmlDeviceGetPowerUsage)
        return Reading(
            self._ask(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_SM),
            self._ask(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_MEM),
            None if milliwatts is None else milliwatts / 1e3,
            self._ask(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU),
            self._ask(reasons),
        )

    def _ask(self, question: Callable[..., Any], *more: Any) -> Any:
        try:
            return question(self._gpu, *more)
        except self._nvml.NVMLError:
            return None


def open_feed(gpu: str) -> Feed | None:
    """The best way to read the card of this UUID that there is; None where there is none."""
    for kind in (NvmlFeed, SmiFeed):
        with suppress(Exception):  # no binding, no library, no such program, no permission
            return kind(gpu)
    return None


class Watch:
    """Keeps the readings of a feed since they were last asked for, in a thread of its own."""

    def __init__(self, feed: Feed | None) -> None:
        self._feed, self._lock = feed, threading.Lock()
        self._new: list[Reading] = []
        self._last: list[Reading] = []
        self._thread = threading.Thread(target=self._listen, name="card", daemon=True)
        if feed is not None:
            self._thread.start()

    def _listen(self) -> None:
        assert self._feed is not None
        for reading in self._feed:
            with self._lock:
                self._new.append(reading)

    def since_last(self) -> dict[str, Any]:
        """A summary; of the last reading where there is no new one."""
        with self._lock:
            new, self._new = self._new, []
        readings = new or self._last
        self._last = readings[-1:]
        return summary(readings)

    def close(self) -> None:
        """End the feed and the thread."""
        if self._feed is not None:
            self._feed.close()
            self._thread.join(timeout=5)


class GpuCard:
    """The seam's `Card`: the first `count` CUDA devices of this process; clocks of the first."""

    def __init__(self, count: int = 1) -> None:
        import torch

        seen = [torch.cuda.get_device_properties(i) for i in range(count)]
        uuids = [f"GPU-{card.uuid}" for card in seen]
        self._about = {
            "gpu_name": ",".join(dict.fromkeys(card.name for card in seen)),
            "driver": driver_version(uuids[0]),
            "uuid": ",".join(uuids),
        }
        self._watch = Watch(open_feed(uuids[0]))

    def identity(self) -> dict[str, str]:
        """`gpu_name` (of equal cards one), `driver`, `uuid`, joined by commas."""
        return dict(self._about)

    def telemetry(self) -> dict[str, Any]:
        """As in `calibrate.measure.seam.Card`."""
        return self._watch.since_last()

    def close(self) -> None:
        """End what reads the card. It may be closed twice."""
        self._watch.close()


def driver_version(gpu: str) -> str:
    """Of the driver, as nvidia-smi or NVML say it; "unknown" where neither is there."""
    command = ["nvidia-smi", f"--id={gpu}", "--query-gpu=driver_version", "--format=csv,noheader"]
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        return done.stdout.strip() or UNKNOWN
    with suppress(Exception):  # no binding, no library
        nvml: Any = import_module("pynvml")
        nvml.nvmlInit()
        return str(nvml.nvmlSystemGetDriverVersion())
    return UNKNOWN
