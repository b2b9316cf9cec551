"""The monthly bill, line by line. Staff, offices and taxes are excluded.

Every line is a product of a quantity of the run and of assumed prices; docs/economics.md has the
formulas.
"""

from dataclasses import dataclass, fields

from kaiju_sim.economics.cost.usage import GIB, Usage
from kaiju_sim.economics.plan.planner import HOURS_PER_MONTH
from kaiju_sim.economics.values import GPU_PRICE, SERVER_PRICE, STEP_TIME, Values
from kaiju_sim.scenario.parts.economics import Purchase

MONTH_S = HOURS_PER_MONTH * 3600.0


@dataclass(frozen=True)
class Bill:
    """A month's bill in USD, by what it is for."""

    gpu: float
    """GPUs provisioned, busy or not."""
    host_memory: float
    """Host memory beyond what comes with the GPUs."""
    storage: float
    """Dialogues kept."""
    network: float
    """Answers sent."""
    cdn: float
    """Pictures and the client."""
    safety: float
    """Safety classifiers that are paid by the token."""
    training: float
    """Training written off."""
    safety_servers: float = 0.0
    """CPU servers of the safety gate."""

    @property
    def total(self) -> float:
        """The sum of all lines."""
        return sum(self.lines().values())

    def lines(self) -> dict[str, float]:
        """The lines by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class Month:
    """What is served in a month."""

    messages: float
    uncached: float
    """Prompt tokens computed."""
    cached: float
    """Prompt tokens found in caches."""
    output: float
    """Tokens delivered."""
    classified: float
    """Tokens read by classifiers that are paid by the token."""
    conversation_hours: float
    """Dialogues alive x hours; 0 outside closed loops."""


def month_of(usage: Usage, values: Values) -> Month:
    """A month of the measured rates, at the average load and the demand assumed."""
    scale = values["average_load"] * values["demand"]
    seconds = MONTH_S * scale
    return Month(
        messages=usage.messages_per_s * seconds,
        uncached=usage.uncached_per_s * seconds,
        cached=usage.cached_per_s * seconds,
        output=usage.output_per_s * seconds,
        classified=usage.classified_per_s * seconds,
        conversation_hours=(usage.live_sessions or 0.0) * HOURS_PER_MONTH * scale,
    )


def bill_of(usage: Usage, purchase: Purchase, values: Values) -> Bill:
    """The bill of a month."""
    month = month_of(usage, values)
    stored = month.messages * values["bill.stored_bytes_per_message"] / GIB
    sent = month.output * values["bill.sent_bytes_per_token"] / GIB
    served = month.conversation_hours * values["bill.cdn_bytes_per_conversation_hour"] / GIB
    return Bill(
        gpu=gpu_usd(usage, purchase, values),
        host_memory=host_memory_usd(usage, values),
        storage=stored * values["bill.stored_months"] * values["bill.storage_usd_per_gib_month"],
        network=sent * values["bill.network_usd_per_gib"],
        cdn=served * values["bill.cdn_usd_per_gib"],
        safety=month.classified * 1e-6 * values["bill.safety_usd_per_million_tokens"],
        training=training_usd(usage, values) / values["training.months"],
        safety_servers=safety_servers_usd(usage, values),
    )


def gpu_usd(usage: Usage, purchase: Purchase, values: Values) -> float:
    """GPUs of a month: at the stated price, or as they are bought."""
    per_hour = usage.stated_usd_per_hour
    if purchase.reserved_share is not None:
        per_hour = usage.on_demand_usd_per_hour * blend(
            purchase.reserved_share, purchase.spot_share, values
        )
    scale = values["demand"] * values[STEP_TIME] * values[GPU_PRICE]
    return per_hour * HOURS_PER_MONTH * scale


def blend(reserved: float, spot: float, values: Values) -> float:
    """Price of a GPU hour of work in prices on demand, for these shares of the hours."""
    return (
        reserved * (1.0 - values["purchase.reserved_discount"])
        + spot * spot_price(values)
        + (1.0 - reserved - spot)
    )


def spot_price(values: Values) -> float:
    """Spot, per hour that is not lost, in prices on demand."""
    return (1.0 - values["purchase.spot_discount"]) / (1.0 - values["purchase.spot_loss"])


def host_memory_usd(usage: Usage, values: Values) -> float:
    """Host memory beyond what comes with a replica's GPUs."""
    per_replica = usage.gpus / usage.replicas if usage.replicas else 0.0
    free = values["bill.host_memory_included_gib"] * per_replica
    extra = max(0.0, usage.host_gib_per_replica - free)
    price = values["bill.host_memory_usd_per_gib_month"]
    return extra * usage.replicas * price * values["demand"] * values[STEP_TIME]


def safety_servers_usd(usage: Usage, values: Values) -> float:
    """The safety gate's CPU servers, busy or not; as many more as there is more demand."""
    if not usage.gate_servers:
        return 0.0
    per_hour = usage.gate_servers * values[SERVER_PRICE]
    return per_hour * HOURS_PER_MONTH * values["demand"]


def training_usd(usage: Usage, values: Values) -> float:
    """Training once, this fleet's share: 6 x parameters x tokens x runs, at the peak's share."""
    flops = usage.training_flops_per_token * values["training.tokens"] * values["training.runs"]
    speed = usage.training_flops_per_s * values["training.flops_utilisation"]
    hours = flops / speed / 3600.0
    return hours * usage.training_usd_per_hour * values[GPU_PRICE] * values["training.share"]
