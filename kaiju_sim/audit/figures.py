"""What simulated values are made of: figures of runs, and what is read off their tables.

`Figures` has a list per figure, one value per replication (null where a run has none). Functions
named in `simulated.py` turn the figures of one or more cells into one list, again a value per
replication: replications of two cells with one seed have the same users.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kaiju_sim.audit.functions import undone_kv
from kaiju_sim.catalog.models import find_model
from kaiju_sim.metrics.result import RunResult

Figures = Mapping[str, Any]
Values = list[float | None]
Measure = Callable[[Sequence[Figures]], Values]
NEVER_S = 3600.0
"""What a latency that is not reached counts as where a curve is followed through it."""
COMMON_KV_HEADS = 8
_OFFERED = "stated.messages_per_s"
QUANTILE = 0.99


def of_last(key: str) -> Measure:
    """A figure of the last cell."""
    return lambda cells: list(cells[-1][key])


def share_served(cells: Sequence[Figures]) -> Values:
    """Messages/s that the last cell completes, of those that are offered to it."""
    done, offered = (cells[-1][key] for key in ("throughput.messages_per_s", _OFFERED))
    return [_ratio(a, b) for a, b in zip(done, offered, strict=True)]


def prefill_per_message(figures: Figures) -> Values:
    """Prompt tokens that are computed, per message that is completed."""
    keys = ("throughput.prompt_tokens_per_s", "throughput.messages_per_s", "prefix_hit_rate")
    rows = zip(*(figures[key] for key in keys), strict=True)
    return [None if None in row else row[0] / row[1] * (1.0 - row[2]) for row in rows]


def prefill_ratio(cells: Sequence[Figures]) -> Values:
    """Prompt tokens computed per message, last cell over first."""
    first, last = prefill_per_message(cells[0]), prefill_per_message(cells[-1])
    return [_ratio(b, a) for a, b in zip(first, last, strict=True)]


def share(part: str, whole: str) -> Measure:
    """One figure of the last cell as a share of another."""
    return lambda cells: [
        _ratio(a, b) for a, b in zip(cells[-1][part], cells[-1][whole], strict=True)
    ]


def minutes(start: str, end: str) -> Measure:
    """Minutes from one moment of the last cell to another; None where one of them never came."""

    def measure(cells: Sequence[Figures]) -> Values:
        rows = zip(cells[-1][start], cells[-1][end], strict=True)
        return [None if None in row else (row[1] - row[0]) / 60.0 for row in rows]

    return measure


def refused_of_spike(cells: Sequence[Figures]) -> Values:
    """Messages wrongly refused for an incident, of all that were sent until it was put right."""
    names = ("incident.ledger.wrongly_refused_messages", "realised.messages_per_s")
    refused, rates = (cells[-1][name] for name in names)
    lasts = minutes("incident.at_s", "incident.acted_s")(cells)
    return [
        None if last is None else _ratio(n, rate * last * 60.0)
        for n, rate, last in zip(refused, rates, lasts, strict=True)
    ]


def generated_per_answer(figures: Figures) -> Values:
    """Tokens generated per message that is completed, in units of the window's length."""
    made, done = figures["throughput.generated_tokens_per_s"], figures["requests.completed"]
    return [_ratio(a, b) for a, b in zip(made, done, strict=True)]


def saved(work: Callable[[Figures], Values]) -> Measure:
    """Share of the work in the last cell that the first one does without."""

    def measure(cells: Sequence[Figures]) -> Values:
        ratios = (_ratio(a, b) for a, b in zip(work(cells[0]), work(cells[-1]), strict=True))
        return [None if ratio is None else 1.0 - ratio for ratio in ratios]

    return measure


def largest_load(cells: Sequence[Figures], limit_s: float) -> Values:
    """Messages/s that a GPU is offered where the p99 of TTFT first crosses the limit.

    The cells have one fleet under rising loads. Between two loads log p99 is a straight line. None
    where it starts above the limit, or never gets there.
    """
    found: Values = []
    for i in range(len(cells[0]["fleet.gpus"])):
        loads = [c[_OFFERED][i] / c["fleet.gpus"][i] for c in cells]
        found.append(_crossing(loads, [c["ttft_s.p99"][i] for c in cells], limit_s))
    return found


