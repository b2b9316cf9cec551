"""Burn-rate alerts of a run: its messages as good and bad ones over time, and what fires.

Messages count when their end is known: an answer's last token, the moment a message is shed, fails
or is given up. What is in flight at the end counts nowhere. Where only a sample of the dialogues is
kept (`results.request_rows`), shares are the sample's.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kaiju_sim.engine.layout import Arr
from kaiju_sim.metrics.levels.burn import episodes, false_alarm, firing
from kaiju_sim.scenario.parts.alerts import Alerts, BurnRule
from kaiju_sim.scenario.schema import Scenario

COMPLETED, LOST = 0, (1, 3, 4)
"""Fates in the log: completed; failed, shed, given up."""
RULES = ("fast", "slow")
FIGURES = (*("fired", "first_s", "firing_share", "false_alarm", "false_alarm_at_target"),)
Event = tuple[float, str, str, str]


@dataclass(frozen=True)
class Messages:
    """Messages by bin of the time at which their end was known."""

    bin_s: float
    total: Arr
    bad: Arr
    share: float
    """Share of all messages that these are."""


def messages_of(s: Scenario, alerts: Alerts, log: Arr, share: float) -> Messages:
    """Good and bad messages of the whole run."""
    bin_s = alerts.every * alerts.scale
    known = (log["status"] == COMPLETED) | np.isin(log["status"], LOST)
    log = log[known]
    at = np.where(log["end"] >= 0, log["end"], log["arrival"])
    count = max(1, int(np.ceil(s.run.horizon / bin_s - 1e-9)))
    place = (at * 1e-9 / bin_s).astype(np.int64)
    inside = place < count
    good = log["status"] == COMPLETED
    if alerts.indicator == "attainment":
        good &= met(s, log)
    bad = np.bincount(place[inside & ~good], minlength=count)
    return Messages(bin_s, np.bincount(place[inside], minlength=count), bad, share)


def met(s: Scenario, log: Arr) -> Arr:
    """Whether completed messages met every stated objective."""
    paid = s.slo.ttft if s.slo.paid_ttft is None else s.slo.paid_ttft
    ttft = np.where(log["tier"] == 0, limit_ns(paid), limit_ns(s.slo.ttft))
    tpot = (log["end"] - log["first"]) / np.maximum(log["out"] - 1, 1)
    return np.asarray(
        (log["first"] - log["arrival"] <= ttft)
        & ((tpot <= limit_ns(s.slo.tpot)) | (log["out"] < 2))
        & (log["end"] - log["arrival"] <= limit_ns(s.slo.e2e))
    )


def limit_ns(objective_s: float | None) -> float:
    """An objective in ns; none is infinite."""
    return np.inf if objective_s is None else round(objective_s * 1e9)


def alert_figures(s: Scenario, log: Arr, share: float) -> dict[str, Any]:
    """The keys `slo.alert.*` of the summary; null where no alerts are stated."""
    alerts = s.slo.alerts
    found: dict[str, Any] = {f"slo.alert.{r}.{name}": None for r in RULES for name in FIGURES}
    if alerts is None or not log.size:
        return found
    messages = messages_of(s, alerts, log, share)
    for name in RULES:
        figures = figures_of(s, alerts, getattr(alerts, name), messages)
        found |= {f"slo.alert.{name}.{key}": value for key, value in figures.items()}
    return found


def fires_of(s: Scenario, alerts: Alerts, rule: BurnRule, m: Messages) -> Arr:
    """Whether a rule fires at each evaluation; none before the measured time."""
    long, short = (bins_of(alerts, w) for w in (rule.long, rule.short))
    fires = firing(m.total, m.bad, long, short, threshold_of(alerts, rule))
    fires[: int(s.run.measured_from / m.bin_s)] = False
    return fires


def figures_of(s: Scenario, alerts: Alerts, rule: BurnRule, m: Messages) -> dict[str, Any]:
    """What a rule did, and what it does in vain."""
    fires = fires_of(s, alerts, rule, m)
    first = int(s.run.measured_from / m.bin_s)
    total, bad = m.total[first:], m.bad[first:]
    rate = total.sum() / max(1, total.size) / m.share
    short, long = (bins_of(alerts, w) * rate for w in (rule.short, rule.long))
    threshold = threshold_of(alerts, rule)
    own = float(bad.sum() / total.sum()) if total.sum() else 0.0
    return {
        "fired": episodes(fires),
        "first_s": float((np.argmax(fires) + 1) * m.bin_s) if fires.any() else None,
        "firing_share": float(fires[first:].mean()) if total.size else None,
        "false_alarm": false_alarm(short, long, own, threshold),
        "false_alarm_at_target": false_alarm(short, long, 1 - alerts.target, threshold),
    }


def bins_of(alerts: Alerts, window_s: float) -> int:
    """A window in evaluations: both are scaled alike."""
    return max(1, round(window_s / alerts.every))


def threshold_of(alerts: Alerts, rule: BurnRule) -> float:
    """The bad share at which a rule fires."""
    return rule.burn * (1 - alerts.target)


def alert_events(s: Scenario, log: Arr) -> list[Event]:
    """When each rule began and ceased to fire, as rows of events.parquet."""
    alerts = s.slo.alerts
    if alerts is None or not log.size:
        return []
    m = messages_of(s, alerts, log, 1.0)
    found: list[Event] = []
    for name in RULES:
        rule = getattr(alerts, name)
        fires = fires_of(s, alerts, rule, m).astype(np.int8)
        for at in np.flatnonzero(np.diff(fires, prepend=0)):
            what = "fires" if fires[at] else "ends"
            detail = f"{what}: {rule.burn:g} x budget"
            found.append(((int(at) + 1) * m.bin_s, "alert", name, detail))
    return sorted(found)
