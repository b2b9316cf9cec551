"""Every key of `summary.json`: its words, its unit, its definition.

The console, the HTML report and docs/metrics.md all read this one list, so a definition cannot
differ between them. Quantities are SI; fractions are 0-1, never percent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from kaiju_sim.report import definitions
from kaiju_sim.report.money import definitions as money
from kaiju_sim.report.safety.definitions import SAFETY

Kind = Literal["duration", "fraction", "count", "rate", "usd", "number", "text"]


@dataclass(frozen=True)
class Metric:
    """One key of the summary. `kind` chooses how it is printed."""

    key: str
    group: str
    label: str
    unit: str
    kind: Kind
    text: str


def _parse(words: str) -> list[Metric]:
    """Metrics from one text of `definitions`."""
    found: list[Metric] = []
    group = ""
    for line in filter(None, words.splitlines()):
        if line.startswith("["):
            group = line.strip("[]")
        elif line.startswith(" "):
            last = found.pop()
            found.append(replace(last, text=f"{last.text} {line.strip()}".strip()))
        else:
            key, label, unit, kind = (part.strip() for part in line.split("|"))
            found.append(Metric(key, group, label, unit, _kind(kind), ""))
    return found


def _kind(word: str) -> Kind:
    return next(kind for kind in get_args(Kind) if kind == word)


_LATENCIES = {
    "ttft_s": (
        "Time to first token",
        "From the message's arrival (before the safety gate) to its first token, with queueing.",
    ),
    "tpot_s": (
        "Time per output token",
        "(Last token - first token) / (output tokens - 1): one value per message, the first token "
        "not included. Messages of one output token have none.",
    ),
    "itl_s": (
        "Inter-token latency",
        "Every single gap between two tokens of one message, all messages pooled: a long answer "
        "weighs more than a short one.",
    ),
    "e2e_s": (
        "End-to-end latency",
        "From the message's arrival (before the safety gate) to its last token.",
    ),
    "queue_s": (
        "Queueing time",
        "From the message's arrival to the start of the first engine step that works on it.",
    ),
}

_STATISTICS = {
    "p50": "Half of the cohort is at or below this.",
    "p90": "90 % of the cohort is at or below this.",
    "p99": "99 % of the cohort is at or below this.",
    "mean": "Mean over completed messages only.",
}


def _latency_metrics() -> list[Metric]:
    """The five latency families: three quantiles, a mean, and the count ranked as infinite."""
    found = []
    for family, (label, text) in _LATENCIES.items():
        for statistic, meaning in _STATISTICS.items():
            key = f"{family}.{statistic}"
            words = f"{text} {meaning}"
            found.append(Metric(key, "Latency", f"{label}, {statistic}", "s", "duration", words))
        words = "Messages of the cohort that never got there; they rank as +infinity."
        key = f"{family}.count_inf"
        found.append(Metric(key, "Latency", f"{label}, not reached", "messages", "count", words))
    return found


def _pair_metrics() -> list[Metric]:
    """What the scenario states beside what came out, never derived from each other."""
    found = []
    for pair in _parse(definitions.PAIRS):
        for which, words in _PAIR_WORDS.items():
            key, label = f"{which}.{pair.key}", f"{pair.label}, {which}"
            found.append(replace(pair, key=key, label=label, text=f"{pair.text} {words}"))
    return found


_PAIR_WORDS = {
    "stated": "As the scenario states it; null if it does not.",
    "realised": "As it came out, over the measured time.",
}

METRICS: tuple[Metric, ...] = (
    *_parse(definitions.BEFORE_LATENCY),
    *_latency_metrics(),
    *_parse(definitions.AFTER_LATENCY),
    *_parse(money.COST_OF_KINDS),
    *_parse(money.MONEY),
    *_parse(SAFETY),
    *_pair_metrics(),
    *_parse(definitions.LAST),
)
"""All documented keys in the order in which they are written and shown."""

_RANK = {metric.key: place for place, metric in enumerate(METRICS)}


def ordered(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The summary in this list's order; keys that it does not know come last, sorted."""
    return dict(sorted(summary.items(), key=lambda item: (_RANK.get(item[0], len(_RANK)), item[0])))


def undocumented(summary: Mapping[str, Any]) -> list[str]:
    """Keys without a definition (a test asserts that a real run has none)."""
    return sorted(set(summary) - set(_RANK))
