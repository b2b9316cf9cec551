"""OpenMetrics text of a run: what Prometheus would have scraped from a fleet of vLLM servers.

Names, labels and buckets are vLLM's (vllm/v1/metrics/loggers.py), `engine` is the replica's number
through the fleet. Each sample has the simulated time as its stamp, so the text is for backfill
(`promtool tsdb create-blocks-from openmetrics`), not for scraping. The format is OpenMetrics 1.0:
a family's samples together, one engine after the other, times rising, `# EOF` at the end.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kaiju_sim.engine.layout import Arr
from kaiju_sim.errors import UserError
from kaiju_sim.exports.histograms import FAMILIES, Family, column, observed
from kaiju_sim.report.rundir import RunDirectory

if TYPE_CHECKING:
    import pyarrow as pa

MOST_LINES = 3_000_000
"""About 300 MB of text."""
LARGEST_STAMP_S = 4e9


@dataclass(frozen=True)
class Gauge:
    """A state of the engine at each scrape: the sum of columns, or a ratio of two."""

    name: str
    help: str
    parts: tuple[str, ...]
    whole: str | None = None


@dataclass(frozen=True)
class Counter:
    """A total that only grows; `label` follows the engine's own labels."""

    name: str
    help: str
    part: str
    label: str = ""


GAUGES = (
    Gauge(
        "vllm:num_requests_running",
        "Messages that are prefilled or decode.",
        ("running", "prefilling"),
    ),
    Gauge("vllm:num_requests_waiting", "Messages that wait at the engine.", ("waiting",)),
    Gauge(
        "vllm:kv_cache_usage_perc",
        "KV blocks that messages hold, of all (1 is all).",
        ("kv_global_used",),
        "kv_global_blocks",
    ),
)
COUNTERS = (
    Counter(
        "vllm:prompt_tokens",
        "Prompt tokens of messages that were prefilled, cached ones included.",
        "prompt_tokens",
    ),
    Counter("vllm:generation_tokens", "Output tokens.", "output_tokens"),
    Counter(
        "vllm:prefix_cache_queries", "Prompt tokens looked up in the prefix cache.", "prompt_tokens"
    ),
    Counter("vllm:prefix_cache_hits", "Prompt tokens found there.", "cached_tokens"),
    Counter(
        "vllm:request_success",
        "Messages that got their last token.",
        "completed",
        "finished_reason",
    ),
)


@dataclass(frozen=True)
class Engine:
    """One replica: when it was scraped, its rows of replicas.parquet and of requests.parquet."""

    labels: str
    times_s: Arr
    began_s: float
    """When its first tick began: its counters are 0 there."""
    ticks: "pa.Table"
    kept: Arr
    """Ticks at which it is scraped."""
    requests: "pa.Table"


def openmetrics(
    run: RunDirectory, *, start_s: float = 0.0, scrape_s: float | None = None, replication: int = 0
) -> Iterator[str]:
    """The text of one replication, line by line with line ends.

    `start_s` is added to simulated times (Unix seconds of the simulated time 0); `scrape_s` thins
    the ticks to one in so many seconds. UserError if there is nothing to tell, or far too much.
    """
    if not 0 <= start_s <= LARGEST_STAMP_S:
        raise UserError("the start has to be between 1970 and 2096")
    engines = engines_of(run, replication, scrape_s)
    check_size(engines)
    share = run.summary.get("results.sample_share") or 1.0
    return _lines(engines, start_s, float(share))


def engines_of(run: RunDirectory, replication: int, scrape_s: float | None) -> list[Engine]:
    """The replicas of a replication, by number."""
    ticks, requests = run.table("replicas"), run.table("requests")
    ticks = ticks.filter(_equal(ticks, "replication", replication))
    requests = requests.filter(_equal(requests, "replication", replication))
    if not ticks.num_rows:
        raise UserError(f"{run.path}: no rows of replication {replication} in replicas.parquet")
    model = str(run.summary.get("fleet.model") or "model")
    times = np.unique(column(ticks, "time_s"))
    starts = dict(zip(times, [0.0, *times[:-1]], strict=True))
    found = []
    for number in np.unique(column(ticks, "replica")).astype(int):
        rows = ticks.filter(_equal(ticks, "replica", number))
        at = column(rows, "time_s")
        mine = requests.filter(_equal(requests, "replica", number))
        labels = f'engine="{number}",model_name="{escaped(model)}"'
        began = float(starts[at[0]])
        found.append(Engine(labels, at, began, rows, scraped(at, scrape_s), mine))
    return found


