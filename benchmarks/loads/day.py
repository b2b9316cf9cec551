"""`day`: the whole day of `scenarios/baseline.yaml`, as a user would run it.

One command with two worker processes, from its start to its end: imports, both cells with every
message and every engine step, tables, the run directory. Compiled code comes from the cache. Memory
is the peak of each process, added up, which counts shared pages more than once.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow.parquet as pq

from benchmarks.alone import ROOT
from benchmarks.saturation import Say

WORKERS = 2
REPEATS = 3
FULL_S = 90_000.0
WARM_UP_S = 3_600.0
HASTE_S = 10.0
"""With fewer seconds asked for, a part of the day is run, and the figures say which."""
LOOK_EVERY_S = 0.05


def command(target: Path, part: float) -> list[str]:
    """The command of a user, for a part of the day."""
    sets = [f"run.horizon={FULL_S * part:.0f}s", f"run.warm_up={WARM_UP_S * part:.0f}s"]
    return [
        *(sys.executable, "-m", "kaiju_sim", "run", "scenarios/baseline.yaml", "--with", "day"),
        *(() if part == 1 else tuple(word for value in sets for word in ("--set", value))),
        *("--workers", str(WORKERS), "--quiet", "--format", "json", "--output", str(target)),
    ]


def family(pid: int) -> Iterator[int]:
    """A process and all that descend from it (Linux)."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            yield from family(int(child))


def note_peaks(pid: int, peaks: dict[int, int]) -> None:
    """Peak resident bytes that the kernel has noted for each process of the family so far."""
    try:
        for member in family(pid):
            for line in Path(f"/proc/{member}/status").read_text().splitlines():
                if line.startswith("VmHWM"):
                    peaks[member] = int(line.split()[1]) * 1024
    except OSError:  # it ended while we looked: what was seen before stands
        return


def watched(words: list[str]) -> tuple[float, dict[int, int]]:
    """Wall seconds of a command, and the peak memory of each of its processes."""
    peaks: dict[int, int] = {}
    begin = time.perf_counter()
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        note_peaks(process.pid, peaks)
        time.sleep(LOOK_EVERY_S)
    wall_s = time.perf_counter() - begin
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return wall_s, peaks


def totals(target: Path) -> dict[str, Any]:
    """Messages and engine steps of a run, counted in its time series."""
    table = pq.read_table(target / "replicas.parquet", columns=["arrived", "steps"])
    summary = json.loads((target / "summary.json").read_text(encoding="utf-8"))
    return {
        "messages": int(table["arrived"].to_numpy().sum()),
        "steps": int(table["steps"].to_numpy().sum()),
        "verdict": summary["verdict"],
        "prefix_hit_rate": summary["prefix_hit_rate"],
        "gpu_busy_fraction": summary["gpu_busy_fraction"],
        "output_tokens_per_s": summary["throughput.output_tokens_per_s"],
        "gpus": summary["fleet.gpus"],
    }


def measure(seconds: float, say: Say) -> dict[str, Any]:
    """Median of the runs; every run gives the same result."""
    part = 1.0 if seconds >= HASTE_S else seconds / HASTE_S / 24
    say(f"day: {REPEATS} runs of {24 * part:.3g} hours")
    walls, memory, found = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(REPEATS):
            target = Path(folder) / str(i)
            wall_s, peaks = watched(command(target, part))
            walls.append(wall_s)
            memory.append(sum(peaks.values()))
            found.append(totals(target))
            say(
                f"  {found[-1]['messages']:,} messages in {wall_s:.1f} s, {memory[-1] / 1e6:.0f} MB"
            )
    assert all(other == found[0] for other in found), "runs of one scenario differ"
    return {
        "wall_s": median(walls),
        "peak_rss_bytes": max(memory) or None,
        **found[0],
        "walls_s": walls,
        "workers": WORKERS,
        "simulated_s": FULL_S * part,
    }
