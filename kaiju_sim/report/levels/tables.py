"""Burn-rate alerts as a table for console and report: what fired, and how often in vain."""

from collections.abc import Mapping
from typing import Any

from kaiju_sim.report.format import MISSING, percent, show, significant, with_half
from kaiju_sim.report.safety.tables import Words

Values = Mapping[str, Any]
RULES = ("fast", "slow")
_LEAST_SHOWN = 1e-12


def alert_tables(summary: Values, intervals: Values) -> list[Words]:
    """One row for each rule; nothing where no alerts are stated.

    `firing` is the share of the evaluations at which it fired: without a fault, its measured
    false-alarm rate. The last two columns are what independent messages with the run's own bad
    share, and with the target's, would give.
    """
    if summary.get("slo.alert.fast.fired") is None:
        return []
    heads = ("burn-rate alert", "fired", "first", "firing", "false alarms", "at the target")
    return [Words(heads, [_row(summary, intervals, rule) for rule in RULES])]


def _row(summary: Values, intervals: Values, rule: str) -> tuple[str, ...]:
    """How often and when it fired; then shares of the evaluations."""
    start = f"slo.alert.{rule}"
    fired, share = f"{start}.fired", f"{start}.firing_share"
    return (
        rule,
        with_half(_times(summary.get(fired)), intervals, fired),
        _first(summary.get(fired), summary.get(f"{start}.first_s")),
        with_half(show(summary.get(share), "fraction"), intervals, share),
        small_share(summary.get(f"{start}.false_alarm")),
        small_share(summary.get(f"{start}.false_alarm_at_target")),
    )


def _times(fired: float | None) -> str:
    """How often it fired: a whole number, but for a mean of replications."""
    return show(fired, "number" if fired and fired % 1 else "count")


def _first(fired: float | None, first_s: float | None) -> str:
    """When it first fired; of several replications it may have fired in some only."""
    if first_s is not None:
        return show(first_s, "duration")
    return "in some runs" if fired else "never"


def small_share(value: float | None) -> str:
    """A share that may be far below a percent: two digits of it; below 1e-12 next to nothing."""
    if value is None:
        return MISSING
    if value >= 0.01 or value == 0:
        return percent(value)
    return f"{significant(value * 100, 2)} %" if value >= _LEAST_SHOWN else "< 1e-10 %"
