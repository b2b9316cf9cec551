"""Latency histograms as vLLM keeps them: cumulative counts in its buckets, at each scrape."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kaiju_sim.engine.layout import Arr

if TYPE_CHECKING:
    import pyarrow as pa

_LONG = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0),
    *(120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
_FIRST = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0),
    *(7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
_TOKEN = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5),
    *(10.0, 20.0, 40.0, 80.0),
)


@dataclass(frozen=True)
class Family:
    """A histogram of vLLM's, and which column of requests.parquet it observes."""

    name: str
    help: str
    column: str
    ends: str
    """The column (seconds after arrival) that says when it is observed."""
    bounds: tuple[float, ...]
    """Upper ends of the buckets, those of vllm/v1/metrics/loggers.py."""
    by_gap: bool = False
    """One observation for each gap between tokens, not for each message."""


FAMILIES = (
    Family(
        "vllm:time_to_first_token_seconds",
        "Arrival to first token, the safety gate and queues included.",
        *("ttft_s", "ttft_s", _FIRST),
    ),
    Family(
        "vllm:inter_token_latency_seconds",
        "A message's mean gap between tokens, counted once for each gap: sum and count are exact,"
        " buckets are those of the means.",
        *("tpot_s", "e2e_s", _TOKEN),
        by_gap=True,
    ),
    Family(
        "vllm:request_time_per_output_token_seconds",
        "Mean gap between tokens of each message.",
        *("tpot_s", "e2e_s", _TOKEN),
    ),
    Family(
        "vllm:e2e_request_latency_seconds",
        "Arrival to last token.",
        *("e2e_s", "e2e_s", _LONG),
    ),
    Family(
        "vllm:request_queue_time_seconds",
        "Arrival to the first engine step that works on the message.",
        *("queue_s", "e2e_s", _LONG),
    ),
)


@dataclass(frozen=True)
class Observed:
    """A histogram of one engine: cumulative counts by (scrape, bucket; +Inf last), and sums."""

    counts: Arr
    sums: Arr


def observed(rows: "pa.Table", family: Family, scrapes_s: Arr) -> Observed:
    """The histogram of one engine's messages at each scrape: what was observed up to it."""
    value, after = column(rows, family.column), column(rows, family.ends)
    at = column(rows, "arrival_s") + after
    weight = column(rows, "output_tokens") - 1 if family.by_gap else np.ones(value.size)
    kept = ~np.isnan(value) & ~np.isnan(at) & (at <= scrapes_s[-1])
    value, at, weight = value[kept], at[kept], weight[kept]
    place = np.searchsorted(scrapes_s, at, side="left")
    bucket = np.searchsorted(np.array(family.bounds), value, side="left")
    wide = len(family.bounds) + 1
    flat = np.bincount(place * wide + bucket, weight, scrapes_s.size * wide)
    counts = flat.reshape(scrapes_s.size, wide).cumsum(axis=0).cumsum(axis=1)
    sums = np.bincount(place, value * weight, scrapes_s.size).cumsum()
    return Observed(counts.astype(np.int64), sums)


def column(rows: "pa.Table", name: str) -> Arr:
    """A column as floats, NaN for null."""
    return np.asarray(rows[name].to_numpy(zero_copy_only=False), dtype=np.float64)
