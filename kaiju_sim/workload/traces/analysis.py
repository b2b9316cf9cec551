"""What is in a trace: rate, burstiness, lengths, and reuse, under the names of docs/traces.md.

`analyse` gives one nested dictionary that prints as JSON: plain numbers, strings as keys, `None`
where a figure does not exist. Ratios are rounded to the digits that a trace of some thousand rows
supports; the functions under it return full precision.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kaiju_sim.errors import UserError
from kaiju_sim.workload.traces.distances import ReuseCurve, reuse_curve
from kaiju_sim.workload.traces.model import Ints, Trace
from kaiju_sim.workload.traces.reuse import Fleet, fleet_reuse, ideal_reuse

KV_SHARES = (0.5, 0.8, 0.95)
"""Shares of the ideal token hit whose cache sizes are given."""

IOD_WINDOWS_S = (1, 10, 30, 60)
"""Windows of the index of dispersion, seconds, where the trace is long enough."""

_NS = 1_000_000_000
Progress = Callable[[str], None]


def index_of_dispersion(trace: Trace, window_s: int) -> float | None:
    """Variance over mean of the arrivals per window (population variance); 1 for Poisson.

    Windows follow each other from the first arrival; the last, partial one is left out. `None`
    with fewer than two whole windows.
    """
    return dispersion(trace.arrival_ns, window_s * _NS)


def dispersion(arrival_ns: Ints, window_ns: int) -> float | None:
    """The same of arrival times, the first of which is 0."""
    windows = int(arrival_ns[-1]) // window_ns
    index = arrival_ns // window_ns
    # Counted by occupied windows only: a long, empty trace may have billions of others.
    _, counts = np.unique(index[index < windows], return_counts=True)
    total, squares = int(counts.sum()), int((counts**2).sum())
    if windows < 2 or total == 0:
        return None
    return (windows * squares - total**2) / (windows * total)


def interarrival_cv(trace: Trace) -> float | None:
    """Standard deviation over mean of the gaps between arrivals; 1 for Poisson."""
    gaps = np.diff(trace.arrival_ns)
    mean = gaps.mean() if len(gaps) else 0.0
    return float(gaps.std() / mean) if mean > 0 else None


def lengths(values: Ints) -> dict[str, float]:
    """Count, mean, quantiles (linear between ranks), largest and smallest of a length column."""
    p50, p90, p99 = (float(value) for value in np.percentile(values, (50, 90, 99)))
    return {
        "n": len(values),
        "mean": round(float(values.mean()), 1),
        "p50": p50,
        "p90": p90,
        "p99": p99,
        "max": float(values.max()),
        "min": float(values.min()),
    }


def analyse(
    trace: Trace,
    *,
    lru: Sequence[int] = (),
    fleet: Sequence[Fleet] = (),
    iod_s: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """All figures of a trace; `lru` and `fleet` ask for reuse at those capacities.

    `progress` is told the name of each reuse figure when it is done. Asking for reuse of a trace
    without block ids is a `UserError`.
    """
    if (lru or fleet) and trace.block_ids is None:
        raise UserError(f"trace {trace.name} has no block ids: --lru and --fleet need them")
    return {
        "name": trace.name,
        "format": trace.format,
        "sha256": trace.sha256,
        **_arrivals(trace),
        "input": lengths(trace.prompt_tokens),
        "output": lengths(trace.output_tokens),
        "iod": _dispersion(trace, iod_s),
        "interarrival_cv": _rounded(interarrival_cv(trace), 2),
        **_groups(trace),
        **(_reuse(trace, lru, fleet, progress) if trace.block_ids is not None else {}),
    }


def _arrivals(trace: Trace) -> dict[str, Any]:
    span_s = trace.span_ns / _NS
    return {
        "rows": trace.rows,
        "first_ms": _milliseconds(trace.first_ns),
        "last_ms": _milliseconds(trace.first_ns + trace.span_ns),
        "span_s": round(span_s, 3),
        "rate_per_s": round((trace.rows - 1) / span_s, 4) if span_s > 0 else None,
    }


def _milliseconds(value_ns: int) -> int | float:
    whole, rest = divmod(value_ns, 1_000_000)
    return value_ns / 1e6 if rest else whole


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _dispersion(trace: Trace, windows_s: Sequence[int] | None) -> dict[str, float | None]:
    values = {
        str(window): _rounded(index_of_dispersion(trace, window), 2)
        for window in (IOD_WINDOWS_S if windows_s is None else windows_s)
    }
    if windows_s is None:
        return {window: value for window, value in values.items() if value is not None}
    return values


def _groups(trace: Trace) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    if trace.session is not None:
        _, turns = np.unique(trace.session, return_counts=True)
        figures["sessions"] = len(turns)
        figures["turns"] = lengths(turns)
        several = float(turns[turns > 1].sum() / trace.rows)
        figures["share_of_requests_in_multi_turn_sessions"] = round(several, 4)
    if trace.character is not None:
        figures["characters"] = len(np.unique(trace.character))
    return figures


def _reuse(
    trace: Trace, lru: Sequence[int], fleet: Sequence[Fleet], progress: Progress | None
) -> dict[str, Any]:
    tell = progress or (lambda done: None)
    ideal, curve = ideal_reuse(trace), reuse_curve(trace)
    assert curve is not None
    figures: dict[str, Any] = {
        "block_tokens": trace.block_tokens if trace.block_lengths is None else None,
        "ideal": {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in ideal._asdict().items()
        },
    }
    figures["curve"] = curve_figures(curve)
    tell("ideal and LRU")
    if lru:
        figures["lru"] = {str(capacity): _pair(curve, capacity) for capacity in lru}
    if fleet:
        figures["fleet"] = {}
    for one in fleet:
        result = fleet_reuse(trace, one)
        figures["fleet"][str(one)] = [round(result.block, 4), round(result.imbalance, 3)]
        tell(f"fleet {one}")
    return figures


def curve_figures(curve: ReuseCurve) -> dict[str, Any]:
    """The reuse curve's points, and the smallest caches that reach shares of the ideal hit."""
    points = curve.points()
    return {
        "unit_tokens": curve.unit_tokens,
        "size": [point.size for point in points],
        "block_hit": [round(point.block, 4) for point in points],
        "token_hit": [round(point.token, 4) for point in points],
        "size_for_share": {f"{share:g}": curve.size_for(share) for share in KV_SHARES},
    }


def _pair(curve: ReuseCurve, size: int) -> list[float]:
    hit = curve.at(size)
    return [round(hit.block, 4), round(hit.token, 4)]