def _equal(table: "pa.Table", name: str, value: int) -> "pa.Array":
    import pyarrow.compute as pc

    return pc.equal(table[name], int(value))


def scraped(times_s: Arr, scrape_s: float | None) -> Arr:
    """Which ticks are told: the last of each interval of `scrape_s`; without one, all."""
    if scrape_s is None:
        return np.arange(times_s.size)
    interval = np.ceil(times_s / scrape_s - 1e-6)
    return np.flatnonzero(np.append(np.diff(interval) > 0, True))


def check_size(engines: Sequence[Engine]) -> None:
    """UserError if the text would have more lines than Prometheus is likely to be given."""
    each = len(GAUGES) + len(COUNTERS) + sum(len(f.bounds) + 3 for f in FAMILIES)
    lines = each * sum(e.kept.size + 1 for e in engines)
    if lines > MOST_LINES:
        raise UserError(
            f"the OpenMetrics text would have {lines:,} lines, over {MOST_LINES:,}: scrape less"
            " often (--scrape 60s)"
        )


def escaped(text: str) -> str:
    """A label's value in the format's escapes."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def stamp(seconds: float) -> str:
    """A time stamp in seconds, to the millisecond that Prometheus keeps."""
    return f"{seconds:.3f}"


def _lines(engines: Sequence[Engine], start_s: float, share: float) -> Iterator[str]:
    for gauge in GAUGES:
        yield from _head(gauge.name, "gauge", gauge.help)
        for e in engines:
            yield from _gauge(gauge, e, start_s)
    for counter in COUNTERS:
        yield from _head(counter.name, "counter", counter.help)
        for e in engines:
            yield from _counter(counter, e, start_s)
    sampled = "" if share >= 1 else f" Of a sample of {share:.6g} of the dialogues."
    for family in FAMILIES:
        yield from _head(family.name, "histogram", family.help + sampled, "seconds")
        for e in engines:
            yield from _histogram(family, e, start_s)
    yield "# EOF\n"


def _head(name: str, kind: str, words: str, unit: str = "") -> Iterator[str]:
    yield f"# TYPE {name} {kind}\n"
    if unit:
        yield f"# UNIT {name} {unit}\n"
    yield f"# HELP {name} {escaped(words)}\n"


def _gauge(gauge: Gauge, e: Engine, start_s: float) -> Iterator[str]:
    values = sum(column(e.ticks, part) for part in gauge.parts)
    if gauge.whole is not None:
        whole = column(e.ticks, gauge.whole)
        values = np.divide(values, whole, out=np.zeros(whole.size), where=whole > 0)
    for i in e.kept:
        at = stamp(start_s + e.times_s[i])
        yield f"{gauge.name}{{{e.labels}}} {number(np.asarray(values)[i])} {at}\n"


def _counter(counter: Counter, e: Engine, start_s: float) -> Iterator[str]:
    labels = f'{e.labels},{counter.label}="stop"' if counter.label else e.labels
    name = f"{counter.name}_total{{{labels}}}"
    totals = column(e.ticks, counter.part).cumsum()
    yield f"{name} 0 {stamp(start_s + e.began_s)}\n"
    for i in e.kept:
        yield f"{name} {number(totals[i])} {stamp(start_s + e.times_s[i])}\n"


def _histogram(family: Family, e: Engine, start_s: float) -> Iterator[str]:
    """Zero at the beginning, so that rates are right from the first scrape on."""
    times = np.concatenate([[e.began_s], e.times_s[e.kept]])
    found = observed(e.requests, family, times)
    ends = [*(repr(bound) for bound in family.bounds), "+Inf"]
    heads = [f'{family.name}_bucket{{{e.labels},le="{end}"}}' for end in ends]
    for i, at_s in enumerate(times):
        at = stamp(start_s + at_s)
        row = found.counts[i]
        for head, n in zip(heads, row, strict=True):
            yield f"{head} {n} {at}\n"
        yield f"{family.name}_count{{{e.labels}}} {row[-1]} {at}\n"
        yield f"{family.name}_sum{{{e.labels}}} {number(found.sums[i])} {at}\n"


def number(value: float) -> str:
    """The shortest text that reads back to the value; whole ones without a point."""
    return str(int(value)) if value == int(value) else repr(float(value))
