"""What is in a trace, as rows: the shipped example's, or a file that a user brings.

A file is read as data only, by the package's own readers, within bounds: its size, its rows, the
length of its lines. It is stored under a name of ours; the user's is only looked at for its ending.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from app.figures.scenarios import ROOT
from kaiju_sim.errors import UserError
from kaiju_sim.report.format import count, significant
from kaiju_sim.workload.traces import Limits, Trace, analyse, read_trace

ENDINGS = ("csv", "jsonl", "parquet")
"""Files that are taken."""
MOST_BYTES, MOST_ROWS = 20 << 20, 50_000
LIMITS = Limits(line_bytes=1 << 20, total_bytes=200 << 20, rows=1_000_000, blocks=3_000_000)
"""Decompressed; a file over one of them is refused."""
EXAMPLE = ROOT / "scenarios" / "traces" / "example.jsonl"
BINS = 120
"""Steps of the chart of the rate."""
Rows = list[dict[str, Any]]
Card = tuple[str, str, str]


def example() -> bytes:
    """The shipped trace."""
    return EXAMPLE.read_bytes()


def ending_of(name: str) -> str:
    """The ending of a file's name, one of ENDINGS; UserError for any other."""
    _, dot, ending = name.lower().rpartition(".")
    if not dot or ending not in ENDINGS:
        raise UserError(f"a trace ends in .{', .'.join(ENDINGS)}")
    return ending


def trace_name(ending: str) -> str:
    """What a trace is called in a job's folder; UserError for an ending that is none."""
    return f"trace.{ending_of(f'.{ending}')}"


def read(content: bytes, ending: str) -> Trace:
    """The trace, its first MOST_ROWS rows; UserError for whatever is wrong with it."""
    if len(content) > MOST_BYTES:
        raise UserError(f"the file has {len(content):,} bytes: at most {MOST_BYTES:,} are read")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"trace.{ending}"
        file.write_bytes(content)
        try:
            return read_trace(file, max_rows=MOST_ROWS, limits=LIMITS)
        except UserError as error:
            raise UserError(error.message, "the trace", error.line) from None


def figures(trace: Trace) -> dict[str, Any]:
    """All figures, by the names of docs/traces.md."""
    return analyse(trace)


def cards(found: Mapping[str, Any]) -> list[Card]:
    """The first figures to look at."""
    burst, reuse = found["interarrival_cv"], found.get("ideal")
    return [
        ("Requests", count(found["rows"]), f"over {found['span_s']:,.0f} s"),
        ("Rate", f"{_short(found['rate_per_s'])} /s", "mean over the trace's time"),
        ("Burstiness", _short(burst), "spread of the gaps over their mean; 1 is Poisson"),
        ("Prompt", f"{count(round(found['input']['mean']))} tokens", "mean"),
        ("Answer", f"{count(round(found['output']['mean']))} tokens", "mean"),
        ("Reuse at best", _share(reuse), "of prompt tokens, with a cache that forgets nothing"),
    ]


def _short(value: float | None) -> str:
    return "–" if value is None else significant(value, 3)


def _share(ideal: Mapping[str, Any] | None) -> str:
    return "no block ids" if ideal is None else f"{ideal['token_hit'] * 100:.1f} %"


def rate(trace: Trace) -> Rows:
    """Arrivals a second over BINS steps of the trace's time."""
    if trace.span_ns <= 0:
        return []
    counts, edges = np.histogram(trace.arrival_ns, bins=BINS, range=(0, trace.span_ns))
    width_s = trace.span_ns / BINS * 1e-9
    return [
        {"minutes": round(float(edge) * 1e-9 / 60, 3), "per_s": round(int(n) / width_s, 4)}
        for n, edge in zip(counts, edges, strict=False)
    ]


def lengths(found: Mapping[str, Any]) -> Rows:
    """Prompt and answer lengths, in tokens."""
    return [
        {"what": name, **found[key]} for name, key in (("prompt", "input"), ("answer", "output"))
    ]


def dispersion(found: Mapping[str, Any]) -> Rows:
    """Variance over mean of arrivals by length of the window."""
    return [{"window (s)": int(w), "variance / mean": v} for w, v in found["iod"].items()]


def reuse(found: Mapping[str, Any]) -> Rows:
    """Hit rate against the size of one LRU cache; none where the trace has no block ids."""
    curve = found.get("curve")
    if curve is None:
        return []
    unit = curve["unit_tokens"]
    return [
        {"tokens": size * unit, "hit": share * 100, "of": name}
        for name, key in (("tokens", "token_hit"), ("blocks", "block_hit"))
        for size, share in zip(curve["size"], curve[key], strict=True)
        if size > 0
    ]
