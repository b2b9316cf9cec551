"""The distributions of a workload over each other, as SVG text: measured and simulated."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibrate.fidelity.compare.figures import has, latency
from calibrate.fidelity.compare.gather import Compared
from calibrate.fidelity.outcome import Outcome
from calibrate.fidelity.workload import Workload
from calibrate.fidelity.workloads.catalogue import CAPACITY
from calibrate.report.show.plots import INK, PALE, framed, path, words_at
from kaiju_sim.report.atomic import write_file
from kaiju_sim.sketch import edges_ns

PANELS = {
    "ttft": "time to first token", "tpot": "time per output token",
    "itl": "inter-token latency", "e2e": "end to end",
}  # fmt: skip
MEASURED, SIMULATED = "#0b6e99", "#d9622b"
WIDE, HIGH, LEFT, TOP, BETWEEN, FOOT = 340, 200, 46, 72, 66, 62
POINTS = 200

Cdf = tuple[NDArray[np.float64], NDArray[np.float64]]


def cdf(outcome: Outcome, workload: Workload, metric: str) -> Cdf | None:
    """Times in ms, and the share of messages (of gaps) that are no longer."""
    if metric == "itl":
        total = outcome.itl.sum()
        here = np.flatnonzero(outcome.itl)
        if not total:
            return None
        return edges_ns()[here + 1] * 1e-6, np.cumsum(outcome.itl[here]) / total
    chosen = outcome.cohort(workload.arrivals_ns, workload.warm_s, workload.seconds)
    values = np.sort(latency(outcome, metric)[chosen & has(outcome, metric)]) * 1e3
    if not values.size:
        return None
    return values, np.arange(1, values.size + 1) / values.size


def drawing(one: Compared) -> str:
    """The four distributions of a workload, every run over the simulation."""
    runs = [run.outcome for run in one.runs]
    load = one.workload.recipe["load"]
    title = f"{one.workload.name}, {load:.0%} of the capacity" if load else one.workload.name
    body = [f'<text x="{LEFT}" y="22" font-size="14" fill="{INK}">{title}</text>']
    count = f"{len(runs)} run{'s' if len(runs) > 1 else ''}"
    names = ((MEASURED, f"measured, {count}"), (SIMULATED, "simulated"))
    for i, (colour, name) in enumerate(names):
        body.append(path(f"M{LEFT + 140 * i} 38h18", colour, 3))
        body.append(words_at(LEFT + 24 + 140 * i, 42, name))
    for i, (metric, name) in enumerate(PANELS.items()):
        x, y = LEFT + (i % 2) * (WIDE + BETWEEN), TOP + (i // 2) * (HIGH + FOOT)
        body += _panel(one.workload, runs, one.simulated[0], metric, name, x, y)
    return framed(2 * (LEFT + WIDE) + BETWEEN - LEFT + 16, TOP + 2 * (HIGH + FOOT), body)


def _panel(
    workload: Workload, runs: Sequence[Outcome], simulated: Outcome, metric: str, name: str,
    x: float, y: float,
) -> Iterator[str]:  # fmt: skip
    lines = [(MEASURED, cdf(run, workload, metric)) for run in runs]
    lines.append((SIMULATED, cdf(simulated, workload, metric)))
    known = [(colour, line) for colour, line in lines if line is not None]
    yield words_at(x, y - 6, f"{name}, ms")
    yield path(f"M{x} {y}v{HIGH}h{WIDE}", INK)
    if not known:
        return
    low = max(min(float(np.quantile(line[0], 0.002)) for _, line in known), 1e-3)
    high = max(float(line[0][-1]) for _, line in known) * 1.02
    low = min(low, high / 1.5)
    yield from _axes(low, high, x, y)
    for colour, line in known:
        yield path(_steps(line, low, high, x, y), colour, 1.5)


def _axes(low: float, high: float, x: float, y: float) -> Iterator[str]:
    for share in (0.0, 0.5, 0.9, 1.0):
        at = y + HIGH * (1 - share)
        yield path(f"M{x} {at:.1f}h{WIDE}", "#e3e6e9")
        yield words_at(x - 6, at + 3, f"{share:.0%}", "end", PALE)
    for value in ticks(low, high):
        at = x + WIDE * math.log(value / low) / math.log(high / low)
        yield words_at(at, y + HIGH + 14, f"{value:g}", "middle", PALE)


def ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each power of ten in the range; powers only, where that is enough."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high / low < 1000 else (1,)
    found = (step * 10.0**power for power in powers for step in steps)
    return [value for value in found if low <= value <= high]


def _steps(line: Cdf, low: float, high: float, x: float, y: float) -> str:
    """The curve, at `POINTS` shares at most, its time axis logarithmic."""
    values, shares = line
    chosen = np.unique(np.searchsorted(shares, np.linspace(0, 1, POINTS)).clip(0, len(shares) - 1))
    scale = WIDE / math.log(high / low)
    parts: list[str] = []
    for i in chosen:
        at = x + max(0.0, math.log(max(values[i], low) / low)) * scale
        parts.append(f"{'L' if parts else 'M'}{at:.1f} {y + HIGH * (1 - shares[i]):.1f}")
    return "".join(parts)


def write(compared: Sequence[Compared], folder: Path) -> list[Path]:
    """A drawing for each workload that has latencies; the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for one in compared:
        if one.workload.name != CAPACITY:
            file = folder / f"{one.workload.name}.svg"
            write_file(file, drawing(one).encode())
            written.append(file)
    return written