def _crossing(loads: Sequence[float], tails: Sequence[float | None], limit: float) -> float | None:
    logs = [math.log(NEVER_S if tail is None else tail) for tail in tails]
    goal = math.log(limit)
    if logs[0] > goal:
        return None
    for i in range(1, len(logs)):
        if logs[i] > goal:
            part = (goal - logs[i - 1]) / (logs[i] - logs[i - 1])
            return loads[i - 1] + part * (loads[i] - loads[i - 1])
    return None


def load_ratio(first: int, limit_s: float, other_s: float) -> Measure:
    """Load that a GPU carries in the cells after the first so many, over that in those.

    Each group of cells is a fleet under rising loads, with its own limit on the p99 of TTFT. Where
    fleets are as small as their limits allow, a message costs as much less.
    """

    def measure(cells: Sequence[Figures]) -> Values:
        usual = largest_load(cells[:first], limit_s)
        other = largest_load(cells[first:], other_s)
        return [_ratio(b, a) for a, b in zip(usual, other, strict=True)]

    return measure


def cost_ratio(first: int, limit_s: float) -> Measure:
    """Cost of a message in the cells after the first so many, over that in those: loads inverted.

    As `load_ratio`, with one limit.
    """
    loads = load_ratio(first, limit_s, limit_s)
    return lambda cells: [None if ratio is None else 1.0 / ratio for ratio in loads(cells)]


def _ratio(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def rewarm(result: RunResult) -> dict[str, Values]:
    """p99 of the time in which a replica is warm again after an edit.

    From the arrival of the first message there that is to the new definition to its first token:
    then the definition's KV is in the cache. Over all edits in the measured window and all
    replicas that serve the character afterwards.
    """
    rows = {name: result.requests[name].to_numpy() for name in _REWARM}
    found: dict[int, list[float]] = {}
    measured = rows["arrival_s"][result.requests["measured"].to_numpy(zero_copy_only=False)]
    low, high = float(measured.min()), float(measured.max())
    for event in result.events.to_pylist():
        if event["kind"] == "edit" and low <= event["time_s"] <= high:
            times = _first_tokens(rows, event)
            found.setdefault(event["replication"], []).extend(times)
    values = [float(np.quantile(found[key], QUANTILE)) for key in sorted(found)]
    return {"rewarm_s.p99": list(values)}


_REWARM = ("replication", "character", "replica", "arrival_s", "ttft_s")


def _first_tokens(rows: Mapping[str, Any], event: Mapping[str, Any]) -> list[float]:
    """TTFT of the first message to the character after the edit, on each replica."""
    character = int(event["subject"].removeprefix("character "))
    mine = (rows["replication"] == event["replication"]) & (rows["character"] == character)
    after = np.flatnonzero(mine & (rows["arrival_s"] >= event["time_s"]))
    order = after[np.argsort(rows["arrival_s"][after], kind="stable")]
    _, first = np.unique(rows["replica"][order], return_index=True)
    times = rows["ttft_s"][order[first]]
    return [float(time) for time in times if not np.isnan(time)]


def kv_saving(result: RunResult) -> dict[str, Values]:
    """KV that the dialogues' contexts would take with GQA-8 everywhere, over what they take.

    Contexts are those at the end of each message, as simulated; bytes per element are the same.
    """
    name = result.summary["fleet.model"]
    replication = result.requests["replication"].to_numpy()
    context = sum(result.requests[part].to_numpy() for part in ("prompt_tokens", "output_tokens"))
    saved: Values = []
    for number in np.unique(replication):
        lengths, counts = np.unique(context[replication == number], return_counts=True)
        usual = [undone_kv(name, float(n), COMMON_KV_HEADS) for n in lengths]
        stored = [find_model(name).kv_store_bytes(int(n)) for n in lengths]
        saved.append(float(np.dot(counts, usual) / np.dot(counts, stored)))
    return {"kv_saving": saved}


def incident(result: RunResult) -> dict[str, Values]:
    """Moments and ledger of the run's only incident, as `incident.` and their path."""
    (entry,) = result.summary["incidents"]
    return {f"incident.{path}": found["values"] for path, found in entry["intervals"].items()}


EXTRAS: dict[str, Callable[[RunResult], dict[str, Values]]] = {
    "rewarm": rewarm,
    "kv_saving": kv_saving,
    "incident": incident,
}
"""What is read off the tables or the ledger, by name."""
