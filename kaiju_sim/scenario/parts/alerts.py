"""Burn-rate alerts on a service level: what is counted, the target, the two rules."""

from typing import Literal

from pydantic import Field, model_validator

from kaiju_sim.scenario.base import Part
from kaiju_sim.scenario.quantities import PositiveSeconds


class BurnRule(Part):
    """An alert fires while the error budget burns this fast over both of its windows."""

    burn: float = Field(gt=0, le=1e6)
    """Bad share of the messages / the budget's share (1 - target)."""
    long: PositiveSeconds
    """The window that makes sure that it matters."""
    short: PositiveSeconds
    """The window that makes it end soon after the fault does."""

    @model_validator(mode="after")
    def _ordered(self) -> "BurnRule":
        if self.short > self.long:
            raise ValueError("the short window of a burn-rate rule must not exceed the long one")
        return self


class Alerts(Part):
    """Multi-window burn-rate alerts (Google's SRE workbook, chapter 5, table 5-8).

    2 % of a 30-day budget in an hour is a burn of 14.4, 5 % in six hours is 6.
    """

    indicator: Literal["availability", "attainment"] = "availability"
    """`availability`: failed, shed and given-up messages are bad; `attainment`: those that miss an
    objective too. A message counts when its end is known."""
    target: float = Field(default=0.999, gt=0, lt=1)
    """Share of good messages that is the objective (0.999: 43 minutes a month)."""
    fast: BurnRule = BurnRule(burn=14.4, long=3600.0, short=300.0)
    """The rule that pages at once."""
    slow: BurnRule = BurnRule(burn=6.0, long=21600.0, short=1800.0)
    """The rule that pages for a slower burn."""
    every: PositiveSeconds = 60.0
    """Time between evaluations."""
    scale: float = Field(default=1.0, gt=0, le=1)
    """All windows and `every` are this much shorter than stated, for runs that are shorter than
    they are: with 0.1 the fast rule looks at 6 min and 30 s. Fewer messages are in a window then,
    so there are more false alarms."""

    @model_validator(mode="after")
    def _evaluated(self) -> "Alerts":
        if self.every > min(self.fast.short, self.slow.short):
            raise ValueError("slo.alerts.every must not exceed the shortest window")
        return self
