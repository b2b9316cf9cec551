"""What is compared: the statistics of a run, measured or simulated, by the same definitions.

Latencies are of the messages that were due in the measured time, in seconds from the moment at
which they were handed in; ITL is of all gaps that end in that time; throughput is the tokens
delivered in it.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from calibrate.fidelity.outcome import DONE, Ints, Outcome
from calibrate.fidelity.workload import Workload
from calibrate.fidelity.workloads.catalogue import CAPACITY
from kaiju_sim.sketch import quantile_ns

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
MEAN = "mean"
LATENCIES = ("ttft", "tpot", "itl", "e2e", "queue")
THROUGHPUT = "throughput"
CAPACITY_METRICS = ("capacity_messages_per_s", "capacity_tokens_per_s")
SETTLED = 0.2
"""Of the capacity run's messages so many are completed before it counts."""

Figures = Mapping[tuple[str, str], float]
"""By metric and statistic: seconds, tokens/s or messages/s."""


def figures(outcome: Outcome, workload: Workload) -> Figures:
    """All statistics of a run."""
    if workload.name == CAPACITY:
        return capacity(outcome)
    chosen = outcome.cohort(workload.arrivals_ns, workload.warm_s, workload.seconds)
    found: dict[tuple[str, str], float] = {}
    for metric in LATENCIES:
        if metric == "itl":
            found |= _of_gaps(outcome)
        else:
            found |= _of_values(metric, latency(outcome, metric)[chosen & has(outcome, metric)])
    found[THROUGHPUT, MEAN] = _delivered(outcome, workload)
    return found


def latency(outcome: Outcome, metric: str) -> NDArray[np.float64]:
    """Of each message, in seconds; meaningless for those that are not done."""
    first, end, arrival = outcome.first, outcome.end, outcome.arrival
    spans: dict[str, Ints] = {
        "ttft": first - arrival, "e2e": end - arrival, "queue": outcome.admit - arrival,
    }  # fmt: skip
    if metric == "tpot":
        return np.asarray((end - first) / np.maximum(outcome.output - 1, 1) * 1e-9)
    return np.asarray(spans[metric] * 1e-9)


def has(outcome: Outcome, metric: str) -> NDArray[np.bool_]:
    """Which messages have that latency: an answer of one token has no TPOT."""
    return np.asarray(outcome.output > (1 if metric == "tpot" else 0))


def _of_values(metric: str, values: NDArray[np.float64]) -> Figures:
    if not values.size:
        return {}
    found = {(metric, name): float(np.quantile(values, q)) for name, q in QUANTILES.items()}
    return {**found, (metric, MEAN): float(values.mean())}


def _of_gaps(outcome: Outcome) -> Figures:
    count = int(outcome.itl.sum())
    if not count:
        return {}
    at = {name: quantile_ns(outcome.itl, q) for name, q in QUANTILES.items()}
    found = {("itl", name): value * 1e-9 for name, value in at.items() if value is not None}
    return {**found, ("itl", MEAN): outcome.itl_ns / count * 1e-9}


def _delivered(outcome: Outcome, workload: Workload) -> float:
    """Output tokens/s in the measured time: first tokens, and those that end a gap."""
    since, until = workload.warm_s * 1e9, workload.seconds * 1e9
    first = int(((outcome.first > since) & (outcome.first <= until)).sum())
    return (first + int(outcome.itl.sum())) / (workload.seconds - workload.warm_s)


def capacity(outcome: Outcome) -> Figures:
    """What is completed per second while messages wait: from the time at which `SETTLED` of all are
    completed until the last one is admitted."""
    done = outcome.state == DONE
    ends = np.sort(outcome.end[done])
    if ends.size < 10:
        return {}
    begin, end = int(ends[int(SETTLED * ends.size)]), int(outcome.admit.max())
    inside = done & (outcome.end > begin) & (outcome.end <= end)
    seconds = (end - begin) * 1e-9
    if seconds <= 0 or not inside.any():
        return {}
    tokens = int(outcome.output[inside].sum())
    values = int(inside.sum()) / seconds, tokens / seconds
    return {(name, MEAN): value for name, value in zip(CAPACITY_METRICS, values, strict=True)}
