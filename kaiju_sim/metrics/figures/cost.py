"""The GPU bill of a run, and what it comes to per message and token."""

from typing import TYPE_CHECKING

from kaiju_sim.metrics.figures.pool import Pool, Summary, ratio
from kaiju_sim.metrics.figures.provision import Provision

if TYPE_CHECKING:
    from kaiju_sim.fleet.setup.build import Plant

HOURS_PER_MONTH = 730.0


def cost(plant: "Plant", pool: Pool, provision: Provision) -> Summary:
    """The GPU bill, and what it comes to per message and token."""
    per_hour = provision.usd_per_hour()
    bill = per_hour / 3600.0 * pool.window_s
    share = ratio(pool.during("prefill_rows_ns"), pool.change("busy_ns"))
    tokens, prompt = pool.during("tokens"), pool.during("prompt")
    per_message = ratio(bill, pool.during("done"))
    live = pool.change("live_area_ns") * 1e-9 / pool.window_s
    sessions = plant.scenario.traffic.kind == "sessions"
    return {
        "cost.usd_per_hour": per_hour,
        "cost.usd_per_message": per_message,
        "cost.usd_per_million_output_tokens": per_million(bill, 1.0 - (share or 0.0), tokens),
        "cost.usd_per_million_input_tokens": per_million(bill, share or 0.0, prompt),
        "cost.input_share": share,
        "cost.usd_per_conversation_hour": ratio(per_hour, live) if sessions else None,
        "cost.usd_per_month": per_hour * HOURS_PER_MONTH,
        "cost.gross_margin": gross_margin(plant, per_message),
    }


def per_million(bill: float, share: float, tokens: int) -> float | None:
    """Price of a million tokens that bear a share of the bill."""
    return ratio(bill * share * 1e6, tokens)


def gross_margin(plant: "Plant", per_message: float | None) -> float | None:
    """1 - GPU cost of a subscriber's messages / subscription price, where both are stated."""
    e = plant.scenario.economics
    if e.subscription is None or e.messages_per_subscriber_month is None or per_message is None:
        return None
    return 1.0 - per_message * e.messages_per_subscriber_month / e.subscription
