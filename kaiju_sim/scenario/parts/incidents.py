"""Incidents: a fault, how it is noticed, who acts when, and what it costs (docs/incidents.md)."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from kaiju_sim.scenario.assumed import Assumed, AssumedShare, assumed, assumed_share
from kaiju_sim.scenario.base import Part
from kaiju_sim.scenario.parts.faults import Fault
from kaiju_sim.scenario.quantities import PositiveSeconds, Seconds, Times, as_tuple

Signal = Literal[
    "prefix_hit_rate",
    "ttft_p50_s",
    "ttft_p99_s",
    "tpot_p99_s",
    "shed_share",
    "error_share",
    "waiting_per_replica",
    "silent_replicas",
    "block_share",
    "scale_kl_nats",
    "persona_score",
]
"""What a monitor can watch; `incidents.signals` computes each."""


class Detection(Part):
    """The alarm: a signal of the running fleet beyond a threshold for some time."""

    signal: Signal = "ttft_p99_s"
    """`prefix_hit_rate`: cached / prompt tokens of prompts computed in the window; `ttft_p50_s`,
    `ttft_p99_s`, `tpot_p99_s`: quantiles of the answers that ended in it; `shed_share`: shed / sent
    messages; `error_share`: failed, given up and shed ones / sent; `waiting_per_replica`: messages
    in queues now / replicas in service; `silent_replicas`: replicas that are paid for and answer no
    health check now; `block_share`: messages that the safety gate refuses / sent;
    `scale_kl_nats`: the largest divergence of a shard's int8 KV from the calibrated one, now;
    `persona_score`: mean judge score, calibrated, of `evals.persona.conversations` conversations
    judged in the window."""
    above: float | None = Field(default=None, ge=0)
    """The alarm condition holds while the signal is above this."""
    below: float | None = Field(default=None, ge=0)
    """Or while it is below this."""
    window: PositiveSeconds = 60.0
    """The signal is of the last so much time."""
    interval: PositiveSeconds = 10.0
    """Time between two looks at it."""
    delay: Seconds = 15.0
    """Age of a metric when the monitor first sees it."""
    hold: Seconds = 60.0
    """The condition must hold for so long before the alarm rings, and be false for so long before
    recovery is verified."""
    late: Seconds = 0.0
    """The alarm reaches nobody for this long (the detection-delay curve varies it)."""

    @model_validator(mode="after")
    def _one(self) -> "Detection":
        if (self.above is None) == (self.below is None):
            raise ValueError("incidents: detection needs either above or below")
        return self


_MTTR = "the case study's incidents take 15 to 60 min; it gives no distribution"


class Response(Part):
    """People: from the alarm to the remedy in effect, a lognormal fitted to two quantiles."""

    mttr_p50_s: Assumed = assumed(*(900, 120, 3600, _MTTR, "U"))
    """Median time from the alarm to the remedy, seconds."""
    mttr_p99_s: Assumed = assumed(*(3600, 1800, 14400, _MTTR, "U"))
    """Its 99th percentile, seconds."""
    page_share: AssumedShare = assumed_share(*(0.3, 0.1, 0.6, "no source: an even guess", "U"))
    """Share of that time that goes into paging and triage; the rest is work on the remedy."""
    remedy: bool = True
    """Whether anybody applies the fault's remedy; without, only what heals by itself does."""

    @model_validator(mode="after")
    def _ordered(self) -> "Response":
        if not 0 < self.mttr_p50_s.value <= self.mttr_p99_s.value:
            raise ValueError("incidents: response needs 0 < mttr_p50_s <= mttr_p99_s")
        return self


_CHURN = "the case study asserts 0.1 % of those affected"


class Churn(Part):
    """Subscribers who leave for what happened to them; the price is that of `economics`."""

    cancel_share: AssumedShare = assumed_share(*(0.001, 0.0001, 0.01, _CHURN, "U"))
    """Share of the affected subscribers who cancel."""
    months: Assumed = assumed(
        *(12, 1, 24, "the case study counts 12 months in one place and 1 in another", "U")
    )
    """Months of subscription that are lost with each of them."""


class Incident(Part):
    """A fault, its detection, the response to it, and what it costs."""

    name: str = Field(min_length=1, max_length=100)
    """Name in events and in the ledger."""
    enabled: bool = True
    """False: nothing of it happens, and no byte of the run is changed by it."""
    at: PositiveSeconds
    """When the fault strikes, in each of `cells`."""
    cells: Annotated[tuple[int, ...], BeforeValidator(as_tuple)] = ()
    """Numbers of the cells that it strikes; none: all."""
    fault: Fault
    """What happens, by `kind`."""
    detection: Detection
    """How it is noticed."""
    response: Response = Response()
    """Who acts, and when."""
    churn: Churn = Churn()
    """What affected users do."""
    delays: Times = ()
    """Further detection delays to price, each by one more run (`detection.late`)."""


def check_incident(s: Any, incident: Incident) -> None:
    """ValueError for a fault that the fleet of scenario `s` cannot have."""
    fault, name = incident.fault, f"incidents: {incident.name}"
    if s.run.warm_up == "auto" and incident.enabled:
        raise ValueError(f"{name}: give run.warm_up; a fault is no transient to be cut off")
    if max(incident.cells, default=0) >= s.fleet.cells or min(incident.cells, default=0) < 0:
        raise ValueError(f"{name}: cells must be numbers under fleet.cells")
    if fault.kind == "table_loss" and s.router.policy != "affinity":
        raise ValueError(f"{name}: only router.policy affinity has a table to lose")
    if fault.kind == "table_loss" and s.traffic.kind == "replay":
        raise ValueError(f"{name}: a trace does not say what caches hold of whom")
    if fault.kind in ("viral", "edit_storm", "midnight") and s.traffic.kind == "replay":
        raise ValueError(f"{name}: the dialogues and prompts of a replay are the trace's own")
    if fault.kind == "replica_loss" and (fault.replicas is None) == (fault.share is None):
        raise ValueError(f"{name}: give either replicas or share")
    if fault.kind == "viral" and fault.character >= s.characters.count:
        raise ValueError(f"{name}: character must be under characters.count")
    if fault.kind == "bad_rollout" and s.steptime.kind in ("constant", "exponential"):
        raise ValueError(f"{name}: slowdown is of curves; steptime.kind is {s.steptime.kind}")
    if fault.kind == "false_positives" and s.safety.pre == "none":
        raise ValueError(f"{name}: give safety.pre; there is no classifier that could be wrong")
    if fault.kind == "persona_drift" and fault.drop.value > s.evals.persona.quality.value - 1:
        raise ValueError(f"{name}: drop leaves less than 1, the lowest score")
    if fault.kind == "int8_drift" and fault.shard >= s.fleet.replicas // s.fleet.unit:
        raise ValueError(f"{name}: shard must be a number under the shards of a cell")
